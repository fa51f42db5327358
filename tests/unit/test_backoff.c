#include "lib/unit.h"

#include "client/backoff.h"

#define SECOND_NS   1000000000ULL
#define RANDOM_LOW  0ULL /* the shortest wait */
#define JITTER_SPAN (2 * 20 + 1)

static const struct backoff_options exact = {
    .initial_ns = 1000, .max_ns = 5000, .factor_percent = 200, .jitter_percent = 0};

/* Each wait is the factor longer than the one before, up to the limit; a success begins anew. */
START_TEST(backoff_grows_to_its_limit)
{
    const uint64_t waits[] = {1000, 2000, 4000, 5000, 5000};
    struct backoff backoff = {0};

    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
            ck_assert_uint_eq(backoff_next(&backoff, &exact, UINT64_MAX - i), waits[i]);
        }
        backoff_reset(&backoff);
    }
}

END_TEST

/* The jitter goes to both sides and not further, and does not add up. */
START_TEST(backoff_has_jitter)
{
    const struct backoff_options options = {
        .initial_ns = 100, .max_ns = 160, .factor_percent = 160, .jitter_percent = 20};

    for (uint64_t random = 0; random < JITTER_SPAN; random++) {
        struct backoff backoff = {0};

        ck_assert_uint_eq(backoff_next(&backoff, &options, random), 80 + random);
        ck_assert_uint_eq(backoff_next(&backoff, &options, RANDOM_LOW), 128);
        ck_assert_uint_eq(backoff_next(&backoff, &options, 64), 192);
    }
}

END_TEST

/* The defaults are those of gRPC: 1 s, 1.6 times as long each, 120 s at most, a fifth of jitter. */
START_TEST(backoff_defaults_are_those_of_grpc)
{
    const uint64_t middle = SECOND_NS / 5;
    struct backoff backoff = {0};
    uint64_t wait;

    ck_assert_uint_eq(backoff_next(&backoff, &backoff_defaults, middle), SECOND_NS);
    wait = backoff_next(&backoff, &backoff_defaults, RANDOM_LOW);
    ck_assert_uint_eq(wait, SECOND_NS * 16 / 10 * 8 / 10);
    for (unsigned i = 0; i < 100; i++) {
        wait = backoff_next(&backoff, &backoff_defaults, RANDOM_LOW);
    }
    ck_assert_uint_eq(wait, 120 * SECOND_NS * 8 / 10);
}

END_TEST

/* Nothing overflows, whatever the options say, and no wait is longer than twice the limit. */
START_TEST(backoff_survives_odd_options)
{
    const struct backoff_options odd[] = {
        {0, 0, 0, 0},
        {0, UINT64_MAX, UINT32_MAX, UINT32_MAX},
        {UINT64_MAX / 2, UINT64_MAX / 2, UINT32_MAX, 100},
        {SECOND_NS, UINT64_MAX / 2, UINT32_MAX, UINT32_MAX},
        {10 * SECOND_NS, SECOND_NS, 160, 300},
    };

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct backoff backoff = {0};

        for (uint64_t random = 0; random < 200; random++) {
            uint64_t wait = backoff_next(&backoff, &odd[i], random << 56 | random);

            ck_assert_uint_le(wait / 2, odd[i].max_ns);
        }
    }
}

END_TEST

UNIT_MAIN("backoff", backoff_grows_to_its_limit, backoff_has_jitter,
          backoff_defaults_are_those_of_grpc, backoff_survives_odd_options)
