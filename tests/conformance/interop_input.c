/*
 * StreamingInputCall: adds up the sizes of the payloads, and tells the sum when the client has
 * ended.
 */
#include "conformance/interop_message.h"
#include "conformance/interop_stream.h"

#include <stdlib.h>

struct input {
    int64_t sum;
};

/* After this the call belongs to nobody: touch neither. */
static void end(struct grpc_call *call, struct input *input)
{
    grpc_call_listen(call, NULL, NULL);
    grpc_call_release(call);
    free(input);
}

static void on_message(struct grpc_call *call, void *context, struct bytes message)
{
    struct input *input = context;
    bool is_good = false;
    Grpc__Testing__StreamingInputCallRequest *request =
        grpc__testing__streaming_input_call_request__unpack(NULL, message.size, message.data);

    if (request == NULL) {
        interop_fail_parse(call);
        end(call, input);
        return;
    }
    if (interop_check_compression(call, request->expect_compressed)) {
        input->sum += request->payload == NULL ? 0 : (int64_t)request->payload->body.len;
        is_good = true;
    }
    grpc__testing__streaming_input_call_request__free_unpacked(request, NULL);
    if (!is_good) {
        end(call, input);
    } else if (input->sum > INT32_MAX) {
        grpc_call_fail_text(call, GRPC_STATUS_OUT_OF_RANGE, "SUM_TOO_LARGE",
                            "the payloads are larger than the reply can say");
        end(call, input);
    }
}

static void on_half_closed(struct grpc_call *call, void *context)
{
    struct input *input = context;
    Grpc__Testing__StreamingInputCallResponse reply =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    uint8_t packed[16];
    struct bytes whole = {.data = packed};

    reply.aggregated_payload_size = (int32_t)input->sum;
    whole.size = grpc__testing__streaming_input_call_response__pack(&reply, packed);
    grpc_call_reply(call, &whole, 1);
    end(call, input);
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    end(call, context);
}

void interop_streaming_input_call(void *service, struct grpc_call *call)
{
    static const struct grpc_call_events events = {
        .message = on_message,
        .half_closed = on_half_closed,
        .cancelled = on_cancelled,
    };
    struct input *input;

    (void)service;
    if (!interop_echo_metadata(call)) {
        return;
    }
    input = calloc(1, sizeof(*input));
    if (input == NULL) {
        interop_fail_memory(call);
        return;
    }
    grpc_call_hold(call);
    grpc_call_listen(call, &events, input);
}
