#include "allocation_faults.h"
#include "watch_fixture.h"

/*
 * A client goes away, or memory ends, in every state that a watcher can be in. Afterwards nobody
 * holds the call, the others go on, and everything can be freed: the sanitizers see what is left.
 */

/* While it has nothing to be told; the last one takes the group along. */
START_TEST(watch_forgets_an_idle_watcher)
{
    struct watch_fixture fixture;
    static struct fake_call calls[2];

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &calls[0], "a");
    watch_open(&fixture, &calls[1], "a");
    watch_close(&calls[0]);
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    ck_assert_uint_eq(calls[1].sent_count, 2);
    watch_close(&calls[1]);
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    watch_open(&fixture, &calls[0], "a");
    ck_assert_uint_eq(watch_seen_change(&calls[0], 0), 3);
    watch_close(&calls[0]);
    watch_finish(&fixture);
}

END_TEST

/* Between a change, or a delete, and its fan-out: one of two, then the last one. */
START_TEST(watch_forgets_a_watcher_that_is_to_be_told)
{
    struct watch_fixture fixture;
    static struct fake_call calls[2];

    for (unsigned is_delete = 0; is_delete < 2; is_delete++) {
        for (unsigned both = 0; both < 2; both++) {
            watch_start(&fixture, &watch_defaults);
            watch_put(&fixture, "a");
            watch_open(&fixture, &calls[0], "a");
            watch_open(&fixture, &calls[1], "a");
            if (is_delete) {
                watch_delete(&fixture, "a");
            } else {
                watch_put(&fixture, "a");
            }
            watch_close(&calls[0]);
            if (both) {
                watch_close(&calls[1]);
            }
            watch_settle(&fixture);
            if (!both) {
                ck_assert_uint_eq(calls[1].sent_count, 2);
                watch_close(&calls[1]);
            }
            watch_finish(&fixture);
        }
    }
}

END_TEST

/* While its client reads nothing: before and after a delete. */
START_TEST(watch_forgets_a_slow_watcher)
{
    struct watch_fixture fixture;
    static struct fake_call calls[2];

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    for (unsigned i = 0; i < 2; i++) {
        watch_open(&fixture, &calls[i], "a");
        calls[i].unsent_size = watch_defaults.max_unsent;
    }
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    watch_close(&calls[0]);
    watch_delete(&fixture, "a");
    watch_settle(&fixture);
    watch_close(&calls[1]);
    watch_settle(&fixture);
    watch_finish(&fixture);
}

END_TEST

/* In the middle of a fan-out of several slices: who was told, who is next, who is last. */
START_TEST(watch_forgets_watchers_between_slices)
{
    struct watch_fixture fixture;
    static struct fake_call calls[6];

    for (unsigned is_delete = 0; is_delete < 2; is_delete++) {
        watch_start(&fixture, &watch_defaults);
        watch_put(&fixture, "a");
        for (unsigned i = 0; i < 6; i++) {
            watch_open(&fixture, &calls[i], "a");
        }
        if (is_delete) {
            watch_delete(&fixture, "a");
        } else {
            watch_put(&fixture, "a");
        }
        fixture.step_ns = CLOCK_NS_PER_S; /* one watcher a slice */
        watch_turn(&fixture);
        watch_turn(&fixture);
        ck_assert_uint_eq(calls[1].sent_count, 2);
        ck_assert_uint_eq(calls[2].sent_count, 1);
        watch_close(&calls[0]);
        watch_close(&calls[2]);
        watch_close(&calls[5]);
        watch_settle(&fixture);
        ck_assert_uint_eq(calls[3].sent_count, 2);
        ck_assert_uint_eq(calls[4].sent_count, 2);
        watch_close(&calls[1]);
        watch_close(&calls[3]);
        watch_close(&calls[4]);
        watch_finish(&fixture);
    }
}

END_TEST

