/*
 * The values that are no messages: bytes, enums, numbers and truths, and keys of maps.
 */
#include "http2/grpc_metadata.h"
#include "http2/proto_wire.h"
#include "userctl_encode.h"
#include "userctl_encode_internal.h"
#include "userctl_scalar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int append(const struct userctl_encoding *encoding, struct buf *out, uint32_t number,
                  enum proto_wire_type type, struct bytes bytes)
{
    uint8_t head[PROTO_WIRE_VARINT_MAX];
    size_t size = proto_wire_put_varint(head, (uint64_t)number << 3 | type);

    return buf_append(out, head, size) != 0 || buf_append(out, bytes.data, bytes.size) != 0
               ? userctl_encode_no_memory(encoding)
               : 0;
}

/* Of the last digit only the bits that make a byte count. Many encoders leave others in it, and
 * protobuf takes them; in a header of gRPC they would be a second spelling. */
static void drop_loose_bits(char *text, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *last;

    while (size > 0 && text[size - 1] == '=') {
        size--;
    }
    last = size % 4 < 2 ? NULL : memchr(digits, text[size - 1], sizeof(digits) - 1);
    if (last != NULL) {
        text[size - 1] = digits[(size_t)(last - digits) & (size % 4 == 2 ? 0x30 : 0x3c)];
    }
}

int userctl_encode_bytes(const struct userctl_encoding *encoding, const struct userctl_field *field,
                         json_t *value, struct buf *out)
{
    struct bytes text = userctl_encode_text(value);
    char *standard;
    uint8_t *bytes;
    size_t size = 0;
    int ret;

    if (!json_is_string(value)) {
        return userctl_encode_expected(encoding, "a string (bytes in base64)", value);
    }
    standard = malloc(text.size + 1);
    bytes = malloc(text.size / 4 * 3 + 3);
    if (standard == NULL || bytes == NULL) {
        free(standard); /* nothing is in them yet */
        free(bytes);
        return userctl_encode_no_memory(encoding);
    }
    for (size_t i = 0; i < text.size; i++) {
        standard[i] = (char)text.data[i];
        if (standard[i] == '-' || standard[i] == '_') { /* both alphabets are taken */
            standard[i] = standard[i] == '-' ? '+' : '/';
        }
    }
    drop_loose_bits(standard, text.size);
    ret = grpc_base64_decode((struct bytes){(const uint8_t *)standard, text.size}, bytes, &size);
    if (ret != 0) {
        ret = userctl_encode_refuse(encoding, "expected bytes in base64, this is none");
    } else if (proto_wire_append_bytes(out, field->number, (struct bytes){bytes, size}) != 0) {
        ret = userctl_encode_no_memory(encoding);
    }
    explicit_bzero(standard, text.size);
    explicit_bzero(bytes, size);
    free(standard);
    free(bytes);
    return ret;
}

/* The values of an enum, as many as there is room for. */
static int refuse_enum(const struct userctl_encoding *encoding,
                       const struct userctl_enum *enumeration)
{
    char names[256] = "";
    size_t size = 0;

    for (size_t i = 0; i < enumeration->value_count && size < sizeof(names) - 1; i++) {
        int more = snprintf(names + size, sizeof(names) - size, "%s%s", i == 0 ? "" : ", ",
                            enumeration->values[i].name);

        size += more < 0 ? 0 : (size_t)more;
    }
    return userctl_encode_refuse(encoding, "expected a value of %s: %s%s", enumeration->name, names,
                                 size >= sizeof(names) ? "..." : "");
}

int userctl_encode_enum(const struct userctl_encoding *encoding, const struct userctl_field *field,
                        json_t *value, struct buf *out)
{
    const struct userctl_enum *enumeration = field->enumeration;
    const char *text = userctl_encode_word(value);
    int64_t number = json_integer_value(value);
    bool is_found = json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX;

    if (enumeration == NULL) {
        return userctl_encode_refuse(encoding, "the server does not describe the type %s",
                                     field->type_name);
    }
    if (enumeration->is_null && json_is_null(value)) {
        is_found = true;
        number = 0;
    }
    for (size_t i = 0; text != NULL && !is_found && i < enumeration->value_count; i++) {
        is_found = strcmp(enumeration->values[i].name, text) == 0;
        number = enumeration->values[i].number;
    }
    if (!is_found) {
        return refuse_enum(encoding, enumeration);
    }
    return proto_wire_append_varint(out, field->number, (uint64_t)number) != 0
               ? userctl_encode_no_memory(encoding)
               : 0;
}

/* What JSON has for a number or a truth, as the scalars take it. */
static struct userctl_scalar_input input_of(json_t *value)
{
    struct userctl_scalar_input input = {.kind = USERCTL_SCALAR_OTHER};

    if (json_is_integer(value)) {
        input.kind = USERCTL_SCALAR_INTEGER;
        input.integer = json_integer_value(value);
    } else if (json_is_real(value)) {
        input.kind = USERCTL_SCALAR_REAL;
        input.real = json_real_value(value);
    } else if (userctl_encode_word(value) != NULL) {
        input.kind = USERCTL_SCALAR_TEXT;
        input.text = userctl_encode_word(value);
    } else if (json_is_boolean(value)) {
        input.kind = USERCTL_SCALAR_TRUTH;
        input.truth = json_is_true(value);
    }
    return input;
}

/* A scalar without its head, for packed ones, or with it. */
static int put_number(const struct userctl_encoding *encoding, const struct userctl_field *field,
                      struct userctl_scalar_input input, const char *kind, bool with_head,
                      struct buf *out)
{
    uint8_t bytes[PROTO_WIRE_VARINT_MAX];
    const char *what;
    size_t size = userctl_scalar_put(field->type, input, bytes, &what);

    if (size == 0) {
        return userctl_encode_refuse(encoding, "expected %s, this is %s", what,
                                     input.kind == USERCTL_SCALAR_OTHER ? kind : "something else");
    }
    if (with_head) {
        return append(encoding, out, field->number, userctl_scalar_wire(field->type),
                      (struct bytes){bytes, size});
    }
    return buf_append(out, bytes, size) != 0 ? userctl_encode_no_memory(encoding) : 0;
}

int userctl_encode_number(const struct userctl_encoding *encoding,
                          const struct userctl_field *field, json_t *value, bool with_head,
                          struct buf *out)
{
    return put_number(encoding, field, input_of(value), userctl_encode_kind(value), with_head, out);
}

/* A key is a text in JSON, whatever its type. */
int userctl_encode_key(const struct userctl_encoding *encoding, const struct userctl_field *field,
                       const char *name, struct buf *out)
{
    struct userctl_scalar_input input = {.kind = USERCTL_SCALAR_TEXT, .text = name};

    if (field->type == USERCTL_TYPE_STRING) {
        return proto_wire_append_bytes(out, field->number, bytes_from_text(name)) != 0
                   ? userctl_encode_no_memory(encoding)
                   : 0;
    }
    if (field->type == USERCTL_TYPE_BOOL) {
        input.kind = strcmp(name, "true") == 0 || strcmp(name, "false") == 0 ? USERCTL_SCALAR_TRUTH
                                                                             : USERCTL_SCALAR_TEXT;
        input.truth = strcmp(name, "true") == 0;
    }
    return put_number(encoding, field, input, "a key", true, out);
}
