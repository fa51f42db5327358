/* How a store is filled from a snapshot; the snapshot's side is in test_user_snapshot.c. */
#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/user_order.h"
#include "service/user_store_internal.h"

#include <errno.h>
#include <stdio.h>

static const struct hash_seed SEED = {{5, 6}};

/* A record of user `id` with names of these numbers, created and written by change `number`. */
static struct buf record_of(unsigned id, unsigned name, unsigned email, uint64_t number)
{
    char texts[5][32];
    struct user user = {.created_at = (int64_t)number * 10};
    struct user_record record = {.sequence = number};
    struct buf message = {0};
    struct buf body = {0};

    (void)snprintf(texts[0], sizeof(texts[0]), "id-%u", id);
    (void)snprintf(texts[1], sizeof(texts[1]), "Name-%u", name);
    (void)snprintf(texts[2], sizeof(texts[2]), "mail-%u@X", email);
    (void)snprintf(texts[3], sizeof(texts[3]), "r-%u", id);
    user.id = bytes_from_text(texts[0]);
    user.username = bytes_from_text(texts[1]);
    user.email = bytes_from_text(texts[2]);
    user.etag = (struct bytes){(uint8_t *)texts[4], user_record_format_etag(number, texts[4])};
    record.request_id = bytes_from_text(texts[3]);
    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    buf_deinit(&message);
    return body;
}

static int apply(struct user_store *store, uint8_t type, struct bytes record, bool is_in_snapshot)
{
    const struct commit_event event = {
        .revision = 9, .record_type = type, .is_in_snapshot = is_in_snapshot, .record = record};

    return user_store_apply(store, &event);
}

/* As from a snapshot. The record is freed. */
static int load(struct user_store *store, uint8_t type, struct buf record)
{
    int result = apply(store, type, buf_bytes(&record), true);

    buf_deinit(&record);
    return result;
}

static struct buf counters_of(uint64_t change, int64_t created_at)
{
    const struct user_counters counters = {change, created_at};
    struct buf body = {0};

    ck_assert_int_eq(user_record_append_counters(&counters, &body), 0);
    return body;
}

/* The users of a snapshot come in any order, and stand in that of their creation. */
START_TEST(user_store_load_in_any_order)
{
    const unsigned order[] = {3, 1, 5, 2, 4};
    struct user_order_cursor cursor = {0, 0};
    const struct user_entry *entry;
    struct user_store *store;
    uint64_t expected = 0;

    ck_assert_int_eq(user_store_new(100, SEED, &store), 0);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(
            load(store, USER_RECORD_PUT, record_of(order[i], order[i], order[i], order[i])), 0);
    }
    while ((entry = user_order_next(user_store_order(store), &cursor)) != NULL) {
        ck_assert_uint_eq(user_entry_sequence(entry), ++expected);
        ck_assert_uint_eq(user_entry_revision(entry), 9);
    }
    ck_assert_uint_eq(expected, 5);
    user_store_free(store);
}

END_TEST

/* In a snapshot every user is there once and has names of his own; there are no deletes. What does
 * not fit is refused and changes nothing. */
START_TEST(user_store_load_refuses_what_does_not_fit)
{
    struct user_store *store;
    struct buf same;

    ck_assert_int_eq(user_store_new(100, SEED, &store), 0);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 1, 1, 1)), 0);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 1, 1, 1)), -EBADMSG);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 2, 2, 2)), -EBADMSG);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(2, 1, 2, 2)), -EBADMSG);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(2, 2, 1, 2)), -EBADMSG);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(2, 2, 2, 1)), -EBADMSG);
    ck_assert_int_eq(load(store, USER_RECORD_DELETE, record_of(1, 1, 1, 2)), -EBADMSG);
    ck_assert_int_eq(load(store, 4, record_of(2, 2, 2, 2)), -EBADMSG);
    ck_assert_uint_eq(user_store_count(store), 1);
    ck_assert_uint_eq(user_store_applied(store), 1);
    same = record_of(1, 1, 1, 2); /* as a change it is fine, but for its sequence */
    ck_assert_int_eq(apply(store, USER_RECORD_PUT, buf_bytes(&same), false), 0);
    buf_deinit(&same);
    user_store_free(store);
}

END_TEST

