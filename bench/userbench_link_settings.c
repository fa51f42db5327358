/*
 * What all connections of a load share: times, and the fields of every request's head in the order
 * in which gRPC clients send them.
 */
#include "core/clock.h"
#include "userbench_link.h"
#include "userbench_problem.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_NS (20 * CLOCK_NS_PER_S)
#define FLUSH_MAX  (256U * 1024)

static void add(struct userbench_link_settings *settings, struct userbench_field field)
{
    settings->fields[settings->field_count++] = field;
}

/* A text that lives as long as the settings, as the fields of heads do. */
static char *join(struct userbench_link_settings *settings, const char *before, const char *after)
{
    char *text = NULL;

    if (asprintf(&text, "%s%s", before, after) < 0) {
        userbench_problem("no memory");
    }
    settings->texts[settings->text_count++] = text;
    return text;
}

static void add_token(struct userbench_link_settings *settings,
                      const struct userbench_link_options *options)
{
    struct userbench_field field = {
        .name = "authorization",
        .value = join(settings, "Bearer ", options->token),
        .static_index = 23,
    };

    if (options->token_is_literal) {
        userbench_hpack_never_indexed(field.name, field.value, &settings->literal);
        field.encoded = buf_bytes(&settings->literal);
    }
    add(settings, field);
}

void userbench_link_settings_init(struct userbench_link_settings *settings,
                                  const struct userbench_link_options *options)
{
    char deadline[16];

    *settings = (struct userbench_link_settings){
        .conn = {.reactor = options->reactor,
                 .handshake_timeout_ns = TIMEOUT_NS,
                 .send_timeout_ns = TIMEOUT_NS,
                 .linger_timeout_ns = CLOCK_NS_PER_S,
                 .flush_bytes_max = FLUSH_MAX},
        .events = options->events,
        .tls = options->tls,
        .host = options->host,
        .port = options->port,
    };
    (void)snprintf(settings->authority, sizeof(settings->authority), "%.200s:%.50s", options->host,
                   options->port); /* fits */
    add(settings, (struct userbench_field){.name = ":path", .static_index = 4});
    add(settings, (struct userbench_field){":method", "POST", 3, true, {0}});
    add(settings,
        (struct userbench_field){":scheme", "https", options->tls != NULL ? 7 : 6, true, {0}});
    add(settings, (struct userbench_field){":authority", settings->authority, 1, false, {0}});
    add(settings, (struct userbench_field){"te", "trailers", 0, false, {0}});
    add(settings, (struct userbench_field){"content-type", "application/grpc", 31, false, {0}});
    add(settings, (struct userbench_field){"user-agent", "userbench/1", 58, false, {0}});
    if (options->deadline_ms > 0) {
        (void)snprintf(deadline, sizeof(deadline), "%um", options->deadline_ms); /* fits */
        add(settings,
            (struct userbench_field){"grpc-timeout", join(settings, deadline, ""), 0, false, {0}});
    }
    if (options->continue_on_error) {
        add(settings, (struct userbench_field){"users-continue-on-error", "true", 0, false, {0}});
    }
    if (options->token != NULL) {
        add_token(settings, options);
    }
}

void userbench_link_settings_deinit(struct userbench_link_settings *settings)
{
    for (unsigned i = 0; i < settings->text_count; i++) {
        free(settings->texts[i]);
    }
    buf_deinit(&settings->literal);
}
