/*
 * Counts of times, in buckets that are linear within each power of two: below 128 us one bucket is
 * 1 us wide, above it at most 1/64 of its value.
 *
 * Owns:    nothing; the counts are inside.
 * Thread:  any one.
 */
#ifndef USERBENCH_HISTOGRAM_H
#define USERBENCH_HISTOGRAM_H

#include <stdint.h>

#define USERBENCH_HISTOGRAM_SUB_BITS 6 /* 64 buckets for each power of two */
#define USERBENCH_HISTOGRAM_SUB      (1U << USERBENCH_HISTOGRAM_SUB_BITS)
#define USERBENCH_HISTOGRAM_POWERS   26 /* up to 2^32 us, more than an hour */
#define USERBENCH_HISTOGRAM_BUCKETS  (USERBENCH_HISTOGRAM_SUB * (USERBENCH_HISTOGRAM_POWERS + 1))

struct userbench_histogram {
    uint64_t counts[USERBENCH_HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
};

void userbench_histogram_add(struct userbench_histogram *histogram, uint64_t ns);

/* The bucket of so many microseconds, and the most microseconds that it counts. */
unsigned userbench_histogram_bucket(uint64_t us);
uint64_t userbench_histogram_upper_us(unsigned bucket);

/* The least time, in us, that at least this share (0 to 1) of all did not exceed: its bucket's
 * upper end, and never more than the greatest. 0 when there is none. */
double userbench_histogram_at(const struct userbench_histogram *histogram, double share);

double userbench_histogram_mean_us(const struct userbench_histogram *histogram);

#endif
