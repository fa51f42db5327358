/*
 * The commands of userctl, one function each.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_COMMANDS_H
#define TOOLS_USERCTL_COMMANDS_H

#include "userctl_arguments.h"

/* Runs the command that was asked for. Returns the exit code. */
int userctl_commands_run(const struct userctl_arguments *arguments);

#endif
