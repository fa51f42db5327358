#include "watch_fixture.h"

/* What cannot be watched is answered as GetUser does. */
START_TEST(watch_answers_bad_requests_like_get_user)
{
    struct watch_fixture fixture;
    static struct fake_call call;
    char id[66];

    watch_start(&fixture, &watch_defaults);
    watch_call(&fixture, &call, (struct bytes){(const uint8_t *)"", 0});
    watch_check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS");
    fake_call_deinit(&call);
    watch_open(&fixture, &call, "");
    watch_check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS");
    fake_call_deinit(&call);
    memset(id, 'x', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    watch_open(&fixture, &call, id);
    watch_check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "INVALID_FIELDS");
    fake_call_deinit(&call);
    watch_open(&fixture, &call, "nobody");
    watch_check_failed(&call, GRPC_STATUS_NOT_FOUND, "USER_NOT_FOUND");
    ck_assert_str_eq(call.message, "User nobody not found");
    fake_call_deinit(&call);
    watch_call(&fixture, &call, BYTES_LITERAL("\x0a\x7f"));
    watch_check_failed(&call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE");
    fake_call_deinit(&call);
    watch_call(&fixture, &call, BYTES_LITERAL("\x0a\x02x\0"));
    watch_check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "NUL_IN_TEXT");
    fake_call_deinit(&call);
    watch_finish(&fixture);
}

END_TEST

/* The first message is the user as stored, at once. */
START_TEST(watch_sends_the_present_user_first)
{
    struct watch_fixture fixture;
    static struct fake_call call;
    const struct user_entry *entry;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_put(&fixture, "a");
    watch_open(&fixture, &call, "a");
    ck_assert_uint_eq(call.sent_count, 1);
    entry = user_store_find(fixture.store, bytes_from_text("a"));
    ck_assert(bytes_equal(fake_call_sent(&call, 0), user_entry_message(entry)));
    ck_assert_uint_eq(fixture.stats->watchers, 1);
    ck_assert_uint_eq(fixture.host.long_streams, 1);
    watch_settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 1);
    ck_assert(!call.answered);
    watch_close(&call);
    watch_finish(&fixture);
}

END_TEST

/* Who reads as fast as it is told sees every change once, in order, and nothing of other users. */
START_TEST(watch_tells_a_fast_reader_of_every_change)
{
    struct watch_fixture fixture;
    static struct fake_call calls[3];

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a"); /* change 1 */
    watch_put(&fixture, "b"); /* change 2 */
    watch_open(&fixture, &calls[0], "a");
    watch_open(&fixture, &calls[1], "a");
    watch_open(&fixture, &calls[2], "b");
    for (unsigned i = 0; i < 50; i++) {
        watch_put(&fixture, "a");
        watch_turn(&fixture);
    }
    watch_settle(&fixture);
    for (unsigned c = 0; c < 2; c++) {
        ck_assert_uint_eq(calls[c].sent_count, 51);
        ck_assert_uint_eq(watch_seen_change(&calls[c], 0), 1);
        for (unsigned i = 1; i < 51; i++) {
            ck_assert_uint_eq(watch_seen_change(&calls[c], i), i + 2);
        }
    }
    ck_assert_uint_eq(calls[2].sent_count, 1);
    ck_assert_uint_eq(fixture.stats->sent, 103);
    ck_assert_uint_eq(fixture.stats->skipped, 0);
    for (unsigned c = 0; c < 3; c++) {
        watch_close(&calls[c]);
    }
    watch_finish(&fixture);
}

END_TEST

/* Changes that come before the fan-out does are told as one, and counted; who joins between them
 * and the fan-out is not told twice. */
