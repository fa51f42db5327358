/*
 * How fast a snapshot may use the disk: so many bytes a second, and no catching up after a pause.
 *
 * Owns, borrows: nothing.
 * Thread:  loop only.
 */
#ifndef CORE_SNAPSHOT_PACE_H
#define CORE_SNAPSHOT_PACE_H

#include "core/clock.h"

#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_PACE_SLICE_NS                                                                     \
    (150 * CLOCK_NS_PER_US) /* of 200: one more step may follow when it has passed */

struct snapshot_pace {
    uint64_t rate;    /* bytes a second; 0 = no limit */
    uint64_t next_ns; /* monotonic: not before this */
};

/* How long the next operation has to wait; 0 = it may begin. */
static inline uint64_t snapshot_pace_wait_ns(const struct snapshot_pace *pace, uint64_t now_ns)
{
    return now_ns < pace->next_ns ? pace->next_ns - now_ns : 0;
}

/* An operation of so many bytes, some MiB at most, begins now. */
static inline void snapshot_pace_note(struct snapshot_pace *pace, uint64_t now_ns, size_t bytes)
{
    if (pace->rate > 0) {
        pace->next_ns = now_ns + bytes * CLOCK_NS_PER_S / pace->rate;
    }
}

#endif
