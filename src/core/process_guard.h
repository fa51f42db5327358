/*
 * Keeps the memory of the process, which holds keys and passwords, from other processes and from
 * files.
 *
 * Owns, borrows: nothing.
 * Thread:  before any other starts.
 */
#ifndef CORE_PROCESS_GUARD_H
#define CORE_PROCESS_GUARD_H

/* No core file is written, nobody but root attaches a debugger, and a core that is forced has no
 * memory in it. Returns 0; or negative errno when a part of it could not be had. */
int process_guard_close(void);

#endif