START_TEST(watch_never_sends_a_state_twice)
{
    struct watch_fixture fixture;
    static struct fake_call early;
    static struct fake_call late;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &early, "a");
    watch_put(&fixture, "a");
    watch_put(&fixture, "a");
    watch_open(&fixture, &late, "a");
    fake_call_writable(&late);
    watch_settle(&fixture);
    fake_call_writable(&early);
    watch_settle(&fixture);
    ck_assert_uint_eq(early.sent_count, 2);
    ck_assert_uint_eq(watch_seen_change(&early, 1), 3);
    ck_assert_uint_eq(late.sent_count, 1);
    ck_assert_uint_eq(watch_seen_change(&late, 0), 3);
    ck_assert_uint_eq(fixture.stats->skipped, 1);
    watch_close(&early);
    watch_close(&late);
    watch_finish(&fixture);
}

END_TEST

/* A client that reads nothing costs at most max_unsent and one message, however much happens; when
 * it reads again it gets the newest state. */
START_TEST(watch_keeps_no_backlog_for_a_slow_reader)
{
    struct watch_fixture fixture;
    static struct fake_call slow;
    static struct fake_call fast;
    size_t size;
    unsigned sent;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &slow, "a");
    watch_open(&fixture, &fast, "a");
    size = fake_call_sent(&slow, 0).size;
    for (unsigned i = 0; i < 500; i++) {
        slow.unsent_size = buf_size(&slow.sent);
        watch_put(&fixture, "a");
        watch_settle(&fixture);
    }
    ck_assert_uint_ge(buf_size(&slow.sent), watch_defaults.max_unsent);
    ck_assert_uint_le(slow.unsent_size, watch_defaults.max_unsent + size + 2 * sizeof(size));
    ck_assert_uint_eq(fast.sent_count, 501);
    sent = slow.sent_count;
    ck_assert_uint_lt(sent, 20);
    fake_call_writable(&slow);
    ck_assert_uint_eq(slow.sent_count, sent + 1);
    ck_assert_uint_eq(watch_seen_change(&slow, sent), 501);
    fake_call_writable(&slow);
    watch_settle(&fixture);
    ck_assert_uint_eq(slow.sent_count, sent + 1);
    ck_assert_uint_eq(fixture.stats->skipped, 501 - slow.sent_count);
    watch_put(&fixture, "a"); /* it is as fast as anybody now */
    watch_settle(&fixture);
    ck_assert_uint_eq(watch_seen_change(&slow, sent + 1), 502);
    watch_close(&slow);
    watch_close(&fast);
    watch_finish(&fixture);
}

END_TEST

/* The last message is the last state with status DELETED and the etag of the delete; then OK. */
START_TEST(watch_ends_with_the_delete)
{
    struct watch_fixture fixture;
    static struct fake_call call;
    struct user user;
    char etag[USER_ETAG_SIZE];

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &call, "a");
    watch_put(&fixture, "a"); /* superseded by the delete in the same turn */
    watch_delete(&fixture, "a");
    ck_assert(!call.answered);
    watch_settle(&fixture);
    watch_check_deleted(&call);
    ck_assert_uint_eq(call.sent_count, 2);
    user = watch_seen(&call, 1);
    ck_assert(bytes_equal(user.id, bytes_from_text("a")));
    ck_assert(bytes_equal(user.username, bytes_from_text("name-a")));
    ck_assert(bytes_equal(user.first_name, bytes_from_text("Anna")));
    ck_assert_int_eq(user.created_at, 1000);
    ck_assert_int_eq(user.updated_at, 5001);
    ck_assert(bytes_equal(user.etag,
                          (struct bytes){(const uint8_t *)etag, user_record_format_etag(3, etag)}));
    ck_assert_uint_eq(fixture.stats->skipped, 1);
    fake_call_deinit(&call);
    watch_open(&fixture, &call, "a");
    watch_check_failed(&call, GRPC_STATUS_NOT_FOUND, "USER_NOT_FOUND");
    fake_call_deinit(&call);
    watch_finish(&fixture);
}

END_TEST

