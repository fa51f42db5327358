#include "lib/unit.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "http2/grpc_call.h"
#include "http2/grpc_server.h"
#include "service/overload.h"

#include <errno.h>

#define MS  CLOCK_NS_PER_MS
#define MIB (1024 * 1024ULL)

static uint64_t now_ns;

static uint64_t fake_time(struct clock_source *source)
{
    (void)source;
    return now_ns;
}

static struct clock_source clock_fake = {fake_time, fake_time};
static struct reactor reactor;
static struct overload *overload;
static struct grpc_call_host host = {.reactor = &reactor};
static const struct grpc_method method_get = {.path = "/users.v1.UserService/GetUser"};
static const struct grpc_method method_watch = {.path = "/users.v1.UserService/WatchUser"};
static const struct grpc_method method_health = {.path = "/grpc.health.v1.Health/Check"};
static struct grpc_call call = {.host = &host};
static struct grpc_error failure; /* how the call was failed */
static unsigned failure_count;

/* The process's memory, and what of it only the allocator keeps. */
static uint64_t memory_in_use;
static uint64_t memory_kept;
static unsigned trim_count;
static int memory_problem;
static bool memory_is_open;

int memory_open(struct memory *memory)
{
    *memory = (struct memory){.fd = -1};
    memory_is_open = memory_problem == 0;
    return memory_problem;
}

void memory_close(struct memory *memory)
{
    (void)memory;
    memory_is_open = false;
}

int memory_used(const struct memory *memory, uint64_t *ret_used)
{
    (void)memory;
    if (memory_problem == 0) {
        *ret_used = memory_in_use + memory_kept;
    }
    return memory_problem;
}

uint64_t memory_allowed(void)
{
    return 1000 * MIB;
}

/* Stands in for the pool: a job that waits, until the next pass() ends or for as long as held. */
static struct workpool_job *job;
static bool job_is_at_work;
static bool job_is_cancelled;
static bool pool_is_full;
static bool pool_is_held;
static uint8_t pool_memory;
static struct workpool *const pool = (struct workpool *)(void *)&pool_memory;

int workpool_submit(struct workpool *asked, struct workpool_job *submitted)
{
    ck_assert_ptr_eq(asked, pool);
    ck_assert_ptr_null(job);
    if (pool_is_full) {
        return WORKPOOL_E_FULL;
    }
    job = submitted;
    job_is_cancelled = false;
    return 0;
}

static void finish_job(bool cancelled)
{
    struct workpool_job *finished = job;

    job = NULL;
    if (!cancelled) {
        finished->work(finished);
    }
    finished->finish(finished, cancelled);
}

void workpool_cancel(struct workpool *asked, struct workpool_job *cancelled)
{
    ck_assert_ptr_eq(asked, pool);
    ck_assert_ptr_eq(job, cancelled);
    job_is_cancelled = !job_is_at_work;
}

void memory_trim(void)
{
    trim_count++;
    memory_kept = 0;
}

/* Stands in for the one of grpc_call.c. */
void grpc_call_fail(struct grpc_call *failed, const struct grpc_error *error)
{
    ck_assert_ptr_eq(failed, &call);
    failure = *error;
    failure_count++;
}

static uint8_t server_memory;
static struct grpc_server *const server = (struct grpc_server *)(void *)&server_memory;
static bool server_refuses;
static unsigned server_told;

void grpc_server_refuse_connections(struct grpc_server *told, bool refuse)
{
    ck_assert_ptr_eq(told, server);
    server_refuses = refuse;
    server_told++;
}

static struct overload_options options = {
    .memory_max = 100 * MIB,
    .soft = 80,
    .hard = 95,
    .target_ns = 5 * MS,
    .interval_ns = 100 * MS,
};

static void open_all(void)
{
    now_ns = 3600 * CLOCK_NS_PER_S;
    reactor = (struct reactor){.clock = &clock_fake, .now_ns = now_ns, .delay_min_ns = UINT64_MAX};
    reactor.turning = true;
    ck_assert_int_eq(overload_new(&reactor, pool, &options, &overload), 0);
    overload_set_server(overload, server);
    ck_assert(!server_refuses);
}

static void close_all(void)
{
    overload_free(overload);
    ck_assert(!memory_is_open);
    timer_set_deinit(&reactor.timers);
}

static const struct overload_stats *stats(void)
{
    return overload_stats(overload);
}

static void pass(uint64_t ns)
{
    now_ns += ns;
    reactor.now_ns = now_ns;
    timer_set_run(&reactor.timers, now_ns);
    if (job != NULL && !pool_is_held) {
        finish_job(false);
    }
}

