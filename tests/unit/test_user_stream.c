#include "http2/grpc_error.h"
#include "stream_fixture.h"

/* Users are created, and answered, in the order of the stream, whichever hash is ready first. */
START_TEST(user_stream_keeps_the_order)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "berta");
    send_create(&call, "carl");
    turn(&fixture);
    ck_assert(fake_pool_run_one(true));
    ck_assert(fake_pool_run_one(true));
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 0);
    ck_assert(fake_pool_run_one(true));
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 3); /* one flush for all */
    ck_assert_uint_eq(call.sent_count, 0);
    settle(&fixture);
    ck_assert(is_text(logged_name(&fixture, 0), "anna"));
    ck_assert(is_text(logged_name(&fixture, 2), "carl"));
    ck_assert_uint_eq(call.sent_count, 3);
    ck_assert(is_text(created_user(&call, 0).username, "anna"));
    ck_assert(is_text(created_user(&call, 1).username, "berta"));
    ck_assert(is_text(created_user(&call, 2).username, "carl"));
    ck_assert(is_text(created_user(&call, 1).email, "berta@x"));
    ck_assert_uint_eq(fixture.streams.items_done, 3);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* So many passwords of one stream are hashed at once, and no more; the call is paused meanwhile. */
START_TEST(user_stream_hashes_side_by_side)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    char name[16];

    stream_start(&fixture);
    open_batch(&fixture, &call);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        send_create(&call, name);
    }
    turn(&fixture);
    ck_assert_uint_eq(fake_pool.job_count, 8);
    ck_assert(call.paused);
    ck_assert(fake_pool_run_one(false));
    turn(&fixture);
    ck_assert_uint_eq(fake_pool.job_count, 8);
    ck_assert_uint_eq(submitted_count(&fixture), 1);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 20);
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        ck_assert(is_text(created_user(&call, i).username, name));
    }
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* Synced users are all on their way before the first is durable. */
START_TEST(user_stream_pipelines_a_sync)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    char name[16];

    stream_start(&fixture);
    open_sync(&fixture, &call);
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        send_user(&call, name, name);
    }
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 10);
    ck_assert(!call.paused);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 10);
    ck_assert(is_text(synced_user(&call, 9).id, "user9"));
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* The first item that fails ends a batch, when those before were answered; those behind have no
 * effect. */
START_TEST(user_stream_ends_at_the_first_failure)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    send_create(&call, "ANNA");
    send_create(&call, "carl");
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 1);
    check_failed(&call, GRPC_STATUS_ALREADY_EXISTS, "USER_ALREADY_EXISTS", "index=1; ");
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 1);
    ck_assert_uint_eq(fixture.streams.items_failed, 1);
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* So does an item with bad fields, though it is known to be bad before the others are begun. */
START_TEST(user_stream_ends_at_a_bad_item)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    struct buf message = {0};

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    add_text(&message, 1, "berta");
    add_text(&message, 2, "b@x");
    add_text(&message, 3, "short");
    send_message(&call, &message);
    ck_assert(call.paused); /* nothing more is taken */
    turn(&fixture);
    ck_assert(!call.answered);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 1);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS", "index=1; ");
    ck_assert_str_eq(call.fields, "password: must have at least 8 characters; ");
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* What the log refuses ends the stream, and what is ready behind it is not submitted. */
START_TEST(user_stream_submits_nothing_behind_a_refused_item)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    send_user(&call, "c", "carl");
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 3);
    send_user(&call, "d", "dora");
    send_user(&call, "e", "emil");
    fake_log_refuse(&fixture.log, 1, COMMIT_NO_SPACE, &fixture.reactor);
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 3);
    ck_assert(!call.answered);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 3);
    check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "DISK_FULL", "index=3; ");
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 3);
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* Asked to, a batch answers what fails with the error, and goes on. */
START_TEST(user_stream_goes_on_when_asked_to)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    struct buf message = {0};
    struct buf lines = {0};

    stream_start(&fixture);
    open_lenient(&fixture, &call, "true");
    send_create(&call, "anna");
    send_create(&call, "anna");
    add_text(&message, 1, "berta");
    send_message(&call, &message);
    send_create(&call, "carl");
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 4);
    ck_assert(is_text(created_user(&call, 0).username, "anna"));
    ck_assert(is_text(created_user(&call, 3).username, "carl"));
    ck_assert_int_eq(grpc_error_describe(answer_field(&call, 1, 2), &lines), 0);
    ck_assert_int_eq(buf_append(&lines, "", 1), 0);
    ck_assert_ptr_nonnull(strstr((const char *)buf_bytes(&lines).data, "USER_ALREADY_EXISTS"));
    buf_clear(&lines);
    ck_assert_int_eq(grpc_error_describe(answer_field(&call, 2, 2), &lines), 0);
    ck_assert_int_eq(buf_append(&lines, "", 1), 0);
    ck_assert_ptr_nonnull(strstr((const char *)buf_bytes(&lines).data, "MISSING_FIELDS"));
    ck_assert_ptr_nonnull(memmem(answer_field(&call, 2, 2).data, answer_field(&call, 2, 2).size,
                                 "\x05index\x12\x01"
                                 "2",
                                 9));
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 2);
    ck_assert_uint_eq(fixture.streams.items_done, 2);
    ck_assert_uint_eq(fixture.streams.items_failed, 2);
    buf_deinit(&lines);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* Any other value of that metadata, and a sync, end at the failure. */
