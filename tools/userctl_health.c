#include "userctl_health.h"

#include "common_json.h"
#include "common_output.h"
#include "core/buf.h"
#include "core/list.h"
#include "http2/proto_wire.h"
#include "userctl_failure.h"
#include "userctl_follow.h"
#include "userctl_output.h"
#include "userctl_session.h"
#include "userctl_terminal.h"

#include <stdio.h>

#define WATCH_PATH "/grpc.health.v1.Health/Watch"
#define SLICE_MS   100 /* a signal is noticed within it */

enum {
    STATUS_UNKNOWN = 0,
    STATUS_SERVING = 1,
    STATUS_NOT_SERVING = 2,
    STATUS_SERVICE_UNKNOWN = 3,
    STATUS_COUNT,
};

struct health {
    struct userctl_session session;
    struct userctl_follow follow;
    const char *service;
    int status; /* the last one; -1 = none yet */
    bool is_over;
    bool is_again;                   /* the next status is the first of a stream after the first */
    bool is_deaf;                    /* nobody reads what is shown: said at the end */
    struct userctl_kept_failure end; /* of the watch */
};

static const char *name_of(int status)
{
    static const char *const names[STATUS_COUNT] = {"UNKNOWN", "SERVING", "NOT_SERVING",
                                                    "SERVICE_UNKNOWN"};

    return status >= 0 && status < STATUS_COUNT ? names[status] : "UNKNOWN";
}

static void show(struct health *health)
{
    bool is_good = health->status == STATUS_SERVING;

    if (userctl_output_is_json(health->session.arguments)) {
        struct common_json json = {.out = stdout};

        common_json_open(&json, NULL);
        common_json_member(&json, "service", bytes_from_text(health->service));
        common_json_words(&json, "status", name_of(health->status));
        common_json_close(&json);
        common_json_end_line(&json);
    } else {
        common_json_plain(stdout, bytes_from_text(health->service));
        (void)printf("%s%s%s%s\n", health->service[0] == '\0' ? "" : ": ",
                     userctl_style(stdout, is_good ? USERCTL_STYLE_GOOD : USERCTL_STYLE_BAD),
                     name_of(health->status), userctl_style_end(stdout));
    }
    health->is_deaf = fflush(stdout) != 0;
}

static int exit_code_of(int status)
{
    if (status == STATUS_SERVING) {
        return 0;
    }
    return status == STATUS_SERVICE_UNKNOWN ? (int)USERD_NOT_FOUND : (int)USERD_UNAVAILABLE;
}

static int check(struct health *health, struct userd_client *client)
{
    if (userd_check_health(client, NULL, health->service, &health->status) != USERD_OK) {
        return userctl_session_failed(&health->session, client);
    }
    show(health);
    return exit_code_of(health->status);
}

static void on_message(void *context, const void *bytes, size_t size)
{
    struct health *health = context;
    struct bytes rest = {bytes, size};
    struct proto_wire_field field;
    int status = STATUS_UNKNOWN;

    while (proto_wire_read(&rest, &field) == 0) {
        if (field.number == 1 && field.type == PROTO_WIRE_VARINT) {
            status = (int)field.value;
        }
    }
    userctl_follow_well(&health->follow);
    if (health->is_again) {
        health->is_again = false;
        (void)fputs("userctl: connected again\n", stderr);
    }
    if (!health->is_deaf && status != health->status) {
        health->status = status;
        show(health);
    }
}

static void on_ended(void *context, const struct userd_error *error)
{
    struct health *health = context;

    health->is_over = true;
    userctl_failure_keep(&health->end, error);
}

/* One stream, to its end. Returns false when it could not be begun. */
static bool follow_once(struct health *health, struct userd_client *client, struct bytes request)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_message, .ended = on_ended};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    struct userd_call *call;

    options.timeout_ms = userctl_session_timeout_ms(health->session.arguments);
    health->is_over = false;
    call = userd_start_raw(client, &options, WATCH_PATH, &events, health);
    if (call == NULL) {
        return false;
    }
    (void)userd_raw_send(call, request.data, request.size); /* what fails, ends it */
    (void)userd_call_finish(call);
    while (!health->is_over) {
        if (userctl_session_interrupted != 0 || health->is_deaf) {
            userd_call_cancel(call);
        }
        if (userd_client_run(client, SLICE_MS) != 0) {
            return false;
        }
    }
    return true;
}

static int follow(struct health *health, struct userd_client *client)
{
    struct buf request = {0};
    int exit_code = 0;
    bool goes_on = true;

    if (health->service[0] != '\0' &&
        proto_wire_append_bytes(&request, 1, bytes_from_text(health->service)) != 0) {
        userctl_failure_say("out of memory");
        return COMMON_EXIT_SOFTWARE;
    }
    while (goes_on) {
        if (!follow_once(health, client, buf_bytes(&request))) {
            userctl_failure_say("the watch cannot be begun: %s", userd_last_problem());
            exit_code = (int)USERD_INTERNAL;
            break;
        }
        if (health->is_deaf) {
            buf_deinit(&request);
            return 0;
        }
        if (health->end.error.code == USERD_OK) { /* a server that ends it has no more to say */
            break;
        }
        goes_on = userctl_follow_again(&health->follow, &health->session, client,
                                       &health->end.error, &exit_code);
        if (goes_on || health->follow.failures != 0) { /* nobody knows how it is now */
            health->status = -1;
            health->is_again = true;
        }
    }
    buf_deinit(&request);
    if (exit_code == 0 && health->status < 0 && userctl_session_interrupted != 0) {
        return (int)USERD_CANCELLED;
    }
    return exit_code != 0 ? exit_code : exit_code_of(health->status);
}

static int use_health(struct userctl_session *session, struct userd_client *client)
{
    struct health *health = CONTAINER_OF(session, struct health, session);

    return session->arguments->watch ? follow(health, client) : check(health, client);
}

int userctl_health_run(const struct userctl_arguments *arguments)
{
    struct health health = {
        .session = {.arguments = arguments, .use = use_health},
        .service = arguments->operand == NULL ? "" : arguments->operand,
        .status = -1,
    };

    if (arguments->watch) {
        userctl_session_catch_signals();
    }
    return userctl_session_run(&health.session);
}
