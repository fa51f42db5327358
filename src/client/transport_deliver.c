/*
 * Telling the owners of attempts what came: messages of streams, room to send, the outcome.
 *
 * The steps, once per task:
 * 1. Streams with news are told their messages, and give flow-control credit back for what was
 * taken, and for nothing else: the server fills one window at most for an owner who has paused.
 * 2. Attempts that are over are told their last messages, then `done`.
 *
 * Every callback may pause, send, fail, start and close; none of these runs another callback.
 */
#include "client/transport_internal.h"

#include <errno.h>

void transport_make_ready(struct call_attempt *attempt)
{
    if (!list_is_linked(&attempt->ready_link)) {
        list_push_back(&attempt->transport->ready, &attempt->ready_link);
    }
    transport_wake(attempt->transport);
}

void transport_finish_again(struct call_attempt *attempt)
{
    list_remove(&attempt->link);
    list_push_back(&attempt->transport->finished, &attempt->link);
    transport_wake(attempt->transport);
}

void call_attempt_pause(struct call_attempt *attempt)
{
    attempt->is_paused = true;
}

void call_attempt_resume(struct call_attempt *attempt)
{
    if (attempt->transport == NULL || !attempt->is_paused) {
        return;
    }
    attempt->is_paused = false;
    if (attempt->is_over) {
        transport_finish_again(attempt);
    } else {
        transport_make_ready(attempt);
    }
}

/* The body breaks a rule (the outcome stands then), or memory ran out. */
static void body_failed(struct call_attempt *attempt, int error)
{
    if (error < 0) {
        attempt->cause = CALL_CAUSE_MEMORY;
        call_reply_fail(&attempt->reply, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    call_reply_drop(&attempt->reply);
    if (!attempt->is_over) {
        transport_finish(attempt, false);
    }
}

static void tell_messages(struct call_attempt *attempt)
{
    while (!attempt->is_paused) {
        struct bytes message;
        size_t used;
        int ret = call_reply_next(&attempt->reply, &message, &used);

        if (attempt->stream != NULL && used != 0) {
            h2_stream_consume(attempt->stream, used);
            conn_touch(attempt->transport->conn);
        }
        if (ret == CALL_REPLY_E_MORE) {
            return;
        }
        if (ret != 0) {
            body_failed(attempt, ret);
            return;
        }
        attempt->has_head = true;
        attempt->events->message(attempt, message);
    }
}

static void tell_writable(struct call_attempt *attempt)
{
    bool is_news = attempt->is_writable && !attempt->is_over && !attempt->is_half_closed;

    attempt->is_writable = false;
    if (is_news) {
        attempt->events->writable(attempt);
    }
}

/* Only what is ready now: a callback that asks for more cannot keep this loop going. */
static void deliver_ready(struct transport *transport)
{
    struct list batch;
    struct list *link;

    list_init(&batch);
    list_splice_back(&batch, &transport->ready);
    while ((link = list_pop_front(&batch)) != NULL) {
        struct call_attempt *attempt = CONTAINER_OF(link, struct call_attempt, ready_link);

        if (attempt->events->message != NULL) {
            tell_messages(attempt);
        }
        tell_writable(attempt);
    }
}

static void give_back(struct transport *transport, struct buf *buf)
{
    if (transport->spare_count == TRANSPORT_SPARES_MAX || buf->data == NULL ||
        buf->capacity > TRANSPORT_SPARE_SIZE_MAX) {
        buf_deinit(buf);
        return;
    }
    buf_clear(buf);
    transport->spares[transport->spare_count++] = *buf;
    *buf = (struct buf){0};
}

static struct buf take_spare(struct transport *transport)
{
    struct buf spare = {0};

    if (transport->spare_count != 0) {
        spare = transport->spares[--transport->spare_count];
    }
    return spare;
}

/* Those that nearly every answer fills. */
void transport_lend_buffers(struct transport *transport, struct call_reply *reply)
{
    if (!reply->is_stream) {
        reply->body = take_spare(transport);
    }
    reply->fields = take_spare(transport);
}

static void take_buffers(struct transport *transport, struct call_reply *reply)
{
    give_back(transport, &reply->fields);
    give_back(transport, &reply->body);
    call_reply_deinit(reply);
}

void transport_free_buffers(struct transport *transport)
{
    while (transport->spare_count != 0) {
        buf_deinit(&transport->spares[--transport->spare_count]);
    }
}

/* Runs `done`. The attempt is its owner's again before that, so what the result points to moves
 * here. */
static void deliver(struct transport *transport, struct call_attempt *attempt)
{
    struct call_reply reply;

    call_reply_end(&attempt->reply, attempt->end_error);
    reply = attempt->reply;
    attempt->reply = (struct call_reply){0};
    attempt->transport = NULL;
    transport->attempt_count--;
    attempt->events->done(attempt, &(const struct call_result){
                                       .status = reply.status,
                                       .cause = attempt->cause,
                                       .message = buf_bytes(&reply.message),
                                       .details = buf_bytes(&reply.details),
                                       .reply = buf_bytes(&reply.body),
                                       .fields = buf_bytes(&reply.fields),
                                       .has_head = attempt->has_head,
                                       .is_unsent = attempt->is_unsent,
                                   });
    take_buffers(transport, &reply);
}

/* The attempt stays in a list while it is told its messages, for a callback may fail it. */
static void deliver_finished(struct transport *transport)
{
    struct list batch;

    list_init(&batch);
    list_splice_back(&batch, &transport->finished);
    while (!list_is_empty(&batch)) {
        struct call_attempt *attempt = CONTAINER_OF(batch.next, struct call_attempt, link);

        if (attempt->events->message != NULL) {
            tell_messages(attempt);
        }
        list_remove(&attempt->link);
        if (attempt->is_paused && call_reply_untaken_size(&attempt->reply) != 0) {
            list_push_back(&transport->held, &attempt->link);
        } else {
            deliver(transport, attempt);
        }
    }
}

void transport_deliver(struct transport *transport)
{
    deliver_ready(transport);
    deliver_finished(transport);
}
