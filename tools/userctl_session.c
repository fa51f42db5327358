#include "userctl_session.h"

#include "common_output.h"
#include "core/clock.h"
#include "core/slurp.h"
#include "userctl_failure.h"
#include "userctl_secret.h"
#include "userctl_terminal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Who only listens, as a watch does, would never notice that the other side is gone. A little more
 * than the 5 minutes that servers want between two of them. */
#define KEEPALIVE_MS 310000

volatile sig_atomic_t userctl_session_interrupted;

static void on_signal(int number)
{
    (void)number;
    userctl_session_interrupted = 1;
}

void userctl_session_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    /* Without SA_RESTART: waits end. The second signal ends us, whatever we are at. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)sigaction(numbers[i], &action, NULL);
    }
}

int userctl_session_need(const struct userctl_arguments *arguments, const char *problem)
{
    if (arguments->operand == NULL || arguments->operand[0] == '\0') {
        return userctl_arguments_refuse(arguments, "%s", problem);
    }
    return 0;
}

int userctl_session_turn(struct userd_client *client, struct userd_call *call, uint64_t timeout_ms)
{
    if (userctl_session_interrupted != 0 && call != NULL) {
        userd_call_cancel(call);
    }
    if (userd_client_run(client, timeout_ms) != 0) {
        userctl_failure_say("the event loop failed");
        return (int)USERD_INTERNAL;
    }
    return 0;
}

static bool is_interrupted(void *context)
{
    (void)context;
    return userctl_session_interrupted != 0;
}

/* One call has nothing to spread; a list of addresses is gone through until one answers. */
static enum userd_balancing balancing_of(const struct userctl_session *session)
{
    const char *word = session->arguments->balancing;

    if (session->is_walk) {
        return USERD_PICK_FIRST;
    }
    if (word == NULL) {
        return USERD_BALANCING_DEFAULT;
    }
    return strcmp(word, "round_robin") == 0 ? USERD_ROUND_ROBIN : USERD_PICK_FIRST;
}

uint64_t userctl_session_timeout_ms(const struct userctl_arguments *arguments)
{
    return arguments->deadline_ns == USERCTL_NO_DEADLINE || arguments->deadline_ns == 0
               ? USERD_NO_TIMEOUT
               : arguments->deadline_ns / CLOCK_NS_PER_MS;
}

static int open_failed(const struct userctl_arguments *arguments, int error)
{
    if (error == -EINVAL) {
        bool is_target = strncmp(userd_last_problem(), "target ", 7) == 0;

        return userctl_arguments_refuse(arguments, "%s%s", userd_last_problem(),
                                        is_target ? " (--target HOST:PORT)" : "");
    }
    userctl_failure_say("%s", userd_last_problem());
    return error == -EPERM || error == -ENOSYS ? COMMON_EXIT_CONFIGURATION : COMMON_EXIT_SOFTWARE;
}

/* All addresses of a target are on this machine. */
static bool is_local(const char *target)
{
    static const char *const starts[] = {
        "127.",       "localhost:", "[::1]:",        "unix:",           "ipv4:127.",
        "ipv6:[::1]", "localhost",  "dns:localhost", "dns:///localhost"};

    while (*target != '\0') {
        bool is_found = false;

        for (size_t i = 0; !is_found && i < sizeof(starts) / sizeof(starts[0]); i++) {
            is_found = strncmp(target, starts[i], strlen(starts[i])) == 0;
        }
        if (!is_found) {
            return false;
        }
        target += strcspn(target, ",");
        target += *target == ',';
    }
    return true;
}

/* It is often that of another server, and everybody on the way can read it. */
static void warn_of_token(const struct userctl_arguments *arguments)
{
    if (arguments->plaintext && arguments->token_is_of_environment &&
        !is_local(arguments->target)) {
        (void)fprintf(stderr,
                      "%suserctl:%s the token of USERCTL_TOKEN_FILE goes to %s in clear "
                      "text\n",
                      userctl_style(stderr, USERCTL_STYLE_WARNING), userctl_style_end(stderr),
                      arguments->target);
    }
}

/* What is wrong with the token on the command line or in its file is said before anything is sent.
 */
int userctl_session_run(struct userctl_session *session)
{
    const struct userctl_arguments *arguments = session->arguments;
    struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    struct userd_client *client;
    char *token = NULL;
    size_t token_size = 0;
    int exit_code = userctl_secret_token(arguments, &token, &token_size);
    int ret;

    if (exit_code != 0) {
        return exit_code;
    }
    warn_of_token(arguments);
    options.target = arguments->target;
    options.plaintext = arguments->plaintext;
    options.ca_file = arguments->plaintext ? NULL : arguments->ca_file;
    options.cert_file = arguments->plaintext ? NULL : arguments->cert_file;
    options.key_file = arguments->plaintext ? NULL : arguments->key_file;
    options.server_name = arguments->plaintext ? NULL : arguments->server_name;
    options.token = token;
    options.token_file = userctl_secret_is_rotated(arguments) ? arguments->token_file : NULL;
    options.user_agent = "userctl";
    options.balancing = balancing_of(session);
    if (arguments->deadline_ns != 0) {
        options.timeout_ms = userctl_session_timeout_ms(arguments);
    }
    options.keepalive_time_ms = KEEPALIVE_MS;
    options.interrupted = is_interrupted;
    ret = userd_client_new(&options, &client);
    slurp_free(token, token_size); /* the client has a copy */
    if (ret != 0) {
        return open_failed(arguments, ret);
    }
    exit_code = session->use(session, client);
    userd_client_free(client);
    return exit_code;
}

int userctl_session_failed(const struct userctl_session *session, const struct userd_client *client)
{
    return userctl_failure(session->arguments, userd_client_error(client));
}
