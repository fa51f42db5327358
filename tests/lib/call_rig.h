/*
 * Calls without sockets: a server session whose streams become grpc_calls, a client to drive them,
 * and a clock that moves when told.
 *
 * Owns:    all of it; one per test process.
 * Thread:  one.
 */
#ifndef TESTS_LIB_CALL_RIG_H
#define TESTS_LIB_CALL_RIG_H

#include "lib/h2_peer.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"

#include <stdbool.h>

#define CALL_RIG_MAX_MESSAGE 1000
#define CALL_RIG_RESET_BURST 100 /* and none come back by time */

struct call_rig {
    struct reactor reactor; /* without a ring: only time and timers */
    struct clock_source clock;
    struct grpc_call_pool pool;
    struct grpc_call_host host;
    struct h2_events events;
    struct h2_session *session;
    struct buf out; /* of the server */
    struct h2_peer peer;
    struct grpc_call *call; /* the newest one */
    unsigned opened;
    unsigned heads;
    unsigned requests;
    unsigned finished;
    unsigned freed;
    unsigned touched;
    enum grpc_status status;                /* of the one finished last */
    char message[CALL_RIG_MAX_MESSAGE + 1]; /* of the newest request */
    const struct grpc_method *method;       /* of every call; NULL = none: a unary one */
    bool is_shut;                           /* nothing may be delivered */
    char heard[4096]; /* by call_rig_open()'s handler: "[message]" or "[#size]", "$" = the end, "w"
                         = writable, "x" = cancelled */
    /* What the host does on its events; NULL = nothing, and a request is held and left waiting. */
    void (*on_head)(struct grpc_call *call);
    void (*on_proceed)(struct grpc_call *call); /* must be set where a stage makes calls wait */
    void (*on_request)(struct grpc_call *call, struct bytes message);
    void (*on_finished)(struct grpc_call *call);
    void (*on_open)(struct grpc_call *call); /* set to call_rig_open() at first */
    void (*on_message)(struct grpc_call *call, struct bytes message); /* after it was noted */
};

/* Makes both ends and exchanges their first frames. */
void call_rig_init(struct call_rig *rig);

/* Frees both ends; asserts that every call was finished once and freed. */
void call_rig_deinit(struct call_rig *rig);

/* Exchanges until both have nothing more to say. */
void call_rig_talk(struct call_rig *rig);

/* Gives bytes to the server alone, which must like them, and drains it into `out`. */
void call_rig_feed(struct call_rig *rig, const struct buf *bytes);

/* Runs what was left for the end of the turn. */
void call_rig_turn(struct call_rig *rig);

/* Lets time pass and runs what is due. */
void call_rig_advance(struct call_rig *rig, uint64_t ns);

/* The server's connection is lost. */
void call_rig_lose(struct call_rig *rig);

/* The status and message a client sees; the call must be over for it. */
void call_rig_check(const struct h2_peer_call *call, enum grpc_status status, const char *message);

/* Sends body bytes as they are, in pieces of `step` bytes, each in a DATA frame of its own. */
void call_rig_write(struct call_rig *rig, struct h2_peer_call *call, struct bytes bytes,
                    size_t step);

/* Listens, and notes in `heard`. Takes no hold. */
void call_rig_open(struct grpc_call *call);

/* Methods of the four shapes, with long answers, for `method`. */
extern const struct grpc_method call_rig_unary;
extern const struct grpc_method call_rig_server_stream;
extern const struct grpc_method call_rig_client_stream;
extern const struct grpc_method call_rig_bidi_stream;

/* Handlers to choose from. */
void call_rig_echo(struct grpc_call *call, struct bytes message); /* answers at once */
void call_rig_hold(struct grpc_call *call, struct bytes message); /* takes a hold, answers later */

#endif
