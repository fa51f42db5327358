#include "service/user_validate.h"

#include "service/user_fold.h"
#include "service/user_patch.h"

#include <stdio.h>

static const char problem_empty[] = "must not be empty";
static const char problem_nul[] = "must not have U+0000";

static void append_fault(struct user_faults *faults, const char *field, const char *problem)
{
    if (faults->count < USER_FAULTS_MAX) {
        faults->items[faults->count].field = field;
        faults->items[faults->count].problem = problem;
        faults->count++;
    }
}

static bool is_known_for_nul(const struct user_faults *faults, const char *field)
{
    for (unsigned i = 0; i < faults->count; i++) {
        if (faults->items[i].problem == problem_nul && strcmp(faults->items[i].field, field) == 0) {
            return true;
        }
    }
    return false;
}

static void add_fault(struct user_faults *faults, const char *field, const char *problem)
{
    if (problem == NULL || (faults->has_nul && is_known_for_nul(faults, field))) {
        return;
    }
    if (problem == problem_empty) {
        faults->missing = true;
    }
    append_fault(faults, field, problem);
}

void user_faults_add_nul(struct user_faults *faults, const char *field)
{
    add_fault(faults, field, problem_nul);
    faults->has_nul = true;
}

void user_faults_add_path(struct user_faults *faults, struct bytes path, const char *problem)
{
    append_fault(faults, "update_mask", problem);
    if (faults->path.data == NULL) {
        faults->path = path;
    }
}

