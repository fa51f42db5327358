#include "http2/grpc_call.h"

#include "http2/grpc_call_internal.h"

#include <assert.h>
#include <stdlib.h>

/*
 * A call is one stream of a server from its first header field to the moment nobody needs it.
 *
 *   state      moves to                           when it is in that state
 *   HEAD       RECEIVING RUNNING ANSWERED CLOSED  its head comes, or waits for a stage
 *   RECEIVING  RUNNING ANSWERED CLOSED            the one message is not there, or not delivered
 *   RUNNING    ANSWERED CLOSED                    the handler has it, or a stream of requests
 *   ANSWERED   CLOSED                             the final status is queued on the stream
 *   CLOSED                                        the stream is gone; holds may remain
 *
 * Whoever ends a call first decides its status: a handler, a check here, the deadline, the end of
 * the authorization, or the closing of the stream (client's reset, lost connection: CANCELLED).
 * Then, in this order: the state moves, what is kept of the request is dropped, the host hears
 * `finished`, a handler still at work hears `cancelled`; other events stop with the state. Later
 * answers find the call not wanted any more and are dropped. It is freed in one place,
 * free_if_idle(): CLOSED, and no holds.
 *
 * Whose memory: a request message is the reader's, or lies in the bytes being fed, until the
 * handler returns. What a handler keeps it copies. Sent messages are the stream's at once.
 *
 * What can go wrong:
 *   - The request comes too slowly, or not at all: DEADLINE_EXCEEDED. Else a client could hold
 *     every call the server may run at the price of a byte now and then.
 *   - The client sends faster than a handler takes: the handler pauses, bytes wait, and no more
 *     come than the stream's window (grpc_call_receive.c).
 *   - The client goes away while a handler works: CLOSED with holds; the answer is dropped.
 *   - The client does not take the answer, or drop by drop: ANSWERED until the deadline or the
 *     patience for progress ends; then the stream is reset (grpc_call_time.c).
 *   - Memory runs out for an answer: the stream is reset, for there is no answer to send.
 */

#define IDLE_CALLS_MAX 1024

#define BIT(state) (1U << (state))

