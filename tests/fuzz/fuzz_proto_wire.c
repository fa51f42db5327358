/*
 * Any bytes as a protobuf message and as an error's details: walked or refused, in bounds; a scan
 * agrees with reading field by field.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct proto_wire_limits limits = {.fields_max = 1000, .unknown_max = 100};
    const struct bytes message = {data, size};
    struct bytes rest = message;
    struct proto_wire_field field;
    struct buf text = {0};
    unsigned fields = 0;
    int outcome;

    while ((outcome = proto_wire_read(&rest, &field)) == 0) {
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
