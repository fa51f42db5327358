/*
 * A snapshot is written while the loop has other things to do:
 *
 *  1. A temporary file that an earlier run left is removed; a new one is made.
 *  2. A slow task takes records from the source for 150 us and puts them, in frames, into one of
 *     two buffers. When the time is over it asks for its next turn.
 *  3. A buffer with 256 KiB or more is full: it is written, and the task goes on with the other
 *     one. One write is in flight; when the second buffer is full as well, the task rests until
 *     the write has ended. When the rate says so, a timer stands between.
 *  4. The source has no more: the footer goes behind the last frame, that buffer is written, the
 *     file is synced.
 *
 * What can go wrong: the disk has less room than has to stay free for the log (-ENOSPC, asked
 * before each write), a write or sync fails, the source gives up. The first of these ends it; what
 * is in flight is waited for. The caller removes the file.
 */
#include "core/snapshot_write.h"

#include "core/clock.h"
#include "core/le.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Before a record is taken, all that can follow must have room: a record that goes into a frame of
 * its own, and the footer. */
static_assert(
    SNAPSHOT_WRITE_SIZE + SNAPSHOT_WRITE_FRAME_PAYLOAD + WAL_FORMAT_RECORD_SIZE_MAX +
            4 * WAL_FORMAT_BLOCK_SIZE <=
        SNAPSHOT_WRITE_BUFFER_SIZE,
    "a full buffer, one more frame of the usual size, one of the longest record, a footer");
static_assert(SNAPSHOT_WRITE_BUFFER_SIZE % DISK_BLOCK_SIZE == 0, "both buffers can be written");
static_assert(WAL_RECORD_SIZE_MAX + SNAPSHOT_FORMAT_PREFIX_SIZE <= WAL_FORMAT_RECORD_SIZE_MAX,
              "every record of the log fits into a snapshot");

static void write_slice(struct reactor_task *task);
static void write_on_timer(struct timer *timer);
static void write_on_op(struct disk_op *op, int result);

static uint8_t *buffer_of(const struct snapshot_write *write, unsigned index)
{
    return write->memory + index * SNAPSHOT_WRITE_BUFFER_SIZE;
}

static void end_source(struct snapshot_write *write)
{
    if (write->source_is_open) {
        write->source_is_open = false;
        write->source->end(write->source_context);
    }
}

/* Nothing goes on by itself any more; what is pending still ends. */
static void rest(struct snapshot_write *write)
{
    reactor_undefer(&write->task);
    reactor_stop_timer(write->reactor, &write->timer);
    end_source(write);
}

static void close_file(struct snapshot_write *write)
{
    if (write->file != NULL) {
        write->disk->ops->close_file(write->file);
        write->file = NULL;
    }
}

/* The end, now or when the present operation has ended. */
static void finish(struct snapshot_write *write, int result)
{
    rest(write);
    if (write->pending) {
        write->error = result;
        return;
    }
    close_file(write);
    write->state = SNAPSHOT_WRITE_IDLE;
    write->ended(write, result);
}

/* The frame that is filled. */

static uint8_t *frame_bytes(const struct snapshot_write *write)
{
    return buffer_of(write, write->filling) + write->used;
}

static void begin_frame(struct snapshot_write *write)
{
    write->frame = (struct wal_format_frame){
        .epoch = write->header.epoch,
        .first_lsn = write->record_count + 1,
        .durable_lsn = write->record_count,
        .prev_crc = write->prev_crc,
    };
}

static void end_frame(struct snapshot_write *write)
{
    uint8_t *bytes = frame_bytes(write);

    assert(write->frame.record_count > 0);
    write->frame.realtime_ns = clock_realtime_ns(write->reactor->clock);
    write->used += wal_format_put_frame(bytes, &write->frame);
    digest_add(&write->digest, (struct bytes){bytes, WAL_FORMAT_FRAME_HEADER_SIZE});
    write->prev_crc = write->frame.crc;
    write->frame_count++;
    begin_frame(write);
}

