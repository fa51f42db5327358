/*
 * A snapshot on disk, byte by byte. With this comment and the one of wal_format.c, which says what
 * a frame, a record, an LSN, a block, a CRC are, a second reader or writer can be built.
 *
 * A snapshot is the state after one record of the log, B, and nothing later: a set of records, in
 * no order, of which each stands for the last change that left something behind. Whoever applies
 * them all to nothing, and then the log's records from B + 1 on, has what the whole log would have
 * given. It needs no log to be understood, so a copy of the file is a backup.
 *
 * FILES, in the directory of the log
 *
 *     snap-<B>.snap     16 lower-case hex digits, so that names sort
 *     snap-<B>.bad      one that was found damaged, kept for people; of no meaning to a reader
 *     snap.tmp          one in the making, of no meaning to a reader
 *
 * A file: the header block, frames, the footer block; nothing between them, nothing behind. Its
 * size is a multiple of 4096. Header and footer stand twice in their block, at 0 and at 2048 (two
 * sectors, so that one bad sector leaves one copy); the first whole copy counts. The rest of both
 * blocks is reserved. Versions as in wal_format.c; the format version is 1, required features 0.
 *
 * HEADER, block 0
 *
 *       0   8  magic "USERDSNP"
 *       8   4  format version          12  4  least reader version
 *      16   4  required features       20  4  ignorable features
 *      24  16  store UUID: that of the log
 *      40   8  epoch: random, drawn for each snapshot
 *      48   8  B, as in the name
 *      56   8  number of records, as far as known when the file was begun: a hint
 *      64   8  realtime when it was begun, ns since 1970
 *      72  52  reserved
 *     124   4  CRC of bytes 0..123
 *
 * FRAMES as in a segment of the log, from block 1 on, each at the first block border behind the one
 * before. Of their header's fields,
 *
 *     flags is 0, and the number of records 1 to 512
 *     epoch is that of the header
 *     first_lsn is 1 + the number of records in all frames before: a number in this file, no LSN
 *     durable_lsn is first_lsn - 1
 *     prev_crc is the header CRC of the frame before; for the first frame, that of the header block
 *
 * A frame takes at most 1 MiB. (This writer ends one after 64 KiB or 512 records, so that neither
 * writing nor checking one takes long.) A body begins with 8 bytes that are not the record's own:
 * the LSN of the change that it stands for, at most B; 0 when it stands for none.
 *
 * FOOTER, the last block
 *
 *       0   8  magic "USERDEND"
 *       8  16  versions, as above
 *      24  16  store UUID             40  8  epoch             48  8  B: all as in the header
 *      56   8  number of records
 *      64   8  number of frames
 *      72   8  size of the file, this block included
 *      80  32  SHA-256 of the headers of all frames, 64 bytes each, in their order
 *     112  12  reserved
 *     124   4  CRC of bytes 0..123
 *
 * A frame's header holds the CRC of its payload, so the SHA-256 binds the contents as well as the
 * order and the number of the frames, at the cost of 64 bytes in each.
 *
 * WRITING. Into snap.tmp: header, frames, footer. It is synced, then read back and checked. When it
 * was right and the log is durable up to B, it is renamed, and the directory is synced. So a file
 * with a snapshot's name is whole, unless it was damaged later, and the log is known to have been
 * durable up to B. Only then what it makes superfluous is removed: snapshots before the two newest,
 * segments of the log that end at or before the older one of these.
 *
 * READING. All that was said above must hold, to the last byte that is not reserved; else the file
 * is damaged, and nothing of it may be used. Records can be applied while they are read, if what
 * they made can be thrown away again.
 */
#include "core/snapshot_format.h"

#include "core/digest.h"
#include "core/file_head.h"
#include "core/le.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_SIZE   128
#define COPY_OFFSET 2048
#define CRC_OFFSET  (COPY_SIZE - 4)

static_assert(SNAPSHOT_FORMAT_DIGEST_SIZE == DIGEST_SIZE, "one size, said twice");

static const struct file_head header_head = {
    .magic = (const uint8_t *)"USERDSNP",
    .version = SNAPSHOT_FORMAT_VERSION,
    .crc_offset = CRC_OFFSET,
};

static const struct file_head footer_head = {
    .magic = (const uint8_t *)"USERDEND",
    .version = SNAPSHOT_FORMAT_VERSION,
    .crc_offset = CRC_OFFSET,
};

