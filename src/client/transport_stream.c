/*
 * An attempt on its stream: what of the request is there goes out, what comes back fills the
 * attempt's call_reply. The body of a unary answer gives its flow-control credit back as it comes,
 * that of a stream when its owner takes it.
 *
 * Every event first asks whether the attempt still has its stream: one that failed inside an
 * earlier event of the same turn has let go of it.
 *
 * nghttp2 numbers a stream when it is asked for and sends its head when the server has room for one
 * more; until then the attempt is unsent.
 */
#include "client/transport_internal.h"
#include "http2/grpc_metadata.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define FIELDS_MAX     (TRANSPORT_HEAD_FIELDS + 4 + CALL_FIELDS_MAX)
#define ATTEMPTS_USUAL 10000

/* A client trusts its server with resources, but not with all of them. */
const struct h2_options transport_session_options = {
    .max_concurrent_streams = 100,
    .stream_window = 1024 * 1024,
    .connection_window = 4 * 1024 * 1024,
    .max_frame_size = 16384,
    .max_header_list = 64 * 1024,
    .max_header_list_hard = 128 * 1024,
    .max_headers = 128,
    .max_continuations = 8,
    .reset_burst = ATTEMPTS_USUAL,
    .reset_rate = ATTEMPTS_USUAL,
    .control_burst = 1000,
    .control_rate = 100,
    .max_empty_frames = 8,
    .max_outq = 2 * TRANSPORT_QUEUE_MAX,
};

/* Lets go of the stream. One that still has something to send or to receive is reset. */
static void drop_stream(struct call_attempt *attempt, bool peer_ended)
{
    struct h2_stream *stream = attempt->stream;

    if (stream == NULL) {
        return;
    }
    attempt->stream = NULL;
    if (!peer_ended || !attempt->is_half_closed || h2_stream_unsent_size(stream) != 0) {
        h2_stream_reset(stream, H2_ERROR_CANCEL);
        if (attempt->transport->conn != NULL) {
            conn_touch(attempt->transport->conn);
        }
    }
    h2_stream_forget(stream);
}

void transport_finish(struct call_attempt *attempt, bool peer_ended)
{
    struct transport *transport = attempt->transport;

    drop_stream(attempt, peer_ended);
    attempt->is_over = true;
    if (attempt->events->message == NULL) {
        call_reply_end(&attempt->reply, attempt->end_error); /* of a stream, after its messages */
    }
    list_remove(&attempt->ready_link);
    list_remove(&attempt->link);
    list_push_back(&transport->finished, &attempt->link);
    transport->open_count--;
    transport_wake(transport);
}

static void decide(struct call_attempt *attempt, enum grpc_status status, enum call_cause cause,
                   const char *message)
{
    if (!attempt->reply.is_decided) {
        attempt->cause = cause;
        call_reply_fail(&attempt->reply, status, message);
    }
}

/* Decides the outcome of an open attempt. */
static void fail(struct call_attempt *attempt, enum grpc_status status, enum call_cause cause,
                 const char *message)
{
    decide(attempt, status, cause, message);
    call_reply_drop(&attempt->reply);
    transport_finish(attempt, false);
}

/* Its stream needs no reset: the engine closes it, or will not begin it. */
void transport_refuse(struct call_attempt *attempt)
{
    attempt->is_unsent = !h2_stream_was_sent(attempt->stream);
    h2_stream_forget(attempt->stream);
    attempt->stream = NULL;
    decide(attempt, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED, attempt->transport->problem);
    transport_finish(attempt, true);
}

/* What a lost connection brought is still worth telling. */
static void lose(struct call_attempt *attempt)
{
    decide(attempt, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST, attempt->transport->problem);
    transport_finish(attempt, false);
}

void transport_fail_open(struct transport *transport)
{
    while (!list_is_empty(&transport->open)) {
        struct call_attempt *attempt =
            CONTAINER_OF(transport->open.next, struct call_attempt, link);

        if (h2_stream_was_sent(attempt->stream)) {
            lose(attempt);
        } else {
            transport_refuse(attempt);
        }
    }
}

void call_attempt_fail(struct call_attempt *attempt, enum grpc_status status, enum call_cause cause,
                       const char *message)
{
    if (attempt->transport == NULL) {
        return;
    }
    if (!attempt->is_over) {
        fail(attempt, status, cause, message);
        return;
    }
    decide(attempt, status, cause, message);
    call_reply_drop(&attempt->reply);
    transport_finish_again(attempt);
}

static void on_field(void *context, const struct h2_field *field)
{
    struct call_attempt *attempt = context;

    if (attempt->stream != NULL && call_reply_field(&attempt->reply, field) != 0) {
        fail(attempt, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_MEMORY, "out of memory");
    }
}

static void on_peer_ended(void *context)
{
    struct call_attempt *attempt = context;

    if (attempt->stream != NULL) {
        transport_finish(attempt, true);
    }
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    struct call_attempt *attempt = context;

    attempt->transport->has_served = true;
    if (ended) {
        on_peer_ended(context); /* an early error has its status in the head: as in trailers */
    } else if (!trailers) {
        attempt->has_head = true;
    }
}

