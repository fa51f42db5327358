#include "lib/unit.h"

#include "allocation_faults.h"
#include "client/resolver.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "core/workpool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define MS           CLOCK_NS_PER_MS
#define S            CLOCK_NS_PER_S
#define MIN_INTERVAL (1 * S)
#define INTERVAL     (30 * S)

/* ------------------------------------------------------------------------------- clock and loop */

static uint64_t now = 1000 * S;

static uint64_t fake_now_ns(struct clock_source *source)
{
    (void)source;
    return now;
}

static struct clock_source clock_source = {fake_now_ns, fake_now_ns};
static struct reactor reactor;
static struct workpool *pool;

static void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, MS), 0);
}

/* What is due now, and what that defers. */
static void run_due(void)
{
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
}

/* --------------------------------------------------------------------------- the scripted system
 */

static struct {
    atomic_uint asked;    /* questions begun */
    atomic_uint answered; /* and ended */
    atomic_bool fails;
    atomic_bool is_slow; /* each waits for a byte */
    atomic_uint octet;   /* of the answer: 10.0.0.octet and the next */
    int gate[2];
} script;

static int scripted(const struct target *target, struct target_address *ret_addresses,
                    unsigned *ret_count, char *problem)
{
    char byte;
    int result = 0;

    atomic_fetch_add(&script.asked, 1);
    if (atomic_load(&script.is_slow) && read(script.gate[0], &byte, 1) != 1) {
        abort();
    }
    *ret_count = 0;
    if (atomic_load(&script.fails)) {
        (void)snprintf(problem, TARGET_PROBLEM_SIZE, "nobody knows '%s'",
                       target->endpoints[0].host);
        result = TARGET_E_UNRESOLVED;
    } else {
        for (uint32_t i = 0; i < 2; i++) {
            const struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_port = htons(50051),
                .sin_addr.s_addr = htonl(0x0a000000U + atomic_load(&script.octet) + i)};

            memset(&ret_addresses[i], 0, sizeof(ret_addresses[i]));
            memcpy(&ret_addresses[i].address, &address, sizeof(address));
            ret_addresses[i].size = sizeof(address);
        }
        *ret_count = 2;
    }
    atomic_fetch_add(&script.answered, 1);
    return result;
}

static void let_go(void)
{
    ck_assert_int_eq(write(script.gate[1], "g", 1), 1);
}

/* ------------------------------------------------------------------------------------- the owner
 */

static struct target target;
static struct resolver *resolver;
static bool inside; /* a call to the resolver: nothing may be told */

static struct {
    unsigned resolved;
    unsigned failed;
    unsigned closed;
    char shown[TARGET_AUTHORITY_SIZE]; /* the first address */
    unsigned count;
    char problem[TARGET_PROBLEM_SIZE];
    bool closes;     /* in what it is told */
    bool asks_again; /* likewise */
} told;

static void ask_again(void)
{
    inside = true;
    resolver_ask_again(resolver);
    inside = false;
}

static void close_resolver(void)
{
    inside = true;
    resolver_close(resolver);
    inside = false;
}

static void react(void)
{
    if (told.asks_again) {
        ask_again();
    }
    if (told.closes) {
        close_resolver();
    }
}

static void on_resolved(void *owner, const struct target_address *addresses, unsigned count)
{
    ck_assert_ptr_eq(owner, &told);
    ck_assert(!inside);
    ck_assert_uint_eq(told.closed, 0);
    told.resolved++;
    told.count = count;
    target_format_address(&addresses[0], told.shown, sizeof(told.shown));
    react();
}

static void on_failed(void *owner, const char *problem)
{
    ck_assert_ptr_eq(owner, &told);
    ck_assert(!inside);
    ck_assert_uint_eq(told.closed, 0);
    told.failed++;
    (void)snprintf(told.problem, sizeof(told.problem), "%s", problem);
    react();
}

static void on_closed(void *owner)
{
    ck_assert_ptr_eq(owner, &told);
    ck_assert(!inside);
    told.closed++;
}

static const struct resolver_events events = {on_resolved, on_failed, on_closed};

/* ---------------------------------------------------------------------------------------- set-up
 */

