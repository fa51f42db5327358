#include "lib/unit.h"

#include "service/user_entry.h"

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

/* Every part comes back as it was; names folded, the id not. */
START_TEST(user_entry_holds_its_parts)
{
    struct user_entry *entry = user_entry_new(&RECORD);

    ck_assert_ptr_nonnull(entry);
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
    entry = user_entry_new(&record);
    ck_assert_ptr_nonnull(entry);
    ck_assert_uint_eq(user_entry_request_id(entry).size, 0);
    ck_assert_uint_eq(user_entry_password_hash(entry).size, 0);
    ck_assert(is_text(user_entry_email(entry), "anna@x.org"));
    free(entry);
}

END_TEST

/* The etag of the last change fits, and nothing else does. */
START_TEST(user_entry_knows_its_etag)
{
    struct user_entry *entry = user_entry_new(&RECORD);

    ck_assert_ptr_nonnull(entry);
    ck_assert(user_entry_has_etag(entry, BYTES_LITERAL("\"ab\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("\"aa\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("ab")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("\"0ab\"")));
    ck_assert(!user_entry_has_etag(entry, BYTES_LITERAL("*")));
    free(entry);
}

END_TEST

UNIT_MAIN("user_entry", user_entry_holds_its_parts, user_entry_may_lack_hash_and_request,
          user_entry_knows_its_etag)
