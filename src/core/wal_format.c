/*
 * The write-ahead log on disk, byte by byte. With this comment alone a second reader or writer can
 * be built.
 *
 * Integers are unsigned and little endian. CRC is CRC-32C (Castagnoli, reflected, initial value and
 * final xor all ones; "123456789" gives e3069283). A block is 4096 bytes. An LSN numbers a record:
 * the first one ever has 1, and there are no gaps. Reserved bytes are written as zero and ignored.
 *
 * FILES, all in one directory
 *
 *     LOCK                         held (flock) by the one process that uses the directory
 *     CONTROL.a  CONTROL.b         one block each: the watermark
 *     wal-<first_lsn>.log          segments; 16 lower-case hex digits, so that names sort
 *     spare.tmp                    the next segment in the making, of no meaning to a reader
 *     wal-<first_lsn>-<lsn>.torn   what recovery cut off, kept for people; of no meaning either
 *     snap-<begin_lsn>.snap        reserved for snapshots
 *
 * VERSIONS. Segment headers and control blocks begin alike, and these 24 bytes and the place of the
 * checksum hold for every version to come: magic, format version (1), least version of a reader
 * that may read it (1), feature bits a reader must know (0), feature bits it may ignore (0). A
 * reader refuses, as too new, a whole block whose least version is above its own or whose required
 * features it does not know all.
 *
 * SEGMENT. A file of `size` bytes, a multiple of 4096, written with zeros from end to end and
 * synced before it gets its name. Block 0 holds the header twice, at 0 and at 2048 (two sectors, so
 * that one bad sector leaves one copy); the first whole copy counts. The rest of block 0 is
 * reserved.
 *
 *       0   8  magic "USERDWAL"
 *       8   4  format version          12  4  least reader version
 *      16   4  required features       20  4  ignorable features
 *      24  16  store UUID: the same in every file of a directory
 *      40   8  epoch: random, drawn for each segment
 *      48   8  first_lsn: of the first record, as in the name
 *      56   8  size of the file
 *      64   8  realtime when it was taken into use, ns since 1970
 *      72  52  reserved
 *     124   4  CRC of bytes 0..123
 *
 * FRAMES follow from block 1 on, each at the first block border behind the one before, none
 * reaching past the end of the segment. A frame is one group commit: header, records, and reserved
 * bytes up to the next block border. A block that was part of a frame is never written again while
 * the segment is in use, so a torn write hurts nothing older than itself.
 *
 *       0   4  magic "WFRM" (57 46 52 4d)
 *       4   2  header length, 64
 *       6   2  flags: 1 SEAL, 2 CLOSE; all others zero
 *       8   4  payload length, at most 1048512 (the frame with its header: 1 MiB)
 *      12   4  number of records, at most 512; zero exactly when a flag is set, then the payload
 *              is empty too
 *      16   8  epoch of the segment
 *      24   8  first_lsn: LSN of the first record; without records, the LSN the next one will have
 *      32   8  durable_lsn: everything up to it was durable when this frame was made; it is less
 *              than first_lsn
 *      40   8  realtime when it was made, ns since 1970
 *      48   4  prev_crc: header CRC of the frame before in this segment; for the first frame, the
 *              CRC of the segment header
 *      52   4  CRC of the payload, without the bytes after it
 *      56   4  reserved
 *      60   4  header CRC: of bytes 0..59, and so, through 52, of the payload as well
 *
 * A segment's first frame always has records. SEAL is written when nothing was appended for 10 ms,
 * CLOSE when the log is closed; both are witnesses for what stands before them. Records leave the
 * last block of a segment free for one of the two.
 *
 * RECORDS stand one behind the other in the payload, without gaps, and fill it exactly:
 *
 *       0   4  length of the body, at most 262144
 *       4   1  type, the writer's
 *       5   1  version of the record header, 1
 *       6   2  flags, 0
 *       8   4  CRC of bytes 0..7 and of the body
 *      12      body
 *
 * CONTROL, one block in each of two files, written in turn: sequence number s goes to CONTROL.a
 * when s is odd, to CONTROL.b when it is even, so that a torn write leaves the one before. The
 * whole one with the higher number counts.
 *
 *       0   8  magic "USERDCTL"        8..23 as above
 *      24  16  store UUID
 *      40   8  sequence number
 *      48   8  durable_lsn: everything up to it was durable when this was written
 *      56   8  realtime, ns since 1970
 *      64   4  flags: 1 = closed properly, nothing follows durable_lsn
 *      68 4024 reserved
 *    4092   4  CRC of bytes 0..4091
 *
 * WRITING. One frame at a time: write it (direct), sync, and only when both have succeeded its
 * records are durable, durable_lsn moves on, and the next frame may be made. A write or sync that
 * failed is never repeated; the log is dead. A frame that does not fit goes to the next segment:
 * the spare, which has been full of zeros and synced for long, gets its header, is synced, renamed
 * to its name, and the directory is synced. Since that happens with no frame in flight, the mere
 * name of a segment proves that everything before its first_lsn was durable. A new store writes and
 * syncs both control files and the directory before its first segment gets a name.
 *
 * WHAT A CRASH LEAVES. The frame in flight may be there, in whole, in part (any sectors of it, even
 * half of one) or not at all. Nothing else can be damaged: older frames were synced, newer ones did
 * not exist. So, in the last segment, whole frames, then perhaps remains of one, then zeros. The
 * same for one control file out of two, and for spare.tmp. This is what tells a crash from damage.
 *
 * READING. Sync the directory and each file first: what a killed process left unsynced must not be
 * shown as durable. Take the segments in the order of their names. E is the LSN expected next, 1 at
 * first.
 *
 *  - Control: none is whole but there are segments: refuse. None at all and no segments: new store.
 *  - Each segment: header whole, UUID that of the control, first_lsn as in the name and equal to E;
 *    else refuse. (The name was given after the header was synced.)
 *  - Frame by frame from block 1: magic, lengths, both CRCs; epoch the segment's, first_lsn == E,
 *    prev_crc as above. A good one is replayed, and E moves on by the number of its records.
 *  - A header that is whole and of this epoch, but in the wrong place or with impossible contents,
 *    or good checksums around records that do not add up, is nothing a crash can leave: refuse.
 *  - Otherwise, at a block of zeros, at something that is no whole frame, or at the end of the
 *    file, the frames are over, unless a witness says that there had been more:
 *      (a) This is not the last segment, and either the block is not zero or the next segment
 *          does not begin with E: refuse. (Spares have no segment name and do not count.)
 *      (b) The durable_lsn of the control is E or more: refuse.
 *      (c) A later block of the segment holds a whole frame header of this epoch: refuse. It was
 *          written after what should stand here had been synced. (To look at its LSNs as well
 *          would add nothing, and would miss a record frame behind a damaged SEAL.)
 *      (d) None of these: it is the true end. Anything not zero behind it is the frame that was
 *          in flight: it is copied to a .torn file, which is synced with the directory; then it
 *          is overwritten with zeros, and these are synced.
 *  - A file cut short is read, by the same rules, as if its last block went on in zeros.
 *  - Writing goes on in a new segment; but when the last one has no frame at all and has its full
 *    size, in that one.
 *
 * What remains: damage to the very last frame in the time before any witness for it exists, that is
 * before the next frame or the SEAL 10 ms later, looks like a crash during its write.
 */
