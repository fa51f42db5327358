/*
 * A steady load of GetUser and UpdateUser, and the times of the calls by what
 * went on meanwhile.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef USERBENCH_CHANNEL_H
#define USERBENCH_CHANNEL_H

struct userbench_options;

/* Runs until the standard input ends, each of whose lines names the phase that
 * begins, and prints for each name the percentiles of the calls that ended in
 * it, and the maximum of each of its phases. Calls before the first line are
 * not counted. Returns the exit code. */
int userbench_channel_run(const struct userbench_options *options);

#endif
