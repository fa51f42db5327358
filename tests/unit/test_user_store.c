#include "store_fixture.h"

/* Nothing is visible before it is applied, and all of it afterwards. */
START_TEST(user_store_shows_what_was_applied)
{
    struct fixture fixture;
    struct change change;
    struct user_names names = names_of("1", "Anna", "A@x");
    const struct user_entry *entry;
    struct user user;

    start(&fixture, 10);
    ck_assert_int_eq(reserve(&fixture, &change, "1", "Anna", "A@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_ptr_null(user_store_find(fixture.store, text("1")));
    ck_assert_uint_eq(user_store_count(fixture.store), 0);
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, change.mutation.record), 0);
    entry = user_store_find(fixture.store, text("1"));
    ck_assert_ptr_nonnull(entry);
    ck_assert_uint_eq(user_entry_revision(entry), 1);
    ck_assert_int_eq(user_record_read_user(user_entry_message(entry), &user), 0);
    ck_assert(bytes_equal(user.username, text("Anna")));
    ck_assert_uint_eq(user_store_count(fixture.store), 1);
    release(&fixture, &change);
    ck_assert_ptr_eq(user_store_find(fixture.store, text("1")), entry);
    finish(&fixture);
}

END_TEST

/* Names of stored users are taken, in any case of letters, and across usernames and e-mails. */
START_TEST(user_store_refuses_taken_names)
{
    struct fixture fixture;
    struct change change;

    start(&fixture, 10);
    put(&fixture, "1", "Anna", "A@x");
    ck_assert_int_eq(reserve(&fixture, &change, "2", "aNNA", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &change, "2", "a@X", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &change, "2", "berta", "a@X"), USER_STORE_E_EMAIL_TAKEN);
    put(&fixture, "3", "carl@x", "c@x");
    ck_assert_int_eq(reserve(&fixture, &change, "2", "berta", "CARL@x"), USER_STORE_E_EMAIL_TAKEN);
    ck_assert_ptr_null(user_store_change_of_id(fixture.store, text("2")));
    ck_assert_int_eq(reserve(&fixture, &change, "2", "berta", "b@x"), 0);
    release(&fixture, &change);
    finish(&fixture);
}

END_TEST

/* Names of changes on their way are taken just so, until they are given back. */
START_TEST(user_store_refuses_reserved_names)
{
    struct fixture fixture;
    struct change first;
    struct change second;

    start(&fixture, 10);
    ck_assert_int_eq(reserve(&fixture, &first, "1", "Anna", "A@x"), 0);
    ck_assert_int_eq(reserve(&fixture, &second, "2", "anna", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &second, "2", "a@x", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &second, "2", "berta", "a@x"), USER_STORE_E_EMAIL_TAKEN);
    ck_assert_ptr_eq(user_store_change_of_id(fixture.store, text("1")), &first.change);
    release(&fixture, &first);
    ck_assert_ptr_null(user_store_change_of_id(fixture.store, text("1")));
    ck_assert_int_eq(reserve(&fixture, &second, "2", "anna", "a@x"), 0);
    release(&fixture, &second);
    finish(&fixture);
}

END_TEST

/* A user may have the own address for a username. */
START_TEST(user_store_accepts_the_own_email_as_username)
{
    struct fixture fixture;
    struct change change;

    start(&fixture, 10);
    put(&fixture, "1", "a@x", "A@x");
    put(&fixture, "1", "A@X", "a@x");
    ck_assert_int_eq(reserve(&fixture, &change, "2", "b", "a@x"), USER_STORE_E_EMAIL_TAKEN);
    put(&fixture, "1", "anna", "a@x");
    put(&fixture, "1", "a@x", "b@x");
    ck_assert_int_eq(reserve(&fixture, &change, "2", "b", "a@x"), USER_STORE_E_EMAIL_TAKEN);
    finish(&fixture);
}

END_TEST

/* What an update gives up stays taken until it is durable, and is free then. */
START_TEST(user_store_frees_old_names_when_durable)
{
    struct fixture fixture;
    struct change update;
    struct change other;
    struct user_names names = names_of("1", "berta", "a@x");

    start(&fixture, 10);
    put(&fixture, "1", "anna", "a@x");
    ck_assert_int_eq(reserve(&fixture, &update, "1", "berta", "a@x"), 0);
    plan(&fixture, &update, &names);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "anna", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "berta", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, update.mutation.record), 0);
    release(&fixture, &update);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "berta", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "anna", "b@x"), 0);
    release(&fixture, &other);
    ck_assert_uint_eq(user_store_count(fixture.store), 1);
    finish(&fixture);
}

END_TEST

