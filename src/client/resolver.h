/*
 * Keeps the addresses of a target up to date, off the loop: asks at the start, when told that a
 * connection was lost, and at intervals; never more often than `min_interval_ns`.
 *
 * A target of addresses alone is answered at once and never again. A failure keeps the last good
 * answer and is repeated with backoff.
 *
 * Owns:    its job, timer, the last answer.
 * Borrows: reactor, pool, target, owner.
 * Thread:  loop only (the asking itself is on the pool).
 */
#ifndef CLIENT_RESOLVER_H
#define CLIENT_RESOLVER_H

#include "client/target.h"

#include <stdint.h>

struct reactor;
struct resolver;
struct workpool;

struct resolver_options {
    const struct target *target;
    uint64_t interval_ns;     /* ask again after this long anyway; 0 = never; 30 s is usual */
    uint64_t min_interval_ns; /* 1 s is usual */
    /* NULL = target_resolve(); a test's own otherwise, asked for addresses too. Runs on a thread of
     * the pool. */
    int (*resolve)(const struct target *target, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem);
};

/* Both run from the loop, never inside a call to the resolver. */
struct resolver_events {
    /* Addresses, borrowed until it returns. Told after each answer, also one that is the same. */
    void (*resolved)(void *owner, const struct target_address *addresses, unsigned count);
    /* Nobody knows the name at present; asking goes on. */
    void (*failed)(void *owner, const char *problem);
    /* After resolver_close(): the last word; the resolver is freed when it returns. */
    void (*closed)(void *owner);
};

/* Asks for the first time. `pool` may be NULL for a target of addresses alone. Returns 0 or
 * -ENOMEM.
 */
int resolver_new(struct reactor *reactor, struct workpool *pool,
                 const struct resolver_options *options, const struct resolver_events *events,
                 void *owner, struct resolver **ret_resolver);

/* A connection was lost or could not be made: maybe the addresses have changed. Cheap to repeat:
 * however often that is while one question is under way or waits for its time, one more is asked.
 */
void resolver_ask_again(struct resolver *resolver);

/* `closed` follows once no question is under way: getaddrinfo() cannot be cancelled. */
void resolver_close(struct resolver *resolver);

#endif
