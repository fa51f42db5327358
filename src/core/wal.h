/*
 * Write-ahead log of opaque checksummed records in pre-zeroed segments, with group commit: one
 * flush in flight, everything that arrives meanwhile goes into the next. The format is written down
 * at the head of wal_format.c, the way of a commit at the head of wal.c.
 *
 * Owns:    its files (through the disk), the frame buffers.
 * Borrows: every struct wal_append and its bytes, from wal_append() until its `done`; what the
 *          environment names.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_H
#define CORE_WAL_H

#include "core/bytes.h"
#include "core/list.h"

#include <stdbool.h>
#include <stdint.h>

struct wal;
struct disk;
struct reactor;
struct random_source;

#define WAL_PROBLEM_SIZE 512

#define WAL_E_FULL      1 /* as much waits as may: wal.max_pending, wal.max_pending_bytes */
#define WAL_E_TOO_LARGE 2 /* one record over WAL_RECORD_SIZE_MAX */
#define WAL_E_FAILED    3 /* a write or sync failed earlier, or the log is closing: it is over */
#define WAL_E_NO_SPACE  4 /* the disk has no room for a further segment */
#define WAL_E_DAMAGED   5 /* wal_open: refused; `problem` names file, offset, LSNs */
#define WAL_E_FOREIGN   6 /* wal_open: too new, or another store's; `problem` says which */

#define WAL_RECORD_SIZE_MAX (256 * 1024)

/* Least wal_options.segment_size: a segment takes the longest record whatever else is in it. */
#define WAL_SEGMENT_SIZE_MIN (512 * 1024)

/* What the log stands on. */
struct wal_environment {
    struct disk *disk; /* locked already */
    struct reactor *reactor;
    struct random_source *random;
};

struct wal_options {
    uint64_t segment_size; /* bytes, a multiple of DISK_BLOCK_SIZE: wal.segment_size */
    uint32_t max_pending;  /* records not yet durable */
    uint64_t max_pending_bytes;
};

/* A record found at start. */
struct wal_record {
    uint64_t lsn;
    uint64_t realtime_ns; /* of its frame */
    uint8_t type;         /* the writer's */
    struct bytes body;    /* borrowed for the call */
};

/* Replay. Non-zero ends it, and wal_open() returns that. */
typedef int (*wal_replay_fn)(void *context, const struct wal_record *record);

/* One record on its way to the disk, embedded in its owner. */
struct wal_append {
    struct list link;
    struct bytes body;
    uint8_t type;
    uint64_t lsn; /* set by wal_append() */
    /* 0 = durable; -ENOSPC = certainly not written (the log was closed while the disk was full);
     * any other negative errno = the log has failed and it is unknown whether the record survived.
     * In LSN order, from the loop. */
    void (*done)(struct wal_append *append, int result);
};

struct wal_events {
    /* A write or sync has failed: final. Runs before the parked appends are told. */
    void (*failed)(void *owner, int error);
    /* The disk has no room for a further segment; or it has again. Appends are refused only once
     * the present segment cannot take them. */
    void (*space)(void *owner, bool no_space);
    /* wal_close() is complete; the wal is freed when it returns. */
    void (*closed)(void *owner);
};

struct wal_stats {
    uint64_t next_lsn;
    uint64_t durable_lsn;
    uint64_t frames_written;
    uint64_t records_written;
    uint64_t bytes_written;
    uint64_t sync_ns_total; /* time between submit and completion of flushes */
    uint64_t sync_ns_max;
    uint64_t records_replayed;
    uint64_t torn_bytes; /* cut off the tail at start */
    uint32_t pending;
    uint64_t pending_bytes;
    bool no_space;
};

/* Start-up, blocking: checks and replays what the directory holds, cuts a torn tail (its bytes go
 * to a .torn file), and makes the segment that will be written. A disk without room for that
 * segment is no error: the log opens with stats.no_space.
 *
 * Returns 0, with `problem` empty or saying what was cut; WAL_E_DAMAGED, WAL_E_FOREIGN with
 * `problem` filled in; what `replay` returned; or negative errno (`problem` filled in too). */
int wal_open(const struct wal_environment *environment, const struct wal_options *options,
             wal_replay_fn replay, void *replay_context, char *problem, struct wal **ret_wal);

/* Who hears of failure and close. Before the first append and before the next turn. */
void wal_set_events(struct wal *wal, const struct wal_events *events, void *owner);

/* Queues a record; it is written with the next flush, which starts at the end of this turn at the
 * latest. LSNs are given in the order of calls, from 1 on, without gaps.
 *
 * Returns 0; or WAL_E_FULL, WAL_E_TOO_LARGE, WAL_E_FAILED, WAL_E_NO_SPACE with nothing queued. */
int wal_append(struct wal *wal, struct wal_append *append);

const struct wal_stats *wal_stats(const struct wal *wal);

/* Flushes what waits, writes a closing frame and the clean mark, then `closed`. New appends are
 * refused. Safe twice. */
void wal_close(struct wal *wal);

#endif
