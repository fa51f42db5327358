/*
 * From a complete head to a handler: method lookup, then the stages in order, then the deadline,
 * then the message. When the call has finished, the stages' ends run in reverse.
 *
 * Owns:    nothing.
 * Borrows: the method table and the stages, for the server's life.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_DISPATCH_H
#define HTTP2_GRPC_DISPATCH_H

#include "http2/grpc_call.h"
#include "http2/grpc_method.h"

/* A stage looks at every call before its handler. One that has too much to do in this turn may make
 * the call wait (grpc_call_wait) and look at it later. */
struct grpc_stage {
    const char *name;
    /* Lets the call pass (true), or has failed it itself (false), or makes it wait (true): then it
     * runs again when the stage says grpc_call_proceed(), unless the call has ended meanwhile,
     * which `end` tells. `call->method` may be NULL for an unknown method: it is answered
     * UNIMPLEMENTED after the stages, so that auth judges first. */
    bool (*begin)(void *context, struct grpc_call *call);
    /* The call is finished; runs for every stage whose `begin` ran, in reverse order. May be NULL.
     */
    void (*end)(void *context, struct grpc_call *call);
    /* Instead of the other two, for a call that ended before any stage saw it: its head was refused
     * for itself, it had no time left, or its head never was complete. So a stage with all three
     * sees each call end exactly once. `method` and `caller` are NULL, the head is there as far as
     * it came, and `started_ns` says when it was complete or, if it never was, when it began.
     * Streams that never became a call (REFUSED_STREAM) are counted by grpc_server_stats alone. May
     * be NULL. */
    void (*missed)(void *context, struct grpc_call *call);
    void *context;
};

#define GRPC_STAGES_MAX GRPC_CALL_STAGES_MAX

struct grpc_dispatch {
    const struct grpc_method_table *methods;
    const struct grpc_stage *stages;
    unsigned stage_count;
};

/* The moments of a call, called by the host's ops. */
void grpc_dispatch_head(const struct grpc_dispatch *dispatch, struct grpc_call *call);
void grpc_dispatch_proceed(const struct grpc_dispatch *dispatch, struct grpc_call *call);
void grpc_dispatch_opened(const struct grpc_dispatch *dispatch, struct grpc_call *call);
void grpc_dispatch_request(const struct grpc_dispatch *dispatch, struct grpc_call *call,
                           struct bytes message);
void grpc_dispatch_finished(const struct grpc_dispatch *dispatch, struct grpc_call *call);

#endif