static void open_loop(unsigned queue_max)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    ck_assert_msg(reactor_init(&reactor, &options, &clock_source, NULL, problem) == 0, "%s",
                  problem);
    if (queue_max > 0) {
        ck_assert_int_eq(workpool_new(&reactor, 1, queue_max, &pool), 0);
    }
    ck_assert_int_eq(pipe(script.gate), 0);
    atomic_store(&script.octet, 1);
}

static int open_resolver(const char *text, uint64_t interval_ns, bool is_scripted)
{
    char problem[TARGET_PROBLEM_SIZE];
    const struct resolver_options options = {.target = &target,
                                             .interval_ns = interval_ns,
                                             .min_interval_ns = MIN_INTERVAL,
                                             .resolve = is_scripted ? scripted : NULL};
    int result;

    ck_assert_msg(target_parse(text, problem, &target) == 0, "%s", problem);
    inside = true;
    result = resolver_new(&reactor, pool, &options, &events, &told, &resolver);
    inside = false;
    return result;
}

/* A resolver of the script, with its first question not yet asked. */
static void begin(uint64_t interval_ns)
{
    open_loop(4);
    ck_assert_int_eq(open_resolver("dns:///users:50051", interval_ns, true), 0);
}

static void close_loop(void)
{
    while (pool != NULL && !workpool_is_idle(pool)) {
        turn();
    }
    workpool_close(pool);
    pool = NULL;
    while (ring_pending_count(reactor.ring) > 0) {
        turn();
    }
    ck_assert_uint_eq(timer_set_next_ns(&reactor.timers), UINT64_MAX);
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(script.gate[0]), 0);
    ck_assert_int_eq(close(script.gate[1]), 0);
}

static void end(void)
{
    close_resolver();
    ck_assert_uint_eq(told.closed, 0);
    while (told.closed == 0) {
        turn();
    }
    close_loop();
    ck_assert_uint_eq(told.closed, 1);
}

/* Until so many questions were asked. */
static void wait_asked(unsigned count)
{
    while (atomic_load(&script.asked) < count) {
        turn();
    }
    ck_assert_uint_eq(atomic_load(&script.asked), count);
}

/* Until so many answers were told, good and bad ones. */
static void wait_told(unsigned resolved, unsigned failed)
{
    while (told.resolved + told.failed < resolved + failed) {
        turn();
    }
    ck_assert_uint_eq(told.resolved, resolved);
    ck_assert_uint_eq(told.failed, failed);
}

/* Nothing is due: no question is asked when the clock shows `at`. */
static void expect_quiet_at(uint64_t at)
{
    unsigned asked = atomic_load(&script.asked);
    struct workpool_stats stats;

    now = at;
    run_due();
    stats = workpool_stats(pool);
    ck_assert_uint_eq(stats.waiting + stats.working, 0);
    ck_assert_uint_eq(atomic_load(&script.asked), asked);
}

/* ------------------------------------------------------------------------------------- the tests
 */

/* Addresses alone are told once, without a pool, and never again. */
START_TEST(resolver_tells_addresses_at_once)
{
    open_loop(0);
    ck_assert_int_eq(open_resolver("127.0.0.1:50051,[::1]:50051", INTERVAL, false), 0);
    ck_assert_uint_eq(told.resolved, 0);
    run_due();
    ck_assert_uint_eq(told.resolved, 1);
    ck_assert_uint_eq(told.count, 2);
    ck_assert_str_eq(told.shown, "127.0.0.1:50051");
    for (int i = 0; i < 10; i++) {
        ask_again();
        now += INTERVAL;
        run_due();
    }
    ck_assert_uint_eq(told.resolved, 1);
    ck_assert_uint_eq(told.failed, 0);
    end();
}

END_TEST

/* An address whose zone is not there is a failure like any other. */
START_TEST(resolver_repeats_a_bad_zone)
{
    open_loop(0);
    ck_assert_int_eq(open_resolver("[fe80::1%nosuchif0]:50051", INTERVAL, false), 0);
    run_due();
    ck_assert_uint_eq(told.failed, 1);
    ck_assert_ptr_nonnull(strstr(told.problem, "fe80::1%nosuchif0"));
    now += 2 * MIN_INTERVAL;
    run_due();
    ck_assert_uint_eq(told.failed, 2);
    end();
}

END_TEST

