/*
 * Remembers the verdicts on good tokens, so that each signature is checked once. Bounded; the
 * verdict not used for longest makes room. Tokens themselves are not kept: their SHA-256 is.
 *
 * Owns:    a count on each verdict.
 * Borrows: nothing after a call returns.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_CACHE_H
#define SERVICE_TOKEN_CACHE_H

#include "core/digest.h"
#include "core/list.h"
#include "core/map.h"
#include "service/token_verdict.h"

#include <stdint.h>

struct random_source;

struct token_cache {
    struct map by_digest;
    struct list by_use; /* of struct token_verdict, the one used last at the end */
    uint32_t entries_max;
    uint32_t rules; /* verdicts by others are not found */
};

/* `entries_max` 0 = remembers nothing. Allocates nothing. */
void token_cache_init(struct token_cache *cache, struct random_source *random,
                      uint32_t entries_max);

void token_cache_deinit(struct token_cache *cache);

/* The verdict on the token with that digest, if it is remembered, its time is not over, and its
 * rules and its key count; else NULL. Not held for the caller. */
struct token_verdict *token_cache_find(struct token_cache *cache, const uint8_t digest[DIGEST_SIZE],
                                       uint64_t now_s, uint64_t monotonic_ns);

/* Remembers a verdict until `until_s`. The digest must not be there. When memory is short it is not
 * remembered, which costs time and nothing else. */
void token_cache_add(struct token_cache *cache, struct token_verdict *verdict,
                     const uint8_t digest[DIGEST_SIZE], uint64_t until_s);

/* Forgets what was judged by keys that count no more. */
void token_cache_drop_ended(struct token_cache *cache, uint64_t monotonic_ns);

#endif
