/*
 * The log itself, started and stopped by hand: on a trial disk to learn what userd would do, on the
 * real one to take a snapshot. What it holds goes into a store of users, as in userd.
 *
 * Owns:    the loop, the store, the texts.
 * Borrows: disks.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_ENGINE_H
#define TOOLS_USERWAL_ENGINE_H

#include "core/reactor.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct user_snapshot;
struct user_store;

#define USERWAL_NOTICES_MAX 8

struct userwal_engine {
    struct reactor reactor;
    struct user_store *store;
    struct wal *wal;              /* NULL = not open */
    struct user_snapshot *source; /* of its snapshots, once one was asked for */
    bool is_closed;
    uint64_t refused_lsn; /* of a record that does not fit the others; 0 = none */
    int failed_error;     /* the disk failed; 0 = it did not */
    char problem[WAL_PROBLEM_SIZE];
    char *notices[USERWAL_NOTICES_MAX];
    size_t notice_count;
    struct wal_stats stats; /* as after the start */
    bool snapshot_has_ended;
    bool snapshot_is_done;
    struct wal_snapshot_report snapshot;
};

/* Returns 0, or the exit code after it has said why. */
int userwal_engine_init(struct userwal_engine *engine);

/* The log must be closed. Safe when zeroed. */
void userwal_engine_deinit(struct userwal_engine *engine);

/* Starts the log that the disk holds, as userd would, with segments of so many bytes. 0: it is
 * open. WAL_E_DAMAGED, WAL_E_FOREIGN or negative errno: it would not start, and `problem` says why.
 */
int userwal_engine_open(struct userwal_engine *engine, struct disk *disk, uint64_t segment_size);

/* Returns 0 or negative errno. */
int userwal_engine_close(struct userwal_engine *engine);

/* Both of them, for a trial. Returns as userwal_engine_open() does. */
int userwal_engine_try(struct userwal_engine *engine, struct disk *disk);

/* Takes a snapshot of the open log and waits for its end. Returns 0; or an exit code after it has
 * said why. */
int userwal_engine_snapshot(struct userwal_engine *engine);

/* Reads one snapshot into the store. Returns as snapshot_read() does, with `problem` filled in. */
int userwal_engine_load_snapshot(struct userwal_engine *engine, struct disk *disk, uint64_t lsn);

/* The exit code for such a result: damaged, or I/O. */
int userwal_engine_exit_code(int result);

#endif
