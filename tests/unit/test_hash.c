#include "lib/unit.h"

#include "core/hash.h"

static struct bytes all(const uint8_t *bytes, size_t size)
{
    return (struct bytes){bytes, size};
}

/* The examples of RFC 3720 B.4 and the usual check value come out, with and without the
 * instruction. */
START_TEST(hash_crc32c_matches_rfc_3720)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    uint8_t zeros[32] = {0};
    uint8_t ones[32];
    uint8_t up[32];
    uint8_t down[32];

    for (uint8_t i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = i;
        down[i] = (uint8_t)(31 - i);
    }
    ck_assert_uint_eq(hash_crc32c(0, all(zeros, 32)), 0x8a9136aa);
    ck_assert_uint_eq(hash_crc32c(0, all(ones, 32)), 0x62a8ab43);
    ck_assert_uint_eq(hash_crc32c(0, all(up, 32)), 0x46dd794e);
    ck_assert_uint_eq(hash_crc32c(0, all(down, 32)), 0x113fdb5c);
    ck_assert_uint_eq(hash_crc32c(0, all(read_command, 48)), 0xd9963a56);
    ck_assert_uint_eq(hash_crc32c(0, BYTES_LITERAL("123456789")), 0xe3069283);
    ck_assert_uint_eq(hash_crc32c_portable(0, all(zeros, 32)), 0x8a9136aa);
    ck_assert_uint_eq(hash_crc32c_portable(0, all(ones, 32)), 0x62a8ab43);
    ck_assert_uint_eq(hash_crc32c_portable(0, all(up, 32)), 0x46dd794e);
    ck_assert_uint_eq(hash_crc32c_portable(0, all(down, 32)), 0x113fdb5c);
    ck_assert_uint_eq(hash_crc32c_portable(0, all(read_command, 48)), 0xd9963a56);
    ck_assert_uint_eq(hash_crc32c_portable(0, BYTES_LITERAL("123456789")), 0xe3069283);
}

END_TEST

static void fill_random(uint8_t *bytes, size_t size)
{
    uint64_t state = 88172645463325252U;

    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)state;
    }
}

/* Both ways agree for every size and start, and cutting the bytes in two changes nothing. */
START_TEST(hash_crc32c_ways_agree)
{
    uint8_t bytes[300];
    uint32_t whole;

    fill_random(bytes, sizeof(bytes));
    for (size_t start = 0; start < 8; start++) {
        for (size_t size = 0; size < sizeof(bytes) - start; size++) {
            whole = hash_crc32c(0, all(bytes + start, size));
            ck_assert_uint_eq(whole, hash_crc32c_portable(0, all(bytes + start, size)));
            ck_assert_uint_eq(whole, hash_crc32c(hash_crc32c(0, all(bytes + start, size / 3)),
                                                 all(bytes + start + size / 3, size - size / 3)));
        }
    }
    ck_assert_uint_eq(hash_crc32c(0, (struct bytes){NULL, 0}), 0);
}

END_TEST

/* SipHash-1-3 of 00 01 02 ... gives the known values. Those of the first key are what CPython 3.11,
 * which uses the same function, says with PYTHONHASHSEED=42: hash(bytes(range(n))). Those of the
 * second are from a program written after the paper, which gives the paper's own value for
 * SipHash-2-4 (appendix A). */
START_TEST(hash_siphash_matches_other_implementations)
{
    static const struct hash_seed python = {{0xdc504fd368cd90af, 0xb920bb9ffe99e9c1}};
    static const struct hash_seed paper = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

    static const struct {
        size_t size;
        uint64_t python;
        uint64_t paper;
    } cases[] = {
        {1, 0xce880c366bcf3489, 0xc9f49bf37d57ca93},  {7, 0xce280fabc397fbda, 0xd3927d989bb11140},
        {8, 0x60866c3c108c6afb, 0x369095118d299a8e},  {9, 0x68814005f7469e03, 0x25a48eb36c063de4},
        {15, 0x94ace24d68c18cf8, 0xd320d86d2a519956}, {16, 0x339176f3ac59ce05, 0xcc4fdd1a7d908b66},
        {63, 0x06e24d6f0d014c37, 0x9d199062b7bbb3a8},
    };

    uint8_t bytes[64];

    for (uint8_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i;
    }
    ck_assert_uint_eq(hash_siphash(&paper, (struct bytes){NULL, 0}), 0xabac0158050fc4dc);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_uint_eq(hash_siphash(&python, all(bytes, cases[i].size)), cases[i].python);
        ck_assert_uint_eq(hash_siphash(&paper, all(bytes, cases[i].size)), cases[i].paper);
    }
}

END_TEST

UNIT_MAIN("hash", hash_crc32c_matches_rfc_3720, hash_crc32c_ways_agree,
          hash_siphash_matches_other_implementations)
