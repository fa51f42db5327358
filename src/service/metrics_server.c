#include "service/metrics_internal.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const char *const end_names[GRPC_CONN_END_COUNT] = {
    [CONN_END_LOCAL] = "local", [CONN_END_PEER] = "peer",       [CONN_END_ERROR] = "error",
    [CONN_END_TLS] = "tls",     [CONN_END_TIMEOUT] = "timeout", [CONN_END_ABORTED] = "aborted",
};

static void write_refused(struct metrics_writer *writer, const struct grpc_server_stats *stats)
{
    static const enum limits_hit_reason reasons[] = {
        LIMITS_HIT_CONNECTIONS,       LIMITS_HIT_CONNECTIONS_PER_IP, LIMITS_HIT_HANDSHAKES,
        LIMITS_HIT_HANDSHAKES_PER_IP, LIMITS_HIT_HANDSHAKE_RATE,     LIMITS_HIT_MEMORY_SOFT,
    };

    metrics_family(writer, METRICS_COUNTER, "userd_connections_refused", NULL,
                   "Connections that were closed at once, by the option that asks for it.");
    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        metrics_labeled(writer, "reason", limits_hit_name(reasons[i]),
                        stats->connections_refused_by[reasons[i]]);
    }
    metrics_labeled(writer, "reason", "draining", stats->connections_refused_draining);
    metrics_labeled(writer, "reason", "out_of_memory", stats->connections_refused_memory);
}

static void write_connections(struct metrics_writer *writer, const struct grpc_server_stats *stats)
{
    metrics_gauge(writer, "userd_connections", NULL, "Connections that are open.",
                  stats->connections_open);
    metrics_counter(writer, "userd_connections_accepted", NULL, "Connections that were let in.",
                    stats->connections_accepted);
    write_refused(writer, stats);
    metrics_counter(writer, "userd_connections_failed", NULL,
                    "Connections that ended by a fault of the peer: TLS, protocol, silence.",
                    stats->connections_failed);
    metrics_family(writer, METRICS_COUNTER, "userd_connections_closed", NULL,
                   "Connections that ended, by how.");
    for (unsigned i = 0; i < GRPC_CONN_END_COUNT; i++) {
        metrics_labeled(writer, "reason", end_names[i], stats->connections_closed[i]);
    }
    metrics_family(writer, METRICS_COUNTER, "userd_goaways_sent", NULL,
                   "Connections that were told to end, by why.");
    for (unsigned i = 0; i < GRPC_GOAWAY_COUNT; i++) {
        metrics_labeled(writer, "reason", grpc_goaway_name((enum grpc_goaway)i), stats->goaways[i]);
    }
    metrics_counter(writer, "userd_goaways_received", NULL, "Connections whose client said so.",
                    stats->h2.goaways_received);
}

static void write_handshakes(struct metrics_writer *writer, const struct grpc_server_stats *stats)
{
    metrics_gauge(writer, "userd_tls_handshakes", NULL, "Handshakes in progress.",
                  stats->handshakes);
    metrics_counter(writer, "userd_tls_handshakes_done", NULL, "Handshakes that succeeded.",
                    stats->handshakes_done);
    metrics_family(writer, METRICS_COUNTER, "userd_tls_handshakes_failed", NULL,
                   "Handshakes that did not, by how the connection ended.");
    for (unsigned i = 0; i < GRPC_CONN_END_COUNT; i++) {
        if (i != CONN_END_LOCAL) { /* nobody closes one gently before it is open */
            metrics_labeled(writer, "reason", end_names[i], stats->handshakes_failed[i]);
        }
    }
}

static void write_tls(struct metrics_writer *writer, const struct metrics_tls *tls)
{
    metrics_family(writer, METRICS_GAUGE, "userd_tls_certificate_not_after_seconds", "seconds",
                   "When the certificate of the server ends, since 1970.");
    if (tls->not_after_s > 0) {
        metrics_sample(writer, METRICS_NO_LABELS, (uint64_t)tls->not_after_s);
    }
    metrics_family(writer, METRICS_GAUGE, "userd_tls_crl_not_after_seconds", "seconds",
                   "When the first of the revocation lists ends, since 1970.");
    if (tls->crl_until_s > 0 && tls->crl_until_s != INT64_MAX) {
        metrics_sample(writer, METRICS_NO_LABELS, (uint64_t)tls->crl_until_s);
    }
}

static void write_calls(struct metrics_writer *writer, const struct grpc_server_stats *stats)
{
    metrics_gauge(writer, "userd_calls", NULL, "Calls that are at work.", stats->calls_running);
    metrics_family(writer, METRICS_COUNTER, "userd_calls_refused", NULL,
                   "Streams that were refused before a call was made of them.");
    for (unsigned i = 0; i < GRPC_CALL_REFUSAL_COUNT; i++) {
        metrics_labeled(writer, "reason", grpc_call_refusal_name((enum grpc_call_refusal)i),
                        stats->calls_refused_by[i]);
    }
    metrics_counter(writer, "userd_resets_received", NULL, "RST_STREAM frames from clients.",
                    stats->h2.resets_received);
    metrics_counter(writer, "userd_resets_sent", NULL, "RST_STREAM frames to clients.",
                    stats->h2.resets_sent);
    metrics_counter(writer, "userd_pings_received", NULL, "PING frames from clients.",
                    stats->h2.pings_received);
    metrics_counter(writer, "userd_ping_strikes", NULL, "PING frames that came too soon.",
                    stats->h2.ping_strikes);
}

static void write_gauges(struct metrics_writer *writer, const struct grpc_server_gauges *now)
{
    metrics_gauge(writer, "userd_streams", NULL, "HTTP/2 streams that are open.", now->streams);
    metrics_gauge(writer, "userd_request_buffered_bytes", "bytes",
                  "Request bytes that are kept and not handled yet.", now->buffered_bytes);
    metrics_gauge(writer, "userd_response_unsent_bytes", "bytes",
                  "Bytes of answers that clients have not taken yet.", now->unsent_bytes);
    metrics_family(writer, METRICS_GAUGE, "userd_session_memory_bytes", "bytes",
                   "Memory of HTTP/2 sessions.");
    metrics_labeled(writer, "state", "used", now->session_bytes);
    metrics_labeled(writer, "state", "cached", now->session_bytes_cached);
}

static void write_health_port(struct metrics_writer *writer, const struct grpc_server_stats *stats)
{
    metrics_gauge(writer, "userd_health_port_connections", NULL,
                  "Connections that are open on the health port.",
                  stats == NULL ? 0 : stats->connections_open);
    metrics_counter(writer, "userd_health_port_calls", NULL, "Calls that ended on the health port.",
                    stats == NULL ? 0 : stats->calls_finished);
}

void metrics_write_server(struct metrics_writer *writer, const struct metrics_sources *sources)
{
    if (sources->server != NULL) {
        write_connections(writer, sources->server);
        write_handshakes(writer, sources->server);
        write_calls(writer, sources->server);
    }
    if (sources->server_now != NULL) {
        write_gauges(writer, sources->server_now);
    }
    if (sources->tls != NULL) {
        write_tls(writer, sources->tls);
    }
    write_health_port(writer, sources->health_port);
}
