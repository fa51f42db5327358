/*
 * A call on its stream: what of the request is there goes out, what comes back fills the call's
 * call_reply. The body of a unary answer gives its flow-control credit back as it comes, that of a
 * stream when its owner takes it.
 *
 * Every event first asks whether the call still has its stream: a call that failed inside an
 * earlier event of the same turn has let go of it.
 */
#include "client/channel_internal.h"
#include "http2/grpc_metadata.h"

#include <errno.h>
#include <stdio.h>

#define FIELDS_MAX (10 + CHANNEL_FIELDS_MAX)

#ifndef USERD_VERSION
#define USERD_VERSION "0"
#endif

/* A client trusts its server with resources, but not with all of them. */
const struct h2_options channel_session_options = {
    .max_concurrent_streams = 100,
    .stream_window = 1024 * 1024,
    .connection_window = 4 * 1024 * 1024,
    .max_frame_size = 16384,
    .max_header_list = 64 * 1024,
    .max_header_list_hard = 128 * 1024,
    .max_headers = 128,
    .max_continuations = 8,
    .reset_burst = CHANNEL_CALLS_MAX,
    .reset_rate = CHANNEL_CALLS_MAX,
    .control_burst = 1000,
    .control_rate = 100,
    .max_empty_frames = 8,
    .max_outq = 4 * CHANNEL_CALLS_MAX,
};

static void on_field(void *context, const struct h2_field *field)
{
    struct channel_call *call = context;

    if (call->stream != NULL && call_reply_field(&call->reply, field) != 0) {
        channel_fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_MEMORY, "out of memory");
    }
}

static void on_peer_ended(void *context)
{
    struct channel_call *call = context;

    if (call->stream != NULL) {
        channel_finish(call, true);
    }
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    (void)trailers; /* an early error has its status in the head, so both blocks count alike */
    if (ended) {
        on_peer_ended(context);
    }
}

static void on_fields_too_large(void *context)
{
    struct channel_call *call = context;

    if (call->stream != NULL) {
        channel_fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_ANSWER,
                     "the head of the answer is larger than this client takes");
    }
}

static void on_data(void *context, struct bytes bytes)
{
    struct channel_call *call = context;

    if (call->stream == NULL) {
        return;
    }
    if (call->events == NULL) {
        h2_stream_consume(call->stream, bytes.size);
    }
    if (call_reply_data(&call->reply, bytes) != 0) {
        channel_fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_MEMORY, "out of memory");
    } else if (call->reply.is_decided) {
        channel_finish(call, false);
    } else if (call->events != NULL) {
        channel_make_ready(call);
    }
}

static void on_writable(void *context)
{
    struct channel_call *call = context;

    if (call->stream != NULL && call->events != NULL) {
        call->is_writable = true;
        channel_make_ready(call);
    }
}

static void on_stream_closed(void *context, uint32_t error)
{
    struct channel_call *call = context;

    call->stream = NULL;
    call->end_error = error;
    if (error == H2_ERROR_REFUSED_STREAM) {
        call->cause = CHANNEL_CAUSE_REFUSED;
        if (call->channel->problem[0] != '\0') { /* by GOAWAY: what it says is the reason */
            call_reply_fail(&call->reply, GRPC_STATUS_UNAVAILABLE, call->channel->problem);
        }
    }
    channel_finish(call, true);
}

static void on_goaway(void *owner, uint32_t last_stream_id, uint32_t error, struct bytes debug)
{
    struct channel *channel = owner;

    (void)last_stream_id; /* the session closes the streams above it with REFUSED_STREAM */
    (void)snprintf(channel->problem, sizeof(channel->problem),
                   "the server ends the connection (HTTP/2 error %u%s%.*s)", (unsigned)error,
                   debug.size == 0 ? "" : ", ", debug.size > 200 ? 200 : (int)debug.size,
                   debug.size == 0 ? "" : (const char *)debug.data);
    if (channel->state == CHANNEL_READY) {
        channel_set_state(channel, CHANNEL_DRAINING);
        channel_wake(channel);
    }
}

const struct h2_events channel_session_events = {
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

/* What is there of the body, and the end of our side when nothing follows. */
static int request_body(struct channel_call *call)
{
    struct bytes body = buf_bytes(&call->request);
    int ret = 0;

    if (body.size != 0) {
        ret = h2_stream_write(call->stream, &body, 1);
    }
    if (ret == 0 && call->is_half_closed) {
        ret = h2_stream_end(call->stream, NULL, 0);
    }
    return ret;
}

/* The head, then the body. `authorization` may be NULL. */
static int request(struct channel *channel, struct channel_call *call, const char *authorization)
{
    struct h2_field fields[FIELDS_MAX];
    size_t count = 0;
    char timeout[10];
    int ret;

    fields[count++] = field(":method", "POST");
    fields[count++] = field(":scheme", channel->options.tls == NULL ? "http" : "https");
    fields[count++] = field(":path", call->path);
    fields[count++] = field(":authority", channel->authority);
    if (call->deadline_ns != CHANNEL_NO_DEADLINE) {
        /* The timer has not fired, so at least a nanosecond is left. */
        uint64_t now_ns = channel->reactor->now_ns;

        grpc_timeout_format(call->deadline_ns > now_ns ? call->deadline_ns - now_ns : 1, timeout);
        fields[count++] = field("grpc-timeout", timeout);
    }
    fields[count++] = field("te", "trailers");
    fields[count++] = field("content-type", "application/grpc");
    fields[count++] = field("grpc-accept-encoding", "identity");
    fields[count++] = field("user-agent", "userd-client/" USERD_VERSION);
    if (authorization != NULL) {
        fields[count] = field("authorization", authorization);
        fields[count++].sensitive = true;
    }
    for (size_t i = 0; i < call->field_count; i++) {
        fields[count++] = field(call->fields[i].name, call->fields[i].value);
    }
    ret = h2_session_request(channel->session, fields, count, call, &call->stream);
    return ret != 0 ? ret : request_body(call);
}

static int request_with_token(struct channel *channel, struct channel_call *call)
{
    struct buf authorization = {0};
    int ret;

    if (call->token == NULL) {
        return request(channel, call, NULL);
    }
    ret = buf_append(&authorization, "Bearer ", strlen("Bearer "));
    if (ret == 0) {
        ret = buf_append(&authorization, call->token, strlen(call->token) + 1);
    }
    if (ret == 0) {
        ret = request(channel, call, (const char *)buf_bytes(&authorization).data);
    }
    buf_deinit(&authorization);
    return ret;
}

void channel_send_waiting(struct channel *channel)
{
    while (!list_is_empty(&channel->waiting)) {
        struct channel_call *call = CONTAINER_OF(channel->waiting.next, struct channel_call, link);
        int ret = request_with_token(channel, call);

        if (ret == -EAGAIN) {
            channel_set_state(channel, CHANNEL_DRAINING);
            return;
        }
        if (ret != 0) {
            channel_fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_MEMORY,
                         "out of memory");
            continue;
        }
        channel_wipe_request(call);
        list_remove(&call->link);
        list_push_back(&channel->open, &call->link);
        conn_touch(channel->conn);
    }
}
