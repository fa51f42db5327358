/*
 * One answer, rule by rule.
 *
 * The happy path: `:status` 200 and an application/grpc content-type, message frames, trailers with
 * grpc-status 0. An early error is one block of fields with grpc-status and no body. A unary answer
 * is cut as it comes; of a stream the bytes are kept until somebody asks for the next message, so
 * that whoever does not ask gives no flow-control credit back.
 *
 * What can go wrong, and what the caller is told:
 * - grpc-status is there: it counts, whatever the HTTP status says (userd's own 405, 415, 400).
 * - no grpc-status, and the HTTP status is not 200 or the content-type is not gRPC's: a proxy or
 * another kind of server answered; the HTTP status is mapped.
 * - RST_STREAM before a grpc-status: mapped from its code (P24); NO_ERROR is INTERNAL, as any end
 * without a status.
 * - unary, status 0 with no message or with two: UNIMPLEMENTED, as the list of status codes says
 *   (P16).
 * - a message that is compressed (we never offer it) or badly framed: INTERNAL; over the limit:
 *   RESOURCE_EXHAUSTED, before any of it is kept.
 */
#include "client/call_reply.h"

#include "http2/grpc_metadata.h"

#include <errno.h>
#include <stdio.h>

#define MESSAGE_SIZE_MAX 8192  /* a longer grpc-message is cut */
#define DETAILS_SIZE_MAX 65536 /* a larger grpc-status-details-bin is left out */
#define FIELDS_SIZE_MAX  16384 /* further fields are left out */

void call_reply_init(struct call_reply *reply, bool is_stream, uint32_t size_max)
{
    *reply = (struct call_reply){
        .is_stream = is_stream,
        .grpc_status = -1,
        .reader.size_max = size_max,
    };
}

void call_reply_deinit(struct call_reply *reply)
{
    buf_deinit(&reply->message);
    buf_deinit(&reply->details);
    buf_deinit(&reply->body);
    buf_deinit(&reply->fields);
    buf_deinit(&reply->input);
    grpc_frame_reader_deinit(&reply->reader);
}

void call_reply_fail(struct call_reply *reply, enum grpc_status status, const char *message)
{
    if (reply->is_decided) {
        return;
    }
    reply->is_decided = true;
    reply->status = status;
    buf_clear(&reply->body);
    buf_clear(&reply->details);
    buf_clear(&reply->message);
    /* Without memory the text is lost; the status is what counts. */
    (void)buf_append(&reply->message, message, strlen(message));
}

