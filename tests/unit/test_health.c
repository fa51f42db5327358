#include "lib/unit.h"

#include "call_fakes.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_method.h"
#include "http2/proto_wire.h"
#include "service/health.h"

#include <errno.h>
#include <stdio.h>

/* The three methods between fake calls and a real reactor, on a clock that the test moves. */

#define MAX_WATCHERS 300

enum {
    UNKNOWN,
    SERVING,
    NOT_SERVING,
    SERVICE_UNKNOWN
};

static struct reactor reactor;
static struct clock_source clock;
static uint64_t now_ns;
static uint64_t step_ns; /* so far the clock goes on each time somebody looks */
static struct grpc_call_host host;
static struct health *health;
static const struct health_stats *stats;
static struct grpc_method methods[HEALTH_METHOD_COUNT];

static uint64_t fake_ns(struct clock_source *source)
{
    (void)source;
    now_ns += step_ns;
    return now_ns;
}

static void start(void)
{
    const struct ring_options ring_options = {.entries = 8};
    const struct health_options options = {.max_watchers = MAX_WATCHERS};
    char problem[RING_PROBLEM_SIZE];

    now_ns = CLOCK_NS_PER_S;
    step_ns = 0;
    clock = (struct clock_source){fake_ns, fake_ns};
    host = (struct grpc_call_host){.reactor = &reactor};
    ck_assert_int_eq(reactor_init(&reactor, &ring_options, &clock, NULL, problem), 0);
    ck_assert_int_eq(health_new(&reactor, &options, &health), 0);
    health_methods(health, methods);
    stats = health_stats(health);
}

static void finish(void)
{
    ck_assert_uint_eq(stats->watchers, 0);
    ck_assert_uint_eq(host.health_streams, 0);
    health_free(health);
    reactor_deinit(&reactor);
}

/* Turns until everybody has been told what can be told. */
static void settle(void)
{
    do {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    } while (!list_is_empty(&reactor.slow_tasks));
}

/* Makes a call of that method, with a request in memory that is gone when the handler returns. */
static void call_with(struct fake_call *call, const char *name, struct bytes request)
{
    uint8_t *copy = malloc(request.size + 1);

    fake_call_init(call);
    call->call.host = &host;
    ck_assert_ptr_nonnull(copy);
    if (request.size > 0) {
        memcpy(copy, request.data, request.size);
    }
    for (unsigned i = 0; i < HEALTH_METHOD_COUNT; i++) {
        if (strcmp(strrchr(methods[i].path, '/') + 1, name) == 0) {
            methods[i].handler(methods[i].service, &call->call, (struct bytes){copy, request.size});
        }
    }
    free(copy);
}

static void call_for(struct fake_call *call, const char *name, const char *service)
{
    uint8_t request[256] = {1 << 3 | PROTO_WIRE_BYTES, (uint8_t)strlen(service)};
    size_t size = service[0] == '\0' ? 0 : 2 + strlen(service);

    ck_assert_uint_lt(strlen(service), 128);
    memcpy(request + 2, service, strlen(service));
    call_with(call, name, (struct bytes){request, size});
}

static unsigned status_in(struct bytes message)
{
    ck_assert_uint_eq(message.size, 2);
    ck_assert_uint_eq(message.data[0], 1 << 3 | PROTO_WIRE_VARINT);
    return message.data[1];
}

static unsigned check(const char *service)
{
    static struct fake_call call;
    unsigned status;

    call_for(&call, "Check", service);
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    ck_assert(call.answered);
    status = status_in(buf_bytes(&call.reply));
    fake_call_deinit(&call);
    return status;
}

static void check_all(unsigned whole, unsigned readiness, unsigned liveness)
{
    ck_assert_uint_eq(check(""), whole);
    ck_assert_uint_eq(check("users.v1.UserService"), whole);
    ck_assert_uint_eq(check("readiness"), readiness);
    ck_assert_uint_eq(check("liveness"), liveness);
    ck_assert_int_eq(health_is_ready(health), readiness == SERVING);
}

