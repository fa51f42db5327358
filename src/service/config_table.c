#include "service/config_table.h"

#include "core/nearest_name.h"
#include "service/config.h"
#include "service/config_policy.h"

#include <string.h>

#define KIB 1024ULL
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)

#define PATH_BYTES_MAX 4095
#define TEXT_BYTES_MAX 1024
#define NAME_SIZE_MAX  32 /* longer names are like no option of ours */

/* When a changed value is taken: */
#define LIVE  true  /* at SIGHUP, */
#define START false /* or at the next start */

#define ROW(live_, section_, key_)                                                                 \
    .section = #section_, .key = #key_, .offset = offsetof(struct config, section_##_##key_),      \
    .reloadable = (live_)

/* In the order of enum tls_version, tls_client_auth, config_tls_crl, config_auth_mode,
 * config_wal_sync, log_level and log_format. */
static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const tls_client_auths[] = {"none", "optional", "require", NULL};
static const char *const tls_crls[] = {"off", "require", NULL};
static const char *const auth_modes[] = {"none", "jwt", NULL};
static const char *const wal_syncs[] = {"always", "interval", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_accesses[] = {"off", "errors", "all", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

#define NUMBER(live_, section_, key_, fallback_, least_, most_, unit_, help_)                      \
    {                                                                                              \
        ROW(live_, section_, key_), .type = CONFIG_TYPE_INT, .fallback = (fallback_),              \
                                    .least = (least_), .most = (most_), .unit = (unit_),           \
                                    .help = (help_)                                                \
    }
#define SIZE(live_, section_, key_, fallback_, least_, most_, help_)                               \
    {                                                                                              \
        ROW(live_, section_, key_), .type = CONFIG_TYPE_SIZE, .fallback = (fallback_),             \
                                    .least = (least_), .most = (most_), .unit = "bytes",           \
                                    .help = (help_)                                                \
    }
#define TEXT(live_, section_, key_, type_, most_, fallback_, help_)                                \
    {                                                                                              \
        ROW(live_, section_, key_), .type = (type_), .fallback = (fallback_), .most = (most_),     \
                                    .unit = "", .help = (help_)                                    \
    }
#define CHOICE(live_, section_, key_, choices_, fallback_, help_)                                  \
    {                                                                                              \
        ROW(live_, section_, key_), .type = CONFIG_TYPE_ENUM, .fallback = (fallback_), .unit = "", \
                                    .choices = (choices_), .help = (help_)                         \
    }

/* Rows of one section stand together: config_print() writes them in this order. */
const struct config_option config_options[] = {
    TEXT(START, server, listen, CONFIG_TYPE_ADDRESSES, TEXT_BYTES_MAX, "0.0.0.0:50051",
         "addresses to serve on"),
    NUMBER(LIVE, server, drain_delay_s, "5", 0, 600, "seconds",
           "go on serving this long after SIGTERM"),
    NUMBER(LIVE, server, drain_grace_s, "30", 0, 3600, "seconds",
           "then let open calls finish this long"),
    NUMBER(START, server, backlog, "1024", 1, 65535, "", "connections the kernel keeps waiting"),
    NUMBER(START, server, busy_poll_us, "0", 0, 1000, "microseconds",
           "look for more work this long before sleeping"),
    {ROW(START, server, core_dumps), .type = CONFIG_TYPE_BOOL, .fallback = "false", .unit = "",
     .help = "let the system write core files and debuggers attach"},

    {ROW(START, tls, enabled), .type = CONFIG_TYPE_BOOL, .fallback = "true", .unit = "",
     .help = "serve over TLS"},
    TEXT(LIVE, tls, cert_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "", "certificate chain, PEM"),
    TEXT(LIVE, tls, key_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "", "private key, PEM"),
    CHOICE(LIVE, tls, min_version, tls_versions, "1.3", "oldest protocol version accepted"),
    CHOICE(LIVE, tls, client_auth, tls_client_auths, "none", "ask clients for a certificate"),
    TEXT(LIVE, tls, client_ca_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "",
         "who issues client certificates, PEM"),
    CHOICE(LIVE, tls, crl, tls_crls, "off", "refuse revoked client certificates"),
    TEXT(LIVE, tls, crl_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "",
         "revocation lists of those authorities, PEM"),

    TEXT(START, admin, listen, CONFIG_TYPE_ADDRESS, TEXT_BYTES_MAX, "127.0.0.1:9090",
         "address of the admin port"),
    NUMBER(START, admin, max_connections, "16", 1, 1000, "", "connections to it at once"),
    NUMBER(START, admin, timeout_s, "10", 1, 600, "seconds",
           "for one request, from accept to its answer"),

    TEXT(START, health, listen, CONFIG_TYPE_ADDRESS, TEXT_BYTES_MAX, "",
         "address of a port without TLS that serves grpc.health.v1 only, for probes"),
    NUMBER(START, health, max_connections, "64", 1, 1000, "", "connections to it at once"),

    {ROW(START, reflection, enabled), .type = CONFIG_TYPE_BOOL, .fallback = "false", .unit = "",
     .help = "serve grpc.reflection: tell clients the methods and messages"},

    TEXT(START, store, data_dir, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "/var/lib/userd",
         "folder of the write-ahead log"),
    NUMBER(START, store, max_users, "10000000", 1, 1000000000, "", "most users kept"),
    TEXT(START, store, page_token_key_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "",
         "key of the page tokens; empty: made in data_dir"),

    CHOICE(START, wal, sync, wal_syncs, "always", "when a change is answered"),
    NUMBER(START, wal, sync_interval_ms, "100", 1, 10000, "milliseconds",
           "between syncs, with sync = interval"),
    SIZE(START, wal, segment_size, "64MiB", 1 * MIB, 4 * GIB, "size of one log file"),
    SIZE(START, wal, snapshot_every, "256MiB", 0, 1024 * GIB,
         "log that makes a snapshot due; 0 = never"),
    SIZE(START, wal, snapshot_rate, "64MiB", 0, 64 * GIB,
         "a snapshot writes per second; 0 = no limit"),
    SIZE(START, wal, snapshot_max_kept, "256MiB", 1 * MIB, 64 * GIB,
         "old forms of users kept for a snapshot under way"),
    NUMBER(START, wal, max_pending, "4096", 1, 1000000, "", "changes that may wait for the disk"),
    SIZE(START, wal, max_pending_bytes, "16MiB", 512 * KIB, 1 * GIB,
         "bytes that may wait for the disk"),
    NUMBER(START, wal, max_pending_ms, "250", 0, 60000, "milliseconds",
           "the oldest may wait while new ones are taken; 0 = any"),
    NUMBER(START, wal, min_free_segments, "2", 0, 1000, "",
           "room on the disk, before changes are refused"),

    CHOICE(START, auth, mode, auth_modes, "jwt", "who may call"),
    TEXT(LIVE, auth, jwt_secret_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "",
         "secret of HS256 tokens"),
    {ROW(LIVE, auth, jwt_secret), .type = CONFIG_TYPE_TEXT, .fallback = "", .most = 4096,
     .unit = "", .help = "the secret itself, in place of the file", .secret = true,
     .environment_only = true},
    TEXT(LIVE, auth, jwks_file, CONFIG_TYPE_PATH, PATH_BYTES_MAX, "",
         "public keys of RS256, ES256 and EdDSA tokens, a JSON Web Key Set"),
    TEXT(LIVE, auth, issuer, CONFIG_TYPE_TEXT, TEXT_BYTES_MAX, "", "required claim iss"),
    TEXT(LIVE, auth, audience, CONFIG_TYPE_TEXT, TEXT_BYTES_MAX, "", "required in claim aud"),
    NUMBER(LIVE, auth, leeway_s, "30", 0, 600, "seconds", "difference of clocks tolerated"),
    TEXT(LIVE, auth, roles_claim, CONFIG_TYPE_TEXT, 64, "roles",
         "claim that names the caller's roles"),
    NUMBER(LIVE, auth, key_overlap_s, "0", 0, 604800, "seconds",
           "a key that a reload removes still counts this long"),
    NUMBER(LIVE, auth, max_failures, "20", 0, 1000000, "",
           "refused tokens on one connection until it ends; 0 = any"),
    NUMBER(LIVE, auth, verifications_per_turn, "16", 0, 1000000, "",
           "signatures checked per turn of the loop; 0 = any"),
    SIZE(LIVE, auth, max_token, "8192", 64, 16 * KIB, "longest token"),
    NUMBER(START, auth, cache_entries, "16384", 0, 1000000, "", "verified tokens remembered"),
    NUMBER(LIVE, auth, cache_ttl_s, "300", 1, 86400, "seconds",
           "a verified token is remembered this long"),
    {ROW(LIVE, auth, anonymous_health), .type = CONFIG_TYPE_BOOL, .fallback = "true", .unit = "",
     .help = "grpc.health.v1 asks for no token"},
    {ROW(LIVE, auth, anonymous_reflection), .type = CONFIG_TYPE_BOOL, .fallback = "false",
     .unit = "", .help = "grpc.reflection asks for no token"},

    NUMBER(LIVE, rate, identity_per_s, "0", 0, 10000000, "", "calls of one caller; 0 = no limit"),
    NUMBER(LIVE, rate, identity_burst, "100", 1, 10000000, "", "of them at once"),
    NUMBER(LIVE, rate, write_identity_per_s, "0", 0, 10000000, "",
           "changes of one caller, beside the limit on calls; 0 = no limit"),
    NUMBER(LIVE, rate, write_identity_burst, "100", 1, 10000000, "", "of them at once"),
    NUMBER(LIVE, rate, address_per_s, "0", 0, 10000000, "", "calls from one address; 0 = no limit"),
    NUMBER(LIVE, rate, address_burst, "100", 1, 10000000, "", "of them at once"),
    NUMBER(LIVE, rate, max_tracked, "65536", 16, 10000000, "",
           "callers, and addresses, remembered"),

    NUMBER(START, password, memory_kib, "19456", 8, 4194304, "KiB", "memory of one Argon2id hash"),
    NUMBER(START, password, iterations, "2", 1, 1000, "", "passes of one Argon2id hash"),
    NUMBER(START, password, workers, "0", 0, 64, "",
           "threads that hash; 0 = one per processor, up to 4"),
    NUMBER(START, password, queue_max, "64", 1, 65536, "", "hashes that may wait for a thread"),
    NUMBER(START, password, min_length, "8", 1, 1024, "characters", "shortest password accepted"),
    NUMBER(START, password, max_length, "1024", 1, 4096, "bytes", "longest password accepted"),

    NUMBER(LIVE, limits, max_connections, "10000", 1, 1000000, "", "open connections"),
    NUMBER(LIVE, limits, max_connections_per_ip, "256", 1, 1000000, "", "of them from one address"),
    NUMBER(LIVE, limits, max_handshakes, "256", 1, 1000000, "", "connections in the TLS handshake"),
    NUMBER(LIVE, limits, max_handshakes_per_ip, "64", 1, 1000000, "", "of them from one address"),
    NUMBER(LIVE, limits, handshake_rate, "1000", 0, 1000000, "",
           "handshakes begun per second; 0 = any"),
    NUMBER(LIVE, limits, max_running, "10000", 1, 10000000, "",
           "calls at work, over all connections"),
    SIZE(LIVE, limits, max_buffered, "64MiB", 1 * MIB, 64 * GIB,
         "request bytes gathered and not handled yet, over all connections"),
    SIZE(LIVE, limits, max_buffered_per_connection, "512KiB", 64 * KIB, 1 * GIB,
         "memory of requests that one connection has not finished"),
    SIZE(LIVE, limits, max_message, "64KiB", 1 * KIB, 4 * MIB, "largest request message"),
    NUMBER(START, limits, max_fields, "256", 16, 1000000, "", "protobuf fields in one message"),
    NUMBER(START, limits, max_page_size, "1000", 1, 10000, "", "users on one page of ListUsers"),
    SIZE(START, limits, max_page_bytes, "1MiB", 64 * KIB, 64 * MIB,
         "size of one page of ListUsers"),
    SIZE(START, limits, max_filter, "1KiB", 16, 16 * KIB, "longest filter of ListUsers"),
    NUMBER(START, limits, max_scans, "64", 1, 10000, "",
           "filters that look through all users, at once"),
    NUMBER(START, limits, max_scan_users, "10000000", 1000, 1000000000, "",
           "users that one filter may look at"),
    NUMBER(START, limits, max_stream_messages, "100000", 1, 1000000000, "",
           "requests in one BatchCreateUsers or SyncUsers"),
    NUMBER(START, limits, max_stream_inflight, "256", 1, 4096, "", "of them at work at once"),
    NUMBER(LIVE, limits, tls_timeout_ms, "5000", 10, 600000, "milliseconds",
           "from accept to the end of TLS"),
    NUMBER(LIVE, limits, preface_timeout_ms, "5000", 10, 600000, "milliseconds",
           "from there to the settings"),
    NUMBER(LIVE, limits, settings_ack_timeout_ms, "10000", 10, 600000, "milliseconds",
           "for the peer to acknowledge our settings"),
    NUMBER(LIVE, limits, header_timeout_ms, "5000", 10, 600000, "milliseconds",
           "for one block of headers"),
    NUMBER(LIVE, limits, body_progress_ms, "10000", 10, 600000, "milliseconds",
           "longest standstill of a request body"),
    NUMBER(LIVE, limits, send_timeout_ms, "60000", 10, 3600000, "milliseconds",
           "for a peer to take what is sent to it"),
    NUMBER(LIVE, limits, linger_timeout_ms, "1000", 0, 60000, "milliseconds",
           "for a peer to end its side of a closed connection"),
    NUMBER(LIVE, limits, idle_timeout_s, "300", 1, 86400, "seconds",
           "without a call until a connection ends"),
    NUMBER(LIVE, limits, max_age_s, "0", 0, 31536000, "seconds",
           "a connection lives, +- 10 %, until it is drained; 0 = any"),
    NUMBER(LIVE, limits, max_age_grace_s, "30", 0, 86400, "seconds", "for its open calls, then"),
    NUMBER(LIVE, limits, default_deadline_ms, "0", 0, 86400000, "milliseconds",
           "for calls that name none; 0 = none"),
    NUMBER(LIVE, limits, max_deadline_ms, "0", 0, 86400000, "milliseconds",
           "cap on deadlines asked; 0 = none"),

    NUMBER(LIVE, http2, max_concurrent_streams, "200", 1, 100000, "",
           "calls open on one connection"),
    SIZE(LIVE, http2, stream_window, "64KiB", 1 * KIB, 1 * GIB, "receive window of a stream"),
    SIZE(LIVE, http2, connection_window, "1MiB", 64 * KIB, 1 * GIB,
         "receive window of a connection"),
    SIZE(LIVE, http2, max_frame_size, "16KiB", 16 * KIB, 16 * MIB - 1, "largest frame accepted"),
    SIZE(LIVE, http2, max_header_list, "16KiB", 1 * KIB, 1 * MIB,
         "headers of a call, before it is refused"),
    SIZE(LIVE, http2, max_header_list_hard, "32KiB", 1 * KIB, 1 * MIB,
         "headers of a call, before the connection ends"),
    NUMBER(LIVE, http2, max_headers, "128", 16, 10000, "", "fields in one block of headers"),
    NUMBER(LIVE, http2, max_continuations, "4", 0, 1000, "", "CONTINUATION frames in one block"),
    NUMBER(LIVE, http2, reset_burst, "200", 1, 1000000, "", "stream resets at once"),
    NUMBER(LIVE, http2, reset_rate, "20", 1, 1000000, "", "stream resets earned back"),
    NUMBER(LIVE, http2, control_burst, "100", 1, 1000000, "", "control frames at once"),
    NUMBER(LIVE, http2, control_rate, "10", 1, 1000000, "", "control frames earned back"),
    NUMBER(LIVE, http2, max_empty_frames, "8", 0, 100000, "", "empty frames in a row"),
    NUMBER(LIVE, http2, max_outq, "256", 16, 100000, "", "frames waiting before reading stops"),
    SIZE(LIVE, http2, max_unsent, "1MiB", 64 * KIB, 1 * GIB,
         "answers a client has not taken, before its lists wait"),
    {ROW(LIVE, http2, compress_replies), .type = CONFIG_TYPE_BOOL, .fallback = "false", .unit = "",
     .help = "gzip for clients that take it"},
    SIZE(LIVE, http2, compress_min, "1KiB", 0, 64 * MIB, "smaller messages are not compressed"),
    SIZE(LIVE, http2, compress_max, "64KiB", 0, 64 * MIB, "larger messages are not compressed"),

    NUMBER(LIVE, keepalive, min_ping_s, "300", 0, 86400, "seconds",
           "between PINGs of a client; earlier ones are strikes"),
    {ROW(LIVE, keepalive, permit_without_calls), .type = CONFIG_TYPE_BOOL, .fallback = "false",
     .unit = "", .help = "the same without an open call; else 2 hours"},
    NUMBER(LIVE, keepalive, max_strikes, "2", 0, 1000, "",
           "forgiven; the next one ends the connection"),
    NUMBER(LIVE, keepalive, time_s, "7200", 0, 31536000, "seconds",
           "without a byte from a client until it is sent a PING; 0 = never"),
    NUMBER(LIVE, keepalive, timeout_s, "20", 1, 3600, "seconds",
           "without a byte after it until the connection is given up"),

    SIZE(LIVE, overload, memory_max, "0", 0, 16 * 1024 * GIB,
         "memory of the process; 0 = what the system allows it"),
    NUMBER(LIVE, overload, soft, "80", 1, 100, "percent", "of it: no new connections and watchers"),
    NUMBER(LIVE, overload, hard, "95", 1, 100, "percent", "of it: no new calls"),
    NUMBER(LIVE, overload, target_ms, "5", 0, 10000, "milliseconds",
           "a turn of the loop may take for long; 0 = any"),
    NUMBER(LIVE, overload, interval_ms, "100", 1, 60000, "milliseconds",
           "over the target until calls are refused"),

    NUMBER(START, watch, max_per_connection, "100", 1, 1000000, "", "watchers on one connection"),
    NUMBER(START, watch, max_per_user, "1000", 1, 10000000, "", "watchers of one user"),
    NUMBER(START, watch, max_total, "100000", 1, 10000000, "", "watchers in all"),
    SIZE(START, watch, max_unsent, "4KiB", 1 * KIB, 1 * MIB,
         "a watcher further behind gets only the newest state"),
    NUMBER(START, watch, max_health, "1000", 1, 1000000, "", "watchers of the server's health"),

    CHOICE(LIVE, log, level, log_levels, "info", "least important line written"),
    CHOICE(LIVE, log, format, log_formats, "text", "form of a line"),
    NUMBER(LIVE, log, lines_per_s, "1000", 0, 1000000, "",
           "lines written in a second, the rest is counted; 0 = any number"),
    CHOICE(LIVE, log, access, log_accesses, "off", "calls that get a line of their own"),
    NUMBER(LIVE, log, access_sample, "1", 1, 1000000000, "",
           "of so many calls that ended OK one gets its line"),
};

#define OPTION_COUNT (sizeof(config_options) / sizeof(config_options[0]))

const unsigned config_option_count = OPTION_COUNT;

_Static_assert(OPTION_COUNT <= CONFIG_OPTIONS_MAX, "struct config has no room for the origins");

const struct config_option *config_option_find(const char *section, const char *key)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(config_options[i].section, section) == 0 &&
            strcmp(config_options[i].key, key) == 0) {
            return &config_options[i];
        }
    }
    return NULL;
}

bool config_section_is_known(const char *section)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(config_options[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

const char *config_option_nearest(const char *section, const char *name)
{
    const struct bytes wanted = bytes_from_text(name);
    struct nearest_name nearest;

    /* A third mistyped is still near. */
    nearest_name_begin(&nearest, wanted, 1 + (unsigned)(wanted.size / 3));
    if (wanted.size > NAME_SIZE_MAX) {
        return NULL;
    }
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        const struct config_option *option = &config_options[i];

        if (section == NULL) {
            if (i == 0 || strcmp(option->section, config_options[i - 1].section) != 0) {
                nearest_name_offer(&nearest, bytes_from_text(option->section));
            }
        } else if (strcmp(option->section, section) == 0) {
            nearest_name_offer(&nearest, bytes_from_text(option->key));
        }
    }
    if (section == NULL) {
        nearest_name_offer(&nearest, bytes_from_text(CONFIG_POLICY_SECTION));
    }
    return (const char *)nearest.name.data; /* of a text, up to its end */
}
