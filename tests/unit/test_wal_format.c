#include "lib/unit.h"

#include "core/hash.h"
#include "core/wal_format.h"

#include <stdint.h>
#include <string.h>

static const uint8_t uuid[WAL_FORMAT_UUID_SIZE] = {1, 2,  3,  4,  5,  6,  7,  8,
                                                   9, 10, 11, 12, 13, 14, 15, 16};

static struct wal_format_segment a_segment(void)
{
    struct wal_format_segment segment = {.epoch = 0x1122334455667788ULL,
                                         .first_lsn = 0x0102030405060708ULL,
                                         .size = 64 * 1024 * 1024,
                                         .realtime_ns = 0x1718191a1b1c1d1eULL};

    memcpy(segment.store_uuid, uuid, sizeof(uuid));
    return segment;
}

/* One frame with two records, as the writer makes it. Returns its size. */
static size_t put_two_records(uint8_t *bytes, struct wal_format_frame *frame)
{
    uint8_t *payload = bytes + WAL_FORMAT_FRAME_HEADER_SIZE;
    size_t size = wal_format_put_record(payload, 7, BYTES_LITERAL("one"));

    size += wal_format_put_record(payload + size, 8, BYTES_LITERAL("second"));
    *frame = (struct wal_format_frame){.payload_size = (uint32_t)size,
                                       .record_count = 2,
                                       .epoch = 0x1122334455667788ULL,
                                       .first_lsn = 11,
                                       .durable_lsn = 10,
                                       .realtime_ns = 99,
                                       .prev_crc = 0xaabbccdd};
    return wal_format_put_frame(bytes, frame);
}

static uint32_t crc_of(const uint8_t *bytes, size_t size)
{
    return hash_crc32c(0, (struct bytes){bytes, size});
}

static void put_le32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint32_t get_le32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/* A segment header stands on disk exactly as the comment of wal_format.c says. */
START_TEST(wal_format_segment_bytes)
{
    static const uint8_t expected[72] =
        "USERDWAL\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"
        "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
        "\x88\x77\x66\x55\x44\x33\x22\x11\x08\x07\x06\x05\x04\x03\x02\x01"
        "\0\0\0\x04\0\0\0\0\x1e\x1d\x1c\x1b\x1a\x19\x18\x17";
    static const uint8_t zeros[WAL_FORMAT_BLOCK_SIZE];
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment = a_segment();

    wal_format_put_segment(block, &segment);
    ck_assert_mem_eq(block, expected, sizeof(expected));
    ck_assert_mem_eq(block + 72, zeros, 52);
    ck_assert_uint_eq(get_le32(block + 124), crc_of(block, 124));
    ck_assert_uint_eq(segment.crc, crc_of(block, 124));
    ck_assert_mem_eq(block + 128, zeros, 2048 - 128);
    ck_assert_mem_eq(block + 2048, block, 128);
    ck_assert_mem_eq(block + 2176, zeros, 4096 - 2176);
}

END_TEST

/* What was put is what is got, from either copy; with both damaged there is nothing. */
START_TEST(wal_format_segment_has_two_copies)
{
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment = a_segment();
    struct wal_format_segment got = {0};

    wal_format_put_segment(block, &segment);
    for (unsigned copy = 0; copy < 3; copy++) {
        ck_assert_int_eq(wal_format_get_segment(block, &got), 0);
        ck_assert_mem_eq(got.store_uuid, uuid, sizeof(uuid));
        ck_assert_uint_eq(got.epoch, segment.epoch);
        ck_assert_uint_eq(got.first_lsn, segment.first_lsn);
        ck_assert_uint_eq(got.size, segment.size);
        ck_assert_uint_eq(got.realtime_ns, segment.realtime_ns);
        ck_assert_uint_eq(got.crc, segment.crc);
        wal_format_put_segment(block, &segment);
        block[copy == 0 ? 0 : 2048 + 127] ^= 1;
    }
    block[64] ^= 1;
    ck_assert_int_eq(wal_format_get_segment(block, &got), WAL_FORMAT_E_BAD);
}

