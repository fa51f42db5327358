/*
 * The write-ahead log: how a record becomes durable. What stands on disk is written down at the
 * head of wal_format.c; what happens at start in wal_recover.c; how segments are made in
 * wal_segment.c. This file is the commit path and the life of the log.
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
 * When the next record does not fit into the segment, the spare becomes the segment; if there is
 * none yet, the queue waits for it. Close flushes the queue, writes a CLOSE frame (unless the
 * segment has no frame at all: then the next start goes on in it) and the clean mark, and frees
 * from the task.
 *
 * What can go wrong
 *
 *  - A write or sync fails, of a frame, the control file or a spare: final. `failed`, then -EIO to
 *    everyone who waits. Never a second try: after a failed sync the kernel may call pages clean
 *    that never reached the disk, and a second sync would say so too.
 *  - No room for a further spare: not a failure. `space` tells; the rest of the present segment is
 *    used up; then appends are refused until there is room again. Who was accepted waits.
 *  - A crash at any point: see wal_format.c.
 */
#include "core/wal.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/reactor.h"
#include "core/wal_control.h"
#include "core/wal_format.h"
#include "core/wal_recover.h"
#include "core/wal_segment.h"
#include "core/wal_start.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SEAL_NS    (10 * CLOCK_NS_PER_MS)
#define CONTROL_NS CLOCK_NS_PER_S

static_assert(WAL_RECORD_SIZE_MAX == WAL_FORMAT_RECORD_SIZE_MAX, "one limit, said twice");
static_assert(WAL_SEGMENT_SIZE_MIN >= WAL_RECORD_SIZE_MAX + 4 * WAL_FORMAT_BLOCK_SIZE,
              "header, the longest record in its frame, and a seal");

static void wal_run(struct reactor_task *task);
static void wal_on_flush(struct disk_op *op, int result);
static void wal_on_spare(struct wal_spare *spare, int error);
static void wal_on_control(struct wal_control *control, int error);
static void wal_on_seal_timer(struct timer *timer);
static void wal_on_control_timer(struct timer *timer);

static int wal_alloc(struct wal **ret_wal)
{
    struct wal *wal = calloc(1, sizeof(*wal));

    if (wal == NULL) {
        return -ENOMEM;
    }
    list_init(&wal->queue);
    list_init(&wal->flying);
    list_init(&wal->task.link);
    wal->task.run = wal_run;
    wal->flush_op.done = wal_on_flush;
    wal->seal_timer.fire = wal_on_seal_timer;
    wal->control_timer.fire = wal_on_control_timer;
    wal->frame = aligned_alloc(DISK_BLOCK_SIZE, WAL_FORMAT_FRAME_SIZE_MAX);
    if (wal->frame == NULL) {
        free(wal);
        return -ENOMEM;
    }
    *ret_wal = wal;
    return 0;
}

static void wal_free(struct wal *wal)
{
    assert(list_is_empty(&wal->queue));
    assert(list_is_empty(&wal->flying));
    free(wal->frame);
    free(wal);
}

