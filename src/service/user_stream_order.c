/*
 * The way of the items of one stream: begun in their order, submitted in their order, and what
 * becomes of each. The rules stand at the head of user_stream.c.
 *
 * Two marks walk along the list: `to_begin`, behind which nothing has reserved its names, and
 * `to_submit`, behind which the log has accepted nothing. The second never walks past an item whose
 * failure ends the stream.
 *
 * All streams together fill a part of the hashing's queue and of the log's, so that a CreateUser
 * finds room. For the hashing, which is slow, they take turns: one that waits for its own is in
 * `hash_turns` with an item that may begin at once, and the first of them is touched whenever there
 * may be room for it.
 */
#include "service/user_stream_internal.h"

#include <errno.h>

/* Passwords of one stream that wait or are being hashed: enough to keep the threads busy. */
#define HASHES_MAX 8

#define RETRY_NS (10 * 1000 * 1000ULL) /* a hash takes tens of ms, a flush less */

bool user_stream_order_is_fatal(const struct user_stream *stream,
                                const struct user_stream_item *item)
{
    return !stream->goes_on || item->refusal == -EBADMSG || item->outcome == USER_WRITE_UNKNOWN ||
           item->outcome == USER_WRITE_NOT_SENT;
}

/* Nothing behind this item may have an effect. */
static bool is_end(const struct user_stream *stream, const struct user_stream_item *item)
{
    return item->state == USER_STREAM_ITEM_FAILED && user_stream_order_is_fatal(stream, item);
}

static void fail_item(struct user_stream *stream, struct user_stream_item *item,
                      enum user_write_outcome outcome)
{
    item->state = USER_STREAM_ITEM_FAILED;
    item->outcome = outcome;
    if (user_stream_order_is_fatal(stream, item)) {
        stream->stopped = true;
    }
}

/* Whose turn it is to have a password hashed. */
static void touch_next(struct user_streams *streams)
{
    if (!list_is_empty(&streams->hash_turns)) {
        user_stream_touch(CONTAINER_OF(streams->hash_turns.next, struct user_stream, turn));
    }
}

/* Streams take turns, for one password each. */
static bool has_turn(struct user_stream *stream)
{
    struct user_streams *streams = stream->streams;

    if (!list_is_linked(&stream->turn)) {
        list_push_back(&streams->hash_turns, &stream->turn);
    }
    return streams->hash_turns.next == &stream->turn &&
           streams->hash_count < streams->options.max_hashing;
}

void user_stream_order_leave_turn(struct user_stream *stream)
{
    if (list_is_linked(&stream->turn)) {
        list_remove(&stream->turn);
        touch_next(stream->streams);
    }
}

static void try_again_later(struct user_stream *stream)
{
    stream->streams->retries++;
    if (reactor_start_timer(stream->streams->reactor, &stream->retry, RETRY_NS) != 0) {
        stream->no_memory = true;
        user_stream_touch(stream);
    }
}

void user_stream_order_retry(struct timer *timer)
{
    struct user_stream *stream = CONTAINER_OF(timer, struct user_stream, retry);

    stream->crowded = false;
    stream->log_full = false;
    user_stream_touch(stream);
}

/* Looks at how far the write has come. */
static void note_progress(struct user_stream *stream, struct user_stream_item *item)
{
    enum user_write_state state = item->write->state;
    bool is_hashing = state == USER_WRITE_STATE_HASHING;

    if (is_hashing != item->is_hashing) {
        item->is_hashing = is_hashing;
        if (is_hashing) {
            stream->hash_count++;
            stream->streams->hash_count++;
        } else {
            stream->hash_count--;
            stream->streams->hash_count--;
            touch_next(stream->streams);
        }
    }
    if (is_hashing || state == USER_WRITE_STATE_READY) {
        item->is_planned = true;
    }
}

static bool is_crowd(enum user_write_outcome outcome)
{
    return outcome == USER_WRITE_HASH_FULL || outcome == USER_WRITE_CROWDED;
}

/* The write has come to its end, or would not begin. */
static void take_outcome(struct user_stream *stream, struct user_stream_item *item,
                         enum user_write_outcome outcome)
{
    note_progress(stream, item);
    if (outcome == USER_WRITE_DONE) {
        item->state = USER_STREAM_ITEM_DONE;
        if (user_stream_item_keep_reply(item) != 0) {
            fail_item(stream, item, USER_WRITE_NO_MEMORY);
        }
    } else if (item->is_planned || stream->over || outcome == USER_WRITE_NOT_SENT) {
        fail_item(stream, item, outcome);
    } else if (is_crowd(outcome)) {
        item->state = USER_STREAM_ITEM_WAITS;
        stream->crowded = true;
        try_again_later(stream);
    } else if (item != user_stream_first(stream)) {
        item->state = USER_STREAM_ITEM_WAITS;
        item->is_refused = true;
    } else {
        fail_item(stream, item, outcome);
    }
}

