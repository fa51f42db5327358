/*
 * 'userctl import' and 'userctl sync': many users from a file of JSON lines, through one stream
 * after the other.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_IMPORT_H
#define TOOLS_USERCTL_IMPORT_H

#include "userctl_arguments.h"

/* Runs the one of the two that was asked for. Returns the exit code. */
int userctl_import_run(const struct userctl_arguments *arguments);

#endif
