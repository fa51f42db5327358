/*
 * The messages of google.protobuf that have a form of their own in JSON.
 */
#include "http2/proto_wire.h"
#include "userctl_encode.h"
#include "userctl_encode_internal.h"
#include "userctl_time.h"

#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): a level of JSON costs one of USERCTL_ENCODE_DEPTH_MAX */

static int encode_stamp(struct userctl_encoding *encoding, const struct userctl_message *message,
                        json_t *value, struct buf *out)
{
    bool is_timestamp = message->known == USERCTL_KNOWN_TIMESTAMP;
    const char *text = userctl_encode_word(value);
    struct userctl_stamp stamp;
    bool is_good = text != NULL && (is_timestamp ? userctl_timestamp_parse(text, &stamp)
                                                 : userctl_duration_parse(text, &stamp));

    if (!is_good) {
        return userctl_encode_refuse(encoding, "expected %s",
                                     is_timestamp ? "a time such as \"2026-01-31T12:34:56.789Z\""
                                                  : "a duration such as \"1.5s\"");
    }
    if ((stamp.seconds != 0 && proto_wire_append_varint(out, 1, (uint64_t)stamp.seconds) != 0) ||
        (stamp.nanos != 0 &&
         proto_wire_append_varint(out, 2, (uint64_t)(int64_t)stamp.nanos) != 0)) {
        return userctl_encode_no_memory(encoding);
    }
    return 0;
}

/* "firstName,profile.avatarUrl": each path in snake case in the message. One that is written so
 * already is taken too. */
static int encode_mask(struct userctl_encoding *encoding, json_t *value, struct buf *out)
{
    const char *rest = userctl_encode_word(value);
    struct buf path = {.is_secret = true};
    int ret = 0;

    if (rest == NULL) {
        return userctl_encode_expected(encoding, "a string of paths with commas between", value);
    }
    while (ret == 0 && *rest != '\0') {
        for (; ret == 0 && *rest != ',' && *rest != '\0'; rest++) {
            bool is_upper = *rest >= 'A' && *rest <= 'Z';
            char both[2] = {'_', (char)(is_upper ? *rest - 'A' + 'a' : *rest)};

            ret = buf_append(&path, is_upper ? both : both + 1, is_upper ? 2 : 1) != 0
                      ? userctl_encode_no_memory(encoding)
                      : 0;
        }
        if (ret == 0 && proto_wire_append_bytes(out, 1, buf_bytes(&path)) != 0) {
            ret = userctl_encode_no_memory(encoding);
        }
        buf_clear(&path);
        rest += rest[0] == ',' && ret == 0;
    }
    buf_deinit(&path);
    return ret;
}

/* {"@type": "type.googleapis.com/pkg.Message", ...}: its fields beside it, or "value" when the
 * message has a form of its own. */
static int encode_any(struct userctl_encoding *encoding, json_t *object, struct buf *out)
{
    json_t *type = json_object_get(object, "@type");
    const char *url = userctl_encode_word(type);
    const char *slash = url == NULL ? NULL : strrchr(url, '/');
    const struct userctl_symbol *symbol;
    struct buf content = {.is_secret = true};
    int ret;

    if (!json_is_object(object)) {
        return userctl_encode_expected(encoding, "an object with \"@type\"", object);
    }
    if (json_object_size(object) == 0) {
        return 0;
    }
    if (url == NULL) {
        return userctl_encode_refuse(encoding, "expected an object with \"@type\"");
    }
    symbol = userctl_schema_find(encoding->schema, slash == NULL ? url : slash + 1);
    if (symbol == NULL || symbol->message == NULL) {
        userctl_wanted_note(encoding->wanted, slash == NULL ? url : slash + 1);
        return userctl_encode_refuse(encoding, "the server does not describe the type that "
                                               "\"@type\" names");
    }
    if (encoding->depth == USERCTL_ENCODE_DEPTH_MAX) {
        return userctl_encode_too_deep(encoding);
    }
    encoding->depth++;
    if (symbol->message->known != USERCTL_KNOWN_NONE) {
        json_t *value = json_object_get(object, "value");

        ret = value == NULL ? userctl_encode_refuse(encoding, "expected \"value\" beside \"@type\"")
                            : userctl_encode_message(encoding, symbol->message, value, &content);
    } else {
        ret = userctl_encode_members(encoding, symbol->message, object, "@type", &content);
    }
    encoding->depth--;
    if (ret == 0 && (proto_wire_append_bytes(out, 1, userctl_encode_text(type)) != 0 ||
                     proto_wire_append_bytes(out, 2, buf_bytes(&content)) != 0)) {
        ret = userctl_encode_no_memory(encoding);
    }
    buf_deinit(&content);
    return ret;
}

/* The field of google.protobuf.Value that a value goes to. */
static const char *field_of_value(json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "struct_value", [JSON_ARRAY] = "list_value",
        [JSON_STRING] = "string_value", [JSON_INTEGER] = "number_value",
        [JSON_REAL] = "number_value",   [JSON_TRUE] = "bool_value",
        [JSON_FALSE] = "bool_value",    [JSON_NULL] = "null_value",
    };

    return value == NULL ? "null_value" : names[json_typeof(value)];
}

/* A message whose JSON is that of one of its fields. */
static int encode_as_field(struct userctl_encoding *encoding, const struct userctl_message *message,
                           const char *name, json_t *value, struct buf *out)
{
    const struct userctl_field *field = userctl_schema_field(message, name);

    if (field == NULL) {
        return userctl_encode_refuse(encoding, "the server describes %s in an unknown way",
                                     message->name);
    }
    return userctl_encode_field(encoding, field, value, out);
}

int userctl_encode_known(struct userctl_encoding *encoding, const struct userctl_message *message,
                         json_t *value, struct buf *out)
{
    switch (message->known) {
    case USERCTL_KNOWN_TIMESTAMP:
    case USERCTL_KNOWN_DURATION:
        return encode_stamp(encoding, message, value, out);
    case USERCTL_KNOWN_FIELD_MASK:
        return encode_mask(encoding, value, out);
    case USERCTL_KNOWN_WRAPPER:
        return encode_as_field(encoding, message, "value", value, out);
    case USERCTL_KNOWN_ANY:
        return encode_any(encoding, value, out);
    case USERCTL_KNOWN_STRUCT:
        return encode_as_field(encoding, message, "fields", value, out);
    case USERCTL_KNOWN_VALUE:
        return encode_as_field(encoding, message, field_of_value(value), value, out);
    case USERCTL_KNOWN_LIST_VALUE:
        return encode_as_field(encoding, message, "values", value, out);
    case USERCTL_KNOWN_NONE:
        break;
    }
    return userctl_encode_expected(encoding, "an object", value);
}

/* NOLINTEND(misc-no-recursion) */