static bool passes(const struct grpc_method *method)
{
    struct grpc_stage stage = overload_stage(overload);
    bool passed;

    failure_count = 0;
    call.method = method;
    passed = stage.begin(stage.context, &call);
    ck_assert_uint_eq(failure_count, passed ? 0 : 1);
    ck_assert(stage.end == NULL);
    return passed;
}

static void assert_refused(enum grpc_status status, const char *reason, int64_t least_ms,
                           int64_t most_ms)
{
    ck_assert_int_eq(failure.status, status);
    ck_assert_str_eq(failure.reason, reason);
    ck_assert_str_eq(failure.domain, "users.v1");
    ck_assert_int_ge(failure.retry_delay_ms, least_ms);
    ck_assert_int_le(failure.retry_delay_ms, most_ms);
}

static void use_memory(uint64_t mib)
{
    memory_in_use = mib * MIB;
    pass(100 * MS);
}

/* Below `soft` everything passes, an unknown method too, and the memory is looked at all the time.
 */
START_TEST(overload_passes_calls)
{
    open_all();
    use_memory(79);
    ck_assert_uint_eq(stats()->memory_used, 79 * MIB);
    ck_assert_uint_eq(stats()->memory_max, 100 * MIB);
    ck_assert(passes(&method_get));
    ck_assert(passes(&method_watch));
    ck_assert(passes(&method_health));
    ck_assert(passes(NULL));
    ck_assert(!server_refuses);
    ck_assert_uint_eq(trim_count, 0);
    close_all();
}

END_TEST

/* Over `soft`, connections and watchers are refused, and nothing else; and so it stays until the
 * memory is a good deal below it. */
START_TEST(overload_soft_memory)
{
    open_all();
    use_memory(80);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    ck_assert(server_refuses);
    ck_assert(passes(&method_get));
    ck_assert(passes(NULL));
    ck_assert(passes(&method_health));
    ck_assert(!passes(&method_watch));
    assert_refused(GRPC_STATUS_RESOURCE_EXHAUSTED, "MEMORY_PRESSURE", 2500, 7500);
    ck_assert_uint_eq(stats()->watchers_refused_memory, 1);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_MEMORY_SOFT], 1);
    use_memory(76);
    ck_assert(server_refuses);
    use_memory(74);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    ck_assert(!server_refuses);
    ck_assert(passes(&method_watch));
    close_all();
}

END_TEST

/* Over `hard`, every call is refused but for health; below it, in steps, what `soft` says. */
START_TEST(overload_hard_memory)
{
    open_all();
    use_memory(96);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_HARD);
    ck_assert(server_refuses);
    ck_assert(passes(&method_health));
    ck_assert(!passes(NULL));
    ck_assert(!passes(&method_watch));
    ck_assert(!passes(&method_get));
    assert_refused(GRPC_STATUS_RESOURCE_EXHAUSTED, "MEMORY_PRESSURE", 2500, 7500);
    ck_assert_uint_eq(stats()->calls_refused_memory, 3);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_MEMORY_HARD], 3);
    use_memory(90);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_HARD);
    use_memory(88);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    ck_assert(passes(&method_get));
    ck_assert(!passes(&method_watch));
    use_memory(10);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    ck_assert(!server_refuses);
    close_all();
}

END_TEST

/* What only the allocator keeps is given back before anything is refused for it, but that is not
 * tried again for ten seconds. */
START_TEST(overload_trims_first)
{
    open_all();
    memory_kept = 50 * MIB;
    use_memory(40);
    ck_assert_uint_eq(trim_count, 1);
    ck_assert_uint_eq(stats()->memory_used, 40 * MIB);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    memory_kept = 50 * MIB;
    use_memory(40);
    ck_assert_uint_eq(trim_count, 1);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    pass(9700 * MS);
    ck_assert_uint_eq(trim_count, 1);
    pass(200 * MS);
    ck_assert_uint_eq(trim_count, 2);
    ck_assert_uint_eq(stats()->trims, 2);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    close_all();
}

END_TEST

/* While it is tried, nothing is refused for a second, and no longer. */
START_TEST(overload_waits_for_a_trim)
{
    open_all();
    pool_is_held = true;
    memory_kept = 90 * MIB;
    use_memory(8);
    pass(800 * MS);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    ck_assert_uint_eq(stats()->trims, 1);
    pass(300 * MS);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_HARD);
    ck_assert_uint_eq(trim_count, 0);
    pool_is_held = false;
    pass(100 * MS);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    ck_assert_uint_eq(trim_count, 1);
    ck_assert_uint_eq(stats()->trims, 1);
    close_all();
}

