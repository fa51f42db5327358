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

#include "userctl_arguments.h"

#include <userd/client.h>

#include <signal.h>

struct userctl_session {
    const struct userctl_arguments *arguments;
    /* Runs with a client that connects when it is used. Returns the exit code. */
    int (*use)(struct userctl_session *session, struct userd_client *client);
    const void *request; /* for `use` */
    /* Several calls that belong together: all of them go to one backend. */
    bool is_walk;
};

/* Reads the token, makes the client, uses it, ends it. Returns the exit code. */
int userctl_session_run(struct userctl_session *session);

/* Says how the last blocking call failed. Returns the exit code. */
int userctl_session_failed(const struct userctl_session *session,
                           const struct userd_client *client);

/* The time of a stream: none, unless --deadline gives one. */
uint64_t userctl_session_timeout_ms(const struct userctl_arguments *arguments);

/* Returns 0, or COMMON_EXIT_USAGE with the problem told when there is no operand. */
int userctl_session_need(const struct userctl_arguments *arguments, const char *problem);

/* From here on SIGINT and SIGTERM end no more than the call under way. */
void userctl_session_catch_signals(void);

/* A turn of the loop; after a signal it ends `call`, unless that is NULL. Returns 0, or
 * USERD_INTERNAL after it has said that the loop failed. */
int userctl_session_turn(struct userd_client *client, struct userd_call *call, uint64_t timeout_ms);

extern volatile sig_atomic_t userctl_session_interrupted;

#endif
