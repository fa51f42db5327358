#include "lib/unit.h"

#include "client/breaker.h"

#define MS 1000000ULL
#define S  (1000 * MS)

/* A window of ten slices of 100 ms. */
static const struct breaker_options options = {
    .enabled = true,
    .window_ns = S,
    .min_calls = 4,
    .failure_percent = 50,
    .cooldown_ns = 500 * MS,
    .probe_count = 2,
};

static struct breaker breaker;
static uint64_t now;

static void begin(void)
{
    breaker_init(&breaker);
    now = 1000 * S;
}

/* One more is admitted; its ticket. */
static uint32_t admit(void)
{
    uint32_t ticket = 12345;

    ck_assert(breaker_would_admit(&breaker, &options, now));
    ck_assert(breaker_admit(&breaker, &options, now, &ticket));
    return ticket;
}

static void refuse(void)
{
    uint32_t ticket = 12345;

    ck_assert(!breaker_would_admit(&breaker, &options, now));
    ck_assert(!breaker_admit(&breaker, &options, now, &ticket));
    ck_assert_uint_eq(ticket, 12345);
}

static void report(uint32_t ticket, enum breaker_outcome outcome)
{
    breaker_report(&breaker, &options, now, ticket, outcome);
}

static void call(enum breaker_outcome outcome)
{
    report(admit(), outcome);
}

/* Four failures: open. */
static void make_open(void)
{
    begin();
    for (int i = 0; i < 4; i++) {
        call(BREAKER_FAILURE);
    }
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

/* And its first probe is under way. */
static uint32_t make_half_open(void)
{
    uint32_t ticket;

    make_open();
    now += options.cooldown_ns;
    ticket = admit();
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    return ticket;
}

/* Fewer calls than the minimum never open it, however many failed; the next does. */
START_TEST(breaker_opens_from_the_least_number_of_calls_on)
{
    begin();
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), UINT64_MAX);
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    }
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    ck_assert_uint_eq(breaker.times_opened, 1);
    ck_assert_uint_eq(breaker.opened_ns, now);
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), now + options.cooldown_ns);
}

END_TEST

/* The share that failed decides: at it, not below it. */
START_TEST(breaker_opens_at_the_share)
{
    begin();
    for (int i = 0; i < 5; i++) {
        call(BREAKER_SUCCESS);
    }
    for (int i = 0; i < 4; i++) {
        call(BREAKER_FAILURE);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    }
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* A success may be the call that makes the minimum full. */
START_TEST(breaker_opens_when_the_minimum_is_reached)
{
    begin();
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
    }
    call(BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* Successes alone never do, even where no share is too small. */
START_TEST(breaker_does_not_open_without_failures)
{
    struct breaker_options strict = options;
    uint32_t ticket;

    begin();
    strict.failure_percent = 0;
    strict.min_calls = 0;
    for (int i = 0; i < 100; i++) {
        ck_assert(breaker_admit(&breaker, &strict, now, &ticket));
        breaker_report(&breaker, &strict, now, ticket, BREAKER_SUCCESS);
    }
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    ck_assert(breaker_admit(&breaker, &strict, now, &ticket));
    breaker_report(&breaker, &strict, now, ticket, BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* Outcomes that say nothing count neither as calls nor as failures. */
START_TEST(breaker_ignores_what_says_nothing)
{
    begin();
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
    }
    for (int i = 0; i < 100; i++) {
        call(BREAKER_NEITHER);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    }
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* Failures leave the window slice by slice: nine tenths of it later they count, a whole one later
 * they do not. */
START_TEST(breaker_window_slides)
{
    begin();
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
    }
    now += 9 * options.window_ns / 10;
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);

    begin();
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
    }
    now += options.window_ns;
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    }
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* Less than the minimum in every window, for long, and around every slice: never open. */
START_TEST(breaker_stays_closed_on_a_trickle)
{
    begin();
    for (int i = 0; i < 1000; i++) {
        call(BREAKER_FAILURE);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
        now += 334 * MS;
    }
}

END_TEST

/* Old successes leave too: then the share is that of the last window alone. */
START_TEST(breaker_forgets_old_successes)
{
    begin();
    for (int i = 0; i < 1000; i++) {
        call(BREAKER_SUCCESS);
    }
    now += options.window_ns;
    for (int i = 0; i < 4; i++) {
        call(BREAKER_FAILURE);
    }
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
}

END_TEST

/* Nothing passes until the cool-down is over, to the nanosecond; then a probe does. */
START_TEST(breaker_open_refuses_until_the_cooldown_is_over)
{
    make_open();
    refuse();
    now += options.cooldown_ns - 1;
    refuse();
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    now += 1;
    ck_assert(breaker_would_admit(&breaker, &options, now));
    ck_assert_int_eq(breaker.state, BREAKER_OPEN); /* asking changes nothing */
    (void)admit();
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), UINT64_MAX); /* one more may */
}

