#include "client/subchannel.h"
#include "transport_fixture.h"

#define TRIALS_MAX  32
#define QUIET_TURNS 50
#define SHORT_NS    CLOCK_NS_PER_MS         /* a backoff that is soon over */
#define LONG_NS     (1000 * CLOCK_NS_PER_S) /* one that never is */

static struct subchannel *subchannel;
static struct trial trials[TRIALS_MAX];
static unsigned changed_count;
static unsigned closed_count;
static enum subchannel_state last_state; /* that was told */
static bool is_inside;                   /* a call to the subchannel */

static void on_changed(void *owner)
{
    ck_assert_ptr_eq(owner, &subchannel);
    ck_assert(!is_inside);
    ck_assert_uint_eq(closed_count, 0);
    ck_assert_int_ne(subchannel_state(subchannel), last_state);
    last_state = subchannel_state(subchannel);
    changed_count++;
}

static void on_subchannel_closed(void *owner)
{
    ck_assert_ptr_eq(owner, &subchannel);
    ck_assert(!is_inside);
    closed_count++;
}

static const struct subchannel_events subchannel_events = {
    .changed = on_changed,
    .closed = on_subchannel_closed,
};

static struct subchannel_options default_options(uint64_t initial_ns)
{
    struct subchannel_options options = {.transport = plain_options()};

    options.backoff = (struct backoff_options){
        .initial_ns = initial_ns, .max_ns = LONG_NS, .factor_percent = 160, .jitter_percent = 20};
    return options;
}

static void make_subchannel(const struct subchannel_options *options, struct target_address address)
{
    changed_count = 0;
    closed_count = 0;
    last_state = SUBCHANNEL_IDLE;
    ck_assert_int_eq(
        subchannel_new(&reactor, options, &address, &subchannel_events, &subchannel, &subchannel),
        0);
    ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_IDLE);
}

static void begin(uint64_t initial_ns)
{
    struct subchannel_options options = default_options(initial_ns);

    begin_reactor();
    begin_peer(NULL);
    make_subchannel(&options, peer_address());
}

static void connect_it(void)
{
    is_inside = true;
    subchannel_connect(subchannel);
    is_inside = false;
}

static void wait_for_state(enum subchannel_state state)
{
    while (last_state != state) {
        turn();
    }
}

static void begin_ready(uint64_t initial_ns)
{
    begin(initial_ns);
    connect_it();
    ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_CONNECTING);
    wait_for_state(SUBCHANNEL_READY);
}

static void wait_until_closed(void)
{
    while (closed_count == 0) {
        turn();
    }
    ck_assert_uint_eq(closed_count, 1);
}

static void end(void)
{
    if (closed_count == 0) {
        is_inside = true;
        subchannel_abort(subchannel);
        is_inside = false;
        wait_until_closed();
    }
    if (peer.listener != NULL) {
        scripted_server_close(&peer);
    }
    reactor_deinit(&reactor);
}

static int try_to_start(unsigned index, const char *path)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256];
    struct trial *trial = &trials[index];

    make_unary(trial, path, "hello", frame);
    return subchannel_start(subchannel, &trial->attempt);
}

static struct trial *start(unsigned index, const char *path)
{
    ck_assert_int_eq(try_to_start(index, path), 0);
    return &trials[index];
}

static void expect_echo(unsigned index)
{
    expect(start(index, "/echo"), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[index].reply, "hello");
}

