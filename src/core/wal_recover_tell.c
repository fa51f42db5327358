/*
 * What recovery tells: refusals, with the place and what would be missing if the log ended there;
 * records; and how far it has come.
 */
#include "core/clock.h"
#include "core/wal_recover.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_NS CLOCK_NS_PER_S

int wal_recover_refuse(struct wal_recovery *recovery, int outcome, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(recovery->problem, WAL_PROBLEM_SIZE, format, arguments); /* may be cut */
    va_end(arguments);
    return outcome;
}

int wal_recover_refuse_io(struct wal_recovery *recovery, int error, const char *name)
{
    return wal_recover_refuse(recovery, error, "%s: %s", name, strerror(-error));
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t wal_recover_witnessed_lsn(const struct wal_recovery *recovery)
{
    const uint64_t last_segment = wal_lsns_last(&recovery->segments);
    const uint64_t lsn = max_of(recovery->control->durable_lsn, max_of(last_segment, 1) - 1);

    return max_of(lsn, wal_lsns_last(&recovery->snapshots));
}

int wal_recover_refuse_damage(struct wal_recovery *recovery, uint64_t offset, uint64_t seen_lsn,
                              const char *format, ...)
{
    const uint64_t last_lsn = max_of(seen_lsn, wal_recover_witnessed_lsn(recovery));
    char what[WAL_PROBLEM_SIZE / 2];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(what, sizeof(what), format, arguments); /* may be cut */
    va_end(arguments);
    if (last_lsn < recovery->next_lsn) {
        return wal_recover_refuse(recovery, WAL_E_DAMAGED,
                                  "%s: damaged at offset %" PRIu64 ", where record %" PRIu64
                                  " is expected: %s",
                                  recovery->name, offset, recovery->next_lsn, what);
    }
    return wal_recover_refuse(recovery, WAL_E_DAMAGED,
                              "%s: damaged at offset %" PRIu64 ": %s; records %" PRIu64
                              " to %" PRIu64 " would be missing",
                              recovery->name, offset, what, recovery->next_lsn, last_lsn);
}

void wal_recover_advance(struct wal_recovery *recovery, uint64_t bytes)
{
    const uint64_t now_ns = clock_monotonic_ns(recovery->clock);
    struct wal_progress *progress = &recovery->progress;
    const uint64_t done = recovery->bytes_before + bytes;

    if (now_ns - recovery->told_ns < PROGRESS_NS) {
        return;
    }
    recovery->told_ns = now_ns;
    progress->file = recovery->name;
    progress->records = recovery->loaded_count + recovery->record_count;
    progress->bytes_done = done < progress->bytes_total ? done : progress->bytes_total;
    progress->elapsed_ns = now_ns - recovery->start_ns;
    recovery->replay->progress(recovery->replay_context, progress);
}

int wal_recover_hand_on(struct wal_recovery *recovery, const struct wal_record *record)
{
    const int result = recovery->replay->record(recovery->replay_context, record);

    if (result == 0) {
        return 0;
    }
    recovery->was_refused = true;
    return wal_recover_refuse(recovery, result, "%s: record %" PRIu64 " was refused",
                              recovery->name, record->lsn);
}