static void on_fields_too_large(void *context)
{
    struct call_attempt *attempt = context;

    if (attempt->stream != NULL) {
        fail(attempt, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_ANSWER,
             "the head of the answer is larger than this client takes");
    }
}

static void on_data(void *context, struct bytes bytes)
{
    struct call_attempt *attempt = context;
    bool is_stream = attempt->events->message != NULL;

    if (attempt->stream == NULL) {
        return;
    }
    if (!is_stream) {
        h2_stream_consume(attempt->stream, bytes.size);
    }
    if (call_reply_data(&attempt->reply, bytes) != 0) {
        fail(attempt, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_MEMORY, "out of memory");
    } else if (attempt->reply.is_decided) {
        transport_finish(attempt, false);
    } else if (is_stream) {
        transport_make_ready(attempt);
    }
}

static void on_writable(void *context)
{
    struct call_attempt *attempt = context;

    if (attempt->stream != NULL && attempt->events->writable != NULL) {
        attempt->is_writable = true;
        transport_make_ready(attempt);
    }
}

static void on_stream_closed(void *context, uint32_t error)
{
    struct call_attempt *attempt = context;
    const char *problem = attempt->transport->problem;

    attempt->is_unsent = !h2_stream_was_sent(attempt->stream);
    attempt->stream = NULL;
    attempt->end_error = error;
    if (error == H2_ERROR_REFUSED_STREAM) {
        attempt->cause = CALL_CAUSE_REFUSED;
        if (problem[0] != '\0') { /* by GOAWAY: what it says is the reason */
            call_reply_fail(&attempt->reply, GRPC_STATUS_UNAVAILABLE, problem);
        }
    }
    transport_finish(attempt, true);
}

/* Those that the server has not looked at, and never will. */
static void refuse_above(struct transport *transport, uint32_t last_stream_id)
{
    struct list *link;
    struct list *next;

    for (link = transport->open.next; link != &transport->open; link = next) {
        struct call_attempt *attempt = CONTAINER_OF(link, struct call_attempt, link);

        next = link->next;
        if ((uint32_t)h2_stream_id(attempt->stream) > last_stream_id ||
            !h2_stream_was_sent(attempt->stream)) {
            transport_refuse(attempt);
        }
    }
}

static void on_goaway(void *owner, uint32_t last_stream_id, uint32_t error, struct bytes debug)
{
    struct transport *transport = owner;

    transport_set_problem(transport, CALL_CAUSE_ANSWER,
                          "the server ends the connection (HTTP/2 error %u%s%.*s)", (unsigned)error,
                          debug.size == 0 ? "" : ", ", debug.size > 200 ? 200 : (int)debug.size,
                          debug.size == 0 ? "" : (const char *)debug.data);
    transport->is_mild = error == H2_ERROR_NO_ERROR;
    if (error == H2_ERROR_ENHANCE_YOUR_CALM &&
        bytes_equal(debug, BYTES_LITERAL("too_many_pings"))) {
        transport->server_asked_patience = true;
    }
    transport_look_for_settings(transport); /* they may have come with it */
    refuse_above(transport, last_stream_id);
    if (transport->state == TRANSPORT_READY) {
        transport_set_state(transport, TRANSPORT_DRAINING);
    }
}

const struct h2_events transport_session_events = {
    .field = on_field,
    .fields_complete = on_fields_complete,
    .fields_too_large = on_fields_too_large,
    .data = on_data,
    .ended = on_peer_ended,
    .writable = on_writable,
    .closed = on_stream_closed,
    .goaway = on_goaway,
};

static struct h2_field field(const char *name, const char *value)
{
    return (struct h2_field){.name = bytes_from_text(name), .value = bytes_from_text(value)};
}

/* Its texts are literals, or those of the options: they outlive the session. */
void transport_init_head(struct transport *transport)
{
    const struct transport_options *options = &transport->options;
    const struct h2_field head[TRANSPORT_HEAD_FIELDS] = {
        field(":method", "POST"),
        field(":scheme", options->tls == NULL ? "http" : "https"),
        field(":authority", options->authority == NULL ? "localhost" : options->authority),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
        field("grpc-accept-encoding", "identity"),
        field("user-agent",
              options->user_agent == NULL ? TRANSPORT_USER_AGENT : options->user_agent),
    };

    memcpy(transport->head, head, sizeof(head));
    for (size_t i = 0; i < TRANSPORT_HEAD_FIELDS; i++) {
        transport->head[i].constant = true;
    }
}

/* What is there of the body, and the end of our side when nothing follows. */
static int request_body(struct call_attempt *attempt)
{
    int ret = 0;

    if (attempt->request.size != 0) {
        ret = h2_stream_write(attempt->stream, &attempt->request, 1);
    }
    if (ret == 0 && attempt->half_closed) {
        ret = h2_stream_end(attempt->stream, NULL, 0);
    }
    return ret;
}

