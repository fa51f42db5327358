#include "transport_rig.h"

#include <errno.h>

#define PATIENCE_NS (30 * CLOCK_NS_PER_S)
#define ROUNDS      10000

/* A connection becomes READY once, is refused attempts before, answers them after, and one after
 * the other goes over it. */
START_TEST(transport_calls_over_one_connection)
{
    begin();
    ck_assert_int_eq(transport->state, TRANSPORT_CONNECTING);
    expect_not_ready();
    while (ready_count == 0) {
        turn();
    }
    ck_assert_int_eq(transport->state, TRANSPORT_READY);
    expect_echo(0);
    ck_assert(trials[0].has_head);
    expect_echo(1);
    ck_assert_uint_eq(peer.accepted, 1);
    ck_assert_uint_eq(ready_count, 1);
    ck_assert(transport_has_served(transport));
    ck_assert_uint_eq(transport->attempt_count, 0);
    end();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CANCELLED);
    ck_assert_str_eq(closed_problem, "");
}

END_TEST

/* More attempts than the server takes streams are all answered, each with its own message. */
START_TEST(transport_carries_many_attempts)
{
    char text[16];

    begin_ready();
    for (unsigned i = 0; i < TRIALS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        (void)start_text(i, "/echo", text);
    }
    ck_assert_uint_eq(transport->attempt_count, TRIALS_MAX);
    for (unsigned i = 0; i < TRIALS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        ck_assert_str_eq(trials[i].reply, text);
    }
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* The head says gRPC, names server and client, and carries token, metadata, deadline and the number
 * of attempts exactly when there are any. */
START_TEST(transport_sends_the_head)
{
    static const struct call_field field = {"users-continue-on-error", "true"};
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];

    begin_ready();
    expect(start(0, "/heads"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply,
                     "|application/grpc|trailers|no timeout|||users.example:50051|test/1");

    make_unary(&trials[1], "/heads", "", frame);
    trials[1].attempt.authorization = "Bearer secret";
    trials[1].attempt.fields = &field;
    trials[1].attempt.field_count = 1;
    trials[1].attempt.deadline_ns = reactor.now_ns + PATIENCE_NS;
    trials[1].attempt.previous_attempts = 3;
    ck_assert_int_eq(transport_start(transport, &trials[1].attempt), 0);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(
        trials[1].reply,
        "Bearer secret|application/grpc|trailers|timeout|3|true|users.example:50051|test/1");
    end();
}

END_TEST

static uint64_t stopped_at_ns;

static uint64_t stopped_ns(struct clock_source *source)
{
    (void)source;
    return stopped_at_ns;
}

/* The server is told what is left of each attempt's own deadline, however long ago the last turn of
 * the loop was. */
START_TEST(transport_sends_the_time_that_is_left)
{
    static const unsigned seconds[] = {100, 200, 200, 100};
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct clock_source stopped = {.monotonic_ns = stopped_ns, .realtime_ns = stopped_ns};
    char text[16];

    begin_ready();
    stopped_at_ns = reactor.now_ns + 3600 * CLOCK_NS_PER_S;
    reactor.clock = &stopped;
    for (unsigned i = 0; i < 4; i++) {
        make_unary(&trials[i], "/timeout", "", frame);
        trials[i].attempt.deadline_ns = stopped_at_ns + seconds[i] * CLOCK_NS_PER_S;
        ck_assert_int_eq(transport_start(transport, &trials[i].attempt), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        (void)snprintf(text, sizeof(text), "%uS", seconds[i]);
        ck_assert_str_eq(trials[i].reply, text);
    }
    make_unary(&trials[0], "/timeout", "", frame);
    trials[0].attempt.deadline_ns = stopped_at_ns - 1; /* has passed */
    ck_assert_int_eq(transport_start(transport, &trials[0].attempt), 0);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "1n");
    end();
}

END_TEST

/* Errors, foreign answers and resets arrive as the status they stand for; only those that began
 * with a head of their own forbid another attempt. */
START_TEST(transport_passes_errors_on)
{
    begin_ready();
    expect(start(0, "/error"), GRPC_STATUS_NOT_FOUND, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].message, "not here");
    ck_assert(!trials[0].has_head);
    expect(start(1, "/late"), GRPC_STATUS_NOT_FOUND, CALL_CAUSE_ANSWER);
    ck_assert(trials[1].has_head);
    expect(start(2, "/html"), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    expect(start(3, "/reset"), GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER);
    expect(start(4, "/refuse"), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    ck_assert(!trials[4].is_unsent);
    ck_assert(!trials[4].has_head);
    expect_echo(5);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

static void fail_one(struct trial *trial)
{
    call_attempt_fail(&trial->attempt, GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE,
                      "too late");
}

/* An attempt that its owner fails ends with that outcome and resets its stream; failing it again
 * does nothing, and its neighbour goes on. */
START_TEST(transport_fails_attempts)
{
    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    fail_one(&trials[0]);
    call_attempt_fail(&trials[0].attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "again");
    ck_assert(!trials[0].is_done);
    expect(&trials[0], GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    ck_assert_str_eq(trials[0].message, "too late");
    fail_one(&trials[0]);
    while (peer.resets == 0) {
        turn();
    }
    expect_echo(1);
    end();
}

END_TEST

/* One that waits for a stream of the server is never sent, once failed. */
START_TEST(transport_fails_attempts_that_wait)
{
    begin_ready();
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        (void)start(i, "/silent");
    }
    (void)start(STREAMS_MAX, "/drop");
    turn_quietly();
    fail_one(&trials[STREAMS_MAX]);
    expect(&trials[STREAMS_MAX], GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    fail_one(&trials[0]);
    expect_echo(STREAMS_MAX + 1);
    ck_assert_uint_eq(transport->attempt_count, STREAMS_MAX - 1);
    transport_abort(transport);
    end();
}

END_TEST

/* So many attempts may wait and not one more, which leaves nothing behind. */
START_TEST(transport_limits_what_waits)
{
    unsigned count = 0;
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial *many = calloc(TRANSPORT_QUEUE_MAX + 1, sizeof(*many));
    int ret = 0;

    ck_assert_ptr_nonnull(many);
    begin_ready();
    while (count <= TRANSPORT_QUEUE_MAX) {
        make_unary(&many[count], "/silent", "", frame);
        ret = transport_start(transport, &many[count].attempt);
        if (ret != 0) {
            break;
        }
        count++;
    }
    ck_assert_int_eq(ret, -ENOMEM);
    ck_assert_uint_ge(count, TRANSPORT_QUEUE_MAX / 2);
    ck_assert_uint_eq(transport->attempt_count, count);
    transport_abort(transport);
    wait_until_closed();
    ck_assert_uint_eq(done_count, count);
    for (unsigned i = 0; i < count; i++) {
        expect(&many[i], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    }
    end();
    free(many);
}

END_TEST

static void close_in_state(enum transport_state state, void (*ask)(struct transport *of))
{
    make_tls(certs.ca);
    begin();
    wait_for_state(state);
    ask(transport);
    ask(transport);
    expect_not_ready();
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CANCELLED);
    ck_assert_str_eq(closed_problem, "");
    end();
}

static void close_then_abort(struct transport *of)
{
    transport_close(of);
    transport_abort(of);
}

/* Closing while connecting, in the handshake and when READY ends at once when nothing is open. */
START_TEST(transport_closes_in_every_state)
{
    void (*const ways[])(struct transport *) = {transport_close, transport_abort, close_then_abort};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        close_in_state(TRANSPORT_CONNECTING, ways[i]);
        close_in_state(TRANSPORT_HANDSHAKING, ways[i]);
        close_in_state(TRANSPORT_READY, ways[i]);
    }
}

END_TEST

/* A close waits for what is open, an abort does not, also after it. */
START_TEST(transport_closes_when_the_last_attempt_ends)
{
    begin_ready();
    (void)start(0, "/silent");
    (void)start_text(1, "/echo", "still");
    transport_close(transport);
    expect_not_ready();
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[1].reply, "still");
    turn_quietly();
    ck_assert_uint_eq(draining_count, 1);
    ck_assert_uint_eq(closed_count, 0);
    transport_abort(transport);
    ck_assert(!trials[0].is_done);
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

static void start_again(struct trial *trial)
{
    struct trial *next = &trials[trial - trials + 1];

    trial->then = NULL;
    (void)start_text((unsigned)(next - trials), "/echo", "again");
    (void)start_text((unsigned)(trial - trials), "/echo", "anew"); /* the same one */
}

static void start_and_close(struct trial *trial)
{
    trial->then = NULL;
    (void)start(1, "/silent");
    transport_close(transport);
    transport_abort(transport);
    transport_close(transport);
}

/* `done` may start the same attempt and another, or close the connection. */
START_TEST(transport_may_be_used_in_callbacks)
{
    begin_ready();
    trials[0].then = start_again;
    (void)start_text(0, "/echo", "once");
    while (trials[0].then != NULL) {
        turn();
    }
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "anew");
    trials[0].then = start_and_close;
    (void)start(0, "/echo");
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    expect(&trials[1], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    wait_until_closed();
    end();
}

END_TEST

/* Connect, call, cancel, disconnect: again and again, and nothing is left of it. */
START_TEST(transport_survives_many_rounds)
{
    begin_reactor();
    begin_peer(NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        silent_request = NULL;
        connect_to(peer_address());
        while (ready_count == 0) {
            turn();
        }
        (void)start(0, "/silent");
        (void)start_text(1, "/echo", "hello");
        if (round % 3 == 0) {
            expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        }
        if (round % 2 == 0) {
            call_attempt_fail(&trials[0].attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "");
            transport_close(transport);
        } else {
            transport_abort(transport);
        }
        wait_until_closed();
        ck_assert(trials[0].is_done && trials[1].is_done);
        while (peer.open_count != 0) {
            turn();
        }
    }
    ck_assert_uint_eq(peer.accepted, ROUNDS);
    end();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {
        transport_calls_over_one_connection,
        transport_carries_many_attempts,
        transport_sends_the_head,
        transport_sends_the_time_that_is_left,
        transport_passes_errors_on,
        transport_fails_attempts,
        transport_fails_attempts_that_wait,
        transport_limits_what_waits,
        transport_closes_in_every_state,
        transport_closes_when_the_last_attempt_ends,
        transport_may_be_used_in_callbacks,
        transport_survives_many_rounds,
        NULL,
    };
    int result;

    certs_make(&certs);
    result = unit_run("transport", tests);
    certs_remove(&certs);
    return result;
}
