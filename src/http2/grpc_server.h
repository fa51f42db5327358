/*
 * Listeners, connections, limits and graceful drain of a gRPC server.
 *
 * Owns:    the listeners, the connections with their sessions and calls.
 * Borrows: the reactor, the TLS context, the dispatch.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_SERVER_H
#define HTTP2_GRPC_SERVER_H

#include "core/conn.h"
#include "core/limits_hit.h"
#include "http2/grpc_dispatch.h"
#include "http2/h2_session.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_server;
struct reactor;
struct tls_context;

/* Limits of 0 on handshakes, their rate, buffered bytes, age, pings and keepalive are none. */
struct grpc_server_options {
    struct h2_options h2;     /* `pings`, `hits`, `stats` and `pool` are the server's */
    uint32_t max_connections; /* limits.max_connections */
    enum limits_hit_reason max_connections_reason; /* which option that is; 0 = that one */
    uint32_t max_connections_per_ip;               /* limits.max_connections_per_ip */
    uint32_t max_handshakes;        /* limits.max_handshakes: connections not yet through TLS */
    uint32_t max_handshakes_per_ip; /* limits.max_handshakes_per_ip */
    uint32_t handshake_rate;        /* limits.handshake_rate per second; half of it from one
                                       address */
    uint64_t max_buffered;          /* limits.max_buffered: request bytes not handled yet; */
    uint64_t max_buffered_per_connection; /* over either RESOURCE_EXHAUSTED */
    uint32_t max_message;                 /* limits.max_message */
    uint32_t max_running;        /* limits.max_running: handlers at once, all connections; over it
                                    REFUSED_STREAM */
    uint32_t max_unsent;         /* http2.max_unsent: bytes of answers that a client has not taken;
                                    beyond it requests for long answers wait */
    bool compress_replies;       /* http2.compress_replies */
    uint32_t compress_min;       /* http2.compress_min */
    uint32_t compress_max;       /* http2.compress_max */
    uint64_t tls_timeout_ns;     /* accept to TLS done */
    uint64_t preface_timeout_ns; /* TLS done to the peer's SETTINGS */
    uint64_t settings_ack_timeout_ns;
    uint64_t header_timeout_ns; /* a header block may take this long */
    uint64_t body_progress_ns;  /* a request body must move at least every so long */
    uint64_t idle_timeout_ns;   /* no call open for this long: GOAWAY */
    uint64_t send_timeout_ns;
    uint64_t linger_timeout_ns;
    uint64_t max_age_ns;       /* limits.max_age_s. GOAWAY NO_ERROR "max_age" (K8) */
    uint64_t max_age_grace_ns; /* then its calls may go on this long (K9) */
    uint64_t min_ping_ns;      /* keepalive.min_ping_s (K3) */
    uint32_t max_ping_strikes; /* keepalive.max_strikes (K5) */
    bool pings_without_calls;  /* keepalive.permit_without_calls (K4) */
    uint64_t keepalive_ns;     /* keepalive.time_s: a PING to who was not heard for so long (K1) */
    uint64_t keepalive_timeout_ns; /* keepalive.timeout_s: and the end, if this long after it (K2);
                                      TCP_USER_TIMEOUT, too (K10) */
    uint64_t default_deadline_ns;
    uint64_t max_deadline_ns;
    int backlog;
};

/* Why a connection is told to end. */
enum grpc_goaway {
    GRPC_GOAWAY_SHUTDOWN,
    GRPC_GOAWAY_MAX_AGE,
    GRPC_GOAWAY_MAX_IDLE,
    GRPC_GOAWAY_TIMEOUT,       /* preface, SETTINGS or a header block took too long */
    GRPC_GOAWAY_AUTH_FAILURES, /* or whatever else a stage ends it for */
    GRPC_GOAWAY_LIMIT,         /* too much of something: resets, pings, fields ... */
    GRPC_GOAWAY_PROTOCOL,
    GRPC_GOAWAY_INTERNAL,
    GRPC_GOAWAY_COUNT,
};

/* Why a stream became no call. */
enum grpc_call_refusal {
    GRPC_CALL_REFUSAL_RUNNING, /* limits.max_running */
    GRPC_CALL_REFUSAL_STREAMS, /* http2.max_concurrent_streams */
    GRPC_CALL_REFUSAL_ENDING,  /* its connection is about to end */
    GRPC_CALL_REFUSAL_MEMORY,
    GRPC_CALL_REFUSAL_COUNT,
};

