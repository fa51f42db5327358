#include "service/overload.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "http2/grpc_server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two watches over one server. Health is asked and answered whatever they say, and what was let in
 * goes on.
 *
 * Memory: a timer looks at it ten times a second.
 *
 *   1. Over `soft`, what was freed is given back to the system first, for the allocator keeps it
 *      and it would count for ever. With 500 MB in small pieces that takes 50 to 100 ms. So a
 *      thread does it, and what it gains is waited for, up to a second. Who allocates meanwhile may
 *      have to wait as well: hence at most every ten seconds, and the seldomer the less it gains.
 *   2. Still over it: no new connections, no new watchers, which are what stays.
 *   3. Over `hard`: no new calls.
 *   4. Each ends a sixteenth below where it began, so that it does not flicker.
 *
 * The loop: reactor_take_delay() says how long ready work has to wait at least. One long turn is
 * nothing; but when the shortest within a whole interval is over the target, there is more work
 * than can be done, and a part of the calls is refused: the first sixteenth, and one more with
 * every interval like that, up to a half. With every better interval that share halves. A call that
 * is refused costs nearly as much as a short one that is answered, so refusing more than half would
 * leave less to those that are served, and gain nothing; what it buys is that well-behaved clients
 * wait before they come again, each for a different time.
 *
 * What can go wrong: the memory cannot be read. Then the state stays as it was.
 */

#define DOMAIN         "users.v1"
#define LOOK_NS        (100 * CLOCK_NS_PER_MS)
#define TRIM_PAUSE_NS  (10 * CLOCK_NS_PER_S)
#define TRIM_PAUSE_MAX (160 * CLOCK_NS_PER_S)
#define TRIM_WAIT_NS   CLOCK_NS_PER_S
#define RELIEF_PARTS   16
#define CALM_NS        (5 * CLOCK_NS_PER_S) /* without an interval over the target: it is over */
#define SHARE_ALL      256
#define SHARE_STEP     16
#define SHARE_MAX      128
#define RETRY_DELAY_MS 1000 /* for a loop that is late */
#define RETRY_SPACE_MS 5000 /* for memory */
#define HEALTH_SERVICE "/grpc.health.v1.Health/"
#define WATCH_METHOD   "/users.v1.UserService/WatchUser"

struct overload {
    struct reactor *reactor;
    struct overload_options options;
    struct overload_stats stats;
    struct memory memory;
    struct grpc_server *server; /* NULL = none */
    void (*memory_told)(void *context, bool are_calls_refused);
    void *memory_context;
    struct workpool *pool; /* NULL = closed */
    struct timer look;
    struct workpool_job trim;
    bool is_trimming;
    uint64_t trim_began_ns;
    uint64_t trim_pause_ns;
    uint64_t trim_after_ns;
    uint64_t interval_start_ns;
    uint64_t late_until_ns; /* the present time of lateness goes on until then; 0 = there is none */
    uint64_t late_refused;  /* calls_refused_delay when it began */
    unsigned share;         /* of SHARE_ALL: so many calls are refused */
    unsigned share_due;     /* what of it is not refused yet */
    unsigned retry_turn;
};

/* ---- memory ---- */

static uint64_t percent_of(uint64_t whole, unsigned percent)
{
    return whole / 100 * percent + whole % 100 * percent / 100;
}

/* Where the present state, and what it leads to, begins or ends. */
static enum overload_memory judge_memory(const struct overload *overload, uint64_t used)
{
    const enum overload_memory now = overload->stats.memory;
    uint64_t soft = percent_of(overload->stats.memory_max, overload->options.soft);
    uint64_t hard = percent_of(overload->stats.memory_max, overload->options.hard);

    if (now >= OVERLOAD_MEMORY_SOFT) {
        soft -= soft / RELIEF_PARTS;
    }
    if (now == OVERLOAD_MEMORY_HARD) {
        hard -= hard / RELIEF_PARTS;
    }
    if (used >= hard) {
        return OVERLOAD_MEMORY_HARD;
    }
    return used >= soft ? OVERLOAD_MEMORY_SOFT : OVERLOAD_MEMORY_EASY;
}

static void tell_server(const struct overload *overload)
{
    if (overload->server != NULL) {
        grpc_server_refuse_connections(overload->server,
                                       overload->stats.memory != OVERLOAD_MEMORY_EASY);
    }
}

static void tell_watcher(const struct overload *overload)
{
    if (overload->memory_told != NULL) {
        overload->memory_told(overload->memory_context,
                              overload->stats.memory == OVERLOAD_MEMORY_HARD);
    }
}

