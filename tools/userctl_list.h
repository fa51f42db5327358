/*
 * 'userctl list' and 'userctl watch': users on standard output, many or one again and again.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_LIST_H
#define TOOLS_USERCTL_LIST_H

#include "userctl_arguments.h"

/* Return the exit code. */
int userctl_list_run(const struct userctl_arguments *arguments);
int userctl_watch_run(const struct userctl_arguments *arguments);

#endif
