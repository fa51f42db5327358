/*
 * A disk that reads a folder and keeps in memory what is written: on it the log can be started as
 * userd would start it, or be cut, and nothing happens to the files.
 *
 * Owns:    what was written, the folder's descriptor.
 * Borrows: the reactor.
 * Thread:  loop only.
 */
#ifndef TOOLS_USERWAL_TRIAL_H
#define TOOLS_USERWAL_TRIAL_H

struct disk;
struct reactor;

/* `path` must be there. `reactor` may be NULL where nothing asynchronous is asked for; then the
 * disk does not read ahead. Locking always succeeds. Returns 0 or negative errno. */
int userwal_trial_new(struct reactor *reactor, const char *path, struct disk **ret_disk);

#endif
