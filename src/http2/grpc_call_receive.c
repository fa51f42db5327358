#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/*
 * What comes from the client: the head, then body bytes, then its end.
 *
 *   1. The head is checked, judged by the host's stages, and the timer armed. A stage may make the
 *      call wait for its judgement: then what follows the head waits unread.
 *   2. One message: it is gathered by the frame reader; when the end is there and nothing is wrong,
 *      the handler gets it.
 *   3. A stream of them: the handler is opened at once; body bytes are cut into messages as they
 *      come, each is an event, and the end is one.
 *
 * Delivery can be held back: by the handler, which pauses, and by the host, whose connection has
 * too much to send. One message simply stays in the reader. Bytes of a stream then wait unread, in
 * `waiting`, and the client's window is not opened for them, so no more can come than the window
 * has left (X6). Bytes that were read give credit back even where a message is not complete, for
 * one may be larger than the window. When nothing holds back any more, delivery goes on from a task
 * at the end of the turn, for the handler may be the one that said so. Compressed messages wait in
 * the same way, when there are many at once (grpc_call_unpack.c).
 *
 * What is wrong with the request ends the call from outside: a handler that has it hears so.
 *
 * How much all calls together may keep is limited too (grpc_call_buffered.c).
 *
 * Bytes for a call that has its status are dropped, with credit: its client may have to get rid of
 * them before it reads (X7).
 */

/* So many times what other bad heads are held against the client: to decode it takes much longer.
 */
#define LARGE_HEAD_CHARGES 4

static void fail_memory(struct grpc_call *call)
{
    grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
}

/* What the frame reader did not like. */
static void refuse_frame(struct grpc_call *call, int outcome)
{
    char text[GRPC_CALL_TEXT_SIZE];

    switch (outcome) {
    case GRPC_FRAME_E_TOO_LARGE:
        (void)snprintf(text, sizeof(text),
                       "grpc: received message larger than max (%u vs. %u); raise "
                       "limits.max_message",
                       (unsigned)call->reader.declared_size, (unsigned)call->reader.size_max);
        limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_MESSAGE);
        grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", text);
        break;
    case GRPC_FRAME_E_BAD_FLAG:
        (void)snprintf(text, sizeof(text), "grpc: received unexpected payload format %u",
                       (unsigned)call->reader.head[0]);
        grpc_call_cancel(call, GRPC_STATUS_INTERNAL, "BAD_MESSAGE_FLAG", text);
        break;
    default:
        fail_memory(call);
        break;
    }
}

