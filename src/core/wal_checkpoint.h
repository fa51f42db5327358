/*
 * Takes snapshots while the log goes on, and removes what they make superfluous. Inside of the log;
 * nobody else includes it. The way of a snapshot is written down at the head of wal_checkpoint.c.
 *
 * Owns:    the file being written, the list of segments and snapshots in the directory.
 * Borrows: disk, reactor, random source, the source of records.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_CHECKPOINT_H
#define CORE_WAL_CHECKPOINT_H

#include "core/wal.h"
#include "core/wal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct random_source;
struct reactor;
struct wal_checkpoint;

/* One snapshot to be taken. */
struct wal_checkpoint_plan {
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    uint64_t lsn;         /* everything up to it was told */
    uint64_t rate;        /* bytes a second, written and then read back; 0 = no limit */
    uint64_t keep_free;   /* of the disk, for the next segment: with less, it is given up */
    uint64_t durable_lsn; /* so far: it gets its name only when that has reached `lsn` */
    const struct wal_snapshot_source *source;
    void *source_context;
};

struct wal_checkpoint_events {
    /* As wal_events.snapshot, but STARTED, which the log tells. The next one may be started inside.
     */
    void (*ended)(void *owner, const struct wal_snapshot_report *report);
    /* A rename or a sync of the directory failed: final for the log, for nobody knows which names
     * would be found after a crash. `error` is a negative errno. Instead of `ended`. */
    void (*failed)(void *owner, int error);
    /* After wal_checkpoint_stop(): nothing is pending any more. */
    void (*stopped)(void *owner);
};

/* Nothing runs yet, and the disk is not touched: what a crash left of a snapshot is removed when
 * the next one begins. Returns 0 or -ENOMEM. */
int wal_checkpoint_new(struct disk *disk, struct reactor *reactor, struct random_source *random,
                       struct wal_checkpoint **ret_checkpoint);

/* Nothing may be pending; what runs is given up. NULL is fine. */
void wal_checkpoint_free(struct wal_checkpoint *checkpoint);

void wal_checkpoint_set_events(struct wal_checkpoint *checkpoint,
                               const struct wal_checkpoint_events *events, void *owner);

/* A segment or a whole snapshot is in the directory: at start in ascending order, later as they are
 * made (its own snapshots it knows). Returns 0 or -ENOMEM. */
int wal_checkpoint_note_segment(struct wal_checkpoint *checkpoint, uint64_t first_lsn);
int wal_checkpoint_note_snapshot(struct wal_checkpoint *checkpoint, uint64_t lsn);

unsigned wal_checkpoint_segment_count(const struct wal_checkpoint *checkpoint);

/* Begins one; none may be running, and `lsn` is no less than that of any other. `source->begin`
 * runs inside, all else from the loop. Returns 0, then `ended` will run unless it is stopped; or
 * negative errno with nothing begun. */
int wal_checkpoint_start(struct wal_checkpoint *checkpoint, const struct wal_checkpoint_plan *plan);

bool wal_checkpoint_is_running(const struct wal_checkpoint *checkpoint);

/* Operations on the disk are under way: it must not be freed. */
bool wal_checkpoint_is_pending(const struct wal_checkpoint *checkpoint);

/* The log is durable up to here now. */
void wal_checkpoint_note_durable(struct wal_checkpoint *checkpoint, uint64_t lsn);

/* Gives up what runs, at once as far as it can: the source's `end` runs inside. The file begun
 * stays, until another snapshot begins. No event but `stopped`, from the loop, and only if
 * something was pending. Nothing may be started afterwards. Safe twice. */
void wal_checkpoint_stop(struct wal_checkpoint *checkpoint);

#endif
