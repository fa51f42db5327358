/*
 * Memory of HTTP/2 sessions in a few sizes, kept when freed: a request on a warm server allocates
 * nothing. One pool serves all sessions of a loop, and bounds what they may use together.
 *
 * Owns:    the cached blocks and parked streams.
 * Thread:  loop only.
 */
#ifndef HTTP2_H2_POOL_H
#define HTTP2_H2_POOL_H

#include "core/list.h"

#include <stddef.h>

#define H2_POOL_CLASS_COUNT 7 /* 64 bytes to 4 KiB, each twice the one before */

struct h2_pool_block;

struct h2_pool {
    struct h2_pool_block *cached[H2_POOL_CLASS_COUNT];
    size_t used_bytes;          /* lent out, heads included */
    size_t cached_bytes;        /* waiting for the next use */
    size_t used_max;            /* beyond it allocation fails; 0 = no limit */
    size_t cached_max;          /* beyond it freed blocks go back to the system */
    struct list parked_streams; /* of struct h2_stream, for h2_stream.c */
    unsigned parked_count;
    unsigned stream_count; /* open ones, of all sessions; h2_stream.c's, too */
    size_t unsent_bytes;   /* of bodies, queued on these and not pulled yet */
};

#define H2_POOL_CACHED_MAX_DEFAULT (1024 * 1024)

void h2_pool_init(struct h2_pool *pool, size_t used_max);

/* Nothing may be lent out. */
void h2_pool_deinit(struct h2_pool *pool);

/* Aligned for any type. NULL at the limit or when out of memory. */
void *h2_pool_alloc(struct h2_pool *pool, size_t size);
void *h2_pool_alloc_zeroed(struct h2_pool *pool, size_t count, size_t size);
void *h2_pool_realloc(struct h2_pool *pool, void *memory, size_t size);

/* NULL is fine. */
void h2_pool_free(struct h2_pool *pool, void *memory);

#endif
