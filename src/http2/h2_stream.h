/*
 * The object behind one HTTP/2 stream: what waits to be sent on it. For the session alone.
 *
 * Owns:    the body bytes and trailers that were not pulled yet.
 * Borrows: the context that the session's owner gave it.
 * Thread:  loop only.
 */
#ifndef HTTP2_H2_STREAM_H
#define HTTP2_H2_STREAM_H

#include "core/buf.h"
#include "core/list.h"
#include "http2/h2_message.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

struct h2_stream {
    struct list link; /* in the session's streams, or parked in the pool */
    struct h2_session *session;
    void *context; /* NULL = forgotten: no more events */
    int32_t id;
    bool head_received; /* a later block is trailers */
    bool head_sent;     /* client: the peer may know of the request */
    bool peer_ended;
    bool ended;        /* our side: nothing is added to what waits */
    bool end_sent;     /* our last frame has been sent */
    bool has_written;  /* since `writable` was last told */
    bool deferred;     /* the engine waits to be told of more */
    bool reset;        /* RST_STREAM is queued by us */
    bool unblamed;     /* and is not held against the peer */
    bool blamed;       /* by h2_stream_blame(): nothing is earned with it */
    bool malformed;    /* what came on it was, and RST_STREAM is queued for that */
    bool has_priority; /* a wish of the client's, and well formed */
    struct h2_priority priority;
    struct h2_message message; /* what came on it, for who checks that */
    bool shares;               /* it has much to send, and takes turns with the others (RFC 9218) */
    struct buf out;            /* body bytes */
    struct h2_field trailers[H2_TRAILERS_MAX];
    unsigned trailer_count;
    struct buf trailer_texts; /* of those that are not constant */
};

/* A stream without id, from the parked ones when there are any. NULL when out of memory. */
struct h2_stream *h2_stream_new(struct h2_pool *pool, struct h2_session *session);

/* Unlinked and back to the pool, its memory kept for the next. */
void h2_stream_park(struct h2_pool *pool, struct h2_stream *stream);

/* For h2_pool_deinit(). */
void h2_stream_free_parked(struct h2_pool *pool);

/* Copies the trailers. Returns 0 or -ENOMEM. */
int h2_stream_set_trailers(struct h2_stream *stream, const struct h2_field *trailers, size_t count);

#endif
