/*
 * WatchUser as its two files see it: user_watch.c (calls, limits, life) and user_watch_group.c (who
 * is told what, and when). Nobody else includes this, but for tests that count bytes.
 *
 * Owns, borrows, thread: as user_watch.h says.
 */
#ifndef SERVICE_USER_WATCH_INTERNAL_H
#define SERVICE_USER_WATCH_INTERNAL_H

#include "core/buf.h"
#include "core/list.h"
#include "core/map.h"
#include "core/reactor.h"
#include "service/user_record.h"
#include "service/user_watch.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_call;
struct user_entry;

struct user_watch {
    struct reactor *reactor;
    struct user_store *store;
    struct user_watch_options options;
    struct user_watch_stats stats;
    struct map groups;  /* of struct watch_group, but for those of deleted users */
    struct list quiet;  /* groups for which nothing is to be done */
    struct list queued; /* groups that the fan-out comes by, the next one first */
    struct reactor_task fan_out;
    bool ending;
};

struct watch_group {
    struct list link; /* in watch->quiet or ->queued */
    struct user_watch *watch;
    struct list idle; /* of struct user_watcher, as the two below */
    struct list pending;
    struct list behind;
    uint64_t change; /* number of the newest state */
    uint32_t count;  /* watchers */
    uint32_t late_count;
    bool queued;          /* which of the two `link` is in */
    bool deleted;         /* and out of the map */
    struct buf tombstone; /* then: the last message; empty when there was no memory */
    size_t id_size;
    uint8_t id[];
};

struct user_watcher {
    struct list link; /* in a list of the group */
    struct watch_group *group;
    struct grpc_call *call; /* held */
    uint64_t sent_change;   /* number of the state sent last */
};

static inline struct bytes watch_group_id(const struct watch_group *group)
{
    return (struct bytes){group->id, group->id_size};
}

/* Makes the group of a stored user, without watchers. It is to be settled. NULL when out of memory.
 */
struct watch_group *watch_group_new(struct user_watch *watch, const struct user_entry *entry);

/* To be called when something was done for the group, as the last thing: puts it into the list
 * where it belongs, or frees it when nobody is left. */
void watch_group_settle(struct watch_group *group);

/* Makes a watcher and sends it the present state. The group is to be settled. Returns 0, or -ENOMEM
 * with the call untouched. */
int watch_group_add(struct watch_group *group, struct grpc_call *call);

/* A newer state is about to be stored, or the user is about to be deleted. Settles the group. */
void watch_group_change(struct watch_group *group, const struct user_record *record);
void watch_group_delete(struct watch_group *group, const struct user_record *record);

/* The task `fan_out`: a slice of what is queued. */
void watch_group_fan_out(struct reactor_task *task);

/* Fails a call because the server is shutting down. */
void user_watch_fail_shutdown(struct grpc_call *call);

#endif
