/*
 * Recovery in two steps: look, then touch. wal_recover() begins behind a snapshot (wal_choose.c),
 * walks through the segments in the order of their names, replays every whole frame, and at the
 * place where whole frames end asks all witnesses whether more had been durable. Only when none
 * says so, wal_recover_cut() (wal_cut.c) removes what the crash left of the frame in flight. What
 * is damaged where the snapshot knows better is stepped over (wal_recover_skip.c). The rules, and
 * why they are right, stand at the head of wal_format.c; here "(a)" to "(d)" mean the ones there.
 *
 * A file is read through a window (wal_window.c), a piece of which holds any one frame.
 *
 * What can go wrong: the disk refuses to read (the errno goes up, for the data may be readable
 * later), or the files contradict each other or their checksums (WAL_E_DAMAGED: a person must
 * decide, and is told where, and which records would be missing without it), or they are not ours
 * to read (WAL_E_FOREIGN). Memory: 8 bytes per segment and snapshot, and the window.
 */
#include "core/wal_recover.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/snapshot_format.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CONTROL_NAMES (WAL_FORMAT_CONTROL_A " or " WAL_FORMAT_CONTROL_B)

static_assert(WAL_FORMAT_FRAME_SIZE_MAX <= WAL_WINDOW_PIECE_SIZE, "a frame must fit a piece");
static_assert(WAL_FORMAT_BLOCK_SIZE == DISK_BLOCK_SIZE, "blocks are what the disk can write");

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Checks the header against the name, the store and what came before. */
static int check_header(struct wal_recovery *recovery, uint64_t first_lsn, const uint8_t *block)
{
    struct wal_format_segment *header = &recovery->last.header;
    int result = wal_format_get_segment(block, header);

    if (result == WAL_FORMAT_E_NEWER) {
        return wal_recover_refuse(recovery, WAL_E_FOREIGN,
                                  "%s: written by a newer version of this program", recovery->name);
    }
    if (result == WAL_FORMAT_E_BAD) {
        return wal_recover_refuse_damage(recovery, 0, first_lsn,
                                         "both copies of the header are unreadable");
    }
    if (memcmp(header->store_uuid, recovery->control->store_uuid, WAL_FORMAT_UUID_SIZE) != 0) {
        return wal_recover_refuse(recovery, WAL_E_FOREIGN, "%s: belongs to another store than %s",
                                  recovery->name, CONTROL_NAMES);
    }
    if (header->first_lsn != first_lsn || header->size % WAL_FORMAT_BLOCK_SIZE != 0 ||
        header->size < 2 * WAL_FORMAT_BLOCK_SIZE) {
        return wal_recover_refuse_damage(recovery, 0, first_lsn,
                                         "the header says that it begins with record %" PRIu64
                                         " and has %" PRIu64 " bytes",
                                         header->first_lsn, header->size);
    }
    return 0;
}

/* Opens a segment as recovery->last and the window on it. Returns 0 or negative errno. */
static int open_file(struct wal_recovery *recovery)
{
    const struct disk_ops *ops = recovery->disk->ops;
    uint64_t size = 0;
    int result;

    wal_window_set_file(&recovery->window, NULL, 0);
    wal_segment_close(&recovery->last);
    recovery->last = (struct wal_segment){.offset = WAL_FORMAT_BLOCK_SIZE};
    /* For writing, because that means direct: pages in memory may lie after a failed sync. */
    result = ops->open(recovery->disk, recovery->name, DISK_OPEN_WRITE, &recovery->last.file);
    if (result != 0) {
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
    }
    result = ops->sync(recovery->last.file);
    if (result == 0) {
        result = ops->size(recovery->last.file, &size);
    }
    wal_window_set_file(&recovery->window, recovery->last.file, size);
    return result;
}

