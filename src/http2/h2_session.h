/*
 * HTTP/2 by nghttp2, in server or client role: bytes in, bytes out, streams between. No I/O.
 *
 * This is the narrow engine interface (feed, request, respond, pull): nothing above it knows
 * nghttp2, so that another engine can take its place.
 *
 * Owns:    the session and its streams.
 * Borrows: the owner's context, until h2_session_free().
 * Thread:  loop only.
 */
#ifndef HTTP2_H2_SESSION_H
#define HTTP2_H2_SESSION_H

#include "core/buf.h"
#include "core/bytes.h"
#include "http2/h2_pings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_pool;
struct limits_hit;
struct h2_session;
struct h2_stream;

enum h2_role {
    H2_ROLE_SERVER,
    H2_ROLE_CLIENT,
};

/* RFC 9113 section 7. */
enum h2_error {
    H2_ERROR_NO_ERROR = 0x0,
    H2_ERROR_PROTOCOL = 0x1,
    H2_ERROR_INTERNAL = 0x2,
    H2_ERROR_FLOW_CONTROL = 0x3,
    H2_ERROR_SETTINGS_TIMEOUT = 0x4,
    H2_ERROR_REFUSED_STREAM = 0x7,
    H2_ERROR_CANCEL = 0x8,
    H2_ERROR_ENHANCE_YOUR_CALM = 0xb,
    H2_ERROR_INADEQUATE_SECURITY = 0xc,
};

/* Frames of the sessions of one server, since start. */
struct h2_stats {
    uint64_t resets_received;
    uint64_t resets_sent;
    uint64_t pings_received; /* without acknowledgements */
    uint64_t ping_strikes;   /* of these, those that came too soon (K3) */
    uint64_t goaways_received;
};

/* Who checks that requests and answers are well formed, as RFC 9113 section 8 has it. */
enum h2_checks {
    H2_CHECKS_DEFAULT, /* as this was built: our own, or with HEADERS=nghttp2 the engine */
    H2_CHECKS_OWN,     /* h2_message.c */
    H2_CHECKS_ENGINE,
};

/* Zero means the protocol's default, and for budgets and caps: no limit. */
struct h2_options {
    uint32_t max_concurrent_streams; /* http2.max_concurrent_streams */
    uint32_t stream_window;          /* bytes, http2.stream_window */
    uint32_t connection_window;      /* bytes, http2.connection_window */
    uint32_t max_frame_size;         /* http2.max_frame_size */
    uint32_t max_header_list;        /* soft: the stream is answered, http2.max_header_list */
    uint32_t max_header_list_hard;   /* hard: the connection ends, http2.max_header_list_hard */
    uint32_t max_headers;            /* fields in one block, http2.max_headers */
    uint32_t max_continuations;      /* http2.max_continuations */
    uint32_t reset_burst;            /* http2.reset_burst */
    uint32_t reset_rate;             /* per second, http2.reset_rate */
    uint32_t control_burst;          /* http2.control_burst: PING, SETTINGS, PRIORITY ... */
    uint32_t control_rate;           /* per second, http2.control_rate */
    uint32_t max_empty_frames;       /* in a row, http2.max_empty_frames */
    uint32_t max_outq;               /* frames waiting, http2.max_outq: heeded by who feeds */
    enum h2_checks checks;
    struct h2_ping_limits pings; /* of a client, for the server role */
    struct limits_hit *hits; /* counts those of these limits that are reached; NULL = nobody does */
    struct h2_stats *stats;  /* likewise, frames */
    struct h2_pool *pool;    /* memory shared by many sessions, must outlive them; NULL = its own */
};

/* One header field. Names are lower case. */
struct h2_field {
    struct bytes name;
    struct bytes value;
    bool sensitive; /* never indexed by HPACK */
    bool constant;  /* to send: both texts outlive the session and need no copy */
    uint8_t *note;  /* received: a byte for the receiver, 0 at first, that comes with each field of
                       the same texts as long as the connection remembers it; NULL = it does not */
};

