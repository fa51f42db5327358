#include "stream_fixture.h"

/*
 * The client goes away, or the stream fails, in every state that an item can be in. Afterwards
 * nobody holds the call, what was not submitted has left no trace, what was submitted is stored.
 */

static void check_gone(const struct stream_fixture *fixture, struct fake_call *call,
                       unsigned user_count)
{
    ck_assert_uint_eq(call->call.holds, 0);
    ck_assert_uint_eq(fixture->writer.live_count, 0);
    ck_assert_uint_eq(user_store_count(fixture->writer.store), user_count);
    fake_call_deinit(call);
}

/* The names of an item that came to nothing are free. */
static void check_free(struct stream_fixture *fixture, const char *name)
{
    static struct fake_call call;
    uint64_t count = user_store_count(fixture->writer.store);

    open_sync(fixture, &call);
    send_user(&call, "", name);
    fake_call_half_close(&call);
    settle(fixture);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    ck_assert_uint_eq(user_store_count(fixture->writer.store), count + 1);
    fake_call_deinit(&call);
}

/* Before the first message, and with a message that was not looked at yet. */
START_TEST(stream_ends_before_it_has_done_anything)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    fake_call_cancel(&call);
    turn(&fixture);
    check_gone(&fixture, &call, 0);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    fake_call_message(&call, "garbage", 7);
    fake_call_cancel(&call);
    turn(&fixture);
    check_gone(&fixture, &call, 0);
    check_free(&fixture, "anna");
    stream_finish(&fixture);
}

END_TEST

/* While passwords wait, and one is being hashed: the names are free at once, the stream lives until
 * the jobs have come back. */
START_TEST(stream_forgets_items_that_are_hashed)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "berta");
    turn(&fixture);
    fake_pool_work_first();
    fake_call_cancel(&call);
    turn(&fixture);
    ck_assert_uint_eq(call.call.holds, 1);
    check_free(&fixture, "anna");
    settle(&fixture);
    ck_assert_uint_eq(fake_pool.works_run, 1);
    check_gone(&fixture, &call, 1);
    stream_finish(&fixture);
}

END_TEST

/* Hashed, and waiting for an earlier one. */
START_TEST(stream_forgets_items_that_are_ready)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "berta");
    turn(&fixture);
    ck_assert(fake_pool_run_one(true));
    fake_call_cancel(&call);
    turn(&fixture);
    check_free(&fixture, "berta");
    settle(&fixture);
    check_gone(&fixture, &call, 1);
    stream_finish(&fixture);
}

END_TEST

/* The log has it: it stays, and what is behind it comes to nothing. */
START_TEST(stream_keeps_items_that_were_submitted)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "berta");
    turn(&fixture);
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    fake_call_cancel(&call);
    settle(&fixture);
    check_gone(&fixture, &call, 1);
    ck_assert(is_text(logged_name(&fixture, 0), "anna"));
    check_free(&fixture, "berta");
    stream_finish(&fixture);
}

END_TEST

/* Submitted, refused by a full log, and waiting for its next try; or refused just after. */
START_TEST(stream_forgets_items_that_the_log_has_no_room_for)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    fake_log_refuse(&fixture.log, 1, COMMIT_FULL, &fixture.reactor);
    turn(&fixture);
    ck_assert_uint_eq(fixture.streams.retries, 1);
    fake_call_cancel(&call);
    turn(&fixture);
    check_gone(&fixture, &call, 0);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    turn(&fixture);
    fake_call_cancel(&call);
    turn(&fixture);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_FULL));
    turn(&fixture);
    check_gone(&fixture, &call, 0);
    check_free(&fixture, "anna");
    stream_finish(&fixture);
}

END_TEST

