/*
 * One RPC on one stream of a server: state, head, request messages, deadline, answers, life.
 *
 * Life: made when the stream opens; freed when the stream is closed and nobody holds it. A handler
 * that answers later takes a hold and releases it after it answered. When the call has ended
 * meanwhile (reset by the client, lost connection, deadline), answering is harmless: the answer is
 * dropped.
 *
 * Four shapes, one object: methods with one request message get it when it and the client's end
 * have come (grpc_method.handler); methods with a stream of requests are opened at once
 * (grpc_method.open) and get each message as an event. Both may send any number of messages; a
 * unary method sends one.
 *
 * Flow control: a handler that cannot take more pauses the call. Then the client's window is not
 * opened again, and at most the stream window waits here. What is sent waits on the stream until
 * the client takes it: a handler looks at grpc_call_unsent_size() and goes on at `writable`.
 *
 * Owns:    its arena, its timer, the gathered request, what waits while it is paused.
 * Borrows: the stream, until it closes; the connection's context.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_CALL_H
#define HTTP2_GRPC_CALL_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/bytes.h"
#include "core/list.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "http2/grpc_error.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_metadata.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_call;
struct grpc_call_host;
struct grpc_call_metadata;
struct grpc_method;

#define GRPC_CALL_STAGES_MAX   6 /* that look at a call before its handler */
#define GRPC_CALL_METADATA_MAX 8 /* custom fields of a head, and of trailers */

/* The moves allowed between these stand in one table in grpc_call.c. */
enum grpc_call_state {
    GRPC_CALL_HEAD,      /* header fields are coming */
    GRPC_CALL_RECEIVING, /* the stages let it pass; the one request message is coming */
    GRPC_CALL_RUNNING,   /* a handler has it; a stream of requests may still be coming */
    GRPC_CALL_ANSWERED,  /* the status is queued; the stream is still open */
    GRPC_CALL_CLOSED,    /* the stream is gone; holds may remain */
};

/* What the maker of calls does for them: implemented by grpc_dispatch. Called from the loop. */
struct grpc_call_host_ops {
    /* The head is complete and well formed as gRPC; `call->head` is filled. */
    void (*head_complete)(struct grpc_call_host *host, struct grpc_call *call);
    /* The stage that has made the call wait is to look at it again. NULL where none does. */
    void (*proceed)(struct grpc_call_host *host, struct grpc_call *call);
    /* A method with a stream of requests was let pass: have it opened. */
    void (*opened)(struct grpc_call_host *host, struct grpc_call *call);
    /* The one request message of the other methods and its end have come. `message` is borrowed. */
    void (*request_complete)(struct grpc_call_host *host, struct grpc_call *call,
                             struct bytes message);
    /* May a method with long answers have its request now? After a "no" the host calls
     * grpc_call_deliver() on each of its calls when it is better. NULL = always. */
    bool (*may_deliver)(struct grpc_call_host *host);
    /* The call has its final status (also a call that never got to a handler): once, before it is
     * freed. */
    void (*finished)(struct grpc_call_host *host, struct grpc_call *call);
    /* Bytes were queued on the stream: have the connection flushed this turn. */
    void (*touched)(struct grpc_call_host *host, struct grpc_call *call);
    /* Ends the connection for what its client did: answers that are queued still go out, then
     * GOAWAY ENHANCE_YOUR_CALM with `reason`, a constant. From inside a stage, too. May be NULL. */
    void (*end_connection)(struct grpc_call_host *host, const char *reason);
    /* A call is gone, with all holds on it: the last that is heard of it. May be NULL. */
    void (*freed)(struct grpc_call_host *host);
};

/* What the calls of one loop share, whatever their connection: those that ended and wait, with
 * their memory, for the next stream; how much was decompressed in the present turn; and how many
 * bytes of requests are kept that no handler has had yet (grpc_call_buffered.c). */
struct grpc_call_pool {
    struct list idle;
    unsigned idle_count;
    uint64_t buffered;                    /* by the calls of all hosts */
    uint64_t max_buffered;                /* limits.max_buffered; 0 = any */
    uint64_t max_buffered_per_connection; /* of what is unfinished; likewise */
    unsigned host_count;                  /* that share max_buffered: their maker's count */
    uint64_t unpacked_ns;                 /* in the turn that began then, */
    size_t unpacked_size;                 /* so many bytes came out of compressed messages */
};

void grpc_call_pool_init(struct grpc_call_pool *pool);
void grpc_call_pool_deinit(struct grpc_call_pool *pool);

