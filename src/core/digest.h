/*
 * SHA-256 over what comes piece by piece.
 *
 * Owns:    nothing beyond the struct.
 * Borrows: the bytes, for the call.
 * Thread:  any.
 */
#ifndef CORE_DIGEST_H
#define CORE_DIGEST_H

#include "core/bytes.h"

#include <stdint.h>

#define DIGEST_SIZE 32

/* The library's state, of which only digest.c knows the type. */
struct digest {
    uint64_t state[16];
};

void digest_init(struct digest *digest);
void digest_add(struct digest *digest, struct bytes bytes);

/* `digest` is used up. */
void digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE]);

#endif
