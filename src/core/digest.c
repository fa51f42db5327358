#include "core/digest.h"

#include <sodium.h>

#include <assert.h>
#include <stdalign.h>

static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(struct digest), "room for its state");
static_assert(alignof(crypto_hash_sha256_state) <= alignof(struct digest),
              "and in the right place");
static_assert(crypto_hash_sha256_BYTES == DIGEST_SIZE, "one size, said twice");

/* The library's calls always return 0. They need no sodium_init(), which only picks faster code for
 * other algorithms. */

static crypto_hash_sha256_state *state_of(struct digest *digest)
{
    return (crypto_hash_sha256_state *)(void *)digest->state;
}

void digest_init(struct digest *digest)
{
    (void)crypto_hash_sha256_init(state_of(digest));
}

void digest_add(struct digest *digest, struct bytes bytes)
{
    (void)crypto_hash_sha256_update(state_of(digest), bytes.data, bytes.size);
}

void digest_end(struct digest *digest, uint8_t out[DIGEST_SIZE])
{
    (void)crypto_hash_sha256_final(state_of(digest), out);
}
