#include "userctl_wire.h"

#include <errno.h>
#include <stddef.h>

#define WIRE_TYPE_BITS 3
#define WIRE_GROUP_END 4
#define NUMBER_MAX     ((1u << 29) - 1)

/* The head of the field in front, and its size; 0 when there is none. */
static size_t peek(struct bytes input, uint32_t *ret_number, unsigned *ret_type)
{
    uint64_t head = 0;
    size_t size = 0;

    while (size < input.size && size < PROTO_WIRE_VARINT_MAX) {
        head |= (uint64_t)(input.data[size] & 0x7f) << (7 * size);
        if ((input.data[size++] & 0x80) == 0) {
            *ret_number = (uint32_t)(head >> WIRE_TYPE_BITS);
            *ret_type = (unsigned)(head & ((1u << WIRE_TYPE_BITS) - 1));
            return head >> WIRE_TYPE_BITS > 0 && head >> WIRE_TYPE_BITS <= NUMBER_MAX ? size : 0;
        }
    }
    return 0;
}

/* Behind the head of a group: takes all of it off, with its end. */
static int skip_group(struct bytes *input, uint32_t number)
{
    uint32_t open[USERCTL_WIRE_GROUPS_MAX];
    size_t depth = 0;

    open[depth++] = number;
    while (depth > 0) {
        struct proto_wire_field field;
        unsigned type;
        size_t size = peek(*input, &number, &type);

        if (size == 0) {
            return -EBADMSG;
        }
        if (type != USERCTL_WIRE_GROUP && type != WIRE_GROUP_END) {
            if (proto_wire_read(input, &field) != 0) {
                return -EBADMSG;
            }
            continue;
        }
        *input = (struct bytes){input->data + size, input->size - size};
        if (type == WIRE_GROUP_END) {
            if (open[--depth] != number) {
                return -EBADMSG;
            }
        } else if (depth == USERCTL_WIRE_GROUPS_MAX) {
            return -EBADMSG;
        } else {
            open[depth++] = number;
        }
    }
    return 0;
}

int userctl_wire_read(struct bytes *input, struct proto_wire_field *ret_field)
{
    uint32_t number;
    unsigned type;
    size_t size = peek(*input, &number, &type);

    if (size == 0 || type != USERCTL_WIRE_GROUP) {
        return proto_wire_read(input, ret_field);
    }
    *input = (struct bytes){input->data + size, input->size - size};
    *ret_field = (struct proto_wire_field){.number = number, .type = USERCTL_WIRE_GROUP};
    return skip_group(input, number);
}