/* Limits and context shared by the calls of one connection. Outlives them. */
struct grpc_call_host {
    const struct grpc_call_host_ops *ops;
    struct reactor *reactor;
    struct grpc_call_pool *pool;
    const char *peer;             /* the client's address and port, for the log */
    struct bytes peer_address;    /* what limits by address go by; size 0 = it has none */
    const char *peer_identity;    /* of its certificate, see tls_peer_identity(); NULL = none */
    uint32_t max_message;         /* bytes, limits.max_message */
    uint64_t default_deadline_ns; /* 0 = none */
    uint64_t max_deadline_ns;     /* 0 = no cap */
    bool compress_replies;        /* gzip, for clients that take it */
    uint32_t compress_min;        /* bytes: smaller messages are sent as they are, */
    uint32_t compress_max;        /* and so are larger ones */
    uint64_t buffered;            /* bytes of requests that its calls keep, not handled yet */
    uint64_t unfinished;          /* memory of requests that its client has not finished */
    unsigned long_streams;   /* calls of the connection that live long: their service's count */
    unsigned health_streams; /* and, apart from these, those that watch the server's health */
    unsigned auth_failures;  /* calls refused for their token: the auth stage's count */
    void *memo;              /* the auth stage's, for the connection's life: */
    void (*memo_release)(void *memo); /* run at its end when `memo` is set */
    struct list waiting_link;         /* the auth stage's too: connections with calls that wait */
    struct list waiting_calls;        /* for it, and these. All zero until one does */
};

/* What a handler wants to hear of its call. NULL entries: nothing. Never told from inside a call of
 * the functions below. */
struct grpc_call_events {
    /* The next message of a stream of requests, borrowed until it returns; not while paused. */
    void (*message)(struct grpc_call *call, void *context, struct bytes message);
    /* The client has ended its side, after its last message; not while paused. */
    void (*half_closed)(struct grpc_call *call, void *context);
    /* Everything that was sent has gone to the engine: there is room for more. */
    void (*writable)(struct grpc_call *call, void *context);
    /* The call ended before it was answered. The last event. */
    void (*cancelled)(struct grpc_call *call, void *context);
};

/* Messages of calls, whole ones: where a stage has them counted (grpc_call.counts). */
struct grpc_call_counts {
    uint64_t received;
    uint64_t sent;
};

struct grpc_call {
    struct list link;         /* in the connection's list of calls */
    struct h2_stream *stream; /* NULL once closed */
    struct grpc_call_host *host;
    const struct grpc_method *method; /* NULL until found */
    struct arena arena;
    struct grpc_head head;
    struct grpc_frame_reader reader;
    struct timer timer;           /* the deadline, or earlier the end of the authorization */
    struct reactor_task delivery; /* of what has waited */
    struct buf waiting;           /* body bytes of a stream of requests, not looked at yet */
    uint64_t started_ns;  /* monotonic, when the head was complete (until then: when it began) */
    uint64_t deadline_ns; /* monotonic; UINT64_MAX = none */
    uint64_t authorized_until_ns; /* monotonic, set by the auth stage; a stream ends then with
                                     UNAUTHENTICATED. UINT64_MAX = for ever */
    const struct grpc_error *authorization_end; /* how, a constant; NULL = the token has expired */
    uint64_t progress_ns; /* when the body last moved enough, in whichever direction */
    size_t arrived;       /* bytes of the request's body since then */
    size_t buffered;      /* bytes of it kept here, as counted for the host, */
    size_t unfinished;    /* and memory while it is unfinished, likewise */
    size_t unsent_seen;   /* what waited on the stream then; SIZE_MAX = not looked at yet */
    enum grpc_call_state state;
    enum grpc_status status; /* valid from `finished` on */
    unsigned holds;
    unsigned messages_received;
    bool peer_ended;
    bool end_delivered;      /* the handler has the request, or heard of the half-close */
    bool message_compressed; /* the message being handled came compressed */
    bool paused;             /* by its handler */
    bool is_lending;         /* a message, to its handler */
    bool gives_way;          /* has compressed messages, and waits for its turn */
    bool head_sent;
    bool compresses;      /* what is sent, if the client takes it */
    bool sends_gzip;      /* the head said so */
    bool cancelled;       /* ended before the handler answered */
    bool waits;           /* for the stage that began last */
    bool in_stages;       /* grpc_dispatch's: the stages are looking at it, */
    uint8_t stages_begun; /* and so many have begun */
    const char *caller; /* whose call it is, for handlers and the log: set by the auth stage, valid
                           until the call has finished; NULL = nobody */
    const void *identity; /* all that is known of the caller (service/caller.h), likewise */
    char *kept_caller;    /* by grpc_call_trim() */
    struct grpc_call_metadata *metadata;   /* of the answer, in the arena; NULL = none */
    const struct grpc_call_events *events; /* the handler's; NULL = nobody listens */
    void *events_context;
    struct grpc_call_counts *counts; /* set by a stage, outlives the call; NULL = nobody counts */
    struct bytes request; /* the message, in the reader's memory, until its handler runs */
    /* One slot per stage, the stages' own; NULL at first. */
    void *stage_state[GRPC_CALL_STAGES_MAX];
};

