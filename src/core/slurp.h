/*
 * Small files read whole at start-up: secrets, keys, passwords.
 *
 * Owns:    nothing; the caller frees.
 * Thread:  any; blocks.
 */
#ifndef CORE_SLURP_H
#define CORE_SLURP_H

#include <stddef.h>

#define SLURP_E_TOO_LARGE   1
#define SLURP_E_NOT_REGULAR 2

/* Reads at most `size_max` bytes of `path` ("-" = standard input) into fresh memory with a NUL
 * behind. Returns 0, SLURP_E_TOO_LARGE, or negative errno. The caller frees `*ret_text` (wipe it
 * first with slurp_free() when it is secret). */
int slurp_file(const char *path, size_t size_max, char **ret_text, size_t *ret_size);

/* The same of a regular file, for who must not be held up: a pipe, a device or a folder of that
 * name is SLURP_E_NOT_REGULAR, and "-" is a name like any other. */
int slurp_regular_file(const char *path, size_t size_max, char **ret_text, size_t *ret_size);

/* Wipes and frees. NULL is fine. */
void slurp_free(char *text, size_t size);

#endif
