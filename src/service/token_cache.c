#include "service/token_cache.h"

#include "core/random.h"

static struct bytes entry_key(const void *value)
{
    return (struct bytes){((const struct token_verdict *)value)->digest, DIGEST_SIZE};
}

static struct bytes digest_bytes(const uint8_t digest[DIGEST_SIZE])
{
    return (struct bytes){digest, DIGEST_SIZE};
}

static struct token_verdict *verdict_of(struct list *link)
{
    return CONTAINER_OF(link, struct token_verdict, link);
}

static void forget(struct token_cache *cache, struct token_verdict *verdict)
{
    (void)map_remove(&cache->by_digest, entry_key(verdict));
    list_remove(&verdict->link);
    token_verdict_release(verdict);
}

void token_cache_init(struct token_cache *cache, struct random_source *random, uint32_t entries_max)
{
    struct hash_seed seed;

    random_fill(random, &seed, sizeof(seed));
    map_init(&cache->by_digest, entry_key, seed);
    list_init(&cache->by_use);
    cache->entries_max = entries_max;
}

void token_cache_deinit(struct token_cache *cache)
{
    while (!list_is_empty(&cache->by_use)) {
        forget(cache, verdict_of(cache->by_use.next));
    }
    map_deinit(&cache->by_digest);
}

struct token_verdict *token_cache_find(struct token_cache *cache, const uint8_t digest[DIGEST_SIZE],
                                       uint64_t now_s, uint64_t monotonic_ns)
{
    struct token_verdict *verdict = map_find(&cache->by_digest, digest_bytes(digest));

    if (verdict == NULL) {
        return NULL;
    }
    if (now_s >= verdict->remembered_until_s || verdict->rules != cache->rules ||
        monotonic_ns >= token_verdict_key_until_ns(verdict)) {
        forget(cache, verdict);
        return NULL;
    }
    list_remove(&verdict->link);
    list_push_back(&cache->by_use, &verdict->link);
    return verdict;
}

void token_cache_add(struct token_cache *cache, struct token_verdict *verdict,
                     const uint8_t digest[DIGEST_SIZE], uint64_t until_s)
{
    if (cache->entries_max == 0) {
        return;
    }
    if (cache->by_digest.count >= cache->entries_max) {
        forget(cache, verdict_of(cache->by_use.next));
    }
    memcpy(verdict->digest, digest, DIGEST_SIZE);
    verdict->remembered_until_s = until_s;
    if (map_insert(&cache->by_digest, verdict) != 0) {
        return;
    }
    token_verdict_hold(verdict);
    list_push_back(&cache->by_use, &verdict->link);
}

void token_cache_drop_ended(struct token_cache *cache, uint64_t monotonic_ns)
{
    struct list *link = cache->by_use.next;

    while (link != &cache->by_use) {
        struct token_verdict *verdict = verdict_of(link);

        link = link->next;
        if (monotonic_ns >= token_verdict_key_until_ns(verdict)) {
            forget(cache, verdict);
        }
    }
}
