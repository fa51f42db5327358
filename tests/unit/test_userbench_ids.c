#include "lib/unit.h"

#include "../../bench/userbench_ids.h"

#include <stdlib.h>

#define USERS 1000
#define DRAWS 100000

static unsigned counts[USERS];

static int descending(const void *left, const void *right)
{
    unsigned a = *(const unsigned *)left;
    unsigned b = *(const unsigned *)right;

    return a < b ? 1 : a > b ? -1 : 0;
}

/* Draws so many, and sorts by how often each was drawn. */
static void draw(enum userbench_ids_kind kind, double exponent)
{
    struct userbench_ids ids;

    memset(counts, 0, sizeof(counts));
    ck_assert_int_eq(userbench_ids_init(&ids, kind, USERS, exponent, 7), 0);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t next = userbench_ids_next(&ids);

        ck_assert_uint_lt(next, USERS);
        counts[next]++;
    }
    userbench_ids_deinit(&ids);
    qsort(counts, USERS, sizeof(counts[0]), descending);
}

/* Everybody about as often: 100 times, give or take five deviations. */
START_TEST(ids_uniform_is_even)
{
    draw(USERBENCH_IDS_UNIFORM, 0);
    ck_assert_uint_lt(counts[0], 150);
    ck_assert_uint_gt(counts[USERS - 1], 50);
}

END_TEST

/* The n-th favourite as often as 1/n says; the sum of 1/n to 1000 is 7.485. */
START_TEST(ids_zipf_is_skewed)
{
    draw(USERBENCH_IDS_ZIPF, 1);
    ck_assert_uint_gt(counts[0], 13000);
    ck_assert_uint_lt(counts[0], 13700);
    ck_assert_uint_gt(counts[1], 6400);
    ck_assert_uint_lt(counts[1], 6950);
    ck_assert_uint_gt(counts[9], 1200);
    ck_assert_uint_lt(counts[9], 1500);
    draw(USERBENCH_IDS_ZIPF, 0);
    ck_assert_uint_lt(counts[0], 150);
}

END_TEST

/* In order and again; and always the same one. */
START_TEST(ids_may_be_no_chance)
{
    struct userbench_ids ids;

    ck_assert_int_eq(userbench_ids_init(&ids, USERBENCH_IDS_SEQUENTIAL, 3, 0, 1), 0);
    for (unsigned i = 0; i < 7; i++) {
        ck_assert_uint_eq(userbench_ids_next(&ids), i % 3);
    }
    userbench_ids_deinit(&ids);
    draw(USERBENCH_IDS_ONE, 0);
    ck_assert_uint_eq(counts[0], DRAWS);
}

END_TEST

/* A seed gives one sequence, another one another. */
START_TEST(ids_follow_their_seed)
{
    struct userbench_ids ids[3];
    unsigned equal = 0;

    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(userbench_ids_init(&ids[i], USERBENCH_IDS_UNIFORM, USERS, 0, i == 2), 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        uint64_t next = userbench_ids_next(&ids[0]);

        ck_assert_uint_eq(userbench_ids_next(&ids[1]), next);
        equal += userbench_ids_next(&ids[2]) == next;
    }
    ck_assert_uint_lt(equal, 10);
}

END_TEST

UNIT_MAIN("userbench_ids", ids_uniform_is_even, ids_zipf_is_skewed, ids_may_be_no_chance,
          ids_follow_their_seed)
