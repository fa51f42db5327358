/*
 * Telling the owners of calls what came: messages of streams, room to send, the outcome.
 *
 * The steps, once per task:
 * 1. Streams with news are told their messages, and give flow-control credit back for what was
 * taken, and for nothing else: the server fills one window at most for an owner who has paused.
 * 2. Calls that are over are told their last messages, then `done`.
 *
 * Every callback may pause, send, cancel and close; none of these runs another callback.
 */
#include "client/channel_internal.h"

#include <errno.h>

void channel_make_ready(struct channel_call *call)
{
    if (!list_is_linked(&call->ready_link)) {
        list_push_back(&call->channel->ready, &call->ready_link);
    }
    channel_wake(call->channel);
}

/* The body breaks a rule (the outcome stands then), or memory ran out. */
static void body_failed(struct channel_call *call, int error)
{
    if (error < 0) {
        call->cause = CHANNEL_CAUSE_MEMORY;
        call_reply_fail(&call->reply, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    call_reply_drop(&call->reply);
    if (!call->is_over) {
        channel_finish(call, false);
    }
}

static void tell_messages(struct channel_call *call)
{
    while (!call->is_paused) {
        struct bytes message;
        size_t used;
        int ret = call_reply_next(&call->reply, &message, &used);

        if (call->stream != NULL && used != 0) {
            h2_stream_consume(call->stream, used);
            conn_touch(call->channel->conn);
        }
        if (ret == CALL_REPLY_E_MORE) {
            return;
        }
        if (ret != 0) {
            body_failed(call, ret);
            return;
        }
        call->events->message(call, message);
    }
}

static void tell_writable(struct channel_call *call)
{
    bool is_news = call->is_writable && !call->is_over && !call->is_half_closed;

    call->is_writable = false;
    if (is_news && call->events->writable != NULL) {
        call->events->writable(call);
    }
}

/* Only what is ready now: a callback that asks for more cannot keep this loop going. */
static void deliver_ready(struct channel *channel)
{
    struct list batch;
    struct list *link;

    list_init(&batch);
    list_splice_back(&batch, &channel->ready);
    while ((link = list_pop_front(&batch)) != NULL) {
        struct channel_call *call = CONTAINER_OF(link, struct channel_call, ready_link);

        tell_messages(call);
        tell_writable(call);
    }
}

void channel_wipe_request(struct channel_call *call)
{
    if (call->request.data != NULL) {
        explicit_bzero(call->request.data, call->request.capacity);
    }
    buf_deinit(&call->request);
}

/* Runs `done`. The call is its owner's again before that, so what the result points to moves here.
 */
static void deliver(struct channel *channel, struct channel_call *call)
{
    struct call_reply reply;

    call_reply_end(&call->reply, call->end_error);
    reply = call->reply;
    channel_wipe_request(call);
    call->reply = (struct call_reply){0};
    call->channel = NULL;
    channel->call_count--;
    call->done(call, &(const struct channel_result){
                         .status = reply.status,
                         .cause = call->cause,
                         .message = buf_bytes(&reply.message),
                         .details = buf_bytes(&reply.details),
                         .reply = buf_bytes(&reply.body),
                         .fields = buf_bytes(&reply.fields),
                     });
    call_reply_deinit(&reply);
}

/* The call stays in a list while it is told its messages, for a callback may cancel it. */
static void deliver_finished(struct channel *channel)
{
    struct list batch;

    list_init(&batch);
    list_splice_back(&batch, &channel->finished);
    while (!list_is_empty(&batch)) {
        struct channel_call *call = CONTAINER_OF(batch.next, struct channel_call, link);

        if (call->events != NULL) {
            tell_messages(call);
        }
        list_remove(&call->link);
        if (call->is_paused && call_reply_untaken_size(&call->reply) != 0) {
            list_push_back(&channel->held, &call->link);
        } else {
            deliver(channel, call);
        }
    }
}

void channel_deliver(struct channel *channel)
{
    deliver_ready(channel);
    deliver_finished(channel);
}
