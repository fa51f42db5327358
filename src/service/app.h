/*
 * The composition: builds everything of a server in order, runs it, takes it down in reverse.
 *
 * Owns:    all of it.
 * Borrows: the configuration, until it returns. A reload replaces what is in it.
 * Thread:  the loop is the thread that calls.
 */
#ifndef SERVICE_APP_H
#define SERVICE_APP_H

struct config;

/* Serves until a signal ends it. SIGHUP reads `config->file` and the environment again. Returns the
 * exit code of the process (sysexits.h): EX_OK; EX_DATAERR for damaged data; EX_SOFTWARE for a
 * fault of ours; EX_IOERR when the disk failed; EX_TEMPFAIL when another process has the data;
 * EX_CONFIG for the configuration, and for a system that forbids io_uring. The log says why. */
int app_run(struct config *config);

/* Tries what can be tried without touching data or network: certificate, key and secret. Returns
 * EX_OK or what app_run() would. */
int app_check(const struct config *config);

#endif
