/*
 * Two rooms: one shows a piece of the file, into the other the next piece is read meanwhile. When
 * the caller goes on to that one, what it still needs of the present piece (the beginning of a
 * frame) is copied to just before it, and the rooms change places.
 *
 *    room:       | ... kept | piece       |
 *    other room: |          | next piece  |   on its way
 *
 * Reading ahead begins when a piece is there, and only if it follows the one before: who jumps
 * about is given what he asks for and no more. The last piece of a file that does not end at a
 * block border is not read ahead, and nothing is where the disk cannot do it (-EOPNOTSUPP).
 *
 * What can go wrong: reading ahead fails. That is told when the window gets there, and not at all
 * when it never does. Whatever is on its way must have ended before its memory or its file goes; if
 * even waiting fails, the ring is broken, and the memory is left to the kernel.
 */
#include "core/wal_window.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_SIZE ((size_t)2 * WAL_WINDOW_PIECE_SIZE)

static uint8_t *piece_in(const struct wal_window *window, unsigned room)
{
    return window->memory + room * ROOM_SIZE + WAL_WINDOW_PIECE_SIZE;
}

int wal_window_init(struct wal_window *window)
{
    *window = (struct wal_window){0};
    window->memory = aligned_alloc(DISK_BLOCK_SIZE, 2 * ROOM_SIZE);
    window->bytes = window->memory;
    return window->memory == NULL ? -ENOMEM : 0;
}

/* Nothing is on its way any more; or negative errno. */
static int end_ahead(struct wal_window *window)
{
    int result = 0;

    if (window->ahead_disk != NULL && window->ahead_result == -EINPROGRESS) {
        result = window->ahead_disk->ops->wait(window->ahead_disk, &window->ahead);
    }
    if (result == 0) {
        window->ahead_disk = NULL;
    }
    return result;
}

void wal_window_deinit(struct wal_window *window)
{
    if (end_ahead(window) == 0) {
        free(window->memory);
    }
    window->memory = NULL;
}

void wal_window_set_file(struct wal_window *window, struct disk_file *file, uint64_t file_size)
{
    (void)end_ahead(window); /* the next look asks again */
    window->file = file;
    window->file_size = file_size;
    window->size = (file_size + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE * DISK_BLOCK_SIZE;
    window->bytes = window->memory + window->room * ROOM_SIZE;
    window->offset = 0;
    window->filled = 0;
}

static size_t piece_size(const struct wal_window *window, uint64_t offset)
{
    const uint64_t left = window->size - offset;

    return left < WAL_WINDOW_PIECE_SIZE ? (size_t)left : WAL_WINDOW_PIECE_SIZE;
}

static void on_ahead(struct disk_op *op, int result)
{
    CONTAINER_OF(op, struct wal_window, ahead)->ahead_result = result;
}

static void read_ahead(struct wal_window *window)
{
    const uint64_t next = window->offset + window->filled;
    const size_t size = piece_size(window, next);
    uint8_t *piece = piece_in(window, 1 - window->room);
    int result;

    if (size == 0 || size > window->file_size - next) {
        return;
    }
    window->ahead = (struct disk_op){.done = on_ahead};
    result = window->file->disk->ops->read_later(window->file, &window->ahead, piece, size, next);
    if (result != -EOPNOTSUPP) {
        window->ahead_disk = window->file->disk;
        window->ahead_offset = next;
        window->ahead_result = result == 0 ? -EINPROGRESS : result;
    }
}

/* Brings the piece at `offset` into the other room. */
static int get_piece(struct wal_window *window, uint64_t offset, size_t size)
{
    const uint64_t left = window->file_size - offset;
    const size_t there = left < size ? (size_t)left : size;
    const bool is_ahead = window->ahead_disk != NULL && window->ahead_offset == offset;
    uint8_t *piece = piece_in(window, 1 - window->room);
    int result = end_ahead(window);

    if (result != 0 || is_ahead) {
        return result != 0 ? result : window->ahead_result;
    }
    result = window->file->disk->ops->read(window->file, piece, there, offset);
    if (result == 0) {
        memset(piece + there, 0, size - there);
    }
    return result;
}

/* Moves to a range that begins at `offset` and reaches a whole piece beyond what is there of it. */
static int move(struct wal_window *window, uint64_t offset)
{
    const uint64_t end = window->offset + window->filled;
    const bool overlaps = offset >= window->offset && offset < end;
    const size_t kept = overlaps ? (size_t)(end - offset) : 0;
    const uint64_t next = offset + kept;
    const size_t size = piece_size(window, next);
    uint8_t *bytes = piece_in(window, 1 - window->room) - kept;
    int result = get_piece(window, next, size);

    if (result != 0) {
        return result;
    }
    if (kept > 0) {
        memcpy(bytes, window->bytes + (offset - window->offset), kept);
    }
    window->room = 1 - window->room;
    window->bytes = bytes;
    window->offset = offset;
    window->filled = kept + size;
    if (next == end) {
        read_ahead(window);
    }
    return 0;
}

int wal_window_look(struct wal_window *window, uint64_t offset, size_t size,
                    const uint8_t **ret_bytes)
{
    int result = 0;

    assert(offset % DISK_BLOCK_SIZE == 0);
    assert(size <= WAL_WINDOW_PIECE_SIZE);
    assert(offset + size <= window->size);
    if (offset < window->offset || offset + size > window->offset + window->filled) {
        result = move(window, offset);
    }
    if (result == 0) {
        *ret_bytes = window->bytes + (offset - window->offset);
    }
    return result;
}
