/*
 * One attempt of a call on one connection: what goes out, what came back. A channel makes one or
 * more of each call; transport.h runs them.
 *
 * Owns:    what was received and not told yet.
 * Borrows: everything its owner sets, until `done`.
 * Thread:  loop only.
 */
#ifndef CLIENT_CALL_ATTEMPT_H
#define CLIENT_CALL_ATTEMPT_H

#include "client/call_reply.h"
#include "core/bytes.h"
#include "core/list.h"

#include <stdbool.h>
#include <stdint.h>

#define CALL_NO_DEADLINE UINT64_MAX
#define CALL_FIELDS_MAX  16 /* of one call's metadata */

struct call_attempt;
struct h2_stream;
struct transport;

/* Who decided the outcome: what to try next depends on it. */
enum call_cause {
    CALL_CAUSE_ANSWER,    /* the server, or something that answered in its place */
    CALL_CAUSE_CONNECT,   /* no connection could be made */
    CALL_CAUSE_TLS,       /* the handshake failed */
    CALL_CAUSE_LOST,      /* the connection ended with the call under way */
    CALL_CAUSE_REFUSED,   /* the server has not looked at it: REFUSED_STREAM, above the GOAWAY id */
    CALL_CAUSE_DEADLINE,  /* our own timer */
    CALL_CAUSE_CANCELLED, /* by the caller, or the channel was closed */
    CALL_CAUSE_BREAKER,   /* every backend's circuit breaker is open */
    CALL_CAUSE_MEMORY,    /* ours ran out */
    CALL_CAUSE_CALLER,    /* a message is larger than may be sent */
};

/* One field of a request's metadata; the name in lower case; a "-bin" value is already base64. */
struct call_field {
    const char *name;
    const char *value;
};

struct call_result {
    enum grpc_status status;
    enum call_cause cause;
    struct bytes message; /* text of the status */
    struct bytes details; /* google.rpc.Status; empty when none came */
    struct bytes reply;   /* unary: the message, when the status is OK */
    struct bytes fields;  /* of head and trailers, for call_reply_find() */
    bool has_head;  /* a head that was not the end came, or a message: too late to try again */
    bool is_unsent; /* with CALL_CAUSE_REFUSED: the server cannot even know of it */
};

/* All run from the loop, none inside a call to the transport; `done` last. */
struct call_attempt_events {
    /* One message of a stream, borrowed until it returns. NULL = the call is unary. */
    void (*message)(struct call_attempt *attempt, struct bytes message);
    /* All that was sent has gone into the connection. NULL = not wanted. */
    void (*writable)(struct call_attempt *attempt);
    /* Once. The result is borrowed until it returns; the attempt is its owner's again when it
     * begins, and may be started anew inside it, on this or another transport. */
    void (*done)(struct call_attempt *attempt, const struct call_result *result);
};

/* In its owner's memory. Set the first part, start it. */
struct call_attempt {
    const struct call_attempt_events *events;
    const char *path;
    const char *authorization; /* the field's whole value; NULL = none */
    const struct call_field *fields;
    size_t field_count;
    uint64_t deadline_ns; /* tells the server in grpc-timeout; whoever starts it has the timer */
    unsigned previous_attempts; /* grpc-previous-rpc-attempts, when not 0 (E4) */
    struct bytes request;       /* framed messages to begin with; borrowed during the start only */
    bool half_closed;           /* at the start: nothing follows them */
    uint32_t max_message;       /* bytes in an answer */
    /* The rest is the transport's own. */
    struct list link;
    struct list ready_link;
    struct transport *transport; /* NULL = not started, or done */
    struct h2_stream *stream;    /* NULL = over */
    struct call_reply reply;
    enum call_cause cause;
    uint32_t end_error;
    bool has_head;
    bool is_unsent;
    bool is_over;
    bool is_half_closed;
    bool is_paused;
    bool is_writable;
};

#endif
