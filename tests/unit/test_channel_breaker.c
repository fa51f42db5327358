#include "channel_fixture.h"

#define CALLS 60

static void begin_with_breaker(unsigned count, uint64_t cooldown_ns)
{
    begin_round_robin(count);
    options.breaker = (struct breaker_options){
        .enabled = true,
        .window_ns = 600 * CLOCK_NS_PER_S,
        .min_calls = 10,
        .failure_percent = 50,
        .cooldown_ns = cooldown_ns,
        .probe_count = 2,
    };
    begin_channel_to_places();
    connect_all(count);
}

static unsigned message_count;

static void on_message(struct channel_call *call, struct bytes message)
{
    (void)call;
    (void)message;
    message_count++;
}

/* A stream to /stream on which the server has said something. */
static struct trial *open_answered(unsigned index, uint64_t timeout_ns)
{
    struct trial *trial = make(index, "/stream");
    unsigned seen = places[0].seen;
    unsigned messages = message_count;

    trial->call.message = on_message;
    trial->call.timeout_ns = timeout_ns;
    ck_assert_int_eq(channel_open(channel, &trial->call), 0);
    ck_assert_int_eq(channel_half_close(&trial->call), 0);
    UNTIL(places[0].seen > seen);
    scripted_request_send(places[0].silent, BYTES_LITERAL("hello"));
    UNTIL(message_count > messages);
    return trial;
}

static void break_it(void)
{
    places[0].failures = 10;
    for (unsigned i = 0; i < 10; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    }
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
}

/* One that answers UNAVAILABLE is left alone after a while, probed, and used again when it works.
 */
START_TEST(breaker_opens_and_heals)
{
    unsigned failed = 0;

    begin_with_breaker(2, CLOCK_NS_PER_MS);
    places[0].failures = FOR_EVER;
    for (unsigned i = 0; i < TRIALS_MAX && backend(0).breaker == BREAKER_CLOSED; i++) {
        wait_for(start(i, "/echo", ""));
        failed += trials[i].status != GRPC_STATUS_OK;
    }
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    ck_assert_uint_eq(failed, 10);
    ck_assert_uint_eq(backend(0).failures, 10);
    ck_assert_uint_eq(backend(0).breaker_opened, 1);

    /* Probes that fail open it again. */
    while (backend(0).breaker_opened < 3) {
        wait_for(start(0, "/echo", ""));
    }
    places[0].failures = 0;
    while (backend(0).breaker != BREAKER_CLOSED) {
        wait_for(start(0, "/echo", ""));
    }
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, CALLS / 2);
    end();
}

END_TEST

/* While it is open the other gets everything; when both are, calls fail at once, but for patient
 * ones: those wait for the first probe, or say at their deadline what they waited for. */
START_TEST(breaker_of_every_backend_is_open)
{
    struct trial *trial;

    begin_with_breaker(2, 600 * CLOCK_NS_PER_S);
    use_shifted_clock();
    places[0].failures = 10;
    for (unsigned i = 0; i < 20; i++) {
        wait_for(start(i, "/echo", ""));
    }
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, CALLS);
    places[1].failures = FOR_EVER;
    for (unsigned i = 0; i < TRIALS_MAX && backend(1).breaker == BREAKER_CLOSED; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    }
    forget_served();
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_BREAKER);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "circuit breaker"));
    ck_assert_uint_eq(channel_stats(channel).breaker_refusals, 1);

    (void)start_patiently(1, "/echo", "");
    trial = make(2, "/echo");
    trial->call.has_wait_for_ready = true;
    trial->call.wait_for_ready = true;
    trial->call.timeout_ns = 60 * CLOCK_NS_PER_S;
    (void)start_trial(trial, "");
    turn_quietly();
    ck_assert_uint_eq(channel_stats(channel).waiting, 2);
    clock_offset_ns += 61 * CLOCK_NS_PER_S;
    expect(trial, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    ck_assert_ptr_nonnull(strstr(trial->message, "circuit breaker"));
    ck_assert(!trials[1].is_done);
    ck_assert_uint_eq(places[0].seen + places[1].seen, 0);
    clock_offset_ns += 540 * CLOCK_NS_PER_S;
    places[1].failures = 0;
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(channel_stats(channel).breaker_refusals, 1);
    ck_assert_uint_eq(channel_stats(channel).waiting, 0);
    end();
}

