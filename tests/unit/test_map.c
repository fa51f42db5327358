#include "lib/unit.h"

#include "core/map.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For the long loops: libcheck writes to a pipe at every assertion of its own. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            ck_abort_msg("not so: %s", #condition);                                                \
        }                                                                                          \
    } while (0)

struct entry {
    char name[16];
    bool in_map;
};

static struct bytes entry_key(const void *value)
{
    return bytes_from_text(((const struct entry *)value)->name);
}

static const struct hash_seed seed = {{1, 2}};

static struct entry *make_entries(unsigned count)
{
    struct entry *entries = calloc(count, sizeof(*entries));

    ck_assert_ptr_nonnull(entries);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(entries[i].name, sizeof(entries[i].name), "user-%u", i);
    }
    return entries;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Inserts until there are more than `least` values and a growth has just begun. Returns how many.
 */
static unsigned fill_until_growth(struct map *map, struct entry *entries, unsigned least)
{
    while (map->count < least || map->old.slots == NULL ||
           map->old_left + MAP_MOVED_SLOTS < map->old.capacity) {
        EXPECT(map_insert(map, &entries[map->count]) == 0);
    }
    return (unsigned)map->count;
}

static bool is_memory_refused;
static size_t mapped_size;

/* These two stand in front of the C library's, which malloc does not use: only big slot arrays are
 * refused and counted. */
void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (is_memory_refused) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    mapped_size += size;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

int munmap(void *address, size_t size)
{
    mapped_size -= size;
    return (int)syscall(SYS_munmap, address, size);
}

/* Sees that no operation does more than its part of a growth. */
struct watch {
    struct map before;
    size_t operations; /* since the growth began */
};

/* To be called after each operation. */
static void watch_operation(struct watch *watch, const struct map *map)
{
    bool began = map->table.slots != watch->before.table.slots;
    size_t to_move = began ? watch->before.table.capacity : watch->before.old_left;

    EXPECT(!began || watch->before.old_left == 0);
    EXPECT(to_move - map->old_left <= MAP_MOVED_SLOTS);
    watch->operations = began ? 1 : watch->operations + 1;
    if (map->old_left > 0) {
        EXPECT(map->old.capacity + map->old.capacity / 2 <= map->table.capacity);
        EXPECT(map->old_left + watch->operations * MAP_MOVED_SLOTS == map->old.capacity);
    } else {
        EXPECT(map->old.slots == NULL && map->old.capacity == 0);
    }
    EXPECT(map->count * 4 <= map->table.capacity * 3);
    watch->before = *map;
}

/* An empty map finds, removes and lists nothing, and holds no memory. */
START_TEST(map_empty_has_nothing)
{
    struct map map;
    size_t cursor = 0;
    struct entry entry = {.name = "x"};

    map_init(&map, entry_key, seed);
    ck_assert_ptr_null(map.table.slots);
    ck_assert_ptr_null(map_find(&map, BYTES_LITERAL("x")));
    ck_assert_ptr_null(map_remove(&map, BYTES_LITERAL("x")));
    ck_assert_ptr_null(map_replace(&map, &entry));
    ck_assert_ptr_null(map_next(&map, &cursor));
    map_deinit(&map);
    map_deinit(&map);
}

END_TEST

/* After every step of a long random history the map holds what a plain array of flags says. */
START_TEST(map_follows_a_model)
{
    enum {
        COUNT = 300,
        STEPS = 40000
    };
    struct entry *entries = make_entries(COUNT);
    struct map map;
    uint32_t state = 7;
    size_t count = 0;

    map_init(&map, entry_key, seed);
    for (int step = 0; step < STEPS; step++) {
        struct entry *entry = &entries[next_random(&state) % COUNT];

        if (entry->in_map) {
            EXPECT(map_remove(&map, entry_key(entry)) == entry);
            count--;
        } else {
            EXPECT(map_remove(&map, entry_key(entry)) == NULL);
            EXPECT(map_insert(&map, entry) == 0);
            count++;
        }
        entry->in_map = !entry->in_map;
        EXPECT(map.count == count);
        if (step % 100 == 0) {
            for (unsigned i = 0; i < COUNT; i++) {
                EXPECT(map_find(&map, entry_key(&entries[i])) ==
                       (entries[i].in_map ? &entries[i] : NULL));
            }
        }
    }
    map_deinit(&map);
    free(entries);
}