/* While the server ends: before its first slice, or after. */
START_TEST(watch_forgets_watchers_while_the_server_ends)
{
    struct watch_fixture fixture;
    static struct fake_call calls[4];

    for (unsigned after = 0; after < 2; after++) {
        watch_start(&fixture, &watch_defaults);
        watch_put(&fixture, "a");
        watch_put(&fixture, "b");
        for (unsigned i = 0; i < 4; i++) {
            watch_open(&fixture, &calls[i], i < 3 ? "a" : "b");
        }
        fixture.step_ns = CLOCK_NS_PER_S; /* one watcher a slice */
        user_watch_end(fixture.watch);
        if (after) {
            watch_turn(&fixture);
            ck_assert(calls[0].answered);
        }
        watch_close(&calls[1]);
        watch_close(&calls[3]);
        watch_settle(&fixture);
        ck_assert(calls[0].answered && calls[2].answered);
        fake_call_deinit(&calls[0]);
        fake_call_deinit(&calls[2]);
        watch_finish(&fixture);
    }
}

END_TEST

/* A call that the fan-out finds without memory ends with that; the others are told. */
START_TEST(watch_ends_a_watcher_without_memory)
{
    struct watch_fixture fixture;
    static struct fake_call calls[2];

    for (unsigned is_delete = 0; is_delete < 2; is_delete++) {
        watch_start(&fixture, &watch_defaults);
        watch_put(&fixture, "a");
        watch_open(&fixture, &calls[0], "a");
        watch_open(&fixture, &calls[1], "a");
        calls[0].send_result = -ENOMEM;
        if (is_delete) {
            watch_delete(&fixture, "a");
        } else {
            watch_put(&fixture, "a");
        }
        watch_settle(&fixture);
        watch_check_failed(&calls[0], GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
        ck_assert_uint_eq(calls[1].sent_count, 2);
        ck_assert_uint_eq(fixture.stats->watchers, is_delete ? 0 : 1);
        fake_call_deinit(&calls[0]);
        watch_close(&calls[1]);
        watch_finish(&fixture);
    }
}

END_TEST

/* Whichever allocation of a new watcher fails (its own, the group's, the map's): the call ends with
 * that, and nothing stays. */
START_TEST(watch_survives_every_failed_allocation)
{
    static const uint8_t request[] = {1 << 3 | PROTO_WIRE_BYTES, 1, 'a'};
    struct watch_fixture fixture;
    static struct fake_call call;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    for (unsigned nth = 1; nth <= 3; nth++) {
        fake_call_init(&call);
        call.call.host = &fixture.host;
        allocation_faults_arm(nth);
        user_watch_handle(fixture.watch, &call.call, (struct bytes){request, sizeof(request)});
        ck_assert(allocation_faults_disarm());
        watch_check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
        ck_assert_uint_eq(fixture.stats->watchers, 0);
        fake_call_deinit(&call);
    }
    watch_open(&fixture, &call, "a");
    ck_assert_uint_eq(call.sent_count, 1);
    watch_close(&call);
    watch_finish(&fixture);
}

END_TEST

/* Telling of a delete needs no memory: without it the last message says id and status alone. */
START_TEST(watch_tells_of_a_delete_without_memory)
{
    struct watch_fixture fixture;
    static struct fake_call call;
    const struct user user = {.id = BYTES_LITERAL("a"), .etag = BYTES_LITERAL("\"2\"")};
    struct user_record record = {0};
    struct commit_event event = {.revision = 2, .record_type = USER_RECORD_DELETE};
    struct buf message = {0};
    struct buf body = {0};
    struct user seen;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &call, "a");
    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    event.record = buf_bytes(&body);
    allocation_faults_arm(1);
    user_watch_note(fixture.watch, &event);
    ck_assert(allocation_faults_disarm());
    ck_assert_int_eq(user_store_apply(fixture.store, &event), 0);
    buf_deinit(&message);
    buf_deinit(&body);
    watch_settle(&fixture);
    watch_check_deleted(&call);
    seen = watch_seen(&call, 1);
    ck_assert(bytes_equal(seen.id, bytes_from_text("a")));
    ck_assert_uint_eq(seen.username.size, 0);
    fake_call_deinit(&call);
    watch_finish(&fixture);
}

END_TEST

UNIT_MAIN("lifetime_watch", watch_forgets_an_idle_watcher,
          watch_forgets_a_watcher_that_is_to_be_told, watch_forgets_a_slow_watcher,
          watch_forgets_watchers_between_slices, watch_forgets_watchers_while_the_server_ends,
          watch_ends_a_watcher_without_memory, watch_survives_every_failed_allocation,
          watch_tells_of_a_delete_without_memory)