/* Counters set number and time from which counting goes on, and never set them back. */
START_TEST(user_store_load_counters)
{
    struct user_store *store;
    struct user_stamp stamp;

    ck_assert_int_eq(user_store_new(100, SEED, &store), 0);
    ck_assert_int_eq(load(store, USER_RECORD_COUNTERS, counters_of(0, 0)), 0);
    ck_assert_uint_eq(user_store_applied(store), 0);
    ck_assert_int_eq(load(store, USER_RECORD_COUNTERS, counters_of(70, 5000)), 0);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 1, 1, 1)), 0);
    ck_assert_int_eq(load(store, USER_RECORD_COUNTERS, counters_of(60, 4000)), 0);
    ck_assert_uint_eq(user_store_applied(store), 70);
    ck_assert_uint_eq(user_store_counters(store).change, 70);
    ck_assert_int_eq(user_store_counters(store).created_at, 5000);
    stamp = user_store_stamp(store, 10);
    ck_assert_uint_eq(stamp.change, 71);
    ck_assert_int_eq(stamp.created_at, 5000);
    ck_assert_int_eq(apply(store, USER_RECORD_COUNTERS, BYTES_LITERAL("\x08"), false), -EBADMSG);
    user_store_free(store);
}

END_TEST

/* Numbers left out are given to nobody; that they were is only certain once it is logged. */
START_TEST(user_store_skips_numbers)
{
    struct user_counters reached;
    struct user_store *store;
    struct buf body;

    ck_assert_int_eq(user_store_new(100, SEED, &store), 0);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 1, 1, 30)), 0);
    reached = user_store_skip_changes(store, 1000);
    ck_assert_uint_eq(reached.change, 1030);
    ck_assert_int_eq(reached.created_at, 300);
    ck_assert_uint_eq(user_store_counters(store).change, 30);
    ck_assert_uint_eq(user_store_stamp(store, 0).change, 1031);
    body = counters_of(reached.change, reached.created_at);
    ck_assert_int_eq(apply(store, USER_RECORD_COUNTERS, buf_bytes(&body), false), 0);
    buf_deinit(&body);
    ck_assert_uint_eq(user_store_counters(store).change, 1030);
    ck_assert_uint_eq(user_store_stamp(store, 0).change, 1032);
    user_store_free(store);
}

END_TEST

/* Room made in advance is enough: loading so many needs nothing but the users themselves. */
START_TEST(user_store_load_into_room)
{
    enum {
        COUNT = 3000,
        MAX = COUNT + 2 * USER_ORDER_CHUNK, /* each change wants to find that much room */
    };
    struct user_store *store;
    uint64_t memory;

    ck_assert_int_eq(user_store_new(MAX, SEED, &store), 0);
    allocation_faults_arm(1);
    ck_assert_int_eq(user_store_reserve_users(store, COUNT), -ENOMEM);
    ck_assert(allocation_faults_disarm());
    ck_assert_int_eq(user_store_reserve_users(store, UINT64_MAX), 0); /* as many as there may be */
    for (unsigned i = 1; i <= COUNT; i++) {
        struct buf body = record_of(i, i, i, i);
        int result;

        allocation_faults_arm(2); /* the first is the user */
        result = apply(store, USER_RECORD_PUT, buf_bytes(&body), true);
        ck_assert(!allocation_faults_disarm());
        ck_assert_int_eq(result, 0);
        buf_deinit(&body);
    }
    ck_assert_uint_eq(user_store_count(store), COUNT);
    memory = user_store_memory(store);
    ck_assert_int_eq(map_reserve(&store->by_request, 10 * COUNT), 0);
    ck_assert_uint_gt(user_store_memory(store), memory);
    user_store_end_load(store);
    ck_assert_uint_eq(user_store_memory(store), memory);
    user_store_clear(store);
    ck_assert_uint_eq(user_store_count(store), 0);
    ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(1, 1, 1, 1)), 0);
    user_store_free(store);
}

END_TEST

/* A store that is settled after each change is the same store, and no map of it is still growing.
 */
START_TEST(user_store_load_settles)
{
    enum {
        COUNT = 800, /* the maps grow at 768 */
    };
    struct user_store *store;

    ck_assert_int_eq(user_store_new(COUNT, SEED, &store), 0);
    for (unsigned i = 1; i <= COUNT; i++) {
        ck_assert_int_eq(load(store, USER_RECORD_PUT, record_of(i, i, i, i)), 0);
        user_store_settle(store);
        ck_assert_ptr_null(store->by_id.old.slots);
        ck_assert_ptr_null(store->by_username.old.slots);
        ck_assert_ptr_null(store->by_email.old.slots);
        ck_assert_ptr_null(store->by_request.old.slots);
    }
    for (unsigned i = 1; i <= COUNT; i++) {
        char id[16];

        (void)snprintf(id, sizeof(id), "id-%u", i);
        ck_assert_ptr_nonnull(user_store_find(store, bytes_from_text(id)));
    }
    user_store_free(store);
}

END_TEST

UNIT_MAIN("user_store_load", user_store_load_in_any_order,
          user_store_load_refuses_what_does_not_fit, user_store_load_counters,
          user_store_skips_numbers, user_store_load_into_room, user_store_load_settles)
