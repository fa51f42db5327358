/*
 * A channel owns at most one connection and keeps its calls in four lists.
 *
 *     waiting    for a session: the connection is being made, or the one we have is ending
 *     open       on a stream
 *     finished   nothing more comes: messages and the outcome have to be told
 *     held       the same, but their owner has paused them
 *
 * The happy path:
 * 1. channel_start() puts the call into `waiting`, arms its deadline and defers the channel's task.
 * 2. The task sees a wish and no connection: it connects, address after address, then hands the
 * socket to a conn.
 * 3. The conn reports `opened` (TLS is done, ALPN is h2): a session is made, waiting calls become
 * streams.
 * 4. Stream events fill the call's call_reply. When the server has ended its side the call moves to
 * `finished`.
 * 5. The task, at the end of the turn, tells messages, room and `done` (channel_deliver.c). So no
 * callback runs inside a call to this file, nor inside the session, and callbacks may start, send,
 * cancel and close as they like.
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
    if (!peer_ended || !call->is_half_closed || h2_stream_unsent_size(stream) != 0) {
        h2_stream_reset(stream, H2_ERROR_CANCEL);
        if (call->channel->conn != NULL) {
            conn_touch(call->channel->conn);
        }
    }
    h2_stream_forget(stream);
}

void channel_finish(struct channel_call *call, bool peer_ended)
{
    reactor_stop_timer(call->channel->reactor, &call->timer);
    drop_stream(call, peer_ended);
    call->is_over = true;
    if (call->events == NULL) {
        call_reply_end(&call->reply, call->end_error); /* of a stream, after its last message */
    }
    list_remove(&call->ready_link);
    list_remove(&call->link);
    list_push_back(&call->channel->finished, &call->link);
    channel_wake(call->channel);
}

void channel_fail(struct channel_call *call, enum grpc_status status, enum channel_cause cause,
                  const char *message)
{
    call->cause = cause;
    call_reply_fail(&call->reply, status, message);
    if (cause != CHANNEL_CAUSE_LOST) {
        call_reply_drop(&call->reply); /* what a lost connection brought is still worth telling */
    }
    channel_finish(call, false);
}

