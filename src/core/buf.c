#include "core/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bytes enter at `end` and leave at `start`. Room is found by moving the content to the front when
 * at least half of what lies before `end` was consumed, else by doubling: so every byte is moved a
 * constant number of times on average, however small the steps are.
 */

#define BUF_CAPACITY_MIN 256

/* Before bytes from `start` to `end` are no content any more. */
static void forget(struct buf *buf, size_t start, size_t end)
{
    if (buf->is_secret && end > start) {
        explicit_bzero(buf->data + start, end - start);
    }
}

void buf_deinit(struct buf *buf)
{
    forget(buf, buf->start, buf->end);
    free(buf->data);
    *buf = (struct buf){.is_secret = buf->is_secret};
}

static int buf_grow(struct buf *buf, size_t size)
{
    size_t content = buf_size(buf);
    size_t capacity = buf->capacity < BUF_CAPACITY_MIN ? BUF_CAPACITY_MIN : buf->capacity * 2;
    uint8_t *data;

    if (size > SIZE_MAX / 4 || content > SIZE_MAX / 4) {
        return -ENOMEM;
    }
    if (capacity < content + size) {
        capacity = content + size;
    }
    data = malloc(capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    if (content > 0) {
        memcpy(data, buf->data + buf->start, content);
    }
    forget(buf, buf->start, buf->end);
    free(buf->data);
    *buf = (struct buf){
        .data = data, .end = content, .capacity = capacity, .is_secret = buf->is_secret};
    return 0;
}

uint8_t *buf_make_room(struct buf *buf, size_t size)
{
    size_t content = buf_size(buf);

    if (buf->data != NULL && buf->start >= content && buf->capacity - content >= size) {
        memcpy(buf->data, buf->data + buf->start, content); /* it does not reach its old place */
        forget(buf, buf->start, buf->end);
        buf->start = 0;
        buf->end = content;
        return buf->data + buf->end;
    }
    if (buf_grow(buf, size) != 0) {
        return NULL;
    }
    return buf->data + buf->end;
}

int buf_append(struct buf *buf, const void *bytes, size_t size)
{
    uint8_t *room;

    if (size == 0) {
        return 0;
    }
    room = buf_reserve(buf, size);
    if (room == NULL) {
        return -ENOMEM;
    }
    memcpy(room, bytes, size);
    buf_commit(buf, size);
    return 0;
}

void buf_consume(struct buf *buf, size_t size)
{
    assert(size <= buf_size(buf));
    forget(buf, buf->start, buf->start + size);
    buf->start += size;
    if (buf->start == buf->end) {
        buf_clear(buf);
    }
}

void buf_clear(struct buf *buf)
{
    forget(buf, buf->start, buf->end);
    buf->start = 0;
    buf->end = 0;
}
