/*
 * The write-ahead log: how a record becomes durable. What stands on disk is written down at the
 * head of wal_format.c; what happens at start in wal_recover.c; how segments are made in
 * wal_segment.c; snapshots in wal_checkpoint.c. This file is the life of the log, and wal_flush.c
 * its way to the disk.
 *
 * A commit:
 *
 *  1. wal_append() gives the record its LSN, puts it into the queue, and asks for the task at the
 *     end of the turn. So everything that one turn brings is one commit.
 *  2. wal_run(), the task, is the one place that decides what to do next. With no flush in
 *     flight it packs the head of the queue into one frame (512 records, 1 MiB, what the segment
 *     has left) and has it written and synced, the sync only after a whole write.
 *  3. wal_on_flush(): both have succeeded. durable_lsn moves, `done` runs in LSN order, and the
 *     task is asked for again. What was appended meanwhile, by these `done`s too, is the next
 *     frame.
 *  4. When nothing follows for 10 ms, a SEAL frame testifies to what stands before it; and once a
 *     second, while something changes, the control file does.
 *
 * With a sync interval, 3. comes after the write alone, and the sync some time later.
 *
 * When the next record does not fit into the segment, the spare becomes the segment; if there is
 * none yet, the queue waits for it. Close flushes the queue, writes a CLOSE frame (unless the
 * segment has no frame at all: then the next start goes on in it) and the clean mark, and frees
 * from the task. A snapshot that is being taken is given up.
 *
 * What can go wrong
 *
 *  - A write or sync fails, of a frame, the control file or a spare, or a name cannot be made
 *    durable: final. `failed`, then -EIO to everyone who waits. Never a second try: after a failed
 *    sync the kernel may call pages clean that never reached the disk, and a second sync would say
 *    so too.
 *  - What waits has waited for longer than it may: nothing more is taken until it is told.
 *  - No room for a further spare: not a failure. `space` tells; the rest of the present segment is
 *    used up; then appends are refused until there is room again. Who was accepted waits.
 *  - A snapshot fails: not a failure either; see wal_trigger.c.
 *  - A crash at any point: see wal_format.c.
 */
#include "core/wal.h"

#include "core/snapshot_format.h"
#include "core/wal_format.h"
#include "core/wal_internal.h"
#include "core/wal_recover.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static_assert(WAL_RECORD_SIZE_MAX + SNAPSHOT_FORMAT_PREFIX_SIZE <= WAL_FORMAT_RECORD_SIZE_MAX,
              "what the log takes, a snapshot takes");
static_assert(WAL_SEGMENT_SIZE_MIN >= WAL_RECORD_SIZE_MAX + 4 * WAL_FORMAT_BLOCK_SIZE,
              "header, the longest record in its frame, and a seal");

static void wal_run(struct reactor_task *task);
static void wal_on_spare(struct wal_spare *spare, int error);

static void wal_free(struct wal *wal)
{
    assert(list_is_empty(&wal->queue));
    assert(list_is_empty(&wal->flying));
    wal_checkpoint_free(wal->checkpoint);
    free(wal->frame);
    free(wal);
}

static int wal_alloc(const struct wal_environment *environment, const struct wal_options *options,
                     struct wal **ret_wal)
{
    struct wal *wal = calloc(1, sizeof(*wal));

    if (wal == NULL) {
        return -ENOMEM;
    }
    wal->disk = environment->disk;
    wal->reactor = environment->reactor;
    wal->random = environment->random;
    wal->options = *options;
    list_init(&wal->queue);
    list_init(&wal->flying);
    list_init(&wal->task.link);
    wal->task.run = wal_run;
    wal->frame = aligned_alloc(DISK_BLOCK_SIZE, WAL_FORMAT_FRAME_SIZE_MAX);
    if (wal->frame == NULL || wal_trigger_init(wal) != 0) {
        wal_free(wal);
        return -ENOMEM;
    }
    *ret_wal = wal;
    return 0;
}

int wal_open(const struct wal_environment *environment, const struct wal_options *options,
             const struct wal_replay *replay, void *replay_context, char *problem,
             struct wal **ret_wal)
{
    struct wal_recovery recovery = {
        .disk = environment->disk,
        .clock = environment->reactor->clock,
        .replay = replay,
        .replay_context = replay_context,
        .problem = problem,
    };
    struct wal *wal = NULL;
    int result;

