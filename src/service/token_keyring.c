#include "service/token_keyring.h"

#include <assert.h>
#include <string.h>

static void release_retired(struct token_keyring *ring, unsigned index)
{
    token_key_release(ring->retired[index]);
    ring->retired_count--;
    for (unsigned i = index; i < ring->retired_count; i++) {
        ring->retired[i] = ring->retired[i + 1];
    }
}

void token_keyring_drop_ended(struct token_keyring *ring, uint64_t now_ns)
{
    while (ring->retired_count > 0 && ring->retired[0]->until_ns <= now_ns) {
        release_retired(ring, 0);
    }
}

/* Where a key with the same kid and content stands among those, or NULL. */
static struct token_key **find_same(struct token_key **items, unsigned count,
                                    const struct token_key *key)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(items[i]->digest, key->digest, DIGEST_SIZE) == 0) {
            return &items[i];
        }
    }
    return NULL;
}

/* Lets the new set have the very keys that it shares with those before, and verdicts refer to. */
static void keep_same_keys(struct token_keyring *ring, struct token_keys *keys)
{
    for (unsigned i = 0; i < keys->count; i++) {
        struct token_key **same = NULL;

        if (ring->keys != NULL) {
            same = find_same(ring->keys->items, ring->keys->count, keys->items[i]);
        }
        if (same == NULL) {
            same = find_same(ring->retired, ring->retired_count, keys->items[i]);
        }
        if (same != NULL) {
            token_key_release(keys->items[i]);
            keys->items[i] = *same;
            token_key_hold(*same);
        }
    }
}

/* Its end begins. */
static void retire(struct token_keyring *ring, struct token_key *key, uint64_t overlap_ns,
                   uint64_t now_ns)
{
    if (overlap_ns == 0) {
        key->until_ns = 0;
        return;
    }
    key->until_ns = now_ns + overlap_ns;
    if (ring->retired_count == TOKEN_KEYRING_RETIRED_MAX) {
        ring->retired[0]->until_ns = 0;
        release_retired(ring, 0);
    }
    ring->retired[ring->retired_count++] = key;
    token_key_hold(key);
}

void token_keyring_set(struct token_keyring *ring, struct token_keys *keys, uint64_t overlap_ns,
                       uint64_t now_ns)
{
    struct token_keys *before = ring->keys;

    assert(keys != before);
    token_keyring_drop_ended(ring, now_ns);
    keep_same_keys(ring, keys);
    for (unsigned i = ring->retired_count; i > 0; i--) {
        struct token_key *key = ring->retired[i - 1];

        if (find_same(keys->items, keys->count, key) != NULL) {
            key->until_ns = UINT64_MAX; /* it is back */
            release_retired(ring, i - 1);
        }
    }
    for (unsigned i = 0; before != NULL && i < before->count; i++) {
        if (find_same(keys->items, keys->count, before->items[i]) == NULL) {
            retire(ring, before->items[i], overlap_ns, now_ns);
        }
    }
    ring->keys = keys;
    token_keys_free(before);
}

/* All of them got the overlap that was in force, so their order stays. */
void token_keyring_set_overlap(struct token_keyring *ring, uint64_t before_ns, uint64_t overlap_ns)
{
    for (unsigned i = 0; i < ring->retired_count; i++) {
        ring->retired[i]->until_ns += overlap_ns - before_ns;
    }
}

struct token_key *token_keyring_at(const struct token_keyring *ring, unsigned index)
{
    unsigned used = ring->keys == NULL ? 0 : ring->keys->count;

    if (index < used) {
        return ring->keys->items[index];
    }
    index -= used;
    return index < ring->retired_count ? ring->retired[ring->retired_count - 1 - index] : NULL;
}

void token_keyring_deinit(struct token_keyring *ring)
{
    token_keys_free(ring->keys);
    ring->keys = NULL;
    while (ring->retired_count > 0) {
        release_retired(ring, ring->retired_count - 1);
    }
}
