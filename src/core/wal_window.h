/*
 * Reads a file from front to back through a window that slides over it in pieces of 1 MiB. Inside
 * of the log; nobody else includes it.
 *
 * Owns:    the window's memory.
 * Borrows: the file.
 * Thread:  loop only (start-up; blocks).
 */
#ifndef CORE_WAL_WINDOW_H
#define CORE_WAL_WINDOW_H

#include <stddef.h>
#include <stdint.h>

struct disk_file;

#define WAL_WINDOW_PIECE_SIZE (1024 * 1024)

struct wal_window {
    struct disk_file *file;
    uint64_t file_size; /* in bytes */
    uint64_t size;      /* in whole blocks: where reading ends */
    uint8_t *bytes;     /* two pieces */
    uint64_t offset;    /* of bytes[0] in the file */
    size_t filled;
};

/* Returns 0 or -ENOMEM. */
int wal_window_init(struct wal_window *window);

/* Safe when zeroed. */
void wal_window_deinit(struct wal_window *window);

/* Points it to another file of so many bytes. */
void wal_window_set_file(struct wal_window *window, struct disk_file *file, uint64_t file_size);

/* Up to one piece at a block border, all before `size`; what is missing of a cut last block reads
 * as zeros. The bytes hold until the next call. Returns 0 or negative errno. */
int wal_window_look(struct wal_window *window, uint64_t offset, size_t size,
                    const uint8_t **ret_bytes);

#endif