/* Opens a segment and checks its header. */
static int open_segment(struct wal_recovery *recovery, uint64_t first_lsn)
{
    struct wal_window *window = &recovery->window;
    const uint8_t *block = NULL;
    int result;

    wal_format_segment_name(first_lsn, recovery->name);
    result = open_file(recovery);
    if (result == 0 && window->size == 0) {
        return wal_recover_refuse_damage(recovery, 0, first_lsn, "the file is empty");
    }
    if (result == 0) {
        result = wal_window_look(window, 0, WAL_FORMAT_BLOCK_SIZE, &block);
    }
    if (result != 0) {
        return wal_recover_refuse_io(recovery, result, recovery->name);
    }
    result = check_header(recovery, first_lsn, block);
    if (result == 0 && window->file_size > recovery->last.header.size) {
        wal_window_set_file(window, recovery->last.file, recovery->last.header.size);
    }
    recovery->last_is_whole = window->file_size == recovery->last.header.size;
    recovery->last.prev_crc = recovery->last.header.crc;
    return result;
}

bool wal_recover_is_possible(const struct wal_recovery *recovery,
                             const struct wal_format_frame *frame)
{
    const uint16_t known = WAL_FORMAT_FRAME_SEAL | WAL_FORMAT_FRAME_CLOSE;
    const uint64_t room = wal_segment_room(&recovery->last);

    if (frame->durable_lsn >= frame->first_lsn || (frame->flags & ~known) != 0) {
        return false;
    }
    if (frame->record_count > WAL_FORMAT_FRAME_RECORDS_MAX ||
        frame->payload_size > WAL_FORMAT_FRAME_SIZE_MAX - WAL_FORMAT_FRAME_HEADER_SIZE ||
        wal_format_frame_size(frame->payload_size) > room) {
        return false;
    }
    if (frame->record_count == 0) {
        return frame->flags != 0 && frame->payload_size == 0;
    }
    return frame->flags == 0;
}

/* Whether a whole header of this segment is one that can stand here. */
static bool belongs_here(const struct wal_recovery *recovery, const struct wal_format_frame *frame)
{
    return frame->first_lsn == recovery->next_lsn && frame->prev_crc == recovery->last.prev_crc &&
           wal_recover_is_possible(recovery, frame);
}

bool wal_recover_adds_up(const struct wal_format_frame *frame, struct bytes payload)
{
    struct wal_format_record record;
    size_t offset = 0;

    for (uint32_t i = 0; i < frame->record_count; i++) {
        if (wal_format_get_record(payload, &offset, &record) != 0) {
            return false;
        }
    }
    return offset == payload.size;
}

/* Hands on what the snapshot does not hold already. wal_recover_adds_up() has seen the payload. */
static int replay_records(struct wal_recovery *recovery, const struct wal_format_frame *frame,
                          struct bytes payload)
{
    size_t offset = 0;

    for (uint32_t i = 0; i < frame->record_count; i++) {
        const struct wal_format_record found = wal_format_next_record(payload, &offset);
        const struct wal_record record = {
            .lsn = frame->first_lsn + i,
            .realtime_ns = frame->realtime_ns,
            .type = found.type,
            .body = found.body,
        };
        int result;

        if (record.lsn <= recovery->snapshot_lsn) {
            continue;
        }
        result = wal_recover_hand_on(recovery, &record);
        if (result != 0) {
            return result;
        }
        recovery->record_count++;
    }
    return 0;
}

static int refuse_frame(struct wal_recovery *recovery, const struct wal_format_frame *frame,
                        const char *what)
{
    const uint64_t end_lsn = frame->first_lsn + frame->record_count;

    return wal_recover_refuse_damage(recovery, recovery->last.offset, max_of(end_lsn, 1) - 1,
                                     "%s, which begins with record %" PRIu64 " and has %" PRIu32,
                                     what, frame->first_lsn, frame->record_count);
}

