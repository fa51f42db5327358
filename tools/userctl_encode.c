/*
 * The text is parsed by jansson; then each member of an object finds its field, whose type decides
 * what may stand there. A message within a message is made aside, for its length goes before it.
 * All of these buffers are secret: what is sent may hold a password.
 * The path of the present value, "$.users[3].email", is kept for the problem.
 */
#include "userctl_encode.h"

#include "common_read.h"
#include "core/nearest_name.h"
#include "http2/proto_wire.h"
#include "userctl_encode_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_STEPS_MAX 3

int userctl_encode_refuse(const struct userctl_encoding *encoding, const char *format, ...)
{
    char text[USERCTL_ENCODE_PROBLEM_SIZE - USERCTL_ENCODE_PATH_SIZE - 8];
    va_list values;

    va_start(values, format);
    (void)vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    (void)snprintf(encoding->problem, USERCTL_ENCODE_PROBLEM_SIZE, "%s%s: %s", encoding->path,
                   encoding->path_size >= USERCTL_ENCODE_PATH_SIZE ? "..." : "", text);
    return USERCTL_ENCODE_E_BAD;
}

int userctl_encode_no_memory(const struct userctl_encoding *encoding)
{
    return userctl_encode_refuse(encoding, "out of memory");
}

int userctl_encode_too_deep(const struct userctl_encoding *encoding)
{
    return userctl_encode_refuse(encoding, "this is nested more than %d levels deep",
                                 USERCTL_ENCODE_DEPTH_MAX);
}

const char *userctl_encode_kind(json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };

    return value == NULL ? "nothing" : names[json_typeof(value)];
}

int userctl_encode_expected(const struct userctl_encoding *encoding, const char *what,
                            json_t *value)
{
    return userctl_encode_refuse(encoding, "expected %s, this is %s", what,
                                 userctl_encode_kind(value));
}

/* Steps into a part; the step back is to restore the size of before. A path that is too long ends
 * where the room does. */
__attribute__((format(printf, 2, 3))) static void step(struct userctl_encoding *encoding,
                                                       const char *format, ...)
{
    va_list values;
    int size;

    if (encoding->path_size >= USERCTL_ENCODE_PATH_SIZE) {
        return;
    }
    va_start(values, format);
    size = vsnprintf(encoding->path + encoding->path_size,
                     USERCTL_ENCODE_PATH_SIZE - encoding->path_size, format, values);
    va_end(values);
    encoding->path_size += size < 0 ? 0 : (size_t)size;
}

static void step_back(struct userctl_encoding *encoding, size_t path_size)
{
    encoding->path_size = path_size;
    if (path_size < USERCTL_ENCODE_PATH_SIZE) {
        encoding->path[path_size] = '\0';
    }
}

/* A name goes into the path as it can be read: no control bytes, and not too much of it. */
static void step_name(struct userctl_encoding *encoding, const char *name)
{
    char shown[64];
    size_t size = 0;

    for (; name[size] != '\0' && size + 1 < sizeof(shown); size++) {
        unsigned char byte = (unsigned char)name[size];

        shown[size] = (char)(byte < ' ' || byte >= 0x7f ? '?' : byte);
    }
    shown[size] = '\0';
    step(encoding, ".%s", shown);
}

struct bytes userctl_encode_text(json_t *value)
{
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

const char *userctl_encode_word(json_t *value)
{
    const char *text = json_string_value(value);

    return text != NULL && strlen(text) == json_string_length(value) ? text : NULL;
}

/* NOLINTBEGIN(misc-no-recursion): a level of JSON costs one of USERCTL_ENCODE_DEPTH_MAX */

static int encode_child(struct userctl_encoding *encoding, const struct userctl_field *field,
                        json_t *value, struct buf *out)
{
    struct buf child = {.is_secret = true};
    int ret;

    if (field->message == NULL) {
        return userctl_encode_refuse(encoding, "the server does not describe the type %s",
                                     userctl_schema_type_name(field));
    }
    if (encoding->depth == USERCTL_ENCODE_DEPTH_MAX) {
        return userctl_encode_too_deep(encoding);
    }
    encoding->depth++;
    ret = userctl_encode_message(encoding, field->message, value, &child);
    encoding->depth--;
    if (ret == 0 && proto_wire_append_bytes(out, field->number, buf_bytes(&child)) != 0) {
        ret = userctl_encode_no_memory(encoding);
    }
    buf_deinit(&child);
    return ret;
}

/* One value of a field, of a list of them or of a map. */
static int encode_value(struct userctl_encoding *encoding, const struct userctl_field *field,
                        json_t *value, struct buf *out)
{
    if (field->type == USERCTL_TYPE_MESSAGE) {
        return encode_child(encoding, field, value, out);
    }
    if (field->type == USERCTL_TYPE_ENUM) {
        return userctl_encode_enum(encoding, field, value, out);
    }
    if (field->type == USERCTL_TYPE_BYTES) {
        return userctl_encode_bytes(encoding, field, value, out);
    }
    if (field->type == USERCTL_TYPE_GROUP) {
        return userctl_encode_refuse(encoding, "groups of proto2 are not supported");
    }
    if (field->type != USERCTL_TYPE_STRING) {
        return userctl_encode_number(encoding, field, value, true, out);
    }
    if (!json_is_string(value)) {
        return userctl_encode_expected(encoding, "a string", value);
    }
    return proto_wire_append_bytes(out, field->number, userctl_encode_text(value)) != 0
               ? userctl_encode_no_memory(encoding)
               : 0;
}

/* Numbers one behind the other, under one head. */
static int encode_packed(struct userctl_encoding *encoding, const struct userctl_field *field,
                         json_t *list, struct buf *out)
{
    const struct userctl_field single = {
        .number = 1,
        .type = field->type,
        .type_name = field->type_name,
        .enumeration = field->enumeration,
        .oneof = -1,
    };
    size_t path_size = encoding->path_size;
    struct buf numbers = {.is_secret = true};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < json_array_size(list); i++) {
        json_t *value = json_array_get(list, i);

