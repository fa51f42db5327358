/*
 * Small files read whole at start-up: secrets, keys, passwords.
 *
 * Owns:    nothing; the caller frees.
 * Thread:  any; blocks.
 */
#ifndef CORE_SLURP_H
#define CORE_SLURP_H

#include <stddef.h>

#define SLURP_E_TOO_LARGE 1

/* Reads at most `size_max` bytes of `path` ("-" = standard input) into fresh memory with a NUL
 * behind. Returns 0, SLURP_E_TOO_LARGE, or negative errno. The caller frees `*ret_text` (wipe it
 * first with slurp_free() when it is secret). */
int slurp_file(const char *path, size_t size_max, char **ret_text, size_t *ret_size);

/* Wipes and frees. NULL is fine. */
void slurp_free(char *text, size_t size);

#endif
