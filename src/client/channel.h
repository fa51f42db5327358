/*
 * A client's way to one server: connects when a call wants it, one HTTP/2 session over TCP and TLS,
 * unary calls and streams with deadline, bearer token and metadata. Asynchronous: everything is
 * told from the loop.
 *
 * Owns:    the connection, its session and streams; the list of calls under way.
 * Borrows: reactor and TLS context; every struct channel_call from start until its `done`.
 * Thread:  loop only.
 */
#ifndef CLIENT_CHANNEL_H
#define CLIENT_CHANNEL_H

#include "client/call_reply.h"
#include "client/target.h"
#include "core/bytes.h"
#include "core/list.h"
#include "core/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct channel_call;
struct reactor;
struct tls_context;

#define CHANNEL_CALLS_MAX   10000 /* under way at once */
#define CHANNEL_NO_DEADLINE UINT64_MAX
#define CHANNEL_UNSENT_MAX                                                                         \
    65536                    /* bytes of one stream that wait to be sent: then it takes no more */
#define CHANNEL_FIELDS_MAX 8 /* of one call's metadata */

#define CHANNEL_E_BUSY 1 /* CHANNEL_CALLS_MAX calls are under way */
#define CHANNEL_E_FULL 2 /* CHANNEL_UNSENT_MAX bytes wait: `writable` tells when to go on */
#define CHANNEL_E_OVER 3 /* the call ends, or its sending side has; `done` tells or has told */

struct channel_options {
    struct target target;        /* resolved */
    struct tls_context *tls;     /* NULL = plain text */
    uint64_t connect_timeout_ns; /* for TCP on one address, and again for TLS */
    uint32_t max_message;        /* bytes in an answer */
};

/* Who decided the outcome: what to try next depends on it. */
enum channel_cause {
    CHANNEL_CAUSE_ANSWER,    /* the server, or something that answered in its place */
    CHANNEL_CAUSE_CONNECT,   /* no address took a connection */
    CHANNEL_CAUSE_TLS,       /* the handshake failed */
    CHANNEL_CAUSE_LOST,      /* the connection ended with the call under way */
    CHANNEL_CAUSE_REFUSED,   /* the server says that it did not look at the call */
    CHANNEL_CAUSE_DEADLINE,  /* our own timer */
    CHANNEL_CAUSE_CANCELLED, /* channel_cancel() or channel_close() */
    CHANNEL_CAUSE_MEMORY,    /* ours ran out */
};

struct channel_result {
    enum grpc_status status;
    enum channel_cause cause;
    struct bytes message; /* text of the status */
    struct bytes details; /* google.rpc.Status; empty when none came */
    struct bytes reply;   /* unary: the message, when the status is OK */
    struct bytes fields;  /* of head and trailers, for call_reply_find() */
};

/* One field of a request's metadata; the name in lower case. */
struct channel_field {
    const char *name;
    const char *value;
};

/* What a stream tells. All run from the loop, none inside a call to the channel, all before `done`.
 */
struct channel_stream_events {
    /* One message, borrowed until it returns. */
    void (*message)(struct channel_call *call, struct bytes message);
    /* All that was sent has gone into the connection: there is room again. NULL = not wanted. */
    void (*writable)(struct channel_call *call);
};

/* One call, in its caller's memory. Zero-initialise, fill in what is needed of the first, start. */
struct channel_call {
    const char *path;    /* "/users.v1.UserService/GetUser"; borrowed until `done` */
    const char *token;   /* sent as bearer token; NULL = none; borrowed until `done` */
    uint64_t timeout_ns; /* from the start on; CHANNEL_NO_DEADLINE = none */
    /* Runs once, from the loop. The result is borrowed until it returns; the call is the caller's
     * again when it begins. */
    void (*done)(struct channel_call *call, const struct channel_result *result);
    const struct channel_stream_events *events; /* NULL = unary; borrowed until `done` */
    const struct channel_field *fields;         /* metadata; borrowed until `done` */
    size_t field_count;                         /* at most CHANNEL_FIELDS_MAX */
    /* The rest is the channel's own. */
    struct list link;
    struct list ready_link; /* a stream with news for its owner */
    struct channel *channel;
    struct h2_stream *stream; /* NULL = not sent, or over */
    struct timer timer;
    uint64_t deadline_ns;
    struct buf request; /* framed, until the stream takes it */
    struct call_reply reply;
    enum channel_cause cause;
    uint32_t end_error; /* how the stream ended */
    bool is_over;       /* nothing more comes: the outcome stands once the messages were told */
    bool is_half_closed;
    bool is_paused;
    bool is_writable; /* and nobody was told yet */
};

/* Makes a channel that is not connected. `closed` runs once, after channel_close(). Returns 0 or
 * -ENOMEM. */
int channel_new(struct reactor *reactor, const struct channel_options *options,
                void (*closed)(void *context), void *context, struct channel **ret_channel);

/* Starts a unary call; the request is copied. Connects first when there is no connection. Returns
 * 0, CHANNEL_E_BUSY or -ENOMEM; only after 0 `done` runs, never inside this call. */
int channel_start(struct channel *channel, struct channel_call *call, struct bytes request);

/* The same for a stream, with nothing sent but its head; `events` is set. */
int channel_open(struct channel *channel, struct channel_call *call);

/* Queues one message on a stream; it is copied. Returns 0, CHANNEL_E_FULL or CHANNEL_E_OVER with
 * nothing taken, or -ENOMEM. */
int channel_send(struct channel_call *call, struct bytes message);

/* No message follows. Returns 0, CHANNEL_E_OVER or -ENOMEM. */
int channel_half_close(struct channel_call *call);

/* Bytes sent on the stream that its connection has not taken yet. */
size_t channel_unsent_size(const struct channel_call *call);

/* Stops and restarts the telling of messages. Meanwhile the server may send what one flow-control
 * window holds, and `done` waits for the messages before it. */
void channel_pause(struct channel_call *call);
void channel_resume(struct channel_call *call);

/* Ends a call that is under way with CANCELLED, unless its outcome stands already; `done` tells.
 * Messages that were not told are dropped. */
void channel_cancel(struct channel_call *call);

/* Cancels every call, ends the connection, frees the channel; `closed` is the last word. Safe to
 * repeat until then. */
void channel_close(struct channel *channel);

/* The same without a goodbye: what still had to be sent is lost. Also after channel_close(), for
 * who has waited long enough. */
void channel_abort(struct channel *channel);

/* "READY" and so on, for tests and the log. */
const char *channel_state_name(const struct channel *channel);

#endif
