/*
 * The log's state, and what its files ask of each other: wal.c is the log's life, wal_flush.c the
 * way to the disk, wal_trigger.c when a snapshot is due, wal_start.c the start. Inside of the log;
 * nobody else includes it.
 *
 * Owns:    the control files, the segment, the spare, the frame buffer, the checkpoint.
 * Borrows: disk, reactor, random source; appends until their `done`; the source of snapshots.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_INTERNAL_H
#define CORE_WAL_INTERNAL_H

#include "core/disk.h"
#include "core/list.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "core/wal.h"
#include "core/wal_checkpoint.h"
#include "core/wal_control.h"
#include "core/wal_segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random_source;
struct wal_recovery;

struct wal {
    struct disk *disk;
    struct reactor *reactor;
    struct random_source *random;
    struct wal_options options;
    const struct wal_events *events;
    void *owner;
    struct wal_stats stats;

    struct wal_control control;
    struct wal_spare spare;
    struct wal_segment current;

    struct list queue;    /* of struct wal_append, waiting for a frame */
    uint64_t queue_bytes; /* what they take in payloads */
    uint32_t queue_count;
    struct list flying; /* of struct wal_append, in the frame being flushed */
    uint8_t *frame;
    size_t frame_size;
    uint32_t frame_records;
    uint64_t frame_start_ns;
    bool frame_is_synced; /* its flush has a sync behind the write */
    struct disk_op flush_op;
    bool flush_pending;

    /* Only with sync_interval_ns: syncs that come on their own. */
    struct disk_op sync_op;
    bool sync_pending;
    bool sync_due;
    uint64_t sync_lsn; /* durable once it succeeds */
    uint64_t sync_start_ns;
    struct timer sync_timer;

    struct reactor_task task;
    struct timer seal_timer;
    bool seal_due;
    struct timer control_timer;
    uint64_t control_written_ns; /* monotonic */

    struct wal_checkpoint *checkpoint;
    const struct wal_snapshot_source *source; /* NULL = no snapshots */
    void *source_context;
    bool snapshot_wanted;     /* asked for by wal_snapshot() */
    uint64_t snapshot_size;   /* bytes of the last one's file */
    uint64_t snapshot_bytes;  /* log_bytes when the one that is running began */
    uint64_t retry_ns;        /* after a failure none is due before this, monotonic, */
    uint64_t retry_bytes;     /* nor before log_bytes is as much */
    struct timer retry_timer; /* or this has fired */

    bool failed;
    bool closing;
    bool close_marked; /* a CLOSE frame was sent off, or need not be */
    bool clean_marked; /* so was the clean mark */
};

/* wal.c */

/* Final. Safe twice. */
void wal_fail(struct wal *wal, int error);

/* Tells everyone in the list, in order. */
void wal_tell(struct wal *wal, struct list *appends, int result);

/* Tells everyone who waits that it will not be durable, or that nobody knows. */
void wal_tell_all(struct wal *wal, int result);

static inline uint64_t wal_payload_size(const struct wal_append *append)
{
    return WAL_FORMAT_RECORD_HEADER_SIZE + append->body.size;
}

static inline bool wal_is_lazy(const struct wal *wal)
{
    return wal->options.sync_interval_ns != 0;
}

/* wal_flush.c */

void wal_flush_init(struct wal *wal);

/* Bytes that a frame with records may still take here: the last block is kept for a mark. */
uint64_t wal_flush_room(const struct wal *wal);

/* Starts a sync that is due. Returns 0 or negative errno, like the next one. */
int wal_flush_sync(struct wal *wal);

/* The next step of queue, seal or close; no flush is pending and no segment being published. */
int wal_flush_step(struct wal *wal);

/* No timer of it fires any more. */
void wal_flush_stop(struct wal *wal);

static inline bool wal_flush_is_pending(const struct wal *wal)
{
    return wal->flush_pending || wal->sync_pending || wal->control.pending;
}

/* wal_trigger.c */

/* Makes the checkpoint. Returns 0 or -ENOMEM. */
int wal_trigger_init(struct wal *wal);

/* Begins a snapshot that is due, and tells the one that is running how far the log is. */
void wal_trigger_step(struct wal *wal);

/* The one that runs is given up, and none begins any more. */
void wal_trigger_stop(struct wal *wal);

/* A segment is in the directory now. Returns 0 or -ENOMEM. */
int wal_trigger_note_segment(struct wal *wal, uint64_t first_lsn);

/* wal_start.c */

/* Reads and repairs what the directory holds, and makes ready what is written next: control files,
 * spare, segment. `wal` has its disk, reactor, random source, options and checkpoint; `recovery`
 * all it asks for but the control block. The callbacks of control and spare are the caller's to
 * set.
 *
 * Returns what wal_open() returns. wal_start_close_files() is needed in any case. */
int wal_start(struct wal *wal, struct wal_recovery *recovery);

/* Nothing may be pending. Safe on what wal_start() left half done. */
void wal_start_close_files(struct wal *wal);

/* The header of the segment that begins behind what is durable. */
struct wal_format_segment wal_start_header(struct wal *wal);

#endif
