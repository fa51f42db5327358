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

#define USERCTL_TIME_SIZE 96

/* "2026-01-31 12:34:56.789 UTC" of milliseconds; "" for none. `out` takes USERCTL_TIME_SIZE bytes.
 */
void userctl_output_time(int64_t time_ms, char *out);

/* "ACTIVE", or the number when it has no name. `number` takes 16 bytes and may be what is returned.
 */
const char *userctl_output_status(int status, char *number);

/* "admin, viewer". */
void userctl_output_roles(FILE *out, const struct user_client_user *user);

#endif
