/*
 * One change of a stream of changes: its request, its write, its answer.
 *
 * Owns:    copies of the request's texts, the write, the answer until it is sent.
 * Borrows: the writer of the streams.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_STREAM_ITEM_H
#define SERVICE_USER_STREAM_ITEM_H

#include "core/buf.h"
#include "core/list.h"
#include "service/user_errors.h"
#include "service/user_stream.h"
#include "service/user_write.h"

#include <stdbool.h>
#include <stdint.h>

enum user_stream_item_state {
    USER_STREAM_ITEM_WAITS,     /* to be started, maybe once more */
    USER_STREAM_ITEM_UNDER_WAY, /* its write is */
    USER_STREAM_ITEM_DONE,      /* `reply` is to be sent */
    USER_STREAM_ITEM_FAILED,    /* user_stream_item_error() says why */
};

struct user_stream_item {
    struct list link;
    void *owner;    /* the stream */
    uint64_t index; /* in the stream, from 0 */
    enum user_stream_item_state state;
    bool is_refused;                 /* by what may change when the items before it are done */
    bool is_hashing;                 /* and is counted as such */
    bool is_planned;                 /* its names are reserved: what comes to it now is final */
    bool is_submitted;               /* the log has it, or will refuse it before this turn ends */
    struct user_write *write;        /* NULL: the request itself is no good */
    enum user_write_outcome outcome; /* of the write, when it failed */
    int refusal;                     /* of the request, as user_request.h says it */
    union user_stream_request *request;
    struct buf reply;
};

typedef void (*user_stream_done_fn)(struct user_write *write, enum user_write_outcome outcome);

/* Reads a request. The item WAITS, with a write that is not started and belongs to it; or it
 * FAILED. NULL when out of memory. */
struct user_stream_item *user_stream_item_new(struct user_streams *streams,
                                              enum user_write_kind kind, user_stream_done_fn done,
                                              struct bytes message);

/* The write may not be on its way. */
void user_stream_item_free(struct user_stream_item *item);

/* Keeps the user for the answer of an item that is DONE. Returns 0 or -ENOMEM. */
int user_stream_item_keep_reply(struct user_stream_item *item);

/* Why the item failed; borrows from it. */
void user_stream_item_error(const struct user_stream_item *item, struct user_error *error);

/* Packs the error into the answer of a batch that goes on. Returns 0 or -ENOMEM. */
int user_stream_item_keep_error(struct user_stream_item *item, const struct user_error *error);

#endif
