#include "service/metrics.h"

#include "core/limits_hit.h"
#include "http2/grpc_server.h"
#include "service/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/*
 * Every series is there from the start, with the value 0: an alert on a series that appears only
 * with the first trouble would miss that one.
 */

#define LINE_SIZE_MAX 256

struct writer {
    struct buf *out;
    int error; /* the first one; the rest is not written */
};

__attribute__((format(printf, 2, 3))) static void write_line(struct writer *writer,
                                                             const char *format, ...)
{
    char line[LINE_SIZE_MAX];
    va_list arguments;
    int size;

    if (writer->error != 0) {
        return;
    }
    va_start(arguments, format);
    size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof(line)) {
        writer->error = -ENOMEM; /* a longer line needs a longer LINE_SIZE_MAX */
        return;
    }
    writer->error = buf_append(writer->out, line, (size_t)size);
}

static void begin(struct writer *writer, const char *name, const char *type, const char *help)
{
    write_line(writer, "# HELP %s %s\n", name, help);
    write_line(writer, "# TYPE %s %s\n", name, type);
}

static void write_one(struct writer *writer, const char *name, const char *type, const char *help,
                      uint64_t value)
{
    begin(writer, name, type, help);
    write_line(writer, "%s %" PRIu64 "\n", name, value);
}

static void write_limits(struct writer *writer, const struct limits_hit *hits)
{
    static const char name[] = "userd_limit_hits_total";

    begin(writer, name, "counter", "Times a limit was reached, by the option that sets it.");
    for (unsigned i = 0; i < LIMITS_HIT_COUNT; i++) {
        write_line(writer, "%s{limit=\"%s\"} %" PRIu64 "\n", name,
                   limits_hit_name((enum limits_hit_reason)i), hits->counts[i]);
    }
}

static void write_server(struct writer *writer, const struct grpc_server_stats *stats)
{
    write_one(writer, "userd_connections", "gauge", "Connections that are open.",
              stats->connections_open);
    write_one(writer, "userd_connections_accepted_total", "counter",
              "Connections that were accepted.", stats->connections_accepted);
    write_one(writer, "userd_connections_refused_total", "counter",
              "Connections that were closed at once, over a limit.", stats->connections_refused);
    write_one(writer, "userd_connections_failed_total", "counter",
              "Connections that ended by a fault of the peer: TLS, protocol, silence.",
              stats->connections_failed);
    write_one(writer, "userd_calls", "gauge", "Calls that are at work.", stats->calls_running);
    write_one(writer, "userd_calls_refused_total", "counter",
              "Streams that were refused before a call was made of them.", stats->calls_refused);
}

static void write_auth(struct writer *writer, const struct metrics_sources *sources)
{
    if (sources->tokens != NULL) {
        write_one(writer, "userd_token_signatures_checked_total", "counter",
                  "Tokens whose signature was computed.", sources->tokens->signatures_checked);
        write_one(writer, "userd_token_cache_hits_total", "counter",
                  "Calls whose token had been verified before.", sources->tokens->cache_hits);
    }
    write_one(writer, "userd_auth_refused_total", "counter", "Calls without a good token.",
              sources->auth_refused);
    write_one(writer, "userd_access_denied_total", "counter", "Calls that the policy refused.",
              sources->access_denied);
}

int metrics_write(const struct metrics_sources *sources, struct buf *out)
{
    struct writer writer = {.out = out};

    if (sources->server != NULL) {
        write_server(&writer, sources->server);
    }
    write_auth(&writer, sources);
    if (sources->limits_hit != NULL) {
        write_limits(&writer, sources->limits_hit);
    }
    if (sources->certificate_not_after_s != 0) {
        begin(&writer, "userd_tls_certificate_not_after_seconds", "gauge",
              "When the certificate of the server ends, in seconds since 1970.");
        write_line(&writer, "userd_tls_certificate_not_after_seconds %" PRId64 "\n",
                   sources->certificate_not_after_s);
    }
    return writer.error;
}
