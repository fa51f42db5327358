#include "service/rate_table.h"

#include <stdlib.h>

/*
 * Buckets are brought up to date when they are looked at; nothing runs in between.
 *
 *   1. A key that has an entry: its buckets are refilled for the time that has passed, and give the
 *      tokens, or not.
 *   2. A key that has none gets one with full buckets. Before that a few of the entries there are
 *      looked at, in turn: those that are full again go. So the table holds little more than the
 *      keys that are being counted, and no call takes long.
 *   3. When there is still no room, or no memory, the bucket of the others is used.
 *
 * What can go wrong: somebody has many keys (addresses, subjects) and uses them all. Each of them
 * has its own limit; together they can fill the table only as long as they keep most of it from
 * refilling, and then newcomers are few to a bucket, while everybody who is known keeps his own.
 *
 * Two keys whose hashes are equal share a bucket. The seed is secret and the hash has 64 bits.
 */

#define TOKEN       UINT64_C(1000000000)
#define BRIM        (UINT64_MAX / 2) /* a full bucket, whatever its burst */
#define LOOK        2                /* entries looked at for a newcomer, */
#define LOOK_HARDER 8                /* when there is no room */

static struct bytes entry_key(const void *value)
{
    const struct rate_entry *entry = value;

    return (struct bytes){(const uint8_t *)&entry->id, sizeof(entry->id)};
}

static struct rate_entry *entry_of(struct list *link)
{
    return CONTAINER_OF(link, struct rate_entry, link);
}

static void fill(struct rate_entry *entry, uint64_t now_ns)
{
    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        entry->buckets[i] = (struct rate_bucket){.level = BRIM, .seen_ns = now_ns};
    }
}

void rate_table_init(struct rate_table *table, struct hash_seed seed)
{
    *table = (struct rate_table){0};
    map_init(&table->map, entry_key, seed);
    list_init(&table->entries);
    fill(&table->shared, 0);
}

static void forget(struct rate_table *table, struct rate_entry *entry)
{
    (void)map_remove(&table->map, entry_key(entry));
    list_remove(&entry->link);
    free(entry);
}

static void forget_all(struct rate_table *table)
{
    struct hash_seed seed = table->map.seed;
    struct list *link;

    map_deinit(&table->map);
    map_init(&table->map, entry_key, seed);
    while ((link = list_pop_front(&table->entries)) != NULL) {
        free(entry_of(link));
    }
}

void rate_table_deinit(struct rate_table *table)
{
    forget_all(table);
    map_deinit(&table->map);
}

static void refill(struct rate_bucket *bucket, const struct rate_rule *rule, uint64_t now_ns)
{
    uint64_t full = rule->burst * TOKEN;
    uint64_t elapsed_ns = now_ns - bucket->seen_ns;

    /* The product is less than `full`, and so is no overflow. */
    if (elapsed_ns >= full / rule->per_s) {
        bucket->level = full;
    } else {
        bucket->level += elapsed_ns * rule->per_s;
    }
    bucket->level = bucket->level < full ? bucket->level : full;
    bucket->seen_ns = now_ns;
}

static bool is_counted(const struct rate_table *table, unsigned which, unsigned bucket)
{
    return (which & 1U << bucket) != 0 && table->rules[bucket].per_s > 0;
}

static bool is_full(const struct rate_table *table, struct rate_entry *entry, uint64_t now_ns)
{
    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        if (table->rules[i].per_s > 0) {
            refill(&entry->buckets[i], &table->rules[i], now_ns);
            if (entry->buckets[i].level < table->rules[i].burst * TOKEN) {
                return false;
            }
        }
    }
    return true;
}

static void forget_full(struct rate_table *table, unsigned look, uint64_t now_ns)
{
    for (unsigned i = 0; i < look && !list_is_empty(&table->entries); i++) {
        struct rate_entry *entry = entry_of(table->entries.next);

        if (is_full(table, entry, now_ns)) {
            forget(table, entry);
        } else {
            list_remove(&entry->link);
            list_push_back(&table->entries, &entry->link);
        }
    }
}

/* With full buckets. NULL when there is no room, or no memory. */
static struct rate_entry *add(struct rate_table *table, uint64_t id, uint64_t now_ns)
{
    bool is_crowded = table->map.count >= table->max_entries;
    struct rate_entry *entry;

    forget_full(table, is_crowded ? LOOK_HARDER : LOOK, now_ns);
    if (table->map.count >= table->max_entries) {
        return NULL;
    }
    entry = calloc(1, sizeof(*entry));
    if (entry == NULL) {
        return NULL;
    }
    entry->id = id;
    fill(entry, now_ns);
    list_init(&entry->link);
    if (map_insert(&table->map, entry) != 0) {
        free(entry);
        return NULL;
    }
    list_push_back(&table->entries, &entry->link);
    return entry;
}

static struct rate_entry *find_or_add(struct rate_table *table, uint64_t id, uint64_t now_ns)
{
    const struct bytes key = {(const uint8_t *)&id, sizeof(id)};
    struct rate_entry *entry = map_find(&table->map, key);

    if (entry == NULL) {
        entry = add(table, id, now_ns);
    }
    if (entry == NULL) {
        entry = &table->shared;
        table->shared_count++;
    }
    return entry;
}

uint64_t rate_table_take(struct rate_table *table, uint64_t id, unsigned which, uint64_t now_ns,
                         unsigned *ret_bucket)
{
    struct rate_entry *entry = find_or_add(table, id, now_ns);

    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        if (is_counted(table, which, i)) {
            struct rate_bucket *bucket = &entry->buckets[i];
            uint64_t per_s = table->rules[i].per_s;

            refill(bucket, &table->rules[i], now_ns);
            if (bucket->level < TOKEN) {
                *ret_bucket = i;
                return (TOKEN - bucket->level + per_s - 1) / per_s;
            }
        }
    }
    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        if (is_counted(table, which, i)) {
            entry->buckets[i].level -= TOKEN;
        }
    }
    return 0;
}

void rate_table_set(struct rate_table *table, const struct rate_rule *rules, size_t max_entries)
{
    bool is_used = false;

    table->max_entries = max_entries;
    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        table->rules[i] = rules[i];
        is_used = is_used || rules[i].per_s > 0;
    }
    if (!is_used) {
        forget_all(table);
    }
}
