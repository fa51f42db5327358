#include "http2/h2_pool.h"

#include "http2/h2_stream.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Every block has a head that says its class, so that freeing needs no size. Larger blocks than the
 * largest class come from the system each time: sessions need them when they begin, not per
 * request.
 *
 * Blocks are wiped when they are freed, for the header fields that the engine keeps lie in them,
 * and among these are bearer tokens. The two smallest classes are not: with what the engine puts
 * before it and the word Bearer, even the shortest token that can pass (103 bytes: HS256, one
 * letter for a subject) takes more, and most blocks of a call are small. */

#define CLASS_SIZE_MIN 64
#define WIPE_SIZE_MIN  (2 * CLASS_SIZE_MIN + 1)
#define CLASS_SIZE_MAX (CLASS_SIZE_MIN << (H2_POOL_CLASS_COUNT - 1))
#define CLASS_NONE     H2_POOL_CLASS_COUNT

struct h2_pool_block {
    struct h2_pool_block *next; /* while cached */
    size_t size;                /* of the memory behind the head */
    max_align_t memory[];
};

void h2_pool_init(struct h2_pool *pool, size_t used_max)
{
    *pool = (struct h2_pool){.used_max = used_max, .cached_max = H2_POOL_CACHED_MAX_DEFAULT};
    list_init(&pool->parked_streams);
}

void h2_pool_deinit(struct h2_pool *pool)
{
    unsigned i;

    h2_stream_free_parked(pool);
    assert(pool->used_bytes == 0);
    for (i = 0; i < H2_POOL_CLASS_COUNT; i++) {
        while (pool->cached[i] != NULL) {
            struct h2_pool_block *block = pool->cached[i];

            pool->cached[i] = block->next;
            free(block);
        }
    }
    pool->cached_bytes = 0;
}

static size_t class_size(unsigned class_index)
{
    return (size_t)CLASS_SIZE_MIN << class_index;
}

static unsigned class_of(size_t size)
{
    if (size <= CLASS_SIZE_MIN) {
        return 0;
    }
    if (size > CLASS_SIZE_MAX) {
        return CLASS_NONE;
    }
    /* How many bits more than the smallest class a size needs that is a power of two. */
    return (unsigned)(__builtin_clzll(CLASS_SIZE_MIN) - __builtin_clzll(size - 1)) + 1;
}

static struct h2_pool_block *block_of(void *memory)
{
    return (struct h2_pool_block *)(void *)((char *)memory -
                                            offsetof(struct h2_pool_block, memory));
}

void *h2_pool_alloc(struct h2_pool *pool, size_t size)
{
    unsigned class_index = class_of(size);
    size_t room = class_index == CLASS_NONE ? size : class_size(class_index);
    struct h2_pool_block *block;
    size_t whole;

    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    whole = sizeof(*block) + room;
    if (pool->used_max != 0 &&
        (pool->used_bytes > pool->used_max || whole > pool->used_max - pool->used_bytes)) {
        return NULL;
    }
    if (class_index != CLASS_NONE && pool->cached[class_index] != NULL) {
        block = pool->cached[class_index];
        pool->cached[class_index] = block->next;
        pool->cached_bytes -= whole;
    } else {
        block = malloc(whole);
        if (block == NULL) {
            return NULL;
        }
        block->size = room;
    }
    pool->used_bytes += whole;
    return block->memory;
}

void *h2_pool_alloc_zeroed(struct h2_pool *pool, size_t count, size_t size)
{
    void *memory;

    if (size != 0 && count > SIZE_MAX / 2 / size) {
        return NULL;
    }
    memory = h2_pool_alloc(pool, count * size);
    if (memory != NULL) {
        memset(memory, 0, count * size);
    }
    return memory;
}

void *h2_pool_realloc(struct h2_pool *pool, void *memory, size_t size)
{
    struct h2_pool_block *block;
    void *larger;

    if (memory == NULL) {
        return h2_pool_alloc(pool, size);
    }
    block = block_of(memory);
    if (size <= block->size) {
        return memory;
    }
    larger = h2_pool_alloc(pool, size);
    if (larger != NULL) {
        memcpy(larger, memory, block->size);
        h2_pool_free(pool, memory);
    }
    return larger;
}

void h2_pool_free(struct h2_pool *pool, void *memory)
{
    struct h2_pool_block *block;
    unsigned class_index;
    size_t whole;

    if (memory == NULL) {
        return;
    }
    block = block_of(memory);
    class_index = class_of(block->size);
    whole = sizeof(*block) + block->size;
    assert(pool->used_bytes >= whole);
    pool->used_bytes -= whole;
    if (block->size >= WIPE_SIZE_MIN) {
        explicit_bzero(block->memory, block->size);
    }
    if (class_index == CLASS_NONE || pool->cached_bytes + whole > pool->cached_max) {
        free(block);
        return;
    }
    block->next = pool->cached[class_index];
    pool->cached[class_index] = block;
    pool->cached_bytes += whole;
}