void channel_fail_all(struct list *calls, enum grpc_status status, enum channel_cause cause,
                      const char *message)
{
    while (!list_is_empty(calls)) {
        channel_fail(CONTAINER_OF(calls->next, struct channel_call, link), status, cause, message);
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
    while (!list_is_empty(&channel->held)) {
        channel_cancel(CONTAINER_OF(channel->held.next, struct channel_call, link));
    }
    if (channel->state == CHANNEL_CONNECTING) {
        ring_cancel(channel->reactor->ring, &channel->connect_op);
    } else if (channel->state == CHANNEL_HANDSHAKING) {
        channel_set_state(channel, CHANNEL_ENDING);
        conn_abort(channel->conn);
    } else if (channel->state == CHANNEL_READY || channel->state == CHANNEL_DRAINING) {
        channel_end_connection(channel);
    } else if (channel->state == CHANNEL_IDLE && channel->call_count == 0) {
        free_channel(channel);
        return;
    }
    if (channel->aborting && channel->conn != NULL) {
        conn_abort(channel->conn);
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

    channel_deliver(channel);
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
    list_init(&channel->held);
    list_init(&channel->ready);
    (void)snprintf(channel->authority, sizeof(channel->authority),
                   strchr(target->host, ':') == NULL ? "%s:%s" : "[%s]:%s", target->host,
                   target->port);
    *ret_channel = channel;
    return 0;
}

/* Takes the message with its frame head: all of it or nothing. */
static int gather(struct buf *out, struct bytes message)
{
    uint8_t *room = buf_reserve(out, GRPC_FRAME_HEAD_SIZE + message.size);

    if (room == NULL) {
        return -ENOMEM;
    }
    grpc_frame_encode_head(room, false, (uint32_t)message.size);
    if (message.size != 0) {
        memcpy(room + GRPC_FRAME_HEAD_SIZE, message.data, message.size);
    }
    buf_commit(out, GRPC_FRAME_HEAD_SIZE + message.size);
    return 0;
}

/* Puts the call, with what its request holds by now, among those that wait. */
static int enlist(struct channel *channel, struct channel_call *call)
{
    call->timer = (struct timer){.fire = on_deadline};
    call->deadline_ns = CHANNEL_NO_DEADLINE;
    if (call->timeout_ns != CHANNEL_NO_DEADLINE) {
        if (reactor_start_timer(channel->reactor, &call->timer, call->timeout_ns) != 0) {
            return -ENOMEM;
        }
        call->deadline_ns = call->timer.deadline_ns;
    }
    list_init(&call->link);
    list_init(&call->ready_link);
    call->channel = channel;
    call->stream = NULL;
    call->cause = CHANNEL_CAUSE_ANSWER;
    call->end_error = H2_ERROR_NO_ERROR;
    call->is_over = false;
    call->is_half_closed = call->events == NULL;
    call->is_paused = false;
    call->is_writable = false;
    call_reply_init(&call->reply, call->events != NULL, channel->options.max_message);
    list_push_back(&channel->waiting, &call->link);
    channel->call_count++;
    channel_wake(channel);
    return 0;
}

int channel_start(struct channel *channel, struct channel_call *call, struct bytes request)
{
    int ret;

    assert(!channel->closing && call->events == NULL && call->field_count <= CHANNEL_FIELDS_MAX);
    if (channel->call_count == CHANNEL_CALLS_MAX) {
        return CHANNEL_E_BUSY;
    }
    call->request = (struct buf){0};
    ret = gather(&call->request, request);
    if (ret == 0) {
        ret = enlist(channel, call);
    }
    if (ret != 0) {
        channel_wipe_request(call);
    }
    return ret;
}

int channel_open(struct channel *channel, struct channel_call *call)
{
    assert(!channel->closing && call->events != NULL && call->field_count <= CHANNEL_FIELDS_MAX);
    if (channel->call_count == CHANNEL_CALLS_MAX) {
        return CHANNEL_E_BUSY;
    }
    call->request = (struct buf){0};
    return enlist(channel, call);
}

size_t channel_unsent_size(const struct channel_call *call)
{
    if (call->channel == NULL || call->is_over) {
        return 0;
    }
    return call->stream == NULL ? buf_size(&call->request) : h2_stream_unsent_size(call->stream);
}

/* Also while the connection ends: what is written then is lost without a word. */
static bool takes_no_more(const struct channel_call *call)
{
    return call->channel == NULL || call->is_over || call->is_half_closed ||
           (call->stream != NULL && call->channel->state == CHANNEL_ENDING);
}

int channel_send(struct channel_call *call, struct bytes message)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    const struct bytes parts[] = {{head, sizeof(head)}, message};

    if (takes_no_more(call)) {
        return CHANNEL_E_OVER;
    }
    if (channel_unsent_size(call) >= CHANNEL_UNSENT_MAX) {
        return CHANNEL_E_FULL;
    }
    if (call->stream == NULL) {
        return gather(&call->request, message);
    }
    grpc_frame_encode_head(head, false, (uint32_t)message.size);
    conn_touch(call->channel->conn);
    return h2_stream_write(call->stream, parts, 2);
}

int channel_half_close(struct channel_call *call)
{
    int ret = 0;

    if (takes_no_more(call)) {
        return CHANNEL_E_OVER;
    }
    if (call->stream != NULL) {
        conn_touch(call->channel->conn);
        ret = h2_stream_end(call->stream, NULL, 0);
    }
    call->is_half_closed = ret == 0;
    return ret;
}

/* A finished call whose owner has changed its mind is looked at again. */
static void finish_again(struct channel_call *call)
{
    list_remove(&call->link);
    list_push_back(&call->channel->finished, &call->link);
    channel_wake(call->channel);
}

void channel_pause(struct channel_call *call)
{
    call->is_paused = true;
}

void channel_resume(struct channel_call *call)
{
    if (call->channel == NULL || !call->is_paused) {
        return;
    }
    call->is_paused = false;
    if (call->is_over) {
        finish_again(call);
    } else {
        channel_make_ready(call);
    }
}

void channel_cancel(struct channel_call *call)
{
    if (call->channel == NULL) {
        return;
    }
    if (!call->is_over) {
        channel_fail(call, GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED, "Cancelled");
        return;
    }
    if (!call->reply.is_decided) {
        call->cause = CHANNEL_CAUSE_CANCELLED;
        call_reply_fail(&call->reply, GRPC_STATUS_CANCELLED, "Cancelled");
    }
    call_reply_drop(&call->reply);
    finish_again(call);
}

void channel_close(struct channel *channel)
{
    channel->closing = true;
    channel_wake(channel);
}

void channel_abort(struct channel *channel)
{
    channel->aborting = true;
    channel_close(channel);
}