/* The system's own resolver, on the pool. */
START_TEST(resolver_asks_the_system)
{
    open_loop(4);
    ck_assert_int_eq(open_resolver("dns:///localhost:50051", INTERVAL, false), 0);
    wait_told(1, 0);
    ck_assert_uint_ge(told.count, 1);
    ck_assert(strcmp(told.shown, "127.0.0.1:50051") == 0 || strcmp(told.shown, "[::1]:50051") == 0);
    end();
}

END_TEST

/* At the start, and at intervals, with what is known then. */
START_TEST(resolver_asks_at_intervals)
{
    begin(INTERVAL);
    ck_assert_uint_eq(atomic_load(&script.asked), 0);
    wait_told(1, 0);
    ck_assert_uint_eq(told.count, 2);
    ck_assert_str_eq(told.shown, "10.0.0.1:50051");
    for (unsigned i = 2; i < 6; i++) {
        uint64_t asked_ns = now;

        expect_quiet_at(asked_ns + INTERVAL - 1);
        atomic_store(&script.octet, i);
        now = asked_ns + INTERVAL;
        wait_told(i, 0);
        ck_assert_int_eq(told.shown[7], '0' + (int)i);
    }
    end();
}

END_TEST

/* Without an interval only who asks gets an answer. */
START_TEST(resolver_may_have_no_interval)
{
    begin(0);
    wait_told(1, 0);
    expect_quiet_at(now + 10000 * INTERVAL);
    ask_again();
    wait_told(2, 0);
    expect_quiet_at(now + 10000 * INTERVAL);
    end();
}

END_TEST

/* However often it is told, it asks once, and not before the shortest time is over. */
START_TEST(resolver_keeps_the_shortest_interval)
{
    uint64_t asked_ns;

    begin(INTERVAL);
    asked_ns = now;
    wait_told(1, 0);
    for (int i = 0; i < 100; i++) {
        ask_again();
    }
    expect_quiet_at(asked_ns);
    now = asked_ns + MIN_INTERVAL / 2;
    for (int i = 0; i < 100; i++) {
        ask_again();
    }
    expect_quiet_at(asked_ns + MIN_INTERVAL - 1);
    now = asked_ns + MIN_INTERVAL;
    wait_told(2, 0);
    /* All of them were answered by that: the next is for the interval. */
    expect_quiet_at(now + INTERVAL - 1);
    for (int i = 0; i < 100; i++) {
        ask_again();
    }
    wait_told(3, 0);
    expect_quiet_at(now + MIN_INTERVAL);
    ck_assert_uint_eq(atomic_load(&script.asked), 3);
    end();
}

END_TEST

/* Asking before the first question was asked is no second one. */
START_TEST(resolver_first_question_counts)
{
    begin(INTERVAL);
    ask_again();
    ask_again();
    wait_told(1, 0);
    expect_quiet_at(now + INTERVAL - 1);
    end();
}

END_TEST

/* One question at a time; what is asked meanwhile is one more afterwards, for the answer may be
 * older than its cause. */
START_TEST(resolver_has_one_question_under_way)
{
    atomic_store(&script.is_slow, true);
    begin(INTERVAL);
    wait_asked(1);
    for (int i = 0; i < 100; i++) {
        ask_again();
        now += INTERVAL;
        run_due();
    }
    ck_assert_uint_eq(atomic_load(&script.asked), 1);
    ck_assert_uint_eq(workpool_stats(pool).waiting, 0);
    atomic_store(&script.octet, 7);
    let_go();
    wait_told(1, 0);
    ck_assert_str_eq(told.shown, "10.0.0.7:50051");
    wait_asked(2); /* the shortest time is long over */
    let_go();
    wait_told(2, 0);
    expect_quiet_at(now + INTERVAL - 1);
    end();
}

END_TEST

/* The same when the answer is quick: the shortest time holds. */
START_TEST(resolver_asks_behind_a_quick_answer)
{
    uint64_t asked_ns;

    atomic_store(&script.is_slow, true);
    begin(INTERVAL);
    wait_asked(1);
    asked_ns = now;
    ask_again();
    let_go();
    wait_told(1, 0);
    expect_quiet_at(asked_ns + MIN_INTERVAL - 1);
    now = asked_ns + MIN_INTERVAL;
    wait_asked(2);
    let_go();
    wait_told(2, 0);
    end();
}

END_TEST

/* Failures are told and repeated, each time later, whoever asks meanwhile; a success is the end of
 * that. */
