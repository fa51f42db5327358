/*
 * Says when files may have changed: replaced, written in place, or reached by another symbolic
 * link. What it says is a hint: compare what is in them.
 *
 * A folder on the way that the process may go through but not read cannot be watched: files behind
 * it are looked at from time to time instead.
 *
 * Owns:    the inotify descriptor, the pending poll, a timer, copies of the paths.
 * Borrows: the reactor.
 * Thread:  loop only; looking at the paths blocks for some system calls.
 */
#ifndef CORE_FILE_WATCH_H
#define CORE_FILE_WATCH_H

#include <stdint.h>

struct file_watch;
struct reactor;

#define FILE_WATCH_FILES_MAX 16

struct file_watch_options {
    uint64_t settle_ns;             /* nothing may happen for this long before it is told, */
    uint64_t patience_ns;           /* unless it goes on for this long */
    uint64_t look_ns;               /* how often to look at what cannot be watched */
    void (*changed)(void *context); /* from the loop; may call file_watch_set() and _close() */
    void *context;
};

/* Watches nothing yet. Returns 0 or negative errno (-EMFILE: the system's limit of users of
 * inotify). */
int file_watch_new(struct reactor *reactor, const struct file_watch_options *options,
                   struct file_watch **ret_watch);

/* Watches these files instead of those before, at most FILE_WATCH_FILES_MAX; none of them has to
 * exist. Only what comes after is told. Returns 0; or negative errno when not all of them can be
 * watched (-ENOSPC: the system's limit of watches), with the others watched. */
int file_watch_set(struct file_watch *watch, const char *const *paths, unsigned count);

/* Asks; the poll completes in a later turn (ring_pending_count() tells). NULL is fine. Safe to
 * repeat. */
void file_watch_close(struct file_watch *watch);

/* After the close. NULL is fine. */
void file_watch_free(struct file_watch *watch);

#endif
