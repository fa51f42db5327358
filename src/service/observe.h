/*
 * The stage that watches every call: counts by method and status, and a line per call at level
 * debug.
 *
 * Owns:    the counts.
 * Borrows: the method table and the log, for the server's life.
 * Thread:  loop only.
 */
#ifndef SERVICE_OBSERVE_H
#define SERVICE_OBSERVE_H

#include "http2/grpc_dispatch.h"

#include <stdint.h>

struct log;
struct observe;

/* Returns 0 or -ENOMEM. */
int observe_new(const struct grpc_method_table *methods, struct log *log,
                struct observe **ret_observe);

/* NULL is fine. */
void observe_free(struct observe *observe);

/* The stage; it goes first, so that it sees the calls that others refuse. */
struct grpc_stage observe_stage(struct observe *observe);

/* Calls that ended with this status; `method` NULL = those of methods nobody serves, all as one. */
uint64_t observe_count(const struct observe *observe, const struct grpc_method *method,
                       enum grpc_status status);

/* Over all methods. */
uint64_t observe_status_total(const struct observe *observe, enum grpc_status status);

#endif
