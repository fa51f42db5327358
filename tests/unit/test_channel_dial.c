#include "channel_fixture.h"

/* In which order and when pick_first connects. The clock stands unless it is moved: what waits for
 * a time waits for ever. */

#define INTERVAL_NS (250 * CLOCK_NS_PER_MS)
#define DEADS_MAX   2

static uint64_t frozen_ns;
static int deads[DEADS_MAX]; /* sockets that TCP connects to, and nobody answers from */
static unsigned dead_count;

static uint64_t read_frozen(struct clock_source *source)
{
    (void)source;
    return frozen_ns;
}

/* The port of a new dead one. */
static unsigned open_dead(void)
{
    struct sockaddr_in bound = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(bound);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&bound, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&bound, &size), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    deads[dead_count++] = fd;
    return ntohs(bound.sin_port);
}

/* So many dead ones, then the places. */
static void begin_dial(unsigned dead, unsigned place)
{
    static struct clock_source clock = {read_frozen, read_frozen};
    char text[256];
    size_t used = 0;

    begin_reactor();
    frozen_ns = 1000 * CLOCK_NS_PER_S;
    reactor.clock = &clock;
    begin_places(place, NULL);
    dead_count = 0;
    for (unsigned i = 0; i < dead; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "127.0.0.1:%u,", open_dead());
    }
    name_places(text + used, sizeof(text) - used, place);
    options.connect_timeout_ns = 1000 * CLOCK_NS_PER_S;
    options.has_policy = true;
    options.policy = BALANCER_PICK_FIRST;
    begin_channel(text);
}

static void end_dial(void)
{
    end();
    while (dead_count > 0) {
        ck_assert_int_eq(close(deads[--dead_count]), 0);
    }
}

static void advance(uint64_t ns)
{
    frozen_ns += ns;
    turn_quietly();
}

/* An address that neither connects nor fails holds nobody for long: the next one is tried beside
 * it, and it is given up when that one is there. */
START_TEST(dial_tries_the_next_beside_a_dead_one)
{
    begin_dial(2, 1);
    (void)start(0, "/echo", "hello");
    UNTIL(is_in_state(0, SUBCHANNEL_CONNECTING));
    turn_quietly();
    ck_assert(is_in_state(1, SUBCHANNEL_IDLE));
    advance(INTERVAL_NS - 1);
    ck_assert(is_in_state(1, SUBCHANNEL_IDLE));
    advance(1);
    ck_assert(is_in_state(0, SUBCHANNEL_CONNECTING));
    ck_assert(is_in_state(1, SUBCHANNEL_CONNECTING));
    ck_assert(is_in_state(2, SUBCHANNEL_IDLE));
    advance(INTERVAL_NS - 1);
    ck_assert(is_in_state(2, SUBCHANNEL_IDLE));
    ck_assert(!trials[0].is_done);
    advance(1);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    UNTIL(is_in_state(0, SUBCHANNEL_IDLE) && is_in_state(1, SUBCHANNEL_IDLE));
    ck_assert(is_in_state(2, SUBCHANNEL_READY));
    ck_assert_uint_eq(backend(0).connections.connect_failures, 0);
    ck_assert_str_eq(backend(0).problem, "");

    /* It stays, and after a loss the same way leads to it again. */
    advance(100 * INTERVAL_NS);
    ck_assert_uint_eq(backend(0).connections.connects, 1);
    ck_assert_uint_eq(backend(1).connections.connects, 1);
    expect_echo(1);
    (void)start(2, "/drop", "");
    UNTIL(trials[2].is_done);
    (void)start_patiently(3, "/echo", "");
    UNTIL(is_in_state(0, SUBCHANNEL_CONNECTING));
    turn_quietly();
    advance(INTERVAL_NS);
    advance(INTERVAL_NS);
    expect(&trials[3], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(backend(2).connections.connects, 2);
    end_dial();
}

END_TEST

/* One that fails makes room for the next at once; one that is quick leaves the others alone. */
START_TEST(dial_waits_for_nobody_who_has_answered)
{
    begin_dial(0, 2);
    kill_place(0);
    expect(start(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[1].served, 1);
    end_dial();

    begin_dial(0, 2);
    expect(start(0, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    advance(10 * INTERVAL_NS);
    ck_assert_uint_eq(places[0].served, 1);
    ck_assert_uint_eq(backend(1).connections.connects, 0);
    end_dial();
}

END_TEST

/* After the calls that wanted it are gone nobody else is tried. */
START_TEST(dial_stops_with_the_last_call)
{
    begin_dial(2, 1);
    (void)start(0, "/echo", "");
    UNTIL(is_in_state(0, SUBCHANNEL_CONNECTING));
    turn_quietly();
    channel_cancel(&trials[0].call);
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    advance(10 * INTERVAL_NS);
    ck_assert_uint_eq(backend(1).connections.connects, 0);

    /* What was begun goes on, and has had its time when the next call comes. */
    (void)start(1, "/echo", "");
    turn_quietly();
    ck_assert(is_in_state(0, SUBCHANNEL_CONNECTING));
    ck_assert(is_in_state(1, SUBCHANNEL_CONNECTING));
    end_dial();
}

END_TEST

UNIT_MAIN("channel_dial", dial_tries_the_next_beside_a_dead_one,
          dial_waits_for_nobody_who_has_answered, dial_stops_with_the_last_call)
