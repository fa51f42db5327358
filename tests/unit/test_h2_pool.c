#include "lib/unit.h"

#include "http2/h2_pool.h"

#include <stdint.h>

static struct h2_pool pool;

/* A freed block is what the next request of its size gets, and the counts follow. */
START_TEST(pool_reuses_blocks)
{
    void *first;
    void *second;

    h2_pool_init(&pool, 0);
    first = h2_pool_alloc(&pool, 100);
    ck_assert_ptr_nonnull(first);
    ck_assert_uint_ge(pool.used_bytes, 100);
    h2_pool_free(&pool, first);
    ck_assert_uint_eq(pool.used_bytes, 0);
    ck_assert_uint_ge(pool.cached_bytes, 100);
    second = h2_pool_alloc(&pool, 128);
    ck_assert_ptr_eq(second, first);
    ck_assert_uint_eq(pool.cached_bytes, 0);
    h2_pool_free(&pool, second);
    h2_pool_free(&pool, NULL);
    h2_pool_deinit(&pool);
}

END_TEST

/* Beyond its limit the pool gives nothing, and after a free it gives again. */
START_TEST(pool_keeps_its_limit)
{
    void *first;

    h2_pool_init(&pool, 1000);
    first = h2_pool_alloc(&pool, 500);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(h2_pool_alloc(&pool, 500));
    ck_assert_ptr_null(h2_pool_alloc(&pool, SIZE_MAX));
    h2_pool_free(&pool, first);
    first = h2_pool_alloc(&pool, 500);
    ck_assert_ptr_nonnull(first);
    h2_pool_free(&pool, first);
    h2_pool_deinit(&pool);
}

END_TEST

/* Zeroed memory is zero also when it was used before, and a product that overflows is refused. */
START_TEST(pool_zeroes_on_demand)
{
    uint8_t *memory;
    unsigned i;

    h2_pool_init(&pool, 0);
    memory = h2_pool_alloc(&pool, 64);
    memset(memory, 0xff, 64);
    h2_pool_free(&pool, memory);
    memory = h2_pool_alloc_zeroed(&pool, 8, 8);
    for (i = 0; i < 64; i++) {
        ck_assert_uint_eq(memory[i], 0);
    }
    h2_pool_free(&pool, memory);
    ck_assert_ptr_null(h2_pool_alloc_zeroed(&pool, SIZE_MAX / 2, 8));
    h2_pool_deinit(&pool);
}

END_TEST

/* A block has the smallest size that takes what was asked for, and beyond the largest just that. */
START_TEST(pool_rounds_up_to_its_sizes)
{
    size_t head;
    size_t size;
    size_t room = 64;

    h2_pool_init(&pool, 0);
    h2_pool_free(&pool, h2_pool_alloc(&pool, 64));
    head = pool.cached_bytes - 64;
    for (size = 1; size <= 4100; size++) {
        void *memory = h2_pool_alloc(&pool, size);

        room = size > 4096 ? size : size > room ? 2 * room : room;
        ck_assert_uint_eq(pool.used_bytes, head + room);
        h2_pool_free(&pool, memory);
    }
    h2_pool_deinit(&pool);
}

END_TEST

/* Growing keeps the content, over class borders and past the largest class. */
START_TEST(pool_reallocates)
{
    uint8_t *memory = NULL;
    size_t size;

    h2_pool_init(&pool, 0);
    for (size = 1; size <= 65536; size *= 2) {
        memory = h2_pool_realloc(&pool, memory, size);
        ck_assert_ptr_nonnull(memory);
        if (size > 1) {
            ck_assert_uint_eq(memory[size / 2 - 1], (uint8_t)size);
        }
        memory[size - 1] = (uint8_t)(size * 2);
    }
    ck_assert_ptr_eq(h2_pool_realloc(&pool, memory, 10), memory);
    h2_pool_free(&pool, memory);
    ck_assert_uint_eq(pool.used_bytes, 0);
    h2_pool_deinit(&pool);
}

END_TEST

/* No more is kept than the bound says. */
START_TEST(pool_bounds_what_it_keeps)
{
    void *blocks[16];
    unsigned i;

    h2_pool_init(&pool, 0);
    pool.cached_max = 1000;
    for (i = 0; i < 16; i++) {
        blocks[i] = h2_pool_alloc(&pool, 256);
    }
    for (i = 0; i < 16; i++) {
        h2_pool_free(&pool, blocks[i]);
    }
    ck_assert_uint_le(pool.cached_bytes, 1000);
    ck_assert_uint_gt(pool.cached_bytes, 0);
    h2_pool_deinit(&pool);
}

END_TEST

/* What was in a block is not there any more when it is freed, or when it moves to a larger one; but
 * for the smallest ones, in which no token has room. */
START_TEST(pool_wipes_what_it_gets_back)
{
    static const size_t sizes[] = {129, 256, 300, 4096};
    static const char token[] = "header.payload.signature";

    h2_pool_init(&pool, 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *block = h2_pool_alloc(&pool, sizes[i]);
        char *moved;

        memcpy(block + sizes[i] - sizeof(token), token, sizeof(token));
        moved = h2_pool_realloc(&pool, block, 2 * sizes[i] + 64);
        ck_assert_ptr_ne(moved, block);
        ck_assert_mem_eq(moved + sizes[i] - sizeof(token), token, sizeof(token));
        ck_assert_ptr_eq(h2_pool_alloc(&pool, sizes[i]), block);
        for (size_t at = 0; at < sizes[i]; at++) {
            ck_assert_int_eq(block[at], 0);
        }
        h2_pool_free(&pool, block);
        h2_pool_free(&pool, moved);
    }
    h2_pool_deinit(&pool);
}

END_TEST

UNIT_MAIN("h2_pool", pool_reuses_blocks, pool_keeps_its_limit, pool_zeroes_on_demand,
          pool_rounds_up_to_its_sizes, pool_reallocates, pool_bounds_what_it_keeps,
          pool_wipes_what_it_gets_back)
