/*
 * Linear probing: a value lies in the first free slot at or after the one its hash points to.
 * Removal moves later values of the same run back (Knuth 6.4, algorithm R), so there are no
 * tombstones and lookups stay short however often keys come and go. At most three quarters of the
 * slots are taken.
 *
 * Growth never moves everything at once, unless map_settle() asks for that:
 *  1. The insertion that would take too many slots makes the table the old one and puts an empty
 *     one of at least twice the size in its place.
 *  2. From then on all insertions go to the new table, and every change of the map first moves
 *     what stands in the next MAP_MOVED_SLOTS old slots. Lookups try the new table, then the old.
 *  3. When the old slots are all empty they are freed.
 * The next growth is due after at least three quarters as many insertions as there were old slots;
 * the move needs a sixteenth as many. So there are never more than two tables with values.
 *
 * The move begins below a free slot and goes downwards, round the start of the array. What it takes
 * is thus always the end of a run, and nothing is found by way of that: the old table is a proper
 * one all the time, in which values are looked up and removed as in any other.
 *
 * Zeroing a big array, or giving it back all at once, would take long too. So big ones come from
 * mmap, which zeroes page by page at first use (calloc zeroes what was in use before, and a huge
 * page takes long), and their pages are given back as the move empties them.
 *
 * At a start nobody waits, and all pages will be needed: then they are got in one go, as huge pages
 * where there are some. What that does not bring comes page by page as always, never as a huge one.
 */
#include "core/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CAPACITY_FIRST 16

/* Arrays of at least so many slots (256 KiB) are mapped. */
#define MAPPED_SLOTS_MIN 16384

/* So many empty old slots (64 KiB, whole pages everywhere) are given back in one go. */
#define RELEASED_SLOTS 4096

/* Of an array that is got at once, where the machine has them. */
#define HUGE_PAGE_SIZE ((size_t)2 * 1024 * 1024)

void map_init(struct map *map, map_key_fn key, struct hash_seed seed)
{
    *map = (struct map){.key = key, .seed = seed};
}

