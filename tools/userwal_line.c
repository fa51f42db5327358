#include "userwal_line.h"

#include "service/password.h"
#include "service/user_validate.h"

#include <jansson.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WHOLE_REAL_MAX 9007199254740992.0 /* up to 2^53 a double is exact */

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
    size_t offset; /* of texts and numbers */
};

struct table {
    const struct field *fields;
    size_t count;
};

#define LINE(member) offsetof(struct userwal_line, member)

static const struct field user_fields[] = {
    {"id", "id", KIND_TEXT, LINE(user.id)},
    {"username", "username", KIND_TEXT, LINE(user.username)},
    {"email", "email", KIND_TEXT, LINE(user.email)},
    {"created_at", "createdAt", KIND_NUMBER, LINE(user.created_at)},
    {"roles", "roles", KIND_ROLES, 0},
    {"status", "status", KIND_STATUS, 0},
    {"profile", "profile", KIND_PROFILE, 0},
    {"updated_at", "updatedAt", KIND_NUMBER, LINE(user.updated_at)},
    {"etag", "etag", KIND_TEXT, LINE(user.etag)},
    {"password_hash", "passwordHash", KIND_TEXT, LINE(password_hash)},
    {"request_id", "requestId", KIND_TEXT, LINE(request_id)},
};

static const struct field profile_fields[] = {
    {"first_name", "firstName", KIND_TEXT, LINE(user.first_name)},
    {"last_name", "lastName", KIND_TEXT, LINE(user.last_name)},
    {"avatar_url", "avatarUrl", KIND_TEXT, LINE(user.avatar_url)},
};

#define TABLE(fields) ((struct table){fields, sizeof(fields) / sizeof((fields)[0])})

struct filling {
    struct userwal_line *line;
    char *problem;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct filling *filling,
                                                        const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)vsnprintf(filling->problem, USERWAL_LINE_PROBLEM_SIZE, format, values);
    va_end(values);
    return 1;
}

static struct bytes text_of(json_t *value)
{
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

static int take_text(const struct filling *filling, const struct field *field, json_t *value)
{
    struct bytes *text = (struct bytes *)(void *)((char *)filling->line + field->offset);

    if (!json_is_string(value)) {
        return refuse(filling, "%s: is no text", field->name);
    }
    *text = text_of(value);
    return 0;
}

static int take_number(const struct filling *filling, const struct field *field, json_t *value)
{
    int64_t *number = (int64_t *)(void *)((char *)filling->line + field->offset);
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
    return refuse(filling, "%s: is no whole number of 64 bits", field->name);
}

static int take_status(const struct filling *filling, json_t *value)
{
    static const char *const names[] = {
        [USER_STATUS_UNSPECIFIED] = "USER_STATUS_UNSPECIFIED",
        [USER_STATUS_ACTIVE] = "USER_STATUS_ACTIVE",
        [USER_STATUS_INACTIVE] = "USER_STATUS_INACTIVE",
        [USER_STATUS_SUSPENDED] = "USER_STATUS_SUSPENDED",
    };
    const json_int_t number = json_integer_value(value);
    const char *name = json_string_value(value);

    if (json_is_integer(value) && number >= INT32_MIN && number <= INT32_MAX) {
        filling->line->user.status = (int32_t)number; /* which ones there are is checked later */
        return 0;
    }
    for (size_t i = 0; name != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            filling->line->user.status = (int32_t)i;
            return 0;
        }
    }
    return refuse(filling, "status: is no status, such as USER_STATUS_ACTIVE");
}

static int take_roles(const struct filling *filling, json_t *value)
{
    struct user *user = &filling->line->user;

    if (!json_is_array(value)) {
        return refuse(filling, "roles: is no list");
    }
    user->role_count = json_array_size(value);
    for (size_t i = 0; i < user->role_count && i < USER_ROLES_MAX; i++) {
        json_t *role = json_array_get(value, i);

        if (!json_is_string(role)) {
            return refuse(filling, "roles: holds something else than texts");
        }
        user->roles[i] = text_of(role);
    }
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
        int result;

        if (field == NULL) {
            return refuse(filling, "there is a field that no user has");
        }
        if ((seen & bit) != 0) {
            return refuse(filling, "%s: is there twice", field->name);
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
        return refuse(filling, "profile: is no object");
    }
    return take_members(filling, TABLE(profile_fields), value, take_text);
}

