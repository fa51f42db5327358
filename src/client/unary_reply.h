/*
 * What one unary call gets back: fields, body and end of a stream, made into a status, its texts
 * and one message. Pure.
 *
 * Owns:    the gathered message, text and details.
 * Borrows: nothing after a call returns.
 * Thread:  one at a time.
 */
#ifndef CLIENT_UNARY_REPLY_H
#define CLIENT_UNARY_REPLY_H

#include "core/buf.h"
#include "core/bytes.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_status.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

/* unary_reply_init() makes one; unary_reply_deinit() frees what it gathered. */
struct unary_reply {
    enum grpc_status status; /* valid once unary_reply_end() or _fail() was called */
    struct buf message;      /* the text of the status, without NUL */
    struct buf details;      /* google.rpc.Status, when the server sent one */
    struct buf body;         /* the one message */
    /* The rest is the reader's own. */
    struct grpc_frame_reader reader;
    int http_status; /* 0 = none seen yet */
    int grpc_status; /* -1 = none seen yet */
    unsigned count;  /* messages received */
    bool has_type;   /* a content-type came */
    bool is_grpc;    /* and it is application/grpc */
    bool is_decided; /* the outcome stands; the rest of the stream is ignored */
};

/* `size_max` limits the message. */
void unary_reply_init(struct unary_reply *reply, uint32_t size_max);
void unary_reply_deinit(struct unary_reply *reply);

/* Takes one field of the head or of the trailers. Returns 0 or -ENOMEM. */
int unary_reply_field(struct unary_reply *reply, const struct h2_field *field);

/* Takes part of the body. An answer that breaks a rule is decided at once: the caller then resets
 * the stream. Returns 0 or -ENOMEM. */
int unary_reply_data(struct unary_reply *reply, struct bytes bytes);

/* The stream is closed, with the code of its RST_STREAM or NO_ERROR: decides the status. */
void unary_reply_end(struct unary_reply *reply, uint32_t error);

/* Decides from outside (deadline, lost connection); the first decision stands. */
void unary_reply_fail(struct unary_reply *reply, enum grpc_status status, const char *message);

#endif