static bool is_ascii_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct bytes user_validate_trim(struct bytes text)
{
    while (text.size > 0 && is_ascii_space(text.data[0])) {
        text = (struct bytes){text.data + 1, text.size - 1};
    }
    while (text.size > 0 && is_ascii_space(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

/* Bytes that begin a character. */
static size_t count_characters(struct bytes text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.size; i++) {
        count += (text.data[i] & 0xc0) != 0x80;
    }
    return count;
}

static const char *problem_of(enum user_fold_fault fault)
{
    switch (fault) {
    case USER_FOLD_MALFORMED:
        return "must be UTF-8";
    case USER_FOLD_HIDDEN:
        return "must not have control or invisible characters";
    case USER_FOLD_UNASSIGNED:
        return "must not have unassigned or private-use characters";
    case USER_FOLD_SPACE:
        return "must not have other spaces than U+0020, nor one at an end when it is normalized";
    case USER_FOLD_MARK:
        return "must not have a combining mark first, nor more than 30 in a row";
    case USER_FOLD_DIRECTION:
        return "must not mix writing directions against RFC 5893";
    case USER_FOLD_LONG:
        return "must be shorter: its normalized form has more than 512 bytes";
    case USER_FOLD_FINE:
        break;
    }
    return NULL;
}

/* The checks of one field each: NULL when it is fine, else the problem. */

static const char *check_username(struct bytes username)
{
    if (username.size == 0) {
        return problem_empty;
    }
    if (count_characters(username) > USER_USERNAME_CHARACTERS_MAX) {
        return "must have at most 64 characters";
    }
    return problem_of(user_fold_check_name(username));
}

/* Neither may the folded form have any: a full width @ folds into another @. */
static bool has_quote_or_space(struct bytes local)
{
    for (size_t i = 0; i < local.size; i++) {
        uint8_t c = local.data[i];

        if (c == '"' || c == '\'' || c == '`' || c == ' ' || c == '@' || c == '\0') {
            return true;
        }
    }
    return false;
}

static bool is_domain_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_domain(struct bytes domain)
{
    size_t label_size = 0;
    uint8_t last = '-'; /* a label may not begin with it, nor end with it */

    for (size_t i = 0; i < domain.size; i++) {
        uint8_t c = domain.data[i];

        if (c == '.') {
            if (label_size == 0 || last == '-') {
                return false;
            }
            label_size = 0;
        } else if (!is_domain_character(c) || (label_size == 0 && c == '-') ||
                   ++label_size > USER_EMAIL_LABEL_BYTES_MAX) {
            return false;
        }
        last = c;
    }
    return label_size > 0 && last != '-';
}

/* What stands before the @; `email` is the whole. */
static const char *check_local_part(struct bytes local, struct bytes email)
{
    uint8_t bytes[USER_FOLDED_BYTES_MAX];
    struct bytes folded = {bytes, 0};
    enum user_fold_fault fault = user_fold_check_name(local);

    if (fault != USER_FOLD_FINE) {
        return problem_of(fault);
    }
    if (user_fold(email, bytes, &folded.size) != 0) {
        return problem_of(USER_FOLD_LONG);
    }
    folded.size -= email.size - local.size; /* what stands behind it folds into as many bytes */
    if (local.size == 0 || local.size > USER_EMAIL_LOCAL_BYTES_MAX || has_quote_or_space(local) ||
        has_quote_or_space(folded)) {
        return "must have 1 to 63 bytes before the @, without quotes or spaces";
    }
    return NULL;
}

static const char *check_email(struct bytes email)
{
    const uint8_t *at;
    size_t local_size;

    if (email.size == 0) {
        return problem_empty;
    }
    if (email.size > USER_EMAIL_BYTES_MAX) {
        return "must have at most 254 bytes";
    }
    at = memchr(email.data, '@', email.size);
    if (at == NULL) {
        return "must have the form name@domain";
    }
    local_size = (size_t)(at - email.data);
    if (!is_domain((struct bytes){at + 1, email.size - local_size - 1})) {
        return "must have a domain of letters, digits, - and . after the one @";
    }
    return check_local_part((struct bytes){email.data, local_size}, email);
}

static const char *check_password(struct bytes password, const struct user_password_rule *rule,
                                  struct user_faults *faults)
{
    if (password.size == 0) {
        return problem_empty;
    }
    if (count_characters(password) < rule->min_characters) {
        (void)snprintf(faults->text, sizeof(faults->text), "must have at least %u characters",
                       (unsigned)rule->min_characters);
        return faults->text;
    }
    if (password.size > rule->max_bytes) {
        (void)snprintf(faults->text, sizeof(faults->text), "must have at most %u bytes",
                       (unsigned)rule->max_bytes);
        return faults->text;
    }
    return NULL;
}

static const char *check_request_id(struct bytes request_id)
{
    if (request_id.size > USER_REQUEST_ID_BYTES_MAX) {
        return "must have at most 36 characters";
    }
    for (size_t i = 0; i < request_id.size; i++) {
        if (request_id.data[i] < 0x21 || request_id.data[i] > 0x7e) {
            return "must be printable ASCII without spaces";
        }
    }
    return NULL;
}

static const char *check_roles(const struct user *user)
{
    if (user->role_count > USER_ROLES_MAX) {
        return "must be at most 64";
    }
    for (size_t i = 0; i < user->role_count; i++) {
        if (user->roles[i].size == 0 || user->roles[i].size > USER_ROLE_BYTES_MAX ||
            user_fold_check_text(user->roles[i]) != USER_FOLD_FINE) {
            return "must each have 1 to 64 bytes without control characters";
        }
    }
    return NULL;
}

static const char *check_status(int32_t status)
{
    if (status == USER_STATUS_ACTIVE || status == USER_STATUS_INACTIVE ||
        status == USER_STATUS_SUSPENDED) {
        return NULL;
    }
    return "must be ACTIVE, INACTIVE or SUSPENDED";
}

static const char *check_text(struct bytes text)
{
    enum user_fold_fault fault;

    if (text.size > USER_TEXT_BYTES_MAX) {
        return "must have at most 320 bytes";
    }
    fault = user_fold_check_text(text);
    if (fault == USER_FOLD_MARK) {
        return "must not have more than 30 combining marks in a row";
    }
    return fault == USER_FOLD_FINE ? NULL : "must not have control characters";
}

void user_validate_draft(const struct user_draft *draft, const struct user_password_rule *rule,
                         struct user_faults *faults)
{
    add_fault(faults, "username", check_username(draft->username));
    add_fault(faults, "email", check_email(draft->email));
    add_fault(faults, "password", check_password(draft->password, rule, faults));
    add_fault(faults, "request_id", check_request_id(draft->request_id));
}

void user_validate_id(struct bytes id, struct user_faults *faults)
{
    if (id.size == 0) {
        add_fault(faults, "id", problem_empty);
    } else if (id.size > USER_ID_BYTES_MAX) {
        add_fault(faults, "id", "must have at most 64 bytes");
    }
}

static bool is_id_character(uint8_t c)
{
    return is_domain_character(c) || c == '.' || c == '_' || c == '~';
}

/* Empty: the server chooses one. */
static const char *check_id(struct bytes id)
{
    if (id.size > USER_ID_BYTES_MAX) {
        return "must have at most 64 characters";
    }
    for (size_t i = 0; i < id.size; i++) {
        if (!is_id_character(id.data[i])) {
            return "must have only letters, digits and . _ ~ -";
        }
    }
    return NULL;
}

/* Where the fields of a user stand in a request. */
struct field_paths {
    const char *username;
    const char *email;
    const char *roles;
    const char *status;
    const char *first_name;
    const char *last_name;
    const char *avatar_url;
};

/* `fields` are USER_PATCH_*. */
static void check_fields(const struct user *user, unsigned fields, const struct field_paths *paths,
                         struct user_faults *faults)
{
    if ((fields & USER_PATCH_USERNAME) != 0) {
        add_fault(faults, paths->username, check_username(user->username));
    }
    if ((fields & USER_PATCH_EMAIL) != 0) {
        add_fault(faults, paths->email, check_email(user->email));
    }
    if ((fields & USER_PATCH_ROLES) != 0) {
        add_fault(faults, paths->roles, check_roles(user));
    }
    if ((fields & USER_PATCH_STATUS) != 0) {
        add_fault(faults, paths->status, check_status(user->status));
    }
    if ((fields & USER_PATCH_FIRST_NAME) != 0) {
        add_fault(faults, paths->first_name, check_text(user->first_name));
    }
    if ((fields & USER_PATCH_LAST_NAME) != 0) {
        add_fault(faults, paths->last_name, check_text(user->last_name));
    }
    if ((fields & USER_PATCH_AVATAR_URL) != 0) {
        add_fault(faults, paths->avatar_url, check_text(user->avatar_url));
    }
}

void user_validate_patch(const struct user_patch *patch, struct user_faults *faults)
{
    static const struct field_paths paths = {
        .username = "user.username",
        .email = "user.email",
        .roles = "user.roles",
        .status = "user.status",
        .first_name = "user.profile.first_name",
        .last_name = "user.profile.last_name",
        .avatar_url = "user.profile.avatar_url",
    };

    check_fields(&patch->user, patch->fields, &paths, faults);
}

void user_validate_sync(const struct user *user, struct user_faults *faults)
{
    static const struct field_paths paths = {
        .username = "username",
        .email = "email",
        .roles = "roles",
        .status = "status",
        .first_name = "profile.first_name",
        .last_name = "profile.last_name",
        .avatar_url = "profile.avatar_url",
    };
    unsigned fields =
        USER_PATCH_USERNAME | USER_PATCH_EMAIL | USER_PATCH_ROLES | USER_PATCH_PROFILE;

    add_fault(faults, "id", check_id(user->id));
    fields |= user->status == USER_STATUS_UNSPECIFIED ? 0 : USER_PATCH_STATUS;
    check_fields(user, fields, &paths, faults);
}
