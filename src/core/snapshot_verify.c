/*
 * A snapshot is read back piece by piece, through snapshot_check.c, which knows what is right:
 *
 *  1. A slow task goes from piece to piece (header, frame, payload, record by record, footer) for
 *     150 us, then asks for its next turn.
 *  2. When a piece is not in memory, what is left of the last read moves to the front, and 256 KiB
 *     more are read behind it, or what a longer frame needs. One read is in flight, no faster than
 *     the rate allows; the task rests meanwhile.
 *
 * What can go wrong: the file cannot be read, or is not right. Both end it.
 */
#include "core/snapshot_verify.h"

#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static_assert(SNAPSHOT_VERIFY_MEMORY_SIZE % DISK_BLOCK_SIZE == 0, "reads are aligned");

static void verify_slice(struct reactor_task *task);
static void verify_on_timer(struct timer *timer);
static void verify_on_op(struct disk_op *op, int result);

static void rest(struct snapshot_verify *verify)
{
    reactor_undefer(&verify->task);
    reactor_stop_timer(verify->reactor, &verify->timer);
}

static void close_file(struct snapshot_verify *verify)
{
    if (verify->file != NULL) {
        verify->disk->ops->close_file(verify->file);
        verify->file = NULL;
    }
}

static int refuse_io(const struct snapshot_verify *verify, int error)
{
    (void)snprintf(verify->problem, WAL_PROBLEM_SIZE, "%s: cannot be read back: %s",
                   verify->check.name, strerror(-error)); /* fits */
    return error;
}

static void finish(struct snapshot_verify *verify, int result)
{
    assert(!verify->pending);
    rest(verify);
    close_file(verify);
    verify->ended(verify, result);
}

/* Reads on behind what is there, so that in the end `size` bytes from `offset` on are, or waits for
 * its time. Returns 0 or negative errno. */
static int read_on(struct snapshot_verify *verify, uint64_t offset, size_t size)
{
    const uint64_t now_ns = clock_monotonic_ns(verify->reactor->clock);
    const uint64_t wait_ns = snapshot_pace_wait_ns(&verify->pace, now_ns);
    const size_t done = (size_t)(offset - verify->offset);
    const size_t kept = verify->filled - done;
    const uint64_t left = verify->check.file_size - offset - kept;
    size_t more = size - kept;
    int result;

    if (wait_ns > 0) {
        return reactor_start_timer(verify->reactor, &verify->timer, wait_ns);
    }
    memmove(verify->memory, verify->memory + done, kept);
    verify->offset = offset;
    verify->filled = kept;
    if (more < SNAPSHOT_VERIFY_READ_SIZE) {
        more = left < SNAPSHOT_VERIFY_READ_SIZE ? (size_t)left : SNAPSHOT_VERIFY_READ_SIZE;
    }
    assert(kept + more <= SNAPSHOT_VERIFY_MEMORY_SIZE);
    result = verify->disk->ops->read_later(verify->file, &verify->op, verify->memory + kept, more,
                                           offset + kept);
    if (result != 0) {
        return result;
    }
    verify->pending = true;
    verify->reading_size = more;
    snapshot_pace_note(&verify->pace, now_ns, more);
    return 0;
}

/* The piece that comes next: where, and how long. */
static size_t piece_size(const struct snapshot_verify *verify)
{
    return verify->state == SNAPSHOT_VERIFY_PAYLOAD ? verify->frame_size : WAL_FORMAT_BLOCK_SIZE;
}

static uint64_t piece_offset(const struct snapshot_verify *verify)
{
    return verify->state == SNAPSHOT_VERIFY_HEADER ? 0 : verify->check.offset;
}

static bool piece_is_there(const struct snapshot_verify *verify)
{
    return verify->state == SNAPSHOT_VERIFY_RECORDS || verify->state == SNAPSHOT_VERIFY_DONE ||
           piece_offset(verify) + piece_size(verify) <= verify->offset + verify->filled;
}

static enum snapshot_verify_state next_state(const struct snapshot_verify *verify)
{
    return snapshot_check_at_footer(&verify->check) ? SNAPSHOT_VERIFY_FOOTER
                                                    : SNAPSHOT_VERIFY_FRAME;
}