        step(encoding, "[%zu]", i);
        if (field->type == USERCTL_TYPE_ENUM) {
            struct buf one = {.is_secret = true};

            ret = userctl_encode_enum(encoding, &single, value, &one);
            if (ret == 0 && buf_append(&numbers, one.data + 1, buf_size(&one) - 1) != 0) {
                ret = userctl_encode_no_memory(encoding); /* the head of field 1 is one byte */
            }
            buf_deinit(&one);
        } else {
            ret = userctl_encode_number(encoding, &single, value, false, &numbers);
        }
        step_back(encoding, path_size);
    }
    if (ret == 0 && buf_size(&numbers) != 0 &&
        proto_wire_append_bytes(out, field->number, buf_bytes(&numbers)) != 0) {
        ret = userctl_encode_no_memory(encoding);
    }
    buf_deinit(&numbers);
    return ret;
}

static int encode_list(struct userctl_encoding *encoding, const struct userctl_field *field,
                       json_t *list, struct buf *out)
{
    size_t path_size = encoding->path_size;
    int ret = 0;

    if (!json_is_array(list)) {
        return userctl_encode_expected(encoding, "a list", list);
    }
    if (field->is_packed) {
        return encode_packed(encoding, field, list, out);
    }
    for (size_t i = 0; ret == 0 && i < json_array_size(list); i++) {
        json_t *value = json_array_get(list, i);

        step(encoding, "[%zu]", i);
        if (json_is_null(value) && field->type == USERCTL_TYPE_MESSAGE && field->message != NULL &&
            field->message->known != USERCTL_KNOWN_VALUE) {
            ret = userctl_encode_refuse(encoding, "a list takes no null");
        } else {
            ret = encode_value(encoding, field, value, out);
        }
        step_back(encoding, path_size);
    }
    return ret;
}

static int encode_entry(struct userctl_encoding *encoding, const struct userctl_message *entry,
                        const char *name, json_t *value, struct buf *out)
{
    const struct userctl_field *of_value = userctl_schema_number(entry, 2);
    int ret = userctl_encode_key(encoding, userctl_schema_number(entry, 1), name, out);

    if (ret == 0 && json_is_null(value) && of_value->message != NULL &&
        of_value->message->known != USERCTL_KNOWN_VALUE) {
        return userctl_encode_refuse(encoding, "a map takes no null");
    }
    return ret == 0 ? encode_value(encoding, of_value, value, out) : ret;
}

static int encode_map(struct userctl_encoding *encoding, const struct userctl_field *field,
                      json_t *object, struct buf *out)
{
    size_t path_size = encoding->path_size;
    const char *name;
    json_t *value;
    int ret = 0;

    if (!json_is_object(object)) {
        return userctl_encode_expected(encoding, "an object", object);
    }
    json_object_foreach(object, name, value)
    {
        struct buf entry = {.is_secret = true};

        step_name(encoding, name);
        ret = encode_entry(encoding, field->message, name, value, &entry);
        if (ret == 0 && proto_wire_append_bytes(out, field->number, buf_bytes(&entry)) != 0) {
            ret = userctl_encode_no_memory(encoding);
        }
        buf_deinit(&entry);
        if (ret != 0) {
            return ret; /* with the path of the problem */
        }
        step_back(encoding, path_size);
    }
    return 0;
}

int userctl_encode_field(struct userctl_encoding *encoding, const struct userctl_field *field,
                         json_t *value, struct buf *out)
{
    if (userctl_schema_is_map(field)) {
        return encode_map(encoding, field, value, out);
    }
    return field->is_repeated ? encode_list(encoding, field, value, out)
                              : encode_value(encoding, field, value, out);
}

