/*
 * What userctl prints of users on standard output: as a table or as JSON lines.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_OUTPUT_H
#define TOOLS_USERCTL_OUTPUT_H

#include "userctl_arguments.h"
#include "userctl_terminal.h"

#include <userd/client.h>

#include <stdbool.h>

/* True when results go out as JSON: asked for, or standard output is no terminal. */
bool userctl_output_is_json(const struct userctl_arguments *arguments);

void userctl_output_user(const struct userd_user *user, bool json);
void userctl_output_deleted(const char *id, bool success, bool json);

#define USERCTL_TIME_SIZE 96

/* "2026-01-31 12:34:56.789 UTC" of milliseconds; "" for none. `out` takes USERCTL_TIME_SIZE bytes.
 */
void userctl_output_time(int64_t time_ms, char *out);

/* "ACTIVE", or the number when it has no name. `number` takes 16 bytes and may be what is returned.
 */
const char *userctl_output_status(int status, char *number);

/* How a status looks: an active user is good news. */
enum userctl_style userctl_output_status_style(int status);

/* "admin, viewer". */
void userctl_output_roles(FILE *out, const struct userd_user *user);

#endif
