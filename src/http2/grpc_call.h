/*
 * One RPC on one stream of a server: state, head, request message, deadline, answer, life.
 *
 * Life: made when the stream opens; freed when the stream is closed and nobody holds it. A handler
 * that answers later takes a hold and releases it after it answered. When the call has ended
 * meanwhile (reset by the client, lost connection, deadline), answering is harmless: the answer is
 * dropped.
 *
 * Owns:    its arena, its timer, the gathered request.
 * Borrows: the stream, until it closes; the connection's context.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_CALL_H
#define HTTP2_GRPC_CALL_H

#include "core/arena.h"
#include "core/bytes.h"
#include "core/list.h"
#include "core/timer.h"
#include "http2/grpc_error.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_metadata.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_call;
struct grpc_call_host;
struct grpc_method;
struct reactor;

/* The moves allowed between these stand in one table in grpc_call.c. */
enum grpc_call_state {
    GRPC_CALL_HEAD,      /* header fields are coming */
    GRPC_CALL_RECEIVING, /* the stages let it pass; the request message is coming */
    GRPC_CALL_RUNNING,   /* a handler has it */
    GRPC_CALL_ANSWERED,  /* the status is queued; the stream is still open */
    GRPC_CALL_CLOSED,    /* the stream is gone; holds may remain */
};

/* What the maker of calls does for them: implemented by grpc_dispatch. Called from the loop. */
struct grpc_call_host_ops {
    /* The head is complete and well formed as gRPC; `call->head` is filled. */
    void (*head_complete)(struct grpc_call_host *host, struct grpc_call *call);
    /* The one request message of a unary call and its end have come. `message` is borrowed. */
    void (*request_complete)(struct grpc_call_host *host, struct grpc_call *call,
                             struct bytes message);
    /* The call has its final status (also a call that never got to a handler): once, before it is
     * freed. */
    void (*finished)(struct grpc_call_host *host, struct grpc_call *call);
    /* Bytes were queued on the stream: have the connection flushed this turn. */
    void (*touched)(struct grpc_call_host *host, struct grpc_call *call);
    /* A call is gone, with all holds on it: the last that is heard of it. May be NULL. */
    void (*freed)(struct grpc_call_host *host);
};

/* Calls that ended and wait, with their memory, for the next stream. One for all connections of a
 * loop. */
struct grpc_call_pool {
    struct list idle;
    unsigned idle_count;
};

void grpc_call_pool_init(struct grpc_call_pool *pool);
void grpc_call_pool_deinit(struct grpc_call_pool *pool);

/* Limits and context shared by the calls of one connection. Outlives them. */
struct grpc_call_host {
    const struct grpc_call_host_ops *ops;
    struct reactor *reactor;
    struct grpc_call_pool *pool;  /* NULL = calls are not kept */
    const char *peer;             /* the client's address, for the log and limits by address */
    uint32_t max_message;         /* bytes, limits.max_message */
    uint64_t default_deadline_ns; /* 0 = none */
    uint64_t max_deadline_ns;     /* 0 = no cap */
};

struct grpc_call {
    struct list link;         /* in the connection's list of calls */
    struct h2_stream *stream; /* NULL once closed */
    struct grpc_call_host *host;
    const struct grpc_method *method; /* NULL until found */
    enum grpc_call_state state;
    struct arena arena;
    struct grpc_head head;
    struct grpc_frame_reader reader;
    struct timer deadline;
    uint64_t started_ns;  /* monotonic, when the head was complete (until then: when it began) */
    uint64_t deadline_ns; /* monotonic; UINT64_MAX = none */
    uint64_t progress_ns; /* when the body last moved enough, in whichever direction */
    size_t arrived;       /* bytes of the request's body since then */
    size_t unsent_seen;   /* what waited on the stream then; SIZE_MAX = not looked at yet */
    unsigned holds;
    unsigned messages_received;
    bool peer_ended;
    bool cancelled;          /* ended before the handler answered */
    bool in_stages;          /* grpc_dispatch's: the stages are looking at it, */
    uint8_t stages_begun;    /* and so many have begun */
    enum grpc_status status; /* valid from `finished` on */
    const char *caller;      /* identity set by the auth stage, in the arena; NULL = nobody */
    void (*on_cancel)(struct grpc_call *call, void *context);
    void *on_cancel_context;
    struct bytes request; /* the message, in the reader's memory, until its handler runs */
    void *stage_state[4]; /* one slot per stage, the stages' own; NULL at first */
};

/* Returns the call for a fresh stream, or NULL when out of memory. */
struct grpc_call *grpc_call_new(struct grpc_call_host *host, struct h2_stream *stream);

/* The h2 events of the stream, as h2_session reports them; the context is the call. */
extern const struct h2_events grpc_call_stream_events;

/* Ends the call with OK and one message, gathered from parts (copied). Allowed from RUNNING on;
 * when the call has ended meanwhile it does nothing. */
void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count);

/* Ends the call with an error: Trailers-Only, as nothing was sent before. Allowed in every state;
 * after an answer it does nothing. */
void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error);

/* The same for errors without details beyond reason, in the domain "grpc" (framework errors). */
void grpc_call_fail_text(struct grpc_call *call, enum grpc_status status, const char *reason,
                         const char *message);

/* Rejections that are not gRPC answers: HTTP status `http_status` with grpc-status beside it (P3,
 * P4, P6, P7). */
void grpc_call_reject(struct grpc_call *call, int http_status, enum grpc_status status,
                      const char *message);

/* Keeps the call in memory. */
void grpc_call_hold(struct grpc_call *call);
/* May free the call: touch nothing after it. */
void grpc_call_release(struct grpc_call *call);

/* Asks to be told once when the call ends before it was answered; NULL clears. */
void grpc_call_on_cancel(struct grpc_call *call,
                         void (*on_cancel)(struct grpc_call *call, void *context), void *context);

/* True until an answer was given or the call ended otherwise: is it still worth working for? */
bool grpc_call_is_wanted(const struct grpc_call *call);

/* Ends a call from outside, for a reason that its handler must hear of (`on_cancel`): a drain that
 * takes too long. Does nothing when the call is not wanted any more. */
void grpc_call_cancel(struct grpc_call *call, enum grpc_status status, const char *reason,
                      const char *message);

/* Ends a call whose request or answer has not moved for too long (slow bodies, closed windows). */
void grpc_call_check_progress(struct grpc_call *call, uint64_t patience_ns);

/* "RUNNING" and so on, for the log and tests. */
const char *grpc_call_state_name(enum grpc_call_state state);

#endif