void snapshot_format_name(uint64_t lsn, char *name)
{
    (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "snap-%016" PRIx64 ".snap", lsn); /* fits */
}

void snapshot_format_bad_name(uint64_t lsn, char *name)
{
    (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "snap-%016" PRIx64 ".bad", lsn); /* fits */
}

bool snapshot_format_parse_name(const char *name, uint64_t *ret_lsn)
{
    char expected[WAL_FORMAT_NAME_SIZE];
    uint64_t lsn;

    if (sscanf(name, "snap-%16" SCNx64, &lsn) != 1) {
        return false;
    }
    /* Only the one way to write the number is a snapshot's name. */
    snapshot_format_name(lsn, expected);
    if (strcmp(name, expected) != 0) {
        return false;
    }
    *ret_lsn = lsn;
    return true;
}

/* What header and footer have in common. */
static void begin_block(uint8_t *block, const struct file_head *head, const uint8_t *store_uuid,
                        uint64_t epoch, uint64_t lsn)
{
    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    file_head_put(block, head);
    memcpy(block + 24, store_uuid, WAL_FORMAT_UUID_SIZE);
    le_put_u64(block + 40, epoch);
    le_put_u64(block + 48, lsn);
}

static uint32_t end_block(uint8_t *block, const struct file_head *head)
{
    const uint32_t crc = file_head_seal(block, head);

    memcpy(block + COPY_OFFSET, block, COPY_SIZE);
    return crc;
}

/* Points to the copy that counts. */
static int find_copy(const uint8_t *block, const struct file_head *head, const uint8_t **ret_copy)
{
    int result = file_head_check(block, head);

    if (result == FILE_HEAD_E_BAD) {
        block += COPY_OFFSET;
        result = file_head_check(block, head);
    }
    *ret_copy = block;
    if (result == FILE_HEAD_E_BAD) {
        return WAL_FORMAT_E_BAD;
    }
    return result == 0 ? 0 : WAL_FORMAT_E_NEWER;
}

void snapshot_format_put_header(uint8_t *block, struct snapshot_format_header *header)
{
    begin_block(block, &header_head, header->store_uuid, header->epoch, header->lsn);
    le_put_u64(block + 56, header->record_count);
    le_put_u64(block + 64, header->realtime_ns);
    header->crc = end_block(block, &header_head);
}

int snapshot_format_get_header(const uint8_t *block, struct snapshot_format_header *ret_header)
{
    const uint8_t *copy;
    int result = find_copy(block, &header_head, &copy);

    if (result != 0) {
        return result;
    }
    memcpy(ret_header->store_uuid, copy + 24, WAL_FORMAT_UUID_SIZE);
    ret_header->epoch = le_get_u64(copy + 40);
    ret_header->lsn = le_get_u64(copy + 48);
    ret_header->record_count = le_get_u64(copy + 56);
    ret_header->realtime_ns = le_get_u64(copy + 64);
    ret_header->crc = le_get_u32(copy + CRC_OFFSET);
    return 0;
}

void snapshot_format_put_footer(uint8_t *block, const struct snapshot_format_footer *footer)
{
    begin_block(block, &footer_head, footer->store_uuid, footer->epoch, footer->lsn);
    le_put_u64(block + 56, footer->record_count);
    le_put_u64(block + 64, footer->frame_count);
    le_put_u64(block + 72, footer->size);
    memcpy(block + 80, footer->digest, SNAPSHOT_FORMAT_DIGEST_SIZE);
    (void)end_block(block, &footer_head);
}

int snapshot_format_get_footer(const uint8_t *block, struct snapshot_format_footer *ret_footer)
{
    const uint8_t *copy;
    int result = find_copy(block, &footer_head, &copy);

    if (result != 0) {
        return result;
    }
    memcpy(ret_footer->store_uuid, copy + 24, WAL_FORMAT_UUID_SIZE);
    ret_footer->epoch = le_get_u64(copy + 40);
    ret_footer->lsn = le_get_u64(copy + 48);
    ret_footer->record_count = le_get_u64(copy + 56);
    ret_footer->frame_count = le_get_u64(copy + 64);
    ret_footer->size = le_get_u64(copy + 72);
    memcpy(ret_footer->digest, copy + 80, SNAPSHOT_FORMAT_DIGEST_SIZE);
    return 0;
}