/* The time of a delete is told when the record has it. */
START_TEST(watch_tells_the_time_of_the_delete)
{
    struct watch_fixture fixture;
    static struct fake_call call;
    struct user user = {.id = BYTES_LITERAL("a"), .updated_at = 7777};

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &call, "a");
    watch_commit(&fixture, USER_RECORD_DELETE, &user);
    watch_settle(&fixture);
    watch_check_deleted(&call);
    ck_assert_int_eq(watch_seen(&call, 1).updated_at, 7777);
    fake_call_deinit(&call);
    watch_finish(&fixture);
}

END_TEST

/* Who was slow is told of the delete too, when it has read what it had. */
START_TEST(watch_tells_a_slow_reader_of_the_delete)
{
    struct watch_fixture fixture;
    static struct fake_call behind;   /* before the delete already */
    static struct fake_call stopping; /* at the delete */

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &behind, "a");
    watch_open(&fixture, &stopping, "a");
    behind.unsent_size = watch_defaults.max_unsent;
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    stopping.unsent_size = watch_defaults.max_unsent;
    watch_delete(&fixture, "a");
    watch_settle(&fixture);
    ck_assert_uint_eq(behind.sent_count, 1);
    ck_assert_uint_eq(stopping.sent_count, 2);
    ck_assert(!behind.answered && !stopping.answered);
    fake_call_writable(&stopping);
    watch_check_deleted(&stopping);
    fake_call_writable(&behind);
    watch_check_deleted(&behind);
    ck_assert_uint_eq(behind.sent_count, 2);
    fake_call_deinit(&behind);
    fake_call_deinit(&stopping);
    watch_finish(&fixture);
}

END_TEST

/* A user made with the id of a deleted one is another: it concerns its own watchers alone. */
START_TEST(watch_knows_a_new_user_with_an_old_id)
{
    struct watch_fixture fixture;
    static struct fake_call old;
    static struct fake_call old_slow;
    static struct fake_call fresh;

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_open(&fixture, &old, "a");
    watch_open(&fixture, &old_slow, "a");
    old_slow.unsent_size = watch_defaults.max_unsent;
    watch_delete(&fixture, "a"); /* change 2 */
    watch_put(&fixture, "a");    /* all in one turn */
    watch_open(&fixture, &fresh, "a");
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    watch_check_deleted(&old);
    ck_assert_uint_eq(watch_seen_change(&old, 1), 2);
    ck_assert(!old_slow.answered);
    ck_assert_uint_eq(fresh.sent_count, 2);
    ck_assert_uint_eq(watch_seen_change(&fresh, 0), 3);
    ck_assert_uint_eq(watch_seen_change(&fresh, 1), 4);
    watch_delete(&fixture, "a"); /* change 5 */
    watch_settle(&fixture);
    watch_check_deleted(&fresh);
    ck_assert_uint_eq(watch_seen_change(&fresh, 2), 5);
    fake_call_writable(&old_slow);
    watch_check_deleted(&old_slow);
    ck_assert_uint_eq(watch_seen_change(&old_slow, 1), 2);
    fake_call_deinit(&old);
    fake_call_deinit(&old_slow);
    fake_call_deinit(&fresh);
    watch_finish(&fixture);
}

END_TEST

