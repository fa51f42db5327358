/*
 * Drives a log as its owner would and keeps a ledger beside it: what was sent, what was
 * acknowledged, what was durable, and at the next start whether all of that, and nothing else, is
 * there. Its snapshots hold the whole ledger, record by record.
 *
 * Owns:    the log while it is open, the records on their way, the ledger.
 * Borrows: the world.
 * Thread:  one.
 */
#ifndef TESTS_LIB_WAL_DRIVER_H
#define TESTS_LIB_WAL_DRIVER_H

#include "lib/fake_world.h"

#include "core/wal.h"

#include <stdbool.h>
#include <stdint.h>

struct wal_driver_entry {
    uint64_t salt; /* its bytes follow from this */
    uint32_t size;
    bool acked;
};

struct wal_driver {
    struct fake_world *world;
    struct disk *disk; /* in place of the world's, when not NULL; turns wait for it */
    struct wal *wal;   /* NULL = not open */
    struct wal_options options;
    char problem[WAL_PROBLEM_SIZE];
    char notice[WAL_PROBLEM_SIZE + 64]; /* the last one of the last open */
    unsigned notice_count;

    struct wal_driver_entry *ledger; /* of LSN 1 at index 0 */
    uint64_t ledger_capacity;
    uint64_t sent;    /* highest LSN given */
    uint64_t acked;   /* highest LSN acknowledged */
    uint64_t durable; /* highest LSN that the log called durable */
    /* Since the last open power or disk failed: with a sync interval, only what was durable need
     * be there at the next. */
    bool may_lose;
    bool was_lazy; /* the last open was with a sync interval */
    uint64_t lost; /* acknowledged records that were not there at the last open */
    uint64_t replayed;
    uint64_t loaded;       /* of these, from a snapshot */
    unsigned begins;       /* how often the replay began, */
    uint64_t expected;     /* and with how many records to come, the last time */
    uint64_t expected_max; /* more are refused; 0 = none */
    uint64_t waiting;      /* appends without an answer */

    unsigned
        wrong; /* replayed records that were never sent, or out of order, or with other bytes */
    int failed_error; /* of the `failed` event */
    unsigned failed_count;
    unsigned told_error_count; /* appends whose `done` had an error */
    int told_error;            /* the last of them */
    unsigned space_count;      /* `space` events */
    bool no_space;             /* the last one */
    unsigned closed_count;

    bool snapshots;       /* wal_set_source() at open */
    uint64_t source_lsn;  /* the snapshot under way is of this */
    uint64_t source_next; /* its next record */
    bool source_is_open;
    uint8_t *source_bytes;                             /* the body of its present record */
    int source_error;                                  /* what its `next` returns, when not 0 */
    unsigned snapshot_counts[WAL_SNAPSHOT_FAILED + 1]; /* reports of each step */
    struct wal_snapshot_report snapshot;               /* the last report */
    char snapshot_problem[WAL_PROBLEM_SIZE];
    struct wal_progress progress; /* the last one told */
    unsigned progress_count;

    /* Called in every successful `done`, and for every record found, when set. */
    void (*on_done)(struct wal_driver *driver);
    void (*on_record)(struct wal_driver *driver);
};

/* Small segments, generous limits. */
void wal_driver_init(struct wal_driver *driver, struct fake_world *world);

/* The log must be closed. */
void wal_driver_deinit(struct wal_driver *driver);

/* Opens the log and compares what it loads and replays with the ledger: see `wrong`, `replayed`.
 * What survived unacknowledged counts as acknowledged from then on, what did not is forgotten.
 * Returns wal_open()'s result. */
int wal_driver_open(struct wal_driver *driver);

/* Appends a record of this size with bytes of its own. Returns wal_append()'s result. */
int wal_driver_append(struct wal_driver *driver, uint32_t size);

/* Takes a snapshot, and turns until it has ended. Returns whether it is there. */
bool wal_driver_snapshot(struct wal_driver *driver);

/* One turn of the loop. */
void wal_driver_turn(struct wal_driver *driver);

/* Turns until nothing waits; fails the test when that does not happen. */
void wal_driver_settle(struct wal_driver *driver);

/* Closes in the regular way, whatever it takes; fails the test when it does not end. */
void wal_driver_close(struct wal_driver *driver);

/* The power fails and comes back; the log is gone, the ledger and the disk remain. */
void wal_driver_crash(struct wal_driver *driver);

/* Whether everything that had to be there was found at the last open, with the right bytes. */
bool wal_driver_is_faithful(const struct wal_driver *driver);

/* A fresh ledger, for a fresh disk. */
void wal_driver_forget(struct wal_driver *driver);

#endif
