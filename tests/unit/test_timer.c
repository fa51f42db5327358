#include "lib/unit.h"

#include "core/list.h"
#include "core/timer.h"

#include <stdint.h>

/* For the long loops: libcheck writes to a pipe at every assertion of its own. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            ck_abort_msg("not so: %s", #condition);                                                \
        }                                                                                          \
    } while (0)

static struct timer_set set;

/* A timer that notes when it fired, and may do something to another one then. */
struct probe {
    struct timer timer;
    unsigned fired;
    unsigned order; /* the how-manieth of all that fired */
    struct timer *to_stop;
    bool again; /* starts itself anew for the same deadline */
};

static unsigned fired_total;

static void on_fire(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);

    EXPECT(!timer_is_armed(timer));
    probe->fired++;
    probe->order = ++fired_total;
    if (probe->to_stop != NULL) {
        timer_set_stop(&set, probe->to_stop);
    }
    if (probe->again) {
        ck_assert_int_eq(timer_set_start(&set, timer, 0), 0);
    }
}

static void start(struct probe *probe, uint64_t deadline_ns)
{
    probe->timer.fire = on_fire;
    EXPECT(timer_set_start(&set, &probe->timer, deadline_ns) == 0);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Timers fire at their time and not before, the earliest first, equal ones in the order of arming.
 */
START_TEST(timer_fires_in_order)
{
    struct probe probes[4] = {0};

    fired_total = 0;
    ck_assert_uint_eq(timer_set_next_ns(&set), UINT64_MAX);
    start(&probes[0], 30);
    start(&probes[1], 10);
    start(&probes[2], 20);
    start(&probes[3], 10);
    ck_assert_uint_eq(timer_set_next_ns(&set), 10);
    timer_set_run(&set, 9);
    ck_assert_uint_eq(fired_total, 0);
    timer_set_run(&set, 25);
    ck_assert_uint_eq(probes[1].order, 1);
    ck_assert_uint_eq(probes[3].order, 2);
    ck_assert_uint_eq(probes[2].order, 3);
    ck_assert_uint_eq(probes[0].fired, 0);
    ck_assert(timer_is_armed(&probes[0].timer));
    timer_set_run(&set, 30);
    ck_assert_uint_eq(probes[0].fired, 1);
    timer_set_deinit(&set);
}

END_TEST

/* A stopped timer does not fire, even when it is due and another one's `fire` stops it. */
START_TEST(timer_stop_is_final)
{
    struct probe first = {0};
    struct probe second = {0};
    struct probe third = {0};

    start(&first, 1);
    start(&second, 2);
    start(&third, 3);
    first.to_stop = &second.timer;
    timer_set_stop(&set, &third.timer);
    timer_set_stop(&set, &third.timer);
    timer_set_run(&set, 100);
    ck_assert_uint_eq(first.fired, 1);
    ck_assert_uint_eq(second.fired, 0);
    ck_assert_uint_eq(third.fired, 0);
    ck_assert_uint_eq(set.count, 0);
    timer_set_deinit(&set);
}

END_TEST

/* One that starts itself again for a time already past fires once per run, and does not keep older
 * ones from firing. */
START_TEST(timer_again_waits_for_the_next_run)
{
    struct probe again = {.again = true};
    struct probe other = {0};

    start(&again, 5);
    start(&other, 10);
    timer_set_run(&set, 10);
    ck_assert_uint_eq(again.fired, 1);
    ck_assert_uint_eq(other.fired, 1);
    timer_set_run(&set, 10);
    ck_assert_uint_eq(again.fired, 2);
    again.again = false;
    timer_set_run(&set, 10);
    ck_assert_uint_eq(again.fired, 3);
    timer_set_run(&set, 11);
    ck_assert_uint_eq(again.fired, 3);
    timer_set_deinit(&set);
}

END_TEST

/* Starting an armed timer moves it, both ways. */
START_TEST(timer_moves)
{
    struct probe probe = {0};
    struct probe fixed = {0};

    start(&probe, 10);
    start(&fixed, 50);
    start(&probe, 100);
    timer_set_run(&set, 60);
    ck_assert_uint_eq(probe.fired, 0);
    ck_assert_uint_eq(fixed.fired, 1);
    start(&probe, 61);
    ck_assert_uint_eq(set.count, 1);
    timer_set_run(&set, 61);
    ck_assert_uint_eq(probe.fired, 1);
    timer_set_deinit(&set);
}

END_TEST

/* Through a long random history of starts, moves, stops and runs, exactly those fire that a plain
 * array says, and the next deadline is the array's least. */
START_TEST(timer_follows_a_model)
{
    enum {
        COUNT = 200,
        STEPS = 20000
    };
    static struct probe probes[COUNT];
    uint64_t deadlines[COUNT]; /* 0 = not armed */
    unsigned fired[COUNT] = {0};
    uint32_t state = 11;
    uint64_t now = 1;
    uint64_t least;
    bool has_run;

    memset(deadlines, 0, sizeof(deadlines));
    for (int step = 0; step < STEPS; step++) {
        unsigned i = next_random(&state) % COUNT;

        if (next_random(&state) % 4 == 0) {
            timer_set_stop(&set, &probes[i].timer);
            deadlines[i] = 0;
        } else {
            deadlines[i] = now + next_random(&state) % 1000;
            start(&probes[i], deadlines[i]);
        }
        has_run = next_random(&state) % 3 == 0;
        if (has_run) {
            now += next_random(&state) % 40;
            timer_set_run(&set, now);
        }
        least = UINT64_MAX;
        for (unsigned j = 0; j < COUNT; j++) {
            /* A run has just been, or the deadline is in the future of `now`, or it waits for one.
             */
            if (deadlines[j] != 0 && !timer_is_armed(&probes[j].timer)) {
                EXPECT(deadlines[j] <= now);
                deadlines[j] = 0;
                fired[j]++;
            }
            EXPECT(!has_run || deadlines[j] == 0 || deadlines[j] > now);
            EXPECT(probes[j].fired == fired[j]);
            if (deadlines[j] != 0 && deadlines[j] < least) {
                least = deadlines[j];
            }
        }
        EXPECT(timer_set_next_ns(&set) == least);
    }
    timer_set_run(&set, UINT64_MAX - 1);
    ck_assert_uint_eq(set.count, 0);
    timer_set_deinit(&set);
}

END_TEST

/* A hundred thousand timers, half of them stopped again, all fire in order of their deadlines. */
START_TEST(timer_survives_a_storm)
{
    enum {
        COUNT = 100000
    };
    struct probe *probes = calloc(COUNT, sizeof(*probes));
    uint32_t state = 3;
    unsigned last_order = 0;
    uint64_t previous_ns = 0;

    ck_assert_ptr_nonnull(probes);
    fired_total = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        start(&probes[i], 1 + next_random(&state) % 1000000);
    }
    for (unsigned i = 0; i < COUNT; i += 2) {
        timer_set_stop(&set, &probes[i].timer);
    }
    while (set.count > 0) {
        EXPECT(timer_set_next_ns(&set) >= previous_ns);
        previous_ns = timer_set_next_ns(&set);
        timer_set_run(&set, previous_ns);
        EXPECT(fired_total > last_order);
        last_order = fired_total;
    }
    ck_assert_uint_eq(fired_total, COUNT / 2);
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(probes[i].fired == i % 2);
    }
    timer_set_deinit(&set);
    free(probes);
}

END_TEST

UNIT_MAIN("timer", timer_fires_in_order, timer_stop_is_final, timer_again_waits_for_the_next_run,
          timer_moves, timer_follows_a_model, timer_survives_a_storm)