/* The watcher was told these, and nothing else. */
static void check_told(const struct fake_call *call, unsigned count, const unsigned *statuses)
{
    ck_assert_uint_eq(call->sent_count, count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(status_in(fake_call_sent(call, i)), statuses[i]);
    }
}

#define TOLD(call_, ...)                                                                           \
    check_told((call_), sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned),                      \
               (const unsigned[]){__VA_ARGS__})

static void end_watch(struct fake_call *call)
{
    fake_call_cancel(call);
    fake_call_deinit(call);
}

static void check_failed(struct fake_call *call, enum grpc_status status, const char *reason)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->reason, reason);
    fake_call_deinit(call);
}

/* Every state gives every name its status. */
START_TEST(health_knows_every_state)
{
    start();
    ck_assert_int_eq(health_state(health), HEALTH_STARTING);
    check_all(NOT_SERVING, NOT_SERVING, SERVING);
    health_set(health, HEALTH_SERVING, "");
    check_all(SERVING, SERVING, SERVING);
    ck_assert_str_eq(health_reason(health), "");
    health_set(health, HEALTH_READ_ONLY, "no room");
    check_all(SERVING, NOT_SERVING, SERVING);
    ck_assert_str_eq(health_reason(health), "no room");
    health_set(health, HEALTH_SERVING, "");
    check_all(SERVING, SERVING, SERVING);
    health_set(health, HEALTH_DRAINING, "SIGTERM");
    check_all(NOT_SERVING, NOT_SERVING, SERVING);
    health_set(health, HEALTH_FAILED, "fdatasync: EIO");
    check_all(NOT_SERVING, NOT_SERVING, NOT_SERVING);
    ck_assert_str_eq(health_reason(health), "fdatasync: EIO");
    ck_assert_str_eq(health_state_name(HEALTH_FAILED), "failed");
    finish();
}

END_TEST

/* Who is on the way down does not come up again, whatever is said of it later. */
START_TEST(health_does_not_recover_from_the_end)
{
    static const enum health_state late[] = {HEALTH_STARTING, HEALTH_SERVING, HEALTH_READ_ONLY,
                                             HEALTH_DRAINING};

    start();
    health_set(health, HEALTH_SERVING, "");
    health_set(health, HEALTH_DRAINING, "first");
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        health_set(health, late[i], "later");
        ck_assert_int_eq(health_state(health), HEALTH_DRAINING);
        ck_assert_str_eq(health_reason(health), "first");
    }
    health_set(health, HEALTH_FAILED, "worse");
    health_set(health, HEALTH_DRAINING, "later");
    ck_assert_str_eq(health_reason(health), "worse");
    finish();
}

END_TEST

/* A name is known as it is written, or not at all. */
START_TEST(health_matches_names_exactly)
{
    static const char *const names[] = {
        "users.v1.UserServic", "users.v1.UserServices", "*", "users.v1.userservice",
        "liveness ",           "grpc.health.v1.Health"};

    start();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct fake_call call;

        call_for(&call, "Check", names[i]);
        ck_assert_str_eq(call.message, "unknown service");
        check_failed(&call, GRPC_STATUS_NOT_FOUND, "SERVICE_UNKNOWN");
    }
    finish();
}

END_TEST

