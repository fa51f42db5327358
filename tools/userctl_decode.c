/*
 * The parts of a message may come in any order and more than once. So they are listed first, and
 * sorted by their field: of a single scalar the last counts, the pieces of a single message are one
 * message when they are put together, and of a oneof only the field that came last is set.
 */
#include "userctl_decode.h"

#include "common_json.h"
#include "core/buf.h"
#include "http2/grpc_metadata.h"
#include "userctl_decode_internal.h"
#include "userctl_scalar.h"
#include "userctl_wire.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int userctl_decode_refuse(const struct userctl_decoding *decoding, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vsnprintf(decoding->problem, USERCTL_DECODE_PROBLEM_SIZE, format, values);
    va_end(values);
    return USERCTL_DECODE_E_BAD;
}

int userctl_decode_malformed(const struct userctl_decoding *decoding, const char *name)
{
    return userctl_decode_refuse(
        decoding, "what the server sent is no %s: the bytes do not fit the descriptor", name);
}

static int by_field(const void *left, const void *right)
{
    const struct userctl_decode_part *a = left;
    const struct userctl_decode_part *b = right;

    if (a->field != b->field) {
        return a->field < b->field ? -1 : 1;
    }
    return a->order < b->order ? -1 : 1;
}

static size_t count_parts(struct bytes bytes)
{
    struct proto_wire_field field;
    size_t count = 0;

    while (userctl_wire_read(&bytes, &field) == 0) {
        count++;
    }
    return count;
}

/* Of each oneof only what came last stays. */
static int settle_oneofs(const struct userctl_decoding *decoding,
                         const struct userctl_message *message, struct userctl_decode_parts *parts)
{
    uint32_t *last_fields = calloc(message->oneof_count + 1, sizeof(*last_fields));
    size_t kept = 0;

    if (last_fields == NULL) {
        return userctl_decode_refuse(decoding, "out of memory");
    }
    for (size_t i = 0; i < parts->count; i++) {
        int oneof = message->fields[parts->parts[i].field].oneof;

        if (oneof >= 0) {
            last_fields[oneof] = parts->parts[i].field;
        }
    }
    for (size_t i = 0; i < parts->count; i++) {
        int oneof = message->fields[parts->parts[i].field].oneof;

        if (oneof < 0 || last_fields[oneof] == parts->parts[i].field) {
            parts->parts[kept++] = parts->parts[i];
        }
    }
    parts->count = kept;
    free(last_fields);
    return 0;
}

int userctl_decode_list_parts(const struct userctl_decoding *decoding,
                              const struct userctl_message *message, struct bytes bytes,
                              struct userctl_decode_parts *ret_parts)
{
    struct userctl_decode_parts parts = {.parts =
                                             calloc(count_parts(bytes) + 1, sizeof(*parts.parts))};
    struct proto_wire_field wire;
    uint32_t order = 0;
    int ret;

    if (parts.parts == NULL) {
        return userctl_decode_refuse(decoding, "out of memory");
    }
    while ((ret = userctl_wire_read(&bytes, &wire)) == 0) {
        const struct userctl_field *field = userctl_schema_number(message, wire.number);

        if (field != NULL) {
            parts.parts[parts.count++] = (struct userctl_decode_part){
                .wire = wire,
                .field = (uint32_t)(field - message->fields),
                .order = order,
            };
            order++;
        }
    }
    if (ret != PROTO_WIRE_E_END) {
        free(parts.parts);
        return userctl_decode_malformed(decoding, message->name);
    }
    if (settle_oneofs(decoding, message, &parts) != 0) {
        free(parts.parts);
        return USERCTL_DECODE_E_BAD;
    }
    qsort(parts.parts, parts.count, sizeof(*parts.parts), by_field);
    *ret_parts = parts;
    return 0;
}

/* NOLINTBEGIN(misc-no-recursion): a message in a message costs one of USERCTL_DECODE_DEPTH_MAX */

int userctl_decode_bytes(const struct userctl_decoding *decoding, struct bytes bytes)
{
    char *text = malloc((bytes.size + 2) / 3 * 4 + 1);
    size_t size;

    if (text == NULL) {
        return userctl_decode_refuse(decoding, "out of memory");
    }
    size = grpc_base64_encode(bytes, text);
    (void)fprintf(decoding->out, "\"%s%s\"", text, &"==="[size % 4 == 0 ? 3 : size % 4 - 1]);
    free(text);
    return 0;
}