    problem[0] = '\0';
    if (options->segment_size < WAL_SEGMENT_SIZE_MIN ||
        options->segment_size % DISK_BLOCK_SIZE != 0) {
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "wal.segment_size: at least %d, and a multiple of %d", WAL_SEGMENT_SIZE_MIN,
                       DISK_BLOCK_SIZE); /* fits */
        return -EINVAL;
    }
    result = wal_alloc(environment, options, &wal);
    if (result != 0) {
        (void)snprintf(problem, WAL_PROBLEM_SIZE, "no memory for the log"); /* fits */
        return result;
    }
    result = wal_start(wal, &recovery);
    wal_recover_deinit(&recovery);
    if (result != 0) {
        wal_start_close_files(wal);
        wal_free(wal);
        return result;
    }
    wal_flush_init(wal);
    wal->spare.changed = wal_on_spare;
    reactor_defer(wal->reactor, &wal->task); /* the next spare */
    *ret_wal = wal;
    return 0;
}

void wal_set_events(struct wal *wal, const struct wal_events *events, void *owner)
{
    wal->events = events;
    wal->owner = owner;
}

void wal_set_source(struct wal *wal, const struct wal_snapshot_source *source, void *context)
{
    wal->source = source;
    wal->source_context = context;
}

const struct wal_stats *wal_stats(const struct wal *wal)
{
    return &wal->stats;
}

/* Appending. */

/* Whether the queue and this record would fit into the present segment. Exact when they make one
 * frame; with more, each may end up to one longest record early, and has a block's padding. */
static bool wal_fits(const struct wal *wal, const struct wal_append *append)
{
    const uint64_t frame_payload_min =
        WAL_FORMAT_FRAME_SIZE_MAX - WAL_RECORD_SIZE_MAX - WAL_FORMAT_BLOCK_SIZE;
    const uint64_t bytes = wal->queue_bytes + wal_payload_size(append);
    const uint64_t frames =
        wal->queue_count / WAL_FORMAT_FRAME_RECORDS_MAX + bytes / frame_payload_min;

    return wal_format_frame_size(bytes) + frames * 2 * WAL_FORMAT_BLOCK_SIZE <= wal_flush_room(wal);
}

/* Whether the disk keeps those who wait for too long. */
static bool is_slow(const struct wal *wal)
{
    const struct list *waiting = list_is_empty(&wal->flying) ? &wal->queue : &wal->flying;
    const struct wal_append *oldest;

    if (wal->options.max_pending_ns == 0 || list_is_empty(waiting)) {
        return false;
    }
    oldest = CONTAINER_OF(waiting->next, struct wal_append, link);
    return wal->reactor->now_ns - oldest->queued_ns > wal->options.max_pending_ns;
}

/* Notes which option of the configuration it is that refuses. */
static int refuse(struct wal *wal, enum limits_hit_reason reason, int result)
{
    limits_hit_add(&wal->reactor->limits_hit, reason);
    return result;
}

int wal_append(struct wal *wal, struct wal_append *append)
{
    struct wal_stats *stats = &wal->stats;

    if (wal->failed || wal->closing) {
        return WAL_E_FAILED;
    }
    if (append->body.size > WAL_RECORD_SIZE_MAX) {
        return WAL_E_TOO_LARGE;
    }
    if (stats->pending >= wal->options.max_pending) {
        return refuse(wal, LIMITS_HIT_PENDING, WAL_E_FULL);
    }
    if (append->body.size > wal->options.max_pending_bytes ||
        stats->pending_bytes > wal->options.max_pending_bytes - append->body.size) {
        return refuse(wal, LIMITS_HIT_PENDING_BYTES, WAL_E_FULL);
    }
    if (stats->no_space && !wal_fits(wal, append)) {
        return refuse(wal, LIMITS_HIT_DISK_SPACE, WAL_E_NO_SPACE);
    }
    if (is_slow(wal)) {
        return refuse(wal, LIMITS_HIT_PENDING_AGE, WAL_E_SLOW);
    }
    append->lsn = stats->next_lsn++;
    append->queued_ns = wal->reactor->now_ns;
    list_init(&append->link);
    list_push_back(&wal->queue, &append->link);
    wal->queue_bytes += wal_payload_size(append);
    wal->queue_count++;
    stats->pending++;
    stats->pending_bytes += append->body.size;
    reactor_defer(wal->reactor, &wal->task);
    return 0;
}