static void turn_quietly(void)
{
    for (unsigned i = 0; i < QUIET_TURNS; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

/* Makes it end the way of the path, and waits until that is known. */
static void lose_by(unsigned index, const char *path, enum subchannel_state state)
{
    (void)start(index, path);
    wait_for_state(state);
}

static const char *problem(void)
{
    enum call_cause cause;

    return subchannel_problem(subchannel, &cause);
}

static enum call_cause cause(void)
{
    enum call_cause cause;

    (void)subchannel_problem(subchannel, &cause);
    return cause;
}

/* From IDLE over CONNECTING to READY, when asked; asked again it stays; each state is told once. */
START_TEST(subchannel_connects_when_asked)
{
    begin(SHORT_NS);
    turn_quietly();
    ck_assert_uint_eq(peer.accepted, 0);
    ck_assert_int_eq(try_to_start(0, "/echo"), TRANSPORT_E_NOT_READY);
    connect_it();
    connect_it();
    ck_assert_int_eq(try_to_start(0, "/echo"), TRANSPORT_E_NOT_READY);
    wait_for_state(SUBCHANNEL_READY);
    connect_it();
    expect_echo(0);
    expect_echo(1);
    ck_assert_uint_eq(changed_count, 2);
    ck_assert_uint_eq(peer.accepted, 1);
    ck_assert_uint_eq(subchannel_stats(subchannel)->connects, 1);
    ck_assert_uint_eq(subchannel_stats(subchannel)->connect_failures, 0);
    ck_assert_str_eq(problem(), "");
    end();
}

END_TEST

/* A server that is away: TRANSIENT_FAILURE with the reason, IDLE when the backoff is over, again
 * and again, until it is there. */
START_TEST(subchannel_tries_until_the_server_is_there)
{
    struct subchannel_options options = default_options(SHORT_NS);
    struct target_address address;
    unsigned port;

    begin_reactor();
    begin_peer(NULL);
    address = peer_address();
    port = ntohs(((struct sockaddr_in *)(void *)&address.address)->sin_port);
    /* Where the peer listens, but at another address of the loopback. */
    ((struct sockaddr_in *)(void *)&address.address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    make_subchannel(&options, address);
    for (unsigned i = 1; i <= 3; i++) {
        connect_it();
        wait_for_state(SUBCHANNEL_TRANSIENT_FAILURE);
        ck_assert_int_eq(cause(), CALL_CAUSE_CONNECT);
        ck_assert_ptr_nonnull(strstr(problem(), "Connection refused"));
        ck_assert_uint_eq(subchannel_stats(subchannel)->connect_failures, i);
        connect_it(); /* not before the backoff is over */
        ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_TRANSIENT_FAILURE);
        wait_for_state(SUBCHANNEL_IDLE);
    }
    ck_assert_uint_eq(subchannel_stats(subchannel)->connects, 3);
    end();

    begin_reactor();
    begin_peer(NULL);
    ck_assert_uint_ne(port, 0);
    make_subchannel(&options, peer_address());
    connect_it();
    wait_for_state(SUBCHANNEL_READY);
    expect_echo(0);
    end();
}

END_TEST

/* Whoever knows better need not wait for the backoff. */
START_TEST(subchannel_backoff_can_be_reset)
{
    struct subchannel_options options = default_options(LONG_NS);

    begin_reactor();
    make_subchannel(&options, dead_address());
    for (unsigned i = 0; i < 3; i++) {
        connect_it();
        wait_for_state(SUBCHANNEL_TRANSIENT_FAILURE);
        turn_quietly();
        ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_TRANSIENT_FAILURE);
        is_inside = true;
        subchannel_reset_backoff(subchannel);
        is_inside = false;
        wait_for_state(SUBCHANNEL_IDLE);
    }
    subchannel_reset_backoff(subchannel);
    ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_IDLE);
    end();
}

END_TEST

/* A server that accepts and closes is no better than one that is away: nobody dials it in a loop.
 */
START_TEST(subchannel_waits_after_useless_connections)
{
    begin_ready(LONG_NS);
    conn_abort(peer.connections[0].conn);
    wait_for_state(SUBCHANNEL_TRANSIENT_FAILURE);
    ck_assert_int_eq(cause(), CALL_CAUSE_LOST);
    turn_quietly();
    ck_assert_uint_eq(peer.accepted, 1);
    end();

    begin_ready(LONG_NS); /* nor one that says goodbye at once */
    h2_session_end(peer.connections[0].session, H2_ERROR_NO_ERROR, "no");
    conn_touch(peer.connections[0].conn);
    wait_for_state(SUBCHANNEL_TRANSIENT_FAILURE);
    end();

    begin_ready(0); /* but one that stood for as long as the first backoff is of use */
    conn_abort(peer.connections[0].conn);
    wait_for_state(SUBCHANNEL_IDLE);
    end();
}

END_TEST

static void expect_wait(uint64_t wait_ns)
{
    wait_for_state(SUBCHANNEL_TRANSIENT_FAILURE);
    clock_offset_ns += wait_ns * 9 / 10;
    turn_quietly();
    ck_assert_int_eq(subchannel_state(subchannel), SUBCHANNEL_TRANSIENT_FAILURE);
    clock_offset_ns += wait_ns / 10;
    wait_for_state(SUBCHANNEL_IDLE);
    while (peer.open_count != 0) {
        turn();
    }
}

