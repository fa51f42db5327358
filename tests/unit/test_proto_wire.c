#include "lib/unit.h"

#include "http2/proto_wire.h"

#include <errno.h>

static struct bytes of(const void *data, size_t size)
{
    return (struct bytes){data, size};
}

/* Every wire type is read, in place, and the end is told. */
START_TEST(wire_reads_every_type)
{
    static const uint8_t message[] = {0x08, 0x96, 0x01,                            /* 1: 150 */
                                      0x12, 0x03, 'a',  'b', 'c',                  /* 2: "abc" */
                                      0x1d, 1,    0,    0,   0x80,                 /* 3: fixed32 */
                                      0x21, 2,    0,    0,   0,    0, 0, 0, 0x80}; /* 4: fixed64 */
    struct bytes input = of(message, sizeof(message));
    struct proto_wire_field field;

    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.number, 1);
    ck_assert_int_eq(field.type, PROTO_WIRE_VARINT);
    ck_assert_uint_eq(field.value, 150);
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_ptr_eq(field.bytes.data, message + 5);
    ck_assert(bytes_equal(field.bytes, BYTES_LITERAL("abc")));
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.value, 0x80000001);
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.value, 0x8000000000000002);
    ck_assert_int_eq(proto_wire_read(&input, &field), PROTO_WIRE_E_END);
}

END_TEST

/* Every way of being cut short or malformed is refused, and the input stays where it was. */
START_TEST(wire_refuses_what_is_malformed)
{
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"\x08", 1},                                              /* no value */
        {"\x80", 1},                                              /* half a key */
        {"\x08\x80", 2},                                          /* half a varint */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},     /* 65 bits */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12}, /* eleven bytes */
        {"\x12\x05"
         "abc",
         5}, /* longer than what is there */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
        {"\x1d\x01\x02\x03", 4},                 /* three of four bytes */
        {"\x21\x01\x02\x03\x04\x05\x06\x07", 8}, /* seven of eight */
        {"\x0b", 1},                             /* a group begins */
        {"\x0c", 1},                             /* a group ends */
        {"\x0e", 1},                             /* no such type */
        {"\x00\x00", 2},                         /* field number 0 */
        {"\x80\x80\x80\x80\x10\x00", 6},         /* field number over 29 bits */
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes input = of(rows[i].bytes, rows[i].size);
        struct proto_wire_field field;

        ck_assert_int_eq(proto_wire_read(&input, &field), -EBADMSG);
        ck_assert_uint_eq(input.size, rows[i].size);
    }
}

END_TEST

/* The largest varint and field number pass. */
START_TEST(wire_reads_the_extremes)
{
    struct bytes input = of("\xf8\xff\xff\xff\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 15);
    struct proto_wire_field field;

    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.number, 0x1fffffff);
    ck_assert_uint_eq(field.value, UINT64_MAX);
}

END_TEST

/* What is appended is what is read. */
START_TEST(wire_writes_what_it_reads)
{
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    struct buf out = {0};
    struct proto_wire_field field;
    struct bytes input;
    size_t i;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ck_assert_int_eq(proto_wire_append_varint(&out, 7, values[i]), 0);
    }
    ck_assert_int_eq(proto_wire_append_bytes(&out, 300, BYTES_LITERAL("text")), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&out, 5, (struct bytes){0}), 0);
    input = buf_bytes(&out);
    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ck_assert_int_eq(proto_wire_read(&input, &field), 0);
        ck_assert_uint_eq(field.value, values[i]);
    }
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.number, 300);
    ck_assert(bytes_equal(field.bytes, BYTES_LITERAL("text")));
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.bytes.size, 0);
    ck_assert_int_eq(proto_wire_read(&input, &field), PROTO_WIRE_E_END);
    buf_deinit(&out);
}

END_TEST

static const struct proto_wire_shape inner_shape = {.number_max = 2, .strings = 1U << 1};
static const struct proto_wire_shape outer_shape = {
    .number_max = 4, .strings = 1U << 1 | 1U << 2, .messages = {[3] = &inner_shape}};

