#include "service/token_cache.h"

#include "core/random.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Everything of an entry lies in one piece of memory: the roles' pointers, then the texts. */
struct token_entry {
    struct list link;
    uint64_t until_s;
    struct bytes token;
    struct token_claims claims;
    size_t size;
    const char *roles[];
};

static struct bytes entry_key(const void *value)
{
    return ((const struct token_entry *)value)->token;
}

static void entry_remove(struct token_cache *cache, struct token_entry *entry)
{
    (void)map_remove(&cache->by_token, entry->token);
    list_remove(&entry->link);
    /* It is a credential. */
    explicit_bzero(entry, entry->size);
    free(entry);
}

static struct token_entry *oldest(struct token_cache *cache)
{
    return CONTAINER_OF(cache->by_use.next, struct token_entry, link);
}

/* Copies `size` bytes and a NUL to `*at`, which moves on. */
static const char *put_text(char **at, const void *text, size_t size)
{
    char *copy = *at;

    memcpy(copy, text, size);
    copy[size] = '\0';
    *at += size + 1;
    return copy;
}

static struct token_entry *entry_new(struct bytes token, const struct token_claims *claims)
{
    size_t size = sizeof(struct token_entry) + claims->role_count * sizeof(char *);
    struct token_entry *entry;
    char *at;

    size += token.size + 1 + strlen(claims->subject) + 1;
    for (unsigned i = 0; i < claims->role_count; i++) {
        size += strlen(claims->roles[i]) + 1;
    }
    entry = malloc(size);
    if (entry == NULL) {
        return NULL;
    }
    entry->size = size;
    at = (char *)(entry->roles + claims->role_count);
    entry->token =
        (struct bytes){(const uint8_t *)put_text(&at, token.data, token.size), token.size};
    entry->claims = *claims;
    entry->claims.subject = put_text(&at, claims->subject, strlen(claims->subject));
    for (unsigned i = 0; i < claims->role_count; i++) {
        entry->roles[i] = put_text(&at, claims->roles[i], strlen(claims->roles[i]));
    }
    entry->claims.roles = entry->roles;
    list_init(&entry->link);
    assert(at == (char *)entry + size);
    return entry;
}

void token_cache_init(struct token_cache *cache, struct random_source *random, uint32_t entries_max)
{
    struct hash_seed seed;

    random_fill(random, &seed, sizeof(seed));
    map_init(&cache->by_token, entry_key, seed);
    list_init(&cache->by_use);
    cache->entries_max = entries_max;
}

void token_cache_deinit(struct token_cache *cache)
{
    while (!list_is_empty(&cache->by_use)) {
        entry_remove(cache, oldest(cache));
    }
    map_deinit(&cache->by_token);
}

const struct token_claims *token_cache_find(struct token_cache *cache, struct bytes token,
                                            uint64_t now_s)
{
    struct token_entry *entry = map_find(&cache->by_token, token);

    if (entry == NULL) {
        return NULL;
    }
    if (now_s >= entry->until_s) {
        entry_remove(cache, entry);
        return NULL;
    }
    list_remove(&entry->link);
    list_push_back(&cache->by_use, &entry->link);
    return &entry->claims;
}

void token_cache_add(struct token_cache *cache, struct bytes token,
                     const struct token_claims *claims, uint64_t until_s)
{
    struct token_entry *entry;

    if (cache->entries_max == 0) {
        return;
    }
    entry = entry_new(token, claims);
    if (entry == NULL) {
        return;
    }
    entry->until_s = until_s;
    if (cache->by_token.count >= cache->entries_max) {
        entry_remove(cache, oldest(cache));
    }
    if (map_insert(&cache->by_token, entry) != 0) {
        free(entry);
        return;
    }
    list_push_back(&cache->by_use, &entry->link);
}
