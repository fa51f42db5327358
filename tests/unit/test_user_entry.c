#include "lib/unit.h"

#include "service/user_entry.h"

#include <errno.h>

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

static const struct user_record RECORD = {
    .message = {(const uint8_t *)"packed", 6},
    .password_hash = {(const uint8_t *)"hash", 4},
    .request_id = {(const uint8_t *)"request", 7},
    .sequence = 3,
    .change = 0xab,
    .user = {.id = {(const uint8_t *)"Id-1", 4},
             .username = {(const uint8_t *)"AnNa", 4},
             .email = {(const uint8_t *)"Anna@X.org", 10}},
};

static struct user_entry *must_make(const struct user_record *record)
{
    struct user_entry *entry = NULL;

    ck_assert_int_eq(user_entry_new(record, &entry), 0);
    ck_assert_ptr_nonnull(entry);
    return entry;
}

/* Every part comes back as it was; names folded, the id not. */
START_TEST(user_entry_holds_its_parts)
{
    struct user_entry *entry = must_make(&RECORD);

    ck_assert(is_text(user_entry_id(entry), "Id-1"));
    ck_assert(is_text(user_entry_message(entry), "packed"));
    ck_assert(is_text(user_entry_username(entry), "anna"));
    ck_assert(is_text(user_entry_email(entry), "anna@x.org"));
    ck_assert(is_text(user_entry_request_id(entry), "request"));
    ck_assert(is_text(user_entry_password_hash(entry), "hash"));
    ck_assert_uint_eq(user_entry_sequence(entry), 3);
    ck_assert_uint_eq(user_entry_change(entry), 0xab);
    user_entry_set_revision(entry, 9);
    ck_assert_uint_eq(user_entry_revision(entry), 9);
    free(entry);
}

END_TEST

/* Parts may be absent. */
START_TEST(user_entry_may_lack_hash_and_request)
{
    struct user_record record = RECORD;
    struct user_entry *entry;

    record.password_hash = (struct bytes){0};
    record.request_id = (struct bytes){0};
    entry = must_make(&record);
    ck_assert_uint_eq(user_entry_request_id(entry).size, 0);
    ck_assert_uint_eq(user_entry_password_hash(entry).size, 0);
    ck_assert(is_text(user_entry_email(entry), "anna@x.org"));
    free(entry);
}

END_TEST

/* Folded names may be longer or shorter than they were; the parts beside them stay whole. */
START_TEST(user_entry_holds_names_of_other_sizes)
{
    struct user_record record = RECORD;
    struct user_entry *entry;

    record.user.username = BYTES_LITERAL("\xef\xb7\xba"); /* one character: 18 */
    record.user.email = BYTES_LITERAL("\xef\xbc\xa1\xef\xbc\xa2@Example.org"); /* full width */
    entry = must_make(&record);
    ck_assert_uint_eq(user_entry_username(entry).size, 33);
    ck_assert(is_text(user_entry_email(entry), "ab@example.org"));
    ck_assert(is_text(user_entry_id(entry), "Id-1"));
    ck_assert(is_text(user_entry_message(entry), "packed"));
    ck_assert(is_text(user_entry_request_id(entry), "request"));
    ck_assert(is_text(user_entry_password_hash(entry), "hash"));
    free(entry);
}

END_TEST

/* What stands in the message as it is needed takes no room of its own: the id, and a name that
 * folding leaves as it is. */
START_TEST(user_entry_stores_nothing_twice)
{
    static const uint8_t message[] = "id-1|anna|Anna@X.org";
    struct user_record record = {
        .message = {message, sizeof(message) - 1},
        .request_id = BYTES_LITERAL("request"),
        .password_hash = BYTES_LITERAL("hash"),
        .user = {.id = {message, 4}, .username = {message + 5, 4}, .email = {message + 10, 10}},
    };
    struct user_entry *entry = must_make(&record);
    struct user_entry *bare;
    const uint8_t *stored = user_entry_message(entry).data;

    ck_assert_ptr_eq(user_entry_id(entry).data, stored);
    ck_assert_ptr_eq(user_entry_username(entry).data, stored + 5);
    ck_assert(is_text(user_entry_id(entry), "id-1"));
    ck_assert(is_text(user_entry_username(entry), "anna"));
    ck_assert(is_text(user_entry_email(entry), "anna@x.org"));
    ck_assert(is_text(user_entry_request_id(entry), "request"));
    ck_assert(is_text(user_entry_password_hash(entry), "hash"));
    record.user.email = (struct bytes){0};
    bare = must_make(&record);
    ck_assert_uint_eq(user_entry_size(entry), user_entry_size(bare) + 10);
    free(bare);
    free(entry);
}

END_TEST

/* A record whose names do not fold is none that we wrote. */
START_TEST(user_entry_refuses_names_that_do_not_fold)
{
    struct user_record record = RECORD;
    struct user_entry *entry = NULL;

    record.user.username = BYTES_LITERAL("a\xff");
    ck_assert_int_eq(user_entry_new(&record, &entry), -EBADMSG);
    record = RECORD;
    record.user.email = BYTES_LITERAL("a\xcd\xb8@x.org"); /* unassigned */
    ck_assert_int_eq(user_entry_new(&record, &entry), -EBADMSG);
    ck_assert_ptr_null(entry);
}

END_TEST

/* The etag of the last change fits, and nothing else does. */
START_TEST(user_entry_knows_its_etag)
{
    struct user_entry *entry = must_make(&RECORD);

    ck_assert(user_entry_has_etag(entry, BYTES_LITERAL("\"ab\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("\"aa\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("ab")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("\"0ab\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("*")));
    free(entry);
}

END_TEST

UNIT_MAIN("user_entry", user_entry_holds_its_parts, user_entry_may_lack_hash_and_request,
          user_entry_holds_names_of_other_sizes, user_entry_stores_nothing_twice,
          user_entry_refuses_names_that_do_not_fold, user_entry_knows_its_etag)