#define H2_FIELDS_MAX   64 /* most fields of one head to send */
#define H2_TRAILERS_MAX 12

#define H2_FEED_MAX 16384 /* most bytes to feed at once */

/* Everything runs inside h2_session_feed() or h2_session_drain(), never inside another call (but
 * `closed` also inside h2_session_free()). A NULL entry is news nobody wants. Inside an event
 * everything may be called but feed, drain and free. */
struct h2_events {
    /* Server: a request begins. Returns the context of the stream, or NULL to refuse it
     * (REFUSED_STREAM). */
    void *(*stream_opened)(void *owner, struct h2_stream *stream);
    /* One field of the present header block, in order. Bytes are borrowed until it returns. */
    void (*field)(void *context, const struct h2_field *field);
    /* The block is complete: the head, or (`trailers`) what follows the body. `ended`: nothing
     * follows. */
    void (*fields_complete)(void *context, bool trailers, bool ended);
    /* The head is larger than max_header_list: instead of `fields_complete`. */
    void (*fields_too_large)(void *context);
    /* Part of the body. Connection credit is already returned; stream credit when
     * h2_stream_consume() says so. */
    void (*data)(void *context, struct bytes bytes);
    /* The peer has ended its side after the last `data` (not told again when `fields_complete` said
     * `ended`). */
    void (*ended)(void *context);
    /* All that was queued on the stream with h2_stream_write() has been pulled, and it may take
     * more. */
    void (*writable)(void *context);
    /* The last call for the stream; `error` is NO_ERROR, or what the RST_STREAM said (either
     * side's), or CANCEL when the connection ends. */
    void (*closed)(void *context, uint32_t error);
    /* The peer sent GOAWAY: streams above `last_stream_id` were not processed. */
    void (*goaway)(void *owner, uint32_t last_stream_id, uint32_t error, struct bytes debug);
    /* The peer has seen h2_session_announce_end(): it opens no stream that is not already on its
     * way. */
    void (*end_acknowledged)(void *owner);
};

/* Queues the preface (client) and SETTINGS. `now_ns` starts the budgets. Returns 0 or -ENOMEM. */
int h2_session_new(enum h2_role role, const struct h2_options *options,
                   const struct h2_events *events, void *owner, uint64_t now_ns,
                   struct h2_session **ret_session);

/* Ends every open stream with `closed` (CANCEL), then frees. Not from inside an event. NULL is
 * fine. */
void h2_session_free(struct h2_session *session);

/* Gives received bytes to the session, at most H2_FEED_MAX at once, and drains into `output` after
 * it: nghttp2's flood limits hold only so. Not more than 64 KiB wait in the output because of it:
 * the rest comes with h2_session_drain().
 *
 * Returns 0; or -EPROTO when the connection must end after what is in `output` was sent (a GOAWAY,
 * if one makes sense, is in it). */
int h2_session_feed(struct h2_session *session, struct bytes bytes, uint64_t now_ns,
                    struct buf *output);

/* Pulls frames into `output` until none waits or the buffer holds `size_max` bytes. Returns 0,
 * -ENOMEM or -EPROTO. */
int h2_session_drain(struct h2_session *session, struct buf *output, size_t size_max);

/* Frames wait that h2_session_drain() would deliver. */
bool h2_session_wants_drain(const struct h2_session *session);

/* True when neither side has anything more to say: after GOAWAY and the last stream. */
bool h2_session_is_over(const struct h2_session *session);

/* The peer's SETTINGS have come (server: also its preface). For the preface timeout. */
bool h2_session_has_settings(const struct h2_session *session);
/* The peer has acknowledged ours. For settings_ack_timeout. */
bool h2_session_is_acknowledged(const struct h2_session *session);

/* Frames waiting inside: stop feeding beyond max_outq. */
size_t h2_session_outq(const struct h2_session *session);

/* Body bytes of all streams that were queued and not pulled yet: of all, and of all but the one
 * that has most (which takes a walk over the streams). */
