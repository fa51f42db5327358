#include "http2/grpc_call.h"

#include "core/reactor.h"
#include "http2/grpc_answer.h"
#include "http2/grpc_method.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A call is one stream of a server from its first header field to the moment nobody needs it.
 *
 *   state       moves to                       when
 *   HEAD        RECEIVING ANSWERED CLOSED      the head passed the checks and the stages
 *   RECEIVING   RUNNING ANSWERED CLOSED        the one message and the end of the request are there
 *   RUNNING     ANSWERED CLOSED                the handler has it
 *   ANSWERED    CLOSED                         the final status is queued on the stream
 *   CLOSED                                     the stream is gone; holds may remain
 *
 * Whoever ends a call first decides its status: a handler, a check here, the deadline, or the
 * closing of the stream (client's reset, lost connection: CANCELLED). Then, in this order: the
 * state moves, the host hears `finished`, a handler still at work hears `on_cancel`. Later answers
 * find the call not wanted any more and are dropped. It is freed in one place, free_if_idle():
 * CLOSED, and no holds.
 *
 * What can go wrong:
 *   - The request comes too slowly, or not at all: DEADLINE_EXCEEDED. Else a client could hold
 *     every call the server may run at the price of a byte now and then.
 *   - The client goes away while a handler works: CLOSED with holds; the answer is dropped.
 *   - The client does not take the answer, or drop by drop: ANSWERED until the deadline or the
 *     patience for progress ends; then the stream is reset.
 *   - Memory runs out for an answer: the stream is reset, for there is no answer to send.
 */

#define IDLE_CALLS_MAX   1024
#define KEPT_MESSAGE_MAX 16384 /* bytes an idle call keeps for the next message */
#define TEXT_SIZE        512
#define PROGRESS_BYTES   1024 /* of a body; less is standing still */

#define REASON_DEADLINE  "DEADLINE_EXCEEDED"
#define MESSAGE_DEADLINE "Deadline exceeded"

#define BIT(state) (1U << (state))

static const unsigned moves_allowed[] = {
    [GRPC_CALL_HEAD] = BIT(GRPC_CALL_RECEIVING) | BIT(GRPC_CALL_ANSWERED) | BIT(GRPC_CALL_CLOSED),
    [GRPC_CALL_RECEIVING] =
        BIT(GRPC_CALL_RUNNING) | BIT(GRPC_CALL_ANSWERED) | BIT(GRPC_CALL_CLOSED),
    [GRPC_CALL_RUNNING] = BIT(GRPC_CALL_ANSWERED) | BIT(GRPC_CALL_CLOSED),
    [GRPC_CALL_ANSWERED] = BIT(GRPC_CALL_CLOSED),
    [GRPC_CALL_CLOSED] = 0,
};

static const char *const state_names[] = {
    [GRPC_CALL_HEAD] = "HEAD",       [GRPC_CALL_RECEIVING] = "RECEIVING",
    [GRPC_CALL_RUNNING] = "RUNNING", [GRPC_CALL_ANSWERED] = "ANSWERED",
    [GRPC_CALL_CLOSED] = "CLOSED",
};

const char *grpc_call_state_name(enum grpc_call_state state)
{
    return state_names[state];
}

static void set_state(struct grpc_call *call, enum grpc_call_state next)
{
    assert((moves_allowed[call->state] & BIT(next)) != 0);
    call->state = next;
}

bool grpc_call_is_wanted(const struct grpc_call *call)
{
    return call->state < GRPC_CALL_ANSWERED;
}

void grpc_call_pool_init(struct grpc_call_pool *pool)
{
    list_init(&pool->idle);
    pool->idle_count = 0;
}

static void call_delete(struct grpc_call *call)
{
    arena_deinit(&call->arena);
    grpc_frame_reader_deinit(&call->reader);
    free(call);
}

void grpc_call_pool_deinit(struct grpc_call_pool *pool)
{
    struct list *link;

    while ((link = list_pop_front(&pool->idle)) != NULL) {
        call_delete(CONTAINER_OF(link, struct grpc_call, link));
    }
    pool->idle_count = 0;
}

static void on_deadline(struct timer *timer);

struct grpc_call *grpc_call_new(struct grpc_call_host *host, struct h2_stream *stream)
{
    struct list *idle = host->pool != NULL ? list_pop_front(&host->pool->idle) : NULL;
    struct grpc_call *call;

    if (idle != NULL) {
        host->pool->idle_count--;
        call = CONTAINER_OF(idle, struct grpc_call, link);
    } else {
        call = calloc(1, sizeof(*call));
        if (call == NULL) {
            return NULL;
        }
        list_init(&call->link);
        call->deadline.fire = on_deadline;
    }
    call->host = host;
    call->stream = stream;
    call->method = NULL;
    call->state = GRPC_CALL_HEAD;
    grpc_head_init(&call->head);
    call->reader.size_max = host->max_message;
    call->started_ns = host->reactor->now_ns;
    call->deadline_ns = UINT64_MAX;
    call->progress_ns = call->started_ns;
    call->arrived = 0;
    call->unsent_seen = SIZE_MAX;
    call->holds = 0;
    call->messages_received = 0;
    call->peer_ended = false;
    call->cancelled = false;
    call->in_stages = false;
    call->stages_begun = 0;
    call->status = GRPC_STATUS_UNKNOWN;
    call->caller = NULL;
    call->on_cancel = NULL;
    call->on_cancel_context = NULL;
    call->request = (struct bytes){0};
    memset(call->stage_state, 0, sizeof(call->stage_state));
    return call;
}

static void free_if_idle(struct grpc_call *call)
{
    struct grpc_call_host *host = call->host;
    struct grpc_call_pool *pool = host->pool;

    if (call->state != GRPC_CALL_CLOSED || call->holds > 0) {
        return;
    }
    assert(!timer_is_armed(&call->deadline));
    list_remove(&call->link);
    if (pool != NULL && pool->idle_count < IDLE_CALLS_MAX) {
        arena_reset(&call->arena);
        grpc_frame_reader_reset(&call->reader, KEPT_MESSAGE_MAX);
        /* Before the first one: the last freed is the warmest in the caches. */
        list_push_back(pool->idle.next, &call->link);
        pool->idle_count++;
    } else {
        call_delete(call);
    }
    if (host->ops->freed != NULL) {
        host->ops->freed(host);
    }
}

void grpc_call_hold(struct grpc_call *call)
{
    call->holds++;
}

void grpc_call_release(struct grpc_call *call)
{
    assert(call->holds > 0);
    call->holds--;
    free_if_idle(call);
}

void grpc_call_on_cancel(struct grpc_call *call,
                         void (*on_cancel)(struct grpc_call *call, void *context), void *context)
{
    call->on_cancel = on_cancel;
    call->on_cancel_context = context;
}

/* The call has its final status. */
static void finish(struct grpc_call *call, enum grpc_call_state next, enum grpc_status status)
{
    assert(grpc_call_is_wanted(call));
    set_state(call, next);
    call->status = status;
    call->progress_ns = call->host->reactor->now_ns;
    call->host->ops->finished(call->host, call);
}

static void tell_cancelled(struct grpc_call *call)
{
    void (*on_cancel)(struct grpc_call * call, void *context) = call->on_cancel;

    if (on_cancel != NULL) {
        call->on_cancel = NULL;
        on_cancel(call, call->on_cancel_context);
    }
}

/* There is an answer on the stream. `error`: what it met on the way there. */
static void answered(struct grpc_call *call, enum grpc_status status, int error)
{
    if (error != 0) {
        h2_stream_reset_unblamed(call->stream, H2_ERROR_ENHANCE_YOUR_CALM);
        status = GRPC_STATUS_RESOURCE_EXHAUSTED;
    }
    finish(call, GRPC_CALL_ANSWERED, status);
    call->host->ops->touched(call->host, call);
}

void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    assert(call->state >= GRPC_CALL_RUNNING);
    if (grpc_call_is_wanted(call)) {
        answered(call, GRPC_STATUS_OK, grpc_answer_message(call->stream, parts, count));
    }
}