END_TEST

/* No place in the pool: what is over the limits is refused, and the next look tries again. */
START_TEST(overload_trims_when_the_pool_can)
{
    open_all();
    pool_is_full = true;
    memory_kept = 50 * MIB;
    use_memory(40);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    ck_assert_uint_eq(stats()->trims, 0);
    pool_is_full = false;
    pass(100 * MS);
    ck_assert_uint_eq(trim_count, 1);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    close_all();
}

END_TEST

/* What gains little is tried again after twice the time; what gains, after the least. */
START_TEST(overload_trims_less_when_it_gains_little)
{
    static const unsigned pauses_s[] = {20, 40, 80, 160, 160};
    unsigned expected = 1;

    open_all();
    use_memory(90);
    for (unsigned i = 0; i < sizeof(pauses_s) / sizeof(pauses_s[0]); i++) {
        ck_assert_uint_eq(trim_count, expected++);
        pass(pauses_s[i] * CLOCK_NS_PER_S - 100 * MS);
        ck_assert_uint_lt(trim_count, expected);
        pass(100 * MS);
    }
    memory_kept = 10 * MIB;
    memory_in_use = 80 * MIB;
    pass(160 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(memory_kept, 0);
    ck_assert_uint_eq(trim_count, ++expected);
    pass(10 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(trim_count, ++expected);
    close_all();
}

END_TEST

/* An end while it is tried: it is called off, or it ends without effect. */
START_TEST(overload_closes_during_a_trim)
{
    for (unsigned i = 0; i < 2; i++) {
        job_is_at_work = i == 1;
        pool_is_held = true;
        open_all();
        use_memory(90);
        ck_assert_ptr_nonnull(job);
        overload_close(overload);
        ck_assert(job_is_cancelled == (i == 0));
        finish_job(job_is_cancelled);
        ck_assert_uint_eq(trim_count, i);
        ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
        close_all();
    }
}

END_TEST

/* New limits count from the next look on; 0 asks the system. A server that comes later is told, and
 * one that has gone is not. */
START_TEST(overload_takes_options)
{
    struct overload_options other = options;

    open_all();
    other.soft = 50;
    other.hard = 60;
    use_memory(70);
    overload_set_options(overload, &other);
    ck_assert(!server_refuses);
    use_memory(70);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_HARD);
    server_refuses = false;
    overload_set_server(overload, server);
    ck_assert(server_refuses);
    overload_set_server(overload, NULL);
    other.memory_max = 0;
    overload_set_options(overload, &other);
    ck_assert_uint_eq(stats()->memory_max, 1000 * MIB);
    server_told = 0;
    use_memory(70);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_EASY);
    ck_assert_uint_eq(server_told, 0);
    close_all();
}

END_TEST

/* Memory that cannot be read leaves the state as it was, and ends a start. Closing ends the looks,
 * safe twice. */
START_TEST(overload_lives_and_ends)
{
    struct overload *none = NULL;

    open_all();
    use_memory(90);
    memory_problem = -EIO;
    use_memory(10);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    ck_assert_int_eq(overload_new(&reactor, pool, &options, &none), -EIO);
    ck_assert_ptr_null(none);
    memory_problem = 0;
    overload_close(overload);
    overload_close(overload);
    use_memory(10);
    ck_assert_int_eq(stats()->memory, OVERLOAD_MEMORY_SOFT);
    close_all();
    overload_close(NULL);
    overload_free(NULL);
}

END_TEST

/* An interval in which the shortest turn took so long; then so many calls of 256 are refused. */
static unsigned refused_after(uint64_t delay_ns)
{
    unsigned refused = 0;

    reactor.delay_min_ns = delay_ns;
    pass(100 * MS);
    for (unsigned i = 0; i < 256; i++) {
        refused += passes(&method_get) ? 0 : 1;
    }
    return refused;
}

/* While the loop keeps up nothing is refused: a turn may even take as long as the target. */
START_TEST(overload_passes_while_in_time)
{
    open_all();
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_uint_eq(refused_after(5 * MS), 0);
    }
    ck_assert_uint_eq(stats()->delay_ns, 5 * MS);
    ck_assert_uint_eq(stats()->refused_permille, 0);
    close_all();
}

END_TEST

