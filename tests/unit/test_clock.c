#include "lib/unit.h"

#include "core/clock.h"

#include <time.h>

/* The monotonic clock never goes back. */
START_TEST(clock_monotonic_does_not_go_back)
{
    uint64_t before = clock_monotonic_ns(clock_system());
    uint64_t now;

    for (int i = 0; i < 10000; i++) {
        now = clock_monotonic_ns(clock_system());
        ck_assert_uint_ge(now, before);
        before = now;
    }
}

END_TEST

/* Both clocks are the system's, in nanoseconds. */
START_TEST(clock_agrees_with_the_system)
{
    const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
    struct timespec low;
    struct timespec high;
    uint64_t now;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(clock_gettime(ids[i], &low), 0);
        now = i == 0 ? clock_monotonic_ns(clock_system()) : clock_realtime_ns(clock_system());
        ck_assert_int_eq(clock_gettime(ids[i], &high), 0);
        ck_assert_uint_ge(now, (uint64_t)low.tv_sec * CLOCK_NS_PER_S + (uint64_t)low.tv_nsec);
        ck_assert_uint_le(now, (uint64_t)high.tv_sec * CLOCK_NS_PER_S + (uint64_t)high.tv_nsec);
    }
}

END_TEST

/* The thread's time goes on while it works, and not while it waits. */
START_TEST(clock_of_the_thread)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    uint64_t before = clock_thread_ns();

    while (clock_thread_ns() - before < 2 * CLOCK_NS_PER_MS) {
    }
    before = clock_thread_ns();
    ck_assert_int_eq(nanosleep(&pause, NULL), 0);
    ck_assert_uint_lt(clock_thread_ns() - before, 100000000);
}

END_TEST

UNIT_MAIN("clock", clock_monotonic_does_not_go_back, clock_agrees_with_the_system,
          clock_of_the_thread)
