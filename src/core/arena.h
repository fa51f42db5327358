/*
 * Memory that is freed in one step: one arena per call, emptied when the call ends.
 *
 * Owns:    its blocks.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/bytes.h"

#include <stddef.h>

struct arena_block;

/* Zero-initialised apart from `size_max` is a valid empty arena. */
struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes handed out, with padding */
    size_t size_max;            /* most bytes it hands out; 0 = ARENA_SIZE_MAX_DEFAULT */
};

#define ARENA_SIZE_MAX_DEFAULT (1024 * 1024)

/* Memory aligned for any type, not zeroed. NULL when the limit or the system's memory is reached.
 */
void *arena_alloc(struct arena *arena, size_t size);

/* A NUL-terminated copy. NULL as above. */
char *arena_copy_text(struct arena *arena, struct bytes text);

/* Forgets all that was handed out. One block of the usual size is kept for the next use. */
void arena_reset(struct arena *arena);

/* Frees everything. Safe to repeat. */
void arena_deinit(struct arena *arena);

#endif
