#include "lib/unit.h"

#include "../../bench/userbench_histogram.h"

static struct userbench_histogram histogram;

static void set_up(void)
{
    memset(&histogram, 0, sizeof(histogram));
}

static void add_us(uint64_t us, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        userbench_histogram_add(&histogram, us * 1000);
    }
}

/* Each value is in a bucket that reaches to it: to the microsecond below 128 us, and to a 64th
 * above. */
START_TEST(histogram_is_exact_enough)
{
    for (uint64_t us = 0; us < 128; us++) {
        ck_assert_uint_eq(userbench_histogram_upper_us(userbench_histogram_bucket(us)), us);
    }
    for (uint64_t us = 128; us < UINT64_C(1) << 32; us += 1 + us / 999) {
        uint64_t upper = userbench_histogram_upper_us(userbench_histogram_bucket(us));

        ck_assert_uint_ge(upper, us);
        ck_assert_uint_lt(upper - us, us / 64 + 1);
    }
}

END_TEST

/* Buckets follow each other without a gap, and whatever is larger than all is in the last one. */
START_TEST(histogram_has_a_bucket_for_everything)
{
    for (unsigned i = 0; i + 1 < USERBENCH_HISTOGRAM_BUCKETS; i++) {
        uint64_t upper = userbench_histogram_upper_us(i);

        ck_assert_uint_eq(userbench_histogram_bucket(upper), i);
        ck_assert_uint_eq(userbench_histogram_bucket(upper + 1), i + 1);
    }
    ck_assert_uint_eq(userbench_histogram_bucket(UINT64_MAX), USERBENCH_HISTOGRAM_BUCKETS - 1);
}

END_TEST

/* A share is the least value that so many do not exceed. */
START_TEST(histogram_finds_shares)
{
    set_up();
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.5), 0);
    ck_assert_double_eq(userbench_histogram_mean_us(&histogram), 0);
    for (uint64_t us = 1; us <= 100; us++) {
        add_us(us, 1);
    }
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0), 1);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.5), 50);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.9), 90);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.99), 99);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.999), 100);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 1), 100);
    ck_assert_double_eq(userbench_histogram_mean_us(&histogram), 50.5);
}

END_TEST

/* Nothing is said to be later than what was latest. */
START_TEST(histogram_never_exceeds_the_greatest)
{
    set_up();
    add_us(40, 999);
    userbench_histogram_add(&histogram, 1000001500); /* a bucket of 16 ms */
    ck_assert_double_eq(userbench_histogram_at(&histogram, 0.999), 40);
    ck_assert_double_eq(userbench_histogram_at(&histogram, 1), 1000001.5);
    ck_assert_uint_eq(histogram.count, 1000);
}

END_TEST

UNIT_MAIN("userbench_histogram", histogram_is_exact_enough, histogram_has_a_bucket_for_everything,
          histogram_finds_shares, histogram_never_exceeds_the_greatest)
