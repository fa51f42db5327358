/*
 * Growable byte buffer with a read position: append at the end, consume at the front.
 *
 * Owns:    its memory.
 * Borrows: nothing after a call returns.
 * Thread:  one at a time.
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include "core/bytes.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is a valid empty buffer. The content is [start, end). */
struct buf {
    uint8_t *data;
    size_t start;    /* bytes consumed at the front */
    size_t end;      /* one past the last byte of content */
    size_t capacity; /* bytes allocated */
    bool is_secret;  /* set by its owner while it has no memory: what leaves it, or moves, is wiped;
                        so no byte beside the content is anybody's secret */
};

/* Frees the memory; the buffer is empty and usable again, and secret if it was. Safe to repeat. */
void buf_deinit(struct buf *buf);

static inline size_t buf_size(const struct buf *buf)
{
    return buf->end - buf->start;
}

/* The content, borrowed until the next call that changes the buffer. */
static inline struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->data == NULL ? NULL : buf->data + buf->start, buf_size(buf)};
}

/* buf_reserve() where the room is not at the end already. */
uint8_t *buf_make_room(struct buf *buf, size_t size);

/* Makes room for `size` more bytes and returns where to write them, or NULL when out of memory.
 * May move the content. What was written counts only after buf_commit(). */
static inline uint8_t *buf_reserve(struct buf *buf, size_t size)
{
    return buf->data != NULL && buf->capacity - buf->end >= size ? buf->data + buf->end
                                                                 : buf_make_room(buf, size);
}

/* Adds `size` bytes that were written into reserved room. */
static inline void buf_commit(struct buf *buf, size_t size)
{
    assert(size <= buf->capacity - buf->end);
    buf->end += size;
}

/* Returns 0, or -ENOMEM with the buffer unchanged. */
int buf_append(struct buf *buf, const void *bytes, size_t size);

/* Drops `size` bytes from the front; `size` is at most buf_size(). */
void buf_consume(struct buf *buf, size_t size);

/* Drops the content and keeps the memory. */
void buf_clear(struct buf *buf);

#endif
