/*
 * Hash table keyed by bytes, open addressing: the values are pointers to objects that hold their
 * own key. It grows little by little, so that no call takes long however many values there are.
 *
 * Owns:    the slot arrays.
 * Borrows: the objects and the keys inside them, while they are in the map.
 * Thread:  one at a time.
 */
#ifndef CORE_MAP_H
#define CORE_MAP_H

#include "core/bytes.h"
#include "core/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many old slots are emptied by one operation while the map grows. */
#define MAP_MOVED_SLOTS 16

/* The key that lies in a value. */
typedef struct bytes (*map_key_fn)(const void *value);

/* 12 bytes: an address has 48 bits, and of the hash the upper 48 are kept. All 0 = free. */
struct map_slot {
    uint32_t value_low;
    uint16_t value_high;
    uint16_t hash_low;
    uint32_t hash_high;
};

struct map_table {
    struct map_slot *slots;
    size_t capacity; /* less than 2^32; 0 when there are no slots */
};

struct map {
    struct map_table table; /* takes all insertions */
    struct map_table old;   /* the one before while its values move; without slots otherwise */
    struct map_table spare; /* reserved for the next growth, bigger than `table`; or without */
    size_t old_start;       /* this slot of `old` was free when the move began */
    size_t old_left;        /* so many slots from there on are still to be looked at */
    size_t count;           /* values in `table` and `old` */
    map_key_fn key;
    struct hash_seed seed;
};

/* Allocates nothing. */
void map_init(struct map *map, map_key_fn key, struct hash_seed seed);

/* Frees the slots, not the values. */
void map_deinit(struct map *map);

/* Makes room so that the next `count` insertions cannot fail. Returns 0 or -ENOMEM. */
int map_reserve(struct map *map, size_t count);

/* Ends a growth at once instead of step by step: in one go the move is several times cheaper, but
 * it takes long. For times when nobody waits, like the next one. */
void map_settle(struct map *map);

/* Gets the memory of what is reserved at once instead of page by page at first use, in huge pages
 * where the machine has them: many times cheaper, and looking up is faster. */
void map_populate(struct map *map);

/* Gives back what is reserved and not in use. For when a load has ended that needed less. */
void map_drop_reserve(struct map *map);

/* NULL when there is none. */
void *map_find(const struct map *map, struct bytes key);

/* The key must not be there. Returns 0 or -ENOMEM. */
int map_insert(struct map *map, void *value);

/* Puts `value` in the place of the one with the same key, which is returned; NULL when there was
 * none and nothing changed. */
void *map_replace(struct map *map, void *value);

/* Bytes that its slots take. */
static inline size_t map_memory(const struct map *map)
{
    return (map->table.capacity + map->old.capacity + map->spare.capacity) *
           sizeof(struct map_slot);
}

/* Takes the value out and returns it, or NULL. */
void *map_remove(struct map *map, struct bytes key);

/* For who needs the hash of a key more than once: maps of one seed agree on it. Otherwise like
 * those above; `hash` is that of the value's key. */
uint64_t map_hash(const struct map *map, struct bytes key);
void *map_find_hashed(const struct map *map, struct bytes key, uint64_t hash);
int map_insert_hashed(struct map *map, void *value, uint64_t hash);
void *map_replace_hashed(struct map *map, void *value, uint64_t hash);
void *map_remove_hashed(struct map *map, struct bytes key, uint64_t hash);

/* Asks the memory for the place of that hash: several places asked for at once arrive at once. */
void map_prefetch(const struct map *map, uint64_t hash);

/* Walks all values: start with *cursor = 0; NULL ends it. No insertion, replacement or removal
 * meanwhile. */
void *map_next(const struct map *map, size_t *cursor);

#endif