/* A loop that is late loses a growing share of its calls, evenly, up to a half; health passes. */
START_TEST(overload_refuses_a_share)
{
    open_all();
    for (unsigned share = 16; share < 128; share += 16) {
        ck_assert_uint_eq(refused_after(6 * MS), share);
    }
    ck_assert_uint_eq(refused_after(6 * MS), 128);
    ck_assert_uint_eq(refused_after(60 * MS), 128);
    assert_refused(GRPC_STATUS_UNAVAILABLE, "OVERLOADED", 500, 1500);
    ck_assert_uint_eq(stats()->refused_permille, 500);
    ck_assert_uint_eq(stats()->calls_refused_delay, 16 * 28 + 2 * 128);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_LOOP_DELAY], 16 * 28 + 2 * 128);
    for (unsigned i = 0; i < 256; i++) {
        ck_assert(passes(&method_health));
        ck_assert_int_ne(passes(&method_get), passes(&method_get)); /* every second one */
    }
    close_all();
}

END_TEST

/* Nor does it lose more when it was in time for a moment. */
START_TEST(overload_keeps_to_a_half)
{
    open_all();
    (void)refused_after(6 * MS);
    ck_assert_uint_eq(refused_after(MS), 8);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_uint_le(refused_after(6 * MS), 128);
    }
    ck_assert_uint_eq(stats()->refused_permille, 500);
    close_all();
}

END_TEST

/* Once it is in time again the share halves with every interval, and is gone soon. */
START_TEST(overload_recovers)
{
    open_all();
    for (unsigned i = 0; i < 8; i++) {
        (void)refused_after(6 * MS);
    }
    ck_assert_uint_eq(refused_after(MS), 64);
    ck_assert_uint_eq(refused_after(MS), 32);
    ck_assert_uint_eq(refused_after(MS), 16);
    ck_assert_uint_eq(refused_after(MS), 8);
    ck_assert_uint_eq(refused_after(MS), 0);
    ck_assert_uint_eq(refused_after(6 * MS), 16);
    ck_assert_uint_eq(refused_after(UINT64_MAX), 8); /* no turn at all */
    close_all();
}

END_TEST

/* Who is refused is told to come again each at another time. */
START_TEST(overload_spreads_retries)
{
    bool seen[10] = {false}; /* tenths of the range */
    unsigned count = 0;

    open_all();
    use_memory(99);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert(!passes(&method_get));
        seen[(failure.retry_delay_ms - 2500) / 501] = true;
    }
    for (size_t i = 0; i < sizeof(seen); i++) {
        count += seen[i];
    }
    ck_assert_uint_eq(count, sizeof(seen));
    close_all();
}

END_TEST

/* A target of 0 refuses nothing, however late the loop is, and takes back what was refused. */
START_TEST(overload_without_target)
{
    struct overload_options other = options;

    open_all();
    ck_assert_uint_eq(refused_after(6 * MS), 16);
    other.target_ns = 0;
    overload_set_options(overload, &other);
    ck_assert(passes(&method_get));
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(refused_after(CLOCK_NS_PER_S), 0);
    }
    close_all();
}

END_TEST

static unsigned told_count;
static bool told_refused;

static void on_told(void *context, bool are_calls_refused)
{
    ck_assert_ptr_eq(context, &told_count);
    told_count++;
    told_refused = are_calls_refused;
}

/* Who asked is told at once, and at every step, whether calls are refused. */
START_TEST(overload_tells_of_memory)
{
    open_all();
    told_count = 0;
    overload_watch_memory(overload, on_told, &told_count);
    ck_assert_uint_eq(told_count, 1);
    ck_assert(!told_refused);
    use_memory(85);
    ck_assert(!told_refused);
    use_memory(96);
    ck_assert(told_refused);
    use_memory(85);
    ck_assert(!told_refused);
    use_memory(10);
    ck_assert_uint_eq(told_count, 5);
    ck_assert(!told_refused);
    overload_watch_memory(overload, NULL, NULL);
    use_memory(96);
    ck_assert_uint_eq(told_count, 5);
    close_all();
}

END_TEST

UNIT_MAIN("overload", overload_tells_of_memory, overload_passes_calls, overload_soft_memory,
          overload_hard_memory, overload_trims_first, overload_waits_for_a_trim,
          overload_trims_when_the_pool_can, overload_trims_less_when_it_gains_little,
          overload_closes_during_a_trim, overload_takes_options, overload_lives_and_ends,
          overload_passes_while_in_time, overload_refuses_a_share, overload_keeps_to_a_half,
          overload_recovers, overload_spreads_retries, overload_without_target)
