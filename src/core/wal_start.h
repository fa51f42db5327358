/*
 * The log's state, and its start; the running log is wal.c. Inside of the log; nobody else includes
 * it.
 *
 * Owns:    the control files, the segment, the spare, the frame buffer.
 * Borrows: disk, reactor, random source; appends until their `done`.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_START_H
#define CORE_WAL_START_H

#include "core/disk.h"
#include "core/list.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "core/wal.h"
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
    struct disk_op flush_op;
    bool flush_pending;

    struct reactor_task task;
    struct timer seal_timer;
    bool seal_due;
    struct timer control_timer;
    uint64_t control_written_ns; /* monotonic */

    bool failed;
    bool closing;
    bool close_marked; /* a CLOSE frame was sent off, or need not be */
    bool clean_marked; /* so was the clean mark */
};

/* Reads and repairs what the directory holds, and makes ready what is written next: control files,
 * spare, segment. `wal` has its disk, reactor, random source and options; `recovery` all it asks
 * for but the control block. The callbacks of control and spare are the caller's to set.
 *
 * Returns what wal_open() returns. wal_start_close_files() is needed in any case. */
int wal_start(struct wal *wal, struct wal_recovery *recovery);

/* Nothing may be pending. Safe on what wal_start() left half done. */
void wal_start_close_files(struct wal *wal);

/* The header of the segment that begins behind what is durable. */
struct wal_format_segment wal_start_header(struct wal *wal);

#endif
