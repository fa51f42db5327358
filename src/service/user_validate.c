#include "service/user_validate.h"

#include "service/user_patch.h"

#include <stdio.h>

static const char problem_empty[] = "must not be empty";

static void add_fault(struct user_faults *faults, const char *field, const char *problem)
{
    if (problem == NULL) {
        return;
    }
    if (problem == problem_empty) {
        faults->missing = true;
    }
    if (faults->count < USER_FAULTS_MAX) {
        faults->items[faults->count].field = field;
        faults->items[faults->count].problem = problem;
        faults->count++;
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

void user_validate_fold(struct bytes text, uint8_t *out)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];

        out[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
    }
}

/* Takes the next character off text that is valid UTF-8. */
static uint32_t next_character(struct bytes *text)
{
    uint8_t lead = text->data[0];
    size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t character = size == 1 ? lead : lead & (0x7fU >> size);

    if (size > text->size) { /* not valid after all: end here */
        *text = (struct bytes){0};
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        character = character << 6 | (text->data[i] & 0x3f);
    }
    *text = (struct bytes){text->data + size, text->size - size};
    return character;
}

static size_t count_characters(struct bytes text)
{
    size_t count = 0;

    while (text.size > 0) {
        (void)next_character(&text); /* only their number counts */
        count++;
    }
    return count;
}

static bool is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

/* Characters that show nothing, change the direction of what stands beside them, pass for a space,
 * or are none at all. In order. */
static const struct {
    uint32_t first;
    uint32_t last;
} hidden_characters[] = {
    {0x0000, 0x001f},   /* controls */
    {0x007f, 0x00a0},   /* controls, no-break space */
    {0x00ad, 0x00ad},   /* soft hyphen */
    {0x034f, 0x034f},   /* grapheme joiner */
    {0x061c, 0x061c},   /* Arabic letter mark */
    {0x115f, 0x1160},   /* Hangul fillers */
    {0x1680, 0x1680},   /* Ogham space */
    {0x17b4, 0x17b5},   /* Khmer inherent vowels */
    {0x180b, 0x180f},   /* Mongolian selectors and separator */
    {0x2000, 0x200f},   /* spaces, zero width, direction marks */
    {0x2028, 0x202f},   /* separators, direction overrides, narrow space */
    {0x205f, 0x206f},   /* spaces, invisible operators, isolates */
    {0x2800, 0x2800},   /* Braille blank */
    {0x3000, 0x3000},   /* ideographic space */
    {0x3164, 0x3164},   /* Hangul filler */
    {0xfdd0, 0xfdef},   /* noncharacters */
    {0xfe00, 0xfe0f},   /* variation selectors */
    {0xfeff, 0xfeff},   /* byte order mark */
    {0xffa0, 0xffa0},   /* half width Hangul filler */
    {0xfff0, 0xffff},   /* specials and noncharacters */
    {0x1bca0, 0x1bca3}, /* shorthand format controls */
    {0x1d173, 0x1d17a}, /* musical format controls */
    {0xe0000, 0xe0fff}, /* tags, more selectors */
};

static bool is_hidden(uint32_t character)
{
    if ((character & 0xfffe) == 0xfffe) { /* the two noncharacters at the end of each plane */
        return true;
    }
    for (size_t i = 0; i < sizeof(hidden_characters) / sizeof(hidden_characters[0]); i++) {
        if (character <= hidden_characters[i].last) {
            return character >= hidden_characters[i].first;
        }
    }
    return false;
}

static bool has_character(struct bytes text, bool (*is_bad)(uint32_t character))
{
    while (text.size > 0) {
        if (is_bad(next_character(&text))) {
            return true;
        }
    }
    return false;
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
    if (has_character(username, is_hidden)) {
        return "must not have control or invisible characters";
    }
    return NULL;
}

static bool is_local_part(struct bytes local)
{
    if (local.size == 0 || local.size > USER_EMAIL_LOCAL_BYTES_MAX ||
        has_character(local, is_hidden)) {
        return false;
    }
    for (size_t i = 0; i < local.size; i++) {
        if (strchr("\"'` @", local.data[i]) != NULL) {
            return false;
        }
    }
    return true;
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
    if (!is_local_part((struct bytes){email.data, local_size})) {
        return "must have 1 to 63 bytes before the @, without quotes, spaces or invisible "
               "characters";
    }
    if (!is_domain((struct bytes){at + 1, email.size - local_size - 1})) {
        return "must have a domain of letters, digits, - and . after the one @";
    }
    return NULL;
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
            has_character(user->roles[i], is_control)) {
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
    if (text.size > USER_TEXT_BYTES_MAX) {
        return "must have at most 320 bytes";
    }
    return has_character(text, is_control) ? "must not have control characters" : NULL;
}

void user_validate_draft(const struct user_draft *draft, const struct user_password_rule *rule,
                         struct user_faults *faults)
{
    add_fault(faults, "username", check_username(draft->username));
    add_fault(faults, "email", check_email(draft->email));
    add_fault(faults, "password", check_password(draft->password, rule, faults));
    add_fault(faults, "request_id", check_request_id(draft->request_id));
}

void user_validate_patch(const struct user_patch *patch, struct user_faults *faults)
{
    const struct user *user = &patch->user;
    unsigned fields = patch->fields;

    if ((fields & USER_PATCH_USERNAME) != 0) {
        add_fault(faults, "user.username", check_username(user->username));
    }
    if ((fields & USER_PATCH_EMAIL) != 0) {
        add_fault(faults, "user.email", check_email(user->email));
    }
    if ((fields & USER_PATCH_ROLES) != 0) {
        add_fault(faults, "user.roles", check_roles(user));
    }
    if ((fields & USER_PATCH_STATUS) != 0) {
        add_fault(faults, "user.status", check_status(user->status));
    }
    if ((fields & USER_PATCH_FIRST_NAME) != 0) {
        add_fault(faults, "user.profile.first_name", check_text(user->first_name));
    }
    if ((fields & USER_PATCH_LAST_NAME) != 0) {
        add_fault(faults, "user.profile.last_name", check_text(user->last_name));
    }
    if ((fields & USER_PATCH_AVATAR_URL) != 0) {
        add_fault(faults, "user.profile.avatar_url", check_text(user->avatar_url));
    }
}
