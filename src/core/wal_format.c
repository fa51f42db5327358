/*
 * The write-ahead log on disk, byte by byte. With this comment alone a second reader or writer can
 * be built; snapshots are described at the head of snapshot_format.c.
 *
 * Integers are unsigned and little endian. CRC is CRC-32C (Castagnoli, reflected, initial value and
 * final xor all ones; "123456789" gives e3069283). A block is 4096 bytes. An LSN numbers a record:
 * the first one ever has 1, and there are no gaps. Reserved bytes are written as zero and ignored.
 *
 * FILES, all in one directory; LSNs in names are 16 lower-case hex digits, so that names sort
 *
 *     LOCK                         held (flock) by the one process that uses the directory
 *     CONTROL.a  CONTROL.b         one block each: the watermark
 *     wal-<first_lsn>.log          segments
 *     spare.tmp                    the next segment in the making, of no meaning to a reader
 *     wal-<first_lsn>-<lsn>.torn   what recovery cut off, kept for people; of no meaning either;
 *                                  further ones at the same place: -<lsn>.1.torn, and so on
 *     torn.tmp                     one in the making
 *     snap-<lsn>.snap              snapshots: the state after that record
 *     snap.tmp                     a snapshot in the making, of no meaning to a reader
 *     snap-<lsn>.bad               a snapshot that was found damaged, kept for people
 *
 * VERSIONS. Segment headers, control blocks, and the first and last block of a snapshot begin
 * alike, and these 24 bytes and the place of the checksum hold for every version to come: magic,
 * format version (1), least version of a reader that may read it (1), feature bits a reader must
 * know, feature bits it may ignore (0). A reader refuses, as too new, a whole block whose least
 * version is above its own or whose required features it does not know all. There is one required
 * feature so far: LAZY = 1, of segments.
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
 * A segment's first frame always has records. A mark, that is a frame without any, is a witness for
 * what stands before it: SEAL is written when everything has been durable for 10 ms, CLOSE when the
 * log is closed. Records leave the last block of a segment free for one of the two.
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
 *      64   4  flags: 1 = closed properly, nothing follows durable_lsn; 2 = records behind
 *              durable_lsn may have been told and be lost, and none has become durable since
 *      68   4  reserved
 *      72   8  about how many records a snapshot would have had when this was written, 0 = unknown:
 *              a reader may make room for as many at once, and must neither trust nor need it
 *      80 4012 reserved
 *    4092   4  CRC of bytes 0..4091
 *
 * WRITING. One frame at a time: write it (direct), sync, and only when both have succeeded its
 * records are durable, durable_lsn moves on, and the next frame may be made. A write or sync that
 * failed is never repeated; the log is dead. A frame that does not fit goes to the next segment:
 * the spare, which has been full of zeros and synced for long, gets its header, is synced, renamed
 * to its name, and the directory is synced. Since that happens with no frame in flight and all of
 * them synced, the mere name of a segment proves that everything before its first_lsn was durable.
 * So does that of a snapshot for everything up to its LSN. A new store writes and syncs both
 * control files and the directory before its first segment gets a name.
 *
 * WRITING LAZILY, in segments with the feature LAZY, records are told when their frame is written.
 * Still one write at a time, and frames in order; but syncs come on their own, some time later, and
 * the frames written since the last one have a durable_lsn that stays behind. Before a mark, before
 * the next segment gets its name and before a snapshot does, there is a sync that covers all; and a
 * mark is synced before the next frame is written.
 *
 * WHAT A CRASH LEAVES. The frame in flight may be there, in whole, in part (any sectors of it, even
 * half of one) or not at all; in a LAZY segment that holds for each frame behind the last sync, so
 * that a whole one may follow a lost one. Nothing else can be damaged: older frames were synced,
 * newer ones did not exist. So, in the last segment, whole frames, then perhaps remains of one
 * (LAZY: of several, some of them whole), then zeros. The same for one control file out of two, and
 * for spare.tmp and snap.tmp. This is what tells a crash from damage.
 *
 * READING. Sync the directory and each file first: what a killed process left unsynced must not be
 * shown as durable.
 *
 *  - Control: none is whole but there are segments or snapshots: refuse. None at all and neither of
 *    these: new store. Both whole, with different UUIDs: refuse.
 *  - The base: the newest snapshot that is whole; S is its LSN, 0 without any. A snapshot that is
 *    not whole is passed over, and still a witness by its name. One of another store, or too new:
 *    refuse.
 *  - Take the segments in the order of their names, from the last one on that begins at S + 1 or
 *    before it: that holds record S + 1, or will. Older ones are left-overs and not looked at. No
 *    segment that begins so: refuse, except in a new store, where there is nothing at all.
 *    E is the LSN expected next, at first the one that this segment begins with.
 *  - Each segment: header whole, UUID that of the control, first_lsn as in the name and equal to E;
 *    else refuse. (The name was given after the header was synced.)
 *  - Frame by frame from block 1: magic, lengths, both CRCs; epoch the segment's, first_lsn == E,
 *    prev_crc as above. Of a good one those records are replayed that come behind S, and E moves on
 *    by the number of its records.
 *  - A header that is whole and of this epoch, but in the wrong place or with impossible contents,
 *    or good checksums around records that do not add up, is nothing a crash can leave: refuse.
 *  - At a block of zeros, or at something that is no whole frame, while E is S or less (so only in
 *    the first of the segments, and only behind a snapshot that was loaded): look in the blocks
 *    behind it for the next whole frame of this epoch, header and payload. If its first_lsn is E or
 *    more, and S + 1 or less, go on with it: E becomes its first_lsn, its prev_crc is taken as it
 *    is. (It may be a mark. What was stepped over held no record behind S, for frames stand in the
 *    order of their LSNs.) If there is none, or if a whole header of this epoch out of that
 *    range, or an impossible one, comes first: the next rule, by which (b) refuses. From S + 1
 *    on nothing is stepped over; a start from an older snapshot has an older S.
 *  - Otherwise, at a block of zeros, at something that is no whole frame, or at the end of the
 *    file, the frames are over, unless a witness says that there had been more:
 *      (a) This is not the last segment, and either the block is not zero or the next segment
 *          does not begin with E: refuse. (Spares have no segment name and do not count.)
 *      (b) The durable_lsn of the control, or the LSN of a snapshot, whole or not, is E or more:
 *          refuse.
 *      (c) A later block of the segment holds a whole frame header of this epoch: refuse. It was
 *          written after what should stand here had been synced. (To look at its LSNs as well
 *          would add nothing, and would miss a record frame behind a damaged SEAL.)
 *          In a LAZY segment that alone proves nothing. There: such a header whose durable_lsn is E
 *          or more, for then record E was durable; or whose first_lsn is E or less, for then a mark
 *          stood here, and marks are synced before the next frame is written.
 *      (d) None of these: it is the true end. Anything not zero behind it is the frame that was
 *          in flight, or (LAZY) what was not synced: it is copied to a .torn file, which is synced
 *          with the directory; then it is overwritten with zeros, and these are synced.
 *  - A file cut short is read, by the same rules, as if its last block went on in zeros.
 *  - Records may have been told and be lost when the last segment is LAZY and the control does not
 *    say "closed properly"; or when it says so by its flag 2 and E - 1 is still its durable_lsn.
 *    Then the flag is set, and until a record is durable frames are written as in a segment that
 *    is not LAZY: whoever numbers anything must not use the lost numbers again, and must not lose
 *    that leap in turn.
 *  - Writing goes on in a new segment; but when the last one has no frame at all, has its full size
 *    and is LAZY just when writing will be, in that one.
 *
 * What remains: damage to the very last frame in the time before any witness for it exists, that is
 * before the next frame or the SEAL 10 ms later, looks like a crash during its write. LAZY: before
 * the next frame behind the next sync, or the SEAL 10 ms after that.
 */
