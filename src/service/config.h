/*
 * The configuration: every option with its effective value, and where that value came from.
 *
 * Values come from the table's defaults, then the INI file, then the environment:
 * USERD_<SECTION>_<KEY> for every option, GRPC_PORT for the port of server.listen, JWT_SECRET for
 * auth.jwt_secret.
 *
 * Owns:    the texts in it.
 * Borrows: nothing after a call.
 * Thread:  read by any once it is loaded.
 */
#ifndef SERVICE_CONFIG_H
#define SERVICE_CONFIG_H

#include "core/buf.h"
#include "service/config_policy.h"

#include <stdbool.h>
#include <stdint.h>

#define CONFIG_OPTIONS_MAX 160
#define CONFIG_LIST_MAX    8

#define CONFIG_E_INVALID 1 /* `errors` says why, one line per mistake */

enum config_tls_crl {
    CONFIG_TLS_CRL_OFF,
    CONFIG_TLS_CRL_REQUIRE,
};

enum config_auth_mode {
    CONFIG_AUTH_NONE,
    CONFIG_AUTH_JWT,
};

enum config_wal_sync {
    CONFIG_WAL_SYNC_ALWAYS,
    CONFIG_WAL_SYNC_INTERVAL,
};

enum config_origin_kind {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENVIRONMENT,
};

struct config_origin {
    enum config_origin_kind kind;
    int line;             /* in the file */
    char environment[64]; /* the variable */
};

struct config_list {
    char *items[CONFIG_LIST_MAX];
    unsigned count;
};

/* One field per row of the table, named <section>_<key>; what they mean stands in
 * configs/userd.ini. Texts are never NULL; "" is "not set". */
struct config {
    struct config_list server_listen;
    uint64_t server_drain_delay_s;
    uint64_t server_drain_grace_s;
    uint64_t server_backlog;
    uint64_t server_busy_poll_us;
    bool server_core_dumps;

    bool tls_enabled;
    char *tls_cert_file;
    char *tls_key_file;
    unsigned tls_min_version; /* enum tls_version */
    unsigned tls_client_auth; /* enum tls_client_auth */
    char *tls_client_ca_file;
    unsigned tls_crl; /* enum config_tls_crl */
    char *tls_crl_file;

    char *admin_listen; /* "" = no admin port */
    uint64_t admin_max_connections;
    uint64_t admin_timeout_s;

    char *health_listen; /* "" = no such port */
    uint64_t health_max_connections;

    bool reflection_enabled;

    char *store_data_dir;
    uint64_t store_max_users;
    char *store_page_token_key_file;

    unsigned wal_sync; /* enum config_wal_sync */
    uint64_t wal_sync_interval_ms;
    uint64_t wal_segment_size;
    uint64_t wal_snapshot_every;
    uint64_t wal_snapshot_rate;
    uint64_t wal_snapshot_max_kept;
    uint64_t wal_max_pending;
    uint64_t wal_max_pending_bytes;
    uint64_t wal_max_pending_ms;
    uint64_t wal_min_free_segments;

    unsigned auth_mode; /* enum config_auth_mode */
    char *auth_jwt_secret_file;
    char *auth_jwt_secret; /* the secret itself: from the environment only */
    char *auth_jwks_file;
    char *auth_issuer;
    char *auth_audience;
    uint64_t auth_leeway_s;
    char *auth_roles_claim;
    uint64_t auth_key_overlap_s;
    uint64_t auth_max_failures;
    uint64_t auth_verifications_per_turn;
    uint64_t auth_max_token;
    uint64_t auth_cache_entries;
    uint64_t auth_cache_ttl_s;
    bool auth_anonymous_health;
    bool auth_anonymous_reflection;

    uint64_t rate_identity_per_s;
    uint64_t rate_identity_burst;
    uint64_t rate_write_identity_per_s;
    uint64_t rate_write_identity_burst;
    uint64_t rate_address_per_s;
    uint64_t rate_address_burst;
    uint64_t rate_max_tracked;

    uint64_t password_memory_kib;
    uint64_t password_iterations;
    uint64_t password_workers;
    uint64_t password_queue_max;
    uint64_t password_min_length;
    uint64_t password_max_length;

