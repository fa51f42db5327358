/*
 * The way to the disk: packs what waits into a frame, has it written, and learns how far the log is
 * durable.
 *
 * Commonly a flush is a write and, only after a whole write, a sync; when both have succeeded its
 * records are durable and are told.
 *
 * With a sync interval, a flush is the write alone, and its records are told when it is done. The
 * first one told unsynced arms a timer; when it fires, one sync covers all that is written by then,
 * while further writes go on beside it. Then durable_lsn is what was written when the sync began;
 * what came later waits for the next one, an interval after this one began. Nobody waits for the
 * timer who needs the log durable: the next segment, a close, a snapshot make the sync due at once.
 * Marks (SEAL, CLOSE) always have their own sync, and so has every flush of a start that may have
 * lost records, until one is durable (see wal_format.c).
 *
 * What can go wrong: any of it, and it is final; see wal.c.
 */
#include "core/clock.h"
#include "core/wal_format.h"
#include "core/wal_internal.h"

#include <assert.h>
#include <errno.h>

#define SEAL_NS    (10 * CLOCK_NS_PER_MS)
#define CONTROL_NS CLOCK_NS_PER_S

uint64_t wal_flush_room(const struct wal *wal)
{
    const uint64_t room = wal_segment_room(&wal->current);

    return room < WAL_FORMAT_BLOCK_SIZE ? 0 : room - WAL_FORMAT_BLOCK_SIZE;
}

static bool is_all_durable(const struct wal *wal)
{
    return wal->stats.durable_lsn == wal->stats.written_lsn;
}

/* Syncs. */

int wal_flush_sync(struct wal *wal)
{
    int result;

    if (!wal->sync_due || wal->sync_pending) {
        return 0;
    }
    wal->sync_due = false;
    if (is_all_durable(wal)) {
        return 0;
    }
    reactor_stop_timer(wal->reactor, &wal->sync_timer);
    wal->sync_lsn = wal->stats.written_lsn;
    wal->sync_start_ns = clock_monotonic_ns(wal->reactor->clock);
    result = wal->disk->ops->sync_later(wal->current.file, &wal->sync_op);
    wal->sync_pending = result == 0;
    return result;
}

/* Somebody needs the log durable: he asks again until it is. */
static int sync_now(struct wal *wal)
{
    wal->sync_due = true;
    return wal_flush_sync(wal);
}

/* Something is written that no sync covers, or will, since this time at the earliest. */
static int arm_sync_timer(struct wal *wal, uint64_t since_ns)
{
    const uint64_t now_ns = clock_monotonic_ns(wal->reactor->clock);
    const uint64_t due_ns = since_ns + wal->options.sync_interval_ns;

    if (wal->sync_pending || timer_is_armed(&wal->sync_timer)) {
        return 0;
    }
    return reactor_start_timer(wal->reactor, &wal->sync_timer,
                               due_ns > now_ns ? due_ns - now_ns : 0);
}

/* The watermark. */

