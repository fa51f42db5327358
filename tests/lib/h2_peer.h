/*
 * A peer for HTTP/2 tests: frames made and read by hand, for what no library would send, and a
 * small gRPC client on our own session, for what one would.
 *
 * Owns:    what it records.
 * Thread:  one.
 */
#ifndef TESTS_LIB_H2_PEER_H
#define TESTS_LIB_H2_PEER_H

#include "core/buf.h"
#include "core/bytes.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

enum h2_frame_type {
    H2_FRAME_DATA,
    H2_FRAME_HEADERS,
    H2_FRAME_PRIORITY,
    H2_FRAME_RST_STREAM,
    H2_FRAME_SETTINGS,
    H2_FRAME_PUSH_PROMISE,
    H2_FRAME_PING,
    H2_FRAME_GOAWAY,
    H2_FRAME_WINDOW_UPDATE,
    H2_FRAME_CONTINUATION,
};

#define H2_FLAG_END_STREAM  0x1
#define H2_FLAG_ACK         0x1
#define H2_FLAG_END_HEADERS 0x4
#define H2_FLAG_PADDED      0x8

/* Appends one frame. */
void h2_frame_append(struct buf *out, unsigned type, unsigned flags, int32_t stream_id,
                     const void *payload, size_t size);

/* Appends a frame whose payload is one big-endian number of 32 bits. */
void h2_frame_append_number(struct buf *out, unsigned type, int32_t stream_id, uint32_t number);

/* The client's preface and empty SETTINGS, and the acknowledgement of the server's. */
void h2_frame_append_preface(struct buf *out);

/* Appends "name", "value" pairs, ended by NULL, as HPACK literals that leave no trace in tables. */
void h2_frame_append_fields(struct buf *block, const char *const *fields);

/* Appends HEADERS of a gRPC request to `path`, with more fields (NULL = none). */
void h2_frame_append_request(struct buf *out, int32_t stream_id, unsigned flags, const char *path,
                             const char *const *more);

struct h2_frame {
    unsigned type;
    unsigned flags;
    int32_t stream_id;
    struct bytes payload;
};

/* Takes the next whole frame off `*input`. False when there is none. */
bool h2_frame_take(struct bytes *input, struct h2_frame *ret_frame);

/* The number in front of a payload, e.g. the error of RST_STREAM. */
uint32_t h2_frame_number(const struct h2_frame *frame, size_t offset);

/* How many frames of a type (and, unless negative, of a stream) `frames` has; the last one found.
 */
unsigned h2_frame_count(struct bytes frames, unsigned type, int32_t stream_id,
                        struct h2_frame *ret_last);

/* What the client saw of one call. */
struct h2_peer_call {
    struct h2_stream *stream; /* NULL once closed */
    struct buf head;          /* "name: value\n" per field */
    struct buf trailers;      /* the same */
    struct buf body;          /* with the 5-byte heads of messages */
    bool head_done;
    bool head_ended; /* the head was all there was */
    bool ended;
    bool closed;
    uint32_t error;
    bool holds_credit; /* body bytes are not given back to the window */
};

struct h2_peer {
    struct h2_session *session;
    struct buf out; /* for the server */
    bool goaway;
    uint32_t goaway_error;
    uint32_t goaway_last_id;
};

/* A client whose preface is in `out`. `options` NULL = no limits. */
void h2_peer_init(struct h2_peer *peer, const struct h2_options *options);
void h2_peer_deinit(struct h2_peer *peer);

/* Begins a gRPC request; `more` are further fields, as above. */
void h2_peer_begin(struct h2_peer *peer, struct h2_peer_call *call, const char *path,
                   const char *const *more);

/* Adds a message with its head; the flag is written as given. */
void h2_peer_send(struct h2_peer_call *call, uint8_t flag, const void *message, size_t size);
void h2_peer_end(struct h2_peer_call *call);

/* Begin, one message, end. */
void h2_peer_call_unary(struct h2_peer *peer, struct h2_peer_call *call, const char *path,
                        const void *message, size_t size);

/* Gives the client what the server sent, all of it, and gathers the client's output. */
void h2_peer_feed(struct h2_peer *peer, struct bytes bytes);

/* Gathers what the client has to send. */
void h2_peer_drain(struct h2_peer *peer);

/* The value of a field of the trailers, or of the head; "" when absent. Good until the next call.
 */
const char *h2_peer_field(const struct h2_peer_call *call, const char *name);

void h2_peer_call_deinit(struct h2_peer_call *call);

#endif