    uint64_t limits_max_connections;
    uint64_t limits_max_connections_per_ip;
    uint64_t limits_max_handshakes;
    uint64_t limits_max_handshakes_per_ip;
    uint64_t limits_handshake_rate;
    uint64_t limits_max_running;
    uint64_t limits_max_buffered;
    uint64_t limits_max_buffered_per_connection;
    uint64_t limits_max_message;
    uint64_t limits_max_fields;
    uint64_t limits_max_page_size;
    uint64_t limits_max_page_bytes;
    uint64_t limits_max_filter;
    uint64_t limits_max_scans;
    uint64_t limits_max_scan_users;
    uint64_t limits_max_stream_messages;
    uint64_t limits_max_stream_inflight;
    uint64_t limits_tls_timeout_ms;
    uint64_t limits_preface_timeout_ms;
    uint64_t limits_settings_ack_timeout_ms;
    uint64_t limits_header_timeout_ms;
    uint64_t limits_body_progress_ms;
    uint64_t limits_send_timeout_ms;
    uint64_t limits_linger_timeout_ms;
    uint64_t limits_idle_timeout_s;
    uint64_t limits_max_age_s;
    uint64_t limits_max_age_grace_s;
    uint64_t limits_default_deadline_ms;
    uint64_t limits_max_deadline_ms;

    uint64_t http2_max_concurrent_streams;
    uint64_t http2_stream_window;
    uint64_t http2_connection_window;
    uint64_t http2_max_frame_size;
    uint64_t http2_max_header_list;
    uint64_t http2_max_header_list_hard;
    uint64_t http2_max_headers;
    uint64_t http2_max_continuations;
    uint64_t http2_reset_burst;
    uint64_t http2_reset_rate;
    uint64_t http2_control_burst;
    uint64_t http2_control_rate;
    uint64_t http2_max_empty_frames;
    uint64_t http2_max_outq;
    uint64_t http2_max_unsent;
    bool http2_compress_replies;
    uint64_t http2_compress_min;
    uint64_t http2_compress_max;

    uint64_t keepalive_min_ping_s;
    bool keepalive_permit_without_calls;
    uint64_t keepalive_max_strikes;
    uint64_t keepalive_time_s;
    uint64_t keepalive_timeout_s;

    uint64_t overload_memory_max;
    uint64_t overload_soft;
    uint64_t overload_hard;
    uint64_t overload_target_ms;
    uint64_t overload_interval_ms;

    uint64_t watch_max_per_connection;
    uint64_t watch_max_per_user;
    uint64_t watch_max_total;
    uint64_t watch_max_unsent;
    uint64_t watch_max_health;

    unsigned log_level;  /* enum log_level */
    unsigned log_format; /* enum log_format */
    uint64_t log_lines_per_s;
    unsigned log_access; /* enum access_log_choice */
    uint64_t log_access_sample;

    struct config_policy policy; /* the rows of [policy], from the file alone */

    char *file;          /* what was read; NULL = none */
    struct buf warnings; /* lines for the operator: legal, but worth a thought */
    struct config_origin origins[CONFIG_OPTIONS_MAX];
};

/* Fills in `config` (whatever it held) from `path` (NULL = no file) and the environment, a
 * NULL-terminated array of NAME=value (NULL = none).
 *
 * Returns 0; CONFIG_E_INVALID with every mistake appended to `errors`; or -ENOMEM. In each case
 * config_deinit() is due, and config_print() shows what is known. */
int config_load(struct config *config, const char *path, const char *const *environment,
                struct buf *errors);

/* The same for INI text in memory; `name` stands for the file in messages. */
int config_load_text(struct config *config, const char *name, const char *text,
                     const char *const *environment, struct buf *errors);

/* Frees the texts, wiping the secret. Safe to repeat. */
void config_deinit(struct config *config);

/* Appends the effective values as INI text, each with its origin as a comment, and `reloadable`
 * where SIGHUP takes a new one; secrets are masked. Returns 0 or -ENOMEM. */
int config_print(const struct config *config, struct buf *out);

/* Appends the table of options, a line each with tabs between: section.key, type, default, range or
 * choices, unit, `reload` or `start` (when a changed value is taken), what it is. Returns 0 or
 * -ENOMEM. */
int config_print_options(struct buf *out);

#endif