static void send_error(struct grpc_call *call, const struct grpc_answer *answer)
{
    if (grpc_call_is_wanted(call)) {
        answered(call, answer->error->status,
                 grpc_answer_error(call->stream, &call->arena, answer));
    }
}

void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    send_error(call, &(struct grpc_answer){.http_status = 200, .error = error});
}

static struct grpc_error framework_error(enum grpc_status status, const char *reason,
                                         const char *message)
{
    return (struct grpc_error){
        .status = status, .message = message, .reason = reason, .domain = "grpc"};
}

void grpc_call_fail_text(struct grpc_call *call, enum grpc_status status, const char *reason,
                         const char *message)
{
    const struct grpc_error error = framework_error(status, reason, message);

    grpc_call_fail(call, &error);
}

void grpc_call_reject(struct grpc_call *call, int http_status, enum grpc_status status,
                      const char *message)
{
    const struct grpc_error error = framework_error(status, "BAD_REQUEST_HEAD", message);
    struct grpc_answer answer = {.http_status = http_status, .error = &error};

    if (http_status == 405) {
        answer.extra_name = "allow";
        answer.extra_value = "POST";
    }
    send_error(call, &answer);
}

void grpc_call_cancel(struct grpc_call *call, enum grpc_status status, const char *reason,
                      const char *message)
{
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    grpc_call_hold(call); /* the handler may let go of it when it hears */
    call->cancelled = true;
    grpc_call_fail_text(call, status, reason, message);
    tell_cancelled(call);
    grpc_call_release(call);
}