/* Checks the next piece, which is there. Returns 0, or what the check says. */
static int check_piece(struct snapshot_verify *verify)
{
    const uint8_t *bytes = verify->memory + (piece_offset(verify) - verify->offset);
    struct snapshot_check *check = &verify->check;
    struct wal_record record;
    int result = 0;

    switch (verify->state) {
    case SNAPSHOT_VERIFY_HEADER:
        result = snapshot_check_header(check, bytes);
        verify->state = next_state(verify);
        break;
    case SNAPSHOT_VERIFY_FRAME:
        result = snapshot_check_frame(check, bytes, &verify->frame_size);
        verify->state = SNAPSHOT_VERIFY_PAYLOAD;
        break;
    case SNAPSHOT_VERIFY_PAYLOAD:
        result = snapshot_check_payload(check, bytes);
        verify->state = SNAPSHOT_VERIFY_RECORDS;
        break;
    case SNAPSHOT_VERIFY_RECORDS:
        result = snapshot_check_record(check, &record);
        if (result == SNAPSHOT_CHECK_END) {
            verify->state = next_state(verify);
            result = 0;
        }
        break;
    case SNAPSHOT_VERIFY_FOOTER:
        result = snapshot_check_footer(check, bytes);
        verify->state = SNAPSHOT_VERIFY_DONE;
        break;
    case SNAPSHOT_VERIFY_DONE:
        break;
    }
    return result;
}

static void verify_slice(struct reactor_task *task)
{
    struct snapshot_verify *verify = CONTAINER_OF(task, struct snapshot_verify, task);
    struct clock_source *clock = verify->reactor->clock;
    const uint64_t end_ns = clock_monotonic_ns(clock) + SNAPSHOT_PACE_SLICE_NS;
    int result = 0;

    while (result == 0 && verify->state != SNAPSHOT_VERIFY_DONE && piece_is_there(verify) &&
           clock_monotonic_ns(clock) < end_ns) {
        result = check_piece(verify);
    }
    if (result != 0 || verify->state == SNAPSHOT_VERIFY_DONE) {
        finish(verify, result);
        return;
    }
    if (piece_is_there(verify)) {
        reactor_defer_slow(verify->reactor, &verify->task);
        return;
    }
    result = read_on(verify, piece_offset(verify), piece_size(verify));
    if (result != 0) {
        finish(verify, refuse_io(verify, result));
    }
}

static void verify_on_timer(struct timer *timer)
{
    struct snapshot_verify *verify = CONTAINER_OF(timer, struct snapshot_verify, timer);

    reactor_defer_slow(verify->reactor, &verify->task);
}

static void verify_on_op(struct disk_op *op, int result)
{
    struct snapshot_verify *verify = CONTAINER_OF(op, struct snapshot_verify, op);

    verify->pending = false;
    if (verify->error != 0) {
        finish(verify, verify->error);
    } else if (result != 0) {
        finish(verify, refuse_io(verify, result));
    } else {
        verify->filled += verify->reading_size;
        reactor_defer_slow(verify->reactor, &verify->task);
    }
}

int snapshot_verify_start(struct snapshot_verify *verify)
{
    const struct disk_ops *ops = verify->disk->ops;
    uint64_t size = 0;
    int result;

    verify->op = (struct disk_op){.done = verify_on_op};
    verify->timer = (struct timer){.fire = verify_on_timer};
    verify->task.run = verify_slice;
    list_init(&verify->task.link);
    snapshot_check_init(&verify->check, verify->lsn, 0, verify->store_uuid, verify->problem);
    (void)snprintf(verify->check.name, sizeof(verify->check.name), "%s", verify->name); /* fits */
    result = ops->open(verify->disk, verify->name, DISK_OPEN_READ, &verify->file);
    if (result != 0) {
        return refuse_io(verify, result == DISK_E_NOT_FOUND ? -ENOENT : result);
    }
    result = ops->size(verify->file, &size);
    if (result != 0) {
        result = refuse_io(verify, result);
    } else {
        verify->check.file_size = size;
        result = snapshot_check_size(&verify->check);
    }
    if (result != 0) {
        close_file(verify);
        return result;
    }
    reactor_defer_slow(verify->reactor, &verify->task);
    return 0;
}

void snapshot_verify_stop(struct snapshot_verify *verify)
{
    if (verify->file == NULL) {
        return;
    }
    rest(verify);
    if (verify->pending) {
        verify->error = -ECANCELED;
    } else {
        close_file(verify);
    }
}
