/*
 * What a running server counts, as text for Prometheus (exposition format 0.0.4) or OpenMetrics
 * 1.0.0. docs/OPERATIONS.md has a table of it all, which a test compares with this.
 *
 * Owns:    nothing.
 * Borrows: the sources, for the call.
 * Thread:  loop only.
 */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

#include "core/buf.h"
#include "core/workpool.h"
#include "http2/grpc_server.h"
#include "service/commit_log.h"
#include "service/health.h"
#include "service/rate_limit.h"
#include "service/token.h"

#include <stdbool.h>
#include <stdint.h>

struct access_stats;
struct auth;
struct observe;
struct overload_stats;
struct process_numbers;
struct reactor;
struct user_lister_stats;
struct user_snapshot_stats;
struct user_streams;
struct user_watch_stats;

struct metrics_tls {
    const char *library; /* tls_library() */
    bool is_accelerated;
    int64_t not_after_s;
    int64_t crl_until_s; /* INT64_MAX = there is no list */
};

struct metrics_reload {
    uint64_t succeeded;
    uint64_t failed;
    bool last_failed;
    uint64_t success_ms; /* since 1970: when the configuration in force was taken */
};

/* Pointers that are NULL: such a part is not there, and neither are its metrics. */
struct metrics_sources {
    const struct observe *observe;
    const struct process_numbers *process;
    const struct reactor *reactor;
    const struct metrics_tls *tls;
    const struct metrics_reload *reload;
    const struct grpc_server_stats *server;
    const struct grpc_server_gauges *server_now;
    const struct grpc_server_stats *health_port;
    const struct auth *auth;
    const struct token_stats *tokens;
    const struct access_stats *access;
    const struct rate_limit_stats *rate;
    const struct overload_stats *overload;
    const struct health_stats *health;
    const struct user_watch_stats *watch;
    const struct user_lister_stats *lister;
    const struct user_streams *streams;
    const struct user_snapshot_stats *snapshot;
    const struct wal_stats *wal;
    const struct workpool_stats *hashing;
    const struct histogram *hash_times;
    enum health_state state;
    enum commit_log_state log_state;
    uint64_t users;
    uint64_t users_max;
    uint64_t user_bytes;
    uint64_t render_ns; /* of the text before */
    size_t text_size;   /* likewise, for the room of this one; 0 = unknown */
};

/* Appends all of it. Returns 0 or -ENOMEM. */
int metrics_write(const struct metrics_sources *sources, bool open_metrics, struct buf *out);

#endif