START_TEST(resolver_backs_off)
{
    uint64_t wait_ns = MIN_INTERVAL;
    unsigned failures = 0;

    atomic_store(&script.fails, true);
    begin(INTERVAL);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 12; i++) {
            uint64_t asked_ns = now;
            uint64_t least_ns = wait_ns * 4 / 5 > MIN_INTERVAL ? wait_ns * 4 / 5 : MIN_INTERVAL;

            failures++;
            wait_told((unsigned)round, failures);
            ck_assert_str_eq(told.problem, "nobody knows 'users'");
            ask_again();
            expect_quiet_at(asked_ns + least_ns - 1 * MS);
            ask_again();
            expect_quiet_at(asked_ns + least_ns - 1 * MS);
            if (i == 11) {
                atomic_store(&script.fails, false);
            }
            now = asked_ns + wait_ns * 6 / 5 + 1 * MS;
            wait_ns = wait_ns * 16 / 10 < 30 * S ? wait_ns * 16 / 10 : 30 * S;
        }
        wait_told((unsigned)round + 1, failures);
        expect_quiet_at(now + INTERVAL - 1);
        atomic_store(&script.fails, true);
        now += 1;
        wait_ns = MIN_INTERVAL;
    }
    end();
}

END_TEST

/* A question wanted while one fails does not go around the backoff. */
START_TEST(resolver_failure_takes_the_wish)
{
    uint64_t asked_ns;

    atomic_store(&script.is_slow, true);
    atomic_store(&script.fails, true);
    begin(INTERVAL);
    wait_asked(1);
    asked_ns = now;
    ask_again();
    let_go();
    wait_told(0, 1);
    expect_quiet_at(asked_ns + MIN_INTERVAL - 1 * MS);
    now = asked_ns + MIN_INTERVAL * 2;
    atomic_store(&script.fails, false);
    wait_asked(2);
    let_go();
    wait_told(1, 1);
    expect_quiet_at(now + MIN_INTERVAL);
    ask_again(); /* the failure is over */
    wait_asked(3);
    let_go();
    wait_told(2, 1);
    end();
}

END_TEST

/* A pool that takes nothing is a failure too, and no reason to give up. */
START_TEST(resolver_survives_a_full_pool)
{
    struct resolver *first;

    atomic_store(&script.is_slow, true);
    open_loop(1);
    ck_assert_int_eq(open_resolver("a:1", INTERVAL, true), 0);
    wait_asked(1); /* its thread is at work */
    first = resolver;
    ck_assert_int_eq(open_resolver("a:1", INTERVAL, true), 0);
    run_due(); /* this one fills the queue */
    ck_assert_uint_eq(workpool_stats(pool).waiting, 1);
    {
        struct resolver *second = resolver;

        ck_assert_int_eq(open_resolver("users:1", INTERVAL, true), 0);
        run_due();
        ck_assert_uint_eq(told.failed, 1);
        ck_assert_ptr_nonnull(strstr(told.problem, "'users' now: too much other work"));
        let_go();
        let_go();
        wait_told(2, 1);
        now += 2 * MIN_INTERVAL;
        let_go();
        wait_told(3, 1);
        resolver_close(first);
        resolver_close(second);
    }
    close_resolver();
    while (told.closed < 3) {
        turn();
    }
    close_loop();
}

END_TEST

/* Closed before it asked: nothing else is told. */
START_TEST(resolver_closes_before_it_asked)
{
    begin(INTERVAL);
    close_resolver();
    close_resolver();
    ask_again();
    ck_assert_uint_eq(told.closed, 0);
    run_due();
    ck_assert_uint_eq(told.closed, 1);
    ck_assert_uint_eq(atomic_load(&script.asked), 0);
    close_loop();
    ck_assert_uint_eq(told.closed, 1);
    ck_assert_uint_eq(told.resolved, 0);
}

END_TEST

/* Closed while a question is under way: the last word waits for its end, and there is no other. */
START_TEST(resolver_closes_while_it_asks)
{
    atomic_store(&script.is_slow, true);
    begin(INTERVAL);
    wait_asked(1);
    close_resolver();
    close_resolver();
    ask_again();
    for (int i = 0; i < 5; i++) {
        now += INTERVAL;
        run_due();
    }
    ck_assert_uint_eq(told.closed, 0);
    let_go();
    while (told.closed == 0) {
        turn();
    }
    ck_assert_uint_eq(atomic_load(&script.answered), 1);
    ck_assert_uint_eq(told.resolved + told.failed, 0);
    close_loop();
    ck_assert_uint_eq(told.closed, 1);
}

