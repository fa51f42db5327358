/*
 * A ring inside a loop that is not ours: its descriptor, and how long that loop may wait.
 */
#include "lib/unit.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_MS 50000 /* within the time a test has */

static struct reactor reactor;
static int fds[2];
static int told; /* `done` ran with this */

static void on_done(struct ring_op *op, const struct ring_event *event)
{
    (void)op;
    told = event->result;
}

static void begin(void)
{
    const struct ring_options options = {.entries = 8, .is_pollable = true};
    char problem[RING_PROBLEM_SIZE] = "";

    told = 0;
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
}

static void end(void)
{
    while (ring_pending_count(reactor.ring) > 0) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

static bool is_readable(int timeout_ms)
{
    struct pollfd poller = {.fd = ring_descriptor(reactor.ring), .events = POLLIN};
    const int count = poll(&poller, 1, timeout_ms);

    ck_assert_int_ge(count, 0);
    return count == 1;
}

/* Somebody asleep in poll(2) is woken by what happens to an operation meanwhile. */
START_TEST(ring_wakes_a_poller)
{
    struct ring_op op = {.done = on_done};
    pid_t child;

    begin();
    ck_assert_int_eq(ring_poll(reactor.ring, &op, fds[0], POLLIN), 0);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert(!is_readable(0));
    for (unsigned round = 0; round < 3; round++) {
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            (void)poll(NULL, 0, 30); /* so that the other one is asleep */
            _exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
        }
        ck_assert(is_readable(LONG_MS));
        ck_assert_int_eq(told, 0);
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        ck_assert_int_eq(told, POLLIN);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        ck_assert_int_eq(read(fds[0], &(char){0}, 1), 1);
        told = 0;
        ck_assert_int_eq(ring_poll(reactor.ring, &op, fds[0], POLLIN), 0);
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
        ck_assert(!is_readable(0));
    }
    ring_cancel(reactor.ring, &op);
    end();
}

END_TEST

/* What happened before anybody asked for the descriptor is known without it. */
START_TEST(ring_is_ready_before_it_is_polled)
{
    struct ring_op op = {.done = on_done};

    begin();
    ck_assert_int_eq(ring_poll(reactor.ring, &op, fds[0], POLLIN), 0);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), UINT64_MAX);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert(ring_is_ready(reactor.ring));
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    end();
    ck_assert_int_eq(told, POLLIN);
}

END_TEST

static void on_time(struct timer *timer)
{
    (void)timer;
}

static void on_task(struct reactor_task *task)
{
    (void)task;
}

/* The outer loop may wait for a timer, but not when anything is to be done now. */
START_TEST(reactor_says_how_long_it_is_idle)
{
    struct ring_op op = {.done = on_done};
    struct timer timer = {.fire = on_time};
    struct reactor_task task = {.run = on_task};

    begin();
    list_init(&task.link);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), UINT64_MAX);
    ck_assert_int_eq(reactor_start_timer(&reactor, &timer, 1000 * CLOCK_NS_PER_S), 0);
    ck_assert_uint_gt(reactor_idle_ns(&reactor), 0);
    ck_assert_uint_le(reactor_idle_ns(&reactor), 1000 * CLOCK_NS_PER_S);
    reactor_defer(&reactor, &task);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    reactor_undefer(&task);
    reactor_defer_slow(&reactor, &task);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    reactor_undefer(&task);
    ck_assert_uint_gt(reactor_idle_ns(&reactor), 0);
    ck_assert(!ring_has_queued(reactor.ring));
    ck_assert_int_eq(ring_poll(reactor.ring, &op, fds[0], POLLIN), 0);
    ck_assert(ring_has_queued(reactor.ring));
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_gt(reactor_idle_ns(&reactor), 0);
    ring_cancel(reactor.ring, &op);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    ck_assert_int_eq(reactor_start_timer(&reactor, &timer, 0), 0);
    ck_assert_uint_eq(reactor_idle_ns(&reactor), 0);
    reactor_stop_timer(&reactor, &timer);
    end();
}

END_TEST

UNIT_MAIN("ring_poll", ring_wakes_a_poller, ring_is_ready_before_it_is_polled,
          reactor_says_how_long_it_is_idle)
