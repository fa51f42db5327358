/*
 * 'userctl call': any method, by JSON and reflection.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_CALL_H
#define TOOLS_USERCTL_CALL_H

#include "userctl_arguments.h"

/* Returns the exit code. */
int userctl_call_run(const struct userctl_arguments *arguments);

#endif
