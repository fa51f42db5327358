/*
 * `userbench load`: calls at a rate or as fast as answers come, and their latencies.
 *
 * Thread:  its own.
 */
#ifndef USERBENCH_LOAD_H
#define USERBENCH_LOAD_H

struct userbench_options;

/* Prints one JSON object. Returns the exit code. */
int userbench_load_run(const struct userbench_options *options);

#endif
