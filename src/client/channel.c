/*
 * A channel owns at most one connection and keeps its calls in three lists.
 *
 *     waiting    for a session: the connection is being made, or the one we have is ending
 *     open       on a stream
 *     finished   the outcome stands; `done` has to be run
 *
 * The happy path:
 * 1. channel_start() puts the call into `waiting`, arms its deadline and defers the channel's task.
 * 2. The task sees a wish and no connection: it connects, address after address, then hands the
 * socket to a conn.
 * 3. The conn reports `opened` (TLS is done, ALPN is h2): a session is made, waiting calls become
 * streams.
 * 4. Stream events fill the call's unary_reply. When the server has ended its side the outcome
 * stands and the call moves to `finished`.
 * 5. The task, at the end of the turn, runs `done`. So no callback runs inside a call to this file,
 * nor inside the session, and callbacks may start, cancel and close as they like.
 *
 * What can go wrong:
 * - no address answers, TLS fails: every waiting call fails with UNAVAILABLE and the text of the
 * last failure. There is no pause before the next attempt: it is the caller who tries again.
 * - the connection is lost: open calls fail with UNAVAILABLE; the next call connects anew.
 * - GOAWAY: the session serves what is open and then ends; later calls wait for the next
 * connection. Streams the server did not look at end with UNAVAILABLE and the cause REFUSED: they
 * are safe to repeat.
 * - the deadline passes: DEADLINE_EXCEEDED, and RST_STREAM(CANCEL) when a stream is open.
 */
#include "client/channel.h"

#include "client/channel_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const state_names[CHANNEL_STATE_COUNT] = {
    "IDLE", "CONNECTING", "HANDSHAKING", "READY", "DRAINING", "ENDING",
};

#define MAY(state) (1u << (state))

/* From each state the ones it may move to. */
static const unsigned state_moves[CHANNEL_STATE_COUNT] = {
    [CHANNEL_IDLE] = MAY(CHANNEL_CONNECTING),
    [CHANNEL_CONNECTING] = MAY(CHANNEL_HANDSHAKING) | MAY(CHANNEL_IDLE),
    [CHANNEL_HANDSHAKING] = MAY(CHANNEL_READY) | MAY(CHANNEL_ENDING) | MAY(CHANNEL_IDLE),
    [CHANNEL_READY] = MAY(CHANNEL_DRAINING) | MAY(CHANNEL_ENDING) | MAY(CHANNEL_IDLE),
    [CHANNEL_DRAINING] = MAY(CHANNEL_ENDING) | MAY(CHANNEL_IDLE),
    [CHANNEL_ENDING] = MAY(CHANNEL_IDLE),
};

const char *channel_state_name(const struct channel *channel)
{
    return state_names[channel->state];
}

void channel_set_state(struct channel *channel, enum channel_state state)
{
    assert((state_moves[channel->state] & MAY(state)) != 0);
    channel->state = state;
}

void channel_wake(struct channel *channel)
{
    reactor_defer(channel->reactor, &channel->task);
}

/* Lets go of the stream. One that still has something to send or to receive is reset. */
static void drop_stream(struct channel_call *call, bool peer_ended)
{
    struct h2_stream *stream = call->stream;

    if (stream == NULL) {
        return;
    }
    call->stream = NULL;
    if (!peer_ended || h2_stream_unsent_size(stream) != 0) {
        h2_stream_reset(stream, H2_ERROR_CANCEL);
        if (call->channel->conn != NULL) {
            conn_touch(call->channel->conn);
        }
    }
    h2_stream_forget(stream);
}

void channel_finish(struct channel_call *call, bool peer_ended)
{
    assert(call->reply.is_decided);
    reactor_stop_timer(call->channel->reactor, &call->timer);
    drop_stream(call, peer_ended);
    list_remove(&call->link);
    list_push_back(&call->channel->finished, &call->link);
    channel_wake(call->channel);
}

void channel_fail(struct channel_call *call, enum grpc_status status, enum channel_cause cause,
                  const char *message)
{
    call->cause = cause;
    unary_reply_fail(&call->reply, status, message);
    channel_finish(call, false);
}

void channel_fail_all(struct list *calls, enum grpc_status status, enum channel_cause cause,
                      const char *message)
{
    while (!list_is_empty(calls)) {
        channel_fail(CONTAINER_OF(calls->next, struct channel_call, link), status, cause, message);
    }
}

/* Runs `done`. The call is its owner's again before that, so what the result points to moves here.
 */
static void deliver(struct channel *channel, struct channel_call *call)
{
    struct unary_reply reply = call->reply;
    const struct channel_result result = {
        .status = reply.status,
        .cause = call->cause,
        .message = buf_bytes(&reply.message),
        .details = buf_bytes(&reply.details),
        .reply = buf_bytes(&reply.body),
    };

    buf_deinit(&call->request);
    call->reply = (struct unary_reply){0};
    call->channel = NULL;
    channel->call_count--;
    call->done(call, &result);
    unary_reply_deinit(&reply);
}

