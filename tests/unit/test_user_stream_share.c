#include "stream_fixture.h"

/* What streams leave to each other, and to everybody else. */

static void send_creates(struct fake_call *call, const char *prefix, unsigned count)
{
    char name[16];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "%s%u", prefix, i);
        send_create(call, name);
    }
}

static void send_users(struct fake_call *call, const char *prefix, unsigned count)
{
    char name[16];

    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "%s%u", prefix, i);
        send_user(call, name, name);
    }
}

/* All streams together have so many passwords hashed and no more, each in its turn: one that came
 * late does not wait until the others have nothing left. */
START_TEST(user_stream_takes_turns_in_hashing)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[3];

    stream_start(&fixture);
    fixture.streams.options.max_hashing = 3;
    open_batch(&fixture, &calls[0]);
    send_creates(&calls[0], "a", 12);
    turn(&fixture);
    ck_assert_uint_eq(fake_pool.job_count, 3);
    for (unsigned i = 1; i < 3; i++) {
        open_batch(&fixture, &calls[i]);
        send_creates(&calls[i], i == 1 ? "b" : "c", 2);
    }
    turn(&fixture);
    for (unsigned i = 0; i < 5; i++) { /* a0 a1 a2, then b0 and a3 or c0: all have had a turn */
        ck_assert_uint_eq(fake_pool.job_count, 3);
        ck_assert_uint_eq(fixture.streams.hash_count, 3);
        ck_assert(fake_pool_run_one(false));
        turn(&fixture);
        fake_log_settle(&fixture.log, COMMIT_DONE);
        turn(&fixture);
    }
    ck_assert_uint_ge(calls[1].sent_count, 1);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(fake_pool_run_one(false));
        turn(&fixture);
        fake_log_settle(&fixture.log, COMMIT_DONE);
        turn(&fixture);
    }
    ck_assert_uint_ge(calls[2].sent_count, 1);
    ck_assert_uint_lt(calls[0].sent_count, 7);
    for (unsigned i = 0; i < 3; i++) {
        end_well(&fixture, &calls[i]);
        ck_assert_uint_eq(calls[i].sent_count, i == 0 ? 12 : 2);
    }
    ck_assert_uint_eq(fixture.streams.retries, 0); /* nobody had to look by the clock */
    stream_finish(&fixture);
}

END_TEST

/* A stream that ends while it waits for its turn, or while its own password is hashed, keeps nobody
 * behind it waiting. */
START_TEST(user_stream_gives_its_turn_away_at_its_end)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[4];

    stream_start(&fixture);
    fixture.streams.options.max_hashing = 1;
    for (unsigned i = 0; i < 4; i++) {
        open_batch(&fixture, &calls[i]);
        send_creates(&calls[i], (const char *[]){"a", "b", "c", "d"}[i], 2);
        turn(&fixture);
    }
    ck_assert_uint_eq(fake_pool.job_count, 1);
    fake_call_cancel(&calls[1]); /* the first of those that wait */
    fake_call_cancel(&calls[0]); /* has its password in the pool, which may be at work */
    turn(&fixture);
    ck_assert_uint_eq(fake_pool.job_count, 1);
    settle(&fixture);
    ck_assert_uint_eq(fake_pool.works_run, 4);
    fake_call_deinit(&calls[0]);
    fake_call_deinit(&calls[1]);
    for (unsigned i = 2; i < 4; i++) {
        end_well(&fixture, &calls[i]);
        ck_assert_uint_eq(calls[i].sent_count, 2);
    }
    stream_finish(&fixture);
}

END_TEST

/* Not the stream that happens to run first gets the room, but the one whose turn it is. */
START_TEST(user_stream_does_not_jump_the_queue)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[2];

    stream_start(&fixture);
    fixture.streams.options.max_hashing = 1;
    for (unsigned i = 0; i < 2; i++) {
        open_batch(&fixture, &calls[i]);
        send_creates(&calls[i], i == 0 ? "a" : "b", 1);
        turn(&fixture);
    }
    send_create(&calls[0], "a1"); /* its task is the first of this turn */
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 2);
    while (fake_log_settle(&fixture.log, COMMIT_DONE)) {
    }
    ck_assert(is_text(logged_name(&fixture, 1), "b0"));
    end_well(&fixture, &calls[0]);
    end_well(&fixture, &calls[1]);
    stream_finish(&fixture);
}

END_TEST

/* One whose item needs no hash after all lets the next one have its turn at once. */
START_TEST(user_stream_passes_its_turn_on_at_once)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[3];

    stream_start(&fixture);
    fixture.streams.options.max_hashing = 1;
    for (unsigned i = 0; i < 3; i++) {
        open_lenient(&fixture, &calls[i], "true");
        send_create(&calls[i], (const char *[]){"anna", "ANNA", "carl"}[i]);
        turn(&fixture);
    }
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    ck_assert_uint_eq(calls[1].sent_count, 1); /* taken */
    ck_assert_uint_eq(fake_pool.job_count, 1);
    for (unsigned i = 0; i < 3; i++) {
        end_well(&fixture, &calls[i]);
        ck_assert_uint_eq(calls[i].sent_count, 1);
    }
    stream_finish(&fixture);
}

