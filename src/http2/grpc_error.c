#include "http2/grpc_error.h"

#include "http2/proto_wire.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * google.rpc.Status { code = 1; message = 2; details = 3 (google.protobuf.Any, repeated) }, where
 * an Any is { type_url = 1; value = 2 } and each value one of google/rpc/error_details.proto. These
 * few messages are written and read by hand: they nest one in another, so each is built in a
 * scratch buffer first, and no generated code is needed for them in this folder.
 */

#define TYPE_PREFIX "type.googleapis.com/google.rpc."

void grpc_error_add_field(struct grpc_error *error, const char *field, const char *description)
{
    if (error->field_count < GRPC_ERROR_FIELDS_MAX) {
        error->fields[error->field_count++] =
            (struct grpc_field_violation){.field = field, .description = description};
    }
}

void grpc_error_add_metadata(struct grpc_error *error, const char *key, const char *value)
{
    if (error->metadata_count < GRPC_ERROR_METADATA_MAX) {
        error->metadata[error->metadata_count].key = key;
        error->metadata[error->metadata_count].value = value;
        error->metadata_count++;
    }
}

/* Appends a string field; an absent or empty one is left out, as proto3 does. */
static int append_text(struct buf *out, uint32_t number, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    return proto_wire_append_bytes(out, number, bytes_from_text(text));
}

/* A message of two strings, as field `number` of `out`: a map entry, a violation. */
static int append_pair(struct buf *out, uint32_t number, const char *first, const char *second)
{
    struct buf pair = {0};
    int error = append_text(&pair, 1, first);

    if (error == 0) {
        error = append_text(&pair, 2, second);
    }
    if (error == 0) {
        error = proto_wire_append_bytes(out, number, buf_bytes(&pair));
    }
    buf_deinit(&pair);
    return error;
}

/* ErrorInfo { reason = 1; domain = 2; metadata = 3 } */
static int write_error_info(const struct grpc_error *error, struct buf *out)
{
    unsigned i;
    int result = append_text(out, 1, error->reason);

    if (result == 0) {
        result = append_text(out, 2, error->domain);
    }
    for (i = 0; i < error->metadata_count && result == 0; i++) {
        result = append_pair(out, 3, error->metadata[i].key, error->metadata[i].value);
    }
    return result;
}

/* BadRequest { field_violations = 1 { field = 1; description = 2 } } */
static int write_bad_request(const struct grpc_error *error, struct buf *out)
{
    unsigned i;
    int result = 0;

    for (i = 0; i < error->field_count && result == 0; i++) {
        result = append_pair(out, 1, error->fields[i].field, error->fields[i].description);
    }
    return result;
}

/* ResourceInfo { resource_type = 1; resource_name = 2 } */
static int write_resource_info(const struct grpc_error *error, struct buf *out)
{
    int result = append_text(out, 1, error->resource_type);

    return result != 0 ? result : append_text(out, 2, error->resource_name);
}

/* PreconditionFailure { violations = 1 { type = 1; subject = 2; description = 3 } } */
static int write_precondition(const struct grpc_error *error, struct buf *out)
{
    struct buf violation = {0};
    int result = append_text(&violation, 1, error->precondition_type);

    if (result == 0) {
        result = append_text(&violation, 2, error->precondition_subject);
    }
    if (result == 0) {
        result = append_text(&violation, 3, error->precondition_text);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, 1, buf_bytes(&violation));
    }
    buf_deinit(&violation);
    return result;
}

/* RetryInfo { retry_delay = 1 (Duration { seconds = 1; nanos = 2 }) } */
static int write_retry_info(const struct grpc_error *error, struct buf *out)
{
    struct buf duration = {0};
    uint64_t delay_ms = (uint64_t)error->retry_delay_ms;
    int result = 0;

    if (delay_ms >= 1000) {
        result = proto_wire_append_varint(&duration, 1, delay_ms / 1000);
    }
    if (result == 0 && delay_ms % 1000 != 0) {
        result = proto_wire_append_varint(&duration, 2, delay_ms % 1000 * 1000000);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, 1, buf_bytes(&duration));
    }
    buf_deinit(&duration);
    return result;
}