/* Replays the frame at last.offset and steps over it; *ret_end when there is no whole frame. */
static int read_frame(struct wal_recovery *recovery, bool *ret_end)
{
    struct wal_segment *last = &recovery->last;
    struct wal_format_frame frame = {0};
    const uint8_t *bytes = NULL;
    struct bytes payload;
    size_t size;
    int result;

    result = wal_window_look(&recovery->window, last->offset, WAL_FORMAT_BLOCK_SIZE, &bytes);
    if (result != 0) {
        return result;
    }
    if (wal_format_get_frame(bytes, &frame) != 0 || frame.epoch != last->header.epoch) {
        *ret_end = true;
        return 0;
    }
    if (!belongs_here(recovery, &frame)) {
        return refuse_frame(recovery, &frame, "a frame that does not belong here");
    }
    size = wal_format_frame_size(frame.payload_size);
    if (size > recovery->window.size - last->offset) {
        *ret_end = true; /* the file was cut within it */
        return 0;
    }
    result = wal_window_look(&recovery->window, last->offset, size, &bytes);
    if (result != 0) {
        return result;
    }
    payload = (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE, frame.payload_size};
    if (!wal_format_check_payload(&frame, payload.data)) {
        *ret_end = true;
        return 0;
    }
    if (!wal_recover_adds_up(&frame, payload)) {
        return refuse_frame(recovery, &frame, "a frame of the wrong records");
    }
    result = replay_records(recovery, &frame, payload);
    if (result != 0) {
        return result;
    }
    recovery->next_lsn += frame.record_count;
    if (recovery->next_lsn > recovery->snapshot_lsn + 1) {
        recovery->log_bytes += size;
    }
    last->offset += size;
    last->prev_crc = frame.crc;
    last->frame_count++;
    return 0;
}

/* Rule (a), at the end of a segment that has a successor. */
static int check_successor(struct wal_recovery *recovery, uint64_t successor_lsn)
{
    const uint64_t offset = recovery->last.offset;
    const uint8_t *block = NULL;
    bool is_zero = true;

    if (offset < recovery->window.size) {
        int result = wal_window_look(&recovery->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);

        if (result != 0) {
            return wal_recover_refuse_io(recovery, result, recovery->name);
        }
        is_zero = wal_segment_is_zero(block, WAL_FORMAT_BLOCK_SIZE);
    }
    if (recovery->next_lsn != successor_lsn) {
        return wal_recover_refuse_damage(recovery, offset, 0,
                                         "the frames end before record %" PRIu64
                                         ", but the next segment begins with record %" PRIu64,
                                         recovery->next_lsn, successor_lsn);
    }
    if (!is_zero) {
        return wal_recover_refuse_damage(
            recovery, offset, 0, "something stands behind record %" PRIu64, recovery->next_lsn - 1);
    }
    return 0;
}

/* Rule (c): whether this header, in a later block than the one that should have held record E,
 * proves that what stood there was durable. */
static bool is_witness(const struct wal_recovery *recovery, const struct wal_format_frame *frame)
{
    const uint64_t next_lsn = recovery->next_lsn;

    return !recovery->last.header.is_lazy || frame->durable_lsn >= next_lsn ||
           frame->first_lsn <= next_lsn;
}

/* Rule (c), and how far what a crash left reaches. */
static int look_behind_end(struct wal_recovery *recovery)
{
    const uint64_t first = recovery->last.offset;
    struct wal_format_frame frame = {0};
    const uint8_t *block = NULL;
    uint64_t witness_offset = 0;

    for (uint64_t offset = first; offset < recovery->window.size; offset += WAL_FORMAT_BLOCK_SIZE) {
        int result = wal_window_look(&recovery->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);

        if (result != 0) {
            return wal_recover_refuse_io(recovery, result, recovery->name);
        }
        if (wal_segment_is_zero(block, WAL_FORMAT_BLOCK_SIZE)) {
            continue;
        }
        recovery->torn_end = offset + WAL_FORMAT_BLOCK_SIZE;
        if (wal_format_get_frame(block, &frame) != 0 ||
            frame.epoch != recovery->last.header.epoch) {
            continue;
        }
        recovery->lost_lsn =
            max_of(recovery->lost_lsn, max_of(frame.first_lsn + frame.record_count, 1) - 1);
        if (offset > first && witness_offset == 0 && is_witness(recovery, &frame)) {
            witness_offset = offset;
        }
    }
    if (witness_offset == 0) {
        return 0;
    }
    return wal_recover_refuse_damage(recovery, first, recovery->lost_lsn,
                                     "a later frame, at offset %" PRIu64
                                     ", proves that what stood here was durable",
                                     witness_offset);
}