END_TEST

/* One is broken, the other gone: a patient call waits for either, here for the first probe. */
START_TEST(breaker_is_open_or_backend_gone)
{
    begin_with_breaker(2, CLOCK_NS_PER_S / 2);
    kill_place(1);
    UNTIL(!is_in_state(1, SUBCHANNEL_READY));
    places[0].failures = 10;
    for (unsigned i = 0; i < 10; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    }
    UNTIL(backend(1).connections.connect_failures > 1);
    (void)start_patiently(11, "/echo", "");
    expect(&trials[11], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[0].served, 1);
    end();
}

END_TEST

/* What counts: no answer in time and lost connections do; refusals for good reason and what the
 * caller ends do not. */
START_TEST(breaker_judges_calls)
{
    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    for (unsigned i = 0; i < CALLS; i++) {
        expect(start(i, "/error", ""), GRPC_STATUS_NOT_FOUND, CALL_CAUSE_ANSWER);
    }
    for (unsigned i = 0; i < CALLS; i++) {
        (void)start(i, "/silent", "");
        channel_cancel(&trials[i].call);
        wait_for(&trials[i]);
    }
    places[0].status = "8";
    places[0].failures = CALLS;
    for (unsigned i = 0; i < CALLS; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER);
    }
    ck_assert_uint_eq(backend(0).failures, 0);
    places[0].failures = 1;
    places[0].pushback = "1";
    expect(start(0, "/echo", ""), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(backend(0).failures, 1);
    expect(start_with_timeout(0, "/silent", CLOCK_NS_PER_MS), GRPC_STATUS_DEADLINE_EXCEEDED,
           CALL_CAUSE_DEADLINE);
    ck_assert_uint_eq(backend(0).failures, 2);
    expect(start(0, "/drop", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(backend(0).failures, 3);
    end();
}

END_TEST

/* Probes that live for hours have told what they can with their first message, once. */
START_TEST(breaker_is_probed_by_streams)
{
    struct trial *first;
    struct trial *second;

    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    use_shifted_clock();
    break_it();
    clock_offset_ns += 601 * CLOCK_NS_PER_S;
    first = open_answered(0, CALL_NO_DEADLINE);
    ck_assert_int_eq(backend(0).breaker, BREAKER_HALF_OPEN);
    channel_cancel(&first->call);
    wait_for(first);
    ck_assert_int_eq(backend(0).breaker, BREAKER_HALF_OPEN);
    first = open_answered(0, CALL_NO_DEADLINE);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    second = open_answered(1, CALL_NO_DEADLINE);
    ck_assert(!first->is_done && !second->is_done);
    end();
}

END_TEST

/* A stream that was answered and lasts until its deadline says nothing against its backend; one
 * that fails after a message does. */
START_TEST(breaker_judges_streams)
{
    struct trial *trial;

    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    use_shifted_clock();
    for (unsigned i = 0; i < 20; i++) {
        trial = open_answered(i, 60 * CLOCK_NS_PER_S);
        clock_offset_ns += 61 * CLOCK_NS_PER_S;
        expect(trial, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    }
    ck_assert_uint_eq(backend(0).failures, 0);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    trial = open_answered(0, CALL_NO_DEADLINE);
    scripted_request_finish(places[0].silent, "14", NULL, NULL);
    expect(trial, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(backend(0).failures, 1);
    end();
}

END_TEST

/* A program that pauses does not turn the loop: the cool-down goes by all the same. */
START_TEST(breaker_is_probed_after_a_pause)
{
    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    use_shifted_clock();
    break_it();
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_BREAKER);
    clock_offset_ns += 601 * CLOCK_NS_PER_S;
    expect_echo(1);
    end();
}

END_TEST

/* So many calls are on the connection; then it breaks. */
static void lose_calls(unsigned first, unsigned count)
{
    unsigned seen = places[0].seen;

    for (unsigned i = first; i < first + count; i++) {
        (void)start(i, "/silent", "");
    }
    UNTIL(places[0].seen == seen + count);
    conn_abort(places[0].silent->connection->conn);
    for (unsigned i = first; i < first + count; i++) {
        expect(&trials[i], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    }
}

/* A connection that breaks with many calls on it is one failure, not many; the next one another. */
START_TEST(breaker_counts_a_lost_connection_once)
{
    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    expect_echo(0); /* it has served: dialled anew at once */
    for (unsigned i = 1; i < 5; i++) {
        lose_calls(1, CALLS);
        ck_assert_uint_eq(backend(0).failures, (uint64_t)i * CALLS);
        ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
        expect(start_patiently(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    /* 5 answers and 4 losses so far: one more makes ten, and half of them failed. */
    lose_calls(1, 1);
    ck_assert_int_eq(backend(0).breaker, BREAKER_OPEN);
    end();
}

END_TEST

/* A call from before the breaker opened, which nobody counts any more, does not hide the failure of
 * a probe that is lost with it. */
START_TEST(breaker_counts_the_probe_that_is_lost)
{
    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    use_shifted_clock();
    (void)start(20, "/silent", "");
    UNTIL(places[0].silent != NULL);
    break_it();
    clock_offset_ns += 601 * CLOCK_NS_PER_S;
    (void)start(21, "/silent", "");
    UNTIL(places[0].seen == 12);
    ck_assert_int_eq(backend(0).breaker, BREAKER_HALF_OPEN);
    conn_abort(places[0].silent->connection->conn);
    expect(&trials[20], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    expect(&trials[21], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_uint_eq(backend(0).breaker_opened, 2);
    end();
}

END_TEST

/* One that breaks before it was of any use is one failure as well, not that of a connection that
 * could not be made besides. */
START_TEST(breaker_counts_a_useless_connection_once)
{
    begin_round_robin(1);
    options.backoff.initial_ns = 600 * CLOCK_NS_PER_S;
    options.backoff.max_ns = 600 * CLOCK_NS_PER_S;
    options.breaker = breaker_defaults;
    options.breaker.min_calls = 2;
    begin_channel_to_places();
    connect_all(1);
    lose_calls(0, 2);
    UNTIL(backend(0).state == SUBCHANNEL_TRANSIENT_FAILURE);
    turn_quietly();
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);
    end();
}

END_TEST

static void lose_connection(void)
{
    uint64_t losses = backend(0).connections.losses;

    for (unsigned i = 0; i < SCRIPTED_CONNECTIONS_MAX; i++) {
        if (places[0].server.connections[i].conn != NULL) {
            conn_abort(places[0].server.connections[i].conn);
        }
    }
    UNTIL(backend(0).connections.losses > losses);
}

/* A server that was restarted gets its probes as soon as it is connected again, whatever is left of
 * the cool-down. */
START_TEST(breaker_is_probed_on_a_new_connection)
{
    begin_with_breaker(1, 600 * CLOCK_NS_PER_S);
    break_it();
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_BREAKER);
    lose_connection();
    expect(start(1, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_int_eq(backend(0).breaker, BREAKER_HALF_OPEN);
    expect(start(2, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_int_eq(backend(0).breaker, BREAKER_CLOSED);

    break_it(); /* and one that is as bad as before is left alone again */
    places[0].failures = 1;
    lose_connection();
    expect(start(1, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    expect(start(2, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_BREAKER);
    end();
}

END_TEST

/* Connections that fail count for the breaker, and are no calls. */
START_TEST(breaker_counts_connections_that_fail)
{
    char text[32];

    begin_reactor();
    options.breaker.enabled = true;
    options.breaker.min_calls = 3;
    find_dead_target(text, sizeof(text));
    begin_channel(text);
    while (channel_stats(channel).backend_count == 0 || backend(0).breaker == BREAKER_CLOSED) {
        expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    }
    ck_assert_uint_ge(backend(0).connections.connect_failures, 3);
    ck_assert_uint_eq(backend(0).failures, 0);
    ck_assert_uint_eq(backend(0).calls, 0);
    end();
}

END_TEST

UNIT_MAIN("channel_breaker", breaker_opens_and_heals, breaker_of_every_backend_is_open,
          breaker_is_open_or_backend_gone, breaker_judges_calls, breaker_is_probed_by_streams,
          breaker_judges_streams, breaker_is_probed_after_a_pause,
          breaker_counts_a_lost_connection_once, breaker_counts_a_useless_connection_once,
          breaker_counts_the_probe_that_is_lost, breaker_is_probed_on_a_new_connection,
          breaker_counts_connections_that_fail)
