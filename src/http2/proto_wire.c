#include "http2/proto_wire.h"

#include <errno.h>
#include <string.h>

/*
 * A protobuf message is a run of fields, each a key (number and wire type, one varint) and a value.
 * Reading returns borrowed pieces of the input; nothing is allocated, so the scan may look at any
 * message a peer sends before protobuf-c does, whose unpacked form can be twenty times larger.
 */

#define FIELD_NUMBER_MAX 0x1fffffff
#define SCAN_DEPTH_MAX   8 /* deeper than any message of ours; protobuf itself stops at 100 */

/* Takes a varint off the front. Returns 0 or -EBADMSG. */
static int read_long_varint(struct bytes *input, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < input->size && i < PROTO_WIRE_VARINT_MAX; i++) {
        uint8_t byte = input->data[i];

        if (i == PROTO_WIRE_VARINT_MAX - 1 && byte > 1) {
            return -EBADMSG; /* more than 64 bits */
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *input = (struct bytes){input->data + i + 1, input->size - i - 1};
            *ret_value = value;
            return 0;
        }
    }
    return -EBADMSG;
}

/* The same; nearly all keys and sizes are one byte. The copies let the caller's stay in registers.
 */
static inline int read_varint(struct bytes *input, uint64_t *ret_value)
{
    struct bytes rest = *input;
    uint64_t value;

    if (rest.size > 0 && rest.data[0] < 0x80) {
        *ret_value = rest.data[0];
        *input = (struct bytes){rest.data + 1, rest.size - 1};
        return 0;
    }
    if (read_long_varint(&rest, &value) != 0) {
        return -EBADMSG;
    }
    *ret_value = value;
    *input = rest;
    return 0;
}

/* Takes `size` bytes, 4 or 8, as a little-endian number. Returns 0 or -EBADMSG. */
static inline int read_fixed(struct bytes *input, size_t size, uint64_t *ret_value)
{
    uint64_t value = 0;
    size_t i;

    if (input->size < size) {
        return -EBADMSG;
    }
    for (i = 0; i < size; i++) {
        value |= (uint64_t)input->data[i] << (8 * i);
    }
    *input = (struct bytes){input->data + size, input->size - size};
    *ret_value = value;
    return 0;
}

/* Takes a length and as many bytes. Returns 0 or -EBADMSG. */
static inline int read_bytes(struct bytes *input, struct bytes *ret_bytes)
{
    uint64_t size;

    if (read_varint(input, &size) != 0 || size > input->size) {
        return -EBADMSG;
    }
    *ret_bytes = (struct bytes){input->data, (size_t)size};
    *input = (struct bytes){input->data + size, input->size - (size_t)size};
    return 0;
}

/* The value of a field of this type. Returns 0 or -EBADMSG. */
static inline int read_value(struct bytes *input, unsigned type, struct proto_wire_field *field)
{
    switch (type) {
    case PROTO_WIRE_BYTES:
        return read_bytes(input, &field->bytes);
    case PROTO_WIRE_VARINT:
        return read_varint(input, &field->value);
    case PROTO_WIRE_FIXED64:
        return read_fixed(input, 8, &field->value);
    case PROTO_WIRE_FIXED32:
        return read_fixed(input, 4, &field->value);
    default:
        return -EBADMSG;
    }
}

int proto_wire_read(struct bytes *input, struct proto_wire_field *ret_field)
{
    struct proto_wire_field field = {0};
    struct bytes rest = *input;
    uint64_t key;

    if (rest.size == 0) {
        return PROTO_WIRE_E_END;
    }
    if (read_varint(&rest, &key) != 0 || key >> 3 == 0 || key >> 3 > FIELD_NUMBER_MAX) {
        return -EBADMSG;
    }
    field.number = (uint32_t)(key >> 3);
    field.type = (enum proto_wire_type)(key & 7);
    if (read_value(&rest, key & 7, &field) != 0) {
        return -EBADMSG;
    }
    *input = rest;
    *ret_field = field;
    return 0;
}

/* One message that is being walked. */
struct scan_level {
    struct bytes rest;
    const struct proto_wire_shape *shape;
};

static const struct proto_wire_shape *shape_of_field(const struct proto_wire_shape *shape,
                                                     const struct proto_wire_field *field)
{
    if (field->type != PROTO_WIRE_BYTES || field->number > shape->number_max ||
        field->number >= sizeof(shape->messages) / sizeof(shape->messages[0])) {
        return NULL;
    }
    return shape->messages[field->number];
}

static bool is_string(const struct proto_wire_shape *shape, const struct proto_wire_field *field)
{
    return field->type == PROTO_WIRE_BYTES && field->number <= shape->number_max &&
           field->number < 64 && ((shape->strings >> field->number) & 1) != 0;
}