static const unsigned moves_allowed[] = {
    [GRPC_CALL_HEAD] = BIT(GRPC_CALL_RECEIVING) | BIT(GRPC_CALL_RUNNING) | BIT(GRPC_CALL_ANSWERED) |
                       BIT(GRPC_CALL_CLOSED),
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

void grpc_call_set_state(struct grpc_call *call, enum grpc_call_state next)
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
    *pool = (struct grpc_call_pool){0};
    list_init(&pool->idle);
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

/* A call from the pool, or a new one, with its memory and links. */
static struct grpc_call *take_idle(struct grpc_call_pool *pool)
{
    struct list *idle = list_pop_front(&pool->idle);
    struct grpc_call *call;

    if (idle != NULL) {
        pool->idle_count--;
        return CONTAINER_OF(idle, struct grpc_call, link);
    }
    call = calloc(1, sizeof(*call));
    if (call != NULL) {
        list_init(&call->link);
        list_init(&call->delivery.link);
        call->delivery.run = grpc_call_run_delivery;
        call->timer.fire = grpc_call_on_timer;
    }
    return call;
}

struct grpc_call *grpc_call_new(struct grpc_call_host *host, struct h2_stream *stream)
{
    struct grpc_call *call = take_idle(host->pool);

    if (call == NULL) {
        return NULL;
    }
    call->host = host;
    call->stream = stream;
    call->method = NULL;
    grpc_head_init(&call->head);
    call->reader.size_max = host->max_message;
    call->started_ns = host->reactor->now_ns;
    call->deadline_ns = UINT64_MAX;
    call->authorized_until_ns = UINT64_MAX;
    call->progress_ns = call->started_ns;
    call->arrived = 0;
    call->buffered = 0;
    call->unfinished = 0;
    call->unsent_seen = SIZE_MAX;
    call->state = GRPC_CALL_HEAD;
    call->status = GRPC_STATUS_UNKNOWN;
    call->holds = 0;
    call->messages_received = 0;
    call->peer_ended = false;
    call->end_delivered = false;
    call->message_compressed = false;
    call->paused = false;
    call->is_lending = false;
    call->gives_way = false;
    call->head_sent = false;
    call->compresses = host->compress_replies;
    call->sends_gzip = false;
    call->cancelled = false;
    call->waits = false;
    call->in_stages = false;
    call->stages_begun = 0;
    call->caller = NULL;
    call->identity = NULL;
    call->authorization_end = NULL;
    call->metadata = NULL;
    call->events = NULL;
    call->counts = NULL;
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
    assert(!timer_is_armed(&call->timer));
    assert(!list_is_linked(&call->delivery.link));
    assert(call->waiting.data == NULL);
    assert(!call->waits);
    assert(call->buffered == 0);
    assert(call->unfinished == 0);
    list_remove(&call->link);
    free(call->kept_caller);
    call->kept_caller = NULL;
    grpc_head_wipe(&call->head);
    if (pool->idle_count < IDLE_CALLS_MAX) {
        arena_reset(&call->arena);
        grpc_frame_reader_reset(&call->reader, GRPC_CALL_KEPT_MESSAGE_MAX);
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

void grpc_call_listen(struct grpc_call *call, const struct grpc_call_events *events, void *context)
{
    if (grpc_call_is_wanted(call)) {
        call->events = events;
        call->events_context = context;
    }
}

void grpc_call_trim(struct grpc_call *call)
{
    char *caller = call->caller != NULL ? strdup(call->caller) : NULL;
    bool accepts_gzip = call->head.accepts_gzip;
    bool uses_gzip = call->head.uses_gzip;

    if (call->method == NULL || (call->caller != NULL && caller == NULL)) {
        free(caller);
        return; /* what is not given back does no harm */
    }
    free(call->kept_caller);
    call->kept_caller = caller;
    call->caller = caller;
    grpc_head_wipe(&call->head);
    grpc_head_init(&call->head);
    call->head.path = bytes_from_text(call->method->path);
    call->head.accepts_gzip = accepts_gzip;
    call->head.uses_gzip = uses_gzip;
    call->metadata = NULL;
    arena_deinit(&call->arena);
    if (!grpc_call_streams_requests(call)) {
        grpc_frame_reader_reset(&call->reader, 0);
        call->request = (struct bytes){0};
        grpc_call_account(call);
    }
}

void grpc_call_conclude(struct grpc_call *call, enum grpc_call_state next, enum grpc_status status)
{
    assert(grpc_call_is_wanted(call));
    grpc_call_set_state(call, next);
    call->status = status;
    call->progress_ns = call->host->reactor->now_ns;
    grpc_call_drop_request(call);
    call->host->ops->finished(call->host, call);
}

static void tell_cancelled(struct grpc_call *call)
{
    const struct grpc_call_events *events = call->events;

    call->events = NULL;
    if (events != NULL && events->cancelled != NULL) {
        events->cancelled(call, call->events_context);
    }
}

void grpc_call_abandon(struct grpc_call *call, const struct grpc_error *error, bool cuts)
{
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    grpc_call_hold(call); /* the handler may let go of it when it hears */
    call->cancelled = true;
    if (cuts && h2_stream_unsent_size(call->stream) > 0) {
        h2_stream_reset_unblamed(call->stream, H2_ERROR_CANCEL);
        grpc_call_conclude(call, GRPC_CALL_ANSWERED, error->status);
        call->host->ops->touched(call->host, call);
    } else {
        grpc_call_fail(call, error);
    }
    tell_cancelled(call);
    grpc_call_release(call);
}

void grpc_call_cancel(struct grpc_call *call, enum grpc_status status, const char *reason,
                      const char *message)
{
    const struct grpc_error error = {
        .status = status, .message = message, .reason = reason, .domain = "grpc"};

    grpc_call_cancel_for(call, &error);
}

void grpc_call_cancel_for(struct grpc_call *call, const struct grpc_error *error)
{
    grpc_call_abandon(call, error, false);
}

/* Its deadline has passed, or is near: the client counts from earlier on, and its head may have
 * waited on the way. Nobody gains by it: at the deadline the call ends anyway, for nothing. */
static bool is_due(const struct grpc_call *call)
{
    uint64_t early_ns = (call->deadline_ns - call->started_ns) / 2;

    return call->deadline_ns != UINT64_MAX &&
           call->host->reactor->now_ns >= call->deadline_ns - early_ns;
}

/* The stream is gone. */
static void on_closed(void *context, uint32_t error)
{
    struct grpc_call *call = context;

    if (error == H2_ERROR_CANCEL && is_due(call)) {
        h2_stream_excuse(call->stream); /* for giving up when the time is over */
    }
    grpc_call_hold(call); /* whoever hears of the end may let go of it */
    reactor_stop_timer(call->host->reactor, &call->timer);
    call->stream = NULL;
    if (grpc_call_is_wanted(call)) {
        call->cancelled = true;
        grpc_call_conclude(call, GRPC_CALL_CLOSED, GRPC_STATUS_CANCELLED);
        tell_cancelled(call);
    } else {
        grpc_call_set_state(call, GRPC_CALL_CLOSED);
    }
    grpc_call_release(call);
}

static void on_writable(void *context)
{
    struct grpc_call *call = context;

    if (call->state == GRPC_CALL_RUNNING && call->events != NULL &&
        call->events->writable != NULL) {
        call->events->writable(call, call->events_context);
    }
}

const struct h2_events grpc_call_stream_events = {
    .field = grpc_call_on_field,
    .fields_complete = grpc_call_on_fields_complete,
    .fields_too_large = grpc_call_on_fields_too_large,
    .data = grpc_call_on_data,
    .ended = grpc_call_on_ended,
    .writable = on_writable,
    .closed = on_closed,
};