#include "core/wal_format.h"

#include "core/file_head.h"
#include "core/hash.h"
#include "core/le.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_HEADER_SIZE 128
#define SEGMENT_COPY_OFFSET 2048
#define FRAME_MAGIC         0x4d524657u /* "WFRM" */
#define RECORD_VERSION      1
#define CONTROL_CRC_OFFSET  (WAL_FORMAT_BLOCK_SIZE - 4)
#define CONTROL_CLEAN       1u
#define CONTROL_LOST        2u
#define FEATURE_LAZY        1u

static const uint8_t segment_magic[8] = {'U', 'S', 'E', 'R', 'D', 'W', 'A', 'L'};
static const uint8_t control_magic[8] = {'U', 'S', 'E', 'R', 'D', 'C', 'T', 'L'};

static_assert(FILE_HEAD_E_BAD == WAL_FORMAT_E_BAD, "passed on as it is");
static_assert(FILE_HEAD_E_NEWER == WAL_FORMAT_E_NEWER, "passed on as it is");

/* The segment header that a writer makes with these features, or that a reader of them accepts. */
static struct file_head segment_head(uint32_t features)
{
    return (struct file_head){
        .magic = segment_magic,
        .version = WAL_FORMAT_VERSION,
        .features = features,
        .crc_offset = SEGMENT_HEADER_SIZE - 4,
    };
}

