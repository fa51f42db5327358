#include "core/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * A chain of blocks, the newest first; the head is the one being filled. What does not fit an
 * ordinary block gets one of its own, put behind the head so that the head's room is not lost.
 */

#define ARENA_BLOCK_SIZE 4096
#define ARENA_ALIGNMENT  _Alignof(max_align_t)

struct arena_block {
    struct arena_block *next;
    size_t size; /* bytes of data */
    size_t used;
    max_align_t data[];
};

#define ARENA_BLOCK_ROOM (ARENA_BLOCK_SIZE - sizeof(struct arena_block))

static struct arena_block *arena_add_block(struct arena *arena, size_t size)
{
    bool own_block = size > ARENA_BLOCK_ROOM;
    size_t room = own_block ? size : ARENA_BLOCK_ROOM;
    struct arena_block *block = malloc(sizeof(*block) + room);

    if (block == NULL) {
        return NULL;
    }
    block->size = room;
    block->used = 0;
    if (own_block && arena->blocks != NULL) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t size_max = arena->size_max != 0 ? arena->size_max : ARENA_SIZE_MAX_DEFAULT;
    struct arena_block *block = arena->blocks;
    size_t padded;
    void *memory;

    assert(size_max < SIZE_MAX / 2);
    if (size > size_max) {
        return NULL;
    }
    if (size == 0) {
        size = 1; /* distinct, non-NULL pointers */
    }
    padded = (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (arena->used > size_max || padded > size_max - arena->used) {
        return NULL;
    }
    if (block == NULL || block->size - block->used < padded) {
        block = arena_add_block(arena, padded);
        if (block == NULL) {
            return NULL;
        }
    }
    memory = (uint8_t *)block->data + block->used;
    block->used += padded;
    arena->used += padded;
    return memory;
}

char *arena_copy_text(struct arena *arena, struct bytes text)
{
    char *copy;

    if (text.size == SIZE_MAX) {
        return NULL;
    }
    copy = arena_alloc(arena, text.size + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    copy[text.size] = '\0';
    return copy;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    struct arena_block *kept = NULL;

    while (block != NULL) {
        struct arena_block *next = block->next;

        if (kept == NULL && block->size == ARENA_BLOCK_ROOM) {
            kept = block;
        } else {
            free(block);
        }
        block = next;
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    arena->blocks = kept;
    arena->used = 0;
}

void arena_deinit(struct arena *arena)
{
    arena_reset(arena);
    free(arena->blocks);
    arena->blocks = NULL;
}