/* Nested messages count, too, and the limits are exact. */
START_TEST(wire_scan_counts_all_fields)
{
    static const uint8_t message[] = {0x0a, 1, 'a', 0x1a, 4, 0x0a, 0, 0x0a, 0};
    struct proto_wire_limits limits = {.fields_max = 4, .unknown_max = 0};

    ck_assert_int_eq(proto_wire_scan(of(message, sizeof(message)), &outer_shape, &limits), 0);
    limits.fields_max = 3;
    ck_assert_int_eq(proto_wire_scan(of(message, sizeof(message)), &outer_shape, &limits),
                     PROTO_WIRE_E_TOO_MANY);
}

END_TEST

/* Fields above the shape's last number are unknown, in nested messages by the nested shape. */
START_TEST(wire_scan_counts_unknown_fields)
{
    static const uint8_t message[] = {0x28, 1, 0x1a, 2, 0x18, 1};
    struct proto_wire_limits limits = {.fields_max = 10, .unknown_max = 2};

    ck_assert_int_eq(proto_wire_scan(of(message, sizeof(message)), &outer_shape, &limits), 0);
    limits.unknown_max = 1;
    ck_assert_int_eq(proto_wire_scan(of(message, sizeof(message)), &outer_shape, &limits),
                     PROTO_WIRE_E_TOO_MANY);
}

END_TEST

/* Strings must be UTF-8, bytes and unknown fields need not. */
START_TEST(wire_scan_checks_strings)
{
    static const struct proto_wire_limits limits = {.fields_max = 10, .unknown_max = 10};

    ck_assert_int_eq(proto_wire_scan(of("\x0a\x01\xff", 3), &outer_shape, &limits),
                     PROTO_WIRE_E_NOT_UTF8);
    ck_assert_int_eq(proto_wire_scan(of("\x1a\x03\x0a\x01\xff", 5), &outer_shape, &limits),
                     PROTO_WIRE_E_NOT_UTF8);
    ck_assert_int_eq(proto_wire_scan(of("\x22\x01\xff", 3), &outer_shape, &limits), 0);
    ck_assert_int_eq(proto_wire_scan(of("\x2a\x01\xff", 3), &outer_shape, &limits), 0);
}

END_TEST

/* A message that is malformed anywhere, also inside, is malformed. */
START_TEST(wire_scan_refuses_what_is_malformed)
{
    static const struct proto_wire_limits limits = {.fields_max = 10, .unknown_max = 10};

    ck_assert_int_eq(proto_wire_scan(of("\x1a\x01\x0a", 3), &outer_shape, &limits), -EBADMSG);
    ck_assert_int_eq(proto_wire_scan(of("\x0a", 1), &outer_shape, &limits), -EBADMSG);
    ck_assert_int_eq(proto_wire_scan((struct bytes){0}, &outer_shape, &limits), 0);
}

END_TEST

/* A shape that contains itself cannot be used to walk for ever. */
START_TEST(wire_scan_bounds_depth)
{
    static struct proto_wire_shape loop = {.number_max = 1};
    static const struct proto_wire_limits limits = {.fields_max = 100, .unknown_max = 10};
    uint8_t message[64];
    size_t size = 0;

    loop.messages[1] = &loop;
    while (size < sizeof(message)) {
        message[size] = 0x0a;
        message[size + 1] = (uint8_t)(sizeof(message) - size - 2);
        size += 2;
    }
    ck_assert_int_eq(proto_wire_scan(of(message, sizeof(message)), &loop, &limits),
                     PROTO_WIRE_E_TOO_MANY);
}

END_TEST

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF, nothing cut. */
START_TEST(wire_knows_utf8)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xc2",
                                      "\xe0\xa0",
                                      "\xf0\x90\x80",
                                      "a\xc2g",
                                      "\xe2\x98g",
                                      "\xc2\xc2"};
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(proto_wire_is_utf8(bytes_from_text(good[i])), "good %zu", i);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!proto_wire_is_utf8(bytes_from_text(bad[i])), "bad %zu", i);
    }
    ck_assert(proto_wire_is_utf8(of("a\0b", 3)));
}

END_TEST

UNIT_MAIN("proto_wire", wire_reads_every_type, wire_refuses_what_is_malformed,
          wire_reads_the_extremes, wire_writes_what_it_reads, wire_scan_counts_all_fields,
          wire_scan_counts_unknown_fields, wire_scan_checks_strings,
          wire_scan_refuses_what_is_malformed, wire_scan_bounds_depth, wire_knows_utf8)
