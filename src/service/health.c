#include "service/health.h"

#include "core/clock.h"
#include "core/list.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "http2/proto_wire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * One state of the server makes the statuses of all names, by the table below. So a watcher needs
 * to know no more than what it was told last: whenever it can be told something, it is told the
 * present status, if that differs. A reader that is slow gets the newest status and never a
 * backlog, and a status that changed and changed back within a turn is no message at all.
 *
 *   1. health_set() queues all watchers for the fan-out, which runs at the end of the turn and goes
 *      on, in slices, in the turns that follow.
 *   2. A watcher whose client has not taken the message before is passed over; the `writable` of
 *      its call brings it on.
 *   3. health_end_watches() is the same with an end behind it.
 *
 * A name that is not in the table has the status SERVICE_UNKNOWN for a watcher, which stays open as
 * the protocol wants it, and NOT_FOUND for Check.
 */

#define SLICE_NS       (200 * CLOCK_NS_PER_US)
#define SLICE_WATCHERS 128 /* each may be a connection to flush at the end of the turn */

/* The messages, by field number. */
#define REQUEST_SERVICE 1
#define RESPONSE_STATUS 1
#define LIST_STATUSES   1
#define ENTRY_NAME      1
#define ENTRY_RESPONSE  2

#define REQUEST_FIELDS_MAX 16 /* the one that is known, and some of later versions */

enum status {
    UNKNOWN,
    SERVING,
    NOT_SERVING,
    SERVICE_UNKNOWN,
};

#define STATE_COUNT (HEALTH_FAILED + 1)

/* The whole server and its service go with the state; a full disk still answers reads. A probe for
 * readiness is to take the server out of balancing whenever some calls would fail. One for liveness
 * is to kill a process that a new start would help: not one that is starting or on its way out. A
 * server that refuses all calls for want of memory is not ready; one that refuses a share of them
 * because it is late is: all its like are as late, and those that are left would be later. */
static const struct {
    const char *name;
    uint8_t statuses[STATE_COUNT];
} names[] = {
    /* starting, serving, read only, draining, failed */
    {"", {NOT_SERVING, SERVING, SERVING, NOT_SERVING, NOT_SERVING}},
    {"users.v1.UserService", {NOT_SERVING, SERVING, SERVING, NOT_SERVING, NOT_SERVING}},
    {"readiness", {NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING, NOT_SERVING}},
    {"liveness", {SERVING, SERVING, SERVING, SERVING, NOT_SERVING}},
};

#define NAME_COUNT     (sizeof(names) / sizeof(names[0]))
#define NAME_NONE      NAME_COUNT /* a service that is not ours */
#define NAME_READINESS 2

struct health {
    struct reactor *reactor;
    struct health_options options;
    struct health_stats stats;
    enum health_state state;
    char reason[HEALTH_REASON_SIZE];
    bool is_short;      /* of memory */
    struct list quiet;  /* of struct health_watcher: nothing is to be done */
    struct list queued; /* that the fan-out comes by, the next one first */
    struct reactor_task fan_out;
    bool ending;
};

struct health_watcher {
    struct list link; /* in `quiet` or `queued` */
    struct health *health;
    struct grpc_call *call; /* held */
    uint8_t name;           /* index, or NAME_NONE */
    uint8_t told;           /* enum status */
    bool behind;            /* it was not told the last one, since it has too much to read */
};

static enum status status_of(const struct health *health, size_t name)
{
    if (name == NAME_NONE) {
        return SERVICE_UNKNOWN;
    }
    if (name == NAME_READINESS && health->is_short) {
        return NOT_SERVING;
    }
    return (enum status)names[name].statuses[health->state];
}

/* ---- messages ---- */

/* Reads the name of the service into an index. Returns 0, or -EBADMSG. */
static int read_request(struct bytes request, size_t *ret_name)
{
    static const struct proto_wire_shape shape = {
        .number_max = 1,
        .strings = 1ULL << REQUEST_SERVICE,
    };
    static const struct proto_wire_limits limits = {REQUEST_FIELDS_MAX, REQUEST_FIELDS_MAX};
    struct proto_wire_field field;
    struct bytes service = {0};
    size_t name = 0;

    if (proto_wire_scan(request, &shape, &limits) != 0) {
        return -EBADMSG;
    }
    while (proto_wire_read(&request, &field) == 0) {
        if (field.number == REQUEST_SERVICE && field.type == PROTO_WIRE_BYTES) {
            service = field.bytes;
        }
    }
    while (name < NAME_COUNT && !bytes_equal(service, bytes_from_text(names[name].name))) {
        name++;
    }
    *ret_name = name;
    return 0;
}

#define RESPONSE_SIZE 2

/* A HealthCheckResponse. */
static struct bytes write_response(enum status status, uint8_t out[RESPONSE_SIZE])
{
    out[0] = RESPONSE_STATUS << 3 | PROTO_WIRE_VARINT;
    out[1] = (uint8_t)status;
    return (struct bytes){out, RESPONSE_SIZE};
}

/* ---- errors ---- */