/* A decimal number of at most `digits_max` digits; -1 for anything else. */
static int parse_number(struct bytes text, size_t digits_max)
{
    int value = 0;

    if (text.size == 0 || text.size > digits_max) {
        return -1;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

/* A grpc-status that is no number, or none that we know, is UNKNOWN. */
static int parse_status(struct bytes text)
{
    int status = parse_number(text, 2);

    return status >= 0 && status < GRPC_STATUS_COUNT ? status : (int)GRPC_STATUS_UNKNOWN;
}

static bool is_grpc_type(struct bytes value)
{
    const struct bytes prefix = BYTES_LITERAL("application/grpc");

    return value.size >= prefix.size && memcmp(value.data, prefix.data, prefix.size) == 0 &&
           (value.size == prefix.size || value.data[prefix.size] == '+' ||
            value.data[prefix.size] == ';');
}

static int take_message(struct call_reply *reply, struct bytes value)
{
    size_t room = (value.size < MESSAGE_SIZE_MAX ? value.size : MESSAGE_SIZE_MAX) + 1;
    uint8_t *out;

    buf_clear(&reply->message);
    out = buf_reserve(&reply->message, room);
    if (out == NULL) {
        return -ENOMEM;
    }
    room = grpc_status_decode_message(value, (char *)out, room);
    grpc_status_clean_text((char *)out, room);
    buf_commit(&reply->message, room);
    return 0;
}

/* Details that cannot be decoded are left out: they only add to a status that stands without them.
 */
static int take_details(struct call_reply *reply, struct bytes value)
{
    size_t size;
    uint8_t *out;

    if (value.size > DETAILS_SIZE_MAX) {
        return 0;
    }
    buf_clear(&reply->details);
    out = buf_reserve(&reply->details, value.size / 4 * 3 + 3);
    if (out == NULL) {
        return -ENOMEM;
    }
    if (grpc_base64_decode(value, out, &size) == 0) {
        buf_commit(&reply->details, size);
    }
    return 0;
}

/* Keeps a field as "name NUL value NUL": neither can have a NUL in it. */
static int keep_field(struct call_reply *reply, const struct h2_field *field)
{
    size_t size = field->name.size + field->value.size + 2;
    uint8_t *out;

    if (buf_size(&reply->fields) + size > FIELDS_SIZE_MAX) {
        return 0;
    }
    out = buf_reserve(&reply->fields, size);
    if (out == NULL) {
        return -ENOMEM;
    }
    memset(out, 0, size);
    memcpy(out, field->name.data, field->name.size);
    if (field->value.size != 0) {
        memcpy(out + field->name.size + 1, field->value.data, field->value.size);
    }
    buf_commit(&reply->fields, size);
    return 0;
}

struct bytes call_reply_find(struct bytes fields, const char *name)
{
    while (fields.size != 0) {
        struct bytes key = bytes_from_text((const char *)fields.data);
        struct bytes value = bytes_from_text((const char *)fields.data + key.size + 1);

        if (bytes_equal(key, bytes_from_text(name))) {
            return value;
        }
        fields.data += key.size + value.size + 2;
        fields.size -= key.size + value.size + 2;
    }
    return (struct bytes){0};
}

int call_reply_field(struct call_reply *reply, const struct h2_field *field)
{
    if (reply->is_decided) {
        return 0;
    }
    if (bytes_equal(field->name, BYTES_LITERAL(":status"))) {
        reply->http_status = parse_number(field->value, 3);
    } else if (bytes_equal(field->name, BYTES_LITERAL("content-type"))) {
        reply->has_type = true;
        reply->is_grpc = is_grpc_type(field->value);
    } else if (bytes_equal(field->name, BYTES_LITERAL("grpc-status"))) {
        reply->grpc_status = parse_status(field->value);
    } else if (bytes_equal(field->name, BYTES_LITERAL("grpc-message"))) {
        return take_message(reply, field->value);
    } else if (bytes_equal(field->name, BYTES_LITERAL("grpc-status-details-bin"))) {
        return take_details(reply, field->value);
    } else {
        return keep_field(reply, field);
    }
    return 0;
}

/* Cuts the next message out of `*bytes` and moves it on. Returns 0, CALL_REPLY_E_* or -ENOMEM. */
static int cut(struct call_reply *reply, struct bytes *bytes, struct bytes *ret_message)
{
    struct grpc_message message;
    int ret = grpc_frame_read(&reply->reader, bytes, &message);

    if (ret == GRPC_FRAME_E_MORE) {
        return CALL_REPLY_E_MORE;
    }
    if (ret < 0) {
        return ret;
    }
    if (ret == GRPC_FRAME_E_TOO_LARGE) {
        call_reply_fail(reply, GRPC_STATUS_RESOURCE_EXHAUSTED,
                        "the answer is larger than this client takes");
        return CALL_REPLY_E_BAD;
    }
    if (ret == GRPC_FRAME_E_BAD_FLAG) {
        call_reply_fail(reply, GRPC_STATUS_INTERNAL, "the server sent a malformed message");
        return CALL_REPLY_E_BAD;
    }
    if (message.compressed) {
        call_reply_fail(reply, GRPC_STATUS_INTERNAL,
                        "the server sent a compressed message that nobody asked for");
        return CALL_REPLY_E_BAD;
    }
    reply->count++;
    *ret_message = message.bytes;
    return 0;
}

static int take_unary(struct call_reply *reply, struct bytes bytes)
{
    struct bytes message;
    int ret;

    while (!reply->is_decided) {
        ret = cut(reply, &bytes, &message);
        if (ret == 0 && reply->count > 1) {
            call_reply_fail(reply, GRPC_STATUS_UNIMPLEMENTED,
                            "the server sent more than one message for a unary call");
        } else if (ret == 0) {
            ret = buf_append(&reply->body, message.data, message.size);
        }
        if (ret != 0) {
            return ret < 0 ? ret : 0;
        }
    }
    return 0;
}

int call_reply_data(struct call_reply *reply, struct bytes bytes)
{
    /* The body of an answer that is no gRPC answer is somebody's error page: it is kept of a stream
     * only because its bytes have to be counted. */
    if (reply->is_stream) {
        return buf_append(&reply->input, bytes.data, bytes.size);
    }
    return reply->http_status == 200 && reply->is_grpc ? take_unary(reply, bytes) : 0;
}

int call_reply_next(struct call_reply *reply, struct bytes *ret_message, size_t *ret_used)
{
    struct bytes bytes = buf_bytes(&reply->input);
    int ret = CALL_REPLY_E_MORE;

    *ret_used = bytes.size;
    if (reply->http_status == 200 && reply->is_grpc && bytes.size != 0) {
        ret = cut(reply, &bytes, ret_message);
        *ret_used -= bytes.size;
    }
    /* The message may lie in what is consumed here: its bytes stay until more is appended. */
    buf_consume(&reply->input, *ret_used);
    return ret;
}

void call_reply_drop(struct call_reply *reply)
{
    buf_clear(&reply->input);
}

static void end_ok(struct call_reply *reply)
{
    if (!grpc_frame_is_at_border(&reply->reader)) {
        call_reply_fail(reply, GRPC_STATUS_INTERNAL, "the answer ended inside its message");
        return;
    }
    if (reply->count == 0 && !reply->is_stream) {
        call_reply_fail(reply, GRPC_STATUS_UNIMPLEMENTED, "the server sent no message");
        return;
    }
    reply->status = GRPC_STATUS_OK;
    reply->is_decided = true;
}

static void end_without_status(struct call_reply *reply, uint32_t error)
{
    char text[96];

    if (error != H2_ERROR_NO_ERROR) {
        (void)snprintf(text, sizeof(text), "the stream was reset by HTTP/2 error %u",
                       (unsigned)error);
        call_reply_fail(reply, grpc_status_from_h2_error(error), text);
        return;
    }
    if (reply->http_status == 200 && reply->is_grpc) {
        call_reply_fail(reply, GRPC_STATUS_INTERNAL, "the server ended the call without a status");
        return;
    }
    if (reply->http_status == 0) {
        call_reply_fail(reply, GRPC_STATUS_INTERNAL,
                        "the server ended the stream without an answer");
        return;
    }
    (void)snprintf(text, sizeof(text), "the answer is not gRPC: HTTP status %d%s",
                   reply->http_status, reply->has_type ? "" : ", no content-type");
    call_reply_fail(reply, grpc_status_from_http(reply->http_status), text);
}

void call_reply_end(struct call_reply *reply, uint32_t error)
{
    if (reply->is_decided) {
        return;
    }
    if (reply->grpc_status < 0) {
        end_without_status(reply, error);
        return;
    }
    if (reply->grpc_status == GRPC_STATUS_OK) {
        end_ok(reply);
        return;
    }
    reply->status = (enum grpc_status)reply->grpc_status;
    reply->is_decided = true;
    buf_clear(&reply->body);
}
