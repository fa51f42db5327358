#include "userbench_histogram.h"

#include <stddef.h>

#define NS_PER_US 1000

unsigned userbench_histogram_bucket(uint64_t us)
{
    unsigned shift;

    if (us < 2 * USERBENCH_HISTOGRAM_SUB) {
        return (unsigned)us;
    }
    shift = 63U - (unsigned)__builtin_clzll(us) - USERBENCH_HISTOGRAM_SUB_BITS;
    if (shift >= USERBENCH_HISTOGRAM_POWERS) {
        return USERBENCH_HISTOGRAM_BUCKETS - 1;
    }
    return shift * USERBENCH_HISTOGRAM_SUB + (unsigned)(us >> shift);
}

uint64_t userbench_histogram_upper_us(unsigned bucket)
{
    unsigned shift;

    if (bucket < 2 * USERBENCH_HISTOGRAM_SUB) {
        return bucket;
    }
    shift = bucket / USERBENCH_HISTOGRAM_SUB - 1;
    return ((uint64_t)(bucket - shift * USERBENCH_HISTOGRAM_SUB + 1) << shift) - 1;
}

void userbench_histogram_add(struct userbench_histogram *histogram, uint64_t ns)
{
    histogram->counts[userbench_histogram_bucket(ns / NS_PER_US)]++;
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns) {
        histogram->max_ns = ns;
    }
}

double userbench_histogram_at(const struct userbench_histogram *histogram, double share)
{
    const double max_us = (double)histogram->max_ns / NS_PER_US;
    const double wanted = share * (double)histogram->count;
    uint64_t seen = 0;

    if (histogram->count == 0) {
        return 0;
    }
    for (unsigned i = 0; i < USERBENCH_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > 0 && (double)seen >= wanted) {
            double upper_us = (double)userbench_histogram_upper_us(i);

            return upper_us < max_us ? upper_us : max_us;
        }
    }
    return max_us;
}

double userbench_histogram_mean_us(const struct userbench_histogram *histogram)
{
    return histogram->count == 0 ? 0
                                 : (double)histogram->sum_ns / (double)histogram->count / NS_PER_US;
}
