/*
 * All fields that a line may have stand in one table: who may have them, where each goes in the
 * struct, and what kind it is. A line is parsed by jansson, then every member is looked up there.
 */
#include "common_read.h"

#include "common_json.h"

#include <jansson.h>
#include <userd/client.h>

#include <errno.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum kind {
    KIND_TEXT,
    KIND_NUMBER, /* int64 */
    KIND_STATUS,
    KIND_ROLES,
    KIND_PROFILE,
};

#define PART_PROFILE (1u << 16) /* of the object within a User */

struct field {
    const char *name;  /* as in the proto file */
    const char *camel; /* as other printers write it */
    enum kind kind;
    unsigned fields; /* of common_read_fields, or PART_PROFILE */
    size_t offset;   /* of texts and numbers */
};

#define AT(member) offsetof(struct common_read, member)
#define USER       COMMON_READ_USER
#define CREATE     COMMON_READ_CREATE
#define STORED     COMMON_READ_STORED

static const struct field all_fields[] = {
    {"id", "id", KIND_TEXT, USER, AT(id)},
    {"username", "username", KIND_TEXT, USER | CREATE, AT(username)},
    {"email", "email", KIND_TEXT, USER | CREATE, AT(email)},
    {"password", "password", KIND_TEXT, CREATE, AT(password)},
    {"request_id", "requestId", KIND_TEXT, CREATE | STORED, AT(request_id)},
    {"created_at", "createdAt", KIND_NUMBER, USER, AT(created_at)},
    {"roles", "roles", KIND_ROLES, USER, 0},
    {"status", "status", KIND_STATUS, USER, 0},
    {"profile", "profile", KIND_PROFILE, USER, 0},
    {"updated_at", "updatedAt", KIND_NUMBER, USER, AT(updated_at)},
    {"etag", "etag", KIND_TEXT, USER, AT(etag)},
    {"password_hash", "passwordHash", KIND_TEXT, STORED, AT(password_hash)},
    {"first_name", "firstName", KIND_TEXT, PART_PROFILE, AT(first_name)},
    {"last_name", "lastName", KIND_TEXT, PART_PROFILE, AT(last_name)},
    {"avatar_url", "avatarUrl", KIND_TEXT, PART_PROFILE, AT(avatar_url)},
};

#define FIELD_COUNT (sizeof(all_fields) / sizeof(all_fields[0]))

/* What is being filled. */
struct filling {
    struct common_read *out;
    bool ignore_unknown;
    char *problem;
};

/* What jansson allocates carries its size in front, so that it can be wiped. */
static void *allocate(size_t size)
{
    size_t *memory = size > SIZE_MAX / 2 ? NULL : malloc(alignof(max_align_t) + size);

    if (memory == NULL) {
        return NULL;
    }
    *memory = size;
    return (char *)memory + alignof(max_align_t);
}

static void wipe(void *pointer)
{
    size_t *memory;

    if (pointer == NULL) {
        return;
    }
    memory = (void *)((char *)pointer - alignof(max_align_t));
    explicit_bzero(pointer, *memory);
    free(memory);
}

void common_read_begin(void)
{
    json_set_alloc_funcs(allocate, wipe);
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct filling *filling,
                                                        const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vsnprintf(filling->problem, COMMON_READ_PROBLEM_SIZE, format, values);
    va_end(values);
    return 1;
}

static struct bytes text_of(json_t *value)
{
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

static int take_text(const struct filling *filling, const struct field *field, json_t *value)
{
    struct bytes *text = (struct bytes *)(void *)((char *)filling->out + field->offset);

    if (!json_is_string(value)) {
        return refuse(filling, "field '%s' is no text", field->name);
    }
    *text = text_of(value);
    return 0;
}

static int take_number(const struct filling *filling, const struct field *field, json_t *value)
{
    int64_t *number = (int64_t *)(void *)((char *)filling->out + field->offset);
    double real = json_real_value(value);
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value)) {
        *number = json_integer_value(value);
        return 0;
    }
    if (json_is_real(value) && real >= -COMMON_JSON_WHOLE_REAL_MAX &&
        real <= COMMON_JSON_WHOLE_REAL_MAX && (double)(int64_t)real == real) {
        *number = (int64_t)real;
        return 0;
    }
    if (text != NULL && text[0] != '\0' && strspn(text, "-0123456789") == strlen(text)) {
        errno = 0;
        *number = strtoll(text, &end, 10);
        if (errno == 0 && *end == '\0') {
            return 0;
        }
    }
    return refuse(filling, "field '%s' is no whole number of 64 bits", field->name);
}