static void set_memory(struct overload *overload, enum overload_memory memory)
{
    static const char *const refused[] = {
        [OVERLOAD_MEMORY_EASY] = "nothing",
        [OVERLOAD_MEMORY_SOFT] = "connections and watchers",
        [OVERLOAD_MEMORY_HARD] = "connections and calls",
    };
    struct overload_stats *stats = &overload->stats;
    const bool is_worse = memory > stats->memory;

    if (memory == stats->memory) {
        return;
    }
    stats->memory = memory;
    log_event(overload->reactor->log, is_worse ? LEVEL_WARN : LEVEL_INFO,
              is_worse ? "memory_pressure" : "memory_relieved",
              FIELD_NUMBER("used", stats->memory_used), FIELD_NUMBER("max", stats->memory_max),
              FIELD_TEXT("refused", refused[memory]));
    tell_server(overload);
    tell_watcher(overload);
}

static void trim(struct workpool_job *job)
{
    (void)job;
    memory_trim();
}

static void on_trimmed(struct workpool_job *job, bool cancelled)
{
    struct overload *overload = CONTAINER_OF(job, struct overload, trim);
    struct overload_stats *stats = &overload->stats;
    const uint64_t before = stats->memory_used;

    overload->is_trimming = false;
    overload->trim_after_ns = overload->reactor->now_ns + overload->trim_pause_ns;
    if (cancelled || overload->pool == NULL ||
        memory_used(&overload->memory, &stats->memory_used) != 0) {
        return;
    }
    if (stats->memory_used + before / RELIEF_PARTS <= before) {
        overload->trim_pause_ns = TRIM_PAUSE_NS;
    } else if (overload->trim_pause_ns < TRIM_PAUSE_MAX) {
        overload->trim_pause_ns *= 2;
    }
    overload->trim_after_ns = overload->reactor->now_ns + overload->trim_pause_ns;
    set_memory(overload, judge_memory(overload, stats->memory_used));
}

/* When the pool is full, the next look tries again. */
static void begin_trim(struct overload *overload, uint64_t now_ns)
{
    overload->trim.work = trim;
    overload->trim.finish = on_trimmed;
    if (workpool_submit(overload->pool, &overload->trim) == 0) {
        overload->is_trimming = true;
        overload->trim_began_ns = now_ns;
        overload->stats.trims++;
    }
}

static void look_at_memory(struct overload *overload, uint64_t now_ns)
{
    struct overload_stats *stats = &overload->stats;
    enum overload_memory memory;

    if (memory_used(&overload->memory, &stats->memory_used) != 0) {
        return;
    }
    memory = judge_memory(overload, stats->memory_used);
    if (memory != OVERLOAD_MEMORY_EASY && !overload->is_trimming &&
        now_ns >= overload->trim_after_ns) {
        begin_trim(overload, now_ns);
    }
    if (memory > stats->memory && overload->is_trimming &&
        now_ns - overload->trim_began_ns < TRIM_WAIT_NS) {
        return; /* it may be enough */
    }
    set_memory(overload, memory);
}

/* ---- the loop ---- */

static void begin_lateness(struct overload *overload, uint64_t now_ns)
{
    if (overload->late_until_ns == 0) {
        overload->late_refused = overload->stats.calls_refused_delay;
        log_event(overload->reactor->log, LEVEL_WARN, "overloaded",
                  FIELD_NUMBER("delay_us", overload->stats.delay_ns / CLOCK_NS_PER_US),
                  FIELD_NUMBER("target_us", overload->options.target_ns / CLOCK_NS_PER_US));
    }
    overload->late_until_ns = now_ns + CALM_NS;
}

static void end_lateness(struct overload *overload)
{
    overload->late_until_ns = 0;
    log_event(
        overload->reactor->log, LEVEL_INFO, "overload_over",
        FIELD_NUMBER("refused", overload->stats.calls_refused_delay - overload->late_refused));
}

/* The end of an interval. */
static void judge_delay(struct overload *overload, uint64_t now_ns)
{
    struct overload_stats *stats = &overload->stats;

    overload->interval_start_ns = now_ns;
    stats->delay_ns = reactor_take_delay(overload->reactor);
    if (overload->options.target_ns > 0 && stats->delay_ns > overload->options.target_ns) {
        begin_lateness(overload, now_ns);
        overload->share += SHARE_STEP;
        if (overload->share > SHARE_MAX) {
            overload->share = SHARE_MAX;
        }
    } else {
        overload->share = overload->share > SHARE_STEP / 2 ? overload->share / 2 : 0;
        if (overload->late_until_ns != 0 && now_ns >= overload->late_until_ns) {
            end_lateness(overload);
        }
    }
    stats->refused_permille = overload->share * 1000 / SHARE_ALL;
}

static void look_at_delay(struct overload *overload, uint64_t now_ns)
{
    if (now_ns - overload->interval_start_ns >= overload->options.interval_ns) {
        judge_delay(overload, now_ns);
    }
}

/* Whether the next call belongs to the share, evenly. */
static bool is_in_share(struct overload *overload)
{
    overload->share_due += overload->share;
    if (overload->share_due < SHARE_ALL) {
        return false;
    }
    overload->share_due -= SHARE_ALL;
    return true;
}

/* ---- the stage ---- */