/* A change that came to nothing leaves no trace. */
START_TEST(user_store_forgets_a_failed_change)
{
    struct fixture fixture;
    struct change update;
    struct change other;
    struct user_names names = names_of("1", "berta", "b@x");

    start(&fixture, 10);
    put(&fixture, "1", "anna", "a@x");
    ck_assert_int_eq(reserve(&fixture, &update, "1", "berta", "b@x"), 0);
    plan(&fixture, &update, &names);
    release(&fixture, &update);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "berta", "b@x"), 0);
    release(&fixture, &other);
    ck_assert_int_eq(reserve(&fixture, &other, "2", "anna", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    finish(&fixture);
}

END_TEST

/* A delete takes the user and its names when it is durable, not before. */
START_TEST(user_store_deletes)
{
    struct fixture fixture;
    struct change gone;
    struct change other;
    struct user_names names = {.id = BYTES_LITERAL("1")};

    start(&fixture, 10);
    put(&fixture, "1", "anna", "a@x");
    ck_assert_int_eq(reserve(&fixture, &gone, "1", "", ""), 0);
    plan(&fixture, &gone, &names);
    ck_assert_ptr_nonnull(user_store_find(fixture.store, text("1")));
    ck_assert_int_eq(reserve(&fixture, &other, "2", "anna", "b@x"), USER_STORE_E_USERNAME_TAKEN);
    ck_assert_int_eq(apply(&fixture, USER_RECORD_DELETE, gone.mutation.record), 0);
    release(&fixture, &gone);
    ck_assert_ptr_null(user_store_find(fixture.store, text("1")));
    ck_assert_uint_eq(user_store_count(fixture.store), 0);
    put(&fixture, "2", "anna", "a@x");
    finish(&fixture);
}

END_TEST

/* The limit counts users on their way in, and frees with them. */
START_TEST(user_store_limits_users)
{
    struct fixture fixture;
    struct change first;
    struct change second;

    start(&fixture, 2);
    put(&fixture, "1", "anna", "a@x");
    ck_assert_int_eq(reserve(&fixture, &first, "2", "berta", "b@x"), 0);
    ck_assert_int_eq(reserve(&fixture, &second, "3", "carl", "c@x"), USER_STORE_E_TOO_MANY);
    release(&fixture, &first);
    put(&fixture, "3", "carl", "c@x");
    ck_assert_int_eq(reserve(&fixture, &second, "4", "dora", "d@x"), USER_STORE_E_TOO_MANY);
    put(&fixture, "3", "dora", "d@x"); /* a change of a stored user needs no room */
    finish(&fixture);
}

END_TEST

/* A request_id finds the user it made, and the change that is making one. */
START_TEST(user_store_finds_requests)
{
    struct fixture fixture;
    struct change change = {0};
    struct user_names names = names_of("1", "anna", "a@x");

    start(&fixture, 10);
    names.request_id = BYTES_LITERAL("r-1");
    ck_assert_int_eq(user_store_reserve(fixture.store, &change.change, &names), 0);
    ck_assert_ptr_eq(user_store_change_of_request(fixture.store, text("r-1")), &change.change);
    ck_assert_ptr_null(user_store_find_request(fixture.store, text("r-1")));
    release(&fixture, &change);
    ck_assert_ptr_null(user_store_change_of_request(fixture.store, text("r-1")));
    put_names(&fixture, &names);
    ck_assert_ptr_eq(user_store_find_request(fixture.store, text("r-1")),
                     user_store_find(fixture.store, text("1")));
    ck_assert_ptr_null(user_store_find_request(fixture.store, text("R-1")));
    ck_assert_ptr_null(user_store_find_request(fixture.store, text("")));
    finish(&fixture);
}

END_TEST

/* Numbers go on behind the greatest one applied, also that of a delete; times never go back. */
START_TEST(user_store_stamps_in_order)
{
    struct fixture fixture;
    struct user_names names = names_of("1", "anna", "a@x");
    struct buf body = record_of(&names, 50, 9000);
    struct buf tombstone = record_of(&names, 60, 0);
    struct user_stamp stamp;

    start(&fixture, 10);
    ck_assert_uint_eq(user_store_stamp(fixture.store, 5).change, 1);
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, buf_bytes(&body)), 0);
    stamp = user_store_stamp(fixture.store, 8000);
    ck_assert_uint_eq(stamp.change, 51);
    ck_assert_int_eq(stamp.created_at, 9000);
    ck_assert_int_eq(apply(&fixture, USER_RECORD_DELETE, buf_bytes(&tombstone)), 0);
    stamp = user_store_stamp(fixture.store, 9001);
    ck_assert_uint_eq(stamp.change, 61);
    ck_assert_int_eq(stamp.created_at, 9001);
    buf_deinit(&body);
    buf_deinit(&tombstone);
    finish(&fixture);
}

END_TEST

static bool has_key(const struct commit_mutation *mutation, const char *key,
                    enum commit_key_rule rule, uint64_t version)
{
    for (unsigned i = 0; i < mutation->key_count; i++) {
        if (bytes_equal(mutation->keys[i].key, text(key)) && mutation->keys[i].rule == rule) {
            return mutation->keys[i].version == version;
        }
    }
    return false;
}

