#include "lib/unit.h"

#include "client/balancer.h"

#include <stdint.h>

#define COUNT_MAX 8

/* Which of them are usable: bit n is index n. */
static unsigned usable;

static bool is_usable(const void *context, size_t index)
{
    const unsigned *mask = context;

    return (*mask >> index & 1U) != 0;
}

static size_t pick(struct balancer *balancer, size_t count)
{
    return balancer_pick(balancer, count, is_usable, &usable, BALANCER_NONE);
}

static size_t pick_but(struct balancer *balancer, size_t count, size_t avoid)
{
    return balancer_pick(balancer, count, is_usable, &usable, avoid);
}

/* Nothing to pick from, by either policy. */
START_TEST(balancer_picks_none)
{
    struct balancer balancer;

    for (int policy = 0; policy < 2; policy++) {
        balancer_init(&balancer, (enum balancer_policy)policy, 5);
        usable = 0;
        ck_assert_uint_eq(pick(&balancer, 0), BALANCER_NONE);
        ck_assert_uint_eq(pick(&balancer, 3), BALANCER_NONE);
        ck_assert_uint_eq(pick_but(&balancer, 3, 1), BALANCER_NONE);
        usable = 2;
        ck_assert_uint_eq(pick(&balancer, 3), 1);
    }
}

END_TEST

/* round_robin begins where it was told, and goes round. */
START_TEST(balancer_goes_round)
{
    struct balancer balancer;

    balancer_init(&balancer, BALANCER_ROUND_ROBIN, 4); /* 4 % 3 */
    usable = 7;
    for (size_t i = 0; i < 30; i++) {
        ck_assert_uint_eq(pick(&balancer, 3), (1 + i) % 3);
    }
}

END_TEST

/* Whichever are usable: each gets the same number of calls, and none two in a row. */
START_TEST(balancer_spreads_evenly)
{
    for (unsigned mask = 1; mask < 1U << COUNT_MAX; mask++) {
        size_t counts[COUNT_MAX] = {0};
        struct balancer balancer;
        size_t before = BALANCER_NONE;
        unsigned ready = (unsigned)__builtin_popcount(mask);

        balancer_init(&balancer, BALANCER_ROUND_ROBIN, mask % COUNT_MAX);
        usable = mask;
        for (unsigned i = 0; i < 10 * ready; i++) {
            size_t index = pick(&balancer, COUNT_MAX);

            ck_assert(is_usable(&mask, index));
            ck_assert(ready == 1 || index != before);
            before = index;
            counts[index]++;
        }
        for (size_t i = 0; i < COUNT_MAX; i++) {
            ck_assert_uint_eq(counts[i], (mask >> i & 1U) != 0 ? 10 : 0);
        }
    }
}

END_TEST

/* One that comes and goes takes nothing from the turn of the others. */
START_TEST(balancer_keeps_turns_beside_a_restless_one)
{
    size_t counts[4] = {0};
    struct balancer balancer;

    balancer_init(&balancer, BALANCER_ROUND_ROBIN, 0);
    for (unsigned i = 0; i < 1200; i++) {
        usable = (i / 5) % 2 == 0 ? 15 : 13; /* without index 1 half of the time */
        counts[pick(&balancer, 4)]++;
    }
    ck_assert_uint_le(counts[0] - counts[2] + 1, 2);
    ck_assert_uint_le(counts[2] - counts[3] + 1, 2);
    ck_assert_uint_lt(counts[1], counts[0]);
}

END_TEST

/* A retry goes elsewhere, unless there is nowhere else. */
START_TEST(balancer_avoids)
{
    struct balancer balancer;

    balancer_init(&balancer, BALANCER_ROUND_ROBIN, 0);
    usable = 7;
    ck_assert_uint_eq(pick_but(&balancer, 3, 0), 1);
    ck_assert_uint_eq(pick_but(&balancer, 3, 1), 2);
    ck_assert_uint_eq(pick_but(&balancer, 3, 1), 0);
    usable = 2;
    ck_assert_uint_eq(pick_but(&balancer, 3, 1), 1);
    usable = 6;
    ck_assert_uint_eq(pick_but(&balancer, 3, 0), 2);
    ck_assert_uint_eq(pick_but(&balancer, 3, 7), 1); /* it is none of these */
}

END_TEST

/* pick_first stays where it is, also when one before it becomes usable. */
START_TEST(balancer_stays)
{
    struct balancer balancer;

    balancer_init(&balancer, BALANCER_PICK_FIRST, 0);
    usable = 6;
    ck_assert_uint_eq(pick(&balancer, 3), 1);
    usable = 7;
    ck_assert_uint_eq(pick(&balancer, 3), 1);
    ck_assert_uint_eq(pick_but(&balancer, 3, 1), 0); /* a retry, and only it */
    ck_assert_uint_eq(pick(&balancer, 3), 1);
    usable = 5;
    ck_assert_uint_eq(pick(&balancer, 3), 0);
    usable = 4;
    ck_assert_uint_eq(pick_but(&balancer, 3, 2), 2);
    usable = 0;
    ck_assert_uint_eq(pick(&balancer, 3), BALANCER_NONE);
    usable = 6;
    ck_assert_uint_eq(pick(&balancer, 3), 1);
    ck_assert_uint_eq(pick(&balancer, 1), BALANCER_NONE); /* the addresses have become fewer */
}

END_TEST

START_TEST(balancer_names_policies)
{
    ck_assert_str_eq(balancer_policy_name(BALANCER_PICK_FIRST), "pick_first");
    ck_assert_str_eq(balancer_policy_name(BALANCER_ROUND_ROBIN), "round_robin");
}

END_TEST

UNIT_MAIN("balancer", balancer_picks_none, balancer_goes_round, balancer_spreads_evenly,
          balancer_keeps_turns_beside_a_restless_one, balancer_avoids, balancer_stays,
          balancer_names_policies)
