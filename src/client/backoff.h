/*
 * How long to wait before the next attempt to connect: exponential, with jitter
 * (doc/connection-backoff.md of gRPC). Pure: the randomness comes in.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef CLIENT_BACKOFF_H
#define CLIENT_BACKOFF_H

#include <stdint.h>

struct backoff_options {
    uint64_t initial_ns;     /* before the second attempt; 1 s */
    uint64_t max_ns;         /* 120 s */
    unsigned factor_percent; /* 160: each wait is so much of the one before */
    unsigned jitter_percent; /* 20: a wait is up to so much longer or shorter */
};

struct backoff {
    uint64_t next_ns; /* without jitter; 0 = the next failure is the first */
};

extern const struct backoff_options backoff_defaults;

/* After a failure: how long to wait. `random` is any 64 random bits. */
uint64_t backoff_next(struct backoff *backoff, const struct backoff_options *options,
                      uint64_t random);

/* After a success: the next failure is the first again. */
void backoff_reset(struct backoff *backoff);

#endif