static bool has_path(const struct grpc_call *call, const char *prefix)
{
    return call->method != NULL && strncmp(call->method->path, prefix, strlen(prefix)) == 0;
}

/* Half as long to half as long again, so that those who were refused do not all come at once. */
static int64_t spread(struct overload *overload, int64_t retry_ms)
{
    overload->retry_turn = (overload->retry_turn + 618) % 1000; /* steps of the golden ratio */
    return retry_ms / 2 + retry_ms * (int64_t)overload->retry_turn / 1000;
}

static void refuse_for_memory(struct overload *overload, struct grpc_call *call)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
        .message = "The server is short of memory",
        .reason = "MEMORY_PRESSURE",
        .domain = DOMAIN,
        .retry_delay_ms = spread(overload, RETRY_SPACE_MS),
    };

    grpc_call_fail(call, &error);
}

static void refuse_for_delay(struct overload *overload, struct grpc_call *call)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_UNAVAILABLE,
        .message = "The server is overloaded",
        .reason = "OVERLOADED",
        .domain = DOMAIN,
        .retry_delay_ms = spread(overload, RETRY_DELAY_MS),
    };

    grpc_call_fail(call, &error);
}

static bool overload_begin(void *context, struct grpc_call *call)
{
    struct overload *overload = context;
    struct overload_stats *stats = &overload->stats;
    struct limits_hit *hits = &overload->reactor->limits_hit;

    look_at_delay(overload, overload->reactor->now_ns);
    if ((stats->memory == OVERLOAD_MEMORY_EASY && overload->share == 0) ||
        has_path(call, HEALTH_SERVICE)) {
        return true;
    }
    if (stats->memory == OVERLOAD_MEMORY_HARD) {
        stats->calls_refused_memory++;
        limits_hit_add(hits, LIMITS_HIT_MEMORY_HARD);
        refuse_for_memory(overload, call);
        return false;
    }
    if (stats->memory == OVERLOAD_MEMORY_SOFT && has_path(call, WATCH_METHOD)) {
        stats->watchers_refused_memory++;
        limits_hit_add(hits, LIMITS_HIT_MEMORY_SOFT);
        refuse_for_memory(overload, call);
        return false;
    }
    if (is_in_share(overload)) {
        stats->calls_refused_delay++;
        limits_hit_add(hits, LIMITS_HIT_LOOP_DELAY);
        refuse_for_delay(overload, call);
        return false;
    }
    return true;
}

struct grpc_stage overload_stage(struct overload *overload)
{
    return (struct grpc_stage){.name = "overload", .begin = overload_begin, .context = overload};
}

/* ---- life ---- */

static void on_look(struct timer *timer)
{
    struct overload *overload = CONTAINER_OF(timer, struct overload, look);
    const uint64_t now_ns = overload->reactor->now_ns;

    look_at_memory(overload, now_ns);
    look_at_delay(overload, now_ns);
    (void)reactor_start_timer(overload->reactor, timer,
                              LOOK_NS); /* its place was just given back */
}

void overload_set_options(struct overload *overload, const struct overload_options *options)
{
    overload->options = *options;
    overload->stats.memory_max = options->memory_max != 0 ? options->memory_max : memory_allowed();
    if (options->target_ns == 0) {
        overload->share = 0;
    }
}

int overload_new(struct reactor *reactor, struct workpool *pool,
                 const struct overload_options *options, struct overload **ret_overload)
{
    struct overload *overload = calloc(1, sizeof(*overload));
    int result;

    if (overload == NULL) {
        return -ENOMEM;
    }
    overload->reactor = reactor;
    overload->pool = pool;
    overload->trim_pause_ns = TRIM_PAUSE_NS;
    overload->look.fire = on_look;
    overload_set_options(overload, options);
    result = memory_open(&overload->memory);
    if (result == 0) {
        result = reactor_start_timer(reactor, &overload->look, 0);
    }
    if (result != 0) {
        overload_free(overload);
        return result;
    }
    *ret_overload = overload;
    return 0;
}

void overload_set_server(struct overload *overload, struct grpc_server *server)
{
    overload->server = server;
    tell_server(overload);
}

void overload_watch_memory(struct overload *overload,
                           void (*told)(void *context, bool are_calls_refused), void *context)
{
    overload->memory_told = told;
    overload->memory_context = context;
    tell_watcher(overload);
}

const struct overload_stats *overload_stats(const struct overload *overload)
{
    return &overload->stats;
}

void overload_close(struct overload *overload)
{
    if (overload != NULL) {
        overload->server = NULL;
        overload->memory_told = NULL;
        if (overload->is_trimming && overload->pool != NULL) {
            workpool_cancel(overload->pool, &overload->trim);
        }
        overload->pool = NULL;
        reactor_stop_timer(overload->reactor, &overload->look);
    }
}

void overload_free(struct overload *overload)
{
    if (overload == NULL) {
        return;
    }
    overload_close(overload);
    assert(!overload->is_trimming);
    memory_close(&overload->memory);
    free(overload);
}