END_TEST

/* A question that no thread has begun is taken back: the end does not wait. */
START_TEST(resolver_closes_while_its_question_waits)
{
    struct resolver *first;

    atomic_store(&script.is_slow, true);
    begin(INTERVAL);
    wait_asked(1);
    first = resolver;
    ck_assert_int_eq(open_resolver("a:1", INTERVAL, true), 0);
    run_due();
    ck_assert_uint_eq(workpool_stats(pool).waiting, 1);
    close_resolver();
    ck_assert_uint_eq(told.closed, 0);
    run_due();
    ck_assert_uint_eq(told.closed, 1);
    resolver_close(first);
    let_go();
    while (told.closed < 2) {
        turn();
    }
    ck_assert_uint_eq(atomic_load(&script.asked), 1);
    ck_assert_uint_eq(told.resolved + told.failed, 0);
    close_loop();
}

END_TEST

/* The owner may close it, or ask again, in whatever it is told. */
START_TEST(resolver_may_be_called_from_its_events)
{
    for (int variant = 0; variant < 4; variant++) {
        memset(&told, 0, sizeof(told));
        atomic_store(&script.asked, 0);
        atomic_store(&script.fails, variant % 2 == 1);
        told.closes = true;
        told.asks_again = variant >= 2;
        begin(INTERVAL);
        while (told.closed == 0) {
            turn();
        }
        ck_assert_uint_eq(told.resolved, variant % 2 == 0);
        ck_assert_uint_eq(told.failed, variant % 2 == 1);
        ck_assert_uint_eq(atomic_load(&script.asked), 1);
        close_loop();
    }
    memset(&told, 0, sizeof(told));
    atomic_store(&script.asked, 0);
    atomic_store(&script.fails, false);
    told.asks_again = true;
    begin(0);
    for (unsigned i = 1; i < 5; i++) {
        wait_told(i, 0);
        expect_quiet_at(now + MIN_INTERVAL - 1);
        now += 1;
    }
    told.asks_again = false;
    end();
}

END_TEST

/* The same for one that is told on the loop alone. */
START_TEST(resolver_of_addresses_may_be_closed_when_told)
{
    open_loop(0);
    told.closes = true;
    told.asks_again = true;
    ck_assert_int_eq(open_resolver("127.0.0.1:1", INTERVAL, false), 0);
    run_due();
    ck_assert_uint_eq(told.resolved, 1);
    ck_assert_uint_eq(told.closed, 1);
    close_loop();
}

END_TEST

/* Without memory there is none, and nothing is left behind. */
START_TEST(resolver_reports_no_memory)
{
    const struct resolver_options options = {.target = &target, .interval_ns = INTERVAL};
    char problem[TARGET_PROBLEM_SIZE];
    unsigned nth = 0;
    bool failed;

    open_loop(0);
    ck_assert_int_eq(target_parse("127.0.0.1:1", problem, &target), 0);
    do {
        int result;

        allocation_faults_arm(++nth); /* libcheck allocates too: nothing is asserted meanwhile */
        result = resolver_new(&reactor, NULL, &options, &events, &told, &resolver);
        failed = allocation_faults_disarm();
        ck_assert_int_eq(result, failed ? -ENOMEM : 0);
    } while (failed);
    ck_assert_uint_ge(nth, 3);
    end();
}

END_TEST

UNIT_MAIN("resolver", resolver_tells_addresses_at_once, resolver_repeats_a_bad_zone,
          resolver_asks_the_system, resolver_asks_at_intervals, resolver_may_have_no_interval,
          resolver_keeps_the_shortest_interval, resolver_first_question_counts,
          resolver_has_one_question_under_way, resolver_asks_behind_a_quick_answer,
          resolver_backs_off, resolver_failure_takes_the_wish, resolver_survives_a_full_pool,
          resolver_closes_before_it_asked, resolver_closes_while_it_asks,
          resolver_closes_while_its_question_waits, resolver_may_be_called_from_its_events,
          resolver_of_addresses_may_be_closed_when_told, resolver_reports_no_memory)
