/*
 * Reads a snapshot back and checks all of it, in slices of the loop's time. Inside of the
 * checkpoint; nobody else includes it.
 *
 * Owns:    the file while it is read.
 * Borrows: disk, reactor; memory of SNAPSHOT_VERIFY_MEMORY_SIZE, until it has ended.
 * Thread:  loop only.
 */
#ifndef CORE_SNAPSHOT_VERIFY_H
#define CORE_SNAPSHOT_VERIFY_H

#include "core/disk.h"
#include "core/reactor.h"
#include "core/snapshot_check.h"
#include "core/snapshot_pace.h"
#include "core/timer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_VERIFY_READ_SIZE ((size_t)256 * 1024)
/* The rest of one read and the next one; and any one frame. */
#define SNAPSHOT_VERIFY_MEMORY_SIZE (WAL_FORMAT_FRAME_SIZE_MAX + SNAPSHOT_VERIFY_READ_SIZE)

enum snapshot_verify_state {
    SNAPSHOT_VERIFY_HEADER,
    SNAPSHOT_VERIFY_FRAME,
    SNAPSHOT_VERIFY_PAYLOAD,
    SNAPSHOT_VERIFY_RECORDS,
    SNAPSHOT_VERIFY_FOOTER,
    SNAPSHOT_VERIFY_DONE,
};

struct snapshot_verify {
    /* Set these. From the loop, when the file is closed: 0 = all of it is right; otherwise as
     * snapshot_read() says, with `problem` filled in. */
    void (*ended)(struct snapshot_verify *verify, int result);
    struct disk *disk;
    struct reactor *reactor;
    uint8_t *memory;  /* aligned to DISK_BLOCK_SIZE */
    const char *name; /* of the file */
    uint64_t lsn;
    const uint8_t *store_uuid;
    struct snapshot_pace pace;
    char *problem; /* WAL_PROBLEM_SIZE bytes */

    bool pending; /* `op` is */

    struct snapshot_check check;
    struct disk_file *file;
    enum snapshot_verify_state state;
    size_t frame_size;
    uint64_t offset;     /* of memory[0] in the file */
    size_t filled;       /* bytes read, from memory[0] on */
    size_t reading_size; /* by the operation that is pending, behind these */
    int error;           /* why it ends when that has ended */
    struct disk_op op;
    struct reactor_task task;
    struct timer timer;
};

/* Returns 0, then `ended` will run unless it is stopped; or as `ended`. */
int snapshot_verify_start(struct snapshot_verify *verify);

/* Gives up at once. When an operation is pending, `ended` runs after it, with -ECANCELED; otherwise
 * not at all. Safe when it has ended. */
void snapshot_verify_stop(struct snapshot_verify *verify);

#endif
