#include "lib/disk_witness.h"

#include "core/snapshot_format.h"
#include "core/wal_format.h"

#include <string.h>

static void raise_to(uint64_t *lsn, uint64_t at_least)
{
    if (*lsn < at_least) {
        *lsn = at_least;
    }
}

static void look_at_control(const struct fake_disk *disk, const char *name, uint64_t *lsn)
{
    struct wal_format_control control;
    uint64_t size;
    const uint8_t *bytes = fake_disk_peek(disk, name, &size);

    if (size >= WAL_FORMAT_BLOCK_SIZE && wal_format_get_control(bytes, &control) == 0) {
        raise_to(lsn, control.durable_lsn);
    }
}

static void look_at_segment(const struct fake_disk *disk, const char *name, uint64_t *lsn)
{
    struct wal_format_segment header;
    struct wal_format_frame frame;
    uint64_t size;
    const uint8_t *bytes = fake_disk_peek(disk, name, &size);

    if (size < WAL_FORMAT_BLOCK_SIZE || wal_format_get_segment(bytes, &header) != 0) {
        return;
    }
    for (uint64_t at = WAL_FORMAT_BLOCK_SIZE; size - at >= WAL_FORMAT_BLOCK_SIZE;
         at += WAL_FORMAT_BLOCK_SIZE) {
        if (wal_format_get_frame(bytes + at, &frame) == 0 && frame.epoch == header.epoch) {
            raise_to(lsn, frame.durable_lsn);
            raise_to(lsn, header.is_lazy ? 0 : frame.first_lsn - 1);
        }
    }
}

uint64_t disk_witness_lsn(const struct fake_disk *disk)
{
    uint64_t lsn = 0;

    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        const char *name = fake_disk_name(disk, i);
        uint64_t first_lsn;

        if (strcmp(name, WAL_FORMAT_CONTROL_A) == 0 || strcmp(name, WAL_FORMAT_CONTROL_B) == 0) {
            look_at_control(disk, name, &lsn);
        } else if (wal_format_parse_segment_name(name, &first_lsn)) {
            raise_to(&lsn, first_lsn - 1);
            look_at_segment(disk, name, &lsn);
        }
    }
    return lsn;
}

bool disk_witness_has_snapshot(const struct fake_disk *disk, uint64_t lsn)
{
    struct snapshot_format_header header;
    struct snapshot_format_footer footer;
    struct wal_format_frame frame;
    char name[WAL_FORMAT_NAME_SIZE];
    uint64_t at = WAL_FORMAT_BLOCK_SIZE;
    uint64_t frames = 0;
    uint64_t size;
    const uint8_t *bytes;

    snapshot_format_name(lsn, name);
    if (!fake_disk_exists(disk, name)) {
        return false;
    }
    bytes = fake_disk_peek(disk, name, &size);
    if (size < 2 * WAL_FORMAT_BLOCK_SIZE || snapshot_format_get_header(bytes, &header) != 0) {
        return false;
    }
    while (at + WAL_FORMAT_BLOCK_SIZE < size && wal_format_get_frame(bytes + at, &frame) == 0 &&
           at + wal_format_frame_size(frame.payload_size) < size &&
           wal_format_check_payload(&frame, bytes + at + WAL_FORMAT_FRAME_HEADER_SIZE)) {
        at += wal_format_frame_size(frame.payload_size);
        frames++;
    }
    return at + WAL_FORMAT_BLOCK_SIZE == size &&
           snapshot_format_get_footer(bytes + at, &footer) == 0 && footer.frame_count == frames;
}
