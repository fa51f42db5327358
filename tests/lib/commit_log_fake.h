/*
 * A commit log in memory, on a medium that outlives it, with every outcome at the test's choice:
 * late, refused, lost, unknown, several events at once; always in order.
 *
 * Owns:    what commit_log.h says; the medium owns the committed records.
 * Borrows: the reactor, the medium.
 * Thread:  one.
 */
#ifndef TESTS_LIB_COMMIT_LOG_FAKE_H
#define TESTS_LIB_COMMIT_LOG_FAKE_H

#include "lib/commit_log_medium.h"

#include "service/commit_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reactor;

/* What becomes of a mutation. The two UNKNOWNs end the log: it fails, this mutation and all behind
 * it are UNKNOWN, and this one is in the medium or is not. */
enum commit_log_fake_fate {
    FAKE_FATE_COMMIT,
    FAKE_FATE_CONFLICT,
    FAKE_FATE_NOT_SENT,
    FAKE_FATE_FULL,
    FAKE_FATE_NO_SPACE,
    FAKE_FATE_TOO_LARGE,
    FAKE_FATE_UNKNOWN_KEPT,
    FAKE_FATE_UNKNOWN_LOST,
};

/* With a reactor, everything is told at the end of the turn, as by the real one; without (NULL),
 * only commit_log_fake_step() tells. Aborts when out of memory. */
struct commit_log *commit_log_fake_new(struct reactor *reactor, struct commit_log_medium *medium);

/* From now on commits and markers wait for commit_log_fake_step(); refusals do not. */
void commit_log_fake_hold(struct commit_log *log, bool hold);

/* Completes up to `count` of the oldest commits and markers: at the end of the turn, or, without a
 * reactor, before it returns. */
void commit_log_fake_step(struct commit_log *log, unsigned count);

/* Commits and markers that wait. */
unsigned commit_log_fake_pending(const struct commit_log *log);

/* The fate of the `nth` submit from now (1 = the next); the others commit. One plan at a time. */
void commit_log_fake_set_fate(struct commit_log *log, unsigned nth, enum commit_log_fake_fate fate);

/* How many waiting commits `events` is told of at once; 1 at first. */
void commit_log_fake_set_batch(struct commit_log *log, unsigned count);

/* A checkpoint takes one record of the snapshot per turn from now on; all at once at first. */
void commit_log_fake_slow_checkpoints(struct commit_log *log);

/* More than this many waiting is FULL; no limit at first. */
void commit_log_fake_set_pending_max(struct commit_log *log, uint32_t max);

#endif
