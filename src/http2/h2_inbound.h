/*
 * The inside of a session, shared by the files it is made of: h2_session.c does what its owner
 * asks for, h2_session_engine.c talks to the engine (nghttp2), h2_inbound.c says what arrived and
 * departed frames mean, h2_stream.c keeps what waits to be sent.
 *
 * Owns:    as h2_session.h says.
 * Thread:  loop only.
 */
#ifndef HTTP2_H2_INBOUND_H
#define HTTP2_H2_INBOUND_H

#include "core/list.h"
#include "http2/h2_budget.h"
#include "http2/h2_memo.h"
#include "http2/h2_message.h"
#include "http2/h2_pool.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

#define H2_PROBLEM_SIZE 160

struct nghttp2_session;

struct h2_session {
    struct nghttp2_session *engine; /* h2_session_engine.c's; NULL = not made */
    const struct h2_events *events;
    void *owner;
    struct h2_pool *pool;
    struct h2_pool own_pool; /* used when the options name none */
    struct h2_options options;
    struct h2_memo *memo; /* of fields that came; NULL = not made yet */
    struct h2_budget budget;
    struct h2_pings pings;
    struct list streams;
    struct h2_stream *current; /* the last one looked up */
    struct h2_stream *greedy;  /* the one that has just filled a frame and has more; or NULL */
    size_t unsent_size;        /* body bytes of all streams that wait to be pulled */
    uint64_t now_ns;           /* of the last feed */
    uint64_t block_size;       /* of the header block being received */
    uint64_t block_size_usual; /* up to it and so many fields no limit is near */
    uint32_t block_fields_usual;
    uint32_t block_fields;
    bool block_is_too_large;
    bool block_is_informational; /* 1xx: not the head yet */
    enum h2_role role;
    int32_t last_stream_id; /* highest that the peer opened */
    uint32_t failure;       /* the error of the GOAWAY, by hand or the engine's */
    bool checks_messages;   /* the engine does not */
    bool has_settings;
    bool is_acknowledged;
    bool is_announcing; /* the first GOAWAY is queued: the PING that goes with it is to follow */
    bool is_ending;     /* the final GOAWAY is queued */
    bool is_inside;     /* feeding or draining */
    bool dead;          /* nothing goes in or out any more */
    bool needs_goaway;  /* by hand, after death */
    char problem[H2_PROBLEM_SIZE];
    const char *goaway_text; /* of the GOAWAY by hand, a constant; NULL = `problem` */
};

/* Ends the session by our own decision: the engine is not touched again. */
void h2_session_fail(struct h2_session *session, enum h2_error error, const char *problem);

/* Ends it for what the peer did too much of, and counts that. */
void h2_session_exceed(struct h2_session *session, enum h2_excess excess);

/* A limit was reached. */
void h2_session_count(struct h2_session *session, enum limits_hit_reason reason);

void h2_session_set_problem(struct h2_session *session, const char *text, size_t size);

/* The GOAWAY that says why, past the engine, which must not be touched after it failed. Returns 0
 * or -ENOMEM. */
int h2_session_append_goaway(struct h2_session *session, struct buf *output);

/* What the engine found in the bytes, in their order. After each the session may be dead. */
void h2_inbound_block_begin(struct h2_session *session, int32_t stream_id, bool is_request);
/* False: the message is malformed, and the rest of the block is for nobody. */
bool h2_inbound_field(struct h2_session *session, int32_t stream_id, const struct h2_field *field,
                      const struct h2_meaning *meaning);
void h2_inbound_block_end(struct h2_session *session, int32_t stream_id, bool ended);
void h2_inbound_data(struct h2_session *session, int32_t stream_id, struct bytes bytes);
void h2_inbound_data_ended(struct h2_session *session, int32_t stream_id);
void h2_inbound_closed(struct h2_session *session, int32_t stream_id, uint32_t error);
void h2_inbound_ping(struct h2_session *session);
void h2_inbound_reset(struct h2_session *session);
void h2_inbound_refused(struct h2_session *session); /* by the engine: a stream over the limit */

/* What the engine has sent. */
void h2_outbound_frame(struct h2_session *session, int32_t stream_id, bool is_data, size_t size,
                       bool ended);
void h2_outbound_reset(struct h2_session *session, int32_t stream_id, uint32_t error);
void h2_outbound_goaway(struct h2_session *session, uint32_t error, struct bytes debug);

/* Orders to the engine, which h2_session_engine.c is. Those without result fail the session when
 * memory runs out. None but the last of these after the session is dead. */
int h2_engine_new(struct h2_session *session);
void h2_engine_receive(struct h2_session *session, struct bytes bytes);
/* Appends frames until none waits or the buffer holds `size_max` bytes. Returns 0 or -ENOMEM. */
int h2_engine_pull(struct h2_session *session, struct buf *output, size_t size_max);
bool h2_engine_wants_read(const struct h2_session *session);
bool h2_engine_wants_write(const struct h2_session *session);
size_t h2_engine_outq(const struct h2_session *session);
uint32_t h2_engine_peer_header_list_max(const struct h2_session *session);
void h2_engine_ping(struct h2_session *session);
void h2_engine_announce_end(struct h2_session *session);
void h2_engine_end(struct h2_session *session, uint32_t error, struct bytes debug);
void h2_engine_free(struct h2_session *session);

/* The same for streams. */
int h2_engine_request(struct h2_stream *stream, const struct h2_field *fields, size_t count);
struct h2_stream *h2_engine_find(struct h2_session *session, int32_t stream_id);
void h2_engine_bind(struct h2_session *session, int32_t stream_id, struct h2_stream *stream);
int h2_engine_respond(struct h2_stream *stream, const struct h2_field *fields, size_t count,
                      bool with_body);
void h2_engine_prioritize(struct h2_stream *stream, const struct h2_priority *priority);
void h2_engine_resume(struct h2_stream *stream);
void h2_engine_consume(struct h2_stream *stream, size_t size);
void h2_engine_reset(struct h2_session *session, int32_t stream_id, uint32_t error);

#endif
