/*
 * Turns work away while there is too little memory, or while the loop does not keep up, so that
 * what was taken is still served.
 *
 * Owns:    its timer and counters, a descriptor of /proc.
 * Borrows: the reactor, for its life; the server, until overload_close(); the pool, until a job of
 *          its own that may be at work then has finished.
 * Thread:  loop only.
 */
#ifndef SERVICE_OVERLOAD_H
#define SERVICE_OVERLOAD_H

#include "http2/grpc_dispatch.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_server;
struct overload;
struct reactor;
struct workpool;

struct overload_options {
    uint64_t memory_max;  /* bytes, overload.memory_max; 0 = what the system allows */
    unsigned soft;        /* percent of it, overload.soft */
    unsigned hard;        /* percent of it, overload.hard */
    uint64_t target_ns;   /* overload.target_ms; 0 = however slow the loop is */
    uint64_t interval_ns; /* overload.interval_ms */
};

enum overload_memory {
    OVERLOAD_MEMORY_EASY,
    OVERLOAD_MEMORY_SOFT, /* no new connections and watchers */
    OVERLOAD_MEMORY_HARD, /* no new calls but for health */
};

struct overload_stats {
    uint64_t memory_used; /* as of the last look */
    uint64_t memory_max;
    enum overload_memory memory;
    uint64_t delay_ns;         /* of the loop, in the last interval */
    unsigned refused_permille; /* of the calls, now, because of it */
    uint64_t calls_refused_memory;
    uint64_t watchers_refused_memory;
    uint64_t calls_refused_delay;
    uint64_t trims; /* memory given back to the system */
};

/* Begins to look at the memory; what takes long is done in the pool. Returns 0 or negative errno.
 */
int overload_new(struct reactor *reactor, struct workpool *pool,
                 const struct overload_options *options, struct overload **ret_overload);

/* Other limits from now on. */
void overload_set_options(struct overload *overload, const struct overload_options *options);

/* Which server is not to take connections while memory is short. */
void overload_set_server(struct overload *overload, struct grpc_server *server);

/* Who is told, from the loop, whether calls are refused for want of memory; at once, and at every
 * change. NULL = nobody. */
void overload_watch_memory(struct overload *overload,
                           void (*told)(void *context, bool are_calls_refused), void *context);

/* The stage. It asks nothing about the caller, so it can be the first that costs anything. */
struct grpc_stage overload_stage(struct overload *overload);

const struct overload_stats *overload_stats(const struct overload *overload);

/* No further look, and the server may go. A job may still be at work: workpool_is_idle() tells.
 * Safe twice; NULL is fine. */
void overload_close(struct overload *overload);

/* Closes it, too; no job of its own is at work any more. NULL is fine. */
void overload_free(struct overload *overload);

#endif
