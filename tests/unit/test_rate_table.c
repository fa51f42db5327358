#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/rate_table.h"

#define S   UINT64_C(1000000000)
#define ONE 1U /* the first bucket */
#define TWO 2U /* the second */

static const struct hash_seed seed = {{1, 2}};
static struct rate_table table;
static uint64_t now_ns = 1000 * S;

static void open_with(uint64_t first_per_s, uint64_t first_burst, uint64_t second_per_s,
                      uint64_t second_burst, size_t max)
{
    const struct rate_rule rules[RATE_TABLE_BUCKETS] = {{first_per_s, first_burst},
                                                        {second_per_s, second_burst}};

    rate_table_init(&table, seed);
    rate_table_set(&table, rules, max);
}

static void set(uint64_t per_s, uint64_t burst, size_t max)
{
    const struct rate_rule rules[RATE_TABLE_BUCKETS] = {{per_s, burst}};

    rate_table_set(&table, rules, max);
}

static uint64_t wait_for(uint64_t id, unsigned which)
{
    unsigned bucket = 99;
    uint64_t wait_ns = rate_table_take(&table, id, which, now_ns, &bucket);

    if ((wait_ns > 0) != (bucket != 99)) { /* an assertion costs too much for so many */
        ck_abort_msg("the bucket is named when there is a time to wait, and only then");
    }
    return wait_ns;
}

static bool take(uint64_t id)
{
    return wait_for(id, ONE) == 0;
}

/* How many can be taken right now. */
static unsigned drain(uint64_t id)
{
    unsigned count = 0;

    while (count < 100000 && take(id)) {
        count++;
    }
    return count;
}

/* The burst at once, then one by one at the rate; and the time to wait is right to the ns. */
START_TEST(rate_table_counts)
{
    uint64_t wait_ns;

    open_with(10, 5, 0, 0, 100);
    ck_assert_uint_eq(drain(1), 5);
    ck_assert_uint_eq(drain(2), 5); /* each has its own */
    now_ns += S / 10 - 1;
    wait_ns = wait_for(1, ONE);
    ck_assert_uint_eq(wait_ns, 1);
    now_ns += wait_ns;
    ck_assert(take(1));
    ck_assert_uint_eq(wait_for(1, ONE), S / 10);
    now_ns += 3 * S / 10;
    ck_assert_uint_eq(drain(1), 3);
    now_ns += 1000 * S;
    ck_assert_uint_eq(drain(1), 5); /* no more than the burst */
    rate_table_deinit(&table);
}

END_TEST

/* Who is refused by one bucket pays nothing to the other. */
START_TEST(rate_table_takes_all_or_none)
{
    unsigned bucket = 99;

    open_with(1, 10, 1, 2, 100);
    ck_assert_uint_eq(wait_for(1, ONE | TWO), 0);
    ck_assert_uint_eq(wait_for(1, ONE | TWO), 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_uint_eq(rate_table_take(&table, 1, ONE | TWO, now_ns, &bucket), S);
        ck_assert_uint_eq(bucket, 1);
    }
    ck_assert_uint_eq(drain(1), 8);
    ck_assert_uint_gt(rate_table_take(&table, 1, ONE | TWO, now_ns, &bucket), 0);
    ck_assert_uint_eq(bucket, 0);
    rate_table_deinit(&table);
}

END_TEST

/* The largest numbers that the configuration allows, and times of years, do not overflow. */
START_TEST(rate_table_takes_extremes)
{
    open_with(10000000, 10000000, 0, 0, 10);
    ck_assert(take(1));
    now_ns += 10 * 365 * 86400 * S;
    ck_assert(take(1));
    rate_table_deinit(&table);
    open_with(1, 10000000, 0, 0, 10);
    ck_assert_uint_eq(drain(1), 100000);
    now_ns += 10 * 365 * 86400 * S;
    ck_assert(take(1));
    rate_table_deinit(&table);
}

