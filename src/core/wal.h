/*
 * Write-ahead log of opaque checksummed records in pre-zeroed segments, with group commit: one
 * flush in flight, everything that arrives meanwhile goes into the next. And the snapshots that let
 * old segments go. The formats are written down at the heads of wal_format.c and snapshot_format.c,
 * the way of a commit at the head of wal.c, that of a snapshot at the head of wal_checkpoint.c.
 *
 * Owns:    its files (through the disk), the frame buffers.
 * Borrows: every struct wal_append and its bytes, from wal_append() until its `done`; what the
 *          environment names; the source of snapshots.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_H
#define CORE_WAL_H

#include "core/bytes.h"
#include "core/histogram.h"
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
#define WAL_E_NO_SPACE  4 /* the disk has no room for a further segment, or may not be so full */
#define WAL_E_DAMAGED   5 /* wal_open: refused; `problem` names file, offset, LSNs */
#define WAL_E_FOREIGN   6 /* wal_open: too new, or another store's; `problem` says which */
#define WAL_E_BUSY      7 /* wal_snapshot: one is being taken already */
#define WAL_E_SLOW      8 /* what waits has waited for too long: wal.max_pending_ms */

/* A little less than what the format can hold: a snapshot puts the LSN before the body. */
#define WAL_RECORD_SIZE_MAX (256 * 1024 - 64)

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
    uint32_t max_pending;  /* records not yet told */
    uint64_t max_pending_bytes;
    uint64_t max_pending_ns; /* how long the oldest of them may wait; 0 = any time */
    /* Segments that must find room on the disk beside a new one; else there is no room for it. */
    uint32_t min_free_segments;
    /* 0: a record is told when it is synced. Otherwise: when it is written, and a sync follows
     * after so long at most; a power cut may take what was told meanwhile. */
    uint64_t sync_interval_ns;
    uint64_t snapshot_every; /* bytes of log that make a snapshot due; 0 = only wal_snapshot() */
    uint64_t snapshot_rate;  /* bytes a second that a snapshot writes at most; 0 = no limit */
};

/* A record found at start, or one of a snapshot. */
struct wal_record {
    uint64_t lsn;         /* of a snapshot's: that of the change it stands for, or 0 */
    uint64_t realtime_ns; /* of its frame; 0 in a snapshot that is being made */
    uint8_t type;         /* the writer's */
    bool is_in_snapshot;  /* the records of a snapshot come in no particular order */
    struct bytes body;    /* borrowed for the call */
};

/* How far reading has come. */
struct wal_progress {
    const char *file;
    uint64_t records;
    uint64_t bytes_done; /* of the files that are read */
    uint64_t bytes_total;
    uint64_t elapsed_ns;
};

/* What wal_open() tells of what it finds. */
struct wal_replay {
    /* A state is about to come, from nothing: forget what came before. Once at least; again when a
     * snapshot turned out to be damaged halfway, and an older one is read. `record_count` is how
     * many records to expect about, 0 = unknown: what the snapshot says it holds, or what the run
     * before counted, if that is more; when that is too much, it begins again with less. Non-zero
     * as below. */
    int (*begin)(void *context, uint64_t record_count);
    /* Non-zero ends it, and wal_open() returns that. */
    int (*record)(void *context, const struct wal_record *record);
    /* About once a second. */
    void (*progress)(void *context, const struct wal_progress *progress);
    /* What an operator should know although the start goes on: a tail that was cut off, a damaged
     * snapshot that was passed over. */
    void (*notice)(void *context, const char *text);
};

/* What a snapshot is made of: the state as it is when `begin` runs, though changes go on. */
struct wal_snapshot_source {
    /* Everything up to `lsn` has been told, and nothing after it. Returns 0 or -ENOMEM. */
    int (*begin)(void *context, uint64_t lsn, uint64_t *ret_record_count);
    /* 0 with the next record, whose body holds until the next call; WAL_SNAPSHOT_END; or negative
     * errno: it is given up. Short: many of these make one slice of the loop's time. */
    int (*next)(void *context, struct wal_record *ret_record);
    /* It is complete, or was given up: after every `begin` that returned 0, once. */
    void (*end)(void *context);
    /* About how many records it would be made of now: the next start makes room for as many before
     * it reads. At any time; NULL = nobody knows. */
    uint64_t (*count)(void *context);
};

#define WAL_SNAPSHOT_END 1

/* One record on its way to the disk, embedded in its owner. */
struct wal_append {
    struct list link;
    struct bytes body;
    uint8_t type;
    uint64_t lsn;       /* set by wal_append() */
    uint64_t queued_ns; /* likewise, monotonic */
    /* 0 = durable; -ENOSPC = certainly not written (the log was closed while the disk was full);
     * any other negative errno = the log has failed and it is unknown whether the record survived.
     * In LSN order, from the loop. (With a sync interval, a result of 0 means written, not yet
     * durable.) */
    void (*done)(struct wal_append *append, int result);
};

