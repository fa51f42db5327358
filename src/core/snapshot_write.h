/*
 * Writes one snapshot to its temporary file and syncs it, in slices of the loop's time. Inside of
 * the checkpoint; nobody else includes it.
 *
 * Owns:    the file while it is written.
 * Borrows: disk, reactor, source; memory of SNAPSHOT_WRITE_MEMORY_SIZE, until it has ended.
 * Thread:  loop only.
 */
#ifndef CORE_SNAPSHOT_WRITE_H
#define CORE_SNAPSHOT_WRITE_H

#include "core/digest.h"
#include "core/disk.h"
#include "core/reactor.h"
#include "core/snapshot_format.h"
#include "core/snapshot_pace.h"
#include "core/timer.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_WRITE_SIZE          ((size_t)256 * 1024) /* a write has at least so much */
#define SNAPSHOT_WRITE_FRAME_PAYLOAD ((size_t)64 * 1024)  /* a frame ends when it has so much */
#define SNAPSHOT_WRITE_BUFFER_SIZE   ((size_t)640 * 1024)
#define SNAPSHOT_WRITE_SCRATCH_SIZE  (WAL_FORMAT_RECORD_SIZE_MAX)
#define SNAPSHOT_WRITE_MEMORY_SIZE   (2 * SNAPSHOT_WRITE_BUFFER_SIZE + SNAPSHOT_WRITE_SCRATCH_SIZE)

enum snapshot_write_state {
    SNAPSHOT_WRITE_IDLE, /* not begun, or ended */
    SNAPSHOT_WRITE_CLEARING,
    SNAPSHOT_WRITE_FILLING,
    SNAPSHOT_WRITE_SYNCING,
};

struct snapshot_write {
    /* Set these. From the loop: the file is whole, synced and closed; or, with a negative errno,
     * was given up (and is closed too). The source has been told its end before. */
    void (*ended)(struct snapshot_write *write, int result);
    struct disk *disk;
    struct reactor *reactor;
    uint8_t *memory; /* aligned to DISK_BLOCK_SIZE */
    const struct wal_snapshot_source *source;
    void *source_context;
    uint64_t keep_free; /* of the disk */
    struct snapshot_pace pace;
    struct snapshot_format_header header;

    /* How far it is. */
    uint64_t record_count;
    uint64_t frame_count;
    uint64_t size; /* of the file */
    bool source_gave_up;
    bool pending; /* `op` is */

    enum snapshot_write_state state;
    struct disk_file *file;
    bool source_is_open;           /* it is owed its `end` */
    unsigned filling;              /* which of the two buffers */
    size_t used;                   /* of it, by header and whole frames */
    bool is_full;                  /* it waits to be written */
    bool is_last;                  /* it ends with the footer */
    struct wal_format_frame frame; /* being filled, behind `used` */
    uint32_t prev_crc;
    struct digest digest;
    int error; /* why it ends when the present operation has ended */
    struct disk_op op;
    struct reactor_task task;
    struct timer timer;
};

/* Begins; the source has begun: from here on its `end` is taken care of. Returns 0, then `ended`
 * will run unless it is stopped; or negative errno. */
int snapshot_write_start(struct snapshot_write *write);

/* Gives up at once. When an operation is pending, `ended` runs after it, with -ECANCELED; otherwise
 * not at all. Safe when it has ended. */
void snapshot_write_stop(struct snapshot_write *write);

#endif
