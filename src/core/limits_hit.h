/*
 * Counts how often each limit was reached: one counter per option of the configuration that names a
 * limit, so that an operator sees which one to look at.
 *
 * Owns:    the counts, one set per reactor.
 * Thread:  loop only.
 */
#ifndef CORE_LIMITS_HIT_H
#define CORE_LIMITS_HIT_H

#include <stdint.h>

/* Constant, and the option as it stands in the INI file. */
#define LIMITS_HIT_LIST(X)                                                                         \
    X(CONNECTIONS, "limits.max_connections")                                                       \
    X(CONNECTIONS_PER_IP, "limits.max_connections_per_ip")                                         \
    X(HANDSHAKES, "limits.max_handshakes")                                                         \
    X(HANDSHAKES_PER_IP, "limits.max_handshakes_per_ip")                                           \
    X(HANDSHAKE_RATE, "limits.handshake_rate")                                                     \
    X(TLS_TIMEOUT, "limits.tls_timeout_ms")                                                        \
    X(PREFACE_TIMEOUT, "limits.preface_timeout_ms")                                                \
    X(SETTINGS_ACK_TIMEOUT, "limits.settings_ack_timeout_ms")                                      \
    X(HEADER_TIMEOUT, "limits.header_timeout_ms")                                                  \
    X(BODY_PROGRESS, "limits.body_progress_ms")                                                    \
    X(SEND_TIMEOUT, "limits.send_timeout_ms")                                                      \
    X(IDLE_TIMEOUT, "limits.idle_timeout_s")                                                       \
    X(AGE, "limits.max_age_s")                                                                     \
    X(RUNNING, "limits.max_running")                                                               \
    X(BUFFERED, "limits.max_buffered")                                                             \
    X(BUFFERED_PER_CONNECTION, "limits.max_buffered_per_connection")                               \
    X(MESSAGE, "limits.max_message")                                                               \
    X(FIELDS, "limits.max_fields")                                                                 \
    X(FILTER, "limits.max_filter")                                                                 \
    X(SCANS, "limits.max_scans")                                                                   \
    X(SCAN_USERS, "limits.max_scan_users")                                                         \
    X(STREAM_MESSAGES, "limits.max_stream_messages")                                               \
    X(STREAMS, "http2.max_concurrent_streams")                                                     \
    X(HEADER_LIST, "http2.max_header_list")                                                        \
    X(HEADER_LIST_HARD, "http2.max_header_list_hard")                                              \
    X(HEADERS, "http2.max_headers")                                                                \
    X(CONTINUATIONS, "http2.max_continuations")                                                    \
    X(RESETS, "http2.reset_burst")                                                                 \
    X(CONTROL, "http2.control_burst")                                                              \
    X(EMPTY_FRAMES, "http2.max_empty_frames")                                                      \
    X(OUTQ, "http2.max_outq")                                                                      \
    X(UNSENT, "http2.max_unsent")                                                                  \
    X(PING_STRIKES, "keepalive.max_strikes")                                                       \
    X(KEEPALIVE, "keepalive.timeout_s")                                                            \
    X(TOKEN_SIZE, "auth.max_token")                                                                \
    X(AUTH_FAILURES, "auth.max_failures")                                                          \
    X(VERIFICATIONS, "auth.verifications_per_turn")                                                \
    X(RATE_ADDRESS, "rate.address_per_s")                                                          \
    X(RATE_IDENTITY, "rate.identity_per_s")                                                        \
    X(RATE_WRITE, "rate.write_identity_per_s")                                                     \
    X(HASH_QUEUE, "password.queue_max")                                                            \
    X(PENDING, "wal.max_pending")                                                                  \
    X(PENDING_BYTES, "wal.max_pending_bytes")                                                      \
    X(PENDING_AGE, "wal.max_pending_ms")                                                           \
    X(DISK_SPACE, "wal.min_free_segments")                                                         \
    X(USERS, "store.max_users")                                                                    \
    X(WATCH_CONNECTION, "watch.max_per_connection")                                                \
    X(WATCH_USER, "watch.max_per_user")                                                            \
    X(WATCH_TOTAL, "watch.max_total")                                                              \
    X(WATCH_HEALTH, "watch.max_health")                                                            \
    X(MEMORY_SOFT, "overload.soft")                                                                \
    X(MEMORY_HARD, "overload.hard")                                                                \
    X(LOOP_DELAY, "overload.target_ms")                                                            \
    X(ADMIN_CONNECTIONS, "admin.max_connections")                                                  \
    X(HEALTH_CONNECTIONS, "health.max_connections")                                                \
    X(TLS_RECORDS, "tls") /* what no honest peer sends: tls_guard.h */                             \
    X(FILES, "files")     /* of the process: accepting had to pause */

enum limits_hit_reason {
#define LIMITS_HIT_NAME(name, option) LIMITS_HIT_##name,
    LIMITS_HIT_LIST(LIMITS_HIT_NAME)
#undef LIMITS_HIT_NAME
    LIMITS_HIT_COUNT,
};

struct limits_hit {
    uint64_t counts[LIMITS_HIT_COUNT];
};

static inline void limits_hit_add(struct limits_hit *hits, enum limits_hit_reason reason)
{
    hits->counts[reason]++;
}

/* "limits.max_connections" and so on. */
const char *limits_hit_name(enum limits_hit_reason reason);

#endif