START_TEST(user_stream_goes_on_for_true_alone)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    struct grpc_metadata_field field;

    stream_start(&fixture);
    open_lenient(&fixture, &call, "True");
    fake_call_message(&call, "", 0);
    settle(&fixture);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS", "index=0; ");
    fake_call_deinit(&call);
    fake_call_init(&call);
    set_goes_on(&call, &field, "true");
    user_stream_open_sync(&fixture.streams, &call.call);
    fake_call_message(&call, "", 0);
    settle(&fixture);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS", "index=0; ");
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* What is no message, and a log that fails, end every stream. */
START_TEST(user_stream_always_ends_at_the_worst)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_lenient(&fixture, &call, "true");
    send_create(&call, "anna");
    fake_call_message(&call, "\x0a\xff", 2);
    ck_assert(call.paused);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 1);
    check_failed(&call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE", "index=1; ");
    fake_call_deinit(&call);
    open_lenient(&fixture, &call, "true");
    send_create(&call, "berta");
    turn(&fixture);
    fake_pool_run();
    turn(&fixture);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_UNKNOWN));
    turn(&fixture);
    check_failed(&call, GRPC_STATUS_UNKNOWN, "COMMIT_OUTCOME_UNKNOWN", "index=0; ");
    fake_call_deinit(&call);
    fixture.writer.log_failed = true;
    open_sync(&fixture, &call);
    send_user(&call, "c", "carl");
    turn(&fixture);
    check_failed(&call, GRPC_STATUS_UNAVAILABLE, "LOG_UNAVAILABLE", "index=0; ");
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

/* A stream has the effect of its items one after the other: names may go round. */
START_TEST(user_stream_has_the_effect_of_a_sequence)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    settle(&fixture);
    send_user(&call, "a", "tmp");
    send_user(&call, "b", "anna");
    send_user(&call, "a", "berta");
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 1);
    ck_assert(call.paused);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 5);
    ck_assert(is_text(synced_user(&call, 2).username, "tmp"));
    ck_assert(is_text(synced_user(&call, 3).username, "anna"));
    ck_assert(is_text(synced_user(&call, 4).username, "berta"));
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* The same user twice in one stream: the second change is planned on the first. */
START_TEST(user_stream_changes_a_user_twice)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "a", "berta");
    send_user(&call, "c", "carl");
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 1);
    settle(&fixture);
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 2);
    ck_assert(is_text(synced_user(&call, 1).username, "berta"));
    ck_assert(is_text(logged_name(&fixture, 2), "carl"));
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* A request_id makes one user, inside a stream and across streams. */
START_TEST(user_stream_answers_a_request_id_again)
{
    static struct stream_fixture fixture;
    static struct fake_call first;
    static struct fake_call second;

    stream_start(&fixture);
    open_batch(&fixture, &first);
    open_batch(&fixture, &second);
    send_create_as(&first, "anna", "r-1");
    send_create_as(&first, "anna", "r-1");
    send_create_as(&second, "anna", "r-1");
    send_create(&second, "berta");
    settle(&fixture);
    ck_assert_uint_eq(first.sent_count, 2);
    ck_assert(bytes_equal(fake_call_sent(&first, 0), fake_call_sent(&first, 1)));
    ck_assert(bytes_equal(fake_call_sent(&first, 0), fake_call_sent(&second, 0)));
    ck_assert_uint_eq(second.sent_count, 2);
    ck_assert_uint_eq(fake_pool.works_run, 2);
    end_well(&fixture, &first);
    end_well(&fixture, &second);
    stream_finish(&fixture);
}

