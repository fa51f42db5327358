/*
 * The only place that asks the system for the time, behind a seam where a test may lie.
 *
 * Owns:    nothing.
 * Borrows: nothing.
 * Thread:  any for the system clock.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

#define CLOCK_NS_PER_US 1000ULL
#define CLOCK_NS_PER_MS 1000000ULL
#define CLOCK_NS_PER_S  1000000000ULL

struct clock_source {
    uint64_t (*monotonic_ns)(struct clock_source *source); /* for every timer */
    uint64_t (*realtime_ns)(struct clock_source *source);  /* since 1970, for stamps and tokens */
};

/* The system's clocks. */
struct clock_source *clock_system(void);

/* The time that the system has given to this thread, as against the time that has passed. */
uint64_t clock_thread_ns(void);

/* The same of all threads of the process. */
uint64_t clock_process_ns(void);

static inline uint64_t clock_monotonic_ns(struct clock_source *source)
{
    return source->monotonic_ns(source);
}

static inline uint64_t clock_realtime_ns(struct clock_source *source)
{
    return source->realtime_ns(source);
}

#endif
