/*
 * The users that everything here is measured with: user 0 to N - 1, whose ids
 * follow from their numbers, so that nobody has to ask for them.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef USERBENCH_DATA_H
#define USERBENCH_DATA_H

#include <stdint.h>

struct userbench_options;

#define USERBENCH_ID_SIZE 37 /* with its NUL */

void userbench_data_format_id(uint64_t index, char out[USERBENCH_ID_SIZE]);

/* Makes options->dir, which must not exist or be empty, with options->users
 * users in its log. Returns the exit code. */
int userbench_data_run(const struct userbench_options *options);

#endif