/* Only what is finished now: a `done` that starts a call cannot keep this loop going. */
static void deliver_finished(struct channel *channel)
{
    struct list batch;
    struct list *link;

    list_init(&batch);
    list_splice_back(&batch, &channel->finished);
    while ((link = list_pop_front(&batch)) != NULL) {
        deliver(channel, CONTAINER_OF(link, struct channel_call, link));
    }
}

static void on_deadline(struct timer *timer)
{
    channel_fail(CONTAINER_OF(timer, struct channel_call, timer), GRPC_STATUS_DEADLINE_EXCEEDED,
                 CHANNEL_CAUSE_DEADLINE, "Deadline exceeded");
}

static void free_channel(struct channel *channel)
{
    void (*closed)(void *context) = channel->closed;
    void *context = channel->context;

    assert(channel->call_count == 0);
    assert(!channel->connect_op.pending);
    reactor_undefer(&channel->task);
    free(channel);
    closed(context);
}

/* Moves towards the end: ends what there is, and frees once nothing is left. */
static void step_closing(struct channel *channel)
{
    channel_fail_all(&channel->waiting, GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED,
                     "Cancelled");
    channel_fail_all(&channel->open, GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED, "Cancelled");
    if (channel->state == CHANNEL_CONNECTING) {
        ring_cancel(channel->reactor->ring, &channel->connect_op);
    } else if (channel->state == CHANNEL_HANDSHAKING) {
        channel_set_state(channel, CHANNEL_ENDING);
        conn_abort(channel->conn);
    } else if (channel->state == CHANNEL_READY || channel->state == CHANNEL_DRAINING) {
        channel_end_connection(channel);
    } else if (channel->state == CHANNEL_IDLE && channel->call_count == 0) {
        free_channel(channel);
    }
}

static void step(struct channel *channel)
{
    if (channel->state == CHANNEL_IDLE && !list_is_empty(&channel->waiting)) {
        channel_connect(channel);
        return;
    }
    if (channel->state == CHANNEL_READY) {
        channel_send_waiting(channel);
    }
    if (channel->state == CHANNEL_DRAINING && list_is_empty(&channel->open)) {
        channel_end_connection(channel);
    }
}

static void run(struct reactor_task *task)
{
    struct channel *channel = CONTAINER_OF(task, struct channel, task);

    deliver_finished(channel);
    if (channel->closing) {
        step_closing(channel);
    } else {
        step(channel);
    }
}

int channel_new(struct reactor *reactor, const struct channel_options *options,
                void (*closed)(void *context), void *context, struct channel **ret_channel)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    const struct target *target = &options->target;

    if (channel == NULL) {
        return -ENOMEM;
    }
    channel->reactor = reactor;
    channel->options = *options;
    channel->closed = closed;
    channel->context = context;
    channel->fd = -1;
    channel_init_settings(channel);
    list_init(&channel->task.link);
    channel->task.run = run;
    list_init(&channel->waiting);
    list_init(&channel->open);
    list_init(&channel->finished);
    (void)snprintf(channel->authority, sizeof(channel->authority),
                   strchr(target->host, ':') == NULL ? "%s:%s" : "[%s]:%s", target->host,
                   target->port);
    *ret_channel = channel;
    return 0;
}

int channel_start(struct channel *channel, struct channel_call *call, struct bytes request)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];

    assert(!channel->closing);
    if (channel->call_count == CHANNEL_CALLS_MAX) {
        return CHANNEL_E_BUSY;
    }
    list_init(&call->link);
    call->channel = channel;
    call->stream = NULL;
    call->request = (struct buf){0};
    call->cause = CHANNEL_CAUSE_ANSWER;
    call->timer = (struct timer){.fire = on_deadline};
    call->deadline_ns = CHANNEL_NO_DEADLINE;
    grpc_frame_encode_head(head, false, (uint32_t)request.size);
    if (buf_append(&call->request, head, sizeof(head)) != 0 ||
        buf_append(&call->request, request.data, request.size) != 0) {
        goto fail;
    }
    if (call->timeout_ns != CHANNEL_NO_DEADLINE) {
        if (reactor_start_timer(channel->reactor, &call->timer, call->timeout_ns) != 0) {
            goto fail;
        }
        call->deadline_ns = call->timer.deadline_ns;
    }
    unary_reply_init(&call->reply, channel->options.max_message);
    list_push_back(&channel->waiting, &call->link);
    channel->call_count++;
    channel_wake(channel);
    return 0;

fail:
    buf_deinit(&call->request);
    return -ENOMEM;
}

void channel_cancel(struct channel_call *call)
{
    if (call->channel != NULL && !call->reply.is_decided) {
        channel_fail(call, GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED, "Cancelled");
    }
}

void channel_close(struct channel *channel)
{
    channel->closing = true;
    channel_wake(channel);
}
