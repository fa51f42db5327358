/*
 * The start of the log, blocking:
 *
 *  1. Read both control files.
 *  2. Recover: the newest whole snapshot, replay, decide (wal_recover.c). From here on the start
 *     succeeds unless the disk fails: a snapshot that was never finished goes away, which may make
 *     the room that is needed now; then the tail is cut (wal_cut.c).
 *  3. Write both control files: what was found is durable now, and the mark of the last clean close
 *     goes away. A new store gets its UUID here, before any segment exists.
 *  4. Take over the spare of the last run, if it is whole.
 *  5. Begin a new segment behind what was found; but go on in the last one when nothing was ever
 *     written to it, so that starting and stopping does not fill the disk.
 *  6. Put away the snapshots that are damaged: each gets a name under which it is kept for people
 *     and looked at no more.
 *
 * A crash between any two of them is met by the same steps again. No room for a segment is no
 * failure: the log opens, can be read, and refuses appends until there is room.
 */
#include "core/clock.h"
#include "core/random.h"
#include "core/snapshot_format.h"
#include "core/wal_internal.h"
#include "core/wal_recover.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int problem_io(char *problem, int error, const char *what)
{
    (void)snprintf(problem, WAL_PROBLEM_SIZE, "%s: %s", what, strerror(-error)); /* may be cut */
    return error;
}

static int open_control(struct wal *wal, char *problem)
{
    int result = wal_control_init(&wal->control, wal->disk);

    if (result == WAL_FORMAT_E_NEWER) {
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "%s or %s: written by a newer version of this program", WAL_FORMAT_CONTROL_A,
                       WAL_FORMAT_CONTROL_B); /* fits */
        return WAL_E_FOREIGN;
    }
    if (result == WAL_CONTROL_E_MIXED) {
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "%s and %s belong to different stores: one of them was copied from "
                       "elsewhere; the log starts with the right one alone",
                       WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B); /* fits */
        return WAL_E_FOREIGN;
    }
    return result == 0 ? 0 : problem_io(problem, result, "cannot read the CONTROL files");
}

/* Whether the run before may have told records that are gone. What a run before that one has lost
 * counts as well, as long as no record has become durable since. */
static bool may_have_lost(const struct wal *wal, const struct wal_recovery *recovery)
{
    const struct wal_format_control *control = &wal->control.now;

    if (recovery->last.file != NULL && recovery->last.header.is_lazy && !control->is_clean) {
        return true;
    }
    return control->may_have_lost && control->durable_lsn + 1 == recovery->next_lsn;
}

/* The mark of this run: what was found is durable, and the log is open. */
static int start_control(struct wal *wal, char *problem)
{
    struct wal_format_control *now = &wal->control.now;
    int result;

    if (now->sequence == 0) {
        random_fill(wal->random, now->store_uuid, sizeof(now->store_uuid));
    }
    now->durable_lsn = wal->stats.durable_lsn;
    now->realtime_ns = clock_realtime_ns(wal->reactor->clock);
    now->is_clean = false;
    now->may_have_lost = wal->stats.may_have_lost;
    result = wal_control_write_now(&wal->control);
    wal->control_written_ns = clock_monotonic_ns(wal->reactor->clock);
    return result == 0 ? 0 : problem_io(problem, result, "cannot write the CONTROL files");
}

struct wal_format_segment wal_start_header(struct wal *wal)
{
    struct wal_format_segment header = {
        .first_lsn = wal->stats.durable_lsn + 1,
        .is_lazy = wal_is_lazy(wal),
        .realtime_ns = clock_realtime_ns(wal->reactor->clock),
    };

    memcpy(header.store_uuid, wal->control.now.store_uuid, sizeof(header.store_uuid));
    random_fill(wal->random, &header.epoch, sizeof(header.epoch));
    return header;
}

/* Goes on in the last segment when nothing was written to it, else makes a new one. */
static int start_segment(struct wal *wal, struct wal_recovery *recovery, char *problem)
{
    struct wal_format_segment header;
    int result = wal_spare_init(&wal->spare, wal->disk, wal->reactor, wal->options.segment_size);

    wal->spare.keep_free = wal->options.min_free_segments * wal->options.segment_size;
    if (result == 0) {
        result = wal_spare_adopt(&wal->spare);
    }
    if (result == 0 && wal_recover_may_continue(recovery, wal_is_lazy(wal))) {
        wal->current = recovery->last;
        recovery->last.file = NULL;
        return 0;
    }
    if (result == 0) {
        result = wal_spare_fill_now(&wal->spare);
        if (result == -ENOSPC) {
            wal->stats.no_space = true; /* reading is still possible, and there may be room later */
            return 0;
        }
    }
    if (result == 0) {
        header = wal_start_header(wal);
        result = wal_spare_publish_now(&wal->spare, &header, &wal->current);
    }
    return result == 0 ? 0 : problem_io(problem, result, "cannot make a log segment");
}

