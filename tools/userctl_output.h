/*
 * What userctl prints: users as a table or as JSON lines on standard output, failures with a hint
 * on standard error.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_OUTPUT_H
#define TOOLS_USERCTL_OUTPUT_H

#include "client/user_client.h"
#include "userctl_arguments.h"

#include <stdbool.h>

/* True when results go out as JSON: asked for, or standard output is no terminal. */
bool userctl_output_is_json(const struct userctl_arguments *arguments);

void userctl_output_user(const struct user_client_user *user, bool json);
void userctl_output_deleted(const char *id, bool success, bool json);

/* Code name, message and details, then what to try next. Returns the exit code. */
int userctl_output_failure(const struct userctl_arguments *arguments,
                           const struct user_client_failure *failure);

/* Writes out what waits. Returns 0, or USERCTL_EXIT_OUTPUT after it has said why. */
int userctl_output_finish(void);

#endif