END_TEST

/* Every stored value is found and walked over exactly once, and no other. */
static void check_all(const struct map *map, struct entry *const *stored, struct entry *entries,
                      unsigned count)
{
    size_t cursor = 0;
    struct entry *entry;
    size_t walked = 0;

    for (unsigned i = 0; i < count; i++) {
        EXPECT(map_find(map, entry_key(&entries[i])) == stored[i]);
        if (stored[i] != NULL) {
            stored[i]->in_map = true;
        }
    }
    while ((entry = map_next(map, &cursor)) != NULL) {
        EXPECT(entry->in_map);
        entry->in_map = false;
        walked++;
    }
    EXPECT(walked == map->count);
}

enum {
    MODEL_COUNT = 30000
};

/* One random insertion, removal or replacement; each key has two entries that take turns. */
static void step_model(struct map *map, uint32_t *state, struct entry **stored,
                       struct entry *entries, struct entry *twins)
{
    unsigned i = next_random(state) % MODEL_COUNT;
    unsigned what = next_random(state) % 8;
    struct entry *other = stored[i] == &entries[i] ? &twins[i] : &entries[i];

    if (what < 2) {
        EXPECT(map_remove(map, entry_key(other)) == stored[i]);
        stored[i] = NULL;
    } else if (what == 2 || stored[i] != NULL) {
        EXPECT(map_replace(map, other) == stored[i]);
        stored[i] = stored[i] == NULL ? NULL : other;
    } else {
        EXPECT(map_insert(map, other) == 0);
        stored[i] = other;
    }
}

/* Through several growths, with removals and replacements in between, the map holds what a plain
 * array says, and no operation moves more than its part. */
START_TEST(map_grows_after_a_model)
{
    struct entry *entries = make_entries(MODEL_COUNT);
    struct entry *twins = make_entries(MODEL_COUNT);
    struct entry **stored = calloc(MODEL_COUNT, sizeof(struct entry *));
    unsigned checks_in_growth = 0;

    ck_assert_ptr_nonnull(stored);
    for (uint32_t first_state = 1; first_state <= 5; first_state++) {
        struct watch watch = {0};
        struct map map;
        uint32_t state = first_state;

        map_init(&map, entry_key, (struct hash_seed){{first_state, 2}});
        memset(stored, 0, MODEL_COUNT * sizeof(struct entry *));
        for (unsigned step = 0; step < 60000; step++) {
            step_model(&map, &state, stored, entries, twins);
            watch_operation(&watch, &map);
            if (step % 4000 == 0 || (map.old_left > 0 && next_random(&state) % 100 == 0)) {
                check_all(&map, stored, entries, MODEL_COUNT);
                checks_in_growth += map.old_left > 0;
            }
        }
        ck_assert_uint_ge(map.table.capacity, 32768); /* mapped, after several growths */
        map_deinit(&map);
    }
    ck_assert_uint_gt(checks_in_growth, 100);
    free(stored);
    free(twins);
    free(entries);
}

END_TEST

/* A map emptied in the middle of a growth has nothing, and can be filled again. */
START_TEST(map_is_emptied_while_it_grows)
{
    enum {
        MOST = 20000
    };
    struct entry *entries = make_entries(MOST);
    struct map map;
    unsigned count;
    size_t cursor = 0;

    map_init(&map, entry_key, seed);
    count = fill_until_growth(&map, entries, 6000);
    ck_assert_uint_eq(map.old_left, map.old.capacity - MAP_MOVED_SLOTS);
    for (unsigned i = 0; i < count; i++) {
        EXPECT(map_remove(&map, entry_key(&entries[i])) == &entries[i]);
        EXPECT(map_find(&map, entry_key(&entries[i])) == NULL);
    }
    ck_assert_uint_eq(map.count, 0);
    ck_assert_ptr_null(map_next(&map, &cursor));
    for (unsigned i = 0; i < count; i++) {
        EXPECT(map_insert(&map, &entries[i]) == 0);
    }
    ck_assert_ptr_eq(map_find(&map, entry_key(&entries[0])), &entries[0]);
    map_deinit(&map);
    free(entries);
}

END_TEST