/* Tells the checkpoint what is in the directory. */
static int list_files(struct wal *wal, const struct wal_recovery *recovery, char *problem)
{
    const struct wal_lsns *segments = &recovery->segments;
    const struct wal_lsns *snapshots = &recovery->snapshots;
    const uint64_t current_lsn = wal->current.header.first_lsn;
    int result = 0;

    for (size_t i = 0; result == 0 && i < segments->count; i++) {
        result = wal_trigger_note_segment(wal, segments->lsns[i]);
    }
    if (result == 0 && wal->current.file != NULL &&
        (segments->count == 0 || segments->lsns[segments->count - 1] != current_lsn)) {
        result = wal_trigger_note_segment(wal, current_lsn);
    }
    for (size_t i = 0; result == 0 && i < snapshots->count - recovery->damaged_snapshots; i++) {
        result = wal_checkpoint_note_snapshot(wal->checkpoint, snapshots->lsns[i]);
    }
    return result == 0 ? 0 : problem_io(problem, result, "cannot list the log");
}

/* What a crash left of a snapshot in the making. */
static int remove_unfinished(struct wal *wal, char *problem)
{
    const int result = wal->disk->ops->remove(wal->disk, SNAPSHOT_FORMAT_TEMPORARY);

    return result == 0 || result == DISK_E_NOT_FOUND
               ? 0
               : problem_io(problem, result, SNAPSHOT_FORMAT_TEMPORARY ": cannot be removed");
}

/* The start has succeeded: damaged snapshots go out of the way. */
static int put_away(struct wal *wal, const struct wal_recovery *recovery, char *problem)
{
    const struct disk_ops *ops = wal->disk->ops;
    const struct wal_lsns *snapshots = &recovery->snapshots;
    char name[WAL_FORMAT_NAME_SIZE];
    char bad_name[WAL_FORMAT_NAME_SIZE];
    int result = 0;

    for (size_t i = snapshots->count - recovery->damaged_snapshots;
         result == 0 && i < snapshots->count; i++) {
        snapshot_format_name(snapshots->lsns[i], name);
        snapshot_format_bad_name(snapshots->lsns[i], bad_name);
        result = ops->rename(wal->disk, name, bad_name);
    }
    if (result == 0 && recovery->damaged_snapshots > 0) {
        result = ops->sync_directory(wal->disk);
    }
    if (result == DISK_E_NOT_FOUND) {
        result = -ENOENT;
    }
    return result == 0 ? 0 : problem_io(problem, result, "cannot put damaged snapshots away");
}

static void take_stats(struct wal *wal, const struct wal_recovery *recovery)
{
    struct wal_stats *stats = &wal->stats;

    stats->next_lsn = recovery->next_lsn;
    stats->written_lsn = recovery->next_lsn - 1;
    stats->durable_lsn = recovery->next_lsn - 1;
    stats->records_replayed = recovery->record_count;
    stats->records_loaded = recovery->loaded_count;
    stats->torn_bytes = recovery->torn_end == 0 ? 0 : recovery->torn_end - recovery->last.offset;
    stats->may_have_lost = may_have_lost(wal, recovery);
    stats->snapshot_lsn = recovery->snapshot_lsn;
    stats->snapshot_realtime_ns = recovery->snapshot_realtime_ns;
    stats->snapshot_bytes = recovery->snapshot_size;
    stats->log_bytes = recovery->log_bytes;
    wal->snapshot_size = recovery->snapshot_size;
}

int wal_start(struct wal *wal, struct wal_recovery *recovery)
{
    char *problem = recovery->problem;
    int result = open_control(wal, problem);

    recovery->control = &wal->control.now;
    if (result == 0) {
        result = wal_recover(recovery);
    }
    if (result == 0) {
        result = remove_unfinished(wal, problem);
    }
    if (result == 0) {
        result = wal_recover_cut(recovery);
    }
    if (result != 0) {
        return result;
    }
    take_stats(wal, recovery);
    result = start_control(wal, problem);
    if (result == 0) {
        result = start_segment(wal, recovery, problem);
    }
    if (result == 0) {
        result = list_files(wal, recovery, problem);
    }
    return result != 0 ? result : put_away(wal, recovery, problem);
}

void wal_start_close_files(struct wal *wal)
{
    assert(!wal->flush_pending && !wal->sync_pending);
    wal_segment_close(&wal->current);
    wal_spare_deinit(&wal->spare);
    wal_control_deinit(&wal->control);
}
