/*
 * What every command that calls the server does around the call: token, client, failure; and the
 * signals of those that take long.
 *
 * Owns:    the client, while it runs.
 * Borrows: the arguments.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_SESSION_H
#define TOOLS_USERCTL_SESSION_H

#include "client/user_client.h"
#include "userctl_arguments.h"

#include <signal.h>

struct userctl_session {
    const struct userctl_arguments *arguments;
    /* Runs with a client that connects when it is used. Returns the exit code. */
    int (*use)(struct userctl_session *session, struct user_client *client);
    const void *request; /* for `use` */
};

/* Reads the token, makes the client, uses it, ends it. Returns the exit code. */
int userctl_session_run(struct userctl_session *session);

/* Says how a call failed that returned `error`. Returns the exit code. */
int userctl_session_failed(struct userctl_session *session, struct user_client *client, int error);

/* Returns 0, or COMMON_EXIT_USAGE with the problem told when there is no operand. */
int userctl_session_need(const struct userctl_arguments *arguments, const char *problem);

/* From here on SIGINT and SIGTERM end no more than the call under way. */
void userctl_session_catch_signals(void);

extern volatile sig_atomic_t userctl_session_interrupted;

#endif