END_TEST

/* A full queue of hashes fails no item: the call is paused, and the item tries again after a while,
 * or when another one of the stream is done. */
START_TEST(user_stream_waits_for_the_pool)
{
    static struct stream_fixture fixture;
    static struct fake_call other;
    static struct fake_call call;

    stream_start(&fixture);
    fake_pool_init(1);
    open_batch(&fixture, &other);
    send_create(&other, "anna");
    turn(&fixture);
    open_batch(&fixture, &call);
    send_create(&call, "berta");
    send_create(&call, "carl");
    turn(&fixture);
    ck_assert(call.paused);
    ck_assert_uint_eq(fixture.streams.retries, 1);
    let_time_pass(&fixture, 20); /* still full */
    ck_assert(call.paused);
    ck_assert_uint_eq(fixture.streams.retries, 2);
    fake_pool_run();
    let_time_pass(&fixture, 20);
    ck_assert_uint_eq(fake_pool.job_count, 1);
    ck_assert(call.paused); /* carl */
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 2); /* carl did not wait for the timer */
    end_well(&fixture, &other);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* A full log fails no item either. What was hashed is not hashed again, and keeps its names and its
 * place. */
START_TEST(user_stream_waits_for_the_log)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    static struct fake_call other;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    send_create_as(&call, "anna", "r-1");
    send_create(&call, "berta");
    fake_log_refuse(&fixture.log, 1, COMMIT_FULL, &fixture.reactor);
    settle(&fixture);
    ck_assert_uint_eq(fixture.log.record_count, 0);
    ck_assert_uint_eq(fixture.streams.retries, 1);
    open_batch(&fixture, &other);
    send_create(&other, "anna");
    settle(&fixture);
    check_failed(&other, GRPC_STATUS_ALREADY_EXISTS, "USER_ALREADY_EXISTS", "index=0; ");
    fake_call_deinit(&other);
    fake_log_refuse(&fixture.log, 1, COMMIT_SLOW, &fixture.reactor);
    let_time_pass(&fixture, 20);
    ck_assert_uint_eq(fixture.streams.retries, 2);
    let_time_pass(&fixture, 20);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 2);
    ck_assert(is_text(logged_name(&fixture, 0), "anna"));
    ck_assert(is_text(logged_name(&fixture, 1), "berta"));
    ck_assert_uint_eq(fake_pool.works_run, 2);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* A sync that finds the log full is planned anew, and what waits behind it goes on waiting. */
START_TEST(user_stream_plans_a_sync_anew)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    settle(&fixture);
    send_user(&call, "a", "berta");
    send_user(&call, "a", "carl");
    fake_log_refuse(&fixture.log, 1, COMMIT_FULL, &fixture.reactor);
    turn(&fixture);
    ck_assert_uint_eq(submitted_count(&fixture), 0);
    ck_assert(call.paused);
    let_time_pass(&fixture, 20);
    ck_assert_uint_eq(submitted_count(&fixture), 1);
    settle(&fixture);
    ck_assert(is_text(logged_name(&fixture, 1), "berta"));
    ck_assert(is_text(logged_name(&fixture, 2), "carl"));
    ck_assert(is_text(synced_user(&call, 2).username, "carl"));
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* Too many who wait for a change of one user: the item waits too. */
START_TEST(user_stream_waits_in_a_crowd)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[USER_WRITE_WAITERS_MAX + 2];
    const unsigned count = USER_WRITE_WAITERS_MAX + 2;

    stream_start(&fixture);
    for (unsigned i = 0; i < count; i++) {
        open_sync(&fixture, &calls[i]);
        send_user(&calls[i], "a", i % 2 == 0 ? "anna" : "berta");
        turn(&fixture);
    }
    ck_assert_uint_eq(fixture.streams.retries, 1);
    settle(&fixture);
    ck_assert(!calls[count - 1].answered);
    let_time_pass(&fixture, 20);
    for (unsigned i = 0; i < count; i++) {
        settle(&fixture);
        ck_assert_uint_eq(calls[i].sent_count, 1);
        end_well(&fixture, &calls[i]);
    }
    stream_finish(&fixture);
}