/* A growth can be ended at once: everything is in the new table, and the old one is given back. */
START_TEST(map_settles)
{
    static const unsigned least[] = {700, 13000}; /* from the heap, and mapped */
    struct entry *entries = make_entries(2 * least[1]);
    size_t mapped_before = mapped_size;
    struct map map;

    map_init(&map, entry_key, seed);
    map_settle(&map);
    for (size_t size = 0; size < 2; size++) {
        unsigned count = fill_until_growth(&map, entries, least[size]);

        map_settle(&map);
        ck_assert_ptr_null(map.old.slots);
        ck_assert_uint_eq(map.count, count);
        ck_assert_uint_eq(mapped_size - mapped_before,
                          size == 0 ? 0 : map.table.capacity * sizeof(struct map_slot));
        for (unsigned i = 0; i < count; i++) {
            EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
        }
        map_settle(&map);
    }
    map_deinit(&map);
    free(entries);
}

END_TEST

/* Memory that is got at once is that of what is reserved, no more, and what lies there already
 * stays; also in arrays that are big enough for huge pages. */
START_TEST(map_is_populated)
{
    static const unsigned counts[] = {100, 12288, 140000};
    struct entry *entries = make_entries(2 * counts[2]);
    size_t mapped_before = mapped_size;
    struct map map;
    unsigned last;

    map_init(&map, entry_key, seed);
    map_populate(&map);
    for (size_t size = 0; size < 3; size++) {
        size_t slots_size;

        ck_assert_int_eq(map_reserve(&map, counts[size] - map.count), 0);
        slots_size = map.spare.capacity * sizeof(struct map_slot);
        map_populate(&map);
        while (map.count < counts[size]) {
            EXPECT(map_insert(&map, &entries[map.count]) == 0);
        }
        ck_assert_uint_eq(map.table.capacity * sizeof(struct map_slot), slots_size);
        map_settle(&map);
        map_populate(&map);
        ck_assert_uint_eq(mapped_size - mapped_before, size == 0 ? 0 : slots_size);
        for (unsigned i = 0; i < counts[size]; i++) {
            EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
        }
    }
    last = fill_until_growth(&map, entries, counts[2] + 1); /* an array of huge pages is emptied */
    while (map.old_left > 0) {
        EXPECT(map_remove(&map, BYTES_LITERAL("nobody")) == NULL);
    }
    for (unsigned i = 0; i < last; i++) {
        EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
    }
    map_deinit(&map);
    ck_assert_uint_eq(mapped_size, mapped_before);
    free(entries);
}

END_TEST

/* A map may be thrown away in the middle of a growth, and leaves no memory behind: neither arrays
 * from the heap nor mapped ones. */
START_TEST(map_is_freed_while_it_grows)
{
    static const unsigned least[] = {700, 13000}; /* from the heap, and mapped */
    struct entry *entries = make_entries(2 * least[1]);
    size_t mapped_before = mapped_size;

    for (size_t size = 0; size < 2; size++) {
        struct map map;

        map_init(&map, entry_key, seed);
        ck_assert_int_eq(
            map_reserve(&map, (size_t)fill_until_growth(&map, entries, least[size]) * 2), 0);
        ck_assert_ptr_nonnull(map.old.slots);
        ck_assert_ptr_nonnull(map.spare.slots);
        ck_assert_int_eq(mapped_size > mapped_before, size == 1);
        map_deinit(&map);
        ck_assert_uint_eq(mapped_size, mapped_before);
    }
    free(entries);
}

END_TEST

/* A million values go in, none at more than its part of the cost, and all are found. */
START_TEST(map_holds_a_million)
{
    enum {
        COUNT = 1000000
    };
    struct entry *entries = make_entries(COUNT);
    struct map map;
    struct watch watch = {0};
    size_t cursor = 0;
    unsigned walked = 0;

    map_init(&map, entry_key, seed);
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(map_insert(&map, &entries[i]) == 0);
        watch_operation(&watch, &map);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
    }
    while (map_next(&map, &cursor) != NULL) {
        walked++;
    }
    ck_assert_uint_eq(walked, COUNT);
    map_deinit(&map);
    free(entries);
}

END_TEST

