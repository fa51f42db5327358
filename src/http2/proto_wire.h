/*
 * The protobuf wire format, as much as the hot path and the guards need: reading fields in place,
 * writing fields, and the count that refuses a hostile message before protobuf-c unpacks it into
 * many times its size. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef HTTP2_PROTO_WIRE_H
#define HTTP2_PROTO_WIRE_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proto_wire_type {
    PROTO_WIRE_VARINT = 0,
    PROTO_WIRE_FIXED64 = 1,
    PROTO_WIRE_BYTES = 2,
    PROTO_WIRE_FIXED32 = 5,
};

struct proto_wire_field {
    uint32_t number;
    enum proto_wire_type type;
    uint64_t value;     /* varint and fixed */
    struct bytes bytes; /* PROTO_WIRE_BYTES */
};

#define PROTO_WIRE_E_END 1

/* Takes the next field off `*input`. Groups are malformed here. Returns 0, PROTO_WIRE_E_END or
 * -EBADMSG. */
int proto_wire_read(struct bytes *input, struct proto_wire_field *ret_field);

/* Takes a text shorter than 128 bytes off the front, its key of one byte too. */
static inline bool proto_wire_take_short_text(struct bytes *input, struct bytes *ret_text)
{
    const uint8_t *data = input->data;
    size_t end = 2U + data[1];

    if (data[1] >= 0x80 || end > input->size) {
        return false;
    }
    *ret_text = (struct bytes){data + 2, data[1]};
    *input = (struct bytes){data + end, input->size - end};
    return true;
}

/* Takes a number below 2^63 off the front, its key of one byte too. */
static inline bool proto_wire_take_short_number(struct bytes *input, uint64_t *ret_number)
{
    const uint8_t *data = input->data;
    uint64_t number = 0;

    for (size_t i = 1; i < input->size && i <= 9; i++) {
        number |= (uint64_t)(data[i] & 0x7f) << (7 * (i - 1));
        if (data[i] < 0x80) {
            *input = (struct bytes){data + i + 1, input->size - i - 1};
            *ret_number = number;
            return true;
        }
    }
    return false;
}

/* The same as proto_wire_read(), in the caller and several times as fast for nearly all fields that
 * there are; but of `value` and `bytes` only that of the field's type is set. */
static inline int proto_wire_next(struct bytes *input, struct proto_wire_field *ret_field)
{
    uint8_t key = input->size >= 2 ? input->data[0] : 0;

    if (input->size == 0) {
        return PROTO_WIRE_E_END;
    }
    ret_field->number = key >> 3;
    if (key < 8 || key >= 0x80) {
        return proto_wire_read(input, ret_field);
    }
    if ((key & 7) == PROTO_WIRE_BYTES && proto_wire_take_short_text(input, &ret_field->bytes)) {
        ret_field->type = PROTO_WIRE_BYTES;
        return 0;
    }
    if ((key & 7) == PROTO_WIRE_VARINT && proto_wire_take_short_number(input, &ret_field->value)) {
        ret_field->type = PROTO_WIRE_VARINT;
        return 0;
    }
    return proto_wire_read(input, ret_field);
}

/* What a message may look like: which field numbers are known and which of them hold messages. */
struct proto_wire_shape {
    uint32_t number_max;                         /* fields above it are unknown */
    uint64_t strings;                            /* bit n: field n is a string, checked for UTF-8 */
    const struct proto_wire_shape *messages[16]; /* by field number; NULL = no message */
};

struct proto_wire_limits {
    unsigned fields_max; /* in all, nested ones too */
    unsigned unknown_max;
};

#define PROTO_WIRE_E_TOO_MANY 2
#define PROTO_WIRE_E_NOT_UTF8 3

/* Walks a message without allocating. Returns 0, PROTO_WIRE_E_TOO_MANY, PROTO_WIRE_E_NOT_UTF8 or
 * -EBADMSG. */
int proto_wire_scan(struct bytes message, const struct proto_wire_shape *shape,
                    const struct proto_wire_limits *limits);

bool proto_wire_is_utf8(struct bytes text);

/* Bytes of the well-formed UTF-8 character at the front (RFC 3629), 0 when there is none. `text` is
 * not empty. */
size_t proto_wire_utf8_size(struct bytes text);

#define PROTO_WIRE_VARINT_MAX 10

/* Writes into `out` (PROTO_WIRE_VARINT_MAX bytes); returns the length. */
size_t proto_wire_put_varint(uint8_t *out, uint64_t value);

/* Append one field each. Return 0 or -ENOMEM. */
int proto_wire_append_varint(struct buf *out, uint32_t number, uint64_t value);
int proto_wire_append_bytes(struct buf *out, uint32_t number, struct bytes bytes);
/* The key and the size of a field of so many bytes, which the caller then appends. */
int proto_wire_append_head(struct buf *out, uint32_t number, size_t size);

#endif
