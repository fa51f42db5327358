#include "lib/unit.h"

#include "core/file_head.h"
#include "core/hash.h"
#include "core/le.h"

#include <stdint.h>
#include <string.h>

#define SIZE 64

static const struct file_head head = {
    .magic = (const uint8_t *)"ABCDEFGH", .version = 3, .features = 5, .crc_offset = SIZE - 4};

static void make(uint8_t *bytes)
{
    memset(bytes, 0x77, SIZE);
    file_head_put(bytes, &head);
    ck_assert_uint_eq(file_head_seal(bytes, &head),
                      hash_crc32c(0, (struct bytes){bytes, SIZE - 4}));
}

/* Magic, versions and features stand in their places, little endian, the checksum at its own, and
 * the fields between are left alone. */
START_TEST(file_head_bytes)
{
    static const uint8_t expected[FILE_HEAD_SIZE] = "ABCDEFGH\3\0\0\0\3\0\0\0\5\0\0\0\0\0\0";
    uint8_t bytes[SIZE];

    make(bytes);
    ck_assert_mem_eq(bytes, expected, FILE_HEAD_SIZE);
    ck_assert_uint_eq(le_get_u32(bytes + SIZE - 4),
                      hash_crc32c(0, (struct bytes){bytes, SIZE - 4}));
    for (unsigned i = FILE_HEAD_SIZE; i < SIZE - 4; i++) {
        ck_assert_uint_eq(bytes[i], 0x77);
    }
    ck_assert_int_eq(file_head_check(bytes, &head), 0);
}

END_TEST

/* Any changed bit is BAD. */
START_TEST(file_head_sees_every_bit)
{
    uint8_t bytes[SIZE];

    make(bytes);
    for (unsigned bit = 0; bit < 8 * SIZE; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(file_head_check(bytes, &head), FILE_HEAD_E_BAD);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

END_TEST

/* Whole blocks are NEWER when their least version is above the reader's or a required feature is
 * unknown to it; a newer format version and ignorable features are no reason. */
START_TEST(file_head_tells_newer)
{
    static const struct {
        unsigned offset;
        uint32_t value;
        int result;
    } cases[] = {
        {8, 99, 0},
        {12, 3, 0},
        {12, 1, 0},
        {12, 4, FILE_HEAD_E_NEWER},
        {16, 0, 0},
        {16, 1, 0},
        {16, 4, 0},
        {16, 2, FILE_HEAD_E_NEWER},
        {16, 8, FILE_HEAD_E_NEWER},
        {20, 0xffffffff, 0},
    };

    uint8_t bytes[SIZE];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make(bytes);
        le_put_u32(bytes + cases[i].offset, cases[i].value);
        (void)file_head_seal(bytes, &head);
        ck_assert_int_eq(file_head_check(bytes, &head), cases[i].result);
    }
}

END_TEST

/* Numbers of all sizes are little endian, at any address. */
START_TEST(file_head_numbers)
{
    uint8_t bytes[9] = {0};

    le_put_u16(bytes + 1, 0x0201);
    ck_assert_mem_eq(bytes + 1, "\1\2", 2);
    ck_assert_uint_eq(le_get_u16(bytes + 1), 0x0201);
    le_put_u32(bytes + 1, 0x04030201);
    ck_assert_mem_eq(bytes + 1, "\1\2\3\4", 4);
    ck_assert_uint_eq(le_get_u32(bytes + 1), 0x04030201);
    le_put_u64(bytes + 1, 0x0807060504030201ULL);
    ck_assert_mem_eq(bytes + 1, "\1\2\3\4\5\6\7\x8", 8);
    ck_assert_uint_eq(le_get_u64(bytes + 1), 0x0807060504030201ULL);
}

END_TEST

UNIT_MAIN("file_head", file_head_bytes, file_head_sees_every_bit, file_head_tells_newer,
          file_head_numbers)
