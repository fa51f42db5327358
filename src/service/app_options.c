#include "service/app_options.h"

#include "core/clock.h"
#include "core/control_group.h"

#define STREAM_UNSENT_MAX 65536 /* bytes of replies on a stream, before it takes no request */
#define WORKERS_MAX       4 /* of those we choose ourselves: each takes memory_kib while it hashes */

/* The table keeps every number far below these types' ends. */
static uint32_t narrow(uint64_t value)
{
    return (uint32_t)value;
}

static uint64_t from_ms(uint64_t ms)
{
    return ms * CLOCK_NS_PER_MS;
}

struct tls_server_options app_options_tls(const struct config *config)
{
    return (struct tls_server_options){
        .cert_file = config->tls_cert_file,
        .key_file = config->tls_key_file,
        .min_version = (enum tls_version)config->tls_min_version,
        .client_auth = (enum tls_client_auth)config->tls_client_auth,
        .client_ca_file = config->tls_client_ca_file,
        .crl_file = config->tls_crl == CONFIG_TLS_CRL_REQUIRE ? config->tls_crl_file : NULL,
    };
}

struct token_options app_options_token(const struct config *config)
{
    return (struct token_options){
        .issuer = config->auth_issuer,
        .audience = config->auth_audience,
        .roles_claim = config->auth_roles_claim,
        .leeway_s = config->auth_leeway_s,
        .key_overlap_s = config->auth_key_overlap_s,
        .size_max = narrow(config->auth_max_token),
        .cache_entries = narrow(config->auth_cache_entries),
        .cache_ttl_s = config->auth_cache_ttl_s,
    };
}

struct rate_limit_options app_options_rate(const struct config *config)
{
    return (struct rate_limit_options){
        .identity_per_s = config->rate_identity_per_s,
        .identity_burst = config->rate_identity_burst,
        .write_identity_per_s = config->rate_write_identity_per_s,
        .write_identity_burst = config->rate_write_identity_burst,
        .address_per_s = config->rate_address_per_s,
        .address_burst = config->rate_address_burst,
        .max_tracked = config->rate_max_tracked,
    };
}

struct access_options app_options_access(const struct config *config)
{
    return (struct access_options){
        .anonymous_health = config->auth_anonymous_health,
        .anonymous_reflection = config->auth_anonymous_reflection,
    };
}

void app_options_auth(const struct config *config, struct auth *auth)
{
    auth->max_failures = narrow(config->auth_max_failures);
    auth->waiting.per_turn = narrow(config->auth_verifications_per_turn);
    auth->anonymous_health = config->auth_anonymous_health;
    auth->anonymous_reflection = config->auth_anonymous_reflection;
}

struct overload_options app_options_overload(const struct config *config)
{
    return (struct overload_options){
        .memory_max = config->overload_memory_max,
        .soft = (unsigned)config->overload_soft,
        .hard = (unsigned)config->overload_hard,
        .target_ns = from_ms(config->overload_target_ms),
        .interval_ns = from_ms(config->overload_interval_ms),
    };
}

struct wal_options app_options_wal(const struct config *config)
{
    return (struct wal_options){
        .segment_size = config->wal_segment_size,
        .max_pending = narrow(config->wal_max_pending),
        .max_pending_bytes = config->wal_max_pending_bytes,
        .max_pending_ns = from_ms(config->wal_max_pending_ms),
        .min_free_segments = narrow(config->wal_min_free_segments),
        .sync_interval_ns = config->wal_sync == CONFIG_WAL_SYNC_INTERVAL
                                ? from_ms(config->wal_sync_interval_ms)
                                : 0,
        .snapshot_every = config->wal_snapshot_every,
        .snapshot_rate = config->wal_snapshot_rate,
    };
}

/* But for the key of the page tokens, which is read at start. */
static struct user_lister_options lister_options_of(const struct config *config)
{
    return (struct user_lister_options){
        .max_page_size = narrow(config->limits_max_page_size),
        .max_page_bytes = narrow(config->limits_max_page_bytes),
        .max_filter = narrow(config->limits_max_filter),
        .max_scans = narrow(config->limits_max_scans),
        .max_scan_users = config->limits_max_scan_users,
        .max_fields = narrow(config->limits_max_fields),
    };
}

static struct user_watch_options watch_options_of(const struct config *config)
{
    return (struct user_watch_options){
        .max_per_connection = narrow(config->watch_max_per_connection),
        .max_per_user = narrow(config->watch_max_per_user),
        .max_total = narrow(config->watch_max_total),
        .max_unsent = narrow(config->watch_max_unsent),
        .max_fields = narrow(config->limits_max_fields),
    };
}

/* Half of a queue's length, for the streams: the other half is for everybody else. */
static uint32_t half_of(uint64_t length)
{
    return length > 1 ? narrow(length / 2) : 1;
}

static struct user_stream_options stream_options_of(const struct config *config)
{
    return (struct user_stream_options){
        .max_messages = narrow(config->limits_max_stream_messages),
        .max_inflight = narrow(config->limits_max_stream_inflight),
        .max_unsent = STREAM_UNSENT_MAX,
        .max_fields = narrow(config->limits_max_fields),
        .max_hashing = half_of(config->password_queue_max),
        .max_submitted = half_of(config->wal_max_pending),
        .password_rule = {narrow(config->password_min_length), narrow(config->password_max_length)},
    };
}

