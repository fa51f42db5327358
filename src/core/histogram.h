/*
 * Counts values by size, in steps of 1, 2, 5, 10, 20, 50 ...: times in nanoseconds as well as
 * numbers of things. One scale for all, so that a reader may join neighbouring steps into coarser
 * ones and nothing is lost.
 *
 * Owns:    its counts.
 * Thread:  one at a time.
 */
#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_DECADES 11
#define HISTOGRAM_BOUNDS  (3 * HISTOGRAM_DECADES + 1) /* 1, 2, 5 ... 10^11: 100 s in nanoseconds */

/* Zero-initialised is a valid empty one. */
struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* of values up to that bound and over the one before */
    uint64_t sum;
};

/* Ascending; the last, behind the HISTOGRAM_BOUNDS real ones, is UINT64_MAX. */
extern const uint64_t histogram_bounds[HISTOGRAM_BOUNDS + 1];

/* By the number of a value's highest bit: the first bound that is not below all such values. */
extern const uint8_t histogram_first[64];

/* The bound that the value counts for: a lookup and a comparison, since no two bounds have their
 * highest bit at the same place. */
static inline unsigned histogram_place(uint64_t value)
{
    const unsigned first = histogram_first[63 - __builtin_clzll(value | 1)];

    return first + (value > histogram_bounds[first]);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[histogram_place(value)]++;
    histogram->sum += value;
}

/* How many were added. */
uint64_t histogram_count(const struct histogram *histogram);

#endif
