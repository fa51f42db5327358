/*
 * A small HTTP/1.1 server on the loop, for probes and administrators: one request on a connection,
 * answered at once.
 *
 * Owns:    its listener and connections.
 * Borrows: the reactor, handler and owner, for its life.
 * Thread:  loop only.
 */
#ifndef CORE_HTTP_ADMIN_H
#define CORE_HTTP_ADMIN_H

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct http_admin;
struct reactor;

/* Borrowed until the handler returns. */
struct http_admin_request {
    const char *method; /* as sent: "GET" */
    const char *path;   /* without a query; decoded, but for one with %00 in it, which stays */
    void *connection;   /* http_admin.c's own */
};

/* The value of the first field of that name, NULL when there is none. */
const char *http_admin_header(const struct http_admin_request *request, const char *name);

/* The decoded value of the first argument of that name, in capitals or not, in the query: "" when
 * it has none, NULL when there is no such argument. */
const char *http_admin_argument(const struct http_admin_request *request, const char *name);

#define HTTP_ADMIN_PEER_SIZE 64

/* Writes who asks: "127.0.0.1:40000", "[::1]:40000", or "unix". */
void http_admin_peer(const struct http_admin_request *request, char out[HTTP_ADMIN_PEER_SIZE]);

/* Zero but for `status` 200 at first. The body may stay empty; it is freed for the handler. */
struct http_admin_reply {
    unsigned status;
    const char *content_type; /* a constant; NULL = plain text */
    const char *allow;        /* a constant, for 405; NULL = no such field */
    const char *policy;       /* a constant, what a browser may do with it; NULL = nothing */
    struct bytes page;        /* a constant that is sent instead of the body; NULL = the body is */
    struct buf body;
};

struct http_admin_options {
    const char *address;      /* as listener_open() takes it */
    int passed_fd;            /* as listener_adopt() takes it, in place of `address`; 0 = none */
    unsigned max_connections; /* more are closed at once */
    uint64_t timeout_ns;      /* from accept to the last byte of the answer; then it is closed */
    /* Runs from the loop for every whole request without a body; those with one are refused before.
     * May not close the server. */
    void (*handle)(void *owner, const struct http_admin_request *request,
                   struct http_admin_reply *reply);
    void *owner;
};

/* Counts since start, for metrics and tests. */
struct http_admin_stats {
    uint64_t connections_open;
    uint64_t connections_accepted;
    uint64_t connections_refused;   /* over the limit */
    uint64_t connections_timed_out; /* closed before their time was used well */
    uint64_t requests;              /* answered, with whatever status */
    uint64_t runs;                  /* of libmicrohttpd */
};

/* Listens. Returns 0; or negative errno with `problem` (RING_PROBLEM_SIZE bytes) filled in. */
int http_admin_new(struct reactor *reactor, const struct http_admin_options *options, char *problem,
                   struct http_admin **ret_http);

/* The bound address as text, valid until it is closed. */
const char *http_admin_address(const struct http_admin *http);

const struct http_admin_stats *http_admin_stats(const struct http_admin *http);

/* Stops listening and closes every connection. The loop must turn until it is closed. Safe to
 * repeat. */
void http_admin_close(struct http_admin *http);
bool http_admin_is_closed(const struct http_admin *http);

/* After it is closed. NULL is fine. */
void http_admin_free(struct http_admin *http);

#endif