/* After a reservation that many insertions use the slots allocated then; too much is refused. */
START_TEST(map_reserve_is_enough)
{
    enum {
        COUNT = 1000
    };
    struct entry *entries = make_entries(COUNT);
    struct map map;
    struct map_slot *slots;

    map_init(&map, entry_key, seed);
    ck_assert_int_eq(map_reserve(&map, 1), 0);
    ck_assert_int_eq(map_reserve(&map, COUNT), 0);
    slots = map.spare.slots;
    ck_assert_int_eq(map_reserve(&map, COUNT / 2), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_int_eq(map_insert(&map, &entries[i]), 0);
    }
    ck_assert_ptr_eq(map.table.slots, slots);
    ck_assert_ptr_null(map.spare.slots);
    ck_assert_int_eq(map_reserve(&map, SIZE_MAX), -ENOMEM);
    ck_assert_int_eq(map_reserve(&map, SIZE_MAX / 64), -ENOMEM);
    ck_assert_uint_eq(map.count, COUNT);
    map_deinit(&map);
    free(entries);
}

END_TEST

/* What was reserved in the middle of a growth goes in although memory has run out since; without a
 * reservation an insertion is refused, changes nothing, and succeeds later. */
START_TEST(map_reserve_holds_without_memory)
{
    enum {
        LEAST = 12300,
        RESERVED = 86000,
        MOST = 200000
    };
    struct entry *entries = make_entries(MOST);
    struct map map;
    struct watch watch = {0};
    unsigned before;
    unsigned room;

    map_init(&map, entry_key, seed);
    before = fill_until_growth(&map, entries, LEAST);
    watch.before = map;
    watch.operations = 1;
    ck_assert_int_eq(map_reserve(&map, RESERVED), 0);
    room = (unsigned)(map.spare.capacity / 4 * 3);
    ck_assert_uint_ge(room, before + RESERVED);
    is_memory_refused = true;
    ck_assert_int_eq(map_reserve(&map, room - before + 1), -ENOMEM);
    for (unsigned i = before; i < room; i++) {
        EXPECT(map_insert(&map, &entries[i]) == 0);
        watch_operation(&watch, &map);
    }
    ck_assert_int_eq(map_insert(&map, &entries[room]), -ENOMEM);
    ck_assert_uint_eq(map.count, room);
    ck_assert_ptr_null(map_find(&map, entry_key(&entries[room])));
    is_memory_refused = false;
    ck_assert_int_eq(map_insert(&map, &entries[room]), 0);
    for (unsigned i = 0; i <= room; i++) {
        EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
    }
    map_deinit(&map);
    free(entries);
}

END_TEST

/* A replacement takes the place of the value with the same key, and only of that. */
START_TEST(map_replaces)
{
    struct entry old = {.name = "a"};
    struct entry new = {.name = "a"};
    struct entry other = {.name = "b"};
    struct map map;

    map_init(&map, entry_key, seed);
    ck_assert_int_eq(map_insert(&map, &old), 0);
    ck_assert_ptr_eq(map_replace(&map, &new), &old);
    ck_assert_ptr_eq(map_find(&map, BYTES_LITERAL("a")), &new);
    ck_assert_ptr_null(map_replace(&map, &other));
    ck_assert_ptr_null(map_find(&map, BYTES_LITERAL("b")));
    ck_assert_uint_eq(map.count, 1);
    map_deinit(&map);
}

END_TEST

/* What was reserved and is not in use can be given back; what is in the map stays. */
START_TEST(map_drops_its_reserve)
{
    struct entry *entries = make_entries(100);
    size_t mapped_before = mapped_size;
    struct map map;

    map_init(&map, entry_key, seed);
    for (unsigned i = 0; i < 100; i++) {
        EXPECT(map_insert(&map, &entries[i]) == 0);
    }
    ck_assert_int_eq(map_reserve(&map, 100000), 0);
    ck_assert_uint_gt(mapped_size, mapped_before);
    map_drop_reserve(&map);
    ck_assert_uint_eq(mapped_size, mapped_before);
    map_drop_reserve(&map);
    for (unsigned i = 0; i < 100; i++) {
        EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
    }
    EXPECT(map_remove_hashed(&map, entry_key(&entries[7]),
                             map_hash(&map, entry_key(&entries[7]))) == &entries[7]);
    EXPECT(map_find(&map, entry_key(&entries[7])) == NULL);
    map_deinit(&map);
    free(entries);
}

END_TEST

UNIT_MAIN("map", map_empty_has_nothing, map_follows_a_model, map_grows_after_a_model,
          map_is_emptied_while_it_grows, map_settles, map_is_populated, map_is_freed_while_it_grows,
          map_holds_a_million, map_reserve_is_enough, map_reserve_holds_without_memory,
          map_replaces, map_drops_its_reserve)