/* Of a field that stands twice the last counts, and fields of a later version do not disturb. */
START_TEST(health_reads_requests_as_protobuf)
{
    static const uint8_t last[] = {0x0a, 1, 'x', 0x0a, 8, 'l', 'i', 'v', 'e', 'n', 'e', 's', 's'};
    static const uint8_t later[] = {0x10, 7,   0x0a, 8,   'l', 'i',  'v',
                                    'e',  'n', 'e',  's', 's', 0x1a, 0};
    static const uint8_t cut[] = {0x0a, 9, 'l', 'i', 'v', 'e', 'n', 'e', 's', 's'};
    static const uint8_t no_text[] = {0x0a, 1, 0xff};
    static const struct bytes good[] = {{last, sizeof(last)}, {later, sizeof(later)}};
    static const struct bytes bad[] = {{cut, sizeof(cut)}, {no_text, sizeof(no_text)}};
    static struct fake_call call;

    start();
    for (size_t i = 0; i < 2; i++) {
        call_with(&call, "Check", good[i]);
        ck_assert_uint_eq(status_in(buf_bytes(&call.reply)), SERVING);
        fake_call_deinit(&call);
        call_with(&call, "Check", bad[i]);
        check_failed(&call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE");
        call_with(&call, "Watch", bad[i]);
        check_failed(&call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE");
    }
    finish();
}

END_TEST

/* List names everything once, with the present status. */
START_TEST(health_lists_all_names)
{
    static const char expected[] = "=1;users.v1.UserService=1;readiness=2;liveness=1;";
    char found[256] = "";
    struct proto_wire_field entry;
    struct proto_wire_field name;
    struct proto_wire_field response;
    static struct fake_call call;
    struct bytes rest;

    start();
    health_set(health, HEALTH_READ_ONLY, "");
    call_with(&call, "List", (struct bytes){NULL, 0});
    ck_assert_int_eq(call.status, GRPC_STATUS_OK);
    rest = buf_bytes(&call.reply);
    while (proto_wire_read(&rest, &entry) == 0) {
        size_t used = strlen(found);

        ck_assert_uint_eq(entry.number, 1);
        ck_assert_int_eq(proto_wire_read(&entry.bytes, &name), 0);
        ck_assert_int_eq(proto_wire_read(&entry.bytes, &response), 0);
        ck_assert_uint_eq(entry.bytes.size, 0);
        ck_assert_uint_eq(name.number, 1);
        ck_assert_uint_eq(response.number, 2);
        (void)snprintf(found + used, sizeof(found) - used, "%.*s=%u;", (int)name.bytes.size,
                       (const char *)name.bytes.data, status_in(response.bytes));
    }
    ck_assert_uint_eq(rest.size, 0);
    ck_assert_str_eq(found, expected);
    fake_call_deinit(&call);
    finish();
}

END_TEST

/* A watcher hears the present status at once, then every change of it, and of no other name. */
START_TEST(health_tells_watchers_of_changes)
{
    static struct fake_call whole;
    static struct fake_call readiness;
    static struct fake_call liveness;

    start();
    call_for(&whole, "Watch", "");
    call_for(&readiness, "Watch", "readiness");
    call_for(&liveness, "Watch", "liveness");
    TOLD(&whole, NOT_SERVING);
    TOLD(&liveness, SERVING);
    ck_assert(whole.trimmed);
    ck_assert_uint_eq(stats->watchers, 3);
    health_set(health, HEALTH_SERVING, "");
    TOLD(&whole, NOT_SERVING); /* not from inside */
    settle();
    TOLD(&whole, NOT_SERVING, SERVING);
    health_set(health, HEALTH_READ_ONLY, "no room");
    settle();
    health_set(health, HEALTH_SERVING, "");
    settle();
    health_set(health, HEALTH_FAILED, "");
    settle();
    TOLD(&whole, NOT_SERVING, SERVING, NOT_SERVING);
    TOLD(&readiness, NOT_SERVING, SERVING, NOT_SERVING, SERVING, NOT_SERVING);
    TOLD(&liveness, SERVING, NOT_SERVING);
    ck_assert_uint_eq(stats->sent, 10);
    end_watch(&whole);
    end_watch(&readiness);
    end_watch(&liveness);
    finish();
}

END_TEST

/* A change that is taken back before anybody could be told is none. */
START_TEST(health_merges_changes_of_one_turn)
{
    static struct fake_call call;

    start();
    health_set(health, HEALTH_SERVING, "");
    call_for(&call, "Watch", "readiness");
    health_set(health, HEALTH_READ_ONLY, "");
    health_set(health, HEALTH_SERVING, "");
    settle();
    TOLD(&call, SERVING);
    health_set(health, HEALTH_SERVING, "again");
    settle();
    TOLD(&call, SERVING);
    end_watch(&call);
    finish();
}

END_TEST

/* A watcher of an unknown name is told so, and stays. */
START_TEST(health_keeps_watchers_of_unknown_names)
{
    static struct fake_call call;

    start();
    call_for(&call, "Watch", "no.such.Service");
    TOLD(&call, SERVICE_UNKNOWN);
    health_set(health, HEALTH_SERVING, "");
    settle();
    TOLD(&call, SERVICE_UNKNOWN);
    ck_assert(!call.answered);
    end_watch(&call);
    finish();
}

END_TEST

/* A reader that does not take its message gets only the newest when it does. */
START_TEST(health_skips_for_slow_readers)
{
    static struct fake_call call;

    start();
    call_for(&call, "Watch", "readiness");
    call.unsent_size = 7;
    for (unsigned i = 0; i < 5; i++) {
        health_set(health, HEALTH_SERVING, "");
        settle();
        health_set(health, HEALTH_READ_ONLY, "");
        settle();
    }
    TOLD(&call, NOT_SERVING);
    ck_assert_uint_eq(stats->skipped, 5);
    fake_call_writable(&call);
    TOLD(&call, NOT_SERVING); /* as it was told last */
    call.unsent_size = 7;
    health_set(health, HEALTH_SERVING, "");
    settle();
    fake_call_writable(&call);
    TOLD(&call, NOT_SERVING, SERVING);
    fake_call_writable(&call);
    TOLD(&call, NOT_SERVING, SERVING);
    ck_assert_uint_eq(stats->skipped, 5);
    end_watch(&call);
    finish();
}

END_TEST

/* No memory for a message ends that watcher: at its start, at a change, and when it reads again. */
START_TEST(health_survives_missing_memory)
{
    static struct fake_call calls[2];
    uint8_t request[2] = {0x0a, 0};

    start();
    fake_call_init(&calls[0]);
    calls[0].call.host = &host;
    calls[0].send_result = -ENOMEM;
    methods[2].handler(methods[2].service, &calls[0].call, (struct bytes){request, 2});
    check_failed(&calls[0], GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
    call_for(&calls[0], "Watch", "");
    call_for(&calls[1], "Watch", "");
    calls[0].send_result = -ENOMEM;
    calls[1].send_result = -ENOMEM;
    calls[1].unsent_size = 1;
    health_set(health, HEALTH_SERVING, "");
    settle();
    check_failed(&calls[0], GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
    ck_assert_uint_eq(stats->watchers, 1);
    fake_call_writable(&calls[1]);
    check_failed(&calls[1], GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
    finish();
}

END_TEST

/* Watchers are limited on a connection and in all, and one that ends makes room. */
START_TEST(health_bounds_watchers)
{
    static struct fake_call calls[MAX_WATCHERS];
    static struct grpc_call_host hosts[MAX_WATCHERS];
    static struct fake_call extra;

    start();
    for (unsigned i = 0; i < HEALTH_WATCHERS_PER_CONNECTION; i++) {
        call_for(&calls[i], "Watch", "");
    }
    call_for(&extra, "Watch", "");
    check_failed(&extra, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS");
    end_watch(&calls[0]);
    call_for(&calls[0], "Watch", "");
    ck_assert(!calls[0].answered);
    for (unsigned i = HEALTH_WATCHERS_PER_CONNECTION; i < MAX_WATCHERS; i++) {
        fake_call_init(&calls[i]);
        calls[i].call.host = &hosts[i];
        methods[2].handler(methods[2].service, &calls[i].call, (struct bytes){NULL, 0});
        ck_assert(!calls[i].answered);
    }
    fake_call_init(&extra);
    extra.call.host = &hosts[HEALTH_WATCHERS_PER_CONNECTION];
    methods[2].handler(methods[2].service, &extra.call, (struct bytes){NULL, 0});
    ck_assert_ptr_nonnull(strstr(extra.message, "watch.max_health"));
    check_failed(&extra, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS");
    ck_assert_uint_eq(stats->refused, 2);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_WATCH_HEALTH], 2);
    ck_assert_uint_eq(stats->watchers, MAX_WATCHERS);

    /* However many there are, a turn takes a slice of them, by number or by time. */
    health_set(health, HEALTH_SERVING, "");
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_eq(stats->sent, MAX_WATCHERS + 1 + 128);
    step_ns = 150 * CLOCK_NS_PER_US;
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_lt(stats->sent, MAX_WATCHERS + 1 + 128 + 10);
    settle();
    ck_assert_uint_eq(stats->sent, MAX_WATCHERS + 1 + MAX_WATCHERS);
    for (unsigned i = 0; i < MAX_WATCHERS; i++) {
        end_watch(&calls[i]);
    }
    finish();
}

END_TEST

/* The end: every watcher hears the last status, then UNAVAILABLE, even one that does not read; and
 * so do those that come later. */
START_TEST(health_ends_watchers)
{
    static struct fake_call quick;
    static struct fake_call slow;
    static struct fake_call late;

    start();
    health_set(health, HEALTH_SERVING, "");
    call_for(&quick, "Watch", "");
    call_for(&slow, "Watch", "unknown");
    slow.unsent_size = 7;
    health_set(health, HEALTH_DRAINING, "SIGTERM");
    health_end_watches(health);
    settle();
    TOLD(&quick, SERVING, NOT_SERVING);
    check_failed(&quick, GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
    check_failed(&slow, GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
    call_for(&late, "Watch", "");
    check_failed(&late, GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
    ck_assert_uint_eq(check(""), NOT_SERVING);
    finish();
}

END_TEST

/* A watcher may go at any moment, also between a change and its telling. */
START_TEST(health_lets_watchers_go)
{
    static struct fake_call call;

    start();
    call_for(&call, "Watch", "");
    health_set(health, HEALTH_SERVING, "");
    end_watch(&call);
    settle();
    call_for(&call, "Watch", "");
    health_set(health, HEALTH_FAILED, "");
    end_watch(&call);
    finish();
}

END_TEST

/* Want of memory takes readiness alone, in every state, and gives it back; the reason of a worse
 * state is the one that is told. */
START_TEST(health_is_not_ready_when_memory_is_short)
{
    static struct fake_call ready;
    static struct fake_call whole;

    start();
    health_set_short(health, true);
    check_all(NOT_SERVING, NOT_SERVING, SERVING);
    health_set(health, HEALTH_SERVING, "");
    check_all(SERVING, NOT_SERVING, SERVING);
    ck_assert_ptr_nonnull(strstr(health_reason(health), "overload.hard"));
    health_set(health, HEALTH_READ_ONLY, "no room");
    ck_assert_str_eq(health_reason(health), "no room");
    health_set(health, HEALTH_SERVING, "");
    call_for(&ready, "Watch", "readiness");
    call_for(&whole, "Watch", "");
    health_set_short(health, false);
    settle();
    check_all(SERVING, SERVING, SERVING);
    ck_assert_str_eq(health_reason(health), "");
    health_set_short(health, true);
    settle();
    health_set_short(health, true);
    settle();
    TOLD(&ready, NOT_SERVING, SERVING, NOT_SERVING);
    TOLD(&whole, SERVING);
    end_watch(&ready);
    end_watch(&whole);
    health_set(health, HEALTH_DRAINING, "SIGTERM");
    health_set_short(health, false);
    check_all(NOT_SERVING, NOT_SERVING, SERVING);
    finish();
}

END_TEST

UNIT_MAIN("health", health_knows_every_state, health_does_not_recover_from_the_end,
          health_matches_names_exactly, health_reads_requests_as_protobuf, health_lists_all_names,
          health_tells_watchers_of_changes, health_merges_changes_of_one_turn,
          health_keeps_watchers_of_unknown_names, health_skips_for_slow_readers,
          health_survives_missing_memory, health_bounds_watchers, health_ends_watchers,
          health_lets_watchers_go, health_is_not_ready_when_memory_is_short)