/* What is left of the deadline. One that has passed is about to be ended by who has the timer. */
static struct h2_field timeout_field(struct transport *transport, uint64_t deadline_ns)
{
    uint64_t now_ns = reactor_now_ns(transport->reactor);
    uint64_t timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 1;

    if (timeout_ns != transport->timeout_ns) {
        transport->timeout_ns = timeout_ns;
        grpc_timeout_format(timeout_ns, transport->timeout);
    }
    return field("grpc-timeout", transport->timeout);
}

/* The head: pseudo-fields, what gRPC wants, the caller's metadata. */
static int request_head(struct transport *transport, struct call_attempt *attempt)
{
    struct h2_field fields[FIELDS_MAX];
    char previous[12];
    size_t count = TRANSPORT_HEAD_FIELDS + 1;

    assert(attempt->field_count <= CALL_FIELDS_MAX);
    fields[0] = field(":path", attempt->path);
    memcpy(fields + 1, transport->head, sizeof(transport->head));
    if (attempt->deadline_ns != CALL_NO_DEADLINE) {
        fields[count++] = timeout_field(transport, attempt->deadline_ns);
    }
    if (attempt->previous_attempts != 0) {
        (void)snprintf(previous, sizeof(previous), "%u", attempt->previous_attempts);
        fields[count++] = field("grpc-previous-rpc-attempts", previous);
    }
    if (attempt->authorization != NULL) {
        fields[count] = field("authorization", attempt->authorization);
        fields[count++].sensitive = true;
    }
    for (size_t i = 0; i < attempt->field_count; i++) {
        fields[count++] = field(attempt->fields[i].name, attempt->fields[i].value);
    }
    return h2_session_request(transport->session, fields, count, attempt, &attempt->stream);
}

static void init_attempt(struct transport *transport, struct call_attempt *attempt)
{
    list_init(&attempt->link);
    list_init(&attempt->ready_link);
    attempt->transport = transport;
    attempt->cause = CALL_CAUSE_ANSWER;
    attempt->end_error = H2_ERROR_NO_ERROR;
    attempt->has_head = false;
    attempt->is_unsent = false;
    attempt->is_over = false;
    attempt->is_half_closed = attempt->half_closed;
    attempt->is_paused = false;
    attempt->is_writable = false;
    call_reply_init(&attempt->reply, attempt->events->message != NULL, attempt->max_message);
    transport_lend_buffers(transport, &attempt->reply);
}

int transport_start(struct transport *transport, struct call_attempt *attempt)
{
    int ret;

    if (transport->state != TRANSPORT_READY || transport->is_closing) {
        return TRANSPORT_E_NOT_READY;
    }
    if (h2_session_outq(transport->session) >= TRANSPORT_QUEUE_MAX) {
        return -ENOMEM;
    }
    ret = request_head(transport, attempt);
    if (ret == -EAGAIN) {
        transport_set_problem(transport, CALL_CAUSE_ANSWER, "the connection has no stream id left");
        transport->is_mild = true;
        transport_set_state(transport, TRANSPORT_DRAINING);
        return TRANSPORT_E_NOT_READY;
    }
    if (ret != 0) {
        return ret;
    }
    conn_touch(transport->conn);
    ret = request_body(attempt);
    if (ret != 0) {
        h2_stream_reset(attempt->stream, H2_ERROR_CANCEL);
        h2_stream_forget(attempt->stream);
        attempt->stream = NULL;
        return ret;
    }
    init_attempt(transport, attempt);
    list_push_back(&transport->open, &attempt->link);
    transport->attempt_count++;
    if (transport->open_count++ == 0) {
        transport_watch_attempt(transport);
    }
    return 0;
}

size_t call_attempt_unsent_size(const struct call_attempt *attempt)
{
    return attempt->transport == NULL || attempt->is_over ? 0
                                                          : h2_stream_unsent_size(attempt->stream);
}

static bool takes_no_more(const struct call_attempt *attempt)
{
    return attempt->transport == NULL || attempt->is_over || attempt->is_half_closed;
}

int call_attempt_send(struct call_attempt *attempt, const struct bytes *parts, size_t count)
{
    if (takes_no_more(attempt)) {
        return TRANSPORT_E_OVER;
    }
    if (call_attempt_unsent_size(attempt) >= TRANSPORT_UNSENT_MAX) {
        return TRANSPORT_E_FULL;
    }
    conn_touch(attempt->transport->conn);
    return h2_stream_write(attempt->stream, parts, count);
}

int call_attempt_half_close(struct call_attempt *attempt)
{
    int ret;

    if (takes_no_more(attempt)) {
        return TRANSPORT_E_OVER;
    }
    conn_touch(attempt->transport->conn);
    ret = h2_stream_end(attempt->stream, NULL, 0);
    attempt->is_half_closed = ret == 0;
    return ret;
}