static int write_control(struct wal *wal, bool is_clean)
{
    struct wal_format_control *now = &wal->control.now;

    now->durable_lsn = wal->stats.durable_lsn;
    now->realtime_ns = clock_realtime_ns(wal->reactor->clock);
    now->is_clean = is_clean;
    if (wal->source != NULL && wal->source->count != NULL) {
        now->record_hint = wal->source->count(wal->source_context);
    }
    wal->control_written_ns = clock_monotonic_ns(wal->reactor->clock);
    return wal_control_write(&wal->control);
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

/* Frames. */

static struct wal_append *first_in_queue(struct wal *wal)
{
    return CONTAINER_OF(wal->queue.next, struct wal_append, link);
}

/* Moves the head of the queue into the frame buffer, as much as fits. Returns the payload size. */
static size_t pack(struct wal *wal)
{
    const uint64_t room = wal_flush_room(wal);
    const uint64_t limit = (room < WAL_FORMAT_FRAME_SIZE_MAX ? room : WAL_FORMAT_FRAME_SIZE_MAX) -
                           WAL_FORMAT_FRAME_HEADER_SIZE;
    uint8_t *payload = wal->frame + WAL_FORMAT_FRAME_HEADER_SIZE;
    size_t size = 0;

    wal->frame_records = 0;
    while (!list_is_empty(&wal->queue) && wal->frame_records < WAL_FORMAT_FRAME_RECORDS_MAX) {
        struct wal_append *append = first_in_queue(wal);

        if (size + wal_payload_size(append) > limit) {
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
    const struct disk_ops *ops = wal->disk->ops;
    struct wal_segment *current = &wal->current;
    struct wal_format_frame frame = {
        .flags = flags,
        .payload_size = (uint32_t)size,
        .record_count = wal->frame_records,
        .epoch = current->header.epoch,
        .first_lsn = wal->stats.written_lsn + 1,
        .durable_lsn = wal->stats.durable_lsn,
        .realtime_ns = clock_realtime_ns(wal->reactor->clock),
        .prev_crc = current->prev_crc,
    };
    const uint64_t offset = current->offset;
    struct bytes bytes;
    int result;

    assert(!wal->flush_pending);
    wal->frame_size = wal_format_put_frame(wal->frame, &frame);
    assert(wal->frame_size <= wal_segment_room(current));
    current->offset += wal->frame_size;
    current->prev_crc = frame.crc;
    current->frame_count++;
    bytes = (struct bytes){wal->frame, wal->frame_size};
    wal->frame_is_synced = !wal_is_lazy(wal) || flags != 0 || wal->control.now.may_have_lost;
    wal->frame_start_ns = clock_monotonic_ns(wal->reactor->clock);
    result = wal->frame_is_synced ? ops->write_synced(current->file, &wal->flush_op, bytes, offset)
                                  : ops->write_later(current->file, &wal->flush_op, bytes, offset);
    wal->flush_pending = result == 0;
    return result;
}

/* A frame that only testifies. */
static int submit_mark(struct wal *wal, uint16_t flags)
{
    assert(is_all_durable(wal));
    wal->frame_records = 0;
    return submit_frame(wal, flags, 0);
}

/* The queue's next step: a flush, or a further segment. */
static int step_queue(struct wal *wal)
{
    const uint64_t size = wal_format_frame_size(wal_payload_size(first_in_queue(wal)));
    struct wal_format_segment header;

    if (size <= wal_flush_room(wal)) {
        wal->seal_due = false;
        reactor_stop_timer(wal->reactor, &wal->seal_timer);
        return submit_frame(wal, 0, pack(wal));
    }
    if (wal->spare.state == WAL_SPARE_READY) {
        if (!is_all_durable(wal)) {
            return sync_now(wal); /* the segment's name will say that it is */
        }
        header = wal_start_header(wal);
        return wal_spare_publish(&wal->spare, &header);
    }
    if (wal->closing && wal->spare.state == WAL_SPARE_NO_SPACE) {
        wal_tell_all(wal, -ENOSPC);
        reactor_defer(wal->reactor, &wal->task);
    }
    return 0;
}

/* Close, once the queue is empty: the mark in the segment, then the mark in the control file. */
static int step_close(struct wal *wal)
{
    wal_spare_stop(&wal->spare);
    wal_flush_stop(wal);
    if (!is_all_durable(wal)) {
        return sync_now(wal);
    }
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

int wal_flush_step(struct wal *wal)
{
    if (!list_is_empty(&wal->queue)) {
        return step_queue(wal);
    }
    if (wal->closing) {
        return step_close(wal);
    }
    if (wal->seal_due && is_all_durable(wal)) {
        wal->seal_due = false;
        if (wal_segment_room(&wal->current) >= WAL_FORMAT_BLOCK_SIZE) {
            return submit_mark(wal, WAL_FORMAT_FRAME_SEAL);
        }
    }
    return 0;
}

/* What ends. */

/* Everything up to `lsn` is durable by it. */
static void count_sync(struct wal *wal, uint64_t start_ns, uint64_t lsn)
{
    struct wal_stats *stats = &wal->stats;
    const uint64_t ns = clock_monotonic_ns(wal->reactor->clock) - start_ns;

    stats->syncs++;
    stats->sync_ns_total += ns;
    if (ns > stats->sync_ns_max) {
        stats->sync_ns_max = ns;
    }
    histogram_add(&stats->sync_ns, ns);
    if (lsn > stats->durable_lsn) {
        histogram_add(&stats->sync_records, lsn - stats->durable_lsn);
    }
}

static void count_flush(struct wal *wal)
{
    struct wal_stats *stats = &wal->stats;

    stats->frames_written++;
    stats->records_written += wal->frame_records;
    stats->bytes_written += wal->frame_size;
    stats->log_bytes += wal->frame_size;
    stats->written_lsn += wal->frame_records;
}

static void set_durable(struct wal *wal, uint64_t lsn)
{
    if (lsn > wal->stats.durable_lsn) {
        wal->stats.durable_lsn = lsn;
        wal->control.now.may_have_lost = false;
    }
}

/* Records have become durable and everyone was told. Returns 0 or negative errno. */
static int follow_durable(struct wal *wal)
{
    int result = 0;

    if (is_all_durable(wal) && !wal->closing) {
        wal->seal_due = false;
        result = reactor_start_timer(wal->reactor, &wal->seal_timer, SEAL_NS);
    }
    return result != 0 ? result : renew_control(wal);
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
        if (wal->frame_is_synced) {
            count_sync(wal, wal->frame_start_ns, wal->stats.written_lsn);
            set_durable(wal, wal->stats.written_lsn);
        }
        wal_tell(wal, &wal->flying, 0);
        if (!wal->frame_is_synced) {
            result = arm_sync_timer(wal, clock_monotonic_ns(wal->reactor->clock));
        } else if (wal->frame_records > 0) {
            result = follow_durable(wal);
        }
    }
    if (result != 0) {
        wal_fail(wal, result);
    }
}

static void wal_on_sync(struct disk_op *op, int result)
{
    struct wal *wal = CONTAINER_OF(op, struct wal, sync_op);

    wal->sync_pending = false;
    reactor_defer(wal->reactor, &wal->task);
    if (wal->failed) {
        return;
    }
    if (result == 0) {
        count_sync(wal, wal->sync_start_ns, wal->sync_lsn);
        set_durable(wal, wal->sync_lsn);
        result = follow_durable(wal);
    }
    if (result == 0 && !is_all_durable(wal)) {
        result = arm_sync_timer(wal, wal->sync_start_ns);
    }
    if (result != 0) {
        wal_fail(wal, result);
    }
}

static void wal_on_sync_timer(struct timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, sync_timer);

    wal->sync_due = true;
    reactor_defer(wal->reactor, &wal->task);
}

static void wal_on_seal_timer(struct timer *timer)
{
    struct wal *wal = CONTAINER_OF(timer, struct wal, seal_timer);

    wal->seal_due = true;
    reactor_defer(wal->reactor, &wal->task);
}

void wal_flush_init(struct wal *wal)
{
    wal->flush_op.done = wal_on_flush;
    wal->sync_op.done = wal_on_sync;
    wal->control.written = wal_on_control;
    wal->sync_timer.fire = wal_on_sync_timer;
    wal->seal_timer.fire = wal_on_seal_timer;
    wal->control_timer.fire = wal_on_control_timer;
}

void wal_flush_stop(struct wal *wal)
{
    reactor_stop_timer(wal->reactor, &wal->sync_timer);
    reactor_stop_timer(wal->reactor, &wal->seal_timer);
    reactor_stop_timer(wal->reactor, &wal->control_timer);
}
