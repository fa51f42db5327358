#include "lib/unit.h"

#include "client/retry_throttle.h"

/* Without a bucket every retry is allowed, whatever happens. */
START_TEST(retry_throttle_may_be_absent)
{
    struct retry_throttle throttle;

    retry_throttle_init(&throttle, 0, 0);
    for (int i = 0; i < 10; i++) {
        ck_assert(retry_throttle_allows(&throttle));
        retry_throttle_failed(&throttle);
    }
    retry_throttle_succeeded(&throttle);
    ck_assert(retry_throttle_allows(&throttle));
}

END_TEST

/* Retries end when half of the tokens are gone, not before, and go on at once above the half. */
START_TEST(retry_throttle_allows_above_the_half)
{
    struct retry_throttle throttle;

    retry_throttle_init(&throttle, 10000, 100);
    for (int i = 0; i < 5; i++) {
        ck_assert(retry_throttle_allows(&throttle));
        retry_throttle_failed(&throttle);
    }
    ck_assert_uint_eq(throttle.tokens, 5000);
    ck_assert(!retry_throttle_allows(&throttle));
    retry_throttle_succeeded(&throttle);
    ck_assert_uint_eq(throttle.tokens, 5100);
    ck_assert(retry_throttle_allows(&throttle));
}

END_TEST

/* Half of an odd number of thousandths lies between two. */
START_TEST(retry_throttle_does_not_round_the_half)
{
    struct retry_throttle throttle;

    retry_throttle_init(&throttle, 1001, 1);
    throttle.tokens = 500;
    ck_assert(!retry_throttle_allows(&throttle));
    throttle.tokens = 501;
    ck_assert(retry_throttle_allows(&throttle));
}

END_TEST

/* There is a floor and a ceiling. */
START_TEST(retry_throttle_stays_within_its_limits)
{
    struct retry_throttle throttle;

    retry_throttle_init(&throttle, 2500, UINT32_MAX);
    retry_throttle_succeeded(&throttle);
    ck_assert_uint_eq(throttle.tokens, 2500);
    retry_throttle_failed(&throttle);
    retry_throttle_failed(&throttle);
    ck_assert_uint_eq(throttle.tokens, 500);
    retry_throttle_failed(&throttle);
    retry_throttle_failed(&throttle);
    ck_assert_uint_eq(throttle.tokens, 0);
    ck_assert(!retry_throttle_allows(&throttle));
    retry_throttle_succeeded(&throttle);
    ck_assert_uint_eq(throttle.tokens, 2500);
}

END_TEST

/* A ratio in thousandths: a thousand successes pay for one failure. */
START_TEST(retry_throttle_counts_in_thousandths)
{
    struct retry_throttle throttle;

    retry_throttle_init(&throttle, 2000, 1);
    retry_throttle_failed(&throttle);
    for (int i = 0; i < 1000; i++) {
        ck_assert_uint_eq(throttle.tokens, 1000U + (unsigned)i);
        retry_throttle_succeeded(&throttle);
    }
    ck_assert_uint_eq(throttle.tokens, 2000);
}

END_TEST

UNIT_MAIN("retry_throttle", retry_throttle_may_be_absent, retry_throttle_allows_above_the_half,
          retry_throttle_does_not_round_the_half, retry_throttle_stays_within_its_limits,
          retry_throttle_counts_in_thousandths)