static void on_deadline(struct timer *timer)
{
    struct grpc_call *call = CONTAINER_OF(timer, struct grpc_call, deadline);

    if (grpc_call_is_wanted(call)) {
        grpc_call_cancel(call, GRPC_STATUS_DEADLINE_EXCEEDED, REASON_DEADLINE, MESSAGE_DEADLINE);
        return;
    }
    /* Answered, but the client does not take it: trailers cannot overtake the message. */
    assert(call->stream != NULL);
    h2_stream_reset_unblamed(call->stream, H2_ERROR_CANCEL);
    call->host->ops->touched(call->host, call);
}

void grpc_call_check_progress(struct grpc_call *call, uint64_t patience_ns)
{
    uint64_t now_ns = call->host->reactor->now_ns;

    if (call->state == GRPC_CALL_ANSWERED &&
        call->unsent_seen - h2_stream_unsent_size(call->stream) >= PROGRESS_BYTES) {
        call->unsent_seen = h2_stream_unsent_size(call->stream);
        call->progress_ns = now_ns;
    }
    if (now_ns - call->progress_ns < patience_ns) {
        return;
    }
    if (call->state == GRPC_CALL_RECEIVING) {
        grpc_call_cancel(call, GRPC_STATUS_DEADLINE_EXCEEDED, "REQUEST_STALLED",
                         "the request message did not arrive in time");
    } else if (call->state == GRPC_CALL_ANSWERED) {
        h2_stream_reset(call->stream, H2_ERROR_CANCEL);
        call->host->ops->touched(call->host, call);
    }
}

/* Arms the timer for the deadline the client asked for, or ours. */
static void arm_deadline(struct grpc_call *call)
{
    const struct grpc_call_host *host = call->host;
    uint64_t timeout_ns = call->head.timeout_ns;

    if (timeout_ns == GRPC_TIMEOUT_NONE && host->default_deadline_ns != 0) {
        timeout_ns = host->default_deadline_ns;
    }
    if (host->max_deadline_ns != 0 && timeout_ns > host->max_deadline_ns) {
        timeout_ns = host->max_deadline_ns;
    }
    if (timeout_ns >= UINT64_MAX - call->started_ns) {
        return; /* centuries: none at all */
    }
    call->deadline_ns = call->started_ns + timeout_ns;
    if (timeout_ns == 0) {
        grpc_call_fail_text(call, GRPC_STATUS_DEADLINE_EXCEEDED, REASON_DEADLINE, MESSAGE_DEADLINE);
    } else if (reactor_start_timer(host->reactor, &call->deadline, timeout_ns) != 0) {
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    }
}

/* C1: what is accepted is disclosed, the refused one not among it. */
static void refuse_encoding(struct grpc_call *call)
{
    struct bytes encoding = call->head.encoding;
    char text[TEXT_SIZE];
    const struct grpc_error error =
        framework_error(GRPC_STATUS_UNIMPLEMENTED, "UNSUPPORTED_ENCODING", text);

    (void)snprintf(text, sizeof(text),
                   "grpc: Decompressor is not installed for grpc-encoding \"%.*s\"",
                   (int)(encoding.size < 64 ? encoding.size : 64), (const char *)encoding.data);
    send_error(call, &(struct grpc_answer){.http_status = 200,
                                           .error = &error,
                                           .extra_name = "grpc-accept-encoding",
                                           .extra_value = "identity"});
}

