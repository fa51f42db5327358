/*
 * Remembers tokens that were verified, so that each signature is checked once. Bounded; the entry
 * not used for longest makes room.
 *
 * Owns:    the entries, which are copies.
 * Borrows: nothing after a call returns.
 * Thread:  one at a time.
 */
#ifndef SERVICE_TOKEN_CACHE_H
#define SERVICE_TOKEN_CACHE_H

#include "core/bytes.h"
#include "core/list.h"
#include "core/map.h"
#include "service/token_parse.h"

#include <stdint.h>

struct random_source;

struct token_cache {
    struct map by_token;
    struct list by_use; /* of struct token_entry, the one used last at the end */
    uint32_t entries_max;
};

/* `entries_max` 0 = remembers nothing. Allocates nothing. */
void token_cache_init(struct token_cache *cache, struct random_source *random,
                      uint32_t entries_max);

void token_cache_deinit(struct token_cache *cache);

/* The claims of a token that is remembered and whose time is not over, borrowed until the next call
 * with this cache; else NULL. */
const struct token_claims *token_cache_find(struct token_cache *cache, struct bytes token,
                                            uint64_t now_s);

/* Remembers a verified token until `until_s`. It must not be there. When memory is short it is not
 * remembered, which costs time and nothing else. */
void token_cache_add(struct token_cache *cache, struct bytes token,
                     const struct token_claims *claims, uint64_t until_s);

#endif