#include "core/wal_format.h"

#include "core/hash.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_HEADER_SIZE 128
#define SEGMENT_COPY_OFFSET 2048
#define FRAME_MAGIC         0x4d524657u /* "WFRM" */
#define RECORD_VERSION      1
#define CONTROL_CRC_OFFSET  (WAL_FORMAT_BLOCK_SIZE - 4)
#define CONTROL_CLEAN       1u

static const uint8_t segment_magic[8] = {'U', 'S', 'E', 'R', 'D', 'W', 'A', 'L'};
static const uint8_t control_magic[8] = {'U', 'S', 'E', 'R', 'D', 'C', 'T', 'L'};

static void put_u16(uint8_t *bytes, uint16_t value)
{
    value = htole16(value);
    memcpy(bytes, &value, sizeof(value));
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

static void put_u64(uint8_t *bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

static uint16_t get_u16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return le16toh(value);
}

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

static uint32_t crc_of(const uint8_t *bytes, size_t size)
{
    return hash_crc32c(0, (struct bytes){bytes, size});
}

void wal_format_segment_name(uint64_t first_lsn, char *name)
{
    (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "wal-%016" PRIx64 ".log", first_lsn); /* fits */
}

void wal_format_torn_name(uint64_t first_lsn, uint64_t next_lsn, char *name)
{
    (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "wal-%016" PRIx64 "-%016" PRIx64 ".torn", first_lsn,
                   next_lsn); /* fits */
}

bool wal_format_parse_segment_name(const char *name, uint64_t *ret_first_lsn)
{
    char expected[WAL_FORMAT_NAME_SIZE];
    uint64_t first_lsn;

    if (sscanf(name, "wal-%16" SCNx64, &first_lsn) != 1) {
        return false;
    }
    /* Only the one way to write the number is a segment's name. */
    wal_format_segment_name(first_lsn, expected);
    if (strcmp(name, expected) != 0) {
        return false;
    }
    *ret_first_lsn = first_lsn;
    return true;
}

static void put_versions(uint8_t *bytes, const uint8_t *magic)
{
    memcpy(bytes, magic, 8);
    put_u32(bytes + 8, WAL_FORMAT_VERSION);
    put_u32(bytes + 12, WAL_FORMAT_VERSION);
    put_u32(bytes + 16, 0);
    put_u32(bytes + 20, 0);
}

/* The checksum comes before the versions: in a damaged block neither means anything. */
static int check_versions(const uint8_t *bytes, const uint8_t *magic, size_t crc_offset)
{
    if (memcmp(bytes, magic, 8) != 0 || get_u32(bytes + crc_offset) != crc_of(bytes, crc_offset)) {
        return WAL_FORMAT_E_BAD;
    }
    if (get_u32(bytes + 12) > WAL_FORMAT_VERSION || get_u32(bytes + 16) != 0) {
        return WAL_FORMAT_E_NEWER;
    }
    return 0;
}

void wal_format_put_segment(uint8_t *block, struct wal_format_segment *segment)
{
    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    put_versions(block, segment_magic);
    memcpy(block + 24, segment->store_uuid, WAL_FORMAT_UUID_SIZE);
    put_u64(block + 40, segment->epoch);
    put_u64(block + 48, segment->first_lsn);
    put_u64(block + 56, segment->size);
    put_u64(block + 64, segment->realtime_ns);
    segment->crc = crc_of(block, SEGMENT_HEADER_SIZE - 4);
    put_u32(block + SEGMENT_HEADER_SIZE - 4, segment->crc);
    memcpy(block + SEGMENT_COPY_OFFSET, block, SEGMENT_HEADER_SIZE);
}

int wal_format_get_segment(const uint8_t *block, struct wal_format_segment *ret_segment)
{
    int result = check_versions(block, segment_magic, SEGMENT_HEADER_SIZE - 4);

    if (result == WAL_FORMAT_E_BAD) {
        block += SEGMENT_COPY_OFFSET;
        result = check_versions(block, segment_magic, SEGMENT_HEADER_SIZE - 4);
    }
    if (result != 0) {
        return result;
    }
    memcpy(ret_segment->store_uuid, block + 24, WAL_FORMAT_UUID_SIZE);
    ret_segment->epoch = get_u64(block + 40);
    ret_segment->first_lsn = get_u64(block + 48);
    ret_segment->size = get_u64(block + 56);
    ret_segment->realtime_ns = get_u64(block + 64);
    ret_segment->crc = get_u32(block + SEGMENT_HEADER_SIZE - 4);
    return 0;
}

size_t wal_format_put_frame(uint8_t *bytes, struct wal_format_frame *frame)
{
    size_t used = WAL_FORMAT_FRAME_HEADER_SIZE + frame->payload_size;
    size_t size = wal_format_frame_size(frame->payload_size);

    assert(size <= WAL_FORMAT_FRAME_SIZE_MAX);
    assert(frame->durable_lsn < frame->first_lsn);
    assert((frame->record_count == 0) == (frame->flags != 0));
    frame->payload_crc = crc_of(bytes + WAL_FORMAT_FRAME_HEADER_SIZE, frame->payload_size);
    put_u32(bytes, FRAME_MAGIC);
    put_u16(bytes + 4, WAL_FORMAT_FRAME_HEADER_SIZE);
    put_u16(bytes + 6, frame->flags);
    put_u32(bytes + 8, frame->payload_size);
    put_u32(bytes + 12, frame->record_count);
    put_u64(bytes + 16, frame->epoch);
    put_u64(bytes + 24, frame->first_lsn);
    put_u64(bytes + 32, frame->durable_lsn);
    put_u64(bytes + 40, frame->realtime_ns);
    put_u32(bytes + 48, frame->prev_crc);
    put_u32(bytes + 52, frame->payload_crc);
    put_u32(bytes + 56, 0);
    frame->crc = crc_of(bytes, WAL_FORMAT_FRAME_HEADER_SIZE - 4);
    put_u32(bytes + 60, frame->crc);
    memset(bytes + used, 0, size - used);
    return size;
}

int wal_format_get_frame(const uint8_t *bytes, struct wal_format_frame *ret_frame)
{
    if (get_u32(bytes) != FRAME_MAGIC || get_u16(bytes + 4) != WAL_FORMAT_FRAME_HEADER_SIZE ||
        get_u32(bytes + 60) != crc_of(bytes, WAL_FORMAT_FRAME_HEADER_SIZE - 4)) {
        return WAL_FORMAT_E_BAD;
    }
    ret_frame->flags = get_u16(bytes + 6);
    ret_frame->payload_size = get_u32(bytes + 8);
    ret_frame->record_count = get_u32(bytes + 12);
    ret_frame->epoch = get_u64(bytes + 16);
    ret_frame->first_lsn = get_u64(bytes + 24);
    ret_frame->durable_lsn = get_u64(bytes + 32);
    ret_frame->realtime_ns = get_u64(bytes + 40);
    ret_frame->prev_crc = get_u32(bytes + 48);
    ret_frame->payload_crc = get_u32(bytes + 52);
    ret_frame->crc = get_u32(bytes + 60);
    return 0;
}

bool wal_format_check_payload(const struct wal_format_frame *frame, const uint8_t *payload)
{
    return crc_of(payload, frame->payload_size) == frame->payload_crc;
}

static uint32_t record_crc(const uint8_t *bytes, struct bytes body)
{
    return hash_crc32c(crc_of(bytes, 8), body);
}

size_t wal_format_put_record(uint8_t *bytes, uint8_t type, struct bytes body)
{
    assert(body.size <= WAL_FORMAT_RECORD_SIZE_MAX);
    put_u32(bytes, (uint32_t)body.size);
    bytes[4] = type;
    bytes[5] = RECORD_VERSION;
    put_u16(bytes + 6, 0);
    put_u32(bytes + 8, record_crc(bytes, body));
    if (body.size > 0) {
        memcpy(bytes + WAL_FORMAT_RECORD_HEADER_SIZE, body.data, body.size);
    }
    return WAL_FORMAT_RECORD_HEADER_SIZE + body.size;
}

int wal_format_get_record(struct bytes payload, size_t *offset,
                          struct wal_format_record *ret_record)
{
    const uint8_t *bytes = payload.data + *offset;
    size_t left = payload.size - *offset;
    struct bytes body;

    if (left < WAL_FORMAT_RECORD_HEADER_SIZE) {
        return WAL_FORMAT_E_BAD;
    }
    body = (struct bytes){bytes + WAL_FORMAT_RECORD_HEADER_SIZE, get_u32(bytes)};
    if (body.size > WAL_FORMAT_RECORD_SIZE_MAX ||
        body.size > left - WAL_FORMAT_RECORD_HEADER_SIZE) {
        return WAL_FORMAT_E_BAD;
    }
    if (bytes[5] != RECORD_VERSION || get_u16(bytes + 6) != 0 ||
        get_u32(bytes + 8) != record_crc(bytes, body)) {
        return WAL_FORMAT_E_BAD;
    }
    *offset += WAL_FORMAT_RECORD_HEADER_SIZE + body.size;
    *ret_record = (struct wal_format_record){bytes[4], body};
    return 0;
}

void wal_format_put_control(uint8_t *block, const struct wal_format_control *control)
{
    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    put_versions(block, control_magic);
    memcpy(block + 24, control->store_uuid, WAL_FORMAT_UUID_SIZE);
    put_u64(block + 40, control->sequence);
    put_u64(block + 48, control->durable_lsn);
    put_u64(block + 56, control->realtime_ns);
    put_u32(block + 64, control->is_clean ? CONTROL_CLEAN : 0);
    put_u32(block + CONTROL_CRC_OFFSET, crc_of(block, CONTROL_CRC_OFFSET));
}

int wal_format_get_control(const uint8_t *block, struct wal_format_control *ret_control)
{
    int result = check_versions(block, control_magic, CONTROL_CRC_OFFSET);

    if (result != 0) {
        return result;
    }
    memcpy(ret_control->store_uuid, block + 24, WAL_FORMAT_UUID_SIZE);
    ret_control->sequence = get_u64(block + 40);
    ret_control->durable_lsn = get_u64(block + 48);
    ret_control->realtime_ns = get_u64(block + 56);
    ret_control->is_clean = (get_u32(block + 64) & CONTROL_CLEAN) != 0;
    return 0;
}
