#include "core/snapshot_check.h"

#include "core/le.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Says what is wrong, and passes the outcome on. */
__attribute__((format(printf, 3, 4))) static int refuse(struct snapshot_check *check, int outcome,
                                                        const char *format, ...)
{
    char text[WAL_PROBLEM_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments); /* may be cut */
    va_end(arguments);
    (void)snprintf(check->problem, WAL_PROBLEM_SIZE, "%s: %.*s", check->name,
                   (int)(WAL_PROBLEM_SIZE - WAL_FORMAT_NAME_SIZE - 2), text); /* fits */
    return outcome;
}

void snapshot_check_init(struct snapshot_check *check, uint64_t lsn, uint64_t file_size,
                         const uint8_t *store_uuid, char *problem)
{
    problem[0] = '\0';
    *check = (struct snapshot_check){
        .store_uuid = store_uuid,
        .file_size = file_size,
        .problem = problem,
        .header.lsn = lsn,
        .offset = WAL_FORMAT_BLOCK_SIZE,
    };
    snapshot_format_name(lsn, check->name);
    digest_init(&check->digest);
}

int snapshot_check_size(struct snapshot_check *check)
{
    if (check->file_size < SNAPSHOT_FORMAT_SIZE_MIN ||
        check->file_size % WAL_FORMAT_BLOCK_SIZE != 0) {
        return refuse(check, WAL_E_DAMAGED, "was cut off at offset %" PRIu64, check->file_size);
    }
    return 0;
}

int snapshot_check_header(struct snapshot_check *check, const uint8_t *block)
{
    const uint64_t lsn = check->header.lsn;
    int result = snapshot_format_get_header(block, &check->header);

    if (result == WAL_FORMAT_E_NEWER) {
        return refuse(check, WAL_E_FOREIGN, "written by a newer version of this program");
    }
    if (result != 0) {
        return refuse(check, WAL_E_DAMAGED, "both copies of the header at offset 0 are damaged");
    }
    if (check->store_uuid != NULL &&
        memcmp(check->header.store_uuid, check->store_uuid, WAL_FORMAT_UUID_SIZE) != 0) {
        return refuse(check, WAL_E_FOREIGN, "belongs to another store");
    }
    if (check->header.lsn != lsn) {
        return refuse(check, WAL_E_DAMAGED,
                      "its header at offset 0 says that it is the state after record %" PRIu64
                      ", its name says %" PRIu64,
                      check->header.lsn, lsn);
    }
    check->prev_crc = check->header.crc;
    return 0;
}

/* Whether a whole frame header is the one that has to stand here. */
static bool belongs_here(const struct snapshot_check *check, const struct wal_format_frame *frame)
{
    if (frame->epoch != check->header.epoch || frame->prev_crc != check->prev_crc ||
        frame->first_lsn != check->record_count + 1 || frame->durable_lsn != check->record_count) {
        return false;
    }
    return frame->flags == 0 && frame->record_count > 0 &&
           frame->record_count <= WAL_FORMAT_FRAME_RECORDS_MAX &&
           frame->payload_size <= WAL_FORMAT_FRAME_SIZE_MAX - WAL_FORMAT_FRAME_HEADER_SIZE;
}

int snapshot_check_frame(struct snapshot_check *check, const uint8_t *block, size_t *ret_size)
{
    const uint64_t end = check->file_size - WAL_FORMAT_BLOCK_SIZE; /* of all frames */
    struct wal_format_frame *frame = &check->frame;
    struct snapshot_format_footer footer;
    size_t size;

    assert(check->offset < end);
    if (wal_format_get_frame(block, frame) != 0) {
        if (snapshot_format_get_footer(block, &footer) == 0) {
            return refuse(check, WAL_E_DAMAGED,
                          "has more behind its end at offset %" PRIu64 ", up to %" PRIu64,
                          check->offset + WAL_FORMAT_BLOCK_SIZE, check->file_size);
        }
        return refuse(check, WAL_E_DAMAGED,
                      "no frame at offset %" PRIu64 ", behind %" PRIu64 " records", check->offset,
                      check->record_count);
    }
    if (!belongs_here(check, frame)) {
        return refuse(check, WAL_E_DAMAGED,
                      "a frame that does not belong there at offset %" PRIu64
                      ": it begins with record %" PRIu64 " and has %" PRIu32
                      ", expected is record %" PRIu64 " of the snapshot",
                      check->offset, frame->first_lsn, frame->record_count,
                      check->record_count + 1);
    }
    size = wal_format_frame_size(frame->payload_size);
    if (size > end - check->offset) {
        return refuse(check, WAL_E_DAMAGED,
                      "cut off within the frame at offset %" PRIu64 ", behind %" PRIu64 " records",
                      check->offset, check->record_count);
    }
    digest_add(&check->digest, (struct bytes){block, WAL_FORMAT_FRAME_HEADER_SIZE});
    *ret_size = size;
    return 0;
}

