#include "channel_fixture.h"

/* Four attempts with next to no wait between them. */
#define RETRY                                                                                      \
    "\"retryPolicy\":{\"maxAttempts\":4,\"initialBackoff\":\"0.001s\",\"maxBackoff\":\"0.002s\","  \
    "\"backoffMultiplier\":1.5,\"retryableStatusCodes\":[\"UNAVAILABLE\",\"ABORTED\"]}"

/* For the methods of t.T but for /t.T/echo of another service. */
#define POLICY "\"methodConfig\":[{\"name\":[{\"service\":\"t.T\"}]," RETRY "}]"

/* A day between attempts. */
#define SLOW_POLICY                                                                                \
    "\"methodConfig\":[{\"name\":[{}],\"retryPolicy\":{\"maxAttempts\":4,"                         \
    "\"initialBackoff\":\"86400s\",\"maxBackoff\":\"86400s\",\"backoffMultiplier\":1,"             \
    "\"retryableStatusCodes\":[\"UNAVAILABLE\"]}}]"

/* A few servers, and a channel to them that has this service config. */
static void begin_with(unsigned count, const char *json)
{
    begin_reactor();
    begin_places(count, NULL);
    use_config(json);
    begin_channel_to_places();
}

/* A status of the policy is tried again, as often as it says, and the server is told how often. */
START_TEST(retry_follows_the_policy)
{
    begin_with(1, "{" POLICY "}");
    places[0].failures = 3;
    expect(start(0, "/t.T/echo", "hello"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "hello");
    ck_assert_uint_eq(trials[0].call.attempts, 4);
    ck_assert_uint_eq(channel_stats(channel).retries, 3);
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 0);
    ck_assert_int_eq(places[0].attempts[0], '\0');
    ck_assert_mem_eq(places[0].attempts + 1, "123", 3);

    places[0].failures = FOR_EVER;
    places[0].seen = 0;
    places[0].status = "10";
    expect(start(1, "/t.T/echo", ""), GRPC_STATUS_ABORTED, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 4);
    end();
}

END_TEST

/* Another status, another method, an answer that has begun, a call that was lost without a policy:
 * once, and not again. */