/* One kind of detail: when it is there, and how its value is written. */
struct detail_kind {
    const char *type_url;
    int (*write)(const struct grpc_error *error, struct buf *out);
};

static const struct detail_kind kind_error_info = {TYPE_PREFIX "ErrorInfo", write_error_info};
static const struct detail_kind kind_bad_request = {TYPE_PREFIX "BadRequest", write_bad_request};
static const struct detail_kind kind_resource = {TYPE_PREFIX "ResourceInfo", write_resource_info};
static const struct detail_kind kind_precondition = {TYPE_PREFIX "PreconditionFailure",
                                                     write_precondition};
static const struct detail_kind kind_retry = {TYPE_PREFIX "RetryInfo", write_retry_info};

static int append_detail(struct buf *out, const struct detail_kind *kind,
                         const struct grpc_error *error)
{
    struct buf value = {0};
    struct buf any = {0};
    int result = kind->write(error, &value);

    if (result == 0) {
        result = append_text(&any, 1, kind->type_url);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(&any, 2, buf_bytes(&value));
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, 3, buf_bytes(&any));
    }
    buf_deinit(&value);
    buf_deinit(&any);
    return result;
}

int grpc_error_encode(const struct grpc_error *error, struct buf *out)
{
    const struct detail_kind *kinds[5];
    unsigned count = 0;
    unsigned i;
    int result = 0;

    if (error->reason != NULL) {
        kinds[count++] = &kind_error_info;
    }
    if (error->field_count > 0) {
        kinds[count++] = &kind_bad_request;
    }
    if (error->resource_type != NULL) {
        kinds[count++] = &kind_resource;
    }
    if (error->precondition_type != NULL) {
        kinds[count++] = &kind_precondition;
    }
    if (error->retry_delay_ms > 0) {
        kinds[count++] = &kind_retry;
    }
    if (error->status != GRPC_STATUS_OK) {
        result = proto_wire_append_varint(out, 1, (uint64_t)error->status);
    }
    if (result == 0) {
        result = append_text(out, 2, error->message);
    }
    for (i = 0; i < count && result == 0; i++) {
        result = append_detail(out, kinds[i], error);
    }
    return result;
}

/* Appends text of a peer for people, fit to be shown. */
static int append_clean(struct buf *out, struct bytes text)
{
    uint8_t *room = buf_reserve(out, text.size);

    if (room == NULL) {
        return -ENOMEM;
    }
    if (text.size > 0) {
        memcpy(room, text.data, text.size);
    }
    grpc_status_clean_text((char *)room, text.size);
    buf_commit(out, text.size);
    return 0;
}

/* "label: first" or "label first: second", and a newline. */
static int append_line(struct buf *out, const char *label, struct bytes first, struct bytes second,
                       bool has_second)
{
    int error = buf_append(out, label, strlen(label));

    if (error == 0) {
        error = buf_append(out, has_second ? " " : ": ", has_second ? 1 : 2);
    }
    if (error == 0) {
        error = append_clean(out, first);
    }
    if (error == 0 && has_second) {
        error = buf_append(out, ": ", 2);
    }
    if (error == 0 && has_second) {
        error = append_clean(out, second);
    }
    return error == 0 ? buf_append(out, "\n", 1) : error;
}

/* The first three string fields of a message; absent ones stay empty. Returns 0 or -EBADMSG. */
static int read_texts(struct bytes message, struct bytes texts[3])
{
    struct proto_wire_field field;
    int error;

    for (;;) {
        error = proto_wire_read(&message, &field);
        if (error != 0) {
            return error == PROTO_WIRE_E_END ? 0 : error;
        }
        if (field.type == PROTO_WIRE_BYTES && field.number <= 3) {
            texts[field.number - 1] = field.bytes;
        }
    }
}