static const struct file_head control_head = {
    .magic = control_magic,
    .version = WAL_FORMAT_VERSION,
    .crc_offset = CONTROL_CRC_OFFSET,
};

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

void wal_format_put_segment(uint8_t *block, struct wal_format_segment *segment)
{
    const struct file_head head = segment_head(segment->is_lazy ? FEATURE_LAZY : 0);

    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    file_head_put(block, &head);
    memcpy(block + 24, segment->store_uuid, WAL_FORMAT_UUID_SIZE);
    le_put_u64(block + 40, segment->epoch);
    le_put_u64(block + 48, segment->first_lsn);
    le_put_u64(block + 56, segment->size);
    le_put_u64(block + 64, segment->realtime_ns);
    segment->crc = file_head_seal(block, &head);
    memcpy(block + SEGMENT_COPY_OFFSET, block, SEGMENT_HEADER_SIZE);
}

int wal_format_get_segment(const uint8_t *block, struct wal_format_segment *ret_segment)
{
    const struct file_head head = segment_head(FEATURE_LAZY);
    int result = file_head_check(block, &head);

    if (result == WAL_FORMAT_E_BAD) {
        block += SEGMENT_COPY_OFFSET;
        result = file_head_check(block, &head);
    }
    if (result != 0) {
        return result;
    }
    memcpy(ret_segment->store_uuid, block + 24, WAL_FORMAT_UUID_SIZE);
    ret_segment->is_lazy = (le_get_u32(block + 16) & FEATURE_LAZY) != 0;
    ret_segment->epoch = le_get_u64(block + 40);
    ret_segment->first_lsn = le_get_u64(block + 48);
    ret_segment->size = le_get_u64(block + 56);
    ret_segment->realtime_ns = le_get_u64(block + 64);
    ret_segment->crc = le_get_u32(block + SEGMENT_HEADER_SIZE - 4);
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
    le_put_u32(bytes, FRAME_MAGIC);
    le_put_u16(bytes + 4, WAL_FORMAT_FRAME_HEADER_SIZE);
    le_put_u16(bytes + 6, frame->flags);
    le_put_u32(bytes + 8, frame->payload_size);
    le_put_u32(bytes + 12, frame->record_count);
    le_put_u64(bytes + 16, frame->epoch);
    le_put_u64(bytes + 24, frame->first_lsn);
    le_put_u64(bytes + 32, frame->durable_lsn);
    le_put_u64(bytes + 40, frame->realtime_ns);
    le_put_u32(bytes + 48, frame->prev_crc);
    le_put_u32(bytes + 52, frame->payload_crc);
    le_put_u32(bytes + 56, 0);
    frame->crc = crc_of(bytes, WAL_FORMAT_FRAME_HEADER_SIZE - 4);
    le_put_u32(bytes + 60, frame->crc);
    memset(bytes + used, 0, size - used);
    return size;
}