END_TEST

/* Nor does one that finds the pool full keep others waiting who need no place in it. */
START_TEST(user_stream_gives_its_turn_away_without_a_hash)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[3];

    stream_start(&fixture);
    fixture.streams.options.max_hashing = 2;
    fake_pool.job_max = 1;
    open_batch(&fixture, &calls[0]);
    send_creates(&calls[0], "a", 1);
    turn(&fixture);
    open_lenient(&fixture, &calls[1], "true");
    send_create(&calls[1], "A0"); /* taken */
    turn(&fixture);
    open_batch(&fixture, &calls[2]);
    send_creates(&calls[2], "c", 1);
    turn(&fixture);
    ck_assert_uint_eq(fixture.streams.retries, 1);
    ck_assert_uint_eq(calls[1].sent_count, 1);
    settle(&fixture);
    let_time_pass(&fixture, 20);
    for (unsigned i = 0; i < 3; i++) {
        end_well(&fixture, &calls[i]);
        ck_assert_uint_eq(calls[i].sent_count, 1);
    }
    stream_finish(&fixture);
}

END_TEST

/* All streams together have so many changes wait for the disk and no more. */
START_TEST(user_stream_leaves_room_in_the_log)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[2];

    stream_start(&fixture);
    fixture.streams.options.max_submitted = 4;
    for (unsigned i = 0; i < 2; i++) {
        open_sync(&fixture, &calls[i]);
        send_users(&calls[i], i == 0 ? "a" : "b", 6);
        turn(&fixture);
        ck_assert_uint_eq(submitted_count(&fixture), 4);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(fake_log_settle(&fixture.log, COMMIT_DONE));
    }
    turn(&fixture);
    ck_assert_uint_eq(calls[0].sent_count, 4);
    ck_assert_uint_eq(submitted_count(&fixture), 2);
    let_time_pass(&fixture, 20); /* the other has nothing under way that could wake it */
    ck_assert_uint_eq(submitted_count(&fixture), 4);
    ck_assert_uint_eq(fixture.streams.submitted_count, 4);
    settle(&fixture);
    let_time_pass(&fixture, 20);
    for (unsigned i = 0; i < 2; i++) {
        end_well(&fixture, &calls[i]);
        ck_assert_uint_eq(calls[i].sent_count, 6);
    }
    stream_finish(&fixture);
}

END_TEST

/* A refused record, and one whose stream has gone, do not count for ever: stream_finish() sees. */
START_TEST(user_stream_counts_what_the_log_refuses)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    fake_log_refuse(&fixture.log, 1, COMMIT_FULL, &fixture.reactor);
    open_sync(&fixture, &call);
    send_users(&call, "a", 3);
    turn(&fixture);
    ck_assert_uint_eq(fixture.streams.submitted_count, 0);
    let_time_pass(&fixture, 20);
    ck_assert_uint_eq(fixture.streams.submitted_count, 3);
    fake_call_cancel(&call);
    settle(&fixture);
    fake_call_deinit(&call);
    fake_log_refuse(&fixture.log, 1, COMMIT_NO_SPACE, &fixture.reactor);
    open_sync(&fixture, &call);
    send_users(&call, "b", 3);
    settle(&fixture);
    check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "DISK_FULL", "index=0; ");
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* Of messages whose items cannot be begun only so many become items: these are large. */
START_TEST(user_stream_takes_few_that_it_cannot_begin)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[2];

    stream_start(&fixture);
    fixture.streams.options.max_inflight = 100;
    fixture.streams.options.max_submitted = 200;
    open_sync(&fixture, &calls[0]);
    send_user(&calls[0], "hot", "name");
    turn(&fixture);
    open_sync(&fixture, &calls[1]);
    for (unsigned i = 0; i < 32; i++) {
        ck_assert(!calls[1].paused);
        send_user(&calls[1], "hot", i % 2 == 0 ? "even" : "odd");
    }
    ck_assert(calls[1].paused);
    turn(&fixture);
    ck_assert(calls[1].paused);
    settle(&fixture);
    ck_assert_uint_eq(calls[1].sent_count, 32);
    for (unsigned i = 0; i < 2; i++) { /* those that can be begun go on at once */
        ck_assert(!calls[1].paused);
        send_users(&calls[1], i == 0 ? "x" : "y", 32);
        ck_assert(calls[1].paused);
        turn(&fixture);
    }
    ck_assert(!calls[1].paused);
    ck_assert_uint_eq(submitted_count(&fixture), 64);
    end_well(&fixture, &calls[0]);
    end_well(&fixture, &calls[1]);
    stream_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_stream_share", user_stream_takes_turns_in_hashing,
          user_stream_gives_its_turn_away_at_its_end, user_stream_does_not_jump_the_queue,
          user_stream_passes_its_turn_on_at_once, user_stream_gives_its_turn_away_without_a_hash,
          user_stream_leaves_room_in_the_log, user_stream_counts_what_the_log_refuses,
          user_stream_takes_few_that_it_cannot_begin)
