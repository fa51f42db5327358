#include "lib/unit.h"

#include "service/user_entry.h"
#include "service/user_order.h"

#include <stdio.h>

#define ENTRIES_MAX 6000

/* The order, and beside it a plain sorted array of the same entries. */
struct fixture {
    struct user_order order;
    struct user_entry *plain[ENTRIES_MAX];
    size_t count;
    uint64_t random;
};

static struct fixture fixture;

static void start(uint64_t seed)
{
    fixture = (struct fixture){.random = seed};
}

static uint64_t draw(uint64_t below)
{
    fixture.random = fixture.random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (fixture.random >> 33) % below;
}

static struct user_entry *new_entry(uint64_t sequence)
{
    struct user_record record = {
        .sequence = sequence,
        .change = sequence,
        .user = {.id = BYTES_LITERAL("1"),
                 .username = BYTES_LITERAL("anna"),
                 .email = BYTES_LITERAL("a@x")},
    };
    struct user_entry *entry;

    ck_assert_int_eq(user_entry_new(&record, &entry), 0);
    return entry;
}

/* Index of the first entry with a greater sequence. */
static size_t plain_after(uint64_t sequence)
{
    size_t low = 0;
    size_t high = fixture.count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (user_entry_sequence(fixture.plain[middle]) <= sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool plain_has(uint64_t sequence)
{
    size_t index = plain_after(sequence);

    return index > 0 && user_entry_sequence(fixture.plain[index - 1]) == sequence;
}

static void insert(uint64_t sequence)
{
    size_t index = plain_after(sequence);
    struct user_entry *entry = new_entry(sequence);

    ck_assert_uint_lt(fixture.count, ENTRIES_MAX);
    memmove(fixture.plain + index + 1, fixture.plain + index,
            (fixture.count - index) * sizeof(fixture.plain[0]));
    fixture.plain[index] = entry;
    fixture.count++;
    ck_assert_int_eq(user_order_insert(&fixture.order, entry), 0);
}

static void remove_at(size_t index)
{
    struct user_entry *entry = fixture.plain[index];

    user_order_remove(&fixture.order, entry);
    fixture.count--;
    memmove(fixture.plain + index, fixture.plain + index + 1,
            (fixture.count - index) * sizeof(fixture.plain[0]));
    free(entry);
}

static void replace_at(size_t index)
{
    struct user_entry *before = fixture.plain[index];

    fixture.plain[index] = new_entry(user_entry_sequence(before));
    user_order_replace(&fixture.order, before, fixture.plain[index]);
    free(before);
}

/* A walk from behind this sequence meets what the plain array has there, and ends with it. */
static void check_from(uint64_t sequence)
{
    struct user_order_cursor cursor = user_order_after(&fixture.order, sequence);

    for (size_t i = plain_after(sequence); i < fixture.count; i++) {
        ck_assert_ptr_eq(user_order_next(&fixture.order, &cursor), fixture.plain[i]);
    }
    ck_assert_ptr_null(user_order_next(&fixture.order, &cursor));
    ck_assert_ptr_null(user_order_next(&fixture.order, &cursor));
}

static void finish(void)
{
    user_order_deinit(&fixture.order);
    for (size_t i = 0; i < fixture.count; i++) {
        free(fixture.plain[i]);
    }
}

/* Nothing is in an empty order, also in one that was emptied; it can be filled again. */
START_TEST(user_order_may_be_empty)
{
    start(1);
    check_from(0);
    check_from(UINT64_MAX);
    ck_assert_ptr_null(user_order_find(&fixture.order, 5));
    insert(5);
    ck_assert_ptr_eq(user_order_find(&fixture.order, 5), fixture.plain[0]);
    ck_assert_ptr_null(user_order_find(&fixture.order, 4));
    ck_assert_ptr_null(user_order_find(&fixture.order, 6));
    remove_at(0);
    check_from(0);
    ck_assert_uint_eq(fixture.order.chunk_count, 0);
    insert(4);
    check_from(0);
    finish();
}

END_TEST

/* Entries that come in order fill the chunks to the last place. */
START_TEST(user_order_appends_densely)
{
    start(1);
    for (uint64_t i = 1; i <= 4 * USER_ORDER_CHUNK; i++) {
        insert(i);
    }
    ck_assert_uint_eq(fixture.order.chunk_count, 4);
    for (uint64_t i = 0; i <= 4 * USER_ORDER_CHUNK; i += USER_ORDER_CHUNK / 4) {
        check_from(i);
    }
    finish();
}

END_TEST

/* In any other order of arrival the walk is the same: backwards, and from both ends. */
START_TEST(user_order_takes_any_order_of_arrival)
{
    start(1);
    for (uint64_t i = 1500; i > 0; i--) {
        insert(10000 + i);
        insert(i);
        insert(20000 + i);
    }
    check_from(0);
    check_from(1500);
    check_from(10000);
    check_from(15000);
    finish();
}

END_TEST

static void check_shape(void)
{
    ck_assert_uint_le(fixture.order.chunk_count, fixture.count * 4 / USER_ORDER_CHUNK + 1);
}

/* Whatever is inserted, removed, replaced and sought, it behaves like a sorted array, and its
 * chunks do not become sparse. */
START_TEST(user_order_behaves_like_an_array)
{
    enum {
        STEPS = 40000,
        SEQUENCES = 8000,
    };

    for (uint64_t seed = 1; seed <= 2; seed++) {
        start(seed);
        for (unsigned step = 0; step < STEPS; step++) {
            /* Phases in which it grows, and those in which it shrinks. */
            unsigned inserts = step / 8000 % 2 == 0 ? 70 : 25;
            uint64_t sequence = draw(SEQUENCES) + 1;

            if (draw(100) < inserts && fixture.count < ENTRIES_MAX) {
                if (!plain_has(sequence)) {
                    insert(sequence);
                }
            } else if (fixture.count > 0 && draw(4) == 0) {
                replace_at(draw(fixture.count));
            } else if (fixture.count > 0) {
                remove_at(draw(fixture.count));
            }
            ck_assert(plain_has(sequence) == (user_order_find(&fixture.order, sequence) != NULL));
            check_shape();
            if (step % 1000 == 0) {
                check_from(sequence);
                check_from(0);
            }
        }
        while (fixture.count > 0) {
            remove_at(draw(fixture.count));
            check_shape();
        }
        finish();
    }
}

END_TEST

/* Chunks that become sparse one after the other, from the first to the last, leave no trail of
 * them: each is poured into the one before. */
START_TEST(user_order_does_not_become_sparse)
{
    enum {
        CHUNKS = 8,
    };

    start(1);
    for (uint64_t sequence = 1; sequence <= CHUNKS * USER_ORDER_CHUNK; sequence++) {
        insert(sequence);
    }
    for (size_t kept = 1; kept <= CHUNKS; kept++) {
        for (unsigned i = 1; i < USER_ORDER_CHUNK; i++) {
            remove_at(kept);
            check_shape();
        }
    }
    ck_assert_uint_eq(fixture.count, CHUNKS);
    ck_assert_uint_eq(fixture.order.chunk_count, 1);
    check_from(0);
    finish();
}

END_TEST

/* After a reservation so many entries find room behind the others, and one before that anywhere,
 * without another chunk being made. */
START_TEST(user_order_reserves_room)
{
    enum {
        COUNT = 3 * USER_ORDER_CHUNK,
    };

    size_t capacity;
    size_t chunks;

    start(1);
    for (uint64_t i = 1; i <= 2 * USER_ORDER_CHUNK; i++) {
        insert(2 * i);
    }
    ck_assert_int_eq(user_order_reserve(&fixture.order, COUNT), 0);
    capacity = fixture.order.chunk_capacity;
    chunks = fixture.order.chunk_count + fixture.order.spare_count;
    ck_assert_int_eq(user_order_reserve(&fixture.order, COUNT), 0);
    insert(7);
    for (uint64_t i = 0; i < COUNT; i++) {
        insert(10000 + i);
    }
    ck_assert_uint_eq(fixture.order.chunk_capacity, capacity);
    ck_assert_uint_eq(fixture.order.chunk_count + fixture.order.spare_count, chunks);
    check_from(0);
    finish();
}

END_TEST

UNIT_MAIN("user_order", user_order_may_be_empty, user_order_appends_densely,
          user_order_takes_any_order_of_arrival, user_order_behaves_like_an_array,
          user_order_does_not_become_sparse, user_order_reserves_room)
