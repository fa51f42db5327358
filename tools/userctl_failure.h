/*
 * How a call failed, told so that somebody can do something about it: code and message, the
 * server's details, which call of which backend it was, and what to try next.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_FAILURE_H
#define TOOLS_USERCTL_FAILURE_H

#include "userctl_arguments.h"

#include <userd/client.h>

/* Prints on standard error. Returns the exit code. */
int userctl_failure(const struct userctl_arguments *arguments, const struct userd_error *error);

/* What to try next; "" when the message says it all. `out` takes USERCTL_HINT_SIZE bytes. */
#define USERCTL_HINT_SIZE 512
void userctl_failure_hint(const struct userctl_arguments *arguments,
                          const struct userd_error *error, char *out);

/* A failure that is kept longer than the callback that told it. */
struct userctl_kept_failure {
    struct userd_error error; /* its texts are those below */
    char message[1024];
    char details[2048];
    char backend[264];
};

void userctl_failure_keep(struct userctl_kept_failure *kept, const struct userd_error *error);

/* A problem that is no call's, as "userctl: TEXT". */
void userctl_failure_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
