/*
 * The commands. Each returns an exit code after it has said what there is to say.
 *
 * Owns:    nothing.
 * Borrows: the arguments.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_COMMANDS_H
#define TOOLS_USERWAL_COMMANDS_H

#include "userwal_arguments.h"

int userwal_stat(const struct userwal_arguments *arguments);
int userwal_verify(const struct userwal_arguments *arguments);
int userwal_dump(const struct userwal_arguments *arguments);
int userwal_truncate(const struct userwal_arguments *arguments);
int userwal_snapshot(const struct userwal_arguments *arguments);
int userwal_restore(const struct userwal_arguments *arguments);
int userwal_export(const struct userwal_arguments *arguments);
int userwal_import(const struct userwal_arguments *arguments);

#endif