enum wal_snapshot_step {
    WAL_SNAPSHOT_STARTED,
    WAL_SNAPSHOT_DONE,   /* it was read back whole, and what it made superfluous is removed */
    WAL_SNAPSHOT_FAILED, /* nothing depends on it; the next one that is due tries again */
};

struct wal_snapshot_report {
    enum wal_snapshot_step step;
    uint64_t lsn;
    uint64_t records;
    uint64_t bytes;            /* of the file */
    uint64_t ns;               /* from start to now */
    unsigned segments_removed; /* DONE */
    const char *problem;       /* FAILED: why, with the file's name */
};

struct wal_events {
    /* A write or sync has failed: final. Runs before the parked appends are told. */
    void (*failed)(void *owner, int error);
    /* The disk has no room for a further segment (and what is to stay free); or it has again.
     * Appends are refused only once the present segment cannot take them. */
    void (*space)(void *owner, bool no_space);
    /* A snapshot has begun or ended. */
    void (*snapshot)(void *owner, const struct wal_snapshot_report *report);
    /* wal_close() is complete; the wal is freed when it returns. */
    void (*closed)(void *owner);
};

struct wal_stats {
    uint64_t next_lsn;
    uint64_t written_lsn; /* told; ahead of durable_lsn only with sync_interval_ns */
    uint64_t durable_lsn;
    uint64_t syncs; /* of the segment, alone or behind a write */
    uint64_t frames_written;
    uint64_t records_written;
    uint64_t bytes_written;
    uint64_t sync_ns_total; /* from submit to completion of these, with the write before it */
    uint64_t sync_ns_max;
    struct histogram sync_ns;      /* of these, each */
    struct histogram sync_records; /* that became durable by each of them; marks are left out */
    uint64_t records_replayed;     /* at start, those of the snapshot not counted */
    uint64_t records_loaded;       /* at start, from the snapshot */
    uint64_t torn_bytes;           /* cut off the tail at start */
    bool may_have_lost;    /* the run before told records unsynced and did not end properly */
    uint64_t snapshot_lsn; /* of the newest whole one; 0 = none */
    uint64_t snapshot_realtime_ns; /* when that was begun, since 1970; 0 = there is none */
    uint64_t snapshot_bytes;       /* of its file */
    uint64_t snapshot_ns;          /* how long it took; 0 = it is of an earlier run */
    uint64_t snapshots_done;
    uint64_t snapshots_failed;
    uint64_t log_bytes; /* of frames since snapshot_lsn */
    uint32_t segments;  /* files, the one being written included */
    bool snapshot_is_running;
    uint32_t pending;
    uint64_t pending_bytes;
    bool no_space;
};

/* Start-up, blocking: reads the newest whole snapshot and replays the log behind it, cuts a torn
 * tail (its bytes go to a .torn file), and makes the segment that will be written. A disk without
 * room for that segment is no error: the log opens with stats.no_space.
 *
 * Returns 0; WAL_E_DAMAGED, WAL_E_FOREIGN with `problem` (WAL_PROBLEM_SIZE bytes) filled in; what
 * `replay` returned; or negative errno (`problem` filled in too). */
int wal_open(const struct wal_environment *environment, const struct wal_options *options,
             const struct wal_replay *replay, void *replay_context, char *problem,
             struct wal **ret_wal);

/* Who hears of failure and close. Before the first append and before the next turn. */
void wal_set_events(struct wal *wal, const struct wal_events *events, void *owner);

/* What snapshots are made of. Without one none is taken. Before the next turn. */
void wal_set_source(struct wal *wal, const struct wal_snapshot_source *source, void *context);

/* Takes a snapshot now; events.snapshot tells how it goes. Returns 0; WAL_E_BUSY; WAL_E_FAILED. */
int wal_snapshot(struct wal *wal);

/* Queues a record; it is written with the next flush, which starts at the end of this turn at the
 * latest. LSNs are given in the order of calls, from 1 on, without gaps.
 *
 * Returns 0; or WAL_E_FULL, WAL_E_TOO_LARGE, WAL_E_FAILED, WAL_E_NO_SPACE, WAL_E_SLOW with nothing
 * queued. */
int wal_append(struct wal *wal, struct wal_append *append);

const struct wal_stats *wal_stats(const struct wal *wal);

/* Flushes what waits, writes a closing frame and the clean mark, then `closed`. New appends are
 * refused. Safe twice. */
void wal_close(struct wal *wal);

#endif
