#include "service/observe.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Unknown methods share the row behind the last: names that anybody can invent must not grow what
 * we keep (O4).
 *
 * A call's time begins with the turn of the loop that read its head, whose clock was read anyway,
 * and ends with a reading of its own, the only one there is for a call. So what a call has waited
 * for others of the same turn is in it: its client has waited, too.
 */

#define LABELS_SIZE 512 /* of both kinds, for one method */

#define OBSERVE_SLOT 0 /* of the call's stages: observe is the first */

struct observe {
    const struct grpc_method_table *methods;
    struct access_log access;
    char *texts; /* LABELS_SIZE for each row */
    struct observe_row rows[];
};

/* ---- the rows ---- */

static const char *type_name(enum grpc_method_kind kind)
{
    switch (kind) {
    case GRPC_METHOD_UNARY:
        break;
    case GRPC_METHOD_SERVER_STREAM:
        return "server_stream";
    case GRPC_METHOD_CLIENT_STREAM:
        return "client_stream";
    case GRPC_METHOD_BIDI_STREAM:
        return "bidi_stream";
    }
    return "unary";
}

/* `method` NULL = the row of the others. */
static void label(struct observe_row *row, const struct grpc_method *method, char *text)
{
    const char *path = method == NULL ? "other" : method->path;
    const char *slash = strrchr(path, '/');
    int size = snprintf(text, LABELS_SIZE / 2, "method=\"%s\"", path);
    char *classic = text + LABELS_SIZE / 2;

    assert(size > 0 && size < LABELS_SIZE / 2);
    row->labels = bytes_from_text(text);
    if (method == NULL) {
        size = snprintf(classic, LABELS_SIZE / 2,
                        "grpc_type=\"other\",grpc_service=\"other\",grpc_method=\"other\"");
    } else {
        size = snprintf(classic, LABELS_SIZE / 2,
                        "grpc_type=\"%s\",grpc_service=\"%.*s\",grpc_method=\"%s\"",
                        type_name(method->kind), (int)(slash - path - 1), path + 1, slash + 1);
    }
    assert(size > 0 && size < LABELS_SIZE / 2);
    row->classic = bytes_from_text(classic);
}

int observe_new(const struct grpc_method_table *methods, struct log *log,
                struct observe **ret_observe)
{
    struct observe *observe =
        calloc(1, sizeof(*observe) + (methods->count + 1U) * sizeof(observe->rows[0]));

    if (observe == NULL) {
        return -ENOMEM;
    }
    observe->methods = methods;
    access_log_init(&observe->access, log);
    observe->texts = calloc(methods->count + 1U, LABELS_SIZE);
    if (observe->texts == NULL) {
        observe_free(observe);
        return -ENOMEM;
    }
    for (unsigned i = 0; i <= methods->count; i++) {
        label(&observe->rows[i], i < methods->count ? &methods->methods[i] : NULL,
              observe->texts + (size_t)i * LABELS_SIZE);
    }
    *ret_observe = observe;
    return 0;
}

void observe_free(struct observe *observe)
{
    if (observe == NULL) {
        return;
    }
    free(observe->texts);
    free(observe);
}

/* `method` NULL = one that nobody serves. */
static unsigned index_of(const struct observe *observe, const struct grpc_method *method)
{
    return method == NULL ? observe->methods->count : method->index;
}

unsigned observe_row_count(const struct observe *observe)
{
    return observe->methods->count + 1;
}

const struct observe_row *observe_row(const struct observe *observe, unsigned index)
{
    assert(index <= observe->methods->count);
    return &observe->rows[index];
}

/* ---- the stage ---- */

static bool observe_begin(void *context, struct grpc_call *call)
{
    struct observe *observe = context;
    struct observe_row *row = &observe->rows[index_of(observe, call->method)];

    row->started++;
    call->counts = &row->messages;
    access_log_begin(&observe->access, call, &call->stage_state[OBSERVE_SLOT]);
    return true;
}

static void count_end(struct observe *observe, struct observe_row *row, struct grpc_call *call)
{
    const uint64_t taken_ns = clock_monotonic_ns(call->host->reactor->clock) - call->started_ns;

    row->ended[call->status]++;
    histogram_add(&row->ns, taken_ns);
    access_log_end(&observe->access, call, taken_ns, &call->stage_state[OBSERVE_SLOT]);
}

static void observe_end(void *context, struct grpc_call *call)
{
    struct observe *observe = context;

    count_end(observe, &observe->rows[index_of(observe, call->method)], call);
}

/* Its head alone has ended it, and nobody has looked for its method. */
static void observe_missed(void *context, struct grpc_call *call)
{
    struct observe *observe = context;
    const struct grpc_method *method = grpc_method_find(observe->methods, call->head.path);
    struct observe_row *row = &observe->rows[index_of(observe, method)];

    row->started++;
    count_end(observe, row, call);
}

struct grpc_stage observe_stage(struct observe *observe)
{
    return (struct grpc_stage){
        .name = "observe",
        .begin = observe_begin,
        .end = observe_end,
        .missed = observe_missed,
        .context = observe,
    };
}

void observe_set_access(struct observe *observe, enum access_log_choice choice, uint64_t sample)
{
    observe->access.choice = choice;
    observe->access.sample = sample;
}

/* ---- sums ---- */

uint64_t observe_count(const struct observe *observe, const struct grpc_method *method,
                       enum grpc_status status)
{
    return observe->rows[index_of(observe, method)].ended[status];
}

uint64_t observe_status_total(const struct observe *observe, enum grpc_status status)
{
    uint64_t total = 0;

    for (unsigned i = 0; i <= observe->methods->count; i++) {
        total += observe->rows[i].ended[status];
    }
    return total;
}
