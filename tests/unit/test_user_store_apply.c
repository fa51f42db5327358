/* What records do to the stored users; those of a snapshot are in test_user_store_load.c. */
#include "allocation_faults.h"
#include "service/user_order.h"
#include "store_fixture.h"

#include <errno.h>
#include <stdio.h>

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
    uint64_t memory;
    size_t entry_size;

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
    memory = user_store_memory(fixture.store);
    entry_size = user_entry_size(user_store_find(fixture.store, text("c")));
    ck_assert_uint_gt(memory, 3 * entry_size);
    ck_assert_int_eq(replay(&fixture, &c, 50, USER_RECORD_DELETE), 0);
    ck_assert_str_eq(ids_in_order(&fixture), "ba");
    ck_assert_uint_eq(user_store_memory(fixture.store), memory - entry_size);
    ck_assert_uint_eq(user_store_applied(fixture.store), 50);
    put(&fixture, "e", "emil", "e@x");
    ck_assert_str_eq(ids_in_order(&fixture), "bae");
    ck_assert_uint_eq(user_store_applied(fixture.store), 51);
    user_store_clear(fixture.store);
    ck_assert_str_eq(ids_in_order(&fixture), "");
    ck_assert_uint_eq(user_store_memory(fixture.store), 0);
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

UNIT_MAIN("user_store_apply", user_store_refuses_records_that_do_not_fit,
          user_store_keeps_the_order, user_store_refuses_names_that_do_not_fold,
          user_store_folds_all_letters, user_store_applies_many_without_memory)