/* null is a value of few types, and for all others the default. */
static bool takes_null(const struct userctl_field *field)
{
    return !field->is_repeated &&
           ((field->message != NULL && field->message->known == USERCTL_KNOWN_VALUE) ||
            (field->enumeration != NULL && field->enumeration->is_null));
}

static int refuse_name(struct userctl_encoding *encoding, const struct userctl_message *message,
                       const char *name)
{
    struct nearest_name nearest;
    size_t path_size = encoding->path_size;
    int ret;

    nearest_name_begin(&nearest, bytes_from_text(name), NEAR_STEPS_MAX);
    for (size_t i = 0; i < message->field_count; i++) {
        nearest_name_offer(&nearest, bytes_from_text(message->fields[i].name));
        nearest_name_offer(&nearest, bytes_from_text(message->fields[i].json_name));
    }
    step_name(encoding, name);
    if (nearest.name.data == NULL) {
        ret = userctl_encode_refuse(encoding, "%s has no such field", message->name);
    } else {
        ret = userctl_encode_refuse(encoding, "%s has no such field; did you mean %.*s?",
                                    message->name, (int)nearest.name.size,
                                    (const char *)nearest.name.data);
    }
    step_back(encoding, path_size);
    return ret;
}

/* Which fields and oneofs of a message were met. */
struct met {
    bool fields[USERCTL_SCHEMA_FIELDS_MAX];
    bool oneofs[USERCTL_SCHEMA_FIELDS_MAX];
};

static int meet(const struct userctl_encoding *encoding, const struct userctl_message *message,
                const struct userctl_field *field, struct met *met)
{
    size_t index = (size_t)(field - message->fields);

    if (met->fields[index]) {
        return userctl_encode_refuse(encoding, "this field is there twice");
    }
    met->fields[index] = true;
    if (field->oneof >= 0) {
        if (met->oneofs[field->oneof]) {
            return userctl_encode_refuse(encoding, "only one field of the oneof %s may be set",
                                         message->oneofs[field->oneof]);
        }
        met->oneofs[field->oneof] = true;
    }
    return 0;
}

static int encode_member(struct userctl_encoding *encoding, const struct userctl_message *message,
                         const char *name, json_t *value, struct met *met, struct buf *out)
{
    const struct userctl_field *field = userctl_schema_field(message, name);
    size_t path_size = encoding->path_size;
    int ret = 0;

    if (field == NULL) {
        return refuse_name(encoding, message, name);
    }
    step_name(encoding, field->name);
    if (!json_is_null(value) || takes_null(field)) {
        ret = meet(encoding, message, field, met);
        if (ret == 0) {
            ret = userctl_encode_field(encoding, field, value, out);
        }
    }
    step_back(encoding, path_size);
    return ret;
}

/* All members of an object, but for one of that name when there is one. */
int userctl_encode_members(struct userctl_encoding *encoding, const struct userctl_message *message,
                           json_t *object, const char *except, struct buf *out)
{
    struct met *met = calloc(1, sizeof(*met));
    const char *name;
    json_t *value;
    int ret = 0;

    if (met == NULL) {
        return userctl_encode_no_memory(encoding);
    }
    json_object_foreach(object, name, value)
    {
        if (ret == 0 && (except == NULL || strcmp(name, except) != 0)) {
            ret = encode_member(encoding, message, name, value, met, out);
        }
    }
    free(met);
    return ret;
}

int userctl_encode_message(struct userctl_encoding *encoding, const struct userctl_message *message,
                           json_t *value, struct buf *out)
{
    if (message->known != USERCTL_KNOWN_NONE) {
        return userctl_encode_known(encoding, message, value, out);
    }
    if (!json_is_object(value)) {
        return userctl_encode_expected(encoding, "an object", value);
    }
    return userctl_encode_members(encoding, message, value, NULL, out);
}

/* NOLINTEND(misc-no-recursion) */

int userctl_encode(const struct userctl_schema *schema, const struct userctl_message *message,
                   struct bytes json, struct userctl_wanted *wanted, struct buf *out, char *problem)
{
    struct userctl_encoding encoding = {
        .schema = schema,
        .wanted = wanted,
        .problem = problem,
        .path_size = 1,
        .path = "$",
    };
    json_error_t error;
    json_t *root;
    int ret;

    problem[0] = '\0';
    if (json.size > USERCTL_ENCODE_SIZE_MAX) {
        return userctl_encode_refuse(&encoding, "the message is longer than %d bytes",
                                     USERCTL_ENCODE_SIZE_MAX);
    }
    root = json_loadb((const char *)json.data, json.size,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        (void)snprintf(problem, USERCTL_ENCODE_PROBLEM_SIZE, "%s (line %d, column %d)",
                       common_read_fault(&error), error.line, error.column);
        return USERCTL_ENCODE_E_BAD;
    }
    ret = userctl_encode_message(&encoding, message, root, out);
    json_decref(root);
    return ret;
}
