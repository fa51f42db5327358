/*
 * Memory for who cannot measure without.
 *
 * Owns:    nothing; the caller frees.
 * Borrows: nothing.
 * Thread:  any.
 */
#ifndef USERBENCH_MEMORY_H
#define USERBENCH_MEMORY_H

#include <stddef.h>

/* As calloc(), but never NULL: the program ends when there is none. */
void *userbench_memory_get(size_t count, size_t size);

#endif