static void refuse_path(struct grpc_call *call)
{
    struct bytes path = call->head.path;
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "malformed method name: \"%.*s\"",
                   (int)(path.size < 256 ? path.size : 256), (const char *)path.data);
    grpc_call_fail_text(call, GRPC_STATUS_UNIMPLEMENTED, "MALFORMED_METHOD_NAME", text);
}

/* Answers what is wrong with the head itself, before anybody judges who is calling. */
static void check_head(struct grpc_call *call)
{
    switch (grpc_head_check(&call->head)) {
    case GRPC_HEAD_OK:
        break;
    case GRPC_HEAD_NOT_POST:
        grpc_call_reject(call, 405, GRPC_STATUS_INTERNAL, "http2: only POST is allowed");
        break;
    case GRPC_HEAD_BAD_CONTENT_TYPE:
        grpc_call_reject(call, 415, GRPC_STATUS_UNKNOWN, "invalid gRPC request content-type");
        break;
    case GRPC_HEAD_BAD_AUTHORITY:
        grpc_call_reject(call, 400, GRPC_STATUS_INTERNAL, "more than one :authority or host");
        break;
    case GRPC_HEAD_BAD_TIMEOUT:
        grpc_call_reject(call, 400, GRPC_STATUS_INTERNAL, "malformed grpc-timeout");
        break;
    case GRPC_HEAD_BAD_BINARY:
        grpc_call_reject(call, 400, GRPC_STATUS_INTERNAL, "malformed binary metadata");
        break;
    case GRPC_HEAD_BAD_PATH:
        refuse_path(call);
        break;
    case GRPC_HEAD_BAD_SUBTYPE:
        grpc_call_fail_text(call, GRPC_STATUS_UNIMPLEMENTED, "UNSUPPORTED_CONTENT_SUBTYPE",
                            "content-subtype is not supported: use application/grpc+proto");
        break;
    case GRPC_HEAD_BAD_ENCODING:
        refuse_encoding(call);
        break;
    case GRPC_HEAD_NO_MEMORY:
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MUCH_METADATA",
                            "request metadata has too many fields or is too large");
        break;
    }
}

/* The client has ended its side: for a unary method the moment to run, or to find something
 * missing. */
static void request_ended(struct grpc_call *call)
{
    call->peer_ended = true;
    if (call->state != GRPC_CALL_RECEIVING) {
        return;
    }
    if (!grpc_frame_is_at_border(&call->reader)) {
        grpc_call_fail_text(call, GRPC_STATUS_INTERNAL, "TRUNCATED_MESSAGE",
                            "the request ended inside a message");
        return;
    }
    if (call->messages_received == 0) {
        grpc_call_fail_text(call, GRPC_STATUS_UNIMPLEMENTED, "CARDINALITY_VIOLATION",
                            "cardinality violation: no request message for a unary method");
        return;
    }
    set_state(call, GRPC_CALL_RUNNING);
    call->host->ops->request_complete(call->host, call, call->request);
    /* Borrowed until here. The call is still there: its stream's end frees it, not a handler. */
    call->request = (struct bytes){0};
    grpc_frame_reader_reset(&call->reader, KEPT_MESSAGE_MAX);
}

