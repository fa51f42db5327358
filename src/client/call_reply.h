/*
 * What one call gets back: fields, body and end of a stream, made into a status, its texts and
 * messages: one for a unary call, any number for a stream. Pure.
 *
 * Owns:    the gathered message, text, details and fields; of a stream also the bytes that nobody
 *          has asked for yet.
 * Borrows: nothing after a call returns.
 * Thread:  one at a time.
 */
#ifndef CLIENT_CALL_REPLY_H
#define CLIENT_CALL_REPLY_H

#include "core/buf.h"
#include "core/bytes.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_status.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

#define CALL_REPLY_E_MORE 1 /* no whole message is here yet */
#define CALL_REPLY_E_BAD  2 /* what came breaks a rule: the outcome is decided */

/* call_reply_init() makes one; call_reply_deinit() frees what it gathered. */
struct call_reply {
    enum grpc_status status; /* valid once call_reply_end() or _fail() was called */
    struct buf message;      /* the text of the status, without NUL */
    struct buf details;      /* google.rpc.Status, when the server sent one */
    struct buf body;         /* unary: the one message */
    struct buf fields;       /* head and trailers that gRPC itself has no use for */
    /* The rest is the reader's own. */
    struct buf input; /* stream: bytes of the body that were not taken yet */
    struct grpc_frame_reader reader;
    int http_status; /* 0 = none seen yet */
    int grpc_status; /* -1 = none seen yet */
    unsigned count;  /* messages received */
    bool is_stream;
    bool has_type;   /* a content-type came */
    bool is_grpc;    /* and it is application/grpc */
    bool is_decided; /* the outcome stands; the rest of the stream is ignored */
};

/* `size_max` limits each message. */
void call_reply_init(struct call_reply *reply, bool is_stream, uint32_t size_max);
void call_reply_deinit(struct call_reply *reply);

/* Takes one field of the head or of the trailers. Returns 0 or -ENOMEM. */
int call_reply_field(struct call_reply *reply, const struct h2_field *field);

/* Takes part of the body. Of a stream it is only kept, for call_reply_next(). A unary answer that
 * breaks a rule is decided at once: the caller then resets the stream. Returns 0 or -ENOMEM. */
int call_reply_data(struct call_reply *reply, struct bytes bytes);

/* Of a stream: the next message, borrowed until the next call with this reply. `*ret_used` is how
 * many bytes of the body were taken for it, whatever is returned. Returns 0, CALL_REPLY_E_* or
 * -ENOMEM. */
int call_reply_next(struct call_reply *reply, struct bytes *ret_message, size_t *ret_used);

/* Bytes of a stream's body that call_reply_next() has not looked at yet. */
static inline size_t call_reply_untaken_size(const struct call_reply *reply)
{
    return buf_size(&reply->input);
}

/* Forgets them. */
void call_reply_drop(struct call_reply *reply);

/* The stream is closed, with the code of its RST_STREAM or NO_ERROR, and its messages were taken:
 * decides the status. */
void call_reply_end(struct call_reply *reply, uint32_t error);

/* Decides from outside (deadline, lost connection); the first decision stands. */
void call_reply_fail(struct call_reply *reply, enum grpc_status status, const char *message);

/* The value of the first such field of head or trailers; size 0 when there is none. `fields` is
 * that of a reply. */
struct bytes call_reply_find(struct bytes fields, const char *name);

#endif
