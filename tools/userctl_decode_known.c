/*
 * The messages of google.protobuf that have a form of their own in JSON.
 */
#include "common_json.h"
#include "core/buf.h"
#include "userctl_decode.h"
#include "userctl_decode_internal.h"
#include "userctl_time.h"
#include "userctl_wire.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): a message in a message costs one of USERCTL_DECODE_DEPTH_MAX */

static int decode_stamp(const struct userctl_decoding *decoding,
                        const struct userctl_message *message, struct bytes bytes)
{
    char text[USERCTL_STAMP_SIZE];
    struct userctl_stamp stamp = {0};
    struct proto_wire_field wire;
    int ret;
    bool is_good;

    while ((ret = userctl_wire_read(&bytes, &wire)) == 0) {
        if (wire.number == 1 && wire.type == PROTO_WIRE_VARINT) {
            stamp.seconds = (int64_t)wire.value;
        } else if (wire.number == 2 && wire.type == PROTO_WIRE_VARINT) {
            stamp.nanos = (int32_t)wire.value;
        }
    }
    is_good = message->known == USERCTL_KNOWN_TIMESTAMP ? userctl_timestamp_format(stamp, text)
                                                        : userctl_duration_format(stamp, text);
    if (ret != PROTO_WIRE_E_END || !is_good) {
        return userctl_decode_malformed(decoding, message->name);
    }
    (void)fprintf(decoding->out, "\"%s\"", text);
    return 0;
}

/* "user.display_name" as "user.displayName"; quoted as any text, for it may hold anything. */
static int decode_mask(const struct userctl_decoding *decoding, struct bytes bytes)
{
    struct proto_wire_field wire;
    struct buf text = {0};
    int end;
    int ret = 0;

    while ((end = userctl_wire_read(&bytes, &wire)) == 0 && ret == 0) {
        if (wire.number != 1 || wire.type != PROTO_WIRE_BYTES) {
            continue;
        }
        ret = buf_size(&text) == 0 ? 0 : buf_append(&text, ",", 1);
        for (size_t i = 0; ret == 0 && i < wire.bytes.size; i++) {
            uint8_t byte = wire.bytes.data[i];
            uint8_t next = i + 1 < wire.bytes.size ? wire.bytes.data[i + 1] : 0;

            if (byte == '_' && next >= 'a' && next <= 'z') {
                byte = (uint8_t)(next - 'a' + 'A');
                i++;
            }
            ret = buf_append(&text, &byte, 1);
        }
    }
    common_json_quote(decoding->out, buf_bytes(&text));
    buf_deinit(&text);
    if (ret != 0) {
        return userctl_decode_refuse(decoding, "out of memory");
    }
    return end == PROTO_WIRE_E_END
               ? 0
               : userctl_decode_malformed(decoding, "google.protobuf.FieldMask");
}

/* As it stands when its type is known, else in base64. */
static int decode_any(struct userctl_decoding *decoding, struct bytes bytes)
{
    struct proto_wire_field wire;
    struct bytes url = {(const uint8_t *)"", 0};
    struct bytes content = {(const uint8_t *)"", 0};
    const struct userctl_symbol *symbol;
    char name[1024];
    size_t start;
    int ret;

    while ((ret = userctl_wire_read(&bytes, &wire)) == 0) {
        if (wire.number == 1 && wire.type == PROTO_WIRE_BYTES) {
            url = wire.bytes;
        } else if (wire.number == 2 && wire.type == PROTO_WIRE_BYTES) {
            content = wire.bytes;
        }
    }
    if (ret != PROTO_WIRE_E_END) {
        return userctl_decode_malformed(decoding, "google.protobuf.Any");
    }
    if (url.size == 0) {
        (void)fputs("{}", decoding->out);
        return 0;
    }
    for (start = url.size; start > 0 && url.data[start - 1] != '/';) {
        start--;
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)(url.size - start),
                   (const char *)url.data + start);
    symbol = userctl_schema_find(decoding->schema, name);
    (void)fputs("{\"@type\":", decoding->out);
    common_json_quote(decoding->out, url);
    if (symbol == NULL || symbol->message == NULL) {
        userctl_wanted_note(decoding->wanted, name);
        (void)fputs(",\"value\":", decoding->out);
        ret = userctl_decode_bytes(decoding, content);
    } else if (symbol->message->known != USERCTL_KNOWN_NONE) {
        (void)fputs(",\"value\":", decoding->out);
        ret = userctl_decode_message(decoding, symbol->message, content);
    } else {
        ret = userctl_decode_members(decoding, symbol->message, content, ",");
    }
    (void)fputc('}', decoding->out);
    return ret;
}

/* A message whose JSON is that of the one field which is set. `absent` is what stands for none. */
static int decode_as_field(struct userctl_decoding *decoding, const struct userctl_message *message,
                           struct bytes bytes, const char *absent)
{
    struct userctl_decode_parts parts = {0};
    int ret = userctl_decode_list_parts(decoding, message, bytes, &parts);

    if (ret != 0) {
        return ret;
    }
    if (parts.count == 0) {
        (void)fputs(absent, decoding->out);
    } else {
        /* Of several fields, which cannot be, the first. */
        size_t count = 1;

        while (count < parts.count && parts.parts[count].field == parts.parts[0].field) {
            count++;
        }
        ret = userctl_decode_field(decoding, &message->fields[parts.parts[0].field], parts.parts,
                                   count);
    }
    free(parts.parts);
    return ret;
}

/* What the JSON of an empty wrapper is. */
static const char *empty_wrapper(const struct userctl_message *message)
{
    enum userctl_type type =
        message->field_count == 0 ? USERCTL_TYPE_INT32 : message->fields[0].type;

    if (type == USERCTL_TYPE_BOOL) {
        return "false";
    }
    if (type == USERCTL_TYPE_STRING || type == USERCTL_TYPE_BYTES) {
        return "\"\"";
    }
    return type == USERCTL_TYPE_INT64 || type == USERCTL_TYPE_UINT64 ? "\"0\"" : "0";
}

int userctl_decode_known(struct userctl_decoding *decoding, const struct userctl_message *message,
                         struct bytes bytes)
{
    switch (message->known) {
    case USERCTL_KNOWN_TIMESTAMP:
    case USERCTL_KNOWN_DURATION:
        return decode_stamp(decoding, message, bytes);
    case USERCTL_KNOWN_FIELD_MASK:
        return decode_mask(decoding, bytes);
    case USERCTL_KNOWN_WRAPPER:
        return decode_as_field(decoding, message, bytes, empty_wrapper(message));
    case USERCTL_KNOWN_ANY:
        return decode_any(decoding, bytes);
    case USERCTL_KNOWN_STRUCT:
        return decode_as_field(decoding, message, bytes, "{}");
    case USERCTL_KNOWN_VALUE:
        return decode_as_field(decoding, message, bytes, "null");
    case USERCTL_KNOWN_LIST_VALUE:
        return decode_as_field(decoding, message, bytes, "[]");
    case USERCTL_KNOWN_NONE:
        break;
    }
    (void)fputc('{', decoding->out);
    if (userctl_decode_members(decoding, message, bytes, "") != 0) {
        return USERCTL_DECODE_E_BAD;
    }
    (void)fputc('}', decoding->out);
    return 0;
}

/* NOLINTEND(misc-no-recursion) */
