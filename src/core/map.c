/*
 * A hash points to a slot by its share of all hashes, so tables may have any number of slots.
 *
 * Linear probing: a value lies in the first free slot at or after the one its hash points to.
 * Removal moves later values of the same run back (Knuth 6.4, algorithm R), so there are no
 * tombstones and lookups stay short however often keys come and go. At most three quarters of the
 * slots are taken.
 *
 * Growth never moves everything at once, unless map_settle() asks for that:
 *  1. The insertion that would take too many slots makes the table the old one and puts an empty
 *     one of at least one and a half times the size in its place.
 *  2. From then on all insertions go to the new table, and every change of the map first moves
 *     what stands in the next MAP_MOVED_SLOTS old slots. Lookups try the new table, then the old.
 *  3. When the old slots are all empty they are freed.
 * The next growth is due after at least three eighths as many insertions as there were old slots;
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
#define CAPACITY_MAX   ((size_t)UINT32_MAX)

/* Arrays of at least so many slots are mapped, and have a multiple of it: 192 KiB, whole pages
 * everywhere. So many old slots, once they are empty, are given back in one go. */
#define MAPPED_SLOTS 16384

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

    if (capacity >= MAPPED_SLOTS) {
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

    if (table->capacity >= MAPPED_SLOTS) {
        (void)madvise(table->slots, size, MADV_HUGEPAGE);
        (void)madvise(table->slots, size, MADV_POPULATE_WRITE);
        (void)madvise(table->slots, size, MADV_NOHUGEPAGE);
    }
}

