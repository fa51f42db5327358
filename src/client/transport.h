/*
 * One connection to one server address, and the attempts of calls on it: TCP, TLS, one HTTP/2
 * session, client keepalive.
 *
 *     CONNECTING -> HANDSHAKING -> READY -> DRAINING -> ENDING -> (closed, freed)
 *     and from each to ENDING or closed when it fails
 *
 * DRAINING: the server sent GOAWAY, stream ids ran out, or transport_close(): what is open goes on
 * to its end, nothing new is taken. Attempts above the GOAWAY id end with the cause REFUSED.
 * A keepalive PING that stays unanswered ends the connection (cause LOST for the open attempts).
 *
 * Owns:    the connection, its session and streams.
 * Borrows: reactor, TLS context, texts of the options, its owner; attempts from start until `done`.
 * Thread:  loop only.
 */
#ifndef CLIENT_TRANSPORT_H
#define CLIENT_TRANSPORT_H

#include "client/call_attempt.h"
#include "client/target.h"

#include <stdbool.h>
#include <stdint.h>

struct reactor;
struct tls_context;
struct transport;

#define TRANSPORT_UNSENT_MAX 65536 /* bytes of one stream that wait to be sent */
#define TRANSPORT_QUEUE_MAX  20000 /* attempts and frames that wait for the server */

#ifdef USERD_VERSION
#define TRANSPORT_USER_AGENT "userd-client/" USERD_VERSION
#else
#define TRANSPORT_USER_AGENT "userd-client/0"
#endif

#define TRANSPORT_E_FULL      2 /* TRANSPORT_UNSENT_MAX bytes wait: `writable` tells when to go on */
#define TRANSPORT_E_OVER      3 /* the attempt ends, or its sending side has */
#define TRANSPORT_E_NOT_READY 4 /* not READY: nothing was started, `done` does not run */

struct transport_options {
    struct tls_context *tls;     /* NULL = plain text */
    const char *server_name;     /* for SNI and the check of the certificate */
    const char *authority;       /* :authority */
    const char *user_agent;      /* NULL = TRANSPORT_USER_AGENT */
    uint64_t connect_timeout_ns; /* for TCP, and again for TLS and the server's SETTINGS */
    /* PING when nothing was heard for so long; 0 = never, like a hundred years and more. And how
     * long its answer may take, likewise. */
    uint64_t keepalive_time_ns;
    uint64_t keepalive_timeout_ns;
    bool keepalive_without_calls;
};

struct transport_events {
    void (*ready)(void *owner); /* attempts may be started */
    /* READY is over: GOAWAY, no stream id left, transport_close(), or the connection is lost
     * (transport_problem() says). No new attempts any more; open ones go on where they can. Comes
     * before the `done` of attempts that end because of it. */
    void (*draining)(void *owner);
    /* The last word, after every attempt's `done`, so of a lost connection it waits for owners who
     * have paused; freed when it returns. `cause` and `problem` say why: as transport_problem(),
     * CONNECT or TLS when it was never READY, CANCELLED when its owner closed it.
     * `server_asked_patience`: the GOAWAY was ENHANCE_YOUR_CALM with too_many_pings (K5): ping half
     * as often from now on. */
    void (*closed)(void *owner, enum call_cause cause, const char *problem,
                   bool server_asked_patience);
};

/* Starts to connect. Returns 0 or -ENOMEM (then no event comes); failures are told by `closed`. */
int transport_new(struct reactor *reactor, const struct transport_options *options,
                  const struct target_address *address, const struct transport_events *events,
                  void *owner, struct transport **ret_transport);

/* Puts an attempt on a stream. Returns 0, TRANSPORT_E_NOT_READY or -ENOMEM; only after 0 its `done`
 * runs. May find out that the session takes no more (then NOT_READY, and `draining` follows).
 *
 * More attempts than the server takes streams (its SETTINGS_MAX_CONCURRENT_STREAMS) wait in the
 * session for others to end, in order; a GOAWAY or loss ends those as REFUSED and unsent. With
 * TRANSPORT_QUEUE_MAX of them waiting, -ENOMEM. */
int transport_start(struct transport *transport, struct call_attempt *attempt);

/* Queues one framed message, copied: the parts together, its head among them. Returns 0,
 * TRANSPORT_E_FULL or TRANSPORT_E_OVER with nothing taken, or -ENOMEM. */
int call_attempt_send(struct call_attempt *attempt, const struct bytes *parts, size_t count);
int call_attempt_half_close(struct call_attempt *attempt);
size_t call_attempt_unsent_size(const struct call_attempt *attempt);

/* Stops and restarts the telling of messages: one flow-control window at most gathers meanwhile. */
void call_attempt_pause(struct call_attempt *attempt);
void call_attempt_resume(struct call_attempt *attempt);

/* Ends it from our side with that outcome, unless its outcome stands; RST_STREAM(CANCEL). `done`
 * tells. Messages that were not told are dropped. */
void call_attempt_fail(struct call_attempt *attempt, enum grpc_status status, enum call_cause cause,
                       const char *message);

/* DRAINING; ends when the last attempt has. Safe to repeat until `closed`. */
void transport_close(struct transport *transport);

/* Fails the open attempts (cause CANCELLED) and ends at once, without a goodbye. Likewise. */
void transport_abort(struct transport *transport);

/* The same, but nobody wants it: attempts end as UNAVAILABLE with the cause LOST and `reason`,
 * which is a literal. */
void transport_give_up(struct transport *transport, const char *reason);

/* Why it ends or has ended, for people; "" = it does not, or because its owner wants it. And who
 * decided: ANSWER = the server said so with GOAWAY, LOST = it broke. For events and after. */
const char *transport_problem(const struct transport *transport, enum call_cause *ret_cause);

/* The server has answered something on it. */
bool transport_has_served(const struct transport *transport);

#endif