static void decode_enum(const struct userctl_decoding *decoding, const struct userctl_field *field,
                        uint64_t value)
{
    int32_t number = (int32_t)value;
    const char *name =
        field->enumeration == NULL ? NULL : userctl_schema_enum_name(field->enumeration, number);

    if (field->enumeration != NULL && field->enumeration->is_null) {
        (void)fputs("null", decoding->out);
    } else if (name != NULL) {
        (void)fprintf(decoding->out, "\"%s\"", name);
    } else {
        (void)fprintf(decoding->out, "%d", (int)number);
    }
}

/* A value that stands where it should on the wire. */
int userctl_decode_value(struct userctl_decoding *decoding, const struct userctl_field *field,
                         const struct proto_wire_field *wire)
{
    switch (field->type) {
    case USERCTL_TYPE_MESSAGE:
        if (field->message == NULL) {
            return userctl_decode_bytes(decoding, wire->bytes); /* nobody knows more of it */
        }
        return userctl_decode_message(decoding, field->message, wire->bytes);
    case USERCTL_TYPE_BYTES:
        return userctl_decode_bytes(decoding, wire->bytes);
    case USERCTL_TYPE_STRING:
        common_json_quote(decoding->out, wire->bytes);
        return 0;
    case USERCTL_TYPE_ENUM:
        decode_enum(decoding, field, wire->value);
        return 0;
    case USERCTL_TYPE_GROUP:
        return userctl_decode_refuse(decoding, "groups of proto2 are not supported");
    case USERCTL_TYPE_DOUBLE:
    case USERCTL_TYPE_FLOAT:
    case USERCTL_TYPE_INT64:
    case USERCTL_TYPE_UINT64:
    case USERCTL_TYPE_INT32:
    case USERCTL_TYPE_FIXED64:
    case USERCTL_TYPE_FIXED32:
    case USERCTL_TYPE_BOOL:
    case USERCTL_TYPE_UINT32:
    case USERCTL_TYPE_SFIXED32:
    case USERCTL_TYPE_SFIXED64:
    case USERCTL_TYPE_SINT32:
    case USERCTL_TYPE_SINT64:
        break;
    }
    userctl_scalar_print(decoding->out, field->type, wire->value);
    return 0;
}

static bool is_numeric(enum userctl_type type)
{
    return userctl_scalar_wire(type) != PROTO_WIRE_BYTES && type != USERCTL_TYPE_GROUP;
}

bool userctl_decode_fits(const struct userctl_field *field, const struct proto_wire_field *wire)
{
    return wire->type == userctl_scalar_wire(field->type);
}

/* Takes a number off the front of packed ones. */
static bool next_packed(const struct userctl_field *field, struct bytes *rest,
                        struct proto_wire_field *ret_wire)
{
    enum proto_wire_type type = userctl_scalar_wire(field->type);
    size_t size = type == PROTO_WIRE_FIXED64 ? 8 : 4;
    uint64_t value = 0;

    if (type == PROTO_WIRE_VARINT) {
        for (size = 0; size < rest->size && size < PROTO_WIRE_VARINT_MAX; size++) {
            value |= (uint64_t)(rest->data[size] & 0x7f) << (7 * size);
            if ((rest->data[size] & 0x80) == 0) {
                break;
            }
        }
        size++;
    }
    if (size > rest->size || (type == PROTO_WIRE_VARINT && size > PROTO_WIRE_VARINT_MAX)) {
        return false;
    }
    for (size_t i = 0; type != PROTO_WIRE_VARINT && i < size; i++) {
        value |= (uint64_t)rest->data[i] << (8 * i);
    }
    *rest = (struct bytes){rest->data + size, rest->size - size};
    *ret_wire = (struct proto_wire_field){.number = field->number, .type = type, .value = value};
    return true;
}

static int decode_packed(struct userctl_decoding *decoding, const struct userctl_field *field,
                         struct bytes rest, const char **separator)
{
    struct proto_wire_field wire;

    while (rest.size > 0) {
        if (!next_packed(field, &rest, &wire)) {
            return userctl_decode_malformed(decoding, field->name);
        }
        (void)fputs(*separator, decoding->out);
        *separator = ",";
        (void)userctl_decode_value(decoding, field, &wire); /* of numbers none fails */
    }
    return 0;
}

