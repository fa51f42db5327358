/*
 * 'userctl list': users as a table or as JSON lines.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_LIST_H
#define TOOLS_USERCTL_LIST_H

#include "userctl_arguments.h"

/* Returns the exit code. */
int userctl_list_run(const struct userctl_arguments *arguments);

#endif
