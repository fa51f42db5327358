/*
 * What a running server counts, as text for Prometheus (exposition format 0.0.4).
 *
 * Owns:    nothing.
 * Borrows: the sources, for the call.
 * Thread:  loop only.
 */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

#include "core/buf.h"

#include <stdint.h>

struct grpc_server_stats;
struct limits_hit;
struct token_stats;

/* NULL = such a part is not there, and neither are its metrics. */
struct metrics_sources {
    const struct limits_hit *limits_hit;
    const struct grpc_server_stats *server;
    const struct token_stats *tokens;
    uint64_t auth_refused;           /* calls without a good token */
    uint64_t access_denied;          /* calls that the policy refused */
    int64_t certificate_not_after_s; /* since 1970; 0 = no TLS */
};

/* Appends all of it. Returns 0 or -ENOMEM. */
int metrics_write(const struct metrics_sources *sources, struct buf *out);

#endif