/* A mutation names its preconditions for logs that decide conflicts elsewhere. */
START_TEST(user_store_names_the_keys)
{
    struct fixture fixture;
    struct change change;
    struct user_names names = names_of("1", "Anna", "a@x");

    start(&fixture, 10);
    ck_assert_int_eq(reserve(&fixture, &change, "1", "Anna", "a@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 3);
    ck_assert(has_key(&change.mutation, "1", COMMIT_KEY_ABSENT, 0));
    ck_assert(has_key(&change.mutation, "anna", COMMIT_KEY_ABSENT, 0));
    ck_assert(has_key(&change.mutation, "a@x", COMMIT_KEY_ABSENT, 0));
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, change.mutation.record), 0);
    release(&fixture, &change);

    names = names_of("1", "ANNA", "b@x");
    ck_assert_int_eq(reserve(&fixture, &change, "1", "ANNA", "b@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 3);
    ck_assert(has_key(&change.mutation, "1", COMMIT_KEY_AT_VERSION, 1));
    ck_assert(has_key(&change.mutation, "b@x", COMMIT_KEY_ABSENT, 0));
    ck_assert(has_key(&change.mutation, "a@x", COMMIT_KEY_DROPPED, 0));
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, change.mutation.record), 0);
    release(&fixture, &change);

    names = (struct user_names){.id = BYTES_LITERAL("1")};
    ck_assert_int_eq(reserve(&fixture, &change, "1", "", ""), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 3);
    ck_assert(has_key(&change.mutation, "1", COMMIT_KEY_AT_VERSION, 2));
    ck_assert(has_key(&change.mutation, "anna", COMMIT_KEY_DROPPED, 0));
    ck_assert(has_key(&change.mutation, "b@x", COMMIT_KEY_DROPPED, 0));
    release(&fixture, &change);
    finish(&fixture);
}

END_TEST

/* Names that a user had and still has are neither asked to be absent nor given up, and none is
 * named twice: such a mutation could never be committed. */
START_TEST(user_store_names_no_key_that_stays)
{
    struct fixture fixture;
    struct change change;
    struct user_names names = names_of("1", "b@x", "a@x");

    start(&fixture, 10);
    put(&fixture, "1", "a@x", "b@x");
    ck_assert_int_eq(reserve(&fixture, &change, "1", "b@x", "a@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 1);
    ck_assert(has_key(&change.mutation, "1", COMMIT_KEY_AT_VERSION, 1));
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, change.mutation.record), 0);
    release(&fixture, &change);

    names = names_of("1", "c@x", "c@x");
    ck_assert_int_eq(reserve(&fixture, &change, "1", "c@x", "c@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 4);
    ck_assert(has_key(&change.mutation, "c@x", COMMIT_KEY_ABSENT, 0));
    ck_assert(has_key(&change.mutation, "a@x", COMMIT_KEY_DROPPED, 0));
    ck_assert(has_key(&change.mutation, "b@x", COMMIT_KEY_DROPPED, 0));
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, change.mutation.record), 0);
    release(&fixture, &change);

    names = names_of("1", "anna", "c@x");
    ck_assert_int_eq(reserve(&fixture, &change, "1", "anna", "c@x"), 0);
    plan(&fixture, &change, &names);
    ck_assert_uint_eq(change.mutation.key_count, 2);
    ck_assert(has_key(&change.mutation, "anna", COMMIT_KEY_ABSENT, 0));
    release(&fixture, &change);
    finish(&fixture);
}

END_TEST

/* Names are looked up folded, usernames and e-mails apart. */
START_TEST(user_store_finds_by_names)
{
    struct fixture fixture;
    const struct user_entry *entry;

    start(&fixture, 10);
    put(&fixture, "1", "Anna", "A@x");
    entry = user_store_find(fixture.store, text("1"));
    ck_assert_ptr_eq(user_store_find_username(fixture.store, text("anna")), entry);
    ck_assert_ptr_eq(user_store_find_email(fixture.store, text("a@x")), entry);
    ck_assert_ptr_null(user_store_find_username(fixture.store, text("Anna")));
    ck_assert_ptr_null(user_store_find_username(fixture.store, text("a@x")));
    ck_assert_ptr_null(user_store_find_email(fixture.store, text("anna")));
    finish(&fixture);
}

END_TEST

UNIT_MAIN("user_store", user_store_shows_what_was_applied, user_store_refuses_taken_names,
          user_store_refuses_reserved_names, user_store_accepts_the_own_email_as_username,
          user_store_frees_old_names_when_durable, user_store_forgets_a_failed_change,
          user_store_deletes, user_store_limits_users, user_store_finds_requests,
          user_store_stamps_in_order, user_store_names_the_keys, user_store_names_no_key_that_stays,
          user_store_finds_by_names)