END_TEST

/* A header that asks for a newer reader, or for a feature unknown here, is refused as newer; an
 * ignorable feature and a newer version that allows us are not. */
START_TEST(wal_format_segment_versions)
{
    static const struct {
        unsigned offset;
        uint32_t value;
        int expected;
    } rows[] = {
        {8, 2, 0},
        {12, 2, WAL_FORMAT_E_NEWER},
        {16, 1, 0}, /* LAZY */
        {16, 2, WAL_FORMAT_E_NEWER},
        {16, 3, WAL_FORMAT_E_NEWER},
        {20, 0x80000000u, 0},
    };

    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        segment = a_segment();
        wal_format_put_segment(block, &segment);
        put_le32(block + rows[i].offset, rows[i].value);
        ck_assert_int_eq(wal_format_get_segment(block, &segment), 0); /* the second copy */
        put_le32(block + 124, crc_of(block, 124));
        ck_assert_int_eq(wal_format_get_segment(block, &segment), rows[i].expected);
    }
}

END_TEST

/* That the writer was lazy is a feature that a reader must know. */
START_TEST(wal_format_segment_is_lazy)
{
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment = a_segment();
    struct wal_format_segment got = {.is_lazy = true};

    wal_format_put_segment(block, &segment);
    ck_assert_int_eq(wal_format_get_segment(block, &got), 0);
    ck_assert(!got.is_lazy);
    segment.is_lazy = true;
    wal_format_put_segment(block, &segment);
    ck_assert_uint_eq(get_le32(block + 16), 1);
    ck_assert_uint_eq(get_le32(block + 20), 0);
    ck_assert_int_eq(wal_format_get_segment(block, &got), 0);
    ck_assert(got.is_lazy);
    ck_assert_uint_eq(got.crc, segment.crc);
}

END_TEST

/* A frame with its records stands on disk exactly as the comment says. */
START_TEST(wal_format_frame_bytes)
{
    static const uint8_t expected[52] = "WFRM\x40\0\0\0"
                                        "\x21\0\0\0\x02\0\0\0"
                                        "\x88\x77\x66\x55\x44\x33\x22\x11"
                                        "\x0b\0\0\0\0\0\0\0"
                                        "\x0a\0\0\0\0\0\0\0"
                                        "\x63\0\0\0\0\0\0\0"
                                        "\xdd\xcc\xbb\xaa";
    static const uint8_t zeros[WAL_FORMAT_BLOCK_SIZE];
    uint8_t bytes[WAL_FORMAT_BLOCK_SIZE];
    uint8_t *record = bytes + 64;
    struct wal_format_frame frame;

    memset(bytes, 0xee, sizeof(bytes));
    ck_assert_uint_eq(put_two_records(bytes, &frame), WAL_FORMAT_BLOCK_SIZE);
    ck_assert_mem_eq(bytes, expected, sizeof(expected));
    ck_assert_uint_eq(get_le32(bytes + 52), crc_of(record, 33));
    ck_assert_uint_eq(get_le32(bytes + 56), 0);
    ck_assert_uint_eq(get_le32(bytes + 60), crc_of(bytes, 60));
    ck_assert_mem_eq(record, "\x03\0\0\0\x07\x01\0\0", 8);
    ck_assert_uint_eq(get_le32(record + 8), hash_crc32c(crc_of(record, 8), BYTES_LITERAL("one")));
    ck_assert_mem_eq(record + 12, "one\x06\0\0\0\x08\x01\0\0", 11);
    ck_assert_mem_eq(record + 27, "second", 6);
    ck_assert_mem_eq(record + 33, zeros, sizeof(bytes) - 64 - 33);
}

END_TEST