static int take_status(const struct filling *filling, json_t *value)
{
    json_int_t number = json_integer_value(value);
    int status;

    if (json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX) {
        filling->out->status = (int32_t)number;
        return 0;
    }
    status = json_is_string(value) ? userd_user_status_from_name(json_string_value(value)) : -1;
    if (status < 0) {
        return refuse(filling, "field 'status' is no status: USER_STATUS_ACTIVE, "
                               "USER_STATUS_INACTIVE or USER_STATUS_SUSPENDED");
    }
    filling->out->status = status;
    return 0;
}

static int take_roles(const struct filling *filling, json_t *value)
{
    size_t count = json_array_size(value);
    struct bytes *roles;

    if (!json_is_array(value)) {
        return refuse(filling, "field 'roles' is no list");
    }
    roles = calloc(count + 1, sizeof(*roles));
    if (roles == NULL) {
        return refuse(filling, "out of memory");
    }
    filling->out->roles = roles;
    filling->out->role_count = count;
    for (size_t i = 0; i < count; i++) {
        roles[i] = text_of(json_array_get(value, i));
        if (roles[i].data == NULL) {
            return refuse(filling, "field 'roles' holds something else than texts");
        }
    }
    return 0;
}

static const struct field *find_field(unsigned fields, const char *name)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const struct field *field = &all_fields[i];

        if ((field->fields & fields) != 0 &&
            (strcmp(field->name, name) == 0 || strcmp(field->camel, name) == 0)) {
            return field;
        }
    }
    return NULL;
}

/* Has each member of an object taken by the field that it names. null is the default, by the
 * mapping.
 */
static int take_members(const struct filling *filling, unsigned fields, json_t *object,
                        int (*take)(const struct filling *filling, const struct field *field,
                                    json_t *value))
{
    unsigned seen = 0;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const struct field *field = find_field(fields, name);
        unsigned bit = field == NULL ? 0 : 1u << (field - all_fields);
        int result;

        if (field == NULL && filling->ignore_unknown) {
            continue;
        }
        if (field == NULL) {
            return refuse(filling, "there is no field '%.100s'", name);
        }
        if ((seen & bit) != 0) {
            return refuse(filling, "field '%s' is there twice", field->name);
        }
        seen |= bit;
        result = json_is_null(value) ? 0 : take(filling, field, value);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

static int take_value(const struct filling *filling, const struct field *field, json_t *value)
{
    switch (field->kind) {
    case KIND_TEXT:
        return take_text(filling, field, value);
    case KIND_NUMBER:
        return take_number(filling, field, value);
    case KIND_STATUS:
        return take_status(filling, value);
    case KIND_ROLES:
        return take_roles(filling, value);
    case KIND_PROFILE:
        break;
    }
    if (!json_is_object(value)) {
        return refuse(filling, "field 'profile' is no object");
    }
    filling->out->has_profile = true;
    return take_members(filling, PART_PROFILE, value, take_text);
}

const char *common_read_fault(const struct json_error_t *error)
{
    enum json_error_code code = json_error_code(error);

    if (code == json_error_out_of_memory) {
        return "out of memory";
    }
    if (code == json_error_null_character || code == json_error_null_byte_in_key) {
        return "a text holds U+0000, which is not allowed";
    }
    if (code == json_error_duplicate_key) {
        return "no JSON: a field is there twice";
    }
    if (code == json_error_invalid_utf8) {
        return "no JSON: this is not UTF-8";
    }
    if (code == json_error_premature_end_of_input) {
        return "no JSON: it ends too early";
    }
    if (code == json_error_end_of_input_expected) {
        return "no JSON: something follows its end";
    }
    if (code == json_error_numeric_overflow) {
        return "a number is too large; in quotes it may have 64 bits";
    }
    if (code == json_error_stack_overflow) {
        return "it is nested too deeply";
    }
    return "no JSON: it is malformed";
}

int common_read_line(struct bytes line, unsigned fields, char problem[COMMON_READ_PROBLEM_SIZE],
                     struct common_read *ret_read)
{
    const struct filling filling = {
        .out = ret_read,
        .ignore_unknown = (fields & COMMON_READ_IGNORE_UNKNOWN) != 0,
        .problem = problem,
    };
    json_error_t error;
    json_t *root;

    problem[0] = '\0';
    *ret_read = (struct common_read){0};
    root = json_loadb((const char *)line.data, line.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                      &error);
    if (root == NULL) {
        return refuse(&filling, "%s (column %d)", common_read_fault(&error), error.column);
    }
    ret_read->root = root;
    if (!json_is_object(root)) {
        return refuse(&filling, "the line is no JSON object");
    }
    return take_members(&filling, fields, root, take_value);
}

void common_read_deinit(struct common_read *read)
{
    json_decref(read->root);
    free(read->roles);
    *read = (struct common_read){0};
}
