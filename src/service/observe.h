/*
 * The stage that watches every call: counts by method and status, messages and times, and has the
 * line of the call written (access_log.h).
 *
 * Owns:    the counts.
 * Borrows: the method table and the log, for the server's life.
 * Thread:  loop only.
 */
#ifndef SERVICE_OBSERVE_H
#define SERVICE_OBSERVE_H

#include "core/bytes.h"
#include "core/histogram.h"
#include "http2/grpc_dispatch.h"
#include "http2/grpc_status.h"
#include "service/access_log.h"

#include <stdint.h>

struct log;
struct observe;

/* Everything about one method. */
struct observe_row {
    uint64_t started; /* calls whose head was complete */
    uint64_t ended[GRPC_STATUS_COUNT];
    struct grpc_call_counts messages;
    struct histogram ns;  /* of those that ended: from the complete head to the status */
    struct bytes labels;  /* for metrics: method="..." */
    struct bytes classic; /* likewise: grpc_type="...",grpc_service="...",grpc_method="..." */
};

/* Returns 0 or -ENOMEM. */
int observe_new(const struct grpc_method_table *methods, struct log *log,
                struct observe **ret_observe);

/* NULL is fine. */
void observe_free(struct observe *observe);

/* The stage; it goes first, so that it sees the calls that others refuse. */
struct grpc_stage observe_stage(struct observe *observe);

/* Which calls get a line in the log: log.access, log.access_sample (at least 1). None at first, but
 * for level debug. */
void observe_set_access(struct observe *observe, enum access_log_choice choice, uint64_t sample);

/* One row for each method, in the order of the table, and a last one for all that nobody serves. */
unsigned observe_row_count(const struct observe *observe);
const struct observe_row *observe_row(const struct observe *observe, unsigned index);

/* Calls that ended with this status; `method` NULL = those of methods nobody serves, all as one. */
uint64_t observe_count(const struct observe *observe, const struct grpc_method *method,
                       enum grpc_status status);

/* Over all methods. */
uint64_t observe_status_total(const struct observe *observe, enum grpc_status status);

#endif
