#include "allocation_faults.h"
#include "client/transport_internal.h"
#include "transport_fixture.h"

#include <errno.h>

#define FAULTS_MAX  64 /* more allocations than one call makes */
#define QUIET_TURNS 20

static struct transport *transport;
static bool is_ready;
static bool is_closed;

static void on_ready(void *owner)
{
    (void)owner;
    is_ready = true;
}

static void on_draining(void *owner)
{
    (void)owner;
    is_ready = false;
}

static void on_transport_closed(void *owner, enum call_cause cause, const char *problem,
                                bool server_asked_patience)
{
    (void)owner;
    (void)cause;
    (void)problem;
    (void)server_asked_patience;
    is_closed = true;
}

static const struct transport_events transport_events = {
    .ready = on_ready,
    .draining = on_draining,
    .closed = on_transport_closed,
};

static int connect_it(uint64_t keepalive_time_ns)
{
    struct transport_options options = plain_options();
    struct target_address address = peer_address();

    is_ready = false;
    is_closed = false;
    options.keepalive_time_ns = keepalive_time_ns;
    options.keepalive_timeout_ns = 30 * CLOCK_NS_PER_S;
    return transport_new(&reactor, &options, &address, &transport_events, NULL, &transport);
}

static void begin(void)
{
    begin_reactor();
    begin_peer(NULL);
}

static void wait_until_ready(void)
{
    while (!is_ready) {
        ck_assert(!is_closed);
        turn();
    }
}

static void abort_it(void)
{
    transport_abort(transport);
    while (!is_closed) {
        turn();
    }
}

static void end(void)
{
    scripted_server_close(&peer);
    reactor_deinit(&reactor);
}

/* Without memory none is made, or one that says so from the loop. */
START_TEST(memory_may_end_while_connecting)
{
    bool has_failed = true;

    begin();
    for (unsigned nth = 1; has_failed; nth++) {
        int ret;

        ck_assert_uint_lt(nth, FAULTS_MAX);
        allocation_faults_arm(nth);
        ret = connect_it(0);
        has_failed = allocation_faults_disarm();
        ck_assert(ret == 0 || (ret == -ENOMEM && has_failed));
        if (ret == 0 && !has_failed) {
            wait_until_ready();
        }
        if (ret == 0) {
            abort_it();
        }
    }
    end();
}

END_TEST

static void expect_echo(void)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial trial = {0};

    make_unary(&trial, "/echo", "hello", frame);
    ck_assert_int_eq(transport_start(transport, &trial.attempt), 0);
    expect(&trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trial.reply, "hello");
}

static void turn_quietly(void)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

/* An attempt for which there is none is not started, and nothing is left of it: others go on. */
START_TEST(memory_may_end_in_a_start)
{
    bool has_failed = true;

    begin();
    ck_assert_int_eq(connect_it(0), 0);
    wait_until_ready();
    for (unsigned nth = 1; has_failed; nth++) {
        uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
        struct trial trial = {0};
        int ret;

        ck_assert_uint_lt(nth, FAULTS_MAX);
        make_unary(&trial, "/echo", "hello", frame);
        allocation_faults_arm(nth);
        ret = transport_start(transport, &trial.attempt);
        has_failed = allocation_faults_disarm();
        ck_assert_int_eq(ret, has_failed ? -ENOMEM : 0);
        ck_assert_uint_eq(transport->attempt_count, has_failed ? 0 : 1);
        if (ret == 0) {
            expect(&trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        }
        expect_echo();
    }
    abort_it();
    end();
}

END_TEST

/* On a cold one it may fail with the head queued: the stream is reset, and that goes out without
 * anything else that happens. */
START_TEST(memory_may_end_in_a_first_start)
{
    unsigned half_way = 0;
    bool has_failed = true;

    begin();
    for (unsigned nth = 1; has_failed; nth++) {
        uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
        struct trial trial = {0};

        ck_assert_uint_lt(nth, FAULTS_MAX);
        ck_assert_int_eq(connect_it(0), 0);
        wait_until_ready();
        make_unary(&trial, "/echo", "hello", frame);
        turn_quietly();
        allocation_faults_arm(nth);
        (void)transport_start(transport, &trial.attempt);
        has_failed = allocation_faults_disarm();
        half_way += has_failed && h2_session_outq(transport->session) != 0;
        turn_quietly();
        ck_assert_uint_eq(h2_session_outq(transport->session), 0);
        abort_it();
    }
    ck_assert_uint_ge(half_way, 1);
    end();
}

END_TEST

/* On a warm connection the start of a call allocates nothing. */
START_TEST(memory_is_kept_for_the_next_call)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial trial = {0};
    int ret;

    begin();
    ck_assert_int_eq(connect_it(30 * CLOCK_NS_PER_S), 0);
    wait_until_ready();
    for (unsigned i = 0; i < 3; i++) {
        expect_echo();
    }
    make_unary(&trial, "/echo", "hello", frame);
    allocation_faults_arm(1);
    ret = transport_start(transport, &trial.attempt);
    ck_assert(!allocation_faults_disarm());
    ck_assert_int_eq(ret, 0);
    expect(&trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    abort_it();
    end();
}

END_TEST

/* A connection that cannot be watched is given up, with an attempt that was not sent yet. */
START_TEST(memory_may_end_in_a_watch)
{
    unsigned starts = 0;
    bool has_failed = true;

    begin();
    for (unsigned nth = 1; has_failed; nth++) {
        uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
        struct trial trial = {0};
        int ret;

        ck_assert_uint_lt(nth, FAULTS_MAX);
        ck_assert_int_eq(connect_it(30 * CLOCK_NS_PER_S), 0);
        wait_until_ready();
        make_unary(&trial, "/echo", "hello", frame);
        allocation_faults_arm(nth);
        ret = transport_start(transport, &trial.attempt);
        has_failed = allocation_faults_disarm();
        ck_assert(ret == 0 || (ret == -ENOMEM && has_failed));
        if (ret == 0) {
            wait_for(&trial);
            ck_assert(has_failed ? trial.is_unsent : trial.status == GRPC_STATUS_OK);
            starts++;
        }
        abort_it();
    }
    ck_assert_uint_ge(starts, 1);
    end();
}

END_TEST

/* A message for which there is none is not taken; the stream goes on with the next. */
START_TEST(memory_may_end_in_a_send)
{
    const struct bytes message = BYTES_LITERAL("\0\0\0\0\5hello");
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial trial = {0};
    bool has_failed = true;

    begin();
    ck_assert_int_eq(connect_it(0), 0);
    wait_until_ready();
    make_unary(&trial, "/echo", "", frame);
    trial.attempt.request = (struct bytes){0};
    trial.attempt.half_closed = false;
    ck_assert_int_eq(transport_start(transport, &trial.attempt), 0);
    for (unsigned nth = 1; has_failed; nth++) {
        int ret;

        ck_assert_uint_lt(nth, FAULTS_MAX);
        turn();
        allocation_faults_arm(nth);
        ret = call_attempt_send(&trial.attempt, &message, 1);
        has_failed = allocation_faults_disarm();
        ck_assert_int_eq(ret, has_failed ? -ENOMEM : 0);
    }
    ck_assert_int_eq(call_attempt_half_close(&trial.attempt), 0);
    expect(&trial, GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trial.reply, "hello");
    abort_it();
    end();
}

END_TEST

UNIT_MAIN("transport_memory", memory_may_end_while_connecting, memory_may_end_in_a_start,
          memory_may_end_in_a_first_start, memory_is_kept_for_the_next_call,
          memory_may_end_in_a_watch, memory_may_end_in_a_send)
