#include "service/access.h"

#include "core/clock.h"
#include "core/list.h"
#include "core/log.h"
#include "core/reactor.h"
#include "http2/grpc_method.h"
#include "service/caller.h"
#include "service/method_class.h"
#include "service/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * Calls are judged when they begin. Streams may live for long after that, so each has a note here
 * while it is open, and is judged again by a new policy.
 *
 * Every refusal that is logged is a line somebody may want to read; whoever floods us with calls
 * that are refused must not be able to fill the log with them. A few lines a second are written,
 * and the next one says how many were left out.
 */

#define LINES_PER_S    10
#define PATH_SHOWN_MAX 128

/* An open stream. The call's arena may be emptied while it is open (grpc_call_trim()), so the note
 * has memory of its own. */
struct open_stream {
    struct list link;
    struct grpc_call *call;
};

struct access {
    struct access_options options;
    struct log *log;
    struct policy *policy; /* NULL = none */
    struct list streams;   /* of struct open_stream */
    struct access_stats stats;
    uint64_t window_s; /* second in which `window_lines` were written */
    unsigned window_lines;
    uint64_t left_out; /* since the last line */
};

static const struct grpc_error error_denied = {
    .status = GRPC_STATUS_PERMISSION_DENIED,
    .message = "Permission denied",
    .reason = "PERMISSION_DENIED",
    .domain = "users.v1",
};

/* Of a stream that was let in before. */
static const struct grpc_error error_revoked = {
    .status = GRPC_STATUS_PERMISSION_DENIED,
    .message = "Permission denied",
    .reason = "ACCESS_REVOKED",
    .domain = "users.v1",
};

int access_new(const struct access_options *options, struct log *log, struct access **ret_access)
{
    struct access *access = calloc(1, sizeof(*access));

    if (access == NULL) {
        return -ENOMEM;
    }
    access->options = *options;
    access->log = log;
    list_init(&access->streams);
    *ret_access = access;
    return 0;
}

void access_free(struct access *access)
{
    if (access != NULL) {
        assert(list_is_empty(&access->streams));
        policy_free(access->policy);
        free(access);
    }
}

void access_set_options(struct access *access, const struct access_options *options)
{
    access->options = *options;
}

const struct access_stats *access_stats(const struct access *access)
{
    return &access->stats;
}

/* ---- the verdict ---- */

static bool is_open_to_all(const struct access *access, const struct grpc_call *call)
{
    enum method_class class;

    if (call->method == NULL) {
        return false;
    }
    class = method_class_of(call->method->path);
    return (class == METHOD_CLASS_HEALTH && access->options.anonymous_health) ||
           (class == METHOD_CLASS_REFLECTION && access->options.anonymous_reflection);
}

/* The method was found by the very bytes of `head.path` (P2). */
static bool may(const struct access *access, const struct grpc_call *call)
{
    return access->policy == NULL || policy_is_empty(access->policy) ||
           is_open_to_all(access, call) ||
           policy_judge(access->policy, call->method, call->head.path, call->identity);
}

/* ---- the log ---- */

static bool may_write_line(struct access *access, uint64_t now_ns)
{
    uint64_t now_s = now_ns / CLOCK_NS_PER_S;

    if (now_s != access->window_s) {
        access->window_s = now_s;
        access->window_lines = 0;
    }
    if (access->window_lines == LINES_PER_S) {
        access->left_out++;
        access->stats.left_out++;
        return false;
    }
    access->window_lines++;
    return true;
}

static void write_line(struct access *access, const struct grpc_call *call)
{
    const struct caller *caller = call->identity;
    const char *subject = caller != NULL ? caller->subject : NULL;
    const char *certificate = caller != NULL ? caller->certificate : NULL;
    struct bytes path = call->head.path;
    char shown[PATH_SHOWN_MAX + 1];
    char rule[POLICY_REASON_SIZE];

    path.size = path.size < PATH_SHOWN_MAX ? path.size : PATH_SHOWN_MAX;
    memcpy(shown, path.data, path.size);
    shown[path.size] = '\0';
    policy_explain(access->policy, call->head.path, caller, rule);
    log_event(access->log, LEVEL_WARN, "access_denied", FIELD_TEXT("method", shown),
              FIELD_TEXT("subject", subject), FIELD_TEXT("certificate", certificate),
              FIELD_TEXT("peer", call->host->peer), FIELD_TEXT("rule", rule),
              FIELD_NUMBER("left_out", access->left_out));
    access->left_out = 0;
}

static void note_denied(struct access *access, const struct grpc_call *call)
{
    if (may_write_line(access, call->host->reactor->now_ns)) {
        write_line(access, call);
    }
}

/* ---- the stage ---- */

static bool is_stream(const struct grpc_call *call)
{
    return call->method != NULL && call->method->kind != GRPC_METHOD_UNARY;
}

/* Which of the call's slots belongs to the stage: grpc_dispatch counts the stage that begins among
 * those that have begun, and the one that ends no more. */
static bool access_begin(void *context, struct grpc_call *call)
{
    struct access *access = context;
    struct open_stream *stream;

    if (!may(access, call)) {
        access->stats.denied++;
        note_denied(access, call);
        grpc_call_fail(call, &error_denied);
        return false;
    }
    if (!is_stream(call)) {
        return true;
    }
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "Out of memory");
        return false;
    }
    stream->call = call;
    list_init(&stream->link);
    list_push_back(&access->streams, &stream->link);
    access->stats.streams++;
    call->stage_state[call->stages_begun - 1] = stream;
    return true;
}

static void access_end(void *context, struct grpc_call *call)
{
    struct access *access = context;
    struct open_stream *stream = call->stage_state[call->stages_begun];

    if (stream != NULL) {
        call->stage_state[call->stages_begun] = NULL;
        list_remove(&stream->link);
        access->stats.streams--;
        free(stream);
    }
}

struct grpc_stage access_stage(struct access *access)
{
    return (struct grpc_stage){
        .name = "access", .begin = access_begin, .end = access_end, .context = access};
}

void access_set_policy(struct access *access, struct policy *policy)
{
    policy_free(access->policy);
    access->policy = policy;
    access_rejudge(access);
}

void access_rejudge(struct access *access)
{
    struct list judged;
    struct list *link;

    /* Whatever a call's end sets off, other streams may end by it: none is held on to. */
    list_init(&judged);
    while ((link = list_pop_front(&access->streams)) != NULL) {
        struct grpc_call *call = CONTAINER_OF(link, struct open_stream, link)->call;

        list_push_back(&judged, link);
        if (!may(access, call)) {
            access->stats.streams_ended++;
            note_denied(access, call);
            grpc_call_cancel_for(call, &error_revoked);
        }
    }
    list_splice_back(&access->streams, &judged);
}
