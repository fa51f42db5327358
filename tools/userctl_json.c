/*
 * A message is a table of its fields: where each goes in the struct, and what kind it is. A line is
 * parsed by jansson, then every member is looked up in the table.
 */
#include "userctl_json.h"

#include <jansson.h>

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define WHOLE_REAL_MAX 9007199254740992.0 /* up to 2^53 a double is exact */

struct userctl_json {
    json_t *root;
    const char **roles;
};

enum kind {
    KIND_TEXT,
    KIND_NUMBER, /* int64 */
    KIND_STATUS,
    KIND_ROLES,
    KIND_PROFILE,
};

struct field {
    const char *name;  /* as in the proto file */
    const char *camel; /* as other printers write it */
    enum kind kind;
    size_t offset; /* of texts and numbers, in the struct that is filled */
};

struct table {
    const struct field *fields;
    size_t count;
};

#define CREATE(member) offsetof(struct user_client_create, member)
#define USER(member)   offsetof(struct user_client_user, member)

static const struct field create_fields[] = {
    {"username", "username", KIND_TEXT, CREATE(username)},
    {"email", "email", KIND_TEXT, CREATE(email)},
    {"password", "password", KIND_TEXT, CREATE(password)},
    {"request_id", "requestId", KIND_TEXT, CREATE(request_id)},
};

static const struct field user_fields[] = {
    {"id", "id", KIND_TEXT, USER(id)},
    {"username", "username", KIND_TEXT, USER(username)},
    {"email", "email", KIND_TEXT, USER(email)},
    {"created_at", "createdAt", KIND_NUMBER, USER(created_at_ms)},
    {"roles", "roles", KIND_ROLES, 0},
    {"status", "status", KIND_STATUS, 0},
    {"profile", "profile", KIND_PROFILE, 0},
    {"updated_at", "updatedAt", KIND_NUMBER, USER(updated_at_ms)},
    {"etag", "etag", KIND_TEXT, USER(etag)},
};

static const struct field profile_fields[] = {
    {"first_name", "firstName", KIND_TEXT, USER(first_name)},
    {"last_name", "lastName", KIND_TEXT, USER(last_name)},
    {"avatar_url", "avatarUrl", KIND_TEXT, USER(avatar_url)},
};

#define TABLE(fields) ((struct table){fields, sizeof(fields) / sizeof((fields)[0])})

