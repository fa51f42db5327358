/*
 * 'userctl watch': a user as it is, and after each change; over as many connections as it takes.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_WATCH_H
#define TOOLS_USERCTL_WATCH_H

#include "userctl_arguments.h"

/* Returns the exit code. */
int userctl_watch_run(const struct userctl_arguments *arguments);

#endif