/* A frame is read back as it was written, field by field and record by record. */
START_TEST(wal_format_frame_round_trip)
{
    uint8_t bytes[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_frame frame;
    struct wal_format_frame got = {0};
    struct wal_format_record record = {0};
    struct bytes payload;
    size_t offset = 0;

    (void)put_two_records(bytes, &frame);
    ck_assert_int_eq(wal_format_get_frame(bytes, &got), 0);
    ck_assert_uint_eq(got.flags, frame.flags);
    ck_assert_uint_eq(got.payload_size, frame.payload_size);
    ck_assert_uint_eq(got.record_count, frame.record_count);
    ck_assert_uint_eq(got.epoch, frame.epoch);
    ck_assert_uint_eq(got.first_lsn, frame.first_lsn);
    ck_assert_uint_eq(got.durable_lsn, frame.durable_lsn);
    ck_assert_uint_eq(got.realtime_ns, frame.realtime_ns);
    ck_assert_uint_eq(got.prev_crc, frame.prev_crc);
    ck_assert_uint_eq(got.payload_crc, frame.payload_crc);
    ck_assert_uint_eq(got.crc, frame.crc);
    ck_assert(wal_format_check_payload(&got, bytes + 64));
    payload = (struct bytes){bytes + 64, got.payload_size};
    ck_assert_int_eq(wal_format_get_record(payload, &offset, &record), 0);
    ck_assert_uint_eq(record.type, 7);
    ck_assert(bytes_equal(record.body, BYTES_LITERAL("one")));
    ck_assert_int_eq(wal_format_get_record(payload, &offset, &record), 0);
    ck_assert_uint_eq(record.type, 8);
    ck_assert(bytes_equal(record.body, BYTES_LITERAL("second")));
    ck_assert_uint_eq(offset, payload.size);
    ck_assert_int_eq(wal_format_get_record(payload, &offset, &record), WAL_FORMAT_E_BAD);
    offset = 0;
    ck_assert_uint_eq(wal_format_next_record(payload, &offset).type, 7);
    record = wal_format_next_record(payload, &offset);
    ck_assert_uint_eq(record.type, 8);
    ck_assert(bytes_equal(record.body, BYTES_LITERAL("second")));
    ck_assert_uint_eq(offset, payload.size);
}

END_TEST

/* No single flipped bit in header or payload goes unnoticed. */
START_TEST(wal_format_frame_notices_every_bit)
{
    uint8_t bytes[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_frame frame;
    struct wal_format_frame got;

    (void)put_two_records(bytes, &frame);
    for (unsigned bit = 0; bit < (64 + 33) * 8; bit++) {
        bool is_good;

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        is_good =
            wal_format_get_frame(bytes, &got) == 0 && wal_format_check_payload(&got, bytes + 64);
        ck_assert_msg(!is_good, "bit %u", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

END_TEST

/* A record cut anywhere, with any flipped bit, or with a length beyond the limit is bad, and the
 * reader never looks past the payload. */
START_TEST(wal_format_record_is_checked)
{
    uint8_t bytes[64];
    uint8_t exact[18];
    size_t size = wal_format_put_record(bytes, 1, BYTES_LITERAL("abcdef"));
    struct wal_format_record record;
    size_t offset;

    ck_assert_uint_eq(size, sizeof(exact));
    for (size_t cut = 0; cut < size; cut++) {
        offset = 0;
        ck_assert_int_eq(wal_format_get_record((struct bytes){bytes, cut}, &offset, &record),
                         WAL_FORMAT_E_BAD);
        ck_assert_uint_eq(offset, 0);
    }
    for (unsigned bit = 0; bit < size * 8; bit++) {
        memcpy(exact, bytes, size);
        exact[bit / 8] ^= (uint8_t)(1u << bit % 8);
        offset = 0;
        ck_assert_int_eq(wal_format_get_record((struct bytes){exact, size}, &offset, &record),
                         WAL_FORMAT_E_BAD);
    }
    put_le32(bytes, UINT32_MAX);
    offset = 0;
    ck_assert_int_eq(wal_format_get_record((struct bytes){bytes, size}, &offset, &record),
                     WAL_FORMAT_E_BAD);
}

END_TEST

/* A record of another version, with a right checksum, is not understood. */
START_TEST(wal_format_record_version)
{
    uint8_t bytes[64];
    size_t size = wal_format_put_record(bytes, 1, BYTES_LITERAL("abc"));
    struct wal_format_record record;
    size_t offset = 0;

    bytes[5] = 2;
    put_le32(bytes + 8, hash_crc32c(crc_of(bytes, 8), BYTES_LITERAL("abc")));
    ck_assert_int_eq(wal_format_get_record((struct bytes){bytes, size}, &offset, &record),
                     WAL_FORMAT_E_BAD);
}

END_TEST

/* A control block stands on disk as the comment says, and comes back. */
START_TEST(wal_format_control_bytes)
{
    static const uint8_t expected[88] =
        "USERDCTL\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"
        "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
        "\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"
        "\x08\0\0\0\0\0\0\0";
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_control control = {
        .sequence = 5, .durable_lsn = 6, .realtime_ns = 7, .is_clean = true, .record_hint = 8};
    struct wal_format_control got = {0};

    memcpy(control.store_uuid, uuid, sizeof(uuid));
    wal_format_put_control(block, &control);
    ck_assert_mem_eq(block, expected, sizeof(expected));
    ck_assert_uint_eq(get_le32(block + 4092), crc_of(block, 4092));
    ck_assert_int_eq(wal_format_get_control(block, &got), 0);
    ck_assert_uint_eq(got.sequence, 5);
    ck_assert_uint_eq(got.durable_lsn, 6);
    ck_assert_uint_eq(got.realtime_ns, 7);
    ck_assert_uint_eq(got.record_hint, 8);
    ck_assert(got.is_clean);
    ck_assert(!got.may_have_lost);
    ck_assert_mem_eq(got.store_uuid, uuid, sizeof(uuid));
    block[3000] ^= 1;
    ck_assert_int_eq(wal_format_get_control(block, &got), WAL_FORMAT_E_BAD);
    control.is_clean = false;
    control.may_have_lost = true;
    wal_format_put_control(block, &control);
    ck_assert_uint_eq(get_le32(block + 64), 2);
    ck_assert_int_eq(wal_format_get_control(block, &got), 0);
    ck_assert(!got.is_clean && got.may_have_lost);
}

END_TEST

/* Names sort like numbers, and only the exact form is a segment's name. */
START_TEST(wal_format_names)
{
    static const char *const wrong[] = {
        "wal-0000000000000001.log.torn",
        "wal-1.log",
        "wal-000000000000000A.log",
        "wal-00000000000000001.log",
        "WAL-0000000000000001.log",
        "wal-.log",
        "wal- 000000000000001.log",
        "wal-0000000000000001-0000000000000002.torn",
        "wal-0x00000000000001.log",
        "spare.tmp",
        "",
        "wal-+000000000000001.log",
    };
    char name[WAL_FORMAT_NAME_SIZE];
    uint64_t lsn = 0;

    wal_format_segment_name(0xdeadbeef12345ULL, name);
    ck_assert_str_eq(name, "wal-000deadbeef12345.log");
    ck_assert(wal_format_parse_segment_name(name, &lsn));
    ck_assert_uint_eq(lsn, 0xdeadbeef12345ULL);
    wal_format_torn_name(1, UINT64_MAX, name);
    ck_assert_str_eq(name, "wal-0000000000000001-ffffffffffffffff.torn");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_msg(!wal_format_parse_segment_name(wrong[i], &lsn), "%s", wrong[i]);
    }
}

END_TEST

UNIT_MAIN("wal_format", wal_format_segment_bytes, wal_format_segment_has_two_copies,
          wal_format_segment_versions, wal_format_segment_is_lazy, wal_format_frame_bytes,
          wal_format_frame_round_trip, wal_format_frame_notices_every_bit,
          wal_format_record_is_checked, wal_format_record_version, wal_format_control_bytes,
          wal_format_names)