int wal_open(const struct wal_environment *environment, const struct wal_options *options,
             wal_replay_fn replay, void *replay_context, char *problem, struct wal **ret_wal)
{
    struct wal_recovery recovery = {
        .disk = environment->disk,
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
    result = wal_alloc(&wal);
    if (result != 0) {
        (void)snprintf(problem, WAL_PROBLEM_SIZE, "no memory for the log"); /* fits */
        return result;
    }
    wal->disk = environment->disk;
    wal->reactor = environment->reactor;
    wal->random = environment->random;
    wal->options = *options;
    result = wal_start(wal, &recovery);
    wal_recover_deinit(&recovery);
    if (result != 0) {
        wal_start_close_files(wal);
        wal_free(wal);
        return result;
    }
    wal->control.written = wal_on_control;
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

const struct wal_stats *wal_stats(const struct wal *wal)
{
    return &wal->stats;
}

/* Appending. */

static uint64_t payload_size(const struct wal_append *append)
{
    return WAL_FORMAT_RECORD_HEADER_SIZE + append->body.size;
}

/* Bytes that a frame with records may still take here: the last block is kept for a mark. */
static uint64_t wal_room(const struct wal *wal)
{
    const uint64_t room = wal_segment_room(&wal->current);

    return room < WAL_FORMAT_BLOCK_SIZE ? 0 : room - WAL_FORMAT_BLOCK_SIZE;
}

/* Whether the queue and this record would fit into the present segment. Exact when they make one
 * frame; with more, each may end up to one longest record early, and has a block's padding. */
static bool wal_fits(const struct wal *wal, const struct wal_append *append)
{
    const uint64_t frame_payload_min =
        WAL_FORMAT_FRAME_SIZE_MAX - WAL_RECORD_SIZE_MAX - WAL_FORMAT_BLOCK_SIZE;
    const uint64_t bytes = wal->queue_bytes + payload_size(append);
    const uint64_t frames =
        wal->queue_count / WAL_FORMAT_FRAME_RECORDS_MAX + bytes / frame_payload_min;

    return wal_format_frame_size(bytes) + frames * 2 * WAL_FORMAT_BLOCK_SIZE <= wal_room(wal);
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
    if (stats->pending >= wal->options.max_pending ||
        append->body.size > wal->options.max_pending_bytes ||
        stats->pending_bytes > wal->options.max_pending_bytes - append->body.size) {
        return WAL_E_FULL;
    }
    if (stats->no_space && !wal_fits(wal, append)) {
        return WAL_E_NO_SPACE;
    }
    append->lsn = stats->next_lsn++;
    list_init(&append->link);
    list_push_back(&wal->queue, &append->link);
    wal->queue_bytes += payload_size(append);
    wal->queue_count++;
    stats->pending++;
    stats->pending_bytes += append->body.size;
    reactor_defer(wal->reactor, &wal->task);
    return 0;
}

/* Tells everyone in the list, in order. */
static void tell(struct wal *wal, struct list *appends, int result)
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

/* Tells everyone who waits that it will not be durable, or that nobody knows. */
static void tell_all(struct wal *wal, int result)
{
    struct list all;

    list_init(&all);
    list_splice_back(&all, &wal->flying);
    list_splice_back(&all, &wal->queue);
    wal->queue_bytes = 0;
    wal->queue_count = 0;
    tell(wal, &all, result);
}

static void wal_fail(struct wal *wal, int error)
{
    if (wal->failed) {
        return;
    }
    wal->failed = true;
    reactor_stop_timer(wal->reactor, &wal->seal_timer);
    reactor_stop_timer(wal->reactor, &wal->control_timer);
    wal_spare_stop(&wal->spare);
    reactor_defer(wal->reactor, &wal->task); /* it may have to end a close */
    wal->events->failed(wal->owner, error);
    tell_all(wal, -EIO);
}

/* Flushing. */

static struct wal_append *first_in_queue(struct wal *wal)
{
    return CONTAINER_OF(wal->queue.next, struct wal_append, link);
}

/* Moves the head of the queue into the frame buffer, as much as fits. Returns the payload size. */
static size_t pack(struct wal *wal)
{
    const uint64_t room = wal_room(wal);
    const uint64_t limit = (room < WAL_FORMAT_FRAME_SIZE_MAX ? room : WAL_FORMAT_FRAME_SIZE_MAX) -
                           WAL_FORMAT_FRAME_HEADER_SIZE;
    uint8_t *payload = wal->frame + WAL_FORMAT_FRAME_HEADER_SIZE;
    size_t size = 0;

    wal->frame_records = 0;
    while (!list_is_empty(&wal->queue) && wal->frame_records < WAL_FORMAT_FRAME_RECORDS_MAX) {
        struct wal_append *append = first_in_queue(wal);

        if (size + payload_size(append) > limit) {
            break;
        }
        size += wal_format_put_record(payload + size, append->type, append->body);
        list_remove(&append->link);
        list_push_back(&wal->flying, &append->link);
        wal->frame_records++;
    }
    wal->queue_bytes -= size;
    wal->queue_count -= wal->frame_records;
    return size;
}

/* Sends off the frame whose payload stands in the buffer. Returns 0 or negative errno. */
static int submit_frame(struct wal *wal, uint16_t flags, size_t size)
{
    struct wal_segment *current = &wal->current;
    struct wal_format_frame frame = {
        .flags = flags,
        .payload_size = (uint32_t)size,
        .record_count = wal->frame_records,
        .epoch = current->header.epoch,
        .first_lsn = wal->stats.durable_lsn + 1,
        .durable_lsn = wal->stats.durable_lsn,
        .realtime_ns = clock_realtime_ns(wal->reactor->clock),
        .prev_crc = current->prev_crc,
    };
    const uint64_t offset = current->offset;
    int result;

    assert(!wal->flush_pending);
    wal->frame_size = wal_format_put_frame(wal->frame, &frame);
    assert(wal->frame_size <= wal_segment_room(current));
    current->offset += wal->frame_size;
    current->prev_crc = frame.crc;
    current->frame_count++;
    wal->frame_start_ns = clock_monotonic_ns(wal->reactor->clock);
    result = wal->disk->ops->write_synced(current->file, &wal->flush_op,
                                          (struct bytes){wal->frame, wal->frame_size}, offset);
    wal->flush_pending = result == 0;
    return result;
}

/* A frame that only testifies. */
static int submit_mark(struct wal *wal, uint16_t flags)
{
    wal->frame_records = 0;
    return submit_frame(wal, flags, 0);
}

/* The queue's next step: a flush, or a further segment. */
static int step_queue(struct wal *wal)
{
    const uint64_t size = wal_format_frame_size(payload_size(first_in_queue(wal)));
    struct wal_format_segment header;

    if (size <= wal_room(wal)) {
        wal->seal_due = false;
        reactor_stop_timer(wal->reactor, &wal->seal_timer);
        return submit_frame(wal, 0, pack(wal));
    }
    if (wal->spare.state == WAL_SPARE_READY) {
        header = wal_start_header(wal);
        return wal_spare_publish(&wal->spare, &header);
    }
    if (wal->closing && wal->spare.state == WAL_SPARE_NO_SPACE) {
        tell_all(wal, -ENOSPC);
        reactor_defer(wal->reactor, &wal->task);
    }
    return 0;
}

static int write_control(struct wal *wal, bool is_clean)
{
    struct wal_format_control *now = &wal->control.now;

    now->durable_lsn = wal->stats.durable_lsn;
    now->realtime_ns = clock_realtime_ns(wal->reactor->clock);
    now->is_clean = is_clean;
    wal->control_written_ns = clock_monotonic_ns(wal->reactor->clock);
    return wal_control_write(&wal->control);
}

/* Close, once the queue is empty: the mark in the segment, then the mark in the control file. */
static int step_close(struct wal *wal)
{
    wal_spare_stop(&wal->spare);
    reactor_stop_timer(wal->reactor, &wal->seal_timer);
    reactor_stop_timer(wal->reactor, &wal->control_timer);
    if (!wal->close_marked) {
        wal->close_marked = true;
        if (wal->current.frame_count > 0 &&
            wal_segment_room(&wal->current) >= WAL_FORMAT_BLOCK_SIZE) {
            return submit_mark(wal, WAL_FORMAT_FRAME_CLOSE);
        }
    }
    if (wal->clean_marked || wal->control.pending) {
        return 0;
    }
    wal->clean_marked = true;
    return write_control(wal, true);
}

static int step_idle(struct wal *wal)
{
    if (wal->closing) {
        return step_close(wal);
    }
    if (wal->seal_due) {
        wal->seal_due = false;
        if (wal_segment_room(&wal->current) >= WAL_FORMAT_BLOCK_SIZE) {
            return submit_mark(wal, WAL_FORMAT_FRAME_SEAL);
        }
    }
    return 0;
}

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
    if (wal->flush_pending || is_publishing(wal)) {
        return 0;
    }
    return list_is_empty(&wal->queue) ? step_idle(wal) : step_queue(wal);
}

static bool is_finished(const struct wal *wal)
{
    return wal->closing && !wal->flush_pending && !wal->control.pending && !wal->spare.pending &&
           list_is_empty(&wal->queue) && (wal->failed || wal->clean_marked);
}

static void wal_run(struct reactor_task *task)
{
    struct wal *wal = CONTAINER_OF(task, struct wal, task);
    int result;

    assert(wal->events != NULL);
    if (!wal->failed) {
        result = step(wal);
        if (result != 0) {
            wal_fail(wal, result);
        }
    }
    if (is_finished(wal)) {
        reactor_undefer(&wal->task);
        wal_start_close_files(wal);
        wal->events->closed(wal->owner);
        wal_free(wal);
    }
}

/* Starts the control write that is due, or the timer for it. Returns 0 or negative errno. */
static int renew_control(struct wal *wal)
{
    const uint64_t now_ns = clock_monotonic_ns(wal->reactor->clock);
    const uint64_t due_ns = wal->control_written_ns + CONTROL_NS;

    if (wal->closing || wal->control.pending || timer_is_armed(&wal->control_timer) ||
        wal->control.now.durable_lsn == wal->stats.durable_lsn) {
        return 0;
    }
    if (now_ns < due_ns) {
        return reactor_start_timer(wal->reactor, &wal->control_timer, due_ns - now_ns);
    }
    return write_control(wal, false);
}

static void count_flush(struct wal *wal)
{
    struct wal_stats *stats = &wal->stats;
    const uint64_t ns = clock_monotonic_ns(wal->reactor->clock) - wal->frame_start_ns;

    stats->frames_written++;
    stats->records_written += wal->frame_records;
    stats->bytes_written += wal->frame_size;
    stats->sync_ns_total += ns;
    if (ns > stats->sync_ns_max) {
        stats->sync_ns_max = ns;
    }
}

static void wal_on_flush(struct disk_op *op, int result)
{
    struct wal *wal = CONTAINER_OF(op, struct wal, flush_op);

    wal->flush_pending = false;
    reactor_defer(wal->reactor, &wal->task);
    if (wal->failed) {
        return;
    }
    if (result == 0) {
        count_flush(wal);
        wal->stats.durable_lsn += wal->frame_records;
        tell(wal, &wal->flying, 0);
        if (wal->frame_records > 0 && !wal->closing) {
            result = reactor_start_timer(wal->reactor, &wal->seal_timer, SEAL_NS);
        }
    }
    if (result == 0) {
        result = renew_control(wal);
    }
    if (result != 0) {
        wal_fail(wal, result);
    }
}

static void wal_on_seal_timer(struct timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, seal_timer);

    wal->seal_due = true;
    reactor_defer(wal->reactor, &wal->task);
}

static void wal_on_control_timer(struct timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, control_timer);
    int result = renew_control(wal);

    if (result != 0) {
        wal_fail(wal, result);
    }
}

static void wal_on_control(struct wal_control *control, int error)
{
    struct wal *wal = CONTAINER_OF(control, struct wal, control);

    reactor_defer(wal->reactor, &wal->task);
    if (wal->failed) {
        return;
    }
    if (error == 0) {
        error = renew_control(wal);
    }
    if (error != 0) {
        wal_fail(wal, error);
    }
}

static void wal_on_spare(struct wal_spare *spare, int error)
{
    struct wal *wal = CONTAINER_OF(spare, struct wal, spare);

    reactor_defer(wal->reactor, &wal->task);
    if (wal->failed || spare->stopping) {
        return;
    }
    if (error != 0) {
        wal_fail(wal, error);
        return;
    }
    if (spare->state == WAL_SPARE_PUBLISHED) {
        wal_segment_close(&wal->current);
        wal_spare_take(spare, &wal->current);
    }
    note_space(wal);
}

void wal_close(struct wal *wal)
{
    wal->closing = true;
    reactor_defer(wal->reactor, &wal->task);
}