/* Telling. */

void wal_tell(struct wal *wal, struct list *appends, int result)
{
    struct wal_append *append;
    struct list *link;

    while ((link = list_pop_front(appends)) != NULL) {
        append = CONTAINER_OF(link, struct wal_append, link);
        wal->stats.pending--;
        wal->stats.pending_bytes -= append->body.size;
        append->done(append, result);
    }
}

void wal_tell_all(struct wal *wal, int result)
{
    struct list all;

    list_init(&all);
    list_splice_back(&all, &wal->flying);
    list_splice_back(&all, &wal->queue);
    wal->queue_bytes = 0;
    wal->queue_count = 0;
    wal_tell(wal, &all, result);
}

void wal_fail(struct wal *wal, int error)
{
    if (wal->failed) {
        return;
    }
    wal->failed = true;
    wal_flush_stop(wal);
    wal_spare_stop(&wal->spare);
    reactor_defer(wal->reactor, &wal->task); /* it may have to end a close */
    wal->events->failed(wal->owner, error);
    wal_tell_all(wal, -EIO);
}

/* The task. */

static void note_space(struct wal *wal)
{
    const enum wal_spare_state state = wal->spare.state;
    const bool changed =
        wal->stats.no_space ? state == WAL_SPARE_READY : state == WAL_SPARE_NO_SPACE;

    if (changed) {
        wal->stats.no_space = !wal->stats.no_space;
        wal->events->space(wal->owner, wal->stats.no_space);
    }
}

static bool is_publishing(const struct wal *wal)
{
    return wal->spare.state >= WAL_SPARE_HEADING && wal->spare.state <= WAL_SPARE_SYNCING_NAME;
}

/* Whatever can be done now. Returns 0 or negative errno. */
static int step(struct wal *wal)
{
    int result;

    /* First, so that a close knows whether there is room for what waits. */
    if (wal->spare.state == WAL_SPARE_NONE && (!wal->closing || !list_is_empty(&wal->queue))) {
        result = wal_spare_start(&wal->spare);
        if (result != 0) {
            return result;
        }
        note_space(wal);
    }
    result = wal_flush_sync(wal);
    if (result != 0 || wal->flush_pending || is_publishing(wal)) {
        return result;
    }
    return wal_flush_step(wal);
}

static bool is_finished(const struct wal *wal)
{
    return wal->closing && !wal_flush_is_pending(wal) && !wal->spare.pending &&
           !wal_checkpoint_is_pending(wal->checkpoint) && list_is_empty(&wal->queue) &&
           (wal->failed || wal->clean_marked);
}

static void wal_run(struct reactor_task *task)
{
    struct wal *wal = CONTAINER_OF(task, struct wal, task);
    int result;

    assert(wal->events != NULL);
    if (!wal->failed) {
        wal_trigger_step(wal); /* may fail the log */
    }
    if (!wal->failed) {
        result = step(wal);
        if (result != 0) {
            wal_fail(wal, result);
        }
    }
    if (wal->failed || wal->closing) {
        wal_trigger_stop(wal);
    }
    if (is_finished(wal)) {
        reactor_undefer(&wal->task);
        wal_start_close_files(wal);
        wal->events->closed(wal->owner);
        wal_free(wal);
    }
}

static void wal_on_spare(struct wal_spare *spare, int error)
{
    struct wal *wal = CONTAINER_OF(spare, struct wal, spare);

    reactor_defer(wal->reactor, &wal->task);
    if (wal->failed || spare->stopping) {
        return;
    }
    if (error == 0 && spare->state == WAL_SPARE_PUBLISHED) {
        assert(!wal->sync_pending);
        wal_segment_close(&wal->current);
        wal_spare_take(spare, &wal->current);
        error = wal_trigger_note_segment(wal, wal->current.header.first_lsn);
    }
    if (error != 0) {
        wal_fail(wal, error);
    } else {
        note_space(wal);
    }
}

void wal_close(struct wal *wal)
{
    wal->closing = true;
    reactor_defer(wal->reactor, &wal->task);
}
