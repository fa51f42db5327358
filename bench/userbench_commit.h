/*
 * How long a durable change takes, against a bare write to the same disk and a
 * call that only reads.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef USERBENCH_COMMIT_H
#define USERBENCH_COMMIT_H

struct userbench_options;

/* Prints a line of percentiles for each kind of block. Returns the exit code.
 */
int userbench_commit_run(const struct userbench_options *options);

#endif
