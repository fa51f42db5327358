/*
 * 'userctl targets': what the configuration file has.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_TARGETS_H
#define TOOLS_USERCTL_TARGETS_H

#include "userctl_arguments.h"

/* Returns the exit code. */
int userctl_targets_run(const struct userctl_arguments *arguments);

#endif
