/*
 * Reads a file from front to back through a window that slides over it in pieces of 1 MiB; while
 * the caller works on one piece, the next one is being read. Inside of the log; nobody else
 * includes it.
 *
 * Owns:    the window's memory, the operation that reads ahead.
 * Borrows: the file, until it is pointed to another one: only then may it be closed.
 * Thread:  loop only (start-up; blocks, see disk_ops.wait).
 */
#ifndef CORE_WAL_WINDOW_H
#define CORE_WAL_WINDOW_H

#include "core/disk.h"

#include <stddef.h>
#include <stdint.h>

#define WAL_WINDOW_PIECE_SIZE (1024 * 1024)

struct wal_window {
    struct disk_file *file;
    uint64_t file_size; /* in bytes */
    uint64_t size;      /* in whole blocks: where reading ends */
    uint8_t *memory;    /* two rooms of two pieces */
    unsigned room;      /* the one that shows the file */
    uint8_t *bytes;     /* in there; room for a piece at least */
    uint64_t offset;    /* of bytes[0] in the file */
    size_t filled;

    /* The piece behind these, on its way into the other room. */
    struct disk *ahead_disk; /* NULL = there is none */
    struct disk_op ahead;
    uint64_t ahead_offset;
    int ahead_result; /* -EINPROGRESS at first */
};

/* Returns 0 or -ENOMEM. It must not be moved until it is deinitialised. */
int wal_window_init(struct wal_window *window);

/* Safe when zeroed. */
void wal_window_deinit(struct wal_window *window);

/* Points it to another file of so many bytes, or to none (NULL, 0). */
void wal_window_set_file(struct wal_window *window, struct disk_file *file, uint64_t file_size);

/* Up to one piece at a block border, all before `size`; what is missing of a cut last block reads
 * as zeros. The bytes hold until the next call. Returns 0 or negative errno. */
int wal_window_look(struct wal_window *window, uint64_t offset, size_t size,
                    const uint8_t **ret_bytes);

#endif
