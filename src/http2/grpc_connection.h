/*
 * One client's connection to a gRPC server: a conn below, calls above, an HTTP/2 session between.
 *
 * Life: made for an accepted socket; gone when the conn is closed and the last call was let go of.
 *
 * Owns:    the conn, the session, the calls, a timer.
 * Borrows: what its owner shares.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_CONNECTION_H
#define HTTP2_GRPC_CONNECTION_H

#include "core/conn.h"
#include "core/list.h"
#include "core/timer.h"
#include "http2/grpc_admission.h"
#include "http2/grpc_call.h"
#include "http2/grpc_dispatch.h"
#include "http2/grpc_server.h"
#include "http2/h2_budget.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_connection;

#define GRPC_PEER_TEXT_SIZE 64

/* What the connections of one server share; outlives them. */
struct grpc_connection_owner {
    struct reactor *reactor;
    struct grpc_server_options options; /* with a pool in h2 */
    const struct grpc_dispatch *dispatch;
    struct conn_settings conn_settings;
    struct h2_events h2_events;
    struct grpc_call_pool calls;
    struct grpc_server_stats stats;
    struct h2_bucket log_lines; /* about peers that fail: more are counted and left out */
    uint64_t log_lines_dropped;
    /* The handshake is over, well or not; once. */
    void (*settled)(struct grpc_connection_owner *owner, struct grpc_connection *connection);
    /* The last call: the connection is freed when it returns. */
    void (*gone)(struct grpc_connection_owner *owner, struct grpc_connection *connection);
};

enum grpc_connection_phase {
    GRPC_CONNECTION_SHAKING, /* TLS */
    GRPC_CONNECTION_OPEN,
    GRPC_CONNECTION_ANNOUNCED, /* the first GOAWAY is out: what is on its way is still taken */
    GRPC_CONNECTION_ENDING,    /* the final one: open calls finish */
    GRPC_CONNECTION_CLOSING,   /* the session is gone, the conn is on its way */
};

struct grpc_connection {
    struct list link;        /* in the owner's list */
    struct grpc_guest guest; /* the owner's, of its admission */
    struct grpc_connection_owner *owner;
    struct conn *conn;          /* NULL once closed */
    struct h2_session *session; /* from OPEN to ENDING */
    struct grpc_call_host host;
    struct list calls;    /* all that are not freed yet */
    unsigned call_count;  /* of these */
    uint32_t streams_max; /* calls that the client was told it may have; 0 = any */
    enum grpc_connection_phase phase;
    bool has_tls;
    bool was_told_to_end; /* by a GOAWAY, and counted */
    bool has_received;
    bool is_used;    /* a call has begun, once */
    bool is_end_due; /* the peer has seen the first GOAWAY: the final one goes out with this turn */
    bool has_waiting; /* request messages wait until the client takes answers */
    uint64_t opened_ns;
    uint64_t final_due_ns;    /* the final GOAWAY, while the first one is not acknowledged */
    uint64_t pinged_ns;       /* our PING that nothing has come after yet; 0 = there is none */
    uint64_t idle_since_ns;   /* meaningful while there is no call */
    uint64_t aged_ns;         /* when it is drained for its age; UINT64_MAX = never */
    uint64_t grace_end_ns;    /* when its calls are ended then; UINT64_MAX = not yet known */
    const char *drain_reason; /* what the final GOAWAY says (K7, K8); NULL = nothing */
    const char *end_reason;   /* set by end_connection(): `end_task` ends it at the turn's end */
    struct reactor_task end_task;
    struct timer watch; /* for everything that may take too long */
    char peer[GRPC_PEER_TEXT_SIZE];
};

/* The conn's and the session's news are handled here: fills those parts of the owner. */
void grpc_connection_owner_init(struct grpc_connection_owner *owner, struct reactor *reactor,
                                const struct grpc_server_options *options,
                                const struct grpc_dispatch *dispatch);
void grpc_connection_owner_deinit(struct grpc_connection_owner *owner);

/* Takes new options into those parts. The pool in h2 stays. */
void grpc_connection_owner_set_options(struct grpc_connection_owner *owner,
                                       const struct grpc_server_options *options);

/* Takes the socket. `tls` NULL = plain text. `peer` is for the log. The owner may set
 * `host.peer_address` after it. Returns 0, or negative errno with the socket closed. */
int grpc_connection_new(struct grpc_connection_owner *owner, int fd, struct tls_context *tls,
                        const char *peer, struct grpc_connection **ret_connection);

/* Begins the graceful end (P27); one still in its handshake is dropped. Safe to repeat. */
void grpc_connection_drain(struct grpc_connection *connection);

/* The options have changed: the watch looks at the times again. */
void grpc_connection_reconsider(struct grpc_connection *connection);

/* The end of patience: calls that still run are answered UNAVAILABLE, and the connection closes. */
void grpc_connection_hurry(struct grpc_connection *connection);

/* Drops it. */
void grpc_connection_abort(struct grpc_connection *connection);

/* One line about a peer, capped. `event` is a constant. */
void grpc_connection_log(struct grpc_connection_owner *owner, const char *event, const char *peer,
                         const char *reason);

#endif
