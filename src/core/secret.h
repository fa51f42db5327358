/*
 * Memory for secrets that live long: locked into RAM, left out of core files, between guard pages,
 * wiped when it is freed. Each piece takes some pages of its own: for keys, not for traffic.
 *
 * Owns:    nothing; the caller frees.
 * Thread:  any.
 */
#ifndef CORE_SECRET_H
#define CORE_SECRET_H

#include <stddef.h>

/* Zeroed memory of `size` bytes, aligned to 16; NULL when there is none. Where the system does not
 * let us lock it (RLIMIT_MEMLOCK), it is not locked. */
void *secret_alloc(size_t size);

/* Wipes. NULL is fine. */
void secret_free(void *memory);

#endif
