#include "http2/grpc_gzip.h"

#include <zlib.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * zlib, hidden. Few bytes can stand for very many, so output decides when inflating stops, not
 * input: the buffer grows only as bytes come out of it, up to the limit and one more, which proves
 * that it was exceeded. The size that gzip carries in its last bytes makes one allocation do for
 * most messages; it is only believed up to what the input can stand for.
 *
 * What can go wrong: the input is no gzip, ends early, fails its checksum, or goes on behind its
 * end (BROKEN; a second member is not the same message); too much comes out (TOO_LARGE).
 */

#define GZIP_FORMAT    16 /* added to the window bits */
#define WINDOW_MAX     15 /* bits */
#define WINDOW_MIN     9
#define TAIL_SIZE      8 /* checksum and size */
#define GROWTH_MIN     1024
#define EXPANSION_MAX  1032 /* of deflate, by its format */
#define MEMORY_LEVEL_0 7    /* window bits that would go with memory level 0 */

/* Its size stands in front of each block that holds secrets, for wiping it. */
struct block {
    size_t size;
    max_align_t memory[];
};

static void *secret_alloc(void *context, unsigned count, unsigned size)
{
    size_t total = (size_t)count * size;
    struct block *block = malloc(sizeof(*block) + total);

    (void)context;
    if (block == NULL) {
        return NULL;
    }
    block->size = total;
    /* cppcheck-suppress memleak ; secret_free() finds the block by its memory */
    return block->memory;
}

static void secret_free(void *context, void *memory)
{
    struct block *block = (struct block *)(void *)((char *)memory - offsetof(struct block, memory));

    (void)context;
    explicit_bzero(block->memory, block->size);
    free(block);
}

/* Makes room for `size` more bytes, leaving no copy of a secret where they were. */
static int grow(struct buf *buf, size_t size, bool is_secret)
{
    struct buf larger = {0};

    if (buf->capacity - buf->end >= size && buf->data != NULL) {
        return 0;
    }
    if (buf_reserve(&larger, buf_size(buf) + size) == NULL ||
        buf_append(&larger, buf_bytes(buf).data, buf_size(buf)) != 0) {
        buf_deinit(&larger);
        return -ENOMEM;
    }
    if (is_secret && buf->data != NULL) {
        explicit_bzero(buf->data, buf->capacity);
    }
    buf_deinit(buf);
    *buf = larger;
    return 0;
}

/* How much is likely to come out: what the message says of itself, if that is possible. */
static size_t expected_size(struct bytes packed, size_t size_max)
{
    const uint8_t *tail;
    size_t said;

    if (packed.size < TAIL_SIZE) {
        return 0;
    }
    tail = packed.data + packed.size - TAIL_SIZE / 2;
    said = (size_t)tail[0] | (size_t)tail[1] << 8 | (size_t)tail[2] << 16 | (size_t)tail[3] << 24;
    if (said / EXPANSION_MAX > packed.size) {
        return 0;
    }
    return said < size_max ? said : size_max;
}

/* The loop of grpc_gzip_inflate(). */
static int inflate_all(z_stream *stream, size_t size_max, bool is_secret, struct buf *plain)
{
    int outcome = Z_BUF_ERROR;

    while (outcome == Z_BUF_ERROR && buf_size(plain) <= size_max) {
        size_t left = size_max + 1 - buf_size(plain);
        size_t more = buf_size(plain) < GROWTH_MIN ? GROWTH_MIN : buf_size(plain);
        size_t room;

        if (plain->end == plain->capacity &&
            grow(plain, more < left ? more : left, is_secret) != 0) {
            return -ENOMEM;
        }
        room = plain->capacity - plain->end;
        room = room < left ? room : left;
        stream->next_out = plain->data + plain->end;
        stream->avail_out = (uInt)room;
        /* "Finish": all input is here, and no window is needed when all output fits at once. */
        outcome = inflate(stream, Z_FINISH);
        buf_commit(plain, room - stream->avail_out);
        if (outcome == Z_BUF_ERROR && stream->avail_out > 0) {
            return GRPC_GZIP_E_BROKEN; /* there was room: it is input that is missing */
        }
    }
    if (buf_size(plain) > size_max) {
        return GRPC_GZIP_E_TOO_LARGE;
    }
    if (outcome == Z_MEM_ERROR) {
        return -ENOMEM;
    }
    return outcome == Z_STREAM_END && stream->avail_in == 0 ? 0 : GRPC_GZIP_E_BROKEN;
}

int grpc_gzip_inflate(struct bytes packed, size_t size_max, bool is_secret, struct buf *plain)
{
    z_stream stream = {.zalloc = is_secret ? secret_alloc : Z_NULL,
                       .zfree = is_secret ? secret_free : Z_NULL,
                       /* zlib does not write through this pointer. */
                       .next_in = (uint8_t *)(uintptr_t)packed.data,
                       .avail_in = (uInt)packed.size};
    int outcome;

    assert(packed.size <= UINT32_MAX);
    assert(size_max < UINT32_MAX);
    assert(buf_size(plain) == 0);
    if (grow(plain, expected_size(packed, size_max) + 1, is_secret) != 0 ||
        inflateInit2(&stream, WINDOW_MAX + GZIP_FORMAT) != Z_OK) {
        return -ENOMEM;
    }
    outcome = inflate_all(&stream, size_max, is_secret, plain);
    (void)inflateEnd(&stream);
    return outcome;
}

/* Window and memory for a message of that size: a context for the largest would be 256 KiB. The
 * fast level, for the loop waits: of 64 KiB of users it makes 7 % more bytes than the default, in a
 * third of the time. */
static int init_deflate(z_stream *stream, size_t size)
{
    int window = WINDOW_MIN;

    while (window < WINDOW_MAX && (size_t)1 << window < size) {
        window++;
    }
    return deflateInit2(stream, Z_BEST_SPEED, Z_DEFLATED, window + GZIP_FORMAT,
                        window - MEMORY_LEVEL_0, Z_DEFAULT_STRATEGY) == Z_OK
               ? 0
               : -ENOMEM;
}

int grpc_gzip_deflate(const struct bytes *parts, size_t count, struct buf *packed)
{
    z_stream stream = {0};
    size_t size = 0;
    int outcome;
    size_t i;

    assert(buf_size(packed) == 0);
    for (i = 0; i < count; i++) {
        size += parts[i].size;
    }
    assert(size <= UINT32_MAX);
    if (size <= 1) {
        return GRPC_GZIP_E_NO_GAIN;
    }
    stream.next_out = buf_reserve(packed, size - 1);
    if (stream.next_out == NULL || init_deflate(&stream, size) != 0) {
        return -ENOMEM;
    }
    stream.avail_out = (uInt)(size - 1);
    for (i = 0; i < count && stream.avail_out > 0; i++) {
        stream.next_in = (uint8_t *)(uintptr_t)parts[i].data;
        stream.avail_in = (uInt)parts[i].size;
        (void)deflate(&stream, Z_NO_FLUSH); /* how it went, the last call tells */
    }
    outcome = deflate(&stream, Z_FINISH);
    buf_commit(packed, size - 1 - stream.avail_out);
    (void)deflateEnd(&stream);
    return outcome == Z_STREAM_END ? 0 : GRPC_GZIP_E_NO_GAIN;
}
