#include "lib/unit.h"

#include "service/user_change.h"
#include "service/user_entry.h"

#include <errno.h>

static struct user_entry *new_entry(const char *username, const char *email)
{
    struct user_record record = {
        .sequence = 1,
        .change = 1,
        .user = {.id = BYTES_LITERAL("1"),
                 .username = bytes_from_text(username),
                 .email = bytes_from_text(email)},
    };
    struct user_entry *entry;

    ck_assert_int_eq(user_entry_new(&record, &entry), 0);
    return entry;
}

static bool is(struct bytes text, const char *expected)
{
    return bytes_equal(text, bytes_from_text(expected));
}

/* The keys are copies, names folded, and outlive what they were made of. */
START_TEST(user_change_copies_its_keys)
{
    struct user_change change = {0};
    char username[] = "Anna";
    char email[] = "A@x";
    char id[] = "1";
    char request_id[] = "R-1";
    struct user_names names = {bytes_from_text(id), bytes_from_text(username),
                               bytes_from_text(email), bytes_from_text(request_id)};

    ck_assert_int_eq(user_change_copy_keys(&change, &names, NULL), 0);
    username[0] = email[0] = id[0] = request_id[0] = '?';
    ck_assert(is(change.id.key, "1"));
    ck_assert(is(change.username.key, "anna"));
    ck_assert(is(change.email.key, "a@x"));
    ck_assert(is(change.request_id.key, "R-1"));
    ck_assert_uint_eq(change.old_username.size, 0);
    ck_assert_uint_eq(change.old_email.size, 0);
    free(change.memory);
}

END_TEST

/* Names that the user had and keeps are none that it gives up, also when they look otherwise. */
START_TEST(user_change_knows_the_names_given_up)
{
    struct user_change change = {0};
    struct user_entry *before = new_entry("Anna", "a@x");
    struct user_names names = {
        .id = BYTES_LITERAL("1"), .username = BYTES_LITERAL("ANNA"), .email = BYTES_LITERAL("b@x")};

    ck_assert_int_eq(user_change_copy_keys(&change, &names, before), 0);
    free(before);
    ck_assert_uint_eq(change.old_username.size, 0);
    ck_assert(is(change.old_email, "a@x"));
    free(change.memory);
}

END_TEST

/* A name that does not fold makes no change. */
START_TEST(user_change_refuses_names_that_do_not_fold)
{
    struct user_change change = {0};
    struct user_names names = {.id = BYTES_LITERAL("1"),
                               .username = BYTES_LITERAL("an\xffna"),
                               .email = BYTES_LITERAL("a@x")};

    ck_assert_int_eq(user_change_copy_keys(&change, &names, NULL), -EBADMSG);
    ck_assert_ptr_null(change.memory);
}

END_TEST

/* A delete gives up both names, each of them once when they are the same. */
START_TEST(user_change_fills_in_the_keys_of_a_delete)
{
    static const char *const emails[] = {"a@x", "anna"};

    for (unsigned i = 0; i < 2; i++) {
        struct user_change change = {.old_revision = 7};
        struct commit_mutation mutation = {.key_count = 5};
        struct user_entry *before = new_entry("anna", emails[i]);
        struct user_names names = {.id = BYTES_LITERAL("1")};

        ck_assert_int_eq(user_change_copy_keys(&change, &names, before), 0);
        user_change_fill_keys(&change, &mutation);
        ck_assert_uint_eq(mutation.key_count, 3 - i);
        ck_assert(is(mutation.keys[0].key, "1"));
        ck_assert_int_eq(mutation.keys[0].rule, COMMIT_KEY_AT_VERSION);
        ck_assert_uint_eq(mutation.keys[0].version, 7);
        ck_assert(is(mutation.keys[1].key, "anna"));
        ck_assert_int_eq(mutation.keys[1].rule, COMMIT_KEY_DROPPED);
        free(before);
        free(change.memory);
    }
}

END_TEST

UNIT_MAIN("user_change", user_change_copies_its_keys, user_change_knows_the_names_given_up,
          user_change_refuses_names_that_do_not_fold, user_change_fills_in_the_keys_of_a_delete)