static bool frame_is_full(const struct snapshot_write *write)
{
    return write->frame.payload_size >= SNAPSHOT_WRITE_FRAME_PAYLOAD ||
           write->frame.record_count == WAL_FORMAT_FRAME_RECORDS_MAX;
}

/* Returns 0 or -EMSGSIZE. */
static int put_record(struct snapshot_write *write, const struct wal_record *record)
{
    uint8_t *scratch = write->memory + 2 * SNAPSHOT_WRITE_BUFFER_SIZE;
    const struct bytes body = {scratch, SNAPSHOT_FORMAT_PREFIX_SIZE + record->body.size};
    const size_t size = WAL_FORMAT_RECORD_HEADER_SIZE + body.size;

    if (record->body.size > WAL_RECORD_SIZE_MAX) {
        return -EMSGSIZE;
    }
    if (write->frame.record_count > 0 &&
        write->frame.payload_size + size > SNAPSHOT_WRITE_FRAME_PAYLOAD) {
        end_frame(write);
    }
    le_put_u64(scratch, record->lsn);
    if (record->body.size > 0) {
        memcpy(scratch + SNAPSHOT_FORMAT_PREFIX_SIZE, record->body.data, record->body.size);
    }
    (void)wal_format_put_record(frame_bytes(write) + WAL_FORMAT_FRAME_HEADER_SIZE +
                                    write->frame.payload_size,
                                record->type, body);
    write->frame.payload_size += (uint32_t)size;
    write->frame.record_count++;
    write->record_count++;
    return 0;
}

/* The source has no more. */
static void put_footer(struct snapshot_write *write)
{
    struct snapshot_format_footer footer = {
        .epoch = write->header.epoch,
        .lsn = write->header.lsn,
    };

    end_source(write);
    if (write->frame.record_count > 0) {
        end_frame(write);
    }
    memcpy(footer.store_uuid, write->header.store_uuid, WAL_FORMAT_UUID_SIZE);
    footer.record_count = write->record_count;
    footer.frame_count = write->frame_count;
    footer.size = write->size + write->used + WAL_FORMAT_BLOCK_SIZE;
    digest_end(&write->digest, footer.digest);
    snapshot_format_put_footer(frame_bytes(write), &footer);
    write->used += WAL_FORMAT_BLOCK_SIZE;
    write->is_full = true;
    write->is_last = true;
}

/* The least piece of work on the buffer. Returns 0 or negative errno. */
static int fill_step(struct snapshot_write *write)
{
    struct wal_record record = {0};
    int result;

    /* Behind enough for a write stands no frame but one that a long record had to itself. */
    if (frame_is_full(write) || write->used >= SNAPSHOT_WRITE_SIZE) {
        end_frame(write);
        write->is_full = write->used >= SNAPSHOT_WRITE_SIZE;
        return 0;
    }
    result = write->source->next(write->source_context, &record);
    if (result == 0) {
        return put_record(write, &record);
    }
    if (result == WAL_SNAPSHOT_END) {
        put_footer(write);
        return 0;
    }
    assert(result < 0);
    write->source_gave_up = true;
    return result;
}

/* Writes the full buffer, or waits for its time. Returns 0 or negative errno. */
static int send_buffer(struct snapshot_write *write)
{
    const uint64_t now_ns = clock_monotonic_ns(write->reactor->clock);
    const uint64_t wait_ns = snapshot_pace_wait_ns(&write->pace, now_ns);
    uint64_t room;
    int result;

    if (wait_ns > 0) {
        return reactor_start_timer(write->reactor, &write->timer, wait_ns);
    }
    room = write->disk->ops->free_bytes(write->disk);
    if (room < write->keep_free || room - write->keep_free < write->used) {
        return -ENOSPC;
    }
    result = write->disk->ops->write_later(
        write->file, &write->op, (struct bytes){buffer_of(write, write->filling), write->used},
        write->size);
    if (result != 0) {
        return result;
    }
    write->pending = true;
    snapshot_pace_note(&write->pace, now_ns, write->used);
    write->size += write->used;
    write->used = 0;
    write->is_full = false;
    write->filling = 1 - write->filling;
    return 0;
}