static void connect_in_vain(void)
{
    connect_it();
    wait_for_state(SUBCHANNEL_READY);
    for (unsigned i = 0; i < SCRIPTED_CONNECTIONS_MAX; i++) {
        if (peer.connections[i].conn != NULL) {
            conn_abort(peer.connections[i].conn);
        }
    }
}

/* Each failure in a row makes the wait longer; a connection that was of use begins anew. */
START_TEST(subchannel_backoff_grows_and_is_reset)
{
    const uint64_t first_ns = 1000 * CLOCK_NS_PER_S;
    struct subchannel_options options = default_options(first_ns);

    begin_reactor_on(shifted_clock());
    begin_peer(NULL);
    options.backoff.max_ns = 3 * first_ns;
    options.backoff.factor_percent = 200;
    options.backoff.jitter_percent = 0;
    make_subchannel(&options, peer_address());
    for (unsigned round = 0; round < 2; round++) {
        connect_in_vain();
        expect_wait(first_ns);
        connect_in_vain();
        expect_wait(2 * first_ns);
        connect_in_vain();
        expect_wait(3 * first_ns);
        connect_it();
        wait_for_state(SUBCHANNEL_READY);
        expect_echo(0);
        lose_by(1, "/drop", SUBCHANNEL_IDLE);
        expect(&trials[1], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    }
    end();
}

END_TEST

/* After a connection that served something the next one is made at once. */
START_TEST(subchannel_reconnects_after_a_loss)
{
    begin_ready(LONG_NS);
    expect_echo(0);
    lose_by(1, "/drop", SUBCHANNEL_IDLE);
    ck_assert_int_eq(try_to_start(2, "/echo"), TRANSPORT_E_NOT_READY);
    expect(&trials[1], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_int_eq(cause(), CALL_CAUSE_LOST);
    ck_assert_str_ne(problem(), "");
    connect_it();
    wait_for_state(SUBCHANNEL_READY);
    expect_echo(2);
    ck_assert_uint_eq(peer.accepted, 2);
    ck_assert_uint_eq(subchannel_stats(subchannel)->losses, 1);
    ck_assert_uint_eq(subchannel_stats(subchannel)->goaways, 0);
    ck_assert_uint_eq(subchannel_stats(subchannel)->connects, 2);
    end();
}

END_TEST

/* While an old connection drains, with a call on it, the next one already serves. */
START_TEST(subchannel_drains_beside_a_new_connection)
{
    struct scripted_request *old;

    begin_ready(LONG_NS);
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    old = silent_request;
    lose_by(1, "/goaway", SUBCHANNEL_IDLE);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    connect_it();
    wait_for_state(SUBCHANNEL_READY);
    (void)start(2, "/silent");
    expect_echo(3);
    ck_assert(!trials[0].is_done);
    scripted_request_reply(old, BYTES_LITERAL("at last"));
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "at last");
    expect_echo(4);
    ck_assert_uint_eq(peer.accepted, 2);
    ck_assert_uint_eq(subchannel_stats(subchannel)->goaways, 1);
    ck_assert_uint_eq(subchannel_stats(subchannel)->losses, 0);
    end();
}

END_TEST

/* So many connections may drain; one more ends the oldest: what was on it is lost, and nobody is
 * said to have cancelled it. */
START_TEST(subchannel_limits_what_drains)
{
    begin_ready(LONG_NS);
    for (unsigned i = 0; i <= SUBCHANNEL_DRAINING_MAX; i++) {
        (void)start(2 * i, "/silent");
        lose_by(2 * i + 1, "/goaway", SUBCHANNEL_IDLE);
        expect(&trials[2 * i + 1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
        connect_it();
        wait_for_state(SUBCHANNEL_READY);
    }
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "the oldest was given up"));
    turn_quietly();
    for (unsigned i = 1; i <= SUBCHANNEL_DRAINING_MAX; i++) {
        ck_assert(!trials[2 * i].is_done);
    }
    expect_echo(1);
    end();
}

END_TEST

/* A server that is pinged too often is pinged half as often from the next connection on. */
START_TEST(subchannel_learns_patience)
{
    const uint64_t time_ns = 20 * CLOCK_NS_PER_MS;
    struct subchannel_options options = default_options(LONG_NS);
    uint64_t began_ns;

    begin_reactor();
    begin_peer(NULL);
    options.transport.keepalive_time_ns = time_ns;
    options.transport.keepalive_timeout_ns = LONG_NS;
    make_subchannel(&options, peer_address());
    for (unsigned i = 0; i < 4; i++) { /* 20 ms become 320 */
        connect_it();
        wait_for_state(SUBCHANNEL_READY);
        expect_echo(0);
        lose_by(1, "/calm", SUBCHANNEL_IDLE);
        wait_for(&trials[1]);
        while (peer.open_count != 0) {
            turn();
        }
        turn_quietly();
    }
    peer.stats.pings_received = 0;
    began_ns = reactor.now_ns;
    connect_it();
    wait_for_state(SUBCHANNEL_READY);
    (void)start(2, "/silent");
    while (peer.stats.pings_received == 0) {
        turn();
    }
    ck_assert_uint_ge(reactor.now_ns - began_ns, 16 * time_ns);
    end();
}

END_TEST

static void close_it(void)
{
    is_inside = true;
    subchannel_close(subchannel);
    subchannel_close(subchannel);
    is_inside = false;
    connect_it();
    ck_assert_int_eq(try_to_start(TRIALS_MAX - 1, "/echo"), TRANSPORT_E_NOT_READY);
}

static void abort_it(void)
{
    is_inside = true;
    subchannel_abort(subchannel);
    subchannel_abort(subchannel);
    is_inside = false;
}

/* In each state it ends when asked, and tells nothing else any more. */
START_TEST(subchannel_closes_in_every_state)
{
    void (*const ways[])(void) = {close_it, abort_it};

    for (size_t i = 0; i < 2; i++) {
        for (int state = SUBCHANNEL_IDLE; state < SUBCHANNEL_STATE_COUNT; state++) {
            struct subchannel_options options = default_options(LONG_NS);
            bool fails = state == SUBCHANNEL_TRANSIENT_FAILURE;
            unsigned told;

            begin_reactor();
            begin_peer(NULL);
            make_subchannel(&options, fails ? dead_address() : peer_address());
            if (state != SUBCHANNEL_IDLE) {
                connect_it();
            }
            wait_for_state((enum subchannel_state)state);
            told = changed_count;
            ways[i]();
            wait_until_closed();
            ck_assert_uint_eq(changed_count, told);
            end();
        }
    }
}

END_TEST

/* A close lets every connection serve what is open, an abort none, also after it. */
START_TEST(subchannel_closes_with_calls)
{
    struct scripted_request *old;

    for (int aborts = 0; aborts < 2; aborts++) {
        begin_ready(LONG_NS);
        silent_request = NULL;
        (void)start(0, "/silent");
        while (silent_request == NULL) {
            turn();
        }
        old = silent_request;
        silent_request = NULL;
        lose_by(1, "/goaway", SUBCHANNEL_IDLE);
        connect_it();
        wait_for_state(SUBCHANNEL_READY);
        (void)start(2, "/silent");
        while (silent_request == NULL) {
            turn();
        }
        close_it();
        turn_quietly();
        ck_assert_uint_eq(closed_count, 0);
        ck_assert(!trials[0].is_done && !trials[2].is_done);
        if (aborts == 1) {
            abort_it();
        } else {
            scripted_request_reply(old, BYTES_LITERAL(""));
            scripted_request_reply(silent_request, BYTES_LITERAL(""));
        }
        wait_until_closed();
        expect(&trials[0], aborts == 1 ? GRPC_STATUS_CANCELLED : GRPC_STATUS_OK,
               aborts == 1 ? CALL_CAUSE_CANCELLED : CALL_CAUSE_ANSWER);
        ck_assert_int_eq(trials[2].status, trials[0].status);
        end();
    }
}

END_TEST

UNIT_MAIN("subchannel", subchannel_connects_when_asked, subchannel_tries_until_the_server_is_there,
          subchannel_backoff_can_be_reset, subchannel_waits_after_useless_connections,
          subchannel_backoff_grows_and_is_reset, subchannel_reconnects_after_a_loss,
          subchannel_drains_beside_a_new_connection, subchannel_limits_what_drains,
          subchannel_learns_patience, subchannel_closes_in_every_state,
          subchannel_closes_with_calls)
