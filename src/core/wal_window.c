#include "core/wal_window.h"

#include "core/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int wal_window_init(struct wal_window *window)
{
    *window = (struct wal_window){0};
    window->bytes = aligned_alloc(DISK_BLOCK_SIZE, (size_t)2 * WAL_WINDOW_PIECE_SIZE);
    return window->bytes == NULL ? -ENOMEM : 0;
}

void wal_window_deinit(struct wal_window *window)
{
    free(window->bytes);
    window->bytes = NULL;
}

void wal_window_set_file(struct wal_window *window, struct disk_file *file, uint64_t file_size)
{
    window->file = file;
    window->file_size = file_size;
    window->size = (file_size + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE * DISK_BLOCK_SIZE;
    window->offset = 0;
    window->filled = 0;
}

/* Reads the next piece behind what is there. */
static int read_piece(struct wal_window *window)
{
    const uint64_t next = window->offset + window->filled;
    const uint64_t left = window->size - next;
    const uint64_t left_bytes = window->file_size - next;
    const size_t piece = left < WAL_WINDOW_PIECE_SIZE ? (size_t)left : WAL_WINDOW_PIECE_SIZE;
    const size_t there = left_bytes < piece ? (size_t)left_bytes : piece;
    uint8_t *bytes = window->bytes + window->filled;
    int result = window->file->disk->ops->read(window->file, bytes, there, next);

    if (result != 0) {
        return result;
    }
    memset(bytes + there, 0, piece - there);
    window->filled += piece;
    return 0;
}

int wal_window_look(struct wal_window *window, uint64_t offset, size_t size,
                    const uint8_t **ret_bytes)
{
    const uint64_t end = window->offset + window->filled;
    size_t kept = 0;
    int result;

    assert(offset % DISK_BLOCK_SIZE == 0);
    assert(size <= WAL_WINDOW_PIECE_SIZE);
    assert(offset + size <= window->size);
    if (offset < window->offset || offset + size > end) {
        if (offset >= window->offset && offset < end) {
            kept = (size_t)(end - offset);
            memmove(window->bytes, window->bytes + (offset - window->offset), kept);
        }
        window->offset = offset;
        window->filled = kept;
    }
    while (window->filled < size) {
        result = read_piece(window);
        if (result != 0) {
            return result;
        }
    }
    *ret_bytes = window->bytes + (offset - window->offset);
    return 0;
}