/* In words of our own: those of jansson show pieces of the line. */
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
        return "a field is there twice";
    }
    return code == json_error_invalid_utf8 ? "this is not UTF-8" : "this is no JSON";
}

/* ---- the rules */

static bool take_digits(const char **at)
{
    size_t count = strspn(*at, "0123456789");

    *at += count;
    return count >= 1 && count <= 10;
}

static bool take_prefix(const char **at, const char *prefix)
{
    size_t size = strlen(prefix);

    if (strncmp(*at, prefix, size) != 0) {
        return false;
    }
    *at += size;
    return true;
}

/* Base64 without padding. */
static bool take_base64(const char **at, size_t least)
{
    size_t count = strspn(*at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    *at += count;
    return count >= least && count % 4 != 1;
}

/* $argon2id$v=19$m=65536,t=2,p=1$<salt>$<hash>, as libsodium makes and checks them; argon2i too. */
static bool is_password_hash(struct bytes hash)
{
    const char *at = (const char *)hash.data; /* a NUL stands behind jansson's texts */

    return hash.size < PASSWORD_HASH_SIZE &&
           (take_prefix(&at, "$argon2id$v=19$m=") || take_prefix(&at, "$argon2i$v=19$m=")) &&
           take_digits(&at) && take_prefix(&at, ",t=") && take_digits(&at) &&
           take_prefix(&at, ",p=") && take_digits(&at) && take_prefix(&at, "$") &&
           take_base64(&at, 11) && take_prefix(&at, "$") && take_base64(&at, 22) && *at == '\0';
}

static int refuse_faults(const struct filling *filling, const struct user_faults *faults)
{
    size_t at = 0;

    for (unsigned i = 0; i < faults->count && at < USERWAL_LINE_PROBLEM_SIZE; i++) {
        int size = snprintf(filling->problem + at, USERWAL_LINE_PROBLEM_SIZE - at, "%s%s: %s",
                            i == 0 ? "" : "; ", faults->items[i].field, faults->items[i].problem);

        at += size > 0 ? (size_t)size : 0;
    }
    return 1;
}

/* The rule for a request_id is that of a draft, whose other fields are fine or found out already.
 */
static void check_request_id(const struct userwal_line *line, struct user_faults *faults)
{
    static const struct user_password_rule rule = {.min_characters = 1, .max_bytes = 64};
    const struct user_draft draft = {
        .username = line->user.username,
        .email = line->user.email,
        .password = BYTES_LITERAL("-"),
        .request_id = line->request_id,
    };
    struct user_faults all = {0};

    user_validate_draft(&draft, &rule, &all);
    for (unsigned i = 0; i < all.count; i++) {
        if (strcmp(all.items[i].field, "request_id") == 0 && faults->count < USER_FAULTS_MAX) {
            faults->items[faults->count++] = all.items[i];
        }
    }
}

static int check(const struct filling *filling)
{
    struct userwal_line *line = filling->line;
    struct user_faults faults = {0};

    line->user.username = user_validate_trim(line->user.username);
    line->user.email = user_validate_trim(line->user.email);
    user_validate_sync(&line->user, &faults);
    check_request_id(line, &faults);
    if (faults.count > 0) {
        return refuse_faults(filling, &faults);
    }
    if (line->password_hash.size > 0 && !is_password_hash(line->password_hash)) {
        return refuse(filling, "password_hash: must be a PHC string of Argon2id");
    }
    if (line->user.created_at < 0 || line->user.updated_at < 0) {
        return refuse(filling, "created_at, updated_at: must not be negative");
    }
    return 0;
}

int userwal_line_read(struct bytes line, char problem[USERWAL_LINE_PROBLEM_SIZE],
                      struct userwal_line *ret_line)
{
    struct filling filling = {.line = ret_line};
    json_error_t error;
    json_t *root;
    int result;

    filling.problem = problem;
    *ret_line = (struct userwal_line){0};
    root = json_loadb((const char *)line.data, line.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                      &error);
    if (root == NULL) {
        return refuse(&filling, "%s (column %d)", fault_of(&error), error.column);
    }
    ret_line->root = root;
    if (!json_is_object(root)) {
        return refuse(&filling, "the line is no JSON object");
    }
    result = take_members(&filling, TABLE(user_fields), root, take_value);
    return result == 0 ? check(&filling) : result;
}

void userwal_line_deinit(struct userwal_line *line)
{
    json_decref(line->root);
    line->root = NULL;
}
