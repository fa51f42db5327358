#include "conformance/interop_service.h"

#include "conformance/interop_message.h"
#include "conformance/interop_stream.h"

#include <grpc/testing/messages.pb-c.h>

static void empty_call(void *service, struct grpc_call *call, struct bytes request)
{
    (void)service;
    (void)request;
    if (interop_echo_metadata(call)) {
        grpc_call_reply(call, NULL, 0);
    }
}

static void reply_payload(struct grpc_call *call, int32_t size)
{
    struct buf reply = {0};

    if (interop_encode_payload(size, &reply) == 0) {
        struct bytes whole = buf_bytes(&reply);

        grpc_call_reply(call, &whole, 1);
    } else {
        interop_fail_memory(call);
    }
    buf_deinit(&reply);
}

static void unary_call(void *service, struct grpc_call *call, struct bytes message)
{
    Grpc__Testing__SimpleRequest *request =
        grpc__testing__simple_request__unpack(NULL, message.size, message.data);

    (void)service;
    if (request == NULL) {
        interop_fail_parse(call);
        return;
    }
    if (interop_echo_metadata(call) &&
        interop_check_compression(call, request->expect_compressed) &&
        interop_check_status(call, request->response_status) &&
        interop_check_size(call, request->response_size)) {
        interop_compress(call, request->response_compressed);
        reply_payload(call, request->response_size);
    }
    grpc__testing__simple_request__free_unpacked(request, NULL);
}

void interop_service_methods(struct grpc_method rows[INTEROP_METHOD_COUNT])
{
    static const struct grpc_method methods[INTEROP_METHOD_COUNT] = {
        {.path = "/grpc.testing.TestService/EmptyCall", .handler = empty_call},
        {.path = "/grpc.testing.TestService/UnaryCall",
         .handler = unary_call,
         .long_answers = true},
        {.path = "/grpc.testing.TestService/CacheableUnaryCall", .handler = unary_call},
        {.path = "/grpc.testing.TestService/StreamingOutputCall",
         .kind = GRPC_METHOD_SERVER_STREAM,
         .handler = interop_streaming_output_call},
        {.path = "/grpc.testing.TestService/StreamingInputCall",
         .kind = GRPC_METHOD_CLIENT_STREAM,
         .open = interop_streaming_input_call},
        {.path = "/grpc.testing.TestService/FullDuplexCall",
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = interop_full_duplex_call},
        {.path = "/grpc.testing.TestService/HalfDuplexCall",
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = interop_half_duplex_call},
    };

    memcpy(rows, methods, sizeof(methods));
}