/* Rule (b), last of all: whatever the segments say, the log must reach as far as is witnessed. */
static int check_witnesses(struct wal_recovery *recovery)
{
    const uint64_t durable_lsn = recovery->control->durable_lsn;
    const uint64_t witnessed_lsn = wal_recover_witnessed_lsn(recovery);
    char snapshot[WAL_FORMAT_NAME_SIZE];

    if (witnessed_lsn < recovery->next_lsn) {
        return 0;
    }
    snapshot_format_name(witnessed_lsn, snapshot);
    if (recovery->segments.count == 0) {
        return wal_recover_refuse(recovery, WAL_E_DAMAGED,
                                  "there is no segment of the log (wal-*.log), but record %" PRIu64
                                  " was durable, as %s says: whatever came behind the newest "
                                  "snapshot would be missing",
                                  witnessed_lsn,
                                  durable_lsn == witnessed_lsn ? CONTROL_NAMES : snapshot);
    }
    return wal_recover_refuse_damage(
        recovery, recovery->last.offset, 0,
        "whole frames end here, but %s proves that record %" PRIu64 " was durable",
        durable_lsn == witnessed_lsn ? CONTROL_NAMES : snapshot, witnessed_lsn);
}

static int read_segment(struct wal_recovery *recovery, size_t index)
{
    const struct wal_lsns *segments = &recovery->segments;
    bool at_end = false;
    int result = open_segment(recovery, segments->lsns[index]);

    while (result == 0 && !at_end && recovery->last.offset < recovery->window.size) {
        result = read_frame(recovery, &at_end);
        if (result == 0 && at_end && recovery->next_lsn <= recovery->snapshot_lsn) {
            result = wal_recover_skip(recovery, &at_end);
        }
        if (result < 0 && !recovery->was_refused) {
            result = wal_recover_refuse_io(recovery, result, recovery->name);
        }
        wal_recover_advance(recovery, recovery->last.offset);
    }
    recovery->bytes_before += recovery->window.file_size;
    if (result != 0) {
        return result;
    }
    return index + 1 < segments->count ? check_successor(recovery, segments->lsns[index + 1])
                                       : look_behind_end(recovery);
}

static int read_segments(struct wal_recovery *recovery)
{
    const struct wal_lsns *segments = &recovery->segments;
    int result = 0;

    if (segments->count > 0) {
        recovery->next_lsn = segments->lsns[recovery->first_segment];
    }
    for (size_t i = recovery->first_segment; result == 0 && i < segments->count; i++) {
        result = read_segment(recovery, i);
    }
    return result != 0 ? result : check_witnesses(recovery);
}

int wal_recover(struct wal_recovery *recovery)
{
    int result;

    recovery->problem[0] = '\0';
    recovery->next_lsn = 1;
    recovery->start_ns = clock_monotonic_ns(recovery->clock);
    recovery->told_ns = recovery->start_ns;
    if (wal_window_init(&recovery->window) != 0) {
        return wal_recover_refuse(recovery, -ENOMEM, "no memory to read the log");
    }
    /* Names as well may be there and not yet durable, after a kill. */
    result = recovery->disk->ops->sync_directory(recovery->disk);
    if (result == 0) {
        result = wal_choose_list(recovery);
    }
    if (result != 0) {
        return wal_recover_refuse(recovery, result, "cannot list the directory: %s",
                                  strerror(-result));
    }
    if (recovery->segments.count + recovery->snapshots.count > 0 &&
        recovery->control->sequence == 0) {
        return wal_recover_refuse(
            recovery, WAL_E_DAMAGED,
            "neither %s nor %s is readable, so nothing says how far the log should reach",
            WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B);
    }
    result = wal_choose(recovery);
    return result != 0 ? result : read_segments(recovery);
}

bool wal_recover_may_continue(const struct wal_recovery *recovery, bool is_lazy)
{
    return recovery->last.file != NULL && recovery->last.frame_count == 0 &&
           recovery->last_is_whole && recovery->last.header.is_lazy == is_lazy;
}

void wal_recover_deinit(struct wal_recovery *recovery)
{
    wal_window_deinit(&recovery->window);
    wal_segment_close(&recovery->last);
    wal_lsns_deinit(&recovery->segments);
    wal_lsns_deinit(&recovery->snapshots);
}
