#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"

#include <stdio.h>

/*
 * What is wrong with a head is answered before the stages: no limit on callers or addresses sees
 * these calls. So heads that no library of gRPC makes are held against the connection
 * (h2_stream_blame): they cost it what resets do, a burst of http2.reset_burst and then
 * http2.reset_rate per second, and unlike other calls they earn nothing by their end. A probe that
 * speaks plain HTTP/2 stays far below that. So are heads over the size that we announce
 * (http2.max_header_list), several times each, for they take longest to decode. What an honest
 * client can get wrong by its settings is answered as often as it asks: the encoding, the subtype,
 * too many fields.
 */

/* C1: what is accepted is disclosed, the refused one not among it. */
static void refuse_encoding(struct grpc_call *call)
{
    struct bytes encoding = call->head.encoding;
    char text[GRPC_CALL_TEXT_SIZE];
    const struct grpc_error error = {.status = GRPC_STATUS_UNIMPLEMENTED,
                                     .message = text,
                                     .reason = "UNSUPPORTED_ENCODING",
                                     .domain = "grpc"};

    (void)snprintf(text, sizeof(text),
                   "grpc: Decompressor is not installed for grpc-encoding \"%.*s\"",
                   (int)(encoding.size < 64 ? encoding.size : 64), (const char *)encoding.data);
    grpc_call_fail_with_field(call, &error, "grpc-accept-encoding", "identity,gzip");
}

static void refuse_path(struct grpc_call *call)
{
    struct bytes path = call->head.path;
    char text[GRPC_CALL_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "malformed method name: \"%.*s\"",
                   (int)(path.size < 256 ? path.size : 256), (const char *)path.data);
    grpc_call_fail_text(call, GRPC_STATUS_UNIMPLEMENTED, "MALFORMED_METHOD_NAME", text);
    h2_stream_blame(call->stream);
}

static void reject(struct grpc_call *call, int http_status, enum grpc_status status,
                   const char *message)
{
    grpc_call_reject(call, http_status, status, message);
    h2_stream_blame(call->stream);
}

void grpc_call_check_head(struct grpc_call *call)
{
    switch (grpc_head_check(&call->head)) {
    case GRPC_HEAD_OK:
        break;
    case GRPC_HEAD_NOT_POST:
        reject(call, 405, GRPC_STATUS_INTERNAL, "http2: only POST is allowed");
        break;
    case GRPC_HEAD_BAD_CONTENT_TYPE:
        reject(call, 415, GRPC_STATUS_UNKNOWN, "invalid gRPC request content-type");
        break;
    case GRPC_HEAD_BAD_AUTHORITY:
        reject(call, 400, GRPC_STATUS_INTERNAL, "more than one :authority or host");
        break;
    case GRPC_HEAD_BAD_TIMEOUT:
        reject(call, 400, GRPC_STATUS_INTERNAL, "malformed grpc-timeout");
        break;
    case GRPC_HEAD_BAD_BINARY:
        reject(call, 400, GRPC_STATUS_INTERNAL, "malformed binary metadata");
        break;
    case GRPC_HEAD_BAD_PATH:
        refuse_path(call);
        break;
    case GRPC_HEAD_BAD_SUBTYPE:
        grpc_call_fail_text(call, GRPC_STATUS_UNIMPLEMENTED, "UNSUPPORTED_CONTENT_SUBTYPE",
                            "content-subtype is not supported: use application/grpc+proto");
        break;
    case GRPC_HEAD_BAD_ENCODING:
        refuse_encoding(call);
        break;
    case GRPC_HEAD_NO_MEMORY:
        grpc_call_fail_text(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MUCH_METADATA",
                            "request metadata is too large, or has more than 128 custom fields");
        break;
    }
}
