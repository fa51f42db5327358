#include "userctl_watch.h"

#include "common_json.h"
#include "core/list.h"
#include "userctl_follow.h"
#include "userctl_output.h"
#include "userctl_session.h"
#include "userctl_terminal.h"

#include <stdio.h>

#define STATUS_WIDTH 9 /* "SUSPENDED" */
#define ETAG_SIZE    128

struct watch {
    struct userctl_session session;
    struct userctl_follow follow;
    char etag[ETAG_SIZE]; /* of the state that was shown last */
    bool is_again;        /* the next state is the first of a stream after the first */
};

static void print_state(const struct userd_user *user)
{
    char number[16];
    char time[USERCTL_TIME_SIZE];

    userctl_output_time(user->updated_at_ms, time);
    (void)printf("%s  %s%-*s%s  ", time,
                 userctl_style(stdout, userctl_output_status_style(user->status)), STATUS_WIDTH,
                 userctl_output_status(user->status, number), userctl_style_end(stdout));
    common_json_plain(stdout, bytes_from_text(user->username));
    (void)fputs("  ", stdout);
    common_json_plain(stdout, bytes_from_text(user->email));
    (void)fputs(user->role_count == 0 ? "" : "  ", stdout);
    userctl_output_roles(stdout, user);
    (void)fputc('\n', stdout);
}

/* Each state is shown at once; nobody who cannot read it needs another. The first one after a lost
 * connection is news only when the user has changed meanwhile. */
static bool on_state(void *context, const struct userd_user *user)
{
    struct watch *watch = context;
    bool is_known =
        watch->is_again && user->etag[0] != '\0' && strcmp(watch->etag, user->etag) == 0;

    userctl_follow_well(&watch->follow);
    if (watch->is_again) {
        watch->is_again = false;
        (void)fprintf(stderr, "userctl: connected again%s\n",
                      is_known ? "; nothing has changed" : "");
    }
    (void)snprintf(watch->etag, sizeof(watch->etag), "%s", user->etag);
    if (is_known) {
        return true;
    }
    if (userctl_output_is_json(watch->session.arguments)) {
        userctl_output_user(user, true);
    } else {
        print_state(user);
    }
    return fflush(stdout) == 0;
}

static int use_watch(struct userctl_session *session, struct userd_client *client)
{
    struct watch *watch = CONTAINER_OF(session, struct watch, session);
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    int exit_code = 0;

    options.timeout_ms = userctl_session_timeout_ms(session->arguments);
    for (;;) {
        if (userd_watch_user(client, &options, session->arguments->operand, on_state, watch) ==
                USERD_OK ||
            !userctl_follow_again(&watch->follow, session, client, userd_client_error(client),
                                  &exit_code)) {
            return exit_code;
        }
        watch->is_again = true;
    }
}

int userctl_watch_run(const struct userctl_arguments *arguments)
{
    struct watch watch = {.session = {.arguments = arguments, .use = use_watch}};
    int ret = userctl_session_need(arguments, "which user? an ID is missing");

    if (ret != 0) {
        return ret;
    }
    userctl_session_catch_signals();
    return userctl_session_run(&watch.session);
}
