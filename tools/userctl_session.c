#include "userctl_session.h"

#include "common_output.h"
#include "core/slurp.h"
#include "userctl_output.h"
#include "userctl_secret.h"

#include <string.h>

volatile sig_atomic_t userctl_session_interrupted;

static void on_signal(int number)
{
    (void)number;
    userctl_session_interrupted = 1;
}

void userctl_session_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: waits end */

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

static int open_failed(const struct userctl_arguments *arguments, int error, const char *problem)
{
    if (error == USER_CLIENT_E_OPTIONS) {
        return userctl_arguments_refuse(arguments, "%s", problem);
    }
    if (error == USER_CLIENT_E_UNRESOLVED) {
        const struct user_client_failure failure = {
            .status = GRPC_STATUS_UNAVAILABLE,
            .cause = CHANNEL_CAUSE_CONNECT,
            .message = problem,
            .details = "",
        };

        return userctl_output_failure(arguments, &failure);
    }
    (void)fprintf(stderr, "userctl: %s\n", problem);
    return COMMON_EXIT_CONFIGURATION;
}

int userctl_session_run(struct userctl_session *session)
{
    const struct userctl_arguments *arguments = session->arguments;
    struct user_client_options options = {
        .target = arguments->target,
        .ca_file = arguments->plaintext ? NULL : arguments->ca_file,
        .cert_file = arguments->cert_file,
        .key_file = arguments->key_file,
        .timeout_ns = arguments->deadline_ns,
        .interrupted = &userctl_session_interrupted,
    };
    char problem[USER_CLIENT_PROBLEM_SIZE];
    struct user_client *client;
    char *token;
    size_t token_size;
    int exit_code;
    int ret;

    exit_code = userctl_secret_token(arguments, &token, &token_size);
    if (exit_code != 0) {
        return exit_code;
    }
    options.token = token;
    ret = user_client_new(&options, problem, &client);
    if (ret != 0) {
        exit_code = open_failed(arguments, ret, problem);
    } else {
        exit_code = session->use(session, client);
        user_client_free(client);
    }
    slurp_free(token, token_size);
    return exit_code;
}

int userctl_session_failed(struct userctl_session *session, struct user_client *client, int error)
{
    if (error == USER_CLIENT_E_FAILED) {
        return userctl_output_failure(session->arguments, user_client_failure(client));
    }
    (void)fprintf(stderr, "userctl: the event loop failed: %s\n", strerror(-error));
    return (int)GRPC_STATUS_INTERNAL;
}
