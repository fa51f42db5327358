#include "service/observe.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"

#include <errno.h>
#include <stdlib.h>

/* Unknown methods share the row behind the last: names that anybody can invent must not grow what
 * we keep (O4). */

struct observe {
    const struct grpc_method_table *methods;
    struct log *log;
    uint64_t counts[][GRPC_STATUS_COUNT];
};

int observe_new(const struct grpc_method_table *methods, struct log *log,
                struct observe **ret_observe)
{
    struct observe *observe =
        calloc(1, sizeof(*observe) + (methods->count + 1U) * sizeof(observe->counts[0]));

    if (observe == NULL) {
        return -ENOMEM;
    }
    observe->methods = methods;
    observe->log = log;
    *ret_observe = observe;
    return 0;
}

void observe_free(struct observe *observe)
{
    free(observe);
}

static unsigned row_of(const struct observe *observe, const struct grpc_method *method)
{
    return method == NULL ? observe->methods->count : method->index;
}

static bool observe_begin(void *context, struct grpc_call *call)
{
    (void)context;
    (void)call;
    return true;
}

static void write_line(struct observe *observe, const struct grpc_call *call)
{
    uint64_t now_ns = clock_monotonic_ns(call->host->reactor->clock);
    /* A call that ended before its head was complete never started. */
    uint64_t taken_ns = call->started_ns == 0 ? 0 : now_ns - call->started_ns;
    char path[128];
    size_t size = call->head.path.size;

    /* A foreign path is shown as far as it is of a sensible length. */
    size = size < sizeof(path) ? size : sizeof(path) - 1;
    if (size > 0) {
        memcpy(path, call->head.path.data, size);
    }
    path[size] = '\0';
    log_event(observe->log, LEVEL_DEBUG, "call", FIELD_TEXT("method", path),
              FIELD_TEXT("status", grpc_status_name((int)call->status)),
              FIELD_NUMBER("us", taken_ns / CLOCK_NS_PER_US),
              FIELD_TEXT("caller", call->caller == NULL ? "" : call->caller));
}

static void observe_end(void *context, struct grpc_call *call)
{
    struct observe *observe = context;

    observe->counts[row_of(observe, call->method)][call->status]++;
    if (observe->log != NULL && observe->log->level <= LEVEL_DEBUG) {
        write_line(observe, call);
    }
}

struct grpc_stage observe_stage(struct observe *observe)
{
    return (struct grpc_stage){
        .name = "observe",
        .begin = observe_begin,
        .end = observe_end,
        .context = observe,
    };
}

uint64_t observe_count(const struct observe *observe, const struct grpc_method *method,
                       enum grpc_status status)
{
    return observe->counts[row_of(observe, method)][status];
}

uint64_t observe_status_total(const struct observe *observe, enum grpc_status status)
{
    uint64_t total = 0;

    for (unsigned row = 0; row <= observe->methods->count; row++) {
        total += observe->counts[row][status];
    }
    return total;
}
