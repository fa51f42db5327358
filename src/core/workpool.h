/*
 * A small bounded pool of threads for work that is too long for the loop; results come back as
 * completions on the loop.
 *
 * Owns:    its threads, the queue.
 * Borrows: every job, from submit until its `finish` has run.
 * Thread:  loop only, except `work`, which runs on a pool thread and may touch only its job.
 */
#ifndef CORE_WORKPOOL_H
#define CORE_WORKPOOL_H

#include "core/histogram.h"
#include "core/list.h"

#include <stdbool.h>

struct reactor;
struct workpool;

#define WORKPOOL_E_FULL 1 /* as many jobs wait as may */

/* Embedded in its owner. list_init() is done by submit. */
struct workpool_job {
    struct list link;
    void (*work)(struct workpool_job *job);                   /* on a pool thread */
    void (*finish)(struct workpool_job *job, bool cancelled); /* on the loop, exactly once */
    int state;                                                /* workpool.c's own */
    uint64_t worked_ns;                                       /* likewise: what `work` took */
};

/* For metrics. */
struct workpool_stats {
    unsigned waiting; /* jobs, now */
    unsigned working; /* likewise, on a thread */
    uint64_t refused; /* because the queue was full */
};

/* Starts `thread_count` threads; at most `queue_max` jobs wait. Signals are blocked in them.
 *
 * Returns 0 or negative errno. */
int workpool_new(struct reactor *reactor, unsigned thread_count, unsigned queue_max,
                 struct workpool **ret_pool);

/* Stops the threads. All jobs must have finished: cancel them first and run the loop until
 * workpool_is_idle(). Only the wake-up operation on the ring may still be pending: it is cancelled,
 * and the memory goes with its completion in a later turn. May be called from a `finish`. NULL is
 * fine. */
void workpool_close(struct workpool *pool);

/* No job is waiting, at work or unfinished. True already in the `finish` of the last one. */
bool workpool_is_idle(const struct workpool *pool);

struct workpool_stats workpool_stats(struct workpool *pool);

/* How long `work` took, of all jobs that have finished. */
const struct histogram *workpool_times(const struct workpool *pool);

/* Returns 0, or WORKPOOL_E_FULL with nothing queued. */
int workpool_submit(struct workpool *pool, struct workpool_job *job);

/* A job still waiting is taken out and finishes as cancelled in this turn (from the loop, not
 * inside this call); one that runs finishes in its own time, not cancelled. */
void workpool_cancel(struct workpool *pool, struct workpool_job *job);

#endif