/* Calls `each` for every field `number` of the message that holds a message. */
static int describe_nested(struct bytes message, uint32_t number, const char *label,
                           struct buf *out,
                           int (*each)(const char *label, struct bytes nested, struct buf *out))
{
    struct proto_wire_field field;
    int error;

    for (;;) {
        error = proto_wire_read(&message, &field);
        if (error != 0) {
            return error == PROTO_WIRE_E_END ? 0 : error;
        }
        if (field.type == PROTO_WIRE_BYTES && field.number == number) {
            error = each(label, field.bytes, out);
            if (error != 0) {
                return error;
            }
        }
    }
}

static int describe_pair(const char *label, struct bytes nested, struct buf *out)
{
    struct bytes texts[3] = {{0}};
    int error = read_texts(nested, texts);

    return error != 0 ? error : append_line(out, label, texts[0], texts[1], true);
}

static int describe_violation(const char *label, struct bytes nested, struct buf *out)
{
    struct bytes texts[3] = {{0}};
    int error = read_texts(nested, texts);

    if (error != 0) {
        return error;
    }
    return append_line(out, label, texts[1].size > 0 ? texts[1] : texts[0], texts[2], true);
}

static int describe_duration(const char *label, struct bytes nested, struct buf *out)
{
    struct proto_wire_field field;
    uint64_t milliseconds = 0;
    char text[32];
    int error;

    for (;;) {
        error = proto_wire_read(&nested, &field);
        if (error == PROTO_WIRE_E_END) {
            break;
        }
        if (error != 0) {
            return error;
        }
        if (field.type == PROTO_WIRE_VARINT && field.number == 1) {
            milliseconds += field.value * 1000;
        } else if (field.type == PROTO_WIRE_VARINT && field.number == 2) {
            milliseconds += field.value / 1000000;
        }
    }
    (void)snprintf(text, sizeof(text), "%llu ms", (unsigned long long)milliseconds);
    return append_line(out, label, bytes_from_text(text), (struct bytes){0}, false);
}

static int describe_error_info(struct bytes value, struct buf *out)
{
    struct bytes texts[3] = {{0}};
    int error = read_texts(value, texts);

    if (error == 0) {
        error = append_line(out, "reason", texts[0], (struct bytes){0}, false);
    }
    if (error == 0) {
        error = append_line(out, "domain", texts[1], (struct bytes){0}, false);
    }
    return error != 0 ? error : describe_nested(value, 3, "metadata", out, describe_pair);
}

static int describe_detail(const char *label, struct bytes any, struct buf *out)
{
    struct bytes texts[3] = {{0}};
    struct bytes type;
    int error = read_texts(any, texts);

    (void)label; /* an Any has none: its type says what it is */
    if (error != 0) {
        return error;
    }
    type = texts[0];
    if (bytes_equal(type, bytes_from_text(kind_error_info.type_url))) {
        return describe_error_info(texts[1], out);
    }
    if (bytes_equal(type, bytes_from_text(kind_bad_request.type_url))) {
        return describe_nested(texts[1], 1, "field", out, describe_pair);
    }
    if (bytes_equal(type, bytes_from_text(kind_resource.type_url))) {
        return describe_pair("resource", texts[1], out);
    }
    if (bytes_equal(type, bytes_from_text(kind_precondition.type_url))) {
        return describe_nested(texts[1], 1, "precondition", out, describe_violation);
    }
    if (bytes_equal(type, bytes_from_text(kind_retry.type_url))) {
        return describe_nested(texts[1], 1, "retry after", out, describe_duration);
    }
    return 0;
}

int grpc_error_describe(struct bytes encoded, struct buf *out)
{
    return describe_nested(encoded, 3, "", out, describe_detail);
}
