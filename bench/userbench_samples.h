/*
 * Measured times, all of them kept, and their percentiles.
 *
 * Owns:    the values.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef USERBENCH_SAMPLES_H
#define USERBENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. */
struct userbench_samples {
    uint64_t *values; /* nanoseconds */
    size_t count;
    size_t capacity;
};

void userbench_samples_deinit(struct userbench_samples *samples);

/* The program ends when there is no memory. */
void userbench_samples_add(struct userbench_samples *samples, uint64_t ns);

/* For userbench_samples_at(). */
void userbench_samples_sort(struct userbench_samples *samples);

/* The value, in microseconds, that this share (0 to 1) of the sorted samples
 * does not exceed. 0 without samples. */
double userbench_samples_at(const struct userbench_samples *samples, double share);

#endif
