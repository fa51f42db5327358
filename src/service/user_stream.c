/*
 * A stream of changes has the effect of the same changes one after the other, but many of them are
 * on their way at once: hashed side by side, and made durable by one flush.
 *
 *   1. A message becomes an item at the end of a list (user_stream_item.c).
 *   2. Items are begun in their order: an item reserves its names once the one before has reserved
 *      its own. So none waits for a later one, and no two streams for each other.
 *   3. They are submitted in their order, each once the log has accepted the one before. So the
 *      order of creation is that of the stream, and nothing behind an item that failed has an
 *      effect. A log that refuses a record says so before the turn ends, by a task that was
 *      deferred before ours: one item per run of our task, all in one turn.
 *   4. They are answered in their order. With the client's end and the last answer it is over.
 *
 * Whatever happens (message, hash, commit, timer) only leaves a note and defers the task of the
 * stream; run() does all the work, so that no callback comes in between.
 *
 * What can go wrong:
 *
 *   - An item is refused while earlier ones are under way, which may be just why (its name is given
 *     up by one of them). It tries again when it is the first, and what it is told then is final.
 *   - The log, the hashing or the changes of one user are crowded: the item tries again when
 *     another one of the stream is done, or after a while. That is no failure, only slow.
 *   - An item fails for good: the earlier ones are answered, then the call ends with its status; or
 *     the item is answered with an error (users-continue-on-error) and the stream goes on.
 *   - The client sends faster than we work, or does not read: the call is paused, and the client's
 *     window stays shut.
 *   - The client goes away, or the deadline passes: what was not submitted is cancelled. The stream
 *     lives until the last of its writes has ended.
 */
#include "service/user_stream.h"

#include "http2/grpc_call.h"
#include "service/rate_limit.h"
#include "service/user_stream_internal.h"

#include <stdlib.h>

/* Messages taken before the task has tried to begin them. An item is many times its message, so of
 * what cannot be begun little more than this is kept in that form; the rest waits as it came. */
#define UNTRIED_MAX 32

/* ---- answers ---- */

static void fail_call(struct user_stream *stream, const struct user_error *error)
{
    stream->over = true;
    grpc_call_fail(stream->call, &error->grpc);
}

static void fail_with(struct user_stream *stream, enum user_error_kind kind, uint64_t index)
{
    struct user_error error;

    user_error_set(&error, kind);
    user_error_add_index(&error, index);
    if (kind == USER_ERROR_RATE) {
        grpc_error_add_metadata(&error.grpc, "limit", limits_hit_name(LIMITS_HIT_RATE_WRITE));
        error.grpc.retry_delay_ms = stream->end_retry_ms;
    }
    user_error_count(&error, &stream->streams->reactor->limits_hit);
    fail_call(stream, &error);
}

/* Ends the call with the error of the item, or makes the error its answer. */
static void answer_failure(struct user_stream *stream, struct user_stream_item *item)
{
    struct user_error error;

    stream->streams->items_failed++;
    user_stream_item_error(item, &error);
    user_error_count(&error, &stream->streams->reactor->limits_hit);
    if (user_stream_order_is_fatal(stream, item)) {
        fail_call(stream, &error);
    } else if (user_stream_item_keep_error(item, &error) != 0) {
        fail_with(stream, USER_ERROR_NO_MEMORY, item->index);
    }
}

static void answer_item(struct user_stream *stream, struct user_stream_item *item)
{
    struct bytes reply;

    if (item->state == USER_STREAM_ITEM_FAILED) {
        answer_failure(stream, item);
    } else {
        stream->streams->items_done++;
    }
    reply = buf_bytes(&item->reply);
    if (!stream->over && grpc_call_send(stream->call, &reply, 1) != 0) {
        fail_with(stream, USER_ERROR_NO_MEMORY, item->index);
    }
}

/* Answers the items at the front that are done. False when there is none. */
static bool answer_items(struct user_stream *stream)
{
    bool any = false;
    struct user_stream_item *item;

    while (!stream->over && (item = user_stream_first(stream)) != NULL &&
           user_stream_is_final(item)) {
        answer_item(stream, item);
        user_stream_order_remove(stream, item);
        any = true;
    }
    return any;
}

/* ---- the stream ---- */

/* Takes messages only while each can be worked at, and the answers are read. */
static void set_pause(struct user_stream *stream)
{
    if (stream->stopped || stream->to_begin != NULL ||
        stream->item_count >= stream->streams->options.max_inflight ||
        grpc_call_unsent_size(stream->call) >= stream->streams->options.max_unsent) {
        grpc_call_pause(stream->call);
    } else {
        grpc_call_resume(stream->call);
    }
}

static void work(struct user_stream *stream)
{
    stream->untried = 0;
    if (stream->no_memory) {
        fail_with(stream, USER_ERROR_NO_MEMORY, stream->taken);
        return;
    }
    do {
        user_stream_order_begin(stream); /* the first item may have changed */
    } while (answer_items(stream) && !stream->over);
    if (!stream->over) {
        user_stream_order_submit(stream);
        set_pause(stream);
    }
    if (!stream->over && stream->item_count == 0) {
        if (stream->ends_badly) {
            fail_with(stream, stream->end_error, stream->taken);
        } else if (stream->half_closed) {
            stream->over = true;
            grpc_call_finish(stream->call);
        }
    }
}

