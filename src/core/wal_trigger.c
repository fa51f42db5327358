/*
 * When a snapshot is taken; how it is taken, wal_checkpoint.c knows.
 *
 * One is due when the log behind the last one takes wal.snapshot_every bytes, or as many as the
 * last one itself took, whichever is more: so what is written for snapshots stays in proportion to
 * what is written for changes, however large the state is. It begins from the log's task, when
 * everyone in a frame that is done has been told, so that the source's state is exactly that after
 * written_lsn.
 *
 * What can go wrong: a snapshot that fails hurts nobody, and the next that is due tries again. That
 * is when the log has grown by another eighth, or a minute later even if nobody writes: on a full
 * disk nobody can, and it may be the snapshot that makes room. But not in the first ten seconds,
 * however fast the log grows, for what made it fail is probably still there; unless someone asks
 * for it. A failed rename or sync of the directory is the log's failure.
 */
#include "core/clock.h"
#include "core/wal_internal.h"

#include <stdio.h>
#include <string.h>

#define RETRY_NS       (60 * CLOCK_NS_PER_S)
#define RETRY_LEAST_NS (10 * CLOCK_NS_PER_S)
#define RETRY_SHARE    8

/* Bytes of log that make a snapshot due. */
static uint64_t due_bytes(const struct wal *wal)
{
    const uint64_t every = wal->options.snapshot_every;

    return every > wal->snapshot_size ? every : wal->snapshot_size;
}

static bool is_due(const struct wal *wal)
{
    if (wal->snapshot_wanted) {
        return true;
    }
    if (wal->options.snapshot_every == 0 || wal->stats.log_bytes < due_bytes(wal)) {
        return false;
    }
    return wal->stats.log_bytes >= wal->retry_bytes &&
           clock_monotonic_ns(wal->reactor->clock) >= wal->retry_ns;
}

static void on_retry_timer(struct timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, retry_timer);

    wal->retry_bytes = 0;
    reactor_defer(wal->reactor, &wal->task);
}

static void on_ended(void *owner, const struct wal_snapshot_report *report)
{
    struct wal *wal = owner;
    struct wal_stats *stats = &wal->stats;

    stats->snapshot_is_running = false;
    stats->segments = wal_checkpoint_segment_count(wal->checkpoint);
    if (report->step == WAL_SNAPSHOT_DONE) {
        stats->snapshots_done++;
        stats->snapshot_lsn = report->lsn;
        stats->snapshot_realtime_ns = clock_realtime_ns(wal->reactor->clock) - report->ns;
        stats->snapshot_bytes = report->bytes;
        stats->snapshot_ns = report->ns;
        stats->log_bytes -= wal->snapshot_bytes;
        wal->snapshot_size = report->bytes;
        wal->retry_ns = 0;
        wal->retry_bytes = 0;
    } else {
        stats->snapshots_failed++;
        wal->retry_ns = clock_monotonic_ns(wal->reactor->clock) + RETRY_LEAST_NS;
        wal->retry_bytes = stats->log_bytes + due_bytes(wal) / RETRY_SHARE;
        /* Without memory for it the log's growth alone decides. */
        (void)reactor_start_timer(wal->reactor, &wal->retry_timer, RETRY_NS);
    }
    wal->events->snapshot(wal->owner, report);
}

static void on_failed(void *owner, int error)
{
    wal_fail(owner, error);
}

static void on_stopped(void *owner)
{
    struct wal *wal = owner;

    reactor_defer(wal->reactor, &wal->task); /* a close may have waited for it */
}

int wal_trigger_init(struct wal *wal)
{
    static const struct wal_checkpoint_events events = {
        .ended = on_ended, .failed = on_failed, .stopped = on_stopped};
    int result = wal_checkpoint_new(wal->disk, wal->reactor, wal->random, &wal->checkpoint);

    wal->retry_timer.fire = on_retry_timer;
    if (result == 0) {
        wal_checkpoint_set_events(wal->checkpoint, &events, wal);
    }
    return result;
}

int wal_trigger_note_segment(struct wal *wal, uint64_t first_lsn)
{
    int result = wal_checkpoint_note_segment(wal->checkpoint, first_lsn);

    wal->stats.segments = wal_checkpoint_segment_count(wal->checkpoint);
    return result;
}

/* Nothing was begun. */
static void tell_no_start(struct wal *wal, int error)
{
    char problem[WAL_PROBLEM_SIZE];
    const struct wal_snapshot_report report = {
        .step = WAL_SNAPSHOT_FAILED,
        .lsn = wal->stats.written_lsn,
        .problem = problem,
    };

    (void)snprintf(problem, sizeof(problem), "cannot begin a snapshot: %s",
                   strerror(-error)); /* fits */
    on_ended(wal, &report);
}

static void begin(struct wal *wal)
{
    struct wal_stats *stats = &wal->stats;
    const struct wal_snapshot_report report = {.step = WAL_SNAPSHOT_STARTED,
                                               .lsn = stats->written_lsn};
    struct wal_checkpoint_plan plan = {
        .lsn = stats->written_lsn,
        .rate = wal->options.snapshot_rate,
        /* A full disk may be helped by what a snapshot makes superfluous. */
        .keep_free = stats->no_space ? 0 : wal->options.segment_size,
        .durable_lsn = stats->durable_lsn,
        .source = wal->source,
        .source_context = wal->source_context,
    };
    int result;

    memcpy(plan.store_uuid, wal->control.now.store_uuid, sizeof(plan.store_uuid));
    wal->snapshot_wanted = false;
    wal->snapshot_bytes = stats->log_bytes;
    result = wal_checkpoint_start(wal->checkpoint, &plan);
    if (result != 0) {
        tell_no_start(wal, result);
        return;
    }
    stats->snapshot_is_running = true;
    wal->sync_due = stats->durable_lsn < stats->written_lsn; /* it waits for that */
    wal->events->snapshot(wal->owner, &report);
}

void wal_trigger_step(struct wal *wal)
{
    if (wal_checkpoint_is_running(wal->checkpoint)) {
        wal_checkpoint_note_durable(wal->checkpoint, wal->stats.durable_lsn);
    } else if (wal->source != NULL && !wal->closing && is_due(wal)) {
        begin(wal);
    }
}

void wal_trigger_stop(struct wal *wal)
{
    wal->stats.snapshot_is_running = false;
    reactor_stop_timer(wal->reactor, &wal->retry_timer);
    wal_checkpoint_stop(wal->checkpoint);
}

int wal_snapshot(struct wal *wal)
{
    if (wal->failed || wal->closing || wal->source == NULL) {
        return WAL_E_FAILED;
    }
    if (wal->snapshot_wanted || wal_checkpoint_is_running(wal->checkpoint)) {
        return WAL_E_BUSY;
    }
    wal->snapshot_wanted = true;
    reactor_defer(wal->reactor, &wal->task);
    return 0;
}
