#include "lib/unit.h"

#include "core/map.h"

#include <errno.h>
#include <stdio.h>

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

/* An empty map finds, removes and lists nothing, and holds no memory. */
START_TEST(map_empty_has_nothing)
{
    struct map map;
    size_t cursor = 0;
    struct entry entry = {.name = "x"};

    map_init(&map, entry_key, seed);
    ck_assert_ptr_null(map.slots);
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

/* Growth keeps every value, the walk visits each once, and no more than three quarters are taken.
 */
START_TEST(map_grows_and_walks)
{
    enum {
        COUNT = 50000
    };
    struct entry *entries = make_entries(COUNT);
    struct map map;
    size_t cursor = 0;
    unsigned seen = 0;
    struct entry *entry;

    map_init(&map, entry_key, seed);
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(map_insert(&map, &entries[i]) == 0);
        EXPECT(map.count * 4 <= map.capacity * 3);
    }
    while ((entry = map_next(&map, &cursor)) != NULL) {
        EXPECT(!entry->in_map);
        entry->in_map = true;
        seen++;
    }
    ck_assert_uint_eq(seen, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        EXPECT(map_find(&map, entry_key(&entries[i])) == &entries[i]);
    }
    map_deinit(&map);
    free(entries);
}

END_TEST

/* After a reservation the slots stay where they are for that many insertions; too much is refused.
 */
START_TEST(map_reserve_is_enough)
{
    enum {
        COUNT = 1000
    };
    struct entry *entries = make_entries(COUNT);
    struct map map;
    struct map_slot *slots;

    map_init(&map, entry_key, seed);
    ck_assert_int_eq(map_reserve(&map, COUNT), 0);
    slots = map.slots;
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_int_eq(map_insert(&map, &entries[i]), 0);
    }
    ck_assert_ptr_eq(map.slots, slots);
    ck_assert_int_eq(map_reserve(&map, SIZE_MAX), -ENOMEM);
    ck_assert_int_eq(map_reserve(&map, SIZE_MAX / 64), -ENOMEM);
    ck_assert_uint_eq(map.count, COUNT);
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

UNIT_MAIN("map", map_empty_has_nothing, map_follows_a_model, map_grows_and_walks,
          map_reserve_is_enough, map_replaces)