size_t h2_session_unsent_size(const struct h2_session *session);
size_t h2_session_unsent_beside_longest(const struct h2_session *session);

/* When the header block that is still incomplete began; 0 = none is. For the header timeout. */
uint64_t h2_session_header_block_since_ns(const struct h2_session *session);

/* Why feed() said -EPROTO, for the log: "too many resets", "header list too large" ... What the
 * peer reads in the GOAWAY is the same, but for "too_many_pings" (K5). */
const char *h2_session_problem(const struct h2_session *session);

/* The error in the GOAWAY that goes with it. */
uint32_t h2_session_failure(const struct h2_session *session);

/* Bytes the peer allows for one header list (P22); UINT32_MAX = it set no limit. */
uint32_t h2_session_peer_header_list_max(const struct h2_session *session);

/* Queues a PING. Its acknowledgement is no event: whoever asks for a sign of life sees that bytes
 * come (K1). */
void h2_session_ping(struct h2_session *session);

/* Server, first step of a drain: GOAWAY with last id 2^31-1, NO_ERROR, and a PING (P27). */
void h2_session_announce_end(struct h2_session *session);
/* Final GOAWAY with the true last id. New streams are refused, open ones go on. `debug` may be
 * NULL. Once only: later calls do nothing. */
void h2_session_end(struct h2_session *session, uint32_t error, const char *debug);

/* Client: starts a request; the body follows with h2_stream_write(). `context` is not NULL. Fields
 * are copied. Returns 0, -ENOMEM or -EAGAIN (the session is ending or has no stream id left). */
int h2_session_request(struct h2_session *session, const struct h2_field *fields, size_t count,
                       void *context, struct h2_stream **ret_stream);

/* Server: sends the head. With `ended` it is the whole answer (Trailers-Only). Fields are copied.
 * Returns 0 or -ENOMEM. */
int h2_stream_respond(struct h2_stream *stream, const struct h2_field *fields, size_t count,
                      bool ended);

/* Queues body bytes (copied). Returns 0 or -ENOMEM. */
int h2_stream_write(struct h2_stream *stream, const struct bytes *parts, size_t count);

/* Body bytes queued and not yet pulled. */
size_t h2_stream_unsent_size(const struct h2_stream *stream);

/* Client: the head has been drained. One that was not, because the peer takes no more streams or the
 * session ends, is unknown to the peer. */
bool h2_stream_was_sent(const struct h2_stream *stream);

/* Ends our side after what was queued: with trailers (server), or END_STREAM on the last DATA
 * (count 0, client). Fields are copied. Returns 0 or -ENOMEM. */
int h2_stream_end(struct h2_stream *stream, const struct h2_field *trailers, size_t count);

/* Returns stream flow-control credit for body bytes that were used. */
void h2_stream_consume(struct h2_stream *stream, size_t size);

/* Queues RST_STREAM; what was queued before it is lost. `closed` still comes.
 *
 * A server needs none after an early answer: when its side has ended before the peer's,
 * RST_STREAM(NO_ERROR) follows the last frame by itself (P21). */
void h2_stream_reset(struct h2_stream *stream, uint32_t error);

/* The same, not counted against the peer's reset budget: an expired deadline is not its fault. */
void h2_stream_reset_unblamed(struct h2_stream *stream, uint32_t error);

/* What came on the stream is what no good client of gRPC sends: costs the peer what a reset does,
 * and the end of the call earns it nothing. May fail the session. */
void h2_stream_blame(struct h2_stream *stream);

/* Inside `closed`, of a stream that the peer has reset: it did right, and gets what that cost it
 * back. */
void h2_stream_excuse(struct h2_stream *stream);

int32_t h2_stream_id(const struct h2_stream *stream);
struct h2_session *h2_stream_session(const struct h2_stream *stream);

/* Detaches the context: no further events for this stream, its data is swallowed with credit
 * returned. */
void h2_stream_forget(struct h2_stream *stream);

#endif
