#include "userctl_schema_read.h"

#include "http2/proto_wire.h"

struct bytes userctl_schema_bytes_of(struct bytes message, uint32_t number)
{
    struct bytes found = {(const uint8_t *)"", 0};
    struct proto_wire_field field;

    while (proto_wire_read(&message, &field) == 0) {
        if (field.number == number && field.type == PROTO_WIRE_BYTES) {
            found = field.bytes;
        }
    }
    return found;
}

uint64_t userctl_schema_number_of(struct bytes message, uint32_t number, uint64_t absent)
{
    struct proto_wire_field field;

    while (proto_wire_read(&message, &field) == 0) {
        if (field.number == number && field.type == PROTO_WIRE_VARINT) {
            absent = field.value;
        }
    }
    return absent;
}

size_t userctl_schema_count_of(struct bytes message, uint32_t number)
{
    struct proto_wire_field field;
    size_t count = 0;

    while (proto_wire_read(&message, &field) == 0) {
        count += field.number == number && field.type == PROTO_WIRE_BYTES;
    }
    return count;
}

bool userctl_schema_next_of(struct bytes *message, uint32_t number, struct bytes *ret_bytes)
{
    struct proto_wire_field field;

    while (proto_wire_read(message, &field) == 0) {
        if (field.number == number && field.type == PROTO_WIRE_BYTES) {
            *ret_bytes = field.bytes;
            return true;
        }
    }
    return false;
}

bool userctl_schema_is_well_formed(struct bytes message)
{
    struct proto_wire_field field;
    int ret;

    do {
        ret = proto_wire_read(&message, &field);
    } while (ret == 0);
    return ret == PROTO_WIRE_E_END;
}