/* Zeroed memory that begins with a huge page when it is that big; NULL when there is none. */
static void *map_pages(size_t size)
{
    const size_t slack = size < HUGE_PAGE_SIZE ? 0 : HUGE_PAGE_SIZE;
    const int protection = PROT_READ | PROT_WRITE;
    uint8_t *pages = mmap(NULL, size + slack, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;

    if (pages == MAP_FAILED) {
        return NULL;
    }
    if (slack > 0) {
        before = slack - (uintptr_t)pages % slack; /* never nothing */
        (void)munmap(pages, before);
        pages += before;
        if (before < slack) {
            (void)munmap(pages + size, slack - before);
        }
    }
    return pages;
}

/* Returns 0 or -ENOMEM. */
static int make_table(struct map_table *ret_table, size_t capacity)
{
    size_t size = capacity * sizeof(struct map_slot);
    void *slots;

    if (capacity >= MAPPED_SLOTS_MIN) {
        slots = map_pages(size);
        if (slots == NULL) {
            return -ENOMEM;
        }
        (void)madvise(slots, size, MADV_NOHUGEPAGE);
    } else {
        slots = calloc(1, size);
        if (slots == NULL) {
            return -ENOMEM;
        }
    }
    *ret_table = (struct map_table){slots, capacity};
    return 0;
}

/* Gets the memory of all slots at once, if it can be had so. */
static void populate(const struct map_table *table)
{
    size_t size = table->capacity * sizeof(*table->slots);

    if (table->capacity >= MAPPED_SLOTS_MIN) {
        (void)madvise(table->slots, size, MADV_HUGEPAGE);
        (void)madvise(table->slots, size, MADV_POPULATE_WRITE);
        (void)madvise(table->slots, size, MADV_NOHUGEPAGE);
    }
}

static void free_table(struct map_table *table)
{
    if (table->capacity >= MAPPED_SLOTS_MIN) {
        (void)munmap(table->slots, table->capacity * sizeof(*table->slots));
    } else {
        free(table->slots);
    }
    *table = (struct map_table){0};
}

void map_deinit(struct map *map)
{
    free_table(&map->table);
    free_table(&map->old);
    free_table(&map->spare);
    map->count = 0;
}

static size_t next_index(const struct map_table *table, size_t index)
{
    return (index + 1) & (table->capacity - 1);
}

/* The slot of the key, or the free one where it would go. There must be slots. */
static struct map_slot *find_slot(const struct map_table *table, map_key_fn key_of,
                                  struct bytes key, uint64_t hash)
{
    size_t index = hash & (table->capacity - 1);

    while (table->slots[index].value != NULL) {
        if (table->slots[index].hash == hash &&
            bytes_equal(key_of(table->slots[index].value), key)) {
            break;
        }
        index = next_index(table, index);
    }
    return &table->slots[index];
}

/* The slot of the key in the old table, or NULL. Slots already emptied are not looked at: that
 * would bring back the pages that were given back. */
static struct map_slot *find_old_slot(const struct map *map, struct bytes key, uint64_t hash)
{
    struct map_slot *slot;

    if (((hash - map->old_start) & (map->old.capacity - 1)) >= map->old_left) {
        return NULL;
    }
    slot = find_slot(&map->old, map->key, key, hash);
    return slot->value == NULL ? NULL : slot;
}

/* The slot of the key and the table it is in; NULL when the key is not there. */
static struct map_slot *find_value(const struct map *map, struct bytes key, uint64_t hash,
                                   const struct map_table **ret_table)
{
    struct map_slot *slot;

    if (map->count == 0) {
        return NULL;
    }
    slot = find_slot(&map->table, map->key, key, hash);
    if (slot->value != NULL) {
        *ret_table = &map->table;
        return slot;
    }
    *ret_table = &map->old;
    return find_old_slot(map, key, hash);
}

/* Where a value with this hash that is not there would go. */
static size_t find_free(const struct map_table *table, uint64_t hash)
{
    size_t index = hash & (table->capacity - 1);

    while (table->slots[index].value != NULL) {
        index = next_index(table, index);
    }
    return index;
}

static bool has_room(const struct map_table *table, size_t count)
{
    return count <= table->capacity / 4 * 3;
}

int map_reserve(struct map *map, size_t count)
{
    struct map_table bigger;
    size_t capacity = map->table.capacity == 0 ? CAPACITY_FIRST : map->table.capacity;
    size_t needed;
    int result;

    /* Leaves room for the quarter that stays free and for rounding up to a power of two. */
    if (count > SIZE_MAX / sizeof(struct map_slot) / 4 - map->count) {
        return -ENOMEM;
    }
    needed = map->count + count;
    if (has_room(&map->table, needed) || has_room(&map->spare, needed)) {
        return 0;
    }
    while (needed > capacity / 4 * 3) {
        capacity *= 2;
    }
    result = make_table(&bigger, capacity);
    if (result == 0) {
        free_table(&map->spare);
        map->spare = bigger;
    }
    return result;
}

/* Puts the spare table in the place of the full one. Any hash will do to find a free slot. */
static void start_growth(struct map *map, uint64_t hash)
{
    assert(map->old.slots == NULL);
    map->old = map->table;
    map->table = map->spare;
    map->spare = (struct map_table){0};
    map->old_left = map->old.capacity;
    if (map->old_left > 0) {
        map->old_start = find_free(&map->old, hash);
    }
}

/* Gives back the pages of the old slots from `index` on when the move has just emptied them. */
static void release_emptied(struct map *map, size_t index)
{
    struct map_table *old = &map->old;

    if (old->capacity >= MAPPED_SLOTS_MIN && index % RELEASED_SLOTS == 0 &&
        old->capacity - map->old_left >= RELEASED_SLOTS) {
        (void)madvise(&old->slots[index], RELEASED_SLOTS * sizeof(*old->slots), MADV_DONTNEED);
    }
}

static void move_value(struct map *map, const struct map_slot *slot)
{
    map->table.slots[find_free(&map->table, slot->hash)] = *slot;
}

/* The part of a growth that falls to each operation. */
static void move_some(struct map *map)
{
    struct map_table *old = &map->old;
    size_t index;

    if (old->slots == NULL) {
        return;
    }
    for (int i = 0; i < MAP_MOVED_SLOTS && map->old_left > 0; i++) {
        map->old_left--;
        index = (map->old_start + map->old_left) & (old->capacity - 1);
        if (old->slots[index].value != NULL) {
            move_value(map, &old->slots[index]);
            old->slots[index] = (struct map_slot){0};
        }
        release_emptied(map, index);
    }
    if (map->old_left == 0) {
        free_table(old);
    }
}

void map_settle(struct map *map)
{
    struct map_table *old = &map->old;

    if (old->slots == NULL) {
        return;
    }
    populate(&map->table);
    for (size_t i = 0; i < map->old_left; i++) {
        const struct map_slot *slot = &old->slots[(map->old_start + i) & (old->capacity - 1)];

        if (slot->value != NULL) {
            move_value(map, slot);
        }
    }
    map->old_left = 0;
    free_table(old);
}

void map_populate(struct map *map)
{
    populate(&map->table);
    populate(&map->spare);
}

uint64_t map_hash(const struct map *map, struct bytes key)
{
    return hash_siphash(&map->seed, key);
}

void map_prefetch(const struct map *map, uint64_t hash)
{
    if (map->table.capacity > 0) {
        __builtin_prefetch(&map->table.slots[hash & (map->table.capacity - 1)], 1);
    }
}

void *map_find_hashed(const struct map *map, struct bytes key, uint64_t hash)
{
    const struct map_table *table;
    const struct map_slot *slot = find_value(map, key, hash, &table);

    return slot == NULL ? NULL : slot->value;
}

void *map_find(const struct map *map, struct bytes key)
{
    return map->count == 0 ? NULL : map_find_hashed(map, key, map_hash(map, key));
}

int map_insert_hashed(struct map *map, void *value, uint64_t hash)
{
    struct bytes key = map->key(value);
    struct map_slot *slot;
    int result = map_reserve(map, 1);

    if (result < 0) {
        return result;
    }
    if (!has_room(&map->table, map->count + 1)) {
        start_growth(map, hash);
    }
    move_some(map);
    slot = find_slot(&map->table, map->key, key, hash);
    assert(slot->value == NULL && find_old_slot(map, key, hash) == NULL);
    *slot = (struct map_slot){value, hash};
    map->count++;
    return 0;
}

int map_insert(struct map *map, void *value)
{
    return map_insert_hashed(map, value, map_hash(map, map->key(value)));
}

void *map_replace_hashed(struct map *map, void *value, uint64_t hash)
{
    const struct map_table *table;
    struct map_slot *slot;
    void *old_value;

    move_some(map);
    slot = find_value(map, map->key(value), hash, &table);
    if (slot == NULL) {
        return NULL;
    }
    old_value = slot->value;
    slot->value = value;
    return old_value;
}

void *map_replace(struct map *map, void *value)
{
    return map_replace_hashed(map, value, map_hash(map, map->key(value)));
}

/* Fills the hole with the next value of the run that may stand there, and so on with the hole that
 * leaves, until the run ends. */
static void close_hole(const struct map_table *table, size_t hole)
{
    size_t mask = table->capacity - 1;
    size_t index = next_index(table, hole);
    size_t home;

    while (table->slots[index].value != NULL) {
        home = table->slots[index].hash & mask;
        /* It may move when the hole is not before its home, counted round the end of the array. */
        if (((index - home) & mask) >= ((index - hole) & mask)) {
            table->slots[hole] = table->slots[index];
            hole = index;
        }
        index = next_index(table, index);
    }
    table->slots[hole] = (struct map_slot){0};
}

void *map_remove(struct map *map, struct bytes key)
{
    const struct map_table *table;
    struct map_slot *slot;
    void *value;

    move_some(map);
    slot = find_value(map, key, map_hash(map, key), &table);
    if (slot == NULL) {
        return NULL;
    }
    value = slot->value;
    map->count--;
    close_hole(table, (size_t)(slot - table->slots));
    return value;
}

void *map_next(const struct map *map, size_t *cursor)
{
    size_t index;
    void *value;

    while (*cursor < map->table.capacity + map->old.capacity) {
        index = (*cursor)++;
        value = index < map->table.capacity ? map->table.slots[index].value
                                            : map->old.slots[index - map->table.capacity].value;
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}
