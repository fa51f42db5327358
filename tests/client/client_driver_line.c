/* What the driver writes. */
#include "client/client_driver.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BACKENDS_MAX 16

static bool is_first;

double driver_now_ms(void)
{
    static double start;
    struct timespec now;
    double ms;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
    if (start == 0)
        start = ms;
    return ms - start;
}

static void write_text(const char *text)
{
    putchar('"');
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\')
            printf("\\%c", byte);
        else if (byte < 0x20)
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void write_name(const char *name)
{
    if (!is_first)
        putchar(',');
    is_first = false;
    write_text(name);
    putchar(':');
}

void line_open(const char *event)
{
    putchar('{');
    is_first = true;
    line_text("event", event);
    line_number("ms", driver_now_ms());
}

void line_text(const char *name, const char *value)
{
    write_name(name);
    write_text(value);
}

void line_number(const char *name, double value)
{
    write_name(name);
    printf("%.17g", value);
}

void line_close(void)
{
    fputs("}\n", stdout);
}

static const char *cause_name(enum userd_cause cause)
{
    static const char *const names[] = {
        [USERD_CAUSE_ANSWER] = "ANSWER",
        [USERD_CAUSE_CONNECT] = "CONNECT",
        [USERD_CAUSE_TLS] = "TLS",
        [USERD_CAUSE_LOST] = "LOST",
        [USERD_CAUSE_REFUSED] = "REFUSED",
        [USERD_CAUSE_DEADLINE] = "DEADLINE",
        [USERD_CAUSE_CANCELLED] = "CANCELLED",
        [USERD_CAUSE_BREAKER] = "BREAKER",
        [USERD_CAUSE_MEMORY] = "MEMORY",
        [USERD_CAUSE_CALLER] = "CALLER",
    };

    return (size_t)cause < sizeof(names) / sizeof(names[0]) ? names[cause] : "?";
}

void line_error(const struct userd_error *error)
{
    line_text("code", userd_code_name((int)error->code));
    line_text("cause", cause_name(error->cause));
    line_number("attempts", error->attempts);
    line_text("backend", error->backend);
    if (error->code == USERD_OK)
        return;
    line_text("message", error->message);
    line_text("details", error->details);
    line_number("raw_details", (double)error->raw_details_size);
    line_number("index", (double)error->index);
}

void line_user(const struct userd_user *user)
{
    line_text("id", user->id);
    line_text("username", user->username);
    line_text("email", user->email);
    line_text("etag", user->etag);
    line_number("status", user->status);
    if (user->has_profile) {
        line_text("first_name", user->first_name);
        line_number("avatar_size", (double)strlen(user->avatar_url));
    }
}

static const char *breaker_name(enum userd_breaker_state state)
{
    return state == USERD_BREAKER_CLOSED ? "CLOSED"
           : state == USERD_BREAKER_OPEN ? "OPEN"
                                         : "HALF_OPEN";
}

static void write_backend(const struct userd_backend *backend)
{
    static const char *const states[] = {
        [USERD_BACKEND_IDLE] = "IDLE",
        [USERD_BACKEND_CONNECTING] = "CONNECTING",
        [USERD_BACKEND_READY] = "READY",
        [USERD_BACKEND_TRANSIENT_FAILURE] = "TRANSIENT_FAILURE",
    };

    putchar('{');
    is_first = true;
    line_text("address", backend->address);
    line_text("state", states[backend->state]);
    line_number("healthy", backend->healthy);
    line_text("breaker", breaker_name(backend->breaker));
    line_number("breaker_opened", (double)backend->breaker_opened);
    line_number("calls", (double)backend->calls);
    line_number("failures", (double)backend->failures);
    line_number("open_calls", backend->open_calls);
    line_number("connects", (double)backend->connects);
    line_number("connect_failures", (double)backend->connect_failures);
    line_text("problem", backend->problem);
    putchar('}');
}

void line_stats(const struct userd_client *client)
{
    struct userd_stats stats = USERD_STATS_INIT;
    struct userd_backend backend = USERD_BACKEND_INIT;

    userd_client_stats(client, &stats);
    line_open("stats");
    line_number("calls", (double)stats.calls);
    line_number("retries", (double)stats.retries);
    line_number("transparent_retries", (double)stats.transparent_retries);
    line_number("throttled", (double)stats.throttled);
    line_number("breaker_refusals", (double)stats.breaker_refusals);
    line_number("waiting", stats.waiting);
    write_name("backends");
    putchar('[');
    for (unsigned i = 0; userd_client_backend(client, i, &backend) == 0; i++) {
        if (i > 0)
            putchar(',');
        write_backend(&backend);
    }
    putchar(']');
    is_first = false;
    line_close();
}

void line_breaker_changes(const struct userd_client *client)
{
    static struct {
        char address[sizeof(((struct userd_backend *)0)->address)];
        enum userd_breaker_state state;
    } known[BACKENDS_MAX];
    struct userd_backend backend = USERD_BACKEND_INIT;

    for (unsigned i = 0; i < BACKENDS_MAX && userd_client_backend(client, i, &backend) == 0; i++) {
        bool is_same = strcmp(known[i].address, backend.address) == 0;

        if (!is_same) {
            memcpy(known[i].address, backend.address, sizeof(backend.address));
            known[i].state = USERD_BREAKER_CLOSED;
        }
        if (known[i].state == backend.breaker)
            continue;
        known[i].state = backend.breaker;
        line_open("breaker");
        line_text("backend", backend.address);
        line_text("state", breaker_name(backend.breaker));
        line_number("calls", (double)backend.calls);
        line_number("failures", (double)backend.failures);
        line_close();
    }
}
