/*
 * The method table: full path to handler, and the limits of one method.
 *
 * Owns:    the lookup built over const rows.
 * Thread:  any after building.
 */
#ifndef HTTP2_GRPC_METHOD_H
#define HTTP2_GRPC_METHOD_H

#include "core/bytes.h"
#include "core/map.h"

#include <stdbool.h>

struct grpc_call;

enum grpc_method_kind {
    GRPC_METHOD_UNARY,
    GRPC_METHOD_SERVER_STREAM,
    GRPC_METHOD_CLIENT_STREAM,
    GRPC_METHOD_BIDI_STREAM,
};

/* Runs with the one request message of a UNARY or SERVER_STREAM method, borrowed until it returns
 * (copy into the call's arena what is needed later). It must end the call, now or later; whoever
 * answers later holds the call (grpc_call_hold()). */
typedef void (*grpc_handler_fn)(void *service, struct grpc_call *call, struct bytes request);

/* Runs when a CLIENT_STREAM or BIDI_STREAM method begins, before its first message: it listens to
 * the call (grpc_call_listen()) or fails it. */
typedef void (*grpc_open_fn)(void *service, struct grpc_call *call);

/* One row. A method with neither function answers UNIMPLEMENTED. */
struct grpc_method {
    const char *path; /* "/users.v1.UserService/GetUser" */
    enum grpc_method_kind kind;
    grpc_handler_fn handler; /* of methods with one request message */
    grpc_open_fn open;       /* of methods with a stream of them */
    void *service;
    /* Answers may be long: requests wait while their client leaves too much untaken. */
    bool long_answers;
    bool secret;    /* requests hold passwords: wiped from memory once the handler has returned */
    unsigned index; /* position in the table: metrics and policy key on it */
};

/* CLIENT_STREAM and BIDI_STREAM. */
static inline bool grpc_method_streams_requests(const struct grpc_method *method)
{
    return method->kind >= GRPC_METHOD_CLIENT_STREAM;
}

struct grpc_method_table {
    struct map by_path;  /* of struct grpc_method */
    struct map services; /* set of the service names, for the text of UNIMPLEMENTED */
    struct grpc_method *methods;
    unsigned count;
};

/* Registers the rows (copied; index is filled in). Paths must be unique and well formed: asserted.
 * Returns 0 or -ENOMEM. */
int grpc_method_table_init(struct grpc_method_table *table, const struct grpc_method *methods,
                           unsigned count);

void grpc_method_table_deinit(struct grpc_method_table *table);

/* NULL when unknown. Exact bytes, no decoding (P1, P2). */
const struct grpc_method *grpc_method_find(const struct grpc_method_table *table,
                                           struct bytes path);

/* True when the service of the path ("/pkg.Service/...") is registered. */
bool grpc_method_service_is_known(const struct grpc_method_table *table, struct bytes path);

#endif
