/*
 * The start of the log, blocking:
 *
 *  1. Read both control files.
 *  2. Recover: replay, decide, cut (wal_recover.c).
 *  3. Write both control files: what was found is durable now, and the mark of the last clean close
 *     goes away. A new store gets its UUID here, before any segment exists.
 *  4. Take over the spare of the last run, if it is whole.
 *  5. Begin a new segment behind what was found; but go on in the last one when nothing was ever
 *     written to it, so that starting and stopping does not fill the disk.
 *
 * A crash between any two of them is met by the same steps again. No room for a segment is no
 * failure: the log opens, can be read, and refuses appends until there is room.
 */
#include "core/wal_start.h"

#include "core/clock.h"
#include "core/random.h"
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
    return result == 0 ? 0 : problem_io(problem, result, "cannot read the CONTROL files");
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
    result = wal_control_write_now(&wal->control);
    wal->control_written_ns = clock_monotonic_ns(wal->reactor->clock);
    return result == 0 ? 0 : problem_io(problem, result, "cannot write the CONTROL files");
}

struct wal_format_segment wal_start_header(struct wal *wal)
{
    struct wal_format_segment header = {
        .first_lsn = wal->stats.durable_lsn + 1,
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

    if (result == 0) {
        result = wal_spare_adopt(&wal->spare);
    }
    if (result == 0 && wal_recover_may_continue(recovery)) {
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

int wal_start(struct wal *wal, struct wal_recovery *recovery)
{
    int result = open_control(wal, recovery->problem);

    recovery->control = &wal->control.now;
    if (result == 0) {
        result = wal_recover(recovery);
    }
    if (result == 0) {
        result = wal_recover_cut(recovery);
    }
    if (result != 0) {
        return result;
    }
    wal->stats.next_lsn = recovery->next_lsn;
    wal->stats.durable_lsn = recovery->next_lsn - 1;
    wal->stats.records_replayed = recovery->record_count;
    wal->stats.torn_bytes =
        recovery->torn_end == 0 ? 0 : recovery->torn_end - recovery->last.offset;
    result = start_control(wal, recovery->problem);
    return result != 0 ? result : start_segment(wal, recovery, recovery->problem);
}

void wal_start_close_files(struct wal *wal)
{
    assert(!wal->flush_pending);
    wal_segment_close(&wal->current);
    wal_spare_deinit(&wal->spare);
    wal_control_deinit(&wal->control);
}
