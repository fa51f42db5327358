#include "transport_rig.h"

#define TIME_NS    (1000 * CLOCK_NS_PER_S) /* keepalive_time */
#define TIMEOUT_NS (1500 * CLOCK_NS_PER_S) /* keepalive_timeout */
#define PINGS      4

static void begin_keepalive(bool without_calls)
{
    struct transport_options options = plain_options();
    struct target_address address;

    begin_reactor_on(shifted_clock());
    begin_peer(NULL);
    address = peer_address();
    options.keepalive_time_ns = TIME_NS;
    options.keepalive_timeout_ns = TIMEOUT_NS;
    options.keepalive_without_calls = without_calls;
    connect_with(&options, &address);
    while (ready_count == 0) {
        turn();
    }
    turn_quietly();
}

/* Lets so much time pass, and what follows from it happen. */
static void advance(uint64_t time_ns)
{
    clock_offset_ns += time_ns;
    turn_quietly();
}

/* A call that nobody answers, and that the server knows of. */
static void start_silent(void)
{
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    turn_quietly();
}

static uint64_t pings(void)
{
    return peer.stats.pings_received;
}

/* A server that is not heard is asked again and again while a call is open, and stays as long as it
 * answers. */
START_TEST(keepalive_asks_while_a_call_is_open)
{
    begin_keepalive(false);
    start_silent();
    for (unsigned i = 0; i < PINGS; i++) {
        advance(TIME_NS / 2);
        ck_assert_uint_eq(pings(), i);
        advance(TIME_NS / 2);
        ck_assert_uint_eq(pings(), i + 1);
    }
    ck_assert_int_eq(transport->state, TRANSPORT_READY);
    ck_assert(!trials[0].is_done);
    end();
}

END_TEST

/* What the server says of its own accord is a sign of life, too. */
START_TEST(keepalive_leaves_a_busy_server_alone)
{
    begin_keepalive(false);
    start_silent();
    for (unsigned i = 0; i < 2 * PINGS; i++) {
        advance(TIME_NS * 3 / 4);
        expect_echo(1);
    }
    ck_assert_uint_eq(pings(), 0);
    end();
}

END_TEST

/* Without calls it is left alone, but with the option. */
START_TEST(keepalive_without_calls_is_an_option)
{
    begin_keepalive(false);
    for (unsigned i = 0; i < PINGS; i++) {
        advance(TIME_NS);
    }
    expect_echo(0);
    for (unsigned i = 0; i < PINGS; i++) {
        advance(TIME_NS);
    }
    ck_assert_uint_eq(pings(), 0);
    end();

    begin_keepalive(true);
    for (unsigned i = 0; i < PINGS; i++) {
        advance(TIME_NS);
    }
    ck_assert_uint_eq(pings(), PINGS);
    end();
}

END_TEST

/* The silence that nobody watched does not count: a call wakes the watch, and no PING overtakes it.
 */
START_TEST(keepalive_wakes_with_a_call)
{
    begin_keepalive(false);
    advance(10 * TIME_NS);
    start_silent();
    ck_assert_uint_eq(pings(), 0);
    advance(TIME_NS / 2);
    ck_assert_uint_eq(pings(), 0);
    advance(TIME_NS / 2);
    ck_assert_uint_eq(pings(), 1);
    end();
}

END_TEST

/* A server that answers nothing any more is dead: the call ends with that reason, the connection
 * with it; with the option also without a call. */
START_TEST(keepalive_ends_a_silent_connection)
{
    for (int with_call = 0; with_call < 2; with_call++) {
        begin_keepalive(with_call == 0);
        if (with_call == 1) {
            start_silent();
        }
        conn_pause(peer.connections[0].conn);
        turn_quietly();
        advance(TIME_NS);
        advance(TIMEOUT_NS / 2);
        ck_assert_int_eq(transport->state, TRANSPORT_READY);
        advance(TIMEOUT_NS / 2);
        wait_until_closed();
        ck_assert_int_eq(closed_cause, CALL_CAUSE_LOST);
        ck_assert_msg(strstr(closed_problem, "keepalive") != NULL, "%s", closed_problem);
        if (with_call == 1) {
            expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
            ck_assert_str_eq(trials[0].message, closed_problem);
        }
        end();
    }
}

END_TEST

/* A time that means "never" is one: no timer runs, however the clock stands, and an answer is
 * waited for as long as it takes. */
START_TEST(keepalive_takes_never_for_an_answer)
{
    struct transport_options options = plain_options();
    struct target_address address;

    for (int only_timeout = 0; only_timeout < 2; only_timeout++) {
        begin_reactor_on(shifted_clock());
        begin_peer(NULL);
        address = peer_address();
        options.keepalive_time_ns = only_timeout ? TIME_NS : UINT64_MAX;
        options.keepalive_timeout_ns = UINT64_MAX;
        options.keepalive_without_calls = true;
        connect_with(&options, &address);
        while (ready_count == 0) {
            turn();
        }
        start_silent();
        conn_pause(peer.connections[0].conn);
        turn_quietly();
        advance(TIME_NS);
        advance(10 * TIMEOUT_NS);
        ck_assert_int_eq(transport->state, TRANSPORT_READY);
        ck_assert(!trials[0].is_done);
        if (timer_is_armed(&transport->timer)) {
            ck_assert_uint_gt(transport->timer.deadline_ns, reactor_now_ns(&reactor));
        }
        ck_assert(timer_is_armed(&transport->timer) == (only_timeout != 0));
        end();
    }
}

END_TEST

/* A PING that is under way is waited for, even when the last call ends meanwhile. */
START_TEST(keepalive_waits_for_an_answer)
{
    begin_keepalive(false);
    start_silent();
    conn_pause(peer.connections[0].conn);
    turn_quietly();
    advance(TIME_NS);
    call_attempt_fail(&trials[0].attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "");
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    advance(TIME_NS);
    ck_assert_uint_eq(closed_count, 0);
    advance(TIMEOUT_NS - TIME_NS);
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_LOST);
    end();
}

END_TEST

/* A connection that drains is watched as well. */
START_TEST(keepalive_watches_a_drain)
{
    begin_keepalive(false);
    start_silent();
    h2_session_end(silent_request->connection->session, H2_ERROR_NO_ERROR, "bye");
    conn_touch(silent_request->connection->conn);
    while (draining_count == 0) {
        turn();
    }
    conn_pause(peer.connections[0].conn);
    turn_quietly();
    advance(TIME_NS);
    advance(TIMEOUT_NS);
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_msg(strstr(trials[0].message, "keepalive") != NULL, "%s", trials[0].message);
    end();
}

END_TEST

UNIT_MAIN("transport_keepalive", keepalive_asks_while_a_call_is_open,
          keepalive_leaves_a_busy_server_alone, keepalive_without_calls_is_an_option,
          keepalive_wakes_with_a_call, keepalive_ends_a_silent_connection,
          keepalive_waits_for_an_answer, keepalive_watches_a_drain,
          keepalive_takes_never_for_an_answer)