/* Cancels the writes of a stream that is over, the last one first: it may wait for the one before.
 */
static void cancel_items(struct user_stream *stream)
{
    for (struct list *link = stream->items.prev; link != &stream->items; link = link->prev) {
        struct user_stream_item *item = user_stream_item_of(link);

        if (item->state == USER_STREAM_ITEM_UNDER_WAY && !item->write->unwanted) {
            user_write_cancel(item->write);
        }
    }
}

static void remove_ended_items(struct user_stream *stream)
{
    struct user_stream_item *item = user_stream_first(stream);

    while (item != NULL) {
        struct user_stream_item *next = user_stream_next(stream, item);

        if (item->state != USER_STREAM_ITEM_UNDER_WAY) {
            user_stream_order_remove(stream, item);
        }
        item = next;
    }
}

static void free_stream(struct user_stream *stream)
{
    struct grpc_call *call = stream->call;

    reactor_stop_timer(stream->streams->reactor, &stream->retry);
    reactor_undefer(&stream->task);
    free(stream);
    grpc_call_release(call);
}

static void run(struct reactor_task *task)
{
    struct user_stream *stream = CONTAINER_OF(task, struct user_stream, task);

    if (!stream->over) {
        work(stream);
    }
    if (stream->over) {
        grpc_call_listen(stream->call, NULL, NULL);
        user_stream_order_leave_turn(stream);
        cancel_items(stream);
        remove_ended_items(stream);
        if (stream->item_count == 0) {
            free_stream(stream);
        }
    }
}

/* No more items are taken; when those that are there were answered the call ends with an error. */
static void stop(struct user_stream *stream, enum user_error_kind kind)
{
    stream->stopped = true;
    stream->ends_badly = true;
    stream->end_error = kind;
}

static void take_item(struct user_stream *stream, struct bytes message)
{
    struct user_stream_item *item =
        user_stream_item_new(stream->streams, stream->kind, user_stream_order_done, message);

    if (item != NULL) {
        user_stream_order_add(stream, item);
    } else {
        stop(stream, USER_ERROR_NO_MEMORY);
    }
}

static void on_message(struct grpc_call *call, void *context, struct bytes message)
{
    struct user_stream *stream = context;
    struct user_streams *streams = stream->streams;

    if (stream->taken == streams->options.max_messages) {
        stop(stream, USER_ERROR_TOO_MANY_MESSAGES);
    } else if ((stream->end_retry_ms = rate_limit_take_change(streams->options.rate, call)) > 0) {
        stop(stream, USER_ERROR_RATE);
    } else {
        take_item(stream, message);
    }
    stream->untried++;
    if (stream->stopped || stream->item_count >= streams->options.max_inflight ||
        stream->untried == UNTRIED_MAX) {
        grpc_call_pause(call);
    }
    user_stream_touch(stream);
}

static void on_half_closed(struct grpc_call *call, void *context)
{
    struct user_stream *stream = context;

    (void)call;
    stream->half_closed = true;
    user_stream_touch(stream);
}

static void on_writable(struct grpc_call *call, void *context)
{
    (void)call;
    user_stream_touch(context);
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    struct user_stream *stream = context;

    (void)call;
    stream->over = true;
    user_stream_touch(stream);
}

static const struct grpc_call_events call_events = {
    .message = on_message,
    .half_closed = on_half_closed,
    .writable = on_writable,
    .cancelled = on_cancelled,
};

static bool wants_to_go_on(const struct grpc_call *call)
{
    const struct grpc_metadata_field *field =
        grpc_head_find(&call->head, "users-continue-on-error");

    return field != NULL && bytes_equal(field->value, BYTES_LITERAL("true"));
}

static void open_stream(struct user_streams *streams, struct grpc_call *call,
                        enum user_write_kind kind)
{
    struct user_stream *stream = calloc(1, sizeof(*stream));

    if (stream == NULL || user_durability_add(&streams->writer->durability, call) != 0) {
        struct user_error error;

        free(stream);
        user_error_set(&error, USER_ERROR_NO_MEMORY);
        grpc_call_fail(call, &error.grpc);
        return;
    }
    stream->streams = streams;
    stream->call = call;
    stream->kind = kind;
    stream->goes_on = kind == USER_WRITE_CREATE && wants_to_go_on(call);
    stream->task.run = run;
    stream->retry.fire = user_stream_order_retry;
    list_init(&stream->items);
    list_init(&stream->turn);
    list_init(&stream->task.link);
    grpc_call_hold(call);
    grpc_call_listen(call, &call_events, stream);
}

void user_stream_open_batch(void *streams, struct grpc_call *call)
{
    open_stream(streams, call, USER_WRITE_CREATE);
}

void user_stream_open_sync(void *streams, struct grpc_call *call)
{
    open_stream(streams, call, USER_WRITE_SYNC);
}