static void check_refused(struct fake_call *call, const char *key, int64_t retry_ms)
{
    watch_check_failed(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS");
    ck_assert_msg(strstr(call->message, key) != NULL, "%s", call->message);
    ck_assert_int_eq(call->retry_ms, retry_ms);
    ck_assert_uint_eq(call->sent_count, 0);
    fake_call_deinit(call);
}

/* Each limit refuses with its own name, is counted, and makes room again when a watcher leaves. */
START_TEST(watch_has_limits)
{
    const struct user_watch_options options = {.max_per_connection = 3,
                                               .max_per_user = 2,
                                               .max_total = 4,
                                               .max_unsent = 1000,
                                               .max_fields = 10};
    struct grpc_call_host other;
    struct watch_fixture fixture;
    static struct fake_call calls[4];
    static struct fake_call call;

    watch_start(&fixture, &options);
    other = fixture.host;
    watch_put(&fixture, "a");
    watch_put(&fixture, "b");
    watch_put(&fixture, "c");
    watch_open(&fixture, &calls[0], "a");
    watch_open(&fixture, &calls[1], "a");
    watch_open(&fixture, &call, "a");
    check_refused(&call, "watch.max_per_user", 1000);
    watch_open(&fixture, &calls[2], "b");
    watch_open(&fixture, &call, "b");
    check_refused(&call, "watch.max_per_connection", 0);
    fixture.host.long_streams = 0; /* as if it were another connection */
    watch_open(&fixture, &calls[3], "b");
    watch_open(&fixture, &call, "c");
    check_refused(&call, "watch.max_total", 1000);
    ck_assert_uint_eq(fixture.stats->refused_user, 1);
    ck_assert_uint_eq(fixture.stats->refused_connection, 1);
    ck_assert_uint_eq(fixture.stats->refused_total, 1);
    for (unsigned i = LIMITS_HIT_WATCH_CONNECTION; i <= LIMITS_HIT_WATCH_TOTAL; i++) {
        ck_assert_uint_eq(fixture.reactor.limits_hit.counts[i], 1);
    }
    ck_assert_uint_eq(fixture.stats->watchers, 4);
    watch_close(&calls[3]);
    ck_assert_uint_eq(fixture.host.long_streams, 0);
    watch_open(&fixture, &calls[3], "c");
    fixture.host.long_streams = 4;
    for (unsigned i = 0; i < 4; i++) {
        watch_close(&calls[i]);
    }
    ck_assert_uint_eq(other.long_streams, 0);
    watch_finish(&fixture);
}

END_TEST

/* The end of the server ends every watcher in a way that makes clients try elsewhere, also those
 * that do not read; whose user was deleted is told that; who comes later is refused at once. */
START_TEST(watch_ends_everybody_at_shutdown)
{
    struct watch_fixture fixture;
    static struct fake_call calls[5];

    watch_start(&fixture, &watch_defaults);
    watch_put(&fixture, "a");
    watch_put(&fixture, "b");
    watch_open(&fixture, &calls[0], "a");
    watch_open(&fixture, &calls[1], "a");
    watch_open(&fixture, &calls[2], "b");
    watch_open(&fixture, &calls[3], "b");
    calls[1].unsent_size = watch_defaults.max_unsent;
    calls[3].unsent_size = watch_defaults.max_unsent;
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    watch_delete(&fixture, "b");
    user_watch_end(fixture.watch);
    ck_assert(!calls[0].answered); /* from the loop */
    watch_open(&fixture, &calls[4], "a");
    watch_settle(&fixture);
    for (unsigned i = 0; i < 5; i++) {
        if (i == 2) {
            watch_check_deleted(&calls[i]);
        } else {
            watch_check_failed(&calls[i], GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
            ck_assert_str_eq(calls[i].message, "the server is shutting down");
            ck_assert_int_gt(calls[i].retry_ms, 0);
        }
        fake_call_deinit(&calls[i]);
    }
    ck_assert_uint_eq(calls[4].sent_count, 0);
    watch_put(&fixture, "a");
    watch_settle(&fixture);
    user_watch_end(fixture.watch); /* again: nothing */
    watch_finish(&fixture);
}

END_TEST

UNIT_MAIN("user_watch", watch_answers_bad_requests_like_get_user,
          watch_sends_the_present_user_first, watch_tells_a_fast_reader_of_every_change,
          watch_never_sends_a_state_twice, watch_keeps_no_backlog_for_a_slow_reader,
          watch_ends_with_the_delete, watch_tells_the_time_of_the_delete,
          watch_tells_a_slow_reader_of_the_delete, watch_knows_a_new_user_with_an_old_id,
          watch_has_limits, watch_ends_everybody_at_shutdown)
