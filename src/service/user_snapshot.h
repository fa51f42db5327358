/*
 * The users as they were at one moment, handed out one by one while changes go on: an entry that a
 * change replaces or removes before it was handed out is kept back until it is.
 *
 * Owns:    the entries kept back; room for one record.
 * Borrows: the store.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_SNAPSHOT_H
#define SERVICE_USER_SNAPSHOT_H

#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct user_entry;
struct user_snapshot;
struct user_store;

struct user_snapshot_stats {
    bool is_running;
    uint64_t kept_bytes;   /* now */
    uint64_t kept_max;     /* the most there ever were */
    uint64_t given_up;     /* snapshots that would have kept back more than the limit */
    uint64_t kept_entries; /* now */
};

/* `max_kept` is wal.snapshot_max_kept, in bytes. Returns 0 or -ENOMEM. */
int user_snapshot_new(struct user_store *store, uint64_t max_kept,
                      struct user_snapshot **ret_snapshot);

/* NULL is fine. */
void user_snapshot_free(struct user_snapshot *snapshot);

/* For commit_log_callbacks.snapshot; the context is the struct user_snapshot. The first record is
 * of USER_RECORD_COUNTERS, the others are USER_RECORD_PUT; now and then the first comes again. */
const struct wal_snapshot_source *user_snapshot_source(void);

const struct user_snapshot_stats *user_snapshot_stats(const struct user_snapshot *snapshot);

#endif
