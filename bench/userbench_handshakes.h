/*
 * How long a full TLS handshake takes, and how many of them a server manages.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef USERBENCH_HANDSHAKES_H
#define USERBENCH_HANDSHAKES_H

/* Reads its own options; prints one JSON object. Returns the exit code. */
int userbench_handshakes_run(int argc, char **argv);

void userbench_handshakes_help(void);

#endif
