#include "lib/unit.h"

#include "core/hash.h"
#include "core/le.h"
#include "core/snapshot_format.h"

#include <stdint.h>
#include <string.h>

#define UUID 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16

static const uint8_t zeros[WAL_FORMAT_BLOCK_SIZE];

static struct snapshot_format_header a_header(void)
{
    return (struct snapshot_format_header){
        .store_uuid = {UUID},
        .epoch = 0x1122334455667788ULL,
        .lsn = 0x0102030405060708ULL,
        .realtime_ns = 0x1718191a1b1c1d1eULL,
        .record_count = 0x2122232425262728ULL,
    };
}

static struct snapshot_format_footer a_footer(void)
{
    struct snapshot_format_footer footer = {
        .store_uuid = {UUID},
        .epoch = 0x1122334455667788ULL,
        .lsn = 0x0102030405060708ULL,
        .record_count = 0x2122232425262728ULL,
        .frame_count = 0x3132333435363738ULL,
        .size = 0x4142434445464748ULL,
    };

    memset(footer.digest, 0xdd, sizeof(footer.digest));
    return footer;
}

/* Both copies are the same and end with their checksum; everything else in the block is zero. */
static void check_copies(const uint8_t *block)
{
    ck_assert_uint_eq(le_get_u32(block + 124), hash_crc32c(0, (struct bytes){block, 124}));
    ck_assert_mem_eq(block + 128, zeros, 2048 - 128);
    ck_assert_mem_eq(block + 2048, block, 128);
    ck_assert_mem_eq(block + 2176, zeros, 4096 - 2176);
}

/* A header stands on disk exactly as the comment of snapshot_format.c says, and comes back. */
START_TEST(snapshot_format_header_bytes)
{
    static const uint8_t expected[72] =
        "USERDSNP\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"
        "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
        "\x88\x77\x66\x55\x44\x33\x22\x11\x08\x07\x06\x05\x04\x03\x02\x01"
        "\x28\x27\x26\x25\x24\x23\x22\x21\x1e\x1d\x1c\x1b\x1a\x19\x18\x17";
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct snapshot_format_header header = a_header();
    struct snapshot_format_header found;

    memset(block, 0xee, sizeof(block));
    snapshot_format_put_header(block, &header);
    ck_assert_mem_eq(block, expected, sizeof(expected));
    ck_assert_mem_eq(block + 72, zeros, 52);
    check_copies(block);
    ck_assert_uint_eq(header.crc, le_get_u32(block + 124));
    ck_assert_int_eq(snapshot_format_get_header(block, &found), 0);
    ck_assert_mem_eq(found.store_uuid, header.store_uuid, WAL_FORMAT_UUID_SIZE);
    ck_assert_uint_eq(found.epoch, header.epoch);
    ck_assert_uint_eq(found.lsn, header.lsn);
    ck_assert_uint_eq(found.realtime_ns, header.realtime_ns);
    ck_assert_uint_eq(found.record_count, header.record_count);
    ck_assert_uint_eq(found.crc, header.crc);
}

END_TEST

/* The same for a footer. */
START_TEST(snapshot_format_footer_bytes)
{
    static const uint8_t expected[80] =
        "USERDEND\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"
        "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
        "\x88\x77\x66\x55\x44\x33\x22\x11\x08\x07\x06\x05\x04\x03\x02\x01"
        "\x28\x27\x26\x25\x24\x23\x22\x21\x38\x37\x36\x35\x34\x33\x32\x31"
        "\x48\x47\x46\x45\x44\x43\x42\x41";
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    const struct snapshot_format_footer footer = a_footer();
    struct snapshot_format_footer found;

    memset(block, 0xee, sizeof(block));
    snapshot_format_put_footer(block, &footer);
    ck_assert_mem_eq(block, expected, sizeof(expected));
    ck_assert_mem_eq(block + 80, footer.digest, SNAPSHOT_FORMAT_DIGEST_SIZE);
    ck_assert_mem_eq(block + 112, zeros, 12);
    check_copies(block);
    ck_assert_int_eq(snapshot_format_get_footer(block, &found), 0);
    ck_assert_mem_eq(found.store_uuid, footer.store_uuid, WAL_FORMAT_UUID_SIZE);
    ck_assert_uint_eq(found.epoch, footer.epoch);
    ck_assert_uint_eq(found.lsn, footer.lsn);
    ck_assert_uint_eq(found.record_count, footer.record_count);
    ck_assert_uint_eq(found.frame_count, footer.frame_count);
    ck_assert_uint_eq(found.size, footer.size);
    ck_assert_mem_eq(found.digest, footer.digest, SNAPSHOT_FORMAT_DIGEST_SIZE);
}