/* An item that waits behind another stream's change lets go once that is done, without effect. */
START_TEST(stream_forgets_items_that_wait)
{
    static struct stream_fixture fixture;
    static struct fake_call first;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &first);
    open_sync(&fixture, &call);
    send_user(&first, "a", "anna");
    turn(&fixture);
    send_user(&call, "a", "berta");
    send_user(&call, "c", "carl");
    turn(&fixture);
    fake_call_cancel(&call);
    fake_call_half_close(&first);
    settle(&fixture);
    ck_assert_int_eq(first.status, GRPC_STATUS_OK);
    fake_call_deinit(&first);
    check_gone(&fixture, &call, 1);
    ck_assert_uint_eq(fixture.log.record_count, 1);
    stream_finish(&fixture);
}

END_TEST

/* An item that another stream waits for goes away while it is ready: the other steps in. */
START_TEST(stream_lets_others_in_when_it_goes)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    static struct fake_call other;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    fake_log_refuse(&fixture.log, 1, COMMIT_FULL, &fixture.reactor);
    turn(&fixture);
    open_sync(&fixture, &other);
    send_user(&other, "a", "berta");
    turn(&fixture);
    ck_assert(other.paused);
    fake_call_cancel(&call);
    settle(&fixture);
    ck_assert_uint_eq(other.sent_count, 1);
    fake_call_half_close(&other);
    settle(&fixture);
    fake_call_deinit(&other);
    check_gone(&fixture, &call, 1);
    stream_finish(&fixture);
}

END_TEST

/* Refused by the pool, and by an earlier item: nothing is on its way, only the timer. */
START_TEST(stream_forgets_items_that_try_again)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    fake_pool_init(0);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    turn(&fixture);
    ck_assert(call.paused);
    fake_call_cancel(&call);
    turn(&fixture);
    check_gone(&fixture, &call, 0);
    fake_pool_init(10);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "anna");
    turn(&fixture);
    fake_call_cancel(&call);
    settle(&fixture);
    check_gone(&fixture, &call, 0);
    stream_finish(&fixture);
}

END_TEST

/* The stream fails while items behind the bad one are being hashed, ready and not begun. */
START_TEST(stream_forgets_what_is_behind_a_failure)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    char name[16];

    stream_start(&fixture);
    open_batch(&fixture, &call);
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        send_create(&call, name);
    }
    turn(&fixture);
    ck_assert(fake_pool_run_one(true));
    fake_log_refuse(&fixture.log, 1, COMMIT_NO_SPACE, &fixture.reactor);
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    ck_assert(call.answered);
    ck_assert_str_eq(call.reason, "DISK_FULL");
    settle(&fixture);
    check_gone(&fixture, &call, 0);
    ck_assert_uint_eq(fake_pool.works_run, 2);
    stream_finish(&fixture);
}

END_TEST

/* The log fails with items submitted: those names stay reserved, and go with the writer. */
START_TEST(stream_outlives_items_of_unknown_outcome)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    turn(&fixture);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_UNKNOWN));
    ck_assert(fake_log_settle(&fixture.log, COMMIT_UNKNOWN));
    turn(&fixture);
    ck_assert_int_eq(call.status, GRPC_STATUS_UNKNOWN);
    check_gone(&fixture, &call, 0);
    stream_finish(&fixture);
}

END_TEST

/* An answer that there is no memory for ends the call; the change stays. */
START_TEST(stream_ends_without_memory_for_an_answer)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    call.send_result = -12;
    settle(&fixture);
    ck_assert_str_eq(call.reason, "OUT_OF_MEMORY");
    check_gone(&fixture, &call, 1);
    stream_finish(&fixture);
}

END_TEST

UNIT_MAIN("lifetime_stream", stream_ends_before_it_has_done_anything,
          stream_forgets_items_that_are_hashed, stream_forgets_items_that_are_ready,
          stream_keeps_items_that_were_submitted, stream_forgets_items_that_the_log_has_no_room_for,
          stream_forgets_items_that_wait, stream_lets_others_in_when_it_goes,
          stream_forgets_items_that_try_again, stream_forgets_what_is_behind_a_failure,
          stream_outlives_items_of_unknown_outcome, stream_ends_without_memory_for_an_answer)