/* "max_age" and so on, for metrics. */
const char *grpc_goaway_name(enum grpc_goaway reason);
const char *grpc_call_refusal_name(enum grpc_call_refusal reason);

#define GRPC_CONN_END_COUNT (CONN_END_ABORTED + 1)

/* Counts since start, for metrics and for the line at the end. */
struct grpc_server_stats {
    uint64_t connections_accepted;
    uint64_t connections_refused; /* the sum of the next three */
    uint64_t connections_refused_by[LIMITS_HIT_COUNT];
    uint64_t connections_refused_draining;
    uint64_t connections_refused_memory; /* there was none */
    uint64_t connections_failed;         /* TLS failures, bad prefaces, protocol errors */
    uint64_t connections_closed[GRPC_CONN_END_COUNT]; /* by enum conn_end */
    uint64_t connections_open;
    uint64_t goaways[GRPC_GOAWAY_COUNT]; /* connections, by why they were told to end first */
    uint64_t handshakes;                 /* TLS, in progress */
    uint64_t handshakes_done;
    uint64_t handshakes_failed[GRPC_CONN_END_COUNT]; /* by enum conn_end */
    uint64_t calls_started;
    uint64_t calls_finished;
    uint64_t calls_refused; /* the sum of the next */
    uint64_t calls_refused_by[GRPC_CALL_REFUSAL_COUNT];
    uint64_t calls_running;
    struct h2_stats h2;
};

/* What there is now, for metrics. */
struct grpc_server_gauges {
    uint64_t streams;              /* open */
    uint64_t buffered_bytes;       /* as grpc_server_buffered_size() */
    uint64_t unsent_bytes;         /* of answers that clients did not take yet */
    uint64_t session_bytes;        /* memory of HTTP/2 sessions */
    uint64_t session_bytes_cached; /* kept for further ones */
};

/* Makes a server that does not listen yet. Everything borrowed must outlive it. Returns 0 or
 * -ENOMEM. */
int grpc_server_new(struct reactor *reactor, const struct grpc_server_options *options,
                    const struct grpc_dispatch *dispatch, struct grpc_server **ret_server);

/* Listens on one address; `tls` NULL = plain text (h2c with prior knowledge). May be called several
 * times. Returns 0, or negative errno with `problem` filled in. */
int grpc_server_listen(struct grpc_server *server, const char *address, struct tls_context *tls,
                       char *problem);

/* The same on a socket that listens already (listener_adopt()): the descriptor is taken over, also
 * when it fails. */
int grpc_server_listen_on(struct grpc_server *server, int fd, struct tls_context *tls,
                          char *problem);

/* From now on new connections of every listener with TLS shake hands with this context, which is
 * borrowed like the one before; open connections keep theirs. */
void grpc_server_set_tls(struct grpc_server *server, struct tls_context *tls);

/* Takes new limits. Those of the HTTP/2 session, on messages, deadlines, compression, age and
 * pings, and TCP_USER_TIMEOUT, are for connections made from now on; all others, on numbers, bytes
 * and times, count at once for all. `backlog` stays. */
void grpc_server_set_options(struct grpc_server *server, const struct grpc_server_options *options);

/* While true new connections are closed at once, as over limits.max_connections: memory is short.
 */
void grpc_server_refuse_connections(struct grpc_server *server, bool refuse);

/* The i-th bound address, NULL past the last. */
const char *grpc_server_address(const struct grpc_server *server, unsigned index);

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server);

struct grpc_server_gauges grpc_server_gauges(const struct grpc_server *server);

/* Request bytes that are kept now and not handled yet, over all connections. */
uint64_t grpc_server_buffered_size(const struct grpc_server *server);

/* Stops accepting, announces GOAWAY, lets calls finish, closes connections; what is left after
 * `grace_ns` is aborted. `drained` runs once, from the loop, when no connection is left. A second
 * call with a shorter grace shortens it. */
void grpc_server_drain(struct grpc_server *server, uint64_t grace_ns,
                       void (*drained)(void *context), void *context);

/* After `drained`. NULL is fine. */
void grpc_server_free(struct grpc_server *server);

#endif