END_TEST

/* One bad copy does no harm; two do; and a newer version is told from damage. */
START_TEST(snapshot_format_needs_one_copy)
{
    static uint8_t header_block[WAL_FORMAT_BLOCK_SIZE];
    static uint8_t footer_block[WAL_FORMAT_BLOCK_SIZE];
    struct snapshot_format_header header = a_header();
    struct snapshot_format_footer footer = a_footer();

    snapshot_format_put_header(header_block, &header);
    snapshot_format_put_footer(footer_block, &footer);
    header_block[50] ^= 1;
    footer_block[50] ^= 1;
    ck_assert_int_eq(snapshot_format_get_header(header_block, &header), 0);
    ck_assert_int_eq(snapshot_format_get_footer(footer_block, &footer), 0);
    ck_assert_uint_eq(header.lsn, 0x0102030405060708ULL);
    ck_assert_uint_eq(footer.lsn, 0x0102030405060708ULL);
    header_block[2048 + 127] ^= 0x80;
    footer_block[2048 + 127] ^= 0x80;
    ck_assert_int_eq(snapshot_format_get_header(header_block, &header), WAL_FORMAT_E_BAD);
    ck_assert_int_eq(snapshot_format_get_footer(footer_block, &footer), WAL_FORMAT_E_BAD);
    for (unsigned at = 12; at <= 16; at += 4) { /* least version, then required features */
        snapshot_format_put_header(header_block, &header);
        snapshot_format_put_footer(footer_block, &footer);
        header_block[at] += 1;
        footer_block[at] += 1;
        le_put_u32(header_block + 124, hash_crc32c(0, (struct bytes){header_block, 124}));
        le_put_u32(footer_block + 124, hash_crc32c(0, (struct bytes){footer_block, 124}));
        ck_assert_int_eq(snapshot_format_get_header(header_block, &header), WAL_FORMAT_E_NEWER);
        ck_assert_int_eq(snapshot_format_get_footer(footer_block, &footer), WAL_FORMAT_E_NEWER);
    }
    /* A header is no footer, and the other way round. */
    snapshot_format_put_header(header_block, &header);
    ck_assert_int_eq(snapshot_format_get_footer(header_block, &footer), WAL_FORMAT_E_BAD);
    snapshot_format_put_footer(footer_block, &footer);
    ck_assert_int_eq(snapshot_format_get_header(footer_block, &header), WAL_FORMAT_E_BAD);
}

END_TEST

/* Names have 16 lower-case digits, and only such names are snapshots. */
START_TEST(snapshot_format_names)
{
    static const char *const others[] = {
        "",
        "snap-.snap",
        "snap.tmp",
        "snap-0000000000000abc.bad",
        "snap-0000000000000ABC.snap",
        "snap-0000000000000abc.snap~",
        "snap-abc.snap",
        "snap-00000000000000abc.snap",
        "snap--000000000000abc.snap",
        "snap-0x00000000000abc.snap",
        "snap- 000000000000abc.snap",
        "wal-0000000000000abc.log",
    };
    char name[WAL_FORMAT_NAME_SIZE];
    uint64_t lsn = 77;

    snapshot_format_name(0xabc, name);
    ck_assert_str_eq(name, "snap-0000000000000abc.snap");
    ck_assert(snapshot_format_parse_name(name, &lsn));
    ck_assert_uint_eq(lsn, 0xabc);
    snapshot_format_name(UINT64_MAX, name);
    ck_assert(snapshot_format_parse_name(name, &lsn));
    ck_assert_uint_eq(lsn, UINT64_MAX);
    snapshot_format_bad_name(0xabc, name);
    ck_assert_str_eq(name, "snap-0000000000000abc.bad");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert_msg(!snapshot_format_parse_name(others[i], &lsn), "%s", others[i]);
    }
    ck_assert_uint_eq(lsn, UINT64_MAX);
}

END_TEST

UNIT_MAIN("snapshot_format", snapshot_format_header_bytes, snapshot_format_footer_bytes,
          snapshot_format_needs_one_copy, snapshot_format_names)