END_TEST

/* Whoever is idle long enough is forgotten: the table holds those that are being counted. */
START_TEST(rate_table_forgets_the_idle)
{
    open_with(10, 5, 0, 0, 100000);
    for (uint64_t id = 0; id < 10000; id++) {
        ck_assert(take(id));
        now_ns += S / 1000; /* after 0.1 s, 100 newcomers, one is full again */
    }
    ck_assert_uint_lt(table.map.count, 300);
    ck_assert_uint_eq(table.shared_count, 0);
    rate_table_deinit(&table);
}

END_TEST

/* The attack: somebody has used up his bucket and brings the table to its limit, with as many names
 * as he likes, to be forgotten. He is not, and what he gets in all is what the rate says. */
START_TEST(rate_table_gives_no_fresh_buckets)
{
    uint64_t start_ns = now_ns;
    uint64_t got = 0;
    uint64_t id = 1000;
    size_t count_max = 0;

    open_with(2, 10, 0, 0, 16);
    got += drain(1);
    ck_assert_uint_eq(got, 10);
    for (int i = 0; i < 20000; i++) {
        (void)take(id++);
        if (i % 10 == 0) {
            got += drain(1);
        }
        now_ns += S / 1000;
        count_max = table.map.count > count_max ? table.map.count : count_max;
    }
    ck_assert_uint_eq(count_max, 16);
    ck_assert_uint_gt(table.shared_count, 0);
    ck_assert_uint_le(got, 10 + 2 * ((now_ns - start_ns) / S));
    ck_assert_uint_ge(got, 2 * ((now_ns - start_ns) / S)); /* and he gets that */
    rate_table_deinit(&table);
}

END_TEST

/* While everybody in a full table is being counted, newcomers share one bucket, and the others keep
 * their own; when the others rest there is room again. */
START_TEST(rate_table_shares_when_full)
{
    open_with(1, 4, 0, 0, 16);
    for (uint64_t id = 0; id < 16; id++) {
        ck_assert_uint_eq(drain(id), 4);
    }
    ck_assert(take(100));
    ck_assert(take(101));
    ck_assert(take(102));
    ck_assert(take(103));
    ck_assert(!take(104));
    ck_assert_uint_eq(table.shared_count, 5);
    ck_assert_uint_eq(table.map.count, 16);
    now_ns += S;
    ck_assert(take(3));
    now_ns += 5 * S;
    ck_assert_uint_eq(drain(105), 4);
    ck_assert_uint_eq(table.shared_count, 5);
    rate_table_deinit(&table);
}

END_TEST

/* A few that are being counted do not keep a newcomer from the room that others have left. */
START_TEST(rate_table_finds_the_idle_among_the_busy)
{
    unsigned shared = 0;

    open_with(1, 1000, 0, 0, 64);
    for (uint64_t id = 0; id < 64; id++) {
        ck_assert(take(id));
    }
    now_ns += 2 * S;
    for (uint64_t id = 0; id < 8; id++) { /* those that will be looked at first */
        ck_assert_uint_eq(drain(id), 1000);
    }
    for (uint64_t id = 100; id < 110; id++) {
        ck_assert(take(id));
    }
    shared = (unsigned)table.shared_count;
    ck_assert_uint_le(shared, 1);
    ck_assert_uint_eq(drain(3), 0);
    rate_table_deinit(&table);
}

END_TEST

/* New rules: what was left stays, up to the new burst. */
START_TEST(rate_table_keeps_levels)
{
    open_with(1, 100, 0, 0, 100);
    for (int i = 0; i < 90; i++) {
        ck_assert(take(1));
        ck_assert(i >= 20 || take(2));
    }
    set(1, 50, 100);
    ck_assert_uint_eq(drain(1), 10); /* as before */
    ck_assert_uint_eq(drain(2), 50); /* clipped */
    ck_assert_uint_eq(drain(3), 50);
    set(1000, 200, 100);
    ck_assert_uint_eq(drain(1), 0);
    now_ns += S / 10;
    ck_assert_uint_eq(drain(1), 100);
    rate_table_deinit(&table);
}