START_TEST(retry_is_not_for_everything)
{
    begin_with(1, "{" POLICY "}");
    places[0].failures = FOR_EVER;
    expect(start(0, "/u.U/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 1);
    places[0].status = "13";
    expect(start(1, "/t.T/echo", ""), GRPC_STATUS_INTERNAL, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 2);
    expect(start(2, "/t.T/late", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 3);
    expect(start(3, "/u.U/drop", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(places[0].seen, 4);
    ck_assert_uint_eq(channel_stats(channel).retries, 0);
    end();
}

END_TEST

/* With a policy a call whose connection was lost is tried again. */
START_TEST(retry_survives_lost_connections)
{
    begin_with(1, "{" POLICY "}");
    expect_echo(1); /* a connection that never served waits before it is made anew */
    (void)start(0, "/t.T/silent", "");
    UNTIL(places[0].silent != NULL);
    conn_abort(places[0].silent->connection->conn);
    UNTIL(places[0].seen == 3);
    scripted_request_reply(places[0].silent, BYTES_LITERAL("at last"));
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "at last");
    end();
}

END_TEST

/* A retry goes to another backend when there is one. */
START_TEST(retry_goes_elsewhere)
{
    begin_with(3, "{" POLICY "}");
    connect_all(3);
    places[1].failures = FOR_EVER;
    for (unsigned i = 0; i < 60; i++) {
        expect(start(i, "/t.T/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        ck_assert_uint_le(trials[i].call.attempts, 2);
        ck_assert_uint_ne(trials[i].call.backend, 1);
    }
    ck_assert_uint_ge(places[1].seen, 15);
    ck_assert_uint_eq(places[0].served + places[2].served, 60);
    end();
}

END_TEST

/* The server says when, however long the policy would wait; 0 is at once. */
START_TEST(retry_heeds_pushback)
{
    begin_with(1, "{" SLOW_POLICY "}");
    places[0].failures = 3;
    places[0].pushback = "0";
    expect(start(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(trials[0].call.attempts, 4);
    places[0].failures = 3;
    places[0].pushback = "3";
    expect(start(1, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(trials[1].call.attempts, 4);
    end();
}

END_TEST

/* A server that forbids it, or says what nobody can read. */
START_TEST(retry_is_forbidden_by_pushback)
{
    const char *const texts[] = {"-1", "", "abc", "1x", "+1", "2147483648", "99999999999"};

    begin_with(1, "{" POLICY "}");
    places[0].failures = FOR_EVER;
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        places[0].pushback = texts[i];
        expect(start(i, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
        ck_assert_uint_eq(places[0].seen, i + 1);
    }
    end();
}

END_TEST

/* When too much fails there are no retries, until enough has gone well. */
START_TEST(retry_is_throttled)
{
    begin_with(1, "{" POLICY ",\"retryThrottling\":{\"maxTokens\":4,\"tokenRatio\":1}}");
    places[0].failures = FOR_EVER;
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 2); /* 4 - 1 allows, 3 - 1 does not */
    ck_assert_uint_eq(channel_stats(channel).throttled, 1);
    expect(start(1, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 3);
    places[0].failures = 0;
    for (unsigned i = 2; i < 6; i++) {
        expect(start(i, "/t.T/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    places[0].failures = 1;
    expect(start(6, "/t.T/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(trials[6].call.attempts, 2);
    end();
}

END_TEST

/* A wait that goes beyond the deadline is not begun: the outcome is that of the attempt. */
START_TEST(retry_knows_the_deadline)
{
    begin_with(1, "{" SLOW_POLICY "}");
    places[0].failures = FOR_EVER;
    places[0].pushback = "2000000000";
    expect(start_with_timeout(0, "/echo", 60 * CLOCK_NS_PER_S), GRPC_STATUS_UNAVAILABLE,
           CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].seen, 1);
    end();
}

END_TEST

/* Cancel, deadline and close while the call waits for its next attempt. */
START_TEST(retry_ends_while_it_waits)
{
    struct trial *trial;

    begin_with(1, "{" SLOW_POLICY "}");
    places[0].failures = FOR_EVER;
    places[0].pushback = "100000000";
    (void)start(0, "/echo", "");
    UNTIL(places[0].seen == 1 && channel_stats(channel).waiting == 1);
    ck_assert_uint_eq(channel_stats(channel).retries, 0); /* not before it begins */
    channel_cancel(&trials[0].call);
    channel_cancel(&trials[0].call);
    ck_assert(!trials[0].is_done);
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);

    places[0].pushback = "60";
    trial = make(1, "/echo");
    trial->call.timeout_ns = 100 * CLOCK_NS_PER_MS; /* enough for one wait, not for two */
    wait_for(start_trial(trial, ""));
    ck_assert(trial->status == GRPC_STATUS_UNAVAILABLE ||
              trial->status == GRPC_STATUS_DEADLINE_EXCEEDED);

    places[0].pushback = "100000000";
    (void)start(2, "/echo", "");
    UNTIL(places[0].failures < FOR_EVER - 2 && channel_stats(channel).waiting == 1);
    close_channel();
    expect(&trials[2], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

/* REFUSED_STREAM: again, whatever the policy, and once; it is no attempt of the policy. */
START_TEST(retry_of_refused_streams_is_transparent)
{
    begin(1);
    places[0].refusals = 1;
    expect(start(0, "/echo", "hello"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "hello");
    ck_assert_uint_eq(trials[0].call.attempts, 1);
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 1);
    ck_assert_uint_eq(channel_stats(channel).retries, 0);
    ck_assert_int_eq(places[0].attempts[1], '\0');

    places[0].refusals = 2;
    expect(start(1, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    ck_assert_uint_eq(places[0].seen, 4);
    end();
}

END_TEST

/* With a policy the second refusal is a failure like others. */
START_TEST(retry_counts_the_second_refusal)
{
    begin_with(1, "{" POLICY "}");
    places[0].refusals = 3;
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(trials[0].call.attempts, 3);
    ck_assert_uint_eq(channel_stats(channel).transparent_retries, 1);
    ck_assert_uint_eq(channel_stats(channel).retries, 2);
    end();
}

END_TEST

/* The request of a unary call is kept to the end, whatever its size: refused and failed ones are
 * sent again, whole. */
START_TEST(retry_keeps_large_requests)
{
    const size_t size = 3 * CHANNEL_REPLAY_MAX;
    struct trial *trial = make(0, "/t.T/echo");
    uint8_t *large = calloc(1, size);

    ck_assert_ptr_nonnull(large);
    memset(large, 'a', size);
    begin_reactor();
    begin_places(1, NULL);
    use_config("{" POLICY "}");
    options.max_message = 2 * (uint32_t)size;
    begin_channel_to_places();
    places[0].refusals = 1;
    places[0].failures = 2;
    ck_assert_int_eq(channel_start(channel, &trial->call, (struct bytes){large, size}), 0);
    expect(trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(trial->reply_size, size);
    ck_assert_uint_eq(places[0].seen, 4);
    ck_assert_uint_eq(trial->call.attempts, 3);
    free(large);
    end();
}

END_TEST

static void answer_and_go(struct scripted_request *request)
{
    scripted_request_reply(request, BYTES_LITERAL("last"));
    h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
}

/* A server that says GOAWAY again and again under load: every call is answered, and every one once.
 */
START_TEST(retry_loses_nothing_to_goaway)
{
    unsigned started = 0;
    unsigned done = 0;
    unsigned served;

    begin(2);
    connect_all(2);
    while (done < TRIALS_MAX) {
        for (unsigned i = 0; i < 20 && started < TRIALS_MAX; i++) {
            (void)start(started, started % 30 == 7 ? "/goaway" : "/echo", "x");
            started++;
        }
        turn();
        for (done = 0; done < started && trials[done].is_done; done++) {
            expect(&trials[done], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        }
    }
    served = places[0].served + places[1].served;
    ck_assert_uint_eq(served, TRIALS_MAX - TRIALS_MAX / 30);
    ck_assert_uint_ge(places[0].server.accepted + places[1].server.accepted, 4);
    end();
}

END_TEST

/* The last stream that the server looks at is the first of three: the others go elsewhere, with
 * what they had sent. */
START_TEST(retry_repeats_streams_above_goaway)
{
    struct scripted_request *first;

    begin(2);
    connect_all(1);
    /* Both on one connection: the other is not there yet. */
    kill_place(1);
    (void)start(0, "/silent", "");
    UNTIL(places[0].silent != NULL);
    first = places[0].silent;
    answer_and_go(first);
    for (unsigned i = 1; i < 10; i++) { /* before the client knows of it */
        (void)start(i, "/echo", "late");
    }
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    for (unsigned i = 1; i < 10; i++) {
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        ck_assert_str_eq(trials[i].reply, "late");
    }
    ck_assert_uint_eq(places[0].served, 9);
    ck_assert_uint_ge(channel_stats(channel).transparent_retries, 1);
    end();
}

END_TEST

/* So many calls to /echo that the server does not answer; then their connection breaks, and from
 * then on it answers. */
static void lose_calls(unsigned first, unsigned count)
{
    unsigned seen = places[0].seen;

    places[0].is_mute = true;
    for (unsigned i = first; i < first + count; i++) {
        (void)start(i, "/t.T/echo", "");
    }
    UNTIL(places[0].seen == seen + count);
    places[0].is_mute = false;
    conn_abort(places[0].silent->connection->conn);
}

/* A connection that is lost with more calls on it than there are tokens takes one token: every call
 * is saved. The next loss takes another, until there are too few. */
START_TEST(retry_throttle_counts_a_lost_connection_once)
{
    begin_with(1, "{" POLICY ",\"retryThrottling\":{\"maxTokens\":4,\"tokenRatio\":0.001}}");
    expect_echo(0); /* a connection that never served waits before it is made anew */
    lose_calls(1, 90);
    for (unsigned i = 1; i <= 90; i++) {
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        ck_assert_uint_eq(trials[i].call.attempts, 2);
    }
    ck_assert_uint_eq(channel_stats(channel).throttled, 0);
    lose_calls(1, 1);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER); /* 3.09 - 1 allows, 2.09 - 1 does not */
    lose_calls(1, 1);
    expect(&trials[1], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(channel_stats(channel).throttled, 1);
    end();
}

END_TEST

/* Only OK gives tokens back; a pushback beside it takes none. */
START_TEST(retry_throttle_needs_successes)
{
    begin_with(1, "{" POLICY ",\"retryThrottling\":{\"maxTokens\":4,\"tokenRatio\":1}}");
    places[0].failures = 2;
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(channel_stats(channel).throttled, 1); /* two are left */
    for (unsigned i = 0; i < 20; i++) {
        expect(start(i, "/t.T/error", ""), GRPC_STATUS_NOT_FOUND, CALL_CAUSE_ANSWER);
    }
    places[0].failures = 1;
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(channel_stats(channel).throttled, 2); /* one is left */

    for (unsigned i = 0; i < 3; i++) {
        places[0].silent = NULL;
        (void)start(i, "/t.T/silent", "");
        UNTIL(places[0].silent != NULL);
        scripted_request_send(places[0].silent, BYTES_LITERAL("done"));
        scripted_request_finish(places[0].silent, "0", "grpc-retry-pushback-ms", "-1");
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    places[0].failures = 1; /* four are left: one may be taken */
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    end();
}

END_TEST

/* An attempt was lost: it may have been executed. Whatever keeps the next one from being made, or
 * looked at, does not make that "it was not done"; the text names both, and what was never begun is
 * no attempt. */
START_TEST(retry_does_not_deny_what_may_be_done)
{
    const struct trial *trial = &trials[1];

    begin_with(1, "{" POLICY "}");
    expect_echo(0);
    (void)start(1, "/t.T/silent", "");
    UNTIL(places[0].silent != NULL);
    kill_place(0);
    expect(trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trial->message, "Connection refused"));
    ck_assert_ptr_nonnull(strstr(trial->message, "; the first attempt ended with UNAVAILABLE: 1"));
    ck_assert_uint_eq(trial->call.attempts, 1);
    ck_assert_uint_eq(channel_stats(channel).retries, 0);

    expect(start(2, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    ck_assert_ptr_null(strstr(trials[2].message, "attempt"));
    ck_assert_uint_eq(trials[2].call.attempts, 0);

    revive_place(0);
    expect(start_patiently(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    lose_calls(1, 1);
    places[0].refusals = FOR_EVER;
    expect(trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(trial->call.attempts, 4);
    expect(start(2, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    end();
}

END_TEST

/* The same when the breaker opens between two attempts. */
START_TEST(retry_does_not_deny_behind_a_breaker)
{
    begin_reactor();
    begin_places(1, NULL);
    use_config("{" POLICY "}");
    options.breaker.enabled = true;
    options.breaker.min_calls = 1;
    options.breaker.cooldown_ns = 600 * CLOCK_NS_PER_S;
    begin_channel_to_places();
    places[0].failures = FOR_EVER;
    expect(start(0, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "circuit breaker"));
    ck_assert_ptr_nonnull(strstr(trials[0].message, "; the first attempt ended with UNAVAILABLE"));
    ck_assert_uint_eq(places[0].seen, 1);
    expect(start(1, "/t.T/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_BREAKER);
    end();
}

END_TEST

/* A deadline that passes after a failed attempt tells of it. */
START_TEST(retry_tells_of_it_at_the_deadline)
{
    struct trial *trial = make(1, "/t.T/silent");

    begin_with(1, "{" POLICY "}");
    use_shifted_clock();
    expect_echo(0);
    trial->call.has_wait_for_ready = true;
    trial->call.wait_for_ready = true;
    trial->call.timeout_ns = 600 * CLOCK_NS_PER_S;
    (void)start_trial(trial, "");
    UNTIL(places[0].silent != NULL);
    kill_place(0);
    UNTIL(backend(0).connections.connect_failures != 0);
    turn_quietly();
    clock_offset_ns += 601 * CLOCK_NS_PER_S;
    expect(trial, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    ck_assert_ptr_nonnull(strstr(trial->message, "Deadline exceeded"));
    ck_assert_ptr_nonnull(strstr(trial->message, "; the first attempt ended with UNAVAILABLE: 1"));
    end();
}

END_TEST

UNIT_MAIN("channel_retry", retry_follows_the_policy, retry_is_not_for_everything,
          retry_survives_lost_connections, retry_goes_elsewhere, retry_heeds_pushback,
          retry_is_forbidden_by_pushback, retry_is_throttled, retry_knows_the_deadline,
          retry_ends_while_it_waits, retry_of_refused_streams_is_transparent,
          retry_counts_the_second_refusal, retry_keeps_large_requests,
          retry_loses_nothing_to_goaway, retry_repeats_streams_above_goaway,
          retry_throttle_counts_a_lost_connection_once, retry_throttle_needs_successes,
          retry_does_not_deny_what_may_be_done, retry_does_not_deny_behind_a_breaker,
          retry_tells_of_it_at_the_deadline)
