#include "conformance/interop_message.h"

#include <errno.h>

#define ECHO_BINARY_MAX 4096 /* bytes of one echoed -bin value */

void interop_fail_memory(struct grpc_call *call)
{
    grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
}

void interop_fail_parse(struct grpc_call *call)
{
    grpc_call_fail_text(call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE",
                        "the request message cannot be parsed");
}

/* One value of a -bin field comes as base64, maybe several with commas between (P10). */
static int echo_binary(struct grpc_call *call, const char *name, struct bytes values)
{
    int result = 0;

    while (result == 0) {
        const uint8_t *comma = values.size == 0 ? NULL : memchr(values.data, ',', values.size);
        size_t size = comma == NULL ? values.size : (size_t)(comma - values.data);
        uint8_t plain[ECHO_BINARY_MAX + 3];
        size_t plain_size;

        if (size > ECHO_BINARY_MAX) {
            return -ENOSPC;
        }
        result = grpc_base64_decode((struct bytes){values.data, size}, plain, &plain_size);
        if (result == 0) {
            result = grpc_call_add_trailer(call, name, (struct bytes){plain, plain_size});
        }
        if (comma == NULL) {
            break;
        }
        values = (struct bytes){comma + 1, values.size - size - 1};
    }
    return result;
}

bool interop_echo_metadata(struct grpc_call *call)
{
    static const char initial[] = "x-grpc-test-echo-initial";
    static const char trailing[] = "x-grpc-test-echo-trailing-bin";
    int result = 0;

    for (unsigned i = 0; i < call->head.custom_count && result == 0; i++) {
        const struct grpc_metadata_field *field = &call->head.custom[i];

        if (bytes_equal(field->name, bytes_from_text(initial))) {
            result = grpc_call_add_header(call, initial, field->value);
        } else if (bytes_equal(field->name, bytes_from_text(trailing))) {
            result = echo_binary(call, trailing, field->value);
        }
    }
    if (result != 0) {
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "METADATA_TOO_LARGE",
                            "the metadata to echo is too large");
    }
    return result == 0;
}

bool interop_check_compression(struct grpc_call *call, const Grpc__Testing__BoolValue *expected)
{
    if (expected == NULL || (expected->value != 0) == call->message_compressed) {
        return true;
    }
    grpc_call_fail_text(call, GRPC_STATUS_INVALID_ARGUMENT, "COMPRESSION_MISMATCH",
                        call->message_compressed ? "the request is compressed, and should not be"
                                                 : "the request is not compressed, and should be");
    return false;
}

bool interop_check_status(struct grpc_call *call, const Grpc__Testing__EchoStatus *status)
{
    enum grpc_status code = GRPC_STATUS_UNKNOWN;

    if (status == NULL || status->code == GRPC_STATUS_OK) {
        return true;
    }
    if (status->code > 0 && status->code < GRPC_STATUS_COUNT) {
        code = (enum grpc_status)status->code;
    }
    grpc_call_fail_text(call, code, "REQUESTED", status->message);
    return false;
}

bool interop_check_size(struct grpc_call *call, int32_t size)
{
    if (size >= 0 && size <= INTEROP_PAYLOAD_MAX) {
        return true;
    }
    grpc_call_fail_text(call, GRPC_STATUS_INVALID_ARGUMENT, "BAD_SIZE",
                        "the size asked for is negative or over 16 MiB");
    return false;
}

void interop_compress(struct grpc_call *call, const Grpc__Testing__BoolValue *wanted)
{
    if (wanted != NULL) {
        grpc_call_compress(call, wanted->value != 0);
    }
}

int interop_encode_payload(int32_t size, struct buf *out)
{
    static uint8_t zeros[INTEROP_PAYLOAD_MAX];
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
    Grpc__Testing__StreamingOutputCallResponse reply =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    size_t packed_size;
    uint8_t *room;

    payload.body = (ProtobufCBinaryData){.len = (size_t)size, .data = zeros};
    reply.payload = &payload;
    packed_size = grpc__testing__streaming_output_call_response__get_packed_size(&reply);
    room = buf_reserve(out, packed_size);
    if (room == NULL) {
        return -ENOMEM;
    }
    buf_commit(out, grpc__testing__streaming_output_call_response__pack(&reply, room));
    return 0;
}