static int decode_list(struct userctl_decoding *decoding, const struct userctl_field *field,
                       const struct userctl_decode_part *parts, size_t count)
{
    const char *separator = "";
    int ret = 0;

    (void)fputc('[', decoding->out);
    for (size_t i = 0; ret == 0 && i < count; i++) {
        const struct proto_wire_field *wire = &parts[i].wire;

        if (wire->type == PROTO_WIRE_BYTES && is_numeric(field->type)) {
            ret = decode_packed(decoding, field, wire->bytes, &separator);
        } else if (userctl_decode_fits(field, wire)) {
            (void)fputs(separator, decoding->out);
            separator = ",";
            ret = userctl_decode_value(decoding, field, wire);
        } else {
            ret = userctl_decode_malformed(decoding, field->name);
        }
    }
    (void)fputc(']', decoding->out);
    return ret;
}

/* A single message that came in pieces. */
static int decode_pieces(struct userctl_decoding *decoding, const struct userctl_field *field,
                         const struct userctl_decode_part *parts, size_t count)
{
    struct buf whole = {0};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < count; i++) {
        if (buf_append(&whole, parts[i].wire.bytes.data, parts[i].wire.bytes.size) != 0) {
            ret = userctl_decode_refuse(decoding, "out of memory");
        }
    }
    if (ret == 0) {
        ret = userctl_decode_message(decoding, field->message, buf_bytes(&whole));
    }
    buf_deinit(&whole);
    return ret;
}

/* All parts of one field, at least one. */
int userctl_decode_field(struct userctl_decoding *decoding, const struct userctl_field *field,
                         const struct userctl_decode_part *parts, size_t count)
{
    const struct proto_wire_field *last = &parts[count - 1].wire;

    if (userctl_schema_is_map(field)) {
        return userctl_decode_map(decoding, field, parts, count);
    }
    if (field->type == USERCTL_TYPE_GROUP) {
        return userctl_decode_refuse(decoding, "%s is a group: groups of proto2 are not supported",
                                     field->name);
    }
    if (field->is_repeated) {
        return decode_list(decoding, field, parts, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!userctl_decode_fits(field, &parts[i].wire)) {
            return userctl_decode_malformed(decoding, field->name);
        }
    }
    return count > 1 && field->message != NULL ? decode_pieces(decoding, field, parts, count)
                                               : userctl_decode_value(decoding, field, last);
}

/* A default that was sent all the same: of a field which cannot tell it from none, it is none. */
static bool is_default(const struct userctl_field *field, const struct proto_wire_field *wire)
{
    if (field->has_presence || field->is_repeated) {
        return false;
    }
    return wire->type == PROTO_WIRE_BYTES ? wire->bytes.size == 0
                                          : userctl_scalar_is_default(field->type, wire->value);
}

int userctl_decode_members(struct userctl_decoding *decoding, const struct userctl_message *message,
                           struct bytes bytes, const char *separator)
{
    struct userctl_decode_parts parts = {0};
    size_t count;
    int ret = userctl_decode_list_parts(decoding, message, bytes, &parts);

    if (ret != 0) {
        return ret;
    }
    for (size_t i = 0; ret == 0 && i < parts.count; i += count) {
        const struct userctl_field *field = &message->fields[parts.parts[i].field];

        for (count = 1; i + count < parts.count; count++) {
            if (parts.parts[i + count].field != parts.parts[i].field) {
                break;
            }
        }
        if (is_default(field, &parts.parts[i + count - 1].wire)) {
            continue;
        }
        (void)fprintf(decoding->out, "%s\"%s\":", separator, field->name);
        separator = ",";
        ret = userctl_decode_field(decoding, field, &parts.parts[i], count);
    }
    free(parts.parts);
    return ret;
}

int userctl_decode_message(struct userctl_decoding *decoding, const struct userctl_message *message,
                           struct bytes bytes)
{
    int ret;

    if (decoding->depth == USERCTL_DECODE_DEPTH_MAX) {
        return userctl_decode_refuse(decoding, "the message is nested more than %d levels deep",
                                     USERCTL_DECODE_DEPTH_MAX);
    }
    decoding->depth++;
    ret = userctl_decode_known(decoding, message, bytes);
    decoding->depth--;
    return ret;
}

/* NOLINTEND(misc-no-recursion) */

int userctl_decode(const struct userctl_schema *schema, const struct userctl_message *message,
                   struct bytes bytes, struct userctl_wanted *wanted, FILE *out, char *problem)
{
    struct userctl_decoding decoding = {
        .schema = schema,
        .wanted = wanted,
        .out = out,
        .problem = problem,
    };

    problem[0] = '\0';
    return userctl_decode_message(&decoding, message, bytes);
}