int proto_wire_scan(struct bytes message, const struct proto_wire_shape *shape,
                    const struct proto_wire_limits *limits)
{
    struct scan_level levels[SCAN_DEPTH_MAX];
    unsigned depth = 1;
    unsigned fields = 0;
    unsigned unknown = 0;

    levels[0] = (struct scan_level){message, shape};
    while (depth > 0) {
        struct scan_level *level = &levels[depth - 1];
        const struct proto_wire_shape *inner;
        struct proto_wire_field field;
        int error = proto_wire_next(&level->rest, &field);

        if (error == PROTO_WIRE_E_END) {
            depth--;
            continue;
        }
        if (error != 0) {
            return error;
        }
        fields++;
        unknown += field.number > level->shape->number_max;
        if (fields > limits->fields_max || unknown > limits->unknown_max) {
            return PROTO_WIRE_E_TOO_MANY;
        }
        if (is_string(level->shape, &field) && !proto_wire_is_utf8(field.bytes)) {
            return PROTO_WIRE_E_NOT_UTF8;
        }
        inner = shape_of_field(level->shape, &field);
        if (inner != NULL) {
            if (depth == SCAN_DEPTH_MAX) {
                return PROTO_WIRE_E_TOO_MANY;
            }
            levels[depth++] = (struct scan_level){field.bytes, inner};
        }
    }
    return 0;
}

size_t proto_wire_utf8_size(struct bytes text)
{
    uint8_t lead = text.data[0];
    uint8_t low = 0x80; /* range of the second byte: excludes overlong forms and surrogates */
    uint8_t high = 0xbf;
    size_t size;
    size_t i;

    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0) {
        low = 0xa0;
    } else if (lead == 0xed) {
        high = 0x9f;
    } else if (lead == 0xf0) {
        low = 0x90;
    } else if (lead == 0xf4) {
        high = 0x8f;
    }
    if (text.size < size || text.data[1] < low || text.data[1] > high) {
        return 0;
    }
    for (i = 2; i < size; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* How many bytes of ASCII the text begins with, in steps of eight. */
static inline size_t ascii_prefix(struct bytes text)
{
    size_t size = 0;
    uint64_t word;

    for (; size + sizeof(word) <= text.size; size += sizeof(word)) {
        memcpy(&word, text.data + size, sizeof(word));
        if ((word & 0x8080808080808080) != 0) {
            break;
        }
    }
    return size;
}

bool proto_wire_is_utf8(struct bytes text)
{
    size_t size = ascii_prefix(text); /* nearly all texts are nothing else */

    while (size < text.size) {
        struct bytes rest = {text.data + size, text.size - size};
        size_t character = rest.data[0] < 0x80 ? 1 : proto_wire_utf8_size(rest);

        if (character == 0) {
            return false;
        }
        size += character;
    }
    return true;
}

size_t proto_wire_put_varint(uint8_t *out, uint64_t value)
{
    size_t size = 0;

    while (value >= 0x80) {
        out[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[size++] = (uint8_t)value;
    return size;
}

/* A key and what a varint says behind it. */
static int append_pair(struct buf *out, uint32_t number, enum proto_wire_type type, uint64_t value)
{
    uint8_t *room = buf_reserve(out, 2 * PROTO_WIRE_VARINT_MAX);
    size_t size;

    if (room == NULL) {
        return -ENOMEM;
    }
    size = proto_wire_put_varint(room, (uint64_t)number << 3 | type);
    size += proto_wire_put_varint(room + size, value);
    buf_commit(out, size);
    return 0;
}

int proto_wire_append_varint(struct buf *out, uint32_t number, uint64_t value)
{
    return append_pair(out, number, PROTO_WIRE_VARINT, value);
}

int proto_wire_append_head(struct buf *out, uint32_t number, size_t size)
{
    return append_pair(out, number, PROTO_WIRE_BYTES, size);
}

int proto_wire_append_bytes(struct buf *out, uint32_t number, struct bytes bytes)
{
    uint8_t *room;
    size_t size;

    if (bytes.size > SIZE_MAX / 2) {
        return -ENOMEM;
    }
    room = buf_reserve(out, 2 * PROTO_WIRE_VARINT_MAX + bytes.size);
    if (room == NULL) {
        return -ENOMEM;
    }
    size = proto_wire_put_varint(room, (uint64_t)number << 3 | PROTO_WIRE_BYTES);
    size += proto_wire_put_varint(room + size, bytes.size);
    if (bytes.size > 0) {
        memcpy(room + size, bytes.data, bytes.size);
    }
    buf_commit(out, size + bytes.size);
    return 0;
}
