/*
 * 'userctl describe' and 'userctl call --list': services, methods, messages and enums as a proto
 * file has them.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_DESCRIBE_H
#define TOOLS_USERCTL_DESCRIBE_H

#include "userctl_arguments.h"
#include "userctl_schema.h"

#include <stdio.h>

/* Returns the exit code. */
int userctl_describe_run(const struct userctl_arguments *arguments);

/* Prints a symbol. */
void userctl_describe_symbol(FILE *out, const struct userctl_symbol *symbol);
void userctl_describe_method(FILE *out, const struct userctl_method *method);

#endif
