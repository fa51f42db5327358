/*
 * Steps over damage that a snapshot makes good. The segment that holds the record behind the
 * snapshot holds records before it as well, and these are of no use any more: it would be a pity to
 * refuse for one of them what stands behind it untouched.
 *
 *  1. From the block behind the damage on, look for a whole frame of this segment.
 *  2. When it begins with a record that the snapshot holds, or with the one behind these, then
 *     whatever is missing before it is in the snapshot. Say so, and go on from there.
 *
 * What can go wrong: the first frame that is found begins further on. Then a record behind the
 * snapshot was among what is damaged, and reading ends at the damage: as the LSN of the snapshot is
 * a witness, that is a refusal.
 */
#include "core/snapshot_format.h"
#include "core/wal_recover.h"

#include <inttypes.h>
#include <stdio.h>

/* Returns whether the payload behind a header at `offset` is whole: 0, 1, or negative errno. */
static int has_payload(struct wal_recovery *recovery, uint64_t offset,
                       const struct wal_format_frame *frame)
{
    const size_t size = wal_format_frame_size(frame->payload_size);
    const uint8_t *bytes = NULL;
    struct bytes payload;
    int result;

    if (size > recovery->window.size - offset) {
        return 0;
    }
    result = wal_window_look(&recovery->window, offset, size, &bytes);
    if (result != 0) {
        return result;
    }
    payload = (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE, frame->payload_size};
    return wal_format_check_payload(frame, payload.data) && wal_recover_adds_up(frame, payload);
}

/* Finds the next whole frame in reach of the snapshot. Behind a header that is beyond that, or out
 * of order, there can be none. Returns whether there is one: 0, 1, or negative errno. */
static int find_frame(struct wal_recovery *recovery, uint64_t *ret_offset,
                      struct wal_format_frame *ret_frame)
{
    const uint64_t end = recovery->window.size;

    for (uint64_t offset = recovery->last.offset + WAL_FORMAT_BLOCK_SIZE; offset < end;
         offset += WAL_FORMAT_BLOCK_SIZE) {
        struct wal_format_frame frame = {0};
        const uint8_t *block = NULL;
        int result = wal_window_look(&recovery->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);

        if (result != 0) {
            return result;
        }
        if (wal_format_get_frame(block, &frame) != 0 ||
            frame.epoch != recovery->last.header.epoch) {
            continue;
        }
        if (frame.first_lsn < recovery->next_lsn || frame.first_lsn > recovery->snapshot_lsn + 1 ||
            !wal_recover_is_possible(recovery, &frame)) {
            return 0;
        }
        result = has_payload(recovery, offset, &frame);
        if (result != 0) {
            *ret_offset = offset;
            *ret_frame = frame;
            return result;
        }
    }
    return 0;
}

static void tell(struct wal_recovery *recovery, uint64_t end, uint64_t next_lsn)
{
    char snapshot[WAL_FORMAT_NAME_SIZE];
    char text[WAL_PROBLEM_SIZE];
    char what[96] = "which held no record";

    if (next_lsn > recovery->next_lsn) {
        (void)snprintf(what, sizeof(what), "which held records %" PRIu64 " to %" PRIu64,
                       recovery->next_lsn, next_lsn - 1); /* fits */
    }
    snapshot_format_name(recovery->snapshot_lsn, snapshot);
    (void)snprintf(text, sizeof(text),
                   "%s: damaged from offset %" PRIu64 " to %" PRIu64
                   ", %s: nothing is missing, for %s was taken later and is whole",
                   recovery->name, recovery->last.offset, end, what, snapshot); /* fits */
    recovery->replay->notice(recovery->replay_context, text);
}

int wal_recover_skip(struct wal_recovery *recovery, bool *ret_at_end)
{
    struct wal_format_frame frame = {0};
    uint64_t offset = 0;
    const int result = find_frame(recovery, &offset, &frame);

    if (result < 0) {
        return result;
    }
    *ret_at_end = result == 0;
    if (result > 0) {
        tell(recovery, offset, frame.first_lsn);
        recovery->last.offset = offset;
        recovery->last.prev_crc = frame.prev_crc; /* what it should match is damaged */
        recovery->next_lsn = frame.first_lsn;
    }
    return 0;
}
