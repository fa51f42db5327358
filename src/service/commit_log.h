/*
 * The seam between the store and what makes its changes durable: a table of functions with the
 * local WAL as first implementation, an in-memory fake with faults as second (tests), etcd as third
 * (later).
 *
 * The store plans a mutation; the log takes it, makes it durable, and gives its record back through
 * `events`, which is the only way in which the store changes; only then does it tell the submitter.
 *
 * Owns:    mutations, from submit until their `done`.
 * Borrows: callbacks and context for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_COMMIT_LOG_H
#define SERVICE_COMMIT_LOG_H

#include "core/bytes.h"
#include "core/list.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum commit_outcome {
    /* Durable (with wal.sync = interval: soon); `events` with its record ran before. */
    COMMIT_DONE,
    COMMIT_CONFLICT,  /* a precondition does not hold (never from the local WAL) */
    COMMIT_UNKNOWN,   /* it may or may not survive: the log has failed */
    COMMIT_NOT_SENT,  /* certainly without effect */
    COMMIT_FULL,      /* too much waits; certainly without effect */
    COMMIT_SLOW,      /* what waits has waited too long; certainly without effect */
    COMMIT_NO_SPACE,  /* the disk is full; certainly without effect */
    COMMIT_TOO_LARGE, /* the record is over the log's limit; certainly without effect */
};

enum commit_key_rule {
    COMMIT_KEY_ABSENT,     /* must not exist; is written */
    COMMIT_KEY_AT_VERSION, /* must be at `version`; is written */
    COMMIT_KEY_DROPPED,    /* an index key given up */
};

/* A key the mutation touches, for logs that decide conflicts elsewhere. The local WAL ignores them:
 * the store's reservations have decided already. */
struct commit_key {
    struct bytes key;
    enum commit_key_rule rule;
    uint64_t version;
};

#define COMMIT_KEYS_MAX 8

/* One change on its way. Everything it points to must live until `done`. */
struct commit_mutation {
    struct bytes record; /* after-image or tombstone, opaque to the log */
    uint8_t record_type; /* enum user_record_type */
    struct commit_key keys[COMMIT_KEYS_MAX];
    unsigned key_count;
    /* Exactly once, from the loop, never inside submit. `revision` counts with COMMIT_DONE. */
    void (*done)(struct commit_mutation *mutation, enum commit_outcome outcome, uint64_t revision);
    /* The rest is the log's own. */
    struct wal_append append;  /* the local WAL's */
    struct list link;          /* of those whose outcome is to be told from the loop */
    enum commit_outcome early; /* that outcome */
    void *owner;               /* the log that took it */
};

/* One committed change, in revision order. */
struct commit_event {
    uint64_t revision;
    uint64_t realtime_ns; /* when it was logged; 0 = now */
    uint8_t record_type;
    bool is_in_snapshot; /* of a state as it was, not a change; revision may be 0 */
    struct bytes record;
};

enum commit_log_state {
    COMMIT_LOG_RECOVERING,
    COMMIT_LOG_READY,
    COMMIT_LOG_DEGRADED, /* writes are refused for now (no space), reads go on */
    COMMIT_LOG_FAILED,   /* final */
    COMMIT_LOG_CLOSED,   /* the last state told; the log may be freed after it */
};

/* The end of a recovery. */
struct commit_recovered {
    uint64_t revision;
    /* The run before answered changes before they were durable and did not end properly: numbers
     * that it gave out may be gone from the log. */
    bool may_have_lost;
};

struct commit_log_callbacks {
    /* Recovery: the whole state anew, between begin and end. A second begin starts again from
     * nothing. `record_count` is how many to expect about, 0 = unknown. The records of a snapshot
     * come first and in no order; then single changes, in theirs. Non-zero from the first two ends
     * the start with that error; there is no end then. */
    int (*reset_begin)(void *context, uint64_t record_count);
    int (*reset_record)(void *context, const struct commit_event *event);
    void (*reset_end)(void *context, const struct commit_recovered *recovered);
    /* About once a second while that goes on. NULL is fine. */
    void (*reset_progress)(void *context, const struct wal_progress *progress);
    /* The whole state once more, for a checkpoint, as wal_snapshot_source says. */
    const struct wal_snapshot_source *snapshot;
    /* Committed changes, in order. */
    void (*events)(void *context, const struct commit_event *events, size_t count);
    void (*state)(void *context, enum commit_log_state state, const char *reason);
    /* A checkpoint begins or ends; not when the log ends with it. NULL is fine. */
    void (*checkpoint)(void *context, const struct wal_snapshot_report *report);
};

struct commit_log;

struct commit_log_limits {
    uint32_t record_size_max;
    uint32_t pending_max;
};

struct commit_log_ops {
    /* Recovers: reset_* run inside; then state(READY) comes from the loop. Returns 0 or an error of
     * the implementation with `problem` (WAL_PROBLEM_SIZE bytes) filled in. */
    int (*start)(struct commit_log *log, const struct commit_log_callbacks *callbacks,
                 void *context, char *problem);
    /* Finishes what was submitted, then state(CLOSED) from the loop. */
    void (*close)(struct commit_log *log);
    void (*submit)(struct commit_log *log, struct commit_mutation *mutation);
    /* `done` runs from the loop once everything committed before the call is visible here, with
     * COMMIT_DONE and the revision reached. Of the marker only `done` is looked at. */
    void (*barrier)(struct commit_log *log, struct commit_mutation *marker);
    /* Saves a snapshot and trims, where the log does such things; callbacks.checkpoint tells how it
     * goes. Returns 0, -ENOTSUP, -EBUSY while one is under way, or -EIO when the log is over. */
    int (*checkpoint)(struct commit_log *log);
    struct commit_log_limits (*limits)(const struct commit_log *log);
    /* NULL when the log is no WAL. */
    const struct wal_stats *(*stats)(const struct commit_log *log);
    /* After CLOSED, or when start failed. NULL is fine. */
    void (*free)(struct commit_log *log);
};

/* What every implementation begins with. */
struct commit_log {
    const struct commit_log_ops *ops;
};

struct disk;
struct random_source;
struct reactor;
struct wal_options;

/* The local WAL behind the seam (commit_log_wal.c). Nothing is read before `start`. Returns 0 or
 * -ENOMEM. */
int commit_log_wal_new(struct disk *disk, struct reactor *reactor, struct random_source *random,
                       const struct wal_options *options, struct commit_log **ret_log);

#endif