/* Returns the call for a fresh stream, or NULL when out of memory. */
struct grpc_call *grpc_call_new(struct grpc_call_host *host, struct h2_stream *stream);

/* The h2 events of the stream, as h2_session reports them; the context is the call. */
extern const struct h2_events grpc_call_stream_events;

/* Ends the call with OK and one message, gathered from parts (copied). Allowed from RUNNING on,
 * when nothing was sent before; when the call has ended meanwhile it does nothing. */
void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count);

/* Sends one message of several, gathered from parts (copied), with the head before the first.
 * Returns 0 (also when the call has ended meanwhile), or -ENOMEM with nothing sent: end the call.
 */
int grpc_call_send(struct grpc_call *call, const struct bytes *parts, size_t count);

/* Ends the call with OK after what was sent. When the call has ended meanwhile it does nothing. */
void grpc_call_finish(struct grpc_call *call);

/* Bytes sent that the client's window or a busy connection still keep here. */
size_t grpc_call_unsent_size(const struct grpc_call *call);

/* Adds a field to the head or the trailers of the answer (custom metadata), copied. The value of a
 * `-bin` name is given plain and goes out as base64. At most GRPC_CALL_METADATA_MAX each. A head
 * that is out already takes no more. Returns 0 (also when the call has ended meanwhile), -ENOMEM or
 * -ENOSPC. */
int grpc_call_add_header(struct grpc_call *call, const char *name, struct bytes value);
int grpc_call_add_trailer(struct grpc_call *call, const char *name, struct bytes value);

/* Whether messages sent from now on are compressed: only for a client that takes gzip, and only
 * those that shrink. The host's choice holds until this is called. Once the head is out without an
 * encoding, nothing is compressed. */
void grpc_call_compress(struct grpc_call *call, bool compress);

/* No more messages and no half-close until the other; safe to repeat. What waits is delivered from
 * the loop, not inside. */
void grpc_call_pause(struct grpc_call *call);
void grpc_call_resume(struct grpc_call *call);

/* For a stage, inside its `begin`: the call stays as it is, what comes for it is kept within its
 * window, and the stage begins again with grpc_call_proceed(). Meanwhile the call may end in all
 * the ways that a call ends: then the stage's `end` runs, which clears `waits`. */
void grpc_call_wait(struct grpc_call *call);

/* From the loop, not from inside an event. The call may be gone when it returns. */
void grpc_call_proceed(struct grpc_call *call);

/* For the host: delivers what waited for `may_deliver`, from the loop. Cheap when nothing did. */
void grpc_call_deliver(struct grpc_call *call);

/* For the handler of a call that will live long: gives back the memory of its request. What lay in
 * the arena is gone (the texts of the head but its path, custom metadata of both directions, what
 * stages and handlers put there), and so is the request message; `caller` moves and stays. */
void grpc_call_trim(struct grpc_call *call);

/* Ends the call with an error: Trailers-Only when nothing was sent before, else trailers behind
 * what was sent. Allowed in every state; after an answer it does nothing. */
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

/* What the handler wants to hear from now on; NULL = nothing more. Borrowed until the end. */
void grpc_call_listen(struct grpc_call *call, const struct grpc_call_events *events, void *context);

/* True until an answer was given or the call ended otherwise: is it still worth working for? */
bool grpc_call_is_wanted(const struct grpc_call *call);

/* Ends a call from outside, for a reason that its handler must hear of (`cancelled`): a drain that
 * takes too long. Does nothing when the call is not wanted any more. */
void grpc_call_cancel(struct grpc_call *call, enum grpc_status status, const char *reason,
                      const char *message);

/* The same for errors with details, or of another domain. */
void grpc_call_cancel_for(struct grpc_call *call, const struct grpc_error *error);

/* For the auth stage: the authorization of an open call has a new end, by the monotonic clock. A
 * stream then ends with UNAUTHENTICATED; when that is past, now, and its handler hears of it. */
void grpc_call_authorize_until(struct grpc_call *call, uint64_t until_ns);

/* Ends a call whose message has been half there, or whose last answer has not moved, for too long.
 * A stream may rest: what it costs while nobody reads or writes is bounded, and its deadline and
 * its token end it. */
void grpc_call_check_progress(struct grpc_call *call, uint64_t patience_ns);

/* "RUNNING" and so on, for the log and tests. */
const char *grpc_call_state_name(enum grpc_call_state state);

#endif
