/*
 * Random bytes, from libsodium, behind a seam where a test may be repeatable.
 *
 * Owns, borrows: nothing.
 * Thread:  any for the system source.
 */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random_source {
    void (*fill)(struct random_source *source, void *bytes, size_t size);
};

/* The system's generator. The first call initialises libsodium; the program ends if that fails. */
struct random_source *random_system(void);

static inline void random_fill(struct random_source *source, void *bytes, size_t size)
{
    source->fill(source, bytes, size);
}

#endif