void user_stream_order_done(struct user_write *write, enum user_write_outcome outcome)
{
    struct user_stream_item *item = write->owner;
    struct user_stream *stream = item->owner;

    stream->streams->submitted_count -= item->is_submitted;
    stream->crowded = false;
    stream->log_full = false;
    take_outcome(stream, item, outcome);
    user_stream_touch(stream);
}

static void wait_for_log(struct user_stream *stream)
{
    stream->log_full = true;
    try_again_later(stream);
}

static void on_moved(struct user_write *write)
{
    struct user_stream_item *item = write->owner;
    struct user_stream *stream = item->owner;

    note_progress(stream, item);
    if (item->is_submitted && write->state == USER_WRITE_STATE_READY) {
        item->is_submitted = false;
        stream->streams->submitted_count--;
        wait_for_log(stream);
    }
    user_stream_touch(stream);
}

static bool may_begin(struct user_stream *stream, const struct user_stream_item *item)
{
    if (stream->crowded || (item->is_refused && item != user_stream_first(stream))) {
        return false;
    }
    return stream->kind != USER_WRITE_CREATE ||
           (stream->hash_count < HASHES_MAX && has_turn(stream));
}

static void begin_item(struct user_stream *stream, struct user_stream_item *item)
{
    enum user_write_outcome outcome;

    item->state = USER_STREAM_ITEM_UNDER_WAY;
    item->is_refused = false;
    outcome = user_write_start(item->write);
    if (outcome == USER_WRITE_ON_ITS_WAY) {
        note_progress(stream, item);
    } else {
        take_outcome(stream, item, outcome);
    }
    user_stream_order_leave_turn(stream);
}

void user_stream_order_begin(struct user_stream *stream)
{
    struct user_stream_item *item;

    while ((item = stream->to_begin) != NULL) {
        if (item->state == USER_STREAM_ITEM_WAITS && may_begin(stream, item)) {
            begin_item(stream, item);
        }
        if (!user_stream_is_final(item) && !item->is_planned) {
            return;
        }
        stream->to_begin = user_stream_next(stream, item);
    }
}

static void submit_item(struct user_stream *stream, struct user_stream_item *item)
{
    struct user_streams *streams = stream->streams;
    enum user_write_outcome outcome;

    if (streams->submitted_count >= streams->options.max_submitted) {
        wait_for_log(stream);
        return;
    }
    item->is_submitted = true;
    outcome = user_write_submit(item->write);
    if (outcome == USER_WRITE_ON_ITS_WAY) {
        streams->submitted_count++;
    } else {
        fail_item(stream, item, outcome);
    }
    user_stream_touch(stream);
}

void user_stream_order_submit(struct user_stream *stream)
{
    struct user_stream_item *item;

    while ((item = stream->to_submit) != NULL) {
        bool is_ready = item->state == USER_STREAM_ITEM_UNDER_WAY &&
                        item->write->state == USER_WRITE_STATE_READY;

        if (is_ready && !stream->log_full) {
            submit_item(stream, item);
            return;
        }
        if (is_end(stream, item) || (!user_stream_is_final(item) && !item->is_submitted)) {
            return;
        }
        stream->to_submit = user_stream_next(stream, item);
    }
}

void user_stream_order_add(struct user_stream *stream, struct user_stream_item *item)
{
    item->owner = stream;
    item->index = stream->taken++;
    if (item->state == USER_STREAM_ITEM_FAILED) {
        fail_item(stream, item, USER_WRITE_DONE); /* the request is, not a write */
    } else {
        user_write_set_ordered(item->write, on_moved);
    }
    list_push_back(&stream->items, &item->link);
    stream->item_count++;
    if (stream->to_begin == NULL) {
        stream->to_begin = item;
    }
    if (stream->to_submit == NULL) {
        stream->to_submit = item;
    }
}

void user_stream_order_remove(struct user_stream *stream, struct user_stream_item *item)
{
    if (stream->to_begin == item) {
        stream->to_begin = user_stream_next(stream, item);
    }
    if (stream->to_submit == item) {
        stream->to_submit = user_stream_next(stream, item);
    }
    list_remove(&item->link);
    stream->item_count--;
    user_stream_item_free(item);
}