static void free_table(struct map_table *table)
{
    if (table->capacity >= MAPPED_SLOTS) {
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

static void *value_of(const struct map_slot *slot)
{
    return (void *)((uintptr_t)slot->value_low | (uintptr_t)slot->value_high << 32);
}

static bool is_free(const struct map_slot *slot)
{
    return (slot->value_low | slot->value_high) == 0;
}

static void set_value(struct map_slot *slot, const void *value)
{
    const uintptr_t address = (uintptr_t)value;

    assert(address >> 48 == 0);
    slot->value_low = (uint32_t)address;
    slot->value_high = (uint16_t)(address >> 32);
}

static struct map_slot make_slot(const void *value, uint64_t hash)
{
    struct map_slot slot = {.hash_high = (uint32_t)(hash >> 32),
                            .hash_low = (uint16_t)(hash >> 16)};

    set_value(&slot, value);
    return slot;
}

static bool has_hash(const struct map_slot *slot, uint64_t hash)
{
    return slot->hash_high == (uint32_t)(hash >> 32) && slot->hash_low == (uint16_t)(hash >> 16);
}

/* Where a value stands whose hash has these upper 32 bits, if nothing else stands there. */
static size_t home_of(const struct map_table *table, uint64_t hash_high)
{
    return (hash_high * table->capacity) >> 32;
}

static size_t next_index(const struct map_table *table, size_t index)
{
    return index + 1 == table->capacity ? 0 : index + 1;
}

/* Slots from one to the other, counted round the end of the array. */
static size_t distance(const struct map_table *table, size_t from, size_t to)
{
    return to >= from ? to - from : to + table->capacity - from;
}

/* Some slots further on, at most as many as there are. */
static size_t advance(const struct map_table *table, size_t index, size_t count)
{
    return index + count >= table->capacity ? index + count - table->capacity : index + count;
}

/* The slot of the key, or the free one where it would go. There must be slots. */
static struct map_slot *find_slot(const struct map_table *table, map_key_fn key_of,
                                  struct bytes key, uint64_t hash)
{
    size_t index = home_of(table, hash >> 32);

    while (!is_free(&table->slots[index])) {
        if (has_hash(&table->slots[index], hash) &&
            bytes_equal(key_of(value_of(&table->slots[index])), key)) {
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

    if (map->old_left == 0 ||
        distance(&map->old, map->old_start, home_of(&map->old, hash >> 32)) >= map->old_left) {
        return NULL;
    }
    slot = find_slot(&map->old, map->key, key, hash);
    return is_free(slot) ? NULL : slot;
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
    if (!is_free(slot)) {
        *ret_table = &map->table;
        return slot;
    }
    *ret_table = &map->old;
    return find_old_slot(map, key, hash);
}

/* Where a value that is not there would go. */
static size_t find_free(const struct map_table *table, uint64_t hash_high)
{
    size_t index = home_of(table, hash_high);

    while (!is_free(&table->slots[index])) {
        index = next_index(table, index);
    }
    return index;
}

static bool has_room(const struct map_table *table, size_t count)
{
    return count <= table->capacity / 4 * 3;
}

/* So many slots that `needed` values have room, and that growing by steps costs little. */
static size_t next_capacity(const struct map *map, size_t needed)
{
    const size_t enough = needed / 3 * 4 + 4; /* a quarter stays free */
    size_t capacity = map->table.capacity + map->table.capacity / 2;

    capacity = capacity < enough ? enough : capacity;
    capacity = capacity < CAPACITY_FIRST ? CAPACITY_FIRST : capacity;
    if (capacity >= MAPPED_SLOTS) {
        capacity = (capacity + MAPPED_SLOTS - 1) / MAPPED_SLOTS * MAPPED_SLOTS;
    }
    return capacity;
}

int map_reserve(struct map *map, size_t count)
{
    struct map_table bigger;
    size_t capacity;
    size_t needed;
    int result;

    if (count > CAPACITY_MAX / 2 - map->count) {
        return -ENOMEM;
    }
    needed = map->count + count;
    if (has_room(&map->table, needed) || has_room(&map->spare, needed)) {
        return 0;
    }
    capacity = next_capacity(map, needed);
    if (capacity > CAPACITY_MAX) {
        return -ENOMEM;
    }
    result = make_table(&bigger, capacity);
    if (result == 0) {
        free_table(&map->spare);
        map->spare = bigger;
    }
    return result;
}

void map_drop_reserve(struct map *map)
{
    free_table(&map->spare);
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
        map->old_start = find_free(&map->old, hash >> 32);
    }
}

/* Gives back the pages of the old slots from `index` on when the move has just emptied them. */
static void release_emptied(struct map *map, size_t index)
{
    struct map_table *old = &map->old;

    if (old->capacity >= MAPPED_SLOTS && index % MAPPED_SLOTS == 0 &&
        old->capacity - map->old_left >= MAPPED_SLOTS) {
        (void)madvise(&old->slots[index], MAPPED_SLOTS * sizeof(*old->slots), MADV_DONTNEED);
    }
}

static void move_value(struct map *map, const struct map_slot *slot)
{
    map->table.slots[find_free(&map->table, slot->hash_high)] = *slot;
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
        index = advance(old, map->old_start, map->old_left);
        if (!is_free(&old->slots[index])) {
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
        const struct map_slot *slot = &old->slots[advance(old, map->old_start, i)];

        if (!is_free(slot)) {
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
        __builtin_prefetch(&map->table.slots[home_of(&map->table, hash >> 32)], 1);
    }
}

void *map_find_hashed(const struct map *map, struct bytes key, uint64_t hash)
{
    const struct map_table *table;
    const struct map_slot *slot = find_value(map, key, hash, &table);

    return slot == NULL ? NULL : value_of(slot);
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
    assert(is_free(slot) && find_old_slot(map, key, hash) == NULL);
    *slot = make_slot(value, hash);
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
    old_value = value_of(slot);
    set_value(slot, value);
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
    size_t index = next_index(table, hole);
    size_t home;

    while (!is_free(&table->slots[index])) {
        home = home_of(table, table->slots[index].hash_high);
        /* It may move when the hole is not before its home, counted round the end of the array. */
        if (distance(table, home, index) >= distance(table, hole, index)) {
            table->slots[hole] = table->slots[index];
            hole = index;
        }
        index = next_index(table, index);
    }
    table->slots[hole] = (struct map_slot){0};
}

void *map_remove_hashed(struct map *map, struct bytes key, uint64_t hash)
{
    const struct map_table *table;
    struct map_slot *slot;
    void *value;

    move_some(map);
    slot = find_value(map, key, hash, &table);
    if (slot == NULL) {
        return NULL;
    }
    value = value_of(slot);
    map->count--;
    close_hole(table, (size_t)(slot - table->slots));
    return value;
}

void *map_remove(struct map *map, struct bytes key)
{
    return map_remove_hashed(map, key, map_hash(map, key));
}

void *map_next(const struct map *map, size_t *cursor)
{
    size_t index;
    void *value;

    while (*cursor < map->table.capacity + map->old.capacity) {
        index = (*cursor)++;
        value =
            value_of(index < map->table.capacity ? &map->table.slots[index]
                                                 : &map->old.slots[index - map->table.capacity]);
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}
