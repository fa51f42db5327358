#include "lib/unit.h"

#include "core/clock.h"
#include "http2/h2_pings.h"

static const struct h2_ping_limits limits = {.min_ns = 320 * CLOCK_NS_PER_S, .max_strikes = 2};

#define TOLERATED_NS               (310 * CLOCK_NS_PER_S)  /* a 32nd less */
#define TOLERATED_WITHOUT_CALLS_NS (6975 * CLOCK_NS_PER_S) /* of two hours */

/* Some PINGs at a distance, the first at once; the number of the one that is too many, from 1 on; 0
 * = none. */
static unsigned ping(const struct h2_ping_limits *rules, bool has_calls, uint64_t gap_ns)
{
    struct h2_pings pings = {0};
    unsigned i;

    for (i = 1; i <= 20; i++) {
        if (!h2_pings_take(&pings, rules, has_calls, CLOCK_NS_PER_S + i * gap_ns)) {
            return i;
        }
    }
    return 0;
}

/* The first is free, two strikes are forgiven, the third ends the connection (K3, K5). A client set
 * to the time that is allowed may come a little early, as C-core does by up to a millisecond. */
START_TEST(pings_too_often_are_strikes)
{
    ck_assert_uint_eq(ping(&limits, true, 10 * CLOCK_NS_PER_S), 4);
    ck_assert_uint_eq(ping(&limits, true, TOLERATED_NS - 1), 4);
    ck_assert_uint_eq(ping(&limits, true, TOLERATED_NS), 0);
    ck_assert_uint_eq(ping(&limits, true, 0), 4);
}

END_TEST

/* Without an open call two hours must lie between them, unless that is permitted (K4). */
START_TEST(pings_without_calls_are_rarer)
{
    struct h2_ping_limits permitted = limits;

    permitted.without_calls = true;
    ck_assert_uint_eq(ping(&limits, false, limits.min_ns), 4);
    ck_assert_uint_eq(ping(&limits, false, TOLERATED_WITHOUT_CALLS_NS - 1), 4);
    ck_assert_uint_eq(ping(&limits, false, TOLERATED_WITHOUT_CALLS_NS), 0);
    ck_assert_uint_eq(ping(&permitted, false, TOLERATED_NS), 0);
    ck_assert_uint_eq(ping(&permitted, false, TOLERATED_NS - 1), 4);
}

END_TEST

/* With no strikes forgiven the first one ends it; without a minimum there are none. */
START_TEST(pings_have_their_limits)
{
    ck_assert_uint_eq(
        ping(&(struct h2_ping_limits){.min_ns = CLOCK_NS_PER_S}, true, CLOCK_NS_PER_MS), 2);
    ck_assert_uint_eq(ping(&(struct h2_ping_limits){0}, false, 1), 0);
}

END_TEST

/* What we send clears the strikes and pays for one PING: clients measure the path so (K6). */
START_TEST(pings_after_data_are_free)
{
    struct h2_pings pings = {0};
    unsigned i;

    for (i = 1; i <= 100; i++) {
        h2_pings_clear(&pings);
        ck_assert(h2_pings_take(&pings, &limits, true, i * CLOCK_NS_PER_MS));
    }
    ck_assert(h2_pings_take(&pings, &limits, true, 101 * CLOCK_NS_PER_MS));
    ck_assert(h2_pings_take(&pings, &limits, true, 102 * CLOCK_NS_PER_MS));
    h2_pings_clear(&pings);
    for (i = 103; i <= 105; i++) {
        ck_assert(h2_pings_take(&pings, &limits, true, i * CLOCK_NS_PER_MS));
    }
    ck_assert(!h2_pings_take(&pings, &limits, true, 106 * CLOCK_NS_PER_MS));
    ck_assert_uint_eq(pings.gap_ns, CLOCK_NS_PER_MS);
}

END_TEST

UNIT_MAIN("h2_pings", pings_too_often_are_strikes, pings_without_calls_are_rarer,
          pings_have_their_limits, pings_after_data_are_free)