/* C2. Returns false, with the call failed, for a compressed message where none may be. */
static bool check_flag(struct grpc_call *call, const struct grpc_message *message)
{
    if (message->compressed && !call->head.uses_gzip) {
        grpc_call_cancel(call, GRPC_STATUS_INTERNAL, "UNEXPECTED_COMPRESSION",
                         "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    return true;
}

/* Bytes of requests go, in memory that others will get. */
static void forget(struct buf *bytes, bool is_secret)
{
    if (is_secret && bytes->data != NULL) {
        explicit_bzero(bytes->data, bytes->capacity);
    }
    buf_deinit(bytes);
}

static bool is_held_back(const struct grpc_call *call)
{
    const struct grpc_call_host *host = call->host;

    if (call->paused || call->waits) {
        return true;
    }
    return call->method != NULL && call->method->long_answers && host->ops->may_deliver != NULL &&
           !host->ops->may_deliver(call->host);
}

/* The request is whole and may be delivered: runs the handler of a method with one message. */
static void run_request(struct grpc_call *call)
{
    struct bytes message = call->request;
    bool is_secret = call->reader.is_secret;
    struct buf plain = {0};

    call->end_delivered = true;
    call->is_lending = true;
    if (!call->message_compressed || grpc_call_unpack(call, message, &plain)) {
        grpc_call_set_state(call, GRPC_CALL_RUNNING);
        call->host->ops->request_complete(call->host, call,
                                          call->message_compressed ? buf_bytes(&plain) : message);
    }
    forget(&plain, is_secret);
    /* Borrowed until here. The call is still there: its stream's end frees it, not a handler. */
    call->is_lending = false;
    call->request = (struct bytes){0};
    grpc_frame_reader_reset(&call->reader, GRPC_CALL_KEPT_MESSAGE_MAX);
    grpc_call_account(call);
}

/* The end of the only message's stream: the moment to run, or to find something missing. */
static void request_complete(struct grpc_call *call)
{
    if (!grpc_frame_is_at_border(&call->reader)) {
        grpc_call_cancel(call, GRPC_STATUS_INTERNAL, "TRUNCATED_MESSAGE",
                         "the request ended inside a message");
        return;
    }
    if (call->messages_received == 0) {
        grpc_call_cancel(call, GRPC_STATUS_UNIMPLEMENTED, "CARDINALITY_VIOLATION",
                         "cardinality violation: no request message for a method that takes one");
        return;
    }
    if (!is_held_back(call) && !grpc_call_must_give_way(call)) {
        run_request(call);
    }
}

/* A whole message of a method that takes one. Lent by the reader: what is kept of it is taken over
 * here. */
static void take_request(struct grpc_call *call, struct grpc_message *message)
{
    grpc_call_count_received(call);
    if (call->messages_received > 1) {
        grpc_call_cancel(
            call, GRPC_STATUS_UNIMPLEMENTED, "CARDINALITY_VIOLATION",
            "cardinality violation: more than one request message for a method that takes one");
        return;
    }
    if (!check_flag(call, message)) {
        return;
    }
    if (grpc_frame_keep(&call->reader, message) != 0) {
        fail_memory(call);
        return;
    }
    call->message_compressed = message->compressed;
    call->request = message->bytes;
}

/* A message of a stream was delivered: it is not kept until the next. */
static void end_message(struct grpc_call *call)
{
    bool is_secret = call->reader.is_secret;

    grpc_frame_reader_reset(&call->reader, GRPC_CALL_KEPT_MESSAGE_MAX);
    call->reader.is_secret = is_secret;
    call->is_lending = false;
    call->arrived = 0;
    call->progress_ns = call->host->reactor->now_ns;
}

/* A whole message of a stream of them: the handler hears of it. */
static void tell_message(struct grpc_call *call, const struct grpc_message *message)
{
    struct bytes bytes = message->bytes;
    struct buf plain = {0};
    bool is_readable;

    call->is_lending = true; /* until everybody below is done with it */
    grpc_call_count_received(call);
    is_readable = check_flag(call, message);
    if (is_readable && message->compressed) {
        is_readable = grpc_call_unpack(call, bytes, &plain);
        bytes = buf_bytes(&plain);
    }
    call->message_compressed = message->compressed;
    if (is_readable && call->events != NULL && call->events->message != NULL) {
        call->events->message(call, call->events_context, bytes);
    }
    forget(&plain, call->reader.is_secret);
    end_message(call);
}

/* Reads messages from the front of `*input` while they may be delivered. */
static void read_messages(struct grpc_call *call, struct bytes *input)
{
    bool is_stream = call->state == GRPC_CALL_RUNNING;

    while (grpc_call_is_wanted(call) && input->size > 0 &&
           !(is_stream && (is_held_back(call) || grpc_call_must_give_way(call)))) {
        struct grpc_message message;
        int outcome = grpc_frame_read(&call->reader, input, &message);

        if (outcome == 0 && is_stream) {
            tell_message(call, &message);
        } else if (outcome == 0) {
            take_request(call, &message);
        } else if (outcome != GRPC_FRAME_E_MORE) {
            refuse_frame(call, outcome);
        }
    }
}

/* The client's side has ended, and all of a stream of requests was read: tells its handler once. */
static void tell_end(struct grpc_call *call)
{
    if (!call->peer_ended || call->end_delivered || buf_size(&call->waiting) > 0 ||
        call->state != GRPC_CALL_RUNNING || is_held_back(call)) {
        return;
    }
    call->end_delivered = true;
    if (!grpc_frame_is_at_border(&call->reader)) {
        grpc_call_cancel(call, GRPC_STATUS_INTERNAL, "TRUNCATED_MESSAGE",
                         "the request ended inside a message");
    } else if (call->events != NULL && call->events->half_closed != NULL) {
        call->events->half_closed(call, call->events_context);
    }
}

/* Adds to what waits. Of secrets no copy stays behind in memory that was too small. Returns 0 or
 * -ENOMEM. */
static int wait_with(struct grpc_call *call, struct bytes bytes)
{
    struct buf *waiting = &call->waiting;
    struct buf larger = {0};

    if (!call->reader.is_secret || waiting->capacity - waiting->end >= bytes.size) {
        return buf_append(waiting, bytes.data, bytes.size);
    }
    if (buf_reserve(&larger, 2 * (buf_size(waiting) + bytes.size)) == NULL) {
        return -ENOMEM;
    }
    (void)buf_append(&larger, buf_bytes(waiting).data, buf_size(waiting)); /* there is room */
    (void)buf_append(&larger, bytes.data, bytes.size);
    forget(waiting, true);
    *waiting = larger;
    return 0;
}

void grpc_call_drop_waiting(struct grpc_call *call)
{
    size_t size = buf_size(&call->waiting);

    reactor_undefer(&call->delivery);
    if (call->waiting.data != NULL) {
        forget(&call->waiting, call->reader.is_secret);
    }
    if (size > 0 && call->stream != NULL) {
        h2_stream_consume(call->stream, size);
    }
}

/* Delivers what waits of a stream of requests. A handler may end the call, or pause, from inside:
 * the bytes it looks at stay where they are until it is done. */
static void deliver_stream(struct grpc_call *call)
{
    struct buf bytes = call->waiting;
    struct bytes rest = buf_bytes(&bytes);

    call->waiting = (struct buf){0};
    read_messages(call, &rest);
    h2_stream_consume(call->stream, buf_size(&bytes) - rest.size);
    call->host->ops->touched(call->host, call); /* credit goes back, though there is no answer */
    buf_consume(&bytes, buf_size(&bytes) - rest.size);
    call->waiting = bytes;
    if (rest.size == 0 || !grpc_call_is_wanted(call)) {
        grpc_call_drop_waiting(call);
    }
    tell_end(call);
}

void grpc_call_run_delivery(struct reactor_task *task)
{
    struct grpc_call *call = CONTAINER_OF(task, struct grpc_call, delivery);

    grpc_call_take_turn(call);
    if (is_held_back(call) || grpc_call_must_give_way(call)) {
        return;
    }
    call->progress_ns = call->host->reactor->now_ns; /* that it waited was not the client's doing */
    call->arrived = 0;
    grpc_call_hold(call); /* a handler may let go of it */
    if (call->state == GRPC_CALL_RUNNING) {
        deliver_stream(call);
    } else {
        run_request(call);
    }
    grpc_call_account(call);
    grpc_call_release(call);
}

void grpc_call_deliver(struct grpc_call *call)
{
    bool has_end = call->peer_ended && !call->end_delivered;

    if (grpc_call_is_wanted(call) && !call->paused && (has_end || buf_size(&call->waiting) > 0)) {
        reactor_defer(call->host->reactor, &call->delivery);
    }
}

void grpc_call_pause(struct grpc_call *call)
{
    call->paused = true;
}

void grpc_call_resume(struct grpc_call *call)
{
    call->paused = false;
    grpc_call_deliver(call);
}

bool grpc_call_expects_body(const struct grpc_call *call)
{
    if (call->peer_ended) {
        return false;
    }
    return call->state == GRPC_CALL_RECEIVING ||
           (call->state == GRPC_CALL_RUNNING && buf_size(&call->waiting) == 0 &&
            !grpc_frame_is_at_border(&call->reader) && !is_held_back(call));
}

void grpc_call_on_field(void *context, const struct h2_field *field)
{
    struct grpc_call *call = context;

    if (call->state == GRPC_CALL_HEAD && !call->waits) {
        grpc_head_add(&call->head, &call->arena, field);
    } /* else trailers of the request, which mean nothing in gRPC */
}

/* The stages have let it pass. */
static void head_passed(struct grpc_call *call)
{
    grpc_call_arm_authorization(call);
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    if (grpc_call_streams_requests(call)) {
        grpc_call_set_state(call, GRPC_CALL_RUNNING);
        call->host->ops->opened(call->host, call);
    } else {
        grpc_call_set_state(call, GRPC_CALL_RECEIVING);
    }
}

static void head_arrived(struct grpc_call *call)
{
    call->started_ns = call->host->reactor->now_ns;
    call->progress_ns = call->started_ns;
    grpc_call_check_head(call);
    if (grpc_call_is_wanted(call)) {
        grpc_call_arm_deadline(call);
    }
    if (grpc_call_is_wanted(call)) {
        call->host->ops->head_complete(call->host, call);
    }
    if (grpc_call_is_wanted(call) && call->arena.used > GRPC_CALL_HEAD_USUAL) {
        grpc_call_account_arrival(call);
    }
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    call->reader.is_secret = call->method != NULL && call->method->secret;
    if (!call->waits) {
        head_passed(call);
    }
}

void grpc_call_wait(struct grpc_call *call)
{
    assert(call->in_stages);
    call->waits = true;
}

/* What has come meanwhile. */
static void take_waiting(struct grpc_call *call)
{
    call->progress_ns = call->host->reactor->now_ns; /* that it waited was not the client's doing */
    call->arrived = 0;
    deliver_stream(call);
    if (call->state == GRPC_CALL_RECEIVING && call->peer_ended) {
        request_complete(call);
    }
    grpc_call_account(call);
}

void grpc_call_proceed(struct grpc_call *call)
{
    assert(call->waits);
    grpc_call_hold(call); /* it may end */
    call->waits = false;
    call->host->ops->proceed(call->host, call);
    if (grpc_call_is_wanted(call) && !call->waits) {
        head_passed(call);
    }
    if (grpc_call_is_wanted(call) && !call->waits) {
        take_waiting(call);
    }
    grpc_call_release(call);
}

void grpc_call_on_ended(void *context)
{
    struct grpc_call *call = context;

    call->peer_ended = true;
    if (call->state == GRPC_CALL_RECEIVING) {
        request_complete(call);
    } else {
        tell_end(call);
    }
}

void grpc_call_on_fields_complete(void *context, bool trailers, bool ended)
{
    if (!trailers) {
        head_arrived(context);
    }
    if (ended) {
        grpc_call_on_ended(context);
    }
}

void grpc_call_on_fields_too_large(void *context)
{
    struct grpc_call *call = context;

    limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_HEADER_LIST);
    grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "HEADER_LIST_TOO_LARGE",
                     "request header list larger than http2.max_header_list");
    for (unsigned i = 0; i < LARGE_HEAD_CHARGES; i++) {
        h2_stream_blame(call->stream); /* the client was told the limit */
    }
}

/* Body bytes count as progress by the kilobyte; in a stream of requests, whose client may rest
 * between two messages, so does the beginning of a message. */
static void note_arrival(struct grpc_call *call, size_t size)
{
    call->arrived += size;
    if (call->arrived >= GRPC_CALL_PROGRESS_BYTES ||
        (call->state == GRPC_CALL_RUNNING && grpc_frame_is_at_border(&call->reader))) {
        call->arrived = 0;
        call->progress_ns = call->host->reactor->now_ns;
    }
}

void grpc_call_on_data(void *context, struct bytes bytes)
{
    struct grpc_call *call = context;
    size_t size = bytes.size;

    note_arrival(call, size);
    if (buf_size(&call->waiting) == 0 && !call->waits) {
        read_messages(call, &bytes);
    }
    if (grpc_call_is_wanted(call) && bytes.size > 0) {
        if (wait_with(call, bytes) == 0) {
            size -= bytes.size; /* no credit for these yet */
        } else {
            fail_memory(call);
        }
    }
    grpc_call_account_arrival(call);
    h2_stream_consume(call->stream, size);
}