int wal_format_get_frame(const uint8_t *bytes, struct wal_format_frame *ret_frame)
{
    if (le_get_u32(bytes) != FRAME_MAGIC || le_get_u16(bytes + 4) != WAL_FORMAT_FRAME_HEADER_SIZE ||
        le_get_u32(bytes + 60) != crc_of(bytes, WAL_FORMAT_FRAME_HEADER_SIZE - 4)) {
        return WAL_FORMAT_E_BAD;
    }
    ret_frame->flags = le_get_u16(bytes + 6);
    ret_frame->payload_size = le_get_u32(bytes + 8);
    ret_frame->record_count = le_get_u32(bytes + 12);
    ret_frame->epoch = le_get_u64(bytes + 16);
    ret_frame->first_lsn = le_get_u64(bytes + 24);
    ret_frame->durable_lsn = le_get_u64(bytes + 32);
    ret_frame->realtime_ns = le_get_u64(bytes + 40);
    ret_frame->prev_crc = le_get_u32(bytes + 48);
    ret_frame->payload_crc = le_get_u32(bytes + 52);
    ret_frame->crc = le_get_u32(bytes + 60);
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
    le_put_u32(bytes, (uint32_t)body.size);
    bytes[4] = type;
    bytes[5] = RECORD_VERSION;
    le_put_u16(bytes + 6, 0);
    le_put_u32(bytes + 8, record_crc(bytes, body));
    if (body.size > 0) {
        memcpy(bytes + WAL_FORMAT_RECORD_HEADER_SIZE, body.data, body.size);
    }
    return WAL_FORMAT_RECORD_HEADER_SIZE + body.size;
}

struct wal_format_record wal_format_next_record(struct bytes payload, size_t *offset)
{
    const uint8_t *bytes = payload.data + *offset;
    const struct bytes body = {bytes + WAL_FORMAT_RECORD_HEADER_SIZE, le_get_u32(bytes)};

    *offset += WAL_FORMAT_RECORD_HEADER_SIZE + body.size;
    assert(*offset <= payload.size);
    return (struct wal_format_record){bytes[4], body};
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
    body = (struct bytes){bytes + WAL_FORMAT_RECORD_HEADER_SIZE, le_get_u32(bytes)};
    if (body.size > WAL_FORMAT_RECORD_SIZE_MAX ||
        body.size > left - WAL_FORMAT_RECORD_HEADER_SIZE) {
        return WAL_FORMAT_E_BAD;
    }
    if (bytes[5] != RECORD_VERSION || le_get_u16(bytes + 6) != 0 ||
        le_get_u32(bytes + 8) != record_crc(bytes, body)) {
        return WAL_FORMAT_E_BAD;
    }
    *ret_record = wal_format_next_record(payload, offset);
    return 0;
}

void wal_format_put_control(uint8_t *block, const struct wal_format_control *control)
{
    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    file_head_put(block, &control_head);
    memcpy(block + 24, control->store_uuid, WAL_FORMAT_UUID_SIZE);
    le_put_u64(block + 40, control->sequence);
    le_put_u64(block + 48, control->durable_lsn);
    le_put_u64(block + 56, control->realtime_ns);
    le_put_u32(block + 64, (control->is_clean ? CONTROL_CLEAN : 0) |
                               (control->may_have_lost ? CONTROL_LOST : 0));
    le_put_u64(block + 72, control->record_hint);
    (void)file_head_seal(block, &control_head);
}

int wal_format_get_control(const uint8_t *block, struct wal_format_control *ret_control)
{
    int result = file_head_check(block, &control_head);

    if (result != 0) {
        return result;
    }
    memcpy(ret_control->store_uuid, block + 24, WAL_FORMAT_UUID_SIZE);
    ret_control->sequence = le_get_u64(block + 40);
    ret_control->durable_lsn = le_get_u64(block + 48);
    ret_control->realtime_ns = le_get_u64(block + 56);
    ret_control->is_clean = (le_get_u32(block + 64) & CONTROL_CLEAN) != 0;
    ret_control->may_have_lost = (le_get_u32(block + 64) & CONTROL_LOST) != 0;
    ret_control->record_hint = le_get_u64(block + 72);
    return 0;
}