/* Whatever can be done now, but filling. Returns 0 or negative errno. */
static int step(struct snapshot_write *write)
{
    int result = 0;

    if (write->is_full && !write->pending) {
        result = send_buffer(write);
    }
    if (result == 0 && write->is_last && !write->is_full && !write->pending) {
        result = write->disk->ops->sync_later(write->file, &write->op);
        write->pending = result == 0;
        write->state = SNAPSHOT_WRITE_SYNCING;
    }
    if (result == 0 && !write->is_last && !write->is_full) {
        reactor_defer_slow(write->reactor, &write->task);
    }
    return result;
}

static void go_on(struct snapshot_write *write, int result)
{
    if (result == 0) {
        result = step(write);
    }
    if (result != 0) {
        finish(write, result);
    }
}

/* The clock is read for every record: that costs less than a record does. */
static void write_slice(struct reactor_task *task)
{
    struct snapshot_write *write = CONTAINER_OF(task, struct snapshot_write, task);
    struct clock_source *clock = write->reactor->clock;
    const uint64_t end_ns = clock_monotonic_ns(clock) + SNAPSHOT_PACE_SLICE_NS;
    int result;

    do {
        result = fill_step(write);
    } while (result == 0 && !write->is_full && clock_monotonic_ns(clock) < end_ns);
    go_on(write, result);
}

static void write_on_timer(struct timer *timer)
{
    go_on(CONTAINER_OF(timer, struct snapshot_write, timer), 0);
}

/* Returns 0 or negative errno. */
static int begin_file(struct snapshot_write *write)
{
    int result = write->disk->ops->open(write->disk, SNAPSHOT_FORMAT_TEMPORARY, DISK_OPEN_CREATE,
                                        &write->file);

    if (result != 0) {
        /* Of a new file: the directory itself is gone. */
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
    }
    snapshot_format_put_header(frame_bytes(write), &write->header);
    write->used = WAL_FORMAT_BLOCK_SIZE;
    write->prev_crc = write->header.crc;
    digest_init(&write->digest);
    begin_frame(write);
    write->state = SNAPSHOT_WRITE_FILLING;
    return 0;
}

static void write_on_op(struct disk_op *op, int result)
{
    struct snapshot_write *write = CONTAINER_OF(op, struct snapshot_write, op);

    write->pending = false;
    if (write->error != 0) {
        finish(write, write->error);
        return;
    }
    switch (write->state) {
    case SNAPSHOT_WRITE_CLEARING:
        go_on(write, result == 0 || result == -ENOENT ? begin_file(write) : result);
        return;
    case SNAPSHOT_WRITE_FILLING:
        go_on(write, result);
        return;
    case SNAPSHOT_WRITE_SYNCING:
        finish(write, result);
        return;
    case SNAPSHOT_WRITE_IDLE:
        break;
    }
    assert(false);
}

int snapshot_write_start(struct snapshot_write *write)
{
    int result;

    write->op = (struct disk_op){.done = write_on_op};
    write->timer = (struct timer){.fire = write_on_timer};
    write->task.run = write_slice;
    list_init(&write->task.link);
    write->source_is_open = true;
    result = write->disk->ops->remove_later(write->disk, &write->op, SNAPSHOT_FORMAT_TEMPORARY);
    if (result != 0) {
        end_source(write);
        return result;
    }
    write->pending = true;
    write->state = SNAPSHOT_WRITE_CLEARING;
    return 0;
}

void snapshot_write_stop(struct snapshot_write *write)
{
    if (write->state == SNAPSHOT_WRITE_IDLE) {
        return;
    }
    rest(write);
    if (write->pending) {
        write->error = -ECANCELED;
        return;
    }
    close_file(write);
    write->state = SNAPSHOT_WRITE_IDLE;
}
