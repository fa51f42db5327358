#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/user_order.h"
#include "service/user_store.h"

#include <errno.h>
#include <stdio.h>

static const struct hash_seed SEED = {{1, 2}};

struct fixture {
    struct user_store *store;
    uint64_t revision;
};

static void start(struct fixture *fixture, uint64_t max_users)
{
    *fixture = (struct fixture){0};
    ck_assert_int_eq(user_store_new(max_users, SEED, &fixture->store), 0);
}

/* One change as its owner holds it. */
struct change {
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
};

static struct bytes text(const char *literal)
{
    return bytes_from_text(literal);
}

static struct user_names names_of(const char *id, const char *username, const char *email)
{
    return (struct user_names){.id = text(id), .username = text(username), .email = text(email)};
}

static int reserve(struct fixture *fixture, struct change *change, const char *id,
                   const char *username, const char *email)
{
    struct user_names names = names_of(id, username, email);

    *change = (struct change){0};
    return user_store_reserve(fixture->store, &change->change, &names);
}

/* A record of this user with the number `number`, in a fresh buffer. */
static struct buf record_of(const struct user_names *names, uint64_t number, int64_t created_at)
{
    char etag[USER_ETAG_SIZE];
    struct user user = {.id = names->id,
                        .username = names->username,
                        .email = names->email,
                        .created_at = created_at,
                        .etag = {(const uint8_t *)etag, user_record_format_etag(number, etag)}};
    struct user_record record = {.sequence = number, .request_id = names->request_id};
    struct buf message = {0};
    struct buf body = {0};

    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    buf_deinit(&message);
    return body;
}

/* Plans what was reserved; empty names delete. */
static void plan(struct fixture *fixture, struct change *change, const struct user_names *names)
{
    struct user_stamp stamp = user_store_stamp(fixture->store, 1000);

    change->record = record_of(names, stamp.change, stamp.created_at);
    change->mutation.record = buf_bytes(&change->record);
    change->mutation.record_type = names->username.size > 0 ? USER_RECORD_PUT : USER_RECORD_DELETE;
    ck_assert_int_eq(user_store_plan(fixture->store, &change->change, &change->mutation), 0);
}

static int apply(struct fixture *fixture, uint8_t type, struct bytes record)
{
    struct commit_event event = {
        .revision = ++fixture->revision, .record_type = type, .record = record};

    return user_store_apply(fixture->store, &event);
}

static void release(struct fixture *fixture, struct change *change)
{
    user_store_release(fixture->store, &change->change);
    buf_deinit(&change->record);
}

/* A whole change, from plan to release. */
static void put_names(struct fixture *fixture, const struct user_names *names)
{
    struct change change = {0};

    ck_assert_int_eq(user_store_reserve(fixture->store, &change.change, names), 0);
    plan(fixture, &change, names);
    ck_assert_int_eq(apply(fixture, change.mutation.record_type, change.mutation.record), 0);
    release(fixture, &change);
}

static void put(struct fixture *fixture, const char *id, const char *username, const char *email)
{
    struct user_names names = names_of(id, username, email);

    put_names(fixture, &names);
}

static void finish(struct fixture *fixture)
{
    user_store_free(fixture->store);
}

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

/* Records that do not fit what is stored are refused, and change nothing. */
START_TEST(user_store_refuses_records_that_do_not_fit)
{
    struct fixture fixture;
    struct user_names twin = names_of("2", "ANNA", "b@x");
    struct user_names mixed = names_of("2", "berta", "Anna");
    struct user_names request = names_of("2", "berta", "b@x");
    struct user_names anna = names_of("1", "anna", "a@x");
    struct buf bodies[4];

    start(&fixture, 10);
    anna.request_id = BYTES_LITERAL("r-1");
    request.request_id = anna.request_id;
    put_names(&fixture, &anna);
    bodies[0] = record_of(&twin, 5, 0);
    bodies[1] = record_of(&mixed, 5, 0);
    bodies[2] = record_of(&request, 5, 0);
    bodies[3] = record_of(&twin, 5, 0);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t type = i == 3 ? USER_RECORD_DELETE : USER_RECORD_PUT; /* of an unknown user */

        ck_assert_int_eq(apply(&fixture, type, buf_bytes(&bodies[i])), -EBADMSG);
        buf_deinit(&bodies[i]);
    }
    ck_assert_int_eq(apply(&fixture, USER_RECORD_PUT, BYTES_LITERAL("garbage")), -EBADMSG);
    ck_assert_int_eq(apply(&fixture, 7, BYTES_LITERAL("")), -EBADMSG);
    ck_assert_uint_eq(user_store_count(fixture.store), 1);
    ck_assert_uint_eq(user_store_stamp(fixture.store, 0).change, 2);
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

