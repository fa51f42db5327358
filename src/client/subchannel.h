/*
 * The way to one backend: connects when asked, waits with backoff after failures, and keeps serving
 * the calls of connections that are draining while it already has the next one.
 *
 *     IDLE              --connect()--------------------------> CONNECTING
 *     CONNECTING        --transport ready--------------------> READY
 *     CONNECTING        --transport closed-------------------> TRANSIENT_FAILURE, backoff armed
 *     READY             --GOAWAY, or the connection is lost--> IDLE, backoff reset
 *     READY             --the same, but it was of no use-----> TRANSIENT_FAILURE, backoff armed
 *     TRANSIENT_FAILURE --backoff over-----------------------> IDLE (the owner may connect again)
 *
 * A connection was of no use when the server has answered nothing on it and it ended sooner than
 * the first backoff lasts: so a server that accepts and closes is not dialled in a loop.
 *
 * Owns:    its transports: at most one that connects or is ready, and SUBCHANNEL_DRAINING_MAX that
 *          drain (one more ends the oldest: what is open on it is lost).
 * Borrows: reactor, options' texts and TLS context, its owner.
 * Thread:  loop only.
 */
#ifndef CLIENT_SUBCHANNEL_H
#define CLIENT_SUBCHANNEL_H

#include "client/backoff.h"
#include "client/transport.h"

#define SUBCHANNEL_DRAINING_MAX 8

enum subchannel_state {
    SUBCHANNEL_IDLE,
    SUBCHANNEL_CONNECTING,
    SUBCHANNEL_READY,
    SUBCHANNEL_TRANSIENT_FAILURE,
    SUBCHANNEL_STATE_COUNT,
};

struct subchannel;

struct subchannel_options {
    struct transport_options transport;
    struct backoff_options backoff;
};

struct subchannel_stats {
    uint64_t connects;         /* attempts to connect */
    uint64_t connect_failures; /* of those */
    uint64_t losses;           /* connections that were READY and broke */
    uint64_t goaways;
};

/* From the loop, never inside a call to the subchannel. */
struct subchannel_events {
    void (*changed)(void *owner); /* the state did: ask for it */
    void (*closed)(void *owner); /* the last word after subchannel_close(); freed when it returns */
};

/* IDLE at first. `options` is copied (its texts are not). Returns 0 or -ENOMEM. */
int subchannel_new(struct reactor *reactor, const struct subchannel_options *options,
                   const struct target_address *address, const struct subchannel_events *events,
                   void *owner, struct subchannel **ret_subchannel);

enum subchannel_state subchannel_state(const struct subchannel *subchannel);
const struct subchannel_stats *subchannel_stats(const struct subchannel *subchannel);

/* Why the last connection failed or ended, for people; "" = none did. And who decided. */
const char *subchannel_problem(const struct subchannel *subchannel, enum call_cause *ret_cause);

/* From IDLE: begins. In every other state: nothing. */
void subchannel_connect(struct subchannel *subchannel);

/* From CONNECTING: back to IDLE, as nobody needs it any more; that is no failure. In every other
 * state: nothing. */
void subchannel_give_up(struct subchannel *subchannel);

/* Does not wait for the backoff to end: TRANSIENT_FAILURE becomes IDLE, and the next failure is the
 * first again. */
void subchannel_reset_backoff(struct subchannel *subchannel);

/* As transport_start(), on the ready connection. */
int subchannel_start(struct subchannel *subchannel, struct call_attempt *attempt);

/* No new attempts; those that are open go on; `closed` when all have ended. */
void subchannel_close(struct subchannel *subchannel);

/* The same, but the open attempts fail. Also after subchannel_close(). */
void subchannel_abort(struct subchannel *subchannel);

#endif
