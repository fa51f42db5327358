/*
 * Connections that stand still, for measuring what they cost the server.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef USERBENCH_IDLE_H
#define USERBENCH_IDLE_H

/* Reads its own options; prints one JSON object when all connections stand, and holds them until
 * the standard input ends. Returns the exit code. */
int userbench_idle_run(int argc, char **argv);

void userbench_idle_help(void);

#endif