struct user_service_options app_options_users(const struct config *config)
{
    return (struct user_service_options){
        .max_users = config->store_max_users,
        .password_memory_kib = narrow(config->password_memory_kib),
        .password_iterations = narrow(config->password_iterations),
        .password_min_length = narrow(config->password_min_length),
        .password_max_length = narrow(config->password_max_length),
        .max_fields = narrow(config->limits_max_fields),
        .sync_interval_ms =
            config->wal_sync == CONFIG_WAL_SYNC_INTERVAL ? config->wal_sync_interval_ms : 0,
        .snapshot_max_kept = config->wal_snapshot_max_kept,
        .lister = lister_options_of(config),
        .watch = watch_options_of(config),
        .streams = stream_options_of(config),
    };
}

struct health_options app_options_health(const struct config *config)
{
    return (struct health_options){.max_watchers = narrow(config->watch_max_health)};
}

struct reflection_options app_options_reflection(const struct config *config)
{
    return (struct reflection_options){
        .max_messages = narrow(config->limits_max_stream_messages),
        .max_unsent = STREAM_UNSENT_MAX,
        .max_fields = narrow(config->limits_max_fields),
    };
}

struct admin_options app_options_admin(const struct config *config)
{
    return (struct admin_options){
        .listen = config->admin_listen,
        .max_connections = narrow(config->admin_max_connections),
        .timeout_ns = config->admin_timeout_s * CLOCK_NS_PER_S,
    };
}

static struct h2_options h2_options_of(const struct config *config)
{
    return (struct h2_options){
        .max_concurrent_streams = narrow(config->http2_max_concurrent_streams),
        .stream_window = narrow(config->http2_stream_window),
        .connection_window = narrow(config->http2_connection_window),
        .max_frame_size = narrow(config->http2_max_frame_size),
        .max_header_list = narrow(config->http2_max_header_list),
        .max_header_list_hard = narrow(config->http2_max_header_list_hard),
        .max_headers = narrow(config->http2_max_headers),
        .max_continuations = narrow(config->http2_max_continuations),
        .reset_burst = narrow(config->http2_reset_burst),
        .reset_rate = narrow(config->http2_reset_rate),
        .control_burst = narrow(config->http2_control_burst),
        .control_rate = narrow(config->http2_control_rate),
        .max_empty_frames = narrow(config->http2_max_empty_frames),
        .max_outq = narrow(config->http2_max_outq),
    };
}

struct grpc_server_options app_options_server(const struct config *config)
{
    return (struct grpc_server_options){
        .h2 = h2_options_of(config),
        .max_connections = narrow(config->limits_max_connections),
        .max_connections_per_ip = narrow(config->limits_max_connections_per_ip),
        .max_handshakes = narrow(config->limits_max_handshakes),
        .max_handshakes_per_ip = narrow(config->limits_max_handshakes_per_ip),
        .handshake_rate = narrow(config->limits_handshake_rate),
        .max_buffered = config->limits_max_buffered,
        .max_buffered_per_connection = config->limits_max_buffered_per_connection,
        .max_message = narrow(config->limits_max_message),
        .max_running = narrow(config->limits_max_running),
        .max_unsent = narrow(config->http2_max_unsent),
        .compress_replies = config->http2_compress_replies,
        .compress_min = narrow(config->http2_compress_min),
        .compress_max = narrow(config->http2_compress_max),
        .tls_timeout_ns = from_ms(config->limits_tls_timeout_ms),
        .preface_timeout_ns = from_ms(config->limits_preface_timeout_ms),
        .settings_ack_timeout_ns = from_ms(config->limits_settings_ack_timeout_ms),
        .header_timeout_ns = from_ms(config->limits_header_timeout_ms),
        .body_progress_ns = from_ms(config->limits_body_progress_ms),
        .idle_timeout_ns = config->limits_idle_timeout_s * CLOCK_NS_PER_S,
        .send_timeout_ns = from_ms(config->limits_send_timeout_ms),
        .linger_timeout_ns = from_ms(config->limits_linger_timeout_ms),
        .max_age_ns = config->limits_max_age_s * CLOCK_NS_PER_S,
        .max_age_grace_ns = config->limits_max_age_grace_s * CLOCK_NS_PER_S,
        .min_ping_ns = config->keepalive_min_ping_s * CLOCK_NS_PER_S,
        .max_ping_strikes = narrow(config->keepalive_max_strikes),
        .pings_without_calls = config->keepalive_permit_without_calls,
        .keepalive_ns = config->keepalive_time_s * CLOCK_NS_PER_S,
        .keepalive_timeout_ns = config->keepalive_timeout_s * CLOCK_NS_PER_S,
        .default_deadline_ns = from_ms(config->limits_default_deadline_ms),
        .max_deadline_ns = from_ms(config->limits_max_deadline_ms),
        .backlog = (int)config->server_backlog,
    };
}

struct grpc_server_options app_options_health_port(const struct config *config)
{
    struct grpc_server_options options = app_options_server(config);

    health_port_limit(&options, narrow(config->health_max_connections));
    return options;
}

unsigned app_options_workers(const struct config *config)
{
    unsigned threads;

    if (config->password_workers != 0) {
        return (unsigned)config->password_workers;
    }
    threads = control_group_threads(&control_group_system);
    return threads > WORKERS_MAX ? WORKERS_MAX : threads;
}