int snapshot_check_payload(struct snapshot_check *check, const uint8_t *bytes)
{
    const struct wal_format_frame *frame = &check->frame;

    check->payload = (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE, frame->payload_size};
    if (!wal_format_check_payload(frame, check->payload.data)) {
        return refuse(check, WAL_E_DAMAGED,
                      "damaged within the frame at offset %" PRIu64 ", behind %" PRIu64 " records",
                      check->offset, check->record_count);
    }
    check->payload_offset = 0;
    check->records_left = frame->record_count;
    check->offset += wal_format_frame_size(frame->payload_size);
    check->prev_crc = frame->crc;
    check->frame_count++;
    return 0;
}

/* The checksums are good, and yet the records are not those that a frame can hold. */
static int refuse_record(struct snapshot_check *check)
{
    return refuse(check, WAL_E_DAMAGED,
                  "a frame of the wrong records before offset %" PRIu64 ", at record %" PRIu64
                  " of the snapshot",
                  check->offset, check->record_count + 1);
}

int snapshot_check_record(struct snapshot_check *check, struct wal_record *ret_record)
{
    struct wal_format_record found;
    uint64_t lsn;

    if (check->records_left == 0) {
        return check->payload_offset == check->payload.size ? SNAPSHOT_CHECK_END
                                                            : refuse_record(check);
    }
    if (wal_format_get_record(check->payload, &check->payload_offset, &found) != 0 ||
        found.body.size < SNAPSHOT_FORMAT_PREFIX_SIZE) {
        return refuse_record(check);
    }
    lsn = le_get_u64(found.body.data);
    if (lsn > check->header.lsn) {
        return refuse_record(check);
    }
    check->records_left--;
    check->record_count++;
    *ret_record = (struct wal_record){
        .lsn = lsn,
        .realtime_ns = check->frame.realtime_ns,
        .type = found.type,
        .is_in_snapshot = true,
        .body = {found.body.data + SNAPSHOT_FORMAT_PREFIX_SIZE,
                 found.body.size - SNAPSHOT_FORMAT_PREFIX_SIZE},
    };
    return 0;
}

int snapshot_check_footer(struct snapshot_check *check, const uint8_t *block)
{
    const struct snapshot_format_header *header = &check->header;
    struct snapshot_format_footer footer;
    uint8_t digest[DIGEST_SIZE];
    int result = snapshot_format_get_footer(block, &footer);

    assert(snapshot_check_at_footer(check));
    if (result == WAL_FORMAT_E_NEWER) {
        return refuse(check, WAL_E_FOREIGN, "written by a newer version of this program");
    }
    if (result != 0) {
        return refuse(check, WAL_E_DAMAGED,
                      "no footer at offset %" PRIu64 ", behind %" PRIu64 " records", check->offset,
                      check->record_count);
    }
    digest_end(&check->digest, digest);
    if (memcmp(footer.store_uuid, header->store_uuid, WAL_FORMAT_UUID_SIZE) != 0 ||
        footer.epoch != header->epoch || footer.lsn != header->lsn ||
        footer.size != check->file_size || memcmp(footer.digest, digest, DIGEST_SIZE) != 0 ||
        footer.record_count != check->record_count || footer.frame_count != check->frame_count) {
        return refuse(check, WAL_E_DAMAGED,
                      "the footer at offset %" PRIu64 " is not the one of what stands before it: "
                      "%" PRIu64 " records in %" PRIu64 " frames",
                      check->offset, check->record_count, check->frame_count);
    }
    return 0;
}