/* The ids in the order of creation, a letter each. */
static const char *ids_in_order(const struct fixture *fixture)
{
    static char ids[16];
    const struct user_order *order = user_store_order(fixture->store);
    struct user_order_cursor cursor = user_order_after(order, 0);
    const struct user_entry *entry;
    size_t count = 0;

    while ((entry = user_order_next(order, &cursor)) != NULL) {
        ck_assert_uint_lt(count, sizeof(ids) - 1);
        ids[count++] = (char)user_entry_id(entry).data[0];
    }
    ids[count] = '\0';
    return ids;
}

/* Applies a record as replay does: without a change. */
static int replay(struct fixture *fixture, const struct user_names *names, uint64_t number,
                  uint8_t type)
{
    struct buf body = record_of(names, number, 0);
    int result = apply(fixture, type, buf_bytes(&body));

    buf_deinit(&body);
    return result;
}

/* The order is that of the sequences, in whichever order the records come; an entry whose sequence
 * another user has does not fit. Each change gives the state another name. */
START_TEST(user_store_keeps_the_order)
{
    struct fixture fixture;
    struct user_names c = names_of("c", "carl", "c@x");
    struct user_names a = names_of("a", "anna", "a@x");
    struct user_names b = names_of("b", "bert", "b@x");
    struct user_names d = names_of("d", "dora", "d@x");

    start(&fixture, 10);
    ck_assert_uint_eq(user_store_applied(fixture.store), 0);
    ck_assert_int_eq(replay(&fixture, &c, 30, USER_RECORD_PUT), 0);
    ck_assert_int_eq(replay(&fixture, &a, 10, USER_RECORD_PUT), 0);
    ck_assert_int_eq(replay(&fixture, &b, 20, USER_RECORD_PUT), 0);
    ck_assert_str_eq(ids_in_order(&fixture), "abc");
    ck_assert_uint_eq(user_store_applied(fixture.store), 30);
    ck_assert_int_eq(replay(&fixture, &d, 20, USER_RECORD_PUT), -EBADMSG);
    ck_assert_str_eq(ids_in_order(&fixture), "abc");
    b.username = text("berta");
    ck_assert_int_eq(replay(&fixture, &b, 20, USER_RECORD_PUT), 0); /* in its place */
    ck_assert_str_eq(ids_in_order(&fixture), "abc");
    ck_assert_int_eq(replay(&fixture, &a, 40, USER_RECORD_PUT), 0); /* made anew */
    ck_assert_str_eq(ids_in_order(&fixture), "bca");
    ck_assert_int_eq(replay(&fixture, &c, 50, USER_RECORD_DELETE), 0);
    ck_assert_str_eq(ids_in_order(&fixture), "ba");
    ck_assert_uint_eq(user_store_applied(fixture.store), 50);
    put(&fixture, "e", "emil", "e@x");
    ck_assert_str_eq(ids_in_order(&fixture), "bae");
    ck_assert_uint_eq(user_store_applied(fixture.store), 51);
    user_store_clear(fixture.store);
    ck_assert_str_eq(ids_in_order(&fixture), "");
    ck_assert_uint_eq(user_store_applied(fixture.store), 0);
    finish(&fixture);
}

END_TEST

