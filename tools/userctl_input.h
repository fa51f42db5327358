/*
 * A small file read whole, as core/slurp does it, but for Ctrl-C: once signals are caught, waiting
 * for what somebody types would go on in spite of them.
 *
 * Owns:    nothing; the caller frees.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_INPUT_H
#define TOOLS_USERCTL_INPUT_H

#include <stddef.h>

/* Reads at most `size_max` bytes of `path` ("-" = standard input) into fresh memory with a NUL
 * behind; to be freed with slurp_free(). Returns 0, SLURP_E_TOO_LARGE, -EINTR when somebody has
 * interrupted it, or another negative errno. */
int userctl_input_read(const char *path, size_t size_max, char **ret_text, size_t *ret_size);

#endif
