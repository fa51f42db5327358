/*
 * A stream of changes inside: shared by the parts user_stream.c and user_stream_order.c alone.
 *
 * Owns:    see user_stream.h.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_STREAM_INTERNAL_H
#define SERVICE_USER_STREAM_INTERNAL_H

#include "core/reactor.h"
#include "service/user_stream_item.h"

struct user_stream {
    struct user_streams *streams;
    struct grpc_call *call; /* held */
    enum user_write_kind kind;
    struct list items;                  /* those not answered, in order */
    struct user_stream_item *to_begin;  /* the first that has not reserved its names; or NULL */
    struct user_stream_item *to_submit; /* the first that the log has not accepted; or NULL */
    struct list turn;                   /* in streams->hash_turns */
    uint32_t item_count;
    uint32_t taken;   /* since the stream began */
    uint32_t untried; /* of them since the task ran */
    unsigned hash_count;
    bool goes_on;     /* users-continue-on-error */
    bool half_closed; /* by the client */
    bool stopped;     /* no more items are taken */
    bool crowded;     /* nothing is begun until one of ours is done, or for a while */
    bool log_full;    /* nothing is submitted, likewise */
    bool no_memory;   /* the call cannot go on */
    bool over;        /* the call has its status, or has gone */
    bool ends_badly;  /* with `end_error`, when all items are answered */
    enum user_error_kind end_error;
    int64_t end_retry_ms; /* goes with USER_ERROR_RATE */
    struct reactor_task task;
    struct timer retry;
};

static inline struct user_stream_item *user_stream_item_of(struct list *link)
{
    return CONTAINER_OF(link, struct user_stream_item, link);
}

static inline struct user_stream_item *user_stream_first(const struct user_stream *stream)
{
    return list_is_empty(&stream->items) ? NULL : user_stream_item_of(stream->items.next);
}

static inline struct user_stream_item *user_stream_next(const struct user_stream *stream,
                                                        const struct user_stream_item *item)
{
    return item->link.next == &stream->items ? NULL : user_stream_item_of(item->link.next);
}

/* Has the stream worked at, at the end of this turn. */
static inline void user_stream_touch(struct user_stream *stream)
{
    reactor_defer(stream->streams->reactor, &stream->task);
}

static inline bool user_stream_is_final(const struct user_stream_item *item)
{
    return item->state == USER_STREAM_ITEM_DONE || item->state == USER_STREAM_ITEM_FAILED;
}

/* `done` of every item's write. */
void user_stream_order_done(struct user_write *write, enum user_write_outcome outcome);

/* `fire` of `retry`. */
void user_stream_order_retry(struct timer *timer);

/* Puts a new item behind the others, and takes one out. */
void user_stream_order_add(struct user_stream *stream, struct user_stream_item *item);
void user_stream_order_remove(struct user_stream *stream, struct user_stream_item *item);

/* Begins what may be begun. */
void user_stream_order_begin(struct user_stream *stream);

/* Hashes no more: the next one's turn. Safe when it was not waiting for its own. */
void user_stream_order_leave_turn(struct user_stream *stream);

/* Submits one item, when the one before is past that. */
void user_stream_order_submit(struct user_stream *stream);

/* Does a failure of this item end the stream, whatever the client asked for? */
bool user_stream_order_is_fatal(const struct user_stream *stream,
                                const struct user_stream_item *item);

#endif
