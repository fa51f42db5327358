#include "core/clock.h"

#include <assert.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    int result = clock_gettime(id, &now);

    assert(result == 0); /* these clocks exist on every Linux */
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t system_monotonic_ns(struct clock_source *source)
{
    (void)source;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_realtime_ns(struct clock_source *source)
{
    (void)source;
    return read_clock(CLOCK_REALTIME);
}

uint64_t clock_thread_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_process_ns(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

struct clock_source *clock_system(void)
{
    static struct clock_source source = {system_monotonic_ns, system_realtime_ns};

    return &source;
}
