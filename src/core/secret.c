#include "core/secret.h"

#include <sodium.h>

#include <stdint.h>
#include <string.h>

/*
 * libsodium puts the end of a piece against its guard page, so that reading past it is fatal at
 * once; what follows from that is an address as even as the size is. Sizes are rounded up to 16.
 */

#define ALIGNMENT 16

void *secret_alloc(size_t size)
{
    void *memory;

    if (size > SIZE_MAX - ALIGNMENT || sodium_init() < 0) {
        return NULL;
    }
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memory = sodium_malloc(size);
    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void secret_free(void *memory)
{
    sodium_free(memory);
}
