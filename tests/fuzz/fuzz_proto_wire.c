/*
 * Any bytes as a protobuf message and as an error's details: walked or refused, in bounds; a scan
 * agrees with reading field by field, and the two ways of reading with each other.
 *
 * Thread: one.
 */
#include "http2/grpc_error.h"
#include "http2/proto_wire.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct proto_wire_shape flat = {.number_max = 15};
static struct proto_wire_shape nested = {.number_max = 15, .strings = 0xaaaa};

/* Reads the next field by both ways. */
static int read_both_ways(struct bytes *input, struct proto_wire_field *ret_field)
{
    struct bytes other_input = *input;
    struct proto_wire_field other = {0};
    int outcome = proto_wire_read(input, ret_field);

    assert(proto_wire_next(&other_input, &other) == outcome);
    if (outcome == 0) {
        assert(other_input.data == input->data && other_input.size == input->size);
        assert(other.number == ret_field->number && other.type == ret_field->type);
        if (other.type == PROTO_WIRE_BYTES) {
            assert(other.bytes.data == ret_field->bytes.data);
            assert(other.bytes.size == ret_field->bytes.size);
        } else {
            assert(other.value == ret_field->value);
        }
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct proto_wire_limits limits = {.fields_max = 1000, .unknown_max = 100};
    const struct bytes message = {data, size};
    struct bytes rest = message;
    struct proto_wire_field field;
    struct buf text = {0};
    unsigned fields = 0;
    int outcome;

    while ((outcome = read_both_ways(&rest, &field)) == 0) {
        assert(rest.size < size);
        assert(field.type != PROTO_WIRE_BYTES || field.bytes.size <= size);
        fields++;
    }
    if (outcome == PROTO_WIRE_E_END) {
        outcome = proto_wire_scan(message, &flat, &limits);
        assert(outcome == 0 || outcome == PROTO_WIRE_E_TOO_MANY);
        assert(outcome != 0 || fields <= limits.fields_max);
    } else {
        assert(outcome == -EBADMSG);
        assert(proto_wire_scan(message, &flat, &limits) != 0);
    }
    nested.messages[2] = &nested;
    (void)proto_wire_scan(message, &nested, &limits);
    (void)grpc_error_describe(message, &text);
    buf_deinit(&text);
    return 0;
}
