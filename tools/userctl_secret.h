/*
 * What must not stand on a command line: passwords and tokens, from files, standard input or a
 * prompt.
 *
 * Owns:    nothing; the caller frees with slurp_free().
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_SECRET_H
#define TOOLS_USERCTL_SECRET_H

#include "userctl_arguments.h"

#include <stddef.h>

/* The password of a create command. Returns 0, or COMMON_EXIT_USAGE after it has said why. */
int userctl_secret_password(const struct userctl_arguments *arguments, char **ret_password,
                            size_t *ret_size);

/* A token file is read again by the client when it changes; standard input cannot be. */
bool userctl_secret_is_rotated(const struct userctl_arguments *arguments);

/* The bearer token; NULL when none was given, or when the client reads its file. Returns as above.
 */
int userctl_secret_token(const struct userctl_arguments *arguments, char **ret_token,
                         size_t *ret_size);

#endif
