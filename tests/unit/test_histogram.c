#include "lib/unit.h"

#include "core/histogram.h"

/* The place that a walk over the bounds finds. */
static unsigned place_by_walk(uint64_t value)
{
    unsigned place = 0;

    while (value > histogram_bounds[place]) {
        place++;
    }
    return place;
}

/* The lookup agrees with a walk for every bound, its neighbours, and all powers of two. */
START_TEST(values_find_their_place)
{
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        for (uint64_t value = histogram_bounds[i] - 1; value <= histogram_bounds[i] + 1; value++) {
            ck_assert_uint_eq(histogram_place(value), place_by_walk(value));
        }
        ck_assert_uint_eq(histogram_place(histogram_bounds[i]), i); /* "up to" means with it */
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t power = (uint64_t)1 << bit;

        ck_assert_uint_eq(histogram_place(power), place_by_walk(power));
        ck_assert_uint_eq(histogram_place(power - 1), place_by_walk(power - 1));
        ck_assert_uint_eq(histogram_place(power | (power - 1)), place_by_walk(power | (power - 1)));
    }
    for (uint64_t value = 0; value < 100000; value++) {
        ck_assert_uint_eq(histogram_place(value), place_by_walk(value));
    }
}

END_TEST

/* The bounds ascend by 2, 2.5, 2. */
START_TEST(bounds_are_1_2_5)
{
    uint64_t decade = 1;

    for (unsigned i = 0; i + 3 < HISTOGRAM_BOUNDS; i += 3) {
        ck_assert_uint_eq(histogram_bounds[i], decade);
        ck_assert_uint_eq(histogram_bounds[i + 1], 2 * decade);
        ck_assert_uint_eq(histogram_bounds[i + 2], 5 * decade);
        decade *= 10;
    }
    ck_assert_uint_eq(histogram_bounds[HISTOGRAM_BOUNDS - 1], decade);
    ck_assert_uint_eq(histogram_bounds[HISTOGRAM_BOUNDS], UINT64_MAX);
}

END_TEST

START_TEST(counts_and_sum_add_up)
{
    struct histogram histogram = {{0}, 0};

    histogram_add(&histogram, 0);
    histogram_add(&histogram, 1);
    histogram_add(&histogram, 20000);
    histogram_add(&histogram, 20001);
    histogram_add(&histogram, 1000000000000);
    ck_assert_uint_eq(histogram_count(&histogram), 5);
    ck_assert_uint_eq(histogram.sum, 1000000040002);
    ck_assert_uint_eq(histogram.counts[0], 2);
    ck_assert_uint_eq(histogram.counts[histogram_place(20000)], 1);
    ck_assert_uint_eq(histogram.counts[histogram_place(50000)], 1);
    ck_assert_uint_eq(histogram.counts[HISTOGRAM_BOUNDS], 1);
}

END_TEST

UNIT_MAIN("histogram", values_find_their_place, bounds_are_1_2_5, counts_and_sum_add_up)
