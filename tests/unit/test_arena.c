#include "lib/unit.h"

#include "core/arena.h"

#include <stdalign.h>
#include <stdint.h>

/* All that is handed out is aligned for any type, writable, and does not overlap. */
START_TEST(arena_hands_out_distinct_aligned_memory)
{
    struct arena arena = {0};
    uint8_t *pieces[300];

    for (size_t i = 0; i < 300; i++) {
        pieces[i] = arena_alloc(&arena, i);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)(i & 0xff), i);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < i; j++) {
            ck_assert_uint_eq(pieces[i][j], i & 0xff);
        }
    }
    arena_deinit(&arena);
}

END_TEST

/* A piece larger than a block is served, and the block that was being filled goes on being used. */
START_TEST(arena_serves_large_pieces)
{
    struct arena arena = {0};
    uint8_t *before = arena_alloc(&arena, 16);
    uint8_t *large = arena_alloc(&arena, 100000);
    uint8_t *after = arena_alloc(&arena, 16);

    ck_assert_ptr_nonnull(large);
    memset(large, 1, 100000);
    ck_assert_ptr_eq(after, before + 16);
    arena_deinit(&arena);
}

END_TEST

/* The limit counts everything handed out, padding included, and a reset takes it back. */
START_TEST(arena_stops_at_its_limit)
{
    struct arena arena = {.size_max = 1000};

    ck_assert_ptr_nonnull(arena_alloc(&arena, 500));
    ck_assert_ptr_null(arena_alloc(&arena, 501));
    ck_assert_ptr_nonnull(arena_alloc(&arena, 480));
    ck_assert_ptr_null(arena_alloc(&arena, 16));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    arena_reset(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 900));
    arena_deinit(&arena);
}

END_TEST

/* Without a limit of its own an arena takes the default. */
START_TEST(arena_has_a_default_limit)
{
    struct arena arena = {0};

    ck_assert_ptr_nonnull(arena_alloc(&arena, ARENA_SIZE_MAX_DEFAULT));
    ck_assert_ptr_null(arena_alloc(&arena, 1));
    arena_deinit(&arena);
}

END_TEST

/* A reset keeps one ordinary block, so that a call of usual size allocates nothing. */
START_TEST(arena_keeps_a_block_over_a_reset)
{
    struct arena arena = {0};
    void *first = arena_alloc(&arena, 100);

    (void)arena_alloc(&arena, 50000);
    arena_reset(&arena);
    ck_assert_ptr_eq(arena_alloc(&arena, 100), first);
    arena_deinit(&arena);
    arena_deinit(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 100));
    arena_deinit(&arena);
}

END_TEST

/* A copied text ends with a NUL, also when it was empty. */
START_TEST(arena_copies_text)
{
    struct arena arena = {.size_max = 64};

    ck_assert_str_eq(arena_copy_text(&arena, BYTES_LITERAL("hello")), "hello");
    ck_assert_str_eq(arena_copy_text(&arena, (struct bytes){0}), "");
    ck_assert_ptr_null(arena_copy_text(&arena, (struct bytes){NULL, SIZE_MAX}));
    ck_assert_ptr_null(arena_copy_text(&arena, (struct bytes){NULL, 64}));
    arena_deinit(&arena);
}

END_TEST

UNIT_MAIN("arena", arena_hands_out_distinct_aligned_memory, arena_serves_large_pieces,
          arena_stops_at_its_limit, arena_has_a_default_limit, arena_keeps_a_block_over_a_reset,
          arena_copies_text)