static void fail(struct grpc_call *call, enum grpc_status status, const char *reason,
                 const char *message)
{
    const struct grpc_error error = {
        .status = status,
        .message = message,
        .reason = reason,
        .domain = "users.v1",
    };

    grpc_call_fail(call, &error);
}

static void fail_no_memory(struct grpc_call *call)
{
    fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "Out of memory");
}

static void fail_malformed(struct grpc_call *call)
{
    fail(call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE", "Malformed request message");
}

static void fail_shutdown(struct grpc_call *call)
{
    fail(call, GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN", "the server is shutting down");
}

static void fail_limit(struct grpc_call *call, const char *message)
{
    fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", message);
}

/* ---- watchers ---- */

/* Takes the watcher out of everything, lets go of its call and frees it. */
static void watcher_leave(struct health_watcher *watcher)
{
    struct grpc_call *call = watcher->call;

    watcher->health->stats.watchers--;
    list_remove(&watcher->link);
    free(watcher);
    grpc_call_listen(call, NULL, NULL);
    call->host->health_streams--;
    grpc_call_release(call);
}

/* Tells it what it does not know yet, when there is room. Returns 0, or -ENOMEM. */
static int watcher_update(struct health_watcher *watcher)
{
    enum status status = status_of(watcher->health, watcher->name);
    uint8_t scratch[RESPONSE_SIZE];
    struct bytes message = write_response(status, scratch);

    if (status == (enum status)watcher->told) {
        watcher->health->stats.skipped += watcher->behind;
        watcher->behind = false;
        return 0;
    }
    if (grpc_call_unsent_size(watcher->call) > 0) {
        watcher->health->stats.skipped += watcher->behind;
        watcher->behind = true;
        return 0;
    }
    if (grpc_call_send(watcher->call, &message, 1) != 0) {
        return -ENOMEM;
    }
    watcher->told = (uint8_t)status;
    watcher->behind = false;
    watcher->health->stats.sent++;
    return 0;
}

static void on_writable(struct grpc_call *call, void *context)
{
    struct health_watcher *watcher = context;

    if (watcher_update(watcher) != 0) {
        fail_no_memory(call);
        watcher_leave(watcher);
    }
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    (void)call;
    watcher_leave(context);
}

static const struct grpc_call_events watcher_events = {
    .writable = on_writable,
    .cancelled = on_cancelled,
};

/* True, with the call failed, when a limit is reached. */
static bool refuse(struct health *health, struct grpc_call *call)
{
    if (call->host->health_streams >= HEALTH_WATCHERS_PER_CONNECTION) {
        fail_limit(call, "Too many watchers of the server's health on this connection");
    } else if (health->stats.watchers >= health->options.max_watchers) {
        fail_limit(call, "Too many watchers of the server's health (watch.max_health)");
    } else {
        return false;
    }
    health->stats.refused++;
    limits_hit_add(&health->reactor->limits_hit, LIMITS_HIT_WATCH_HEALTH);
    return true;
}

static void start_watcher(struct health *health, struct grpc_call *call, size_t name)
{
    struct health_watcher *watcher = calloc(1, sizeof(*watcher));

    if (watcher == NULL) {
        fail_no_memory(call);
        return;
    }
    watcher->health = health;
    watcher->call = call;
    watcher->name = (uint8_t)name;
    watcher->told = UNKNOWN; /* which is no name's status */
    list_init(&watcher->link);
    list_push_back(&health->quiet, &watcher->link);
    health->stats.watchers++;
    call->host->health_streams++;
    grpc_call_hold(call);
    grpc_call_listen(call, &watcher_events, watcher);
    if (watcher_update(watcher) == 0) {
        grpc_call_trim(call);
    } else {
        fail_no_memory(call);
        watcher_leave(watcher);
    }
}

/* ---- telling them ---- */

/* Does what is to be done for one watcher, which may be gone afterwards. */
static void bring_on(struct health *health, struct health_watcher *watcher)
{
    bool is_told = watcher_update(watcher) == 0;

    if (!is_told) {
        fail_no_memory(watcher->call);
    } else if (health->ending) {
        fail_shutdown(watcher->call);
    } else {
        list_push_back(&health->quiet, &watcher->link);
        return;
    }
    watcher_leave(watcher);
}

static void run_fan_out(struct reactor_task *task)
{
    struct health *health = CONTAINER_OF(task, struct health, fan_out);
    struct clock_source *clock = health->reactor->clock;
    uint64_t end_ns = clock_monotonic_ns(clock) + SLICE_NS;
    struct list *link;

    for (unsigned i = 0; i < SLICE_WATCHERS; i++) {
        link = list_pop_front(&health->queued);
        if (link == NULL) {
            return;
        }
        bring_on(health, CONTAINER_OF(link, struct health_watcher, link));
        if (clock_monotonic_ns(clock) >= end_ns) {
            break;
        }
    }
    if (!list_is_empty(&health->queued)) {
        reactor_defer_slow(health->reactor, task);
    }
}

static void queue_all(struct health *health)
{
    list_splice_back(&health->queued, &health->quiet);
    if (!list_is_empty(&health->queued)) {
        reactor_defer_slow(health->reactor, &health->fan_out);
    }
}

/* ---- methods ---- */

static void handle_check(void *context, struct grpc_call *call, struct bytes request)
{
    struct health *health = context;
    uint8_t scratch[RESPONSE_SIZE];
    struct bytes message;
    size_t name;

    health->stats.checks++;
    if (read_request(request, &name) != 0) {
        fail_malformed(call);
    } else if (name == NAME_NONE) {
        fail(call, GRPC_STATUS_NOT_FOUND, "SERVICE_UNKNOWN", "unknown service");
    } else {
        message = write_response(status_of(health, name), scratch);
        grpc_call_reply(call, &message, 1);
    }
}

/* A HealthListResponse: a map, which on the wire is a list of entries. Names are shorter than 100
 * bytes, so each length is one byte. */
static void handle_list(void *context, struct grpc_call *call, struct bytes request)
{
    struct health *health = context;
    struct buf reply = {0};
    struct bytes message;
    int result = 0;

    (void)request; /* it has no fields */
    health->stats.checks++;
    for (size_t i = 0; i < NAME_COUNT && result == 0; i++) {
        struct bytes name = bytes_from_text(names[i].name);
        uint8_t head[] = {LIST_STATUSES << 3 | PROTO_WIRE_BYTES,
                          (uint8_t)(2 + name.size + 2 + RESPONSE_SIZE),
                          ENTRY_NAME << 3 | PROTO_WIRE_BYTES, (uint8_t)name.size};
        uint8_t tail[2 + RESPONSE_SIZE] = {ENTRY_RESPONSE << 3 | PROTO_WIRE_BYTES, RESPONSE_SIZE};

        (void)write_response(status_of(health, i), tail + 2);
        result = buf_append(&reply, head, sizeof(head));
        result = result == 0 ? buf_append(&reply, name.data, name.size) : result;
        result = result == 0 ? buf_append(&reply, tail, sizeof(tail)) : result;
    }
    if (result == 0) {
        message = buf_bytes(&reply);
        grpc_call_reply(call, &message, 1);
    } else {
        fail_no_memory(call);
    }
    buf_deinit(&reply);
}

static void handle_watch(void *context, struct grpc_call *call, struct bytes request)
{
    struct health *health = context;
    size_t name;

    if (read_request(request, &name) != 0) {
        fail_malformed(call);
    } else if (health->ending) {
        fail_shutdown(call);
    } else if (!refuse(health, call)) {
        start_watcher(health, call, name);
    }
}

void health_methods(struct health *health, struct grpc_method *ret_methods)
{
    const struct grpc_method rows[HEALTH_METHOD_COUNT] = {
        {.path = "/grpc.health.v1.Health/Check",
         .kind = GRPC_METHOD_UNARY,
         .handler = handle_check,
         .service = health},
        {.path = "/grpc.health.v1.Health/List",
         .kind = GRPC_METHOD_UNARY,
         .handler = handle_list,
         .service = health},
        {.path = "/grpc.health.v1.Health/Watch",
         .kind = GRPC_METHOD_SERVER_STREAM,
         .handler = handle_watch,
         .service = health},
    };

    memcpy(ret_methods, rows, sizeof(rows));
}

/* ---- state ---- */

void health_set(struct health *health, enum health_state state, const char *reason)
{
    if (health->state >= HEALTH_DRAINING && state <= health->state) {
        return;
    }
    health->state = state;
    (void)snprintf(health->reason, sizeof(health->reason), "%s", reason);
    queue_all(health);
}

void health_set_short(struct health *health, bool is_short)
{
    if (health->is_short != is_short) {
        health->is_short = is_short;
        queue_all(health);
    }
}

enum health_state health_state(const struct health *health)
{
    return health->state;
}

const char *health_reason(const struct health *health)
{
    return health->is_short && health->state == HEALTH_SERVING
               ? "calls are refused, for memory is short (overload.hard)"
               : health->reason;
}

bool health_is_ready(const struct health *health)
{
    return status_of(health, NAME_READINESS) == SERVING;
}

const char *health_state_name(enum health_state state)
{
    static const char *const texts[STATE_COUNT] = {"starting", "serving", "read only", "draining",
                                                   "failed"};

    return texts[state];
}

/* ---- life ---- */

int health_new(struct reactor *reactor, const struct health_options *options,
               struct health **ret_health)
{
    struct health *health = calloc(1, sizeof(*health));

    if (health == NULL) {
        return -ENOMEM;
    }
    health->reactor = reactor;
    health->options = *options;
    list_init(&health->quiet);
    list_init(&health->queued);
    list_init(&health->fan_out.link);
    health->fan_out.run = run_fan_out;
    *ret_health = health;
    return 0;
}

void health_end_watches(struct health *health)
{
    health->ending = true;
    queue_all(health);
}

const struct health_stats *health_stats(const struct health *health)
{
    return &health->stats;
}

void health_free(struct health *health)
{
    if (health == NULL) {
        return;
    }
    assert(health->stats.watchers == 0);
    reactor_undefer(&health->fan_out);
    free(health);
}