/* A whole message. Lent by the reader: what is kept of it is taken over here. */
static void take_message(struct grpc_call *call, struct grpc_message *message)
{
    call->messages_received++;
    if (call->messages_received > 1) {
        grpc_call_fail_text(
            call, GRPC_STATUS_UNIMPLEMENTED, "CARDINALITY_VIOLATION",
            "cardinality violation: more than one request message for a unary method");
        return;
    }
    if (message->compressed) {
        grpc_call_fail_text(call, GRPC_STATUS_INTERNAL, "UNEXPECTED_COMPRESSION",
                            "grpc: compressed flag set with identity or empty encoding");
        return;
    }
    if (grpc_frame_keep(&call->reader, message) != 0) {
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    call->request = message->bytes;
}

/* What the frame reader did not like. */
static void refuse_frame(struct grpc_call *call, int outcome)
{
    char text[TEXT_SIZE];

    switch (outcome) {
    case GRPC_FRAME_E_TOO_LARGE:
        (void)snprintf(text, sizeof(text),
                       "grpc: received message larger than max (%u vs. %u); raise "
                       "limits.max_message",
                       (unsigned)call->reader.declared_size, (unsigned)call->reader.size_max);
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", text);
        break;
    case GRPC_FRAME_E_BAD_FLAG:
        (void)snprintf(text, sizeof(text), "grpc: received unexpected payload format %u",
                       (unsigned)call->reader.head[0]);
        grpc_call_fail_text(call, GRPC_STATUS_INTERNAL, "BAD_MESSAGE_FLAG", text);
        break;
    default:
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
        break;
    }
}

static void on_field(void *context, const struct h2_field *field)
{
    struct grpc_call *call = context;

    if (call->state == GRPC_CALL_HEAD) {
        grpc_head_add(&call->head, &call->arena, field);
    } /* else trailers of the request, which mean nothing in gRPC */
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    struct grpc_call *call = context;

    if (!trailers) {
        call->started_ns = call->host->reactor->now_ns;
        call->progress_ns = call->started_ns;
        check_head(call);
        if (grpc_call_is_wanted(call)) {
            arm_deadline(call);
        }
        if (grpc_call_is_wanted(call)) {
            call->host->ops->head_complete(call->host, call);
        }
        if (grpc_call_is_wanted(call)) {
            set_state(call, GRPC_CALL_RECEIVING);
            call->reader.is_secret = call->method != NULL && call->method->secret;
        }
    }
    if (ended) {
        request_ended(call);
    }
}

static void on_fields_too_large(void *context)
{
    grpc_call_fail_text(context, GRPC_STATUS_RESOURCE_EXHAUSTED, "HEADER_LIST_TOO_LARGE",
                        "request header list larger than http2.max_header_list");
}

static void on_data(void *context, struct bytes bytes)
{
    struct grpc_call *call = context;
    size_t size = bytes.size;

    call->arrived += size;
    if (call->arrived >= PROGRESS_BYTES) {
        call->arrived = 0;
        call->progress_ns = call->host->reactor->now_ns;
    }
    while (call->state == GRPC_CALL_RECEIVING && bytes.size > 0) {
        struct grpc_message message;
        int outcome = grpc_frame_read(&call->reader, &bytes, &message);

        if (outcome == 0) {
            take_message(call, &message);
        } else if (outcome != GRPC_FRAME_E_MORE) {
            refuse_frame(call, outcome);
        }
    }
    if (call->state == GRPC_CALL_RECEIVING) {
        h2_stream_consume(call->stream, size);
    }
}

static void on_ended(void *context)
{
    request_ended(context);
}

/* Its deadline has passed, or is near: the client counts from earlier on, and its head may have
 * waited on the way. Nobody gains by it: at the deadline the call ends anyway, for nothing. */
static bool is_due(const struct grpc_call *call)
{
    uint64_t early_ns = (call->deadline_ns - call->started_ns) / 2;

    return call->deadline_ns != UINT64_MAX &&
           call->host->reactor->now_ns >= call->deadline_ns - early_ns;
}

static void on_closed(void *context, uint32_t error)
{
    struct grpc_call *call = context;

    if (error == H2_ERROR_CANCEL && is_due(call)) {
        h2_stream_excuse(call->stream); /* for giving up when the time is over */
    }
    grpc_call_hold(call); /* whoever hears of the end may let go of it */
    reactor_stop_timer(call->host->reactor, &call->deadline);
    call->stream = NULL;
    if (grpc_call_is_wanted(call)) {
        call->cancelled = true;
        finish(call, GRPC_CALL_CLOSED, GRPC_STATUS_CANCELLED);
        tell_cancelled(call);
    } else {
        set_state(call, GRPC_CALL_CLOSED);
    }
    grpc_call_release(call);
}

const struct h2_events grpc_call_stream_events = {
    .field = on_field,
    .fields_complete = on_fields_complete,
    .fields_too_large = on_fields_too_large,
    .data = on_data,
    .ended = on_ended,
    .closed = on_closed,
};