END_TEST

/* A bound that is lowered is kept to as the entries become idle; when nothing is counted any more
 * nothing is kept. */
START_TEST(rate_table_shrinks)
{
    open_with(1, 10, 0, 0, 1000);
    for (uint64_t id = 0; id < 500; id++) {
        ck_assert(take(id));
    }
    ck_assert_uint_eq(table.map.count, 500);
    set(1, 10, 20);
    now_ns += 100 * S;
    for (uint64_t id = 1000; id < 1100; id++) {
        (void)take(id);
    }
    ck_assert_uint_le(table.map.count, 20);
    set(0, 10, 20);
    ck_assert_uint_eq(table.map.count, 0);
    ck_assert(list_is_empty(&table.entries));
    set(1, 10, 20);
    ck_assert_uint_eq(drain(1), 10);
    rate_table_deinit(&table);
}

END_TEST

/* Without memory for a new key the shared bucket serves. */
START_TEST(rate_table_survives_lack_of_memory)
{
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        unsigned bucket;
        uint64_t wait_ns;

        open_with(1, 1, 0, 0, 16);
        allocation_faults_arm(nth);
        wait_ns = rate_table_take(&table, 1, ONE, now_ns, &bucket);
        failed = allocation_faults_disarm();
        ck_assert_uint_eq(wait_ns, 0);
        if (failed) {
            ck_assert_uint_eq(table.shared_count, 1);
            ck_assert_uint_eq(table.map.count, 0);
        }
        rate_table_deinit(&table);
    }
}

END_TEST

/* ---- against a naive model ---- */

#define KEYS 40

static uint64_t random_state = 1;

static unsigned pick(unsigned below)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(random_state >> 33) % below;
}

/* Every key has its bucket for ever: the verdicts are the same, although the table forgets. */
START_TEST(rate_table_agrees_with_a_model)
{
    static const struct rate_rule choices[] = {{1, 1}, {10, 5}, {100, 50}, {8, 1}, {1000, 2}};

    for (unsigned round = 0; round < 40; round++) {
        struct rate_rule rule = choices[pick(5)];
        double levels[KEYS];
        uint64_t refused = 0;

        open_with(rule.per_s, rule.burst, 0, 0, KEYS);
        for (unsigned i = 0; i < KEYS; i++) {
            levels[i] = (double)rule.burst;
        }
        for (unsigned i = 0; i < 5000; i++) {
            unsigned key = pick(KEYS / 2) * (1 + pick(2));
            bool expected = levels[key] > 1 - 1e-6;
            uint64_t passes_ns = pick(4) == 0 ? pick(40) * (S / 1000) : 0;

            if (take(key) != expected) {
                ck_abort_msg("round %u call %u", round, i);
            }
            levels[key] -= expected ? 1 : 0;
            refused += !expected;
            now_ns += passes_ns;
            for (unsigned k = 0; k < KEYS; k++) {
                levels[k] += (double)passes_ns / 1e9 * (double)rule.per_s;
                levels[k] = levels[k] < (double)rule.burst ? levels[k] : (double)rule.burst;
            }
        }
        ck_assert_uint_eq(table.shared_count, 0);
        ck_assert(refused > 0 || rule.per_s > 10);
        rate_table_deinit(&table);
    }
}

END_TEST

UNIT_MAIN("rate_table", rate_table_counts, rate_table_takes_all_or_none, rate_table_takes_extremes,
          rate_table_forgets_the_idle, rate_table_gives_no_fresh_buckets,
          rate_table_shares_when_full, rate_table_finds_the_idle_among_the_busy,
          rate_table_keeps_levels, rate_table_shrinks, rate_table_survives_lack_of_memory,
          rate_table_agrees_with_a_model)
