/*
 * The keys that count: those in use, and for a while those that were removed.
 *
 * Owns:    the keys in use; a count on the others.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_KEYRING_H
#define SERVICE_TOKEN_KEYRING_H

#include "service/token_keys.h"

#include <stdint.h>

#define TOKEN_KEYRING_RETIRED_MAX TOKEN_KEYS_MAX

/* Zero-initialised it is empty. */
struct token_keyring {
    struct token_keys *keys;                              /* in use; NULL = none yet */
    struct token_key *retired[TOKEN_KEYRING_RETIRED_MAX]; /* the one that ends first at the start */
    unsigned retired_count;
};

/* From now on these keys are in use, and the ring's. Those that were there before (same kid and
 * content) stay the very same. One that is not there any more counts for `overlap_ns` yet. */
void token_keyring_set(struct token_keyring *ring, struct token_keys *keys, uint64_t overlap_ns,
                       uint64_t now_ns);

/* Gives removed keys another overlap, counted from when they were removed. */
void token_keyring_set_overlap(struct token_keyring *ring, uint64_t before_ns, uint64_t overlap_ns);

/* Lets go of the keys whose overlap is over. */
void token_keyring_drop_ended(struct token_keyring *ring, uint64_t now_ns);

/* The keys in the order in which they are tried: those in use, then the one removed last. NULL
 * behind the end. */
struct token_key *token_keyring_at(const struct token_keyring *ring, unsigned index);

void token_keyring_deinit(struct token_keyring *ring);

#endif