END_TEST

/* As many probes at once as successes are needed; one that ends makes room. */
START_TEST(breaker_half_open_limits_probes)
{
    uint32_t first = make_half_open();
    uint32_t second = admit();

    refuse();
    report(first, BREAKER_NEITHER);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    first = admit();
    refuse();
    report(first, BREAKER_SUCCESS);
    (void)admit();
    refuse();
    report(second, BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* Probes that never end do not keep everybody else out: after a cool-down of silence another takes
 * a place, one at a time; and what the old ones say still counts. */
START_TEST(breaker_does_not_wait_for_ever_for_probes)
{
    uint32_t first = make_half_open();
    uint32_t second;

    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), UINT64_MAX); /* a place is free */
    now += 100 * MS;
    second = admit();
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), now + options.cooldown_ns);
    now += options.cooldown_ns - 1;
    refuse();
    now += 1;
    call(BREAKER_NEITHER); /* in a place of the two, which it leaves free */
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    (void)admit();
    refuse();
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), now + options.cooldown_ns);
    now += options.cooldown_ns;
    (void)admit();
    refuse();
    report(first, BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    report(second, BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* More reports than places: the count does not go below none. */
START_TEST(breaker_counts_late_probes_once)
{
    uint32_t tickets[6];

    tickets[0] = make_half_open();
    for (int i = 1; i < 6; i++) {
        now += options.cooldown_ns;
        tickets[i] = admit();
    }
    for (int i = 0; i < 6; i++) {
        report(tickets[i], BREAKER_NEITHER);
    }
    ck_assert_uint_eq(breaker.probes, 0);
    (void)admit();
    (void)admit();
    refuse();
}

END_TEST

/* So many successes close it, with the counts at 0. */
START_TEST(breaker_closes_after_successes)
{
    uint32_t ticket = make_half_open();

    report(ticket, BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    call(BREAKER_NEITHER);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    call(BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    for (int i = 0; i < 3; i++) {
        call(BREAKER_FAILURE);
        ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    }
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    ck_assert_uint_eq(breaker.times_opened, 2);
}

END_TEST

/* One failure of a probe opens it again, with a new cool-down; what succeeded before is forgotten.
 */
START_TEST(breaker_opens_again_after_a_failed_probe)
{
    uint32_t ticket = make_half_open();

    report(ticket, BREAKER_SUCCESS);
    now += 7 * MS;
    call(BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    ck_assert_uint_eq(breaker.times_opened, 2);
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &options), now + options.cooldown_ns);
    now += options.cooldown_ns - 1;
    refuse();
    now += 1;
    call(BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    call(BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* What was admitted in an earlier state says nothing about this one: from closed while open, half
 * open, and closed again; from half-open while open, and half-open again. */
START_TEST(breaker_ignores_tickets_of_old_states)
{
    uint32_t old[8];
    uint32_t probe;

    begin();
    for (int i = 0; i < 8; i++) {
        old[i] = admit();
    }
    for (int i = 0; i < 4; i++) {
        report(old[i], BREAKER_FAILURE);
    }
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    report(old[4], BREAKER_FAILURE);
    ck_assert_uint_eq(breaker.times_opened, 1);
    now += options.cooldown_ns;
    probe = admit();
    report(old[5], BREAKER_FAILURE);
    report(old[6], BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    ck_assert_uint_eq(breaker.probes, 1);
    ck_assert_uint_eq(breaker.successes, 0);
    old[0] = admit();
    report(probe, BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    report(old[0], BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    ck_assert_uint_eq(breaker.probes, 0);
    now += options.cooldown_ns;
    probe = admit();
    report(old[0], BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    ck_assert_uint_eq(breaker.probes, 1);
    report(probe, BREAKER_SUCCESS);
    call(BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    for (int i = 0; i < 8; i++) {
        report(old[7], BREAKER_FAILURE);
    }
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* Switched off, everything passes and nothing is counted. */
START_TEST(breaker_may_be_disabled)
{
    struct breaker_options none = options;
    uint32_t ticket = 0;

    begin();
    none.enabled = false;
    for (int i = 0; i < 100; i++) {
        ck_assert(breaker_would_admit(&breaker, &none, now));
        ck_assert(breaker_admit(&breaker, &none, now, &ticket));
        breaker_report(&breaker, &none, now, ticket, BREAKER_FAILURE);
    }
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* Odd options do no harm: no probes would be for ever, a cool-down has no overflow, a window of
 * nothing has a slice. */
START_TEST(breaker_takes_odd_options)
{
    struct breaker_options odd = {
        .enabled = true, .min_calls = 1, .failure_percent = 1, .cooldown_ns = 1};
    uint32_t ticket;

    begin();
    ck_assert(breaker_admit(&breaker, &odd, now, &ticket));
    breaker_report(&breaker, &odd, now, ticket, BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_OPEN);
    now += 1;
    ck_assert(breaker_admit(&breaker, &odd, now, &ticket));
    ck_assert(!breaker_would_admit(&breaker, &odd, now));
    breaker_report(&breaker, &odd, now, ticket, BREAKER_SUCCESS);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    odd.cooldown_ns = UINT64_MAX;
    ck_assert(breaker_admit(&breaker, &odd, now, &ticket));
    breaker_report(&breaker, &odd, now, ticket, BREAKER_FAILURE);
    ck_assert_uint_eq(breaker_probe_at_ns(&breaker, &odd), UINT64_MAX);
    ck_assert(!breaker_would_admit(&breaker, &odd, UINT64_MAX - 1));
}

END_TEST

/* Who hurries it gets the probes before the cool-down is over, and no more than these; the outcomes
 * of before count no more. One that is closed or half-open stays as it is. */
START_TEST(breaker_can_be_hurried)
{
    uint32_t old;
    uint32_t tickets[3];

    begin();
    old = admit();
    breaker_hurry(&breaker);
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
    make_open();
    refuse();
    breaker_hurry(&breaker);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    report(old, BREAKER_FAILURE);
    ck_assert_int_eq(breaker.state, BREAKER_HALF_OPEN);
    for (uint32_t i = 0; i < options.probe_count; i++) {
        tickets[i] = admit();
    }
    refuse();
    breaker_hurry(&breaker);
    refuse();
    for (uint32_t i = 0; i < options.probe_count; i++) {
        report(tickets[i], BREAKER_SUCCESS);
    }
    ck_assert_int_eq(breaker.state, BREAKER_CLOSED);
}

END_TEST

/* What is usual is usable. */
START_TEST(breaker_has_defaults)
{
    ck_assert(breaker_defaults.enabled);
    ck_assert_uint_eq(breaker_defaults.window_ns, 10 * S);
    ck_assert_uint_eq(breaker_defaults.min_calls, 20);
    ck_assert_uint_eq(breaker_defaults.failure_percent, 50);
    ck_assert_uint_eq(breaker_defaults.cooldown_ns, 5 * S);
    ck_assert_uint_eq(breaker_defaults.probe_count, 3);
}

END_TEST

UNIT_MAIN("breaker", breaker_opens_from_the_least_number_of_calls_on, breaker_opens_at_the_share,
          breaker_opens_when_the_minimum_is_reached, breaker_does_not_open_without_failures,
          breaker_ignores_what_says_nothing, breaker_window_slides,
          breaker_stays_closed_on_a_trickle, breaker_forgets_old_successes,
          breaker_open_refuses_until_the_cooldown_is_over, breaker_half_open_limits_probes,
          breaker_does_not_wait_for_ever_for_probes, breaker_counts_late_probes_once,
          breaker_closes_after_successes, breaker_opens_again_after_a_failed_probe,
          breaker_ignores_tickets_of_old_states, breaker_may_be_disabled, breaker_takes_odd_options,
          breaker_can_be_hurried, breaker_has_defaults)
