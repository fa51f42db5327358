/*
 * 'userctl token': signs tokens for development.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_TOKEN_H
#define TOOLS_USERCTL_TOKEN_H

#include "userctl_arguments.h"

/* Returns the exit code. */
int userctl_token_run(const struct userctl_arguments *arguments);

#endif