/* Names that do not fold are refused, in a record as in a change, and change nothing. */
START_TEST(user_store_refuses_names_that_do_not_fold)
{
    struct fixture fixture;
    struct change change;
    struct user_names names = names_of("1", "an\xffna", "a@x");

    start(&fixture, 10);
    ck_assert_int_eq(reserve(&fixture, &change, "1", "an\xffna", "a@x"), -EBADMSG);
    ck_assert_int_eq(reserve(&fixture, &change, "1", "anna", "a\xff@x"), -EBADMSG);
    ck_assert_int_eq(replay(&fixture, &names, 5, USER_RECORD_PUT), -EBADMSG);
    ck_assert_uint_eq(user_store_count(fixture.store), 0);
    put(&fixture, "1", "anna", "a@x");
    finish(&fixture);
}

END_TEST

/* Folding is more than letters a to z, and may change the number of bytes: the keys follow it. */
START_TEST(user_store_folds_all_letters)
{
    struct fixture fixture;
    struct change change;

    start(&fixture, 10);
    put(&fixture, "1",
        "STRA\xe1\xba\x9e"
        "E",
        "\xc3\x84@x"); /* capital sharp s, capital a umlaut */
    ck_assert_ptr_nonnull(user_store_find_username(fixture.store, text("strasse")));
    ck_assert_ptr_nonnull(user_store_find_email(fixture.store, text("\xc3\xa4@x")));
    ck_assert_int_eq(reserve(&fixture, &change, "2", "Strasse", "b@x"),
                     USER_STORE_E_USERNAME_TAKEN);
    put(&fixture, "1", "anna", "a@x");
    put(&fixture, "2", "strasse", "b@x");
    finish(&fixture);
}

END_TEST

/* Many changes on their way at once: what is durable must be applied, so nothing needs memory then
 * that was not put by before. */
START_TEST(user_store_applies_many_without_memory)
{
    enum {
        COUNT = 1600, /* more than fit the chunks of the order that one change has put by */
    };
    static struct change changes[COUNT];
    static char texts[COUNT][3][16];
    struct fixture fixture;

    start(&fixture, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        struct user_names names;

        (void)snprintf(texts[i][0], sizeof(texts[i][0]), "id%u", i);
        (void)snprintf(texts[i][1], sizeof(texts[i][1]), "name%u", i);
        (void)snprintf(texts[i][2], sizeof(texts[i][2]), "e%u@x", i);
        names = names_of(texts[i][0], texts[i][1], texts[i][2]);
        names.request_id = names.id;
        ck_assert_int_eq(user_store_reserve(fixture.store, &changes[i].change, &names), 0);
        plan(&fixture, &changes[i], &names);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        struct bytes record = changes[i].mutation.record;
        int result;

        allocation_faults_arm(1);
        result = apply(&fixture, USER_RECORD_PUT, record);
        ck_assert(!allocation_faults_disarm());
        ck_assert_int_eq(result, 0);
        release(&fixture, &changes[i]);
    }
    ck_assert_uint_eq(user_store_count(fixture.store), COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_ptr_nonnull(user_store_find(fixture.store, text(texts[i][0])));
        ck_assert_ptr_nonnull(user_store_find_request(fixture.store, text(texts[i][0])));
    }
    user_store_clear(fixture.store);
    ck_assert_uint_eq(user_store_count(fixture.store), 0);
    ck_assert_ptr_null(user_store_find(fixture.store, text("id1")));
    put(&fixture, "id1", "name1", "e1@x");
    finish(&fixture);
}

END_TEST

UNIT_MAIN("user_store", user_store_shows_what_was_applied, user_store_refuses_taken_names,
          user_store_refuses_reserved_names, user_store_accepts_the_own_email_as_username,
          user_store_frees_old_names_when_durable, user_store_forgets_a_failed_change,
          user_store_deletes, user_store_limits_users, user_store_finds_requests,
          user_store_stamps_in_order, user_store_names_the_keys, user_store_names_no_key_that_stays,
          user_store_refuses_records_that_do_not_fit, user_store_finds_by_names,
          user_store_keeps_the_order, user_store_refuses_names_that_do_not_fold,
          user_store_folds_all_letters, user_store_applies_many_without_memory)