END_TEST

/* A client that does not read its answers is not read from. */
START_TEST(user_stream_pauses_for_a_slow_reader)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    call.unsent_size = 999;
    settle(&fixture);
    ck_assert(!call.paused);
    send_user(&call, "b", "berta");
    call.unsent_size = 1000;
    settle(&fixture);
    ck_assert(call.paused);
    ck_assert_uint_eq(call.sent_count, 2);
    fake_call_writable(&call);
    turn(&fixture);
    ck_assert(!call.paused);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* At most limits.max_stream_inflight items are on their way. */
START_TEST(user_stream_pauses_when_it_is_full)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    fixture.streams.options.max_inflight = 2;
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    ck_assert(!call.paused);
    send_user(&call, "b", "berta");
    ck_assert(call.paused);
    turn(&fixture);
    ck_assert(call.paused);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_DONE));
    turn(&fixture);
    ck_assert(!call.paused);
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* Message number limits.max_stream_messages + 1 ends the stream, behind the answers. */
START_TEST(user_stream_takes_so_many_messages)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    fixture.streams.options.max_messages = 2;
    open_sync(&fixture, &call);
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    send_user(&call, "c", "carl");
    ck_assert(call.paused);
    turn(&fixture);
    ck_assert(!call.answered);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 2);
    check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_MESSAGES", "index=2; ");
    ck_assert_uint_eq(fixture.reactor.limits_hit.counts[LIMITS_HIT_STREAM_MESSAGES], 1);
    ck_assert_ptr_nonnull(strstr(call.message, "limits.max_stream_messages"));
    ck_assert_uint_eq(user_store_count(fixture.writer.store), 2);
    fake_call_deinit(&call);
    open_sync(&fixture, &call); /* just so many are fine */
    send_user(&call, "a", "anna");
    send_user(&call, "b", "berta");
    end_well(&fixture, &call);
    stream_finish(&fixture);
}

END_TEST

/* The client's end is answered with OK once everything else is: at once without any item. */
START_TEST(user_stream_ends_with_its_client)
{
    static struct stream_fixture fixture;
    static struct fake_call call;

    stream_start(&fixture);
    open_batch(&fixture, &call);
    end_well(&fixture, &call);
    open_batch(&fixture, &call);
    send_create(&call, "anna");
    fake_call_half_close(&call);
    turn(&fixture);
    fake_pool_run();
    turn(&fixture);
    ck_assert(!call.answered);
    ck_assert(fake_log_settle(&fixture.log, COMMIT_DONE));
    turn(&fixture);
    ck_assert_uint_eq(call.sent_count, 1);
    ck_assert_int_eq(call.answer_count, 1);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    fake_call_deinit(&call);
    stream_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_stream", user_stream_keeps_the_order, user_stream_hashes_side_by_side,
          user_stream_pipelines_a_sync, user_stream_ends_at_the_first_failure,
          user_stream_ends_at_a_bad_item, user_stream_submits_nothing_behind_a_refused_item,
          user_stream_goes_on_when_asked_to, user_stream_goes_on_for_true_alone,
          user_stream_always_ends_at_the_worst, user_stream_has_the_effect_of_a_sequence,
          user_stream_changes_a_user_twice, user_stream_answers_a_request_id_again,
          user_stream_waits_for_the_pool, user_stream_waits_for_the_log,
          user_stream_plans_a_sync_anew, user_stream_waits_in_a_crowd,
          user_stream_pauses_for_a_slow_reader, user_stream_pauses_when_it_is_full,
          user_stream_takes_so_many_messages, user_stream_ends_with_its_client)