/* What is being filled. */
struct filling {
    void *out;
    struct userctl_json *json;
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

void userctl_json_begin(void)
{
    json_set_alloc_funcs(allocate, wipe);
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct filling *filling,
                                                        const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vsnprintf(filling->problem, USERCTL_JSON_PROBLEM_SIZE, format, values);
    va_end(values);
    return USERCTL_JSON_E_BAD;
}

static int take_text(const struct filling *filling, const struct field *field, json_t *value)
{
    const char **text = (const char **)(void *)((char *)filling->out + field->offset);

    if (!json_is_string(value)) {
        return refuse(filling, "field '%s' is no text", field->name);
    }
    *text = json_string_value(value);
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
    if (json_is_real(value) && real >= -WHOLE_REAL_MAX && real <= WHOLE_REAL_MAX &&
        (double)(int64_t)real == real) {
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
    struct user_client_user *user = filling->out;
    json_int_t number = json_integer_value(value);
    int status;

    if (json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX) {
        user->status = (int)number; /* one that nobody knows is for the server to refuse */
        return 0;
    }
    status = json_is_string(value) ? user_client_status_from_name(json_string_value(value)) : -1;
    if (status < 0) {
        return refuse(filling, "field 'status' is no status: USER_STATUS_ACTIVE, "
                               "USER_STATUS_INACTIVE or USER_STATUS_SUSPENDED");
    }
    user->status = status;
    return 0;
}

static int take_roles(const struct filling *filling, json_t *value)
{
    struct user_client_user *user = filling->out;
    size_t count = json_array_size(value);
    const char **roles;

    if (!json_is_array(value)) {
        return refuse(filling, "field 'roles' is no list");
    }
    roles = calloc(count + 1, sizeof(*roles));
    if (roles == NULL) {
        return refuse(filling, "out of memory");
    }
    filling->json->roles = roles;
    for (size_t i = 0; i < count; i++) {
        roles[i] = json_string_value(json_array_get(value, i));
        if (roles[i] == NULL) {
            return refuse(filling, "field 'roles' holds something else than texts");
        }
    }
    user->roles = roles;
    user->role_count = count;
    return 0;
}

static const struct field *find_field(struct table table, const char *name)
{
    for (size_t i = 0; i < table.count; i++) {
        const struct field *field = table.fields + i;

        if (strcmp(field->name, name) == 0 || strcmp(field->camel, name) == 0) {
            return field;
        }
    }
    return NULL;
}

/* Has each member of an object taken by the field that it names. null is the default, by the
 * mapping.
 */
static int take_members(const struct filling *filling, struct table table, json_t *object,
                        int (*take)(const struct filling *filling, const struct field *field,
                                    json_t *value))
{
    unsigned seen = 0;
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const struct field *field = find_field(table, name);
        unsigned bit = field == NULL ? 0 : 1u << (field - table.fields);
        int ret;

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
        ret = json_is_null(value) ? 0 : take(filling, field, value);
        if (ret != 0) {
            return ret;
        }
    }
    return 0;
}

static int take_profile(const struct filling *filling, json_t *value)
{
    struct user_client_user *user = filling->out;

    if (!json_is_object(value)) {
        return refuse(filling, "field 'profile' is no object");
    }
    user->has_profile = true;
    return take_members(filling, TABLE(profile_fields), value, take_text);
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
    return take_profile(filling, value);
}

/* In words of our own: those of jansson speak of its options, and show pieces of the line, which
 * could be of a password. */
static const char *fault_of(const json_error_t *error)
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
        return "a number is too large";
    }
    if (code == json_error_stack_overflow) {
        return "it is nested too deeply";
    }
    return "no JSON: it is malformed";
}

static int refuse_line(const struct filling *filling, const json_error_t *error)
{
    return refuse(filling, "%s (column %d)", fault_of(error), error->column);
}

static int read_line(const struct filling *filling, struct table table, struct bytes line)
{
    json_error_t error;

    filling->json->root = json_loadb((const char *)line.data, line.size,
                                     JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (filling->json->root == NULL) {
        return refuse_line(filling, &error);
    }
    if (!json_is_object(filling->json->root)) {
        return refuse(filling, "the line is no JSON object");
    }
    return take_members(filling, table, filling->json->root, take_value);
}

static int read_message(struct filling *filling, struct table table, struct bytes line,
                        struct userctl_json **ret_json)
{
    int ret;

    filling->json = calloc(1, sizeof(*filling->json));
    if (filling->json == NULL) {
        return refuse(filling, "out of memory");
    }
    ret = read_line(filling, table, line);
    if (ret != 0) {
        userctl_json_free(filling->json);
        return ret;
    }
    *ret_json = filling->json;
    return 0;
}

int userctl_json_create(struct bytes line, bool ignore_unknown, char *problem,
                        struct userctl_json **ret_json, struct user_client_create *ret_create)
{
    struct filling filling = {.out = ret_create, .ignore_unknown = ignore_unknown};

    filling.problem = problem;
    *ret_create = (struct user_client_create){0};
    return read_message(&filling, TABLE(create_fields), line, ret_json);
}

int userctl_json_user(struct bytes line, bool ignore_unknown, char *problem,
                      struct userctl_json **ret_json, struct user_client_user *ret_user)
{
    struct filling filling = {.out = ret_user, .ignore_unknown = ignore_unknown};

    filling.problem = problem;
    *ret_user = (struct user_client_user){0};
    return read_message(&filling, TABLE(user_fields), line, ret_json);
}

void userctl_json_free(struct userctl_json *json)
{
    if (json != NULL) {
        json_decref(json->root);
        free(json->roles);
        free(json);
    }
}
