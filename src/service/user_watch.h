/*
 * WatchUser: who watches which user, and telling them of changes. A slow reader gets the newest
 * state, never a backlog.
 *
 * Owns:    the watchers.
 * Borrows: reactor and store for its life; the call of each watcher, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_WATCH_H
#define SERVICE_USER_WATCH_H

#include "core/bytes.h"

#include <stdint.h>

struct commit_event;
struct grpc_call;
struct reactor;
struct user_store;
struct user_watch;

struct user_watch_options {
    uint32_t max_per_connection; /* watch.max_per_connection: over it RESOURCE_EXHAUSTED */
    uint32_t max_per_user;       /* watch.max_per_user */
    uint32_t max_total;          /* watch.max_total */
    uint32_t max_unsent; /* bytes, watch.max_unsent: a reader further behind gets only the newest */
    uint32_t max_fields; /* limits.max_fields */
};

/* Counts since start, for metrics and tests. */
struct user_watch_stats {
    uint64_t watchers; /* now */
    uint64_t sent;     /* messages */
    uint64_t skipped;  /* states that a slow reader did not see */
    uint64_t refused_connection;
    uint64_t refused_user;
    uint64_t refused_total;
};

/* Returns 0 or -ENOMEM. */
int user_watch_new(struct reactor *reactor, struct user_store *store,
                   const struct user_watch_options *options, struct user_watch **ret_watch);

/* No watcher may be left. NULL is fine. */
void user_watch_free(struct user_watch *watch);

/* The handler of WatchUser; the context is a struct user_watch. */
void user_watch_handle(void *context, struct grpc_call *call, struct bytes request);

/* A record is about to be applied to the store: call it right before. The watchers of that user
 * hear of it from the loop, in slices of at most 200 us. Cannot fail. */
void user_watch_note(struct user_watch *watch, const struct commit_event *event);

/* Ends every watcher with UNAVAILABLE, from the loop, and those that come later at once: the server
 * is shutting down. */
void user_watch_end(struct user_watch *watch);

const struct user_watch_stats *user_watch_stats(const struct user_watch *watch);

#endif
