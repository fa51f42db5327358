/*
 * Token buckets by key, in bounded memory.
 *
 * A bucket that is full again is as good as none: those are forgotten, and no others. So nobody
 * gets a fresh bucket by making the table forget the old one. When there is no room, newcomers
 * share one bucket.
 *
 * Owns:    the buckets.
 * Borrows: nothing; of a key it keeps a seeded hash.
 * Thread:  one at a time.
 */
#ifndef SERVICE_RATE_TABLE_H
#define SERVICE_RATE_TABLE_H

#include "core/list.h"
#include "core/map.h"

#include <stdint.h>

/* Each key has so many buckets, one for each thing that is counted. */
#define RATE_TABLE_BUCKETS 2

/* At most 10 million each. */
struct rate_rule {
    uint64_t per_s; /* 0 = this is not counted */
    uint64_t burst;
};

struct rate_bucket {
    uint64_t level;   /* tokens left, in billionths */
    uint64_t seen_ns; /* when the level was brought up to date */
};

struct rate_entry {
    struct list link;
    uint64_t id;
    struct rate_bucket buckets[RATE_TABLE_BUCKETS];
};

struct rate_table {
    struct rate_rule rules[RATE_TABLE_BUCKETS];
    size_t max_entries;
    struct map map;           /* of struct rate_entry */
    struct list entries;      /* the same; those to be looked at next are at the front */
    struct rate_entry shared; /* by those for whom there is no room */
    uint64_t shared_count;    /* of times it was */
};

void rate_table_init(struct rate_table *table, struct hash_seed seed);
void rate_table_deinit(struct rate_table *table);

/* New rules and a new bound. Levels stay, up to the new bursts. When nothing is counted any more,
 * all is forgotten. */
void rate_table_set(struct rate_table *table, const struct rate_rule *rules, size_t max_entries);

/* Takes one token from each bucket whose bit is in `which`, or from none.
 *
 * Returns 0; or the nanoseconds until there is one, with the bucket that has none. */
uint64_t rate_table_take(struct rate_table *table, uint64_t id, unsigned which, uint64_t now_ns,
                         unsigned *ret_bucket);

#endif
