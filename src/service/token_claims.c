#include "service/token_parse.h"
#include "service/token_parse_internal.h"

#include <jansson.h>

#include <stdbool.h>

/*
 * The claims of a token, types first, then their meaning: exp is required; times are JSON numbers,
 * whole or not, floored, from 1970 to the year 9999; issuer and audience are exactly ours; the
 * subject, roles and scopes are plain texts, of bounded size and number.
 */

#define TIME_MAX_S 253402300799LL /* the last second of the year 9999 */

static bool text_is(const json_t *value, const char *expected)
{
    return bytes_equal(token_parse_text(value), bytes_from_text(expected));
}

/* A NumericDate, floored. False when it is none: no number, negative or absurd. */
static bool read_time(const json_t *value, uint64_t *ret_time_s)
{
    if (json_is_integer(value)) {
        json_int_t integer = json_integer_value(value);

        if (integer < 0 || integer > TIME_MAX_S) {
            return false;
        }
        *ret_time_s = (uint64_t)integer;
        return true;
    }
    if (json_is_real(value)) {
        double real = json_real_value(value);

        if (!(real >= 0 && real <= (double)TIME_MAX_S)) {
            return false;
        }
        *ret_time_s = (uint64_t)real;
        return true;
    }
    return false;
}

static enum token_fault check_times(const json_t *object, const struct token_rules *rules,
                                    struct token_claims *claims)
{
    static const char *const starts[] = {"nbf", "iat"};
    const json_t *expiry = json_object_get(object, "exp");
    uint64_t time_s = 0;

    if (expiry == NULL) {
        return TOKEN_NO_EXPIRY;
    }
    if (!read_time(expiry, &time_s)) {
        return TOKEN_BAD_CLAIMS;
    }
    claims->expires_s = time_s + rules->leeway_s;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        const json_t *start = json_object_get(object, starts[i]);

        if (start == NULL) {
            continue;
        }
        if (!read_time(start, &time_s)) {
            return TOKEN_BAD_CLAIMS;
        }
        if (time_s > rules->now_s + rules->leeway_s) {
            return TOKEN_NOT_YET_VALID;
        }
    }
    return rules->now_s >= claims->expires_s ? TOKEN_EXPIRED : TOKEN_OK;
}

static enum token_fault check_issuer(const json_t *object, const struct token_rules *rules)
{
    const json_t *issuer = json_object_get(object, "iss");

    if (issuer != NULL && !json_is_string(issuer)) {
        return TOKEN_BAD_CLAIMS;
    }
    return rules->issuer[0] == '\0' || text_is(issuer, rules->issuer) ? TOKEN_OK
                                                                      : TOKEN_WRONG_ISSUER;
}

/* A text, or a list of texts one of which is ours. */
static enum token_fault check_audience(const json_t *object, const struct token_rules *rules)
{
    const json_t *audience = json_object_get(object, "aud");
    bool found = rules->audience[0] == '\0' || text_is(audience, rules->audience);

    if (audience != NULL && !json_is_string(audience) && !json_is_array(audience)) {
        return TOKEN_BAD_CLAIMS;
    }
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const json_t *item = json_array_get(audience, i);

        if (!json_is_string(item)) {
            return TOKEN_BAD_CLAIMS;
        }
        found = found || text_is(item, rules->audience);
    }
    return found ? TOKEN_OK : TOKEN_WRONG_AUDIENCE;
}

/* Names on their way from JSON to the arena. */
struct names {
    const char **items;
    unsigned count;
    unsigned count_max;
    size_t size_max; /* of one */
    enum token_fault fault;
};

static enum token_fault add_name(struct names *names, struct bytes name, struct arena *arena)
{
    const char *copy;

    if (names->count == names->count_max || !token_parse_is_plain(name, names->size_max)) {
        return names->fault;
    }
    copy = arena_copy_text(arena, name);
    if (copy == NULL) {
        return TOKEN_NO_MEMORY;
    }
    names->items[names->count++] = copy;
    return TOKEN_OK;
}

/* Words with blanks between, as in `scope` (RFC 8693 4.2). */
static enum token_fault add_words(struct names *names, struct bytes words, struct arena *arena)
{
    enum token_fault fault = TOKEN_OK;
    size_t start = 0;

    for (size_t i = 0; i <= words.size && fault == TOKEN_OK; i++) {
        if (i < words.size && words.data[i] != ' ') {
            continue;
        }
        if (i > start) {
            struct bytes word = {words.data + start, i - start};

            fault = add_name(names, word, arena);
        }
        start = i + 1;
    }
    return fault;
}

/* A list of texts, or one text of words; or nothing. */
static enum token_fault read_names(const json_t *value, struct arena *arena, struct names *names)
{
    enum token_fault fault = TOKEN_OK;

    if (value == NULL) {
        return TOKEN_OK;
    }
    if (!json_is_string(value) && !json_is_array(value)) {
        return names->fault;
    }
    names->items = arena_alloc(arena, names->count_max * sizeof(*names->items));
    if (names->items == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (json_is_string(value)) {
        return add_words(names, token_parse_text(value), arena);
    }
    for (size_t i = 0; i < json_array_size(value) && fault == TOKEN_OK; i++) {
        fault = add_name(names, token_parse_text(json_array_get(value, i)), arena);
    }
    return fault;
}

static enum token_fault read_roles(const json_t *object, const struct token_rules *rules,
                                   struct arena *arena, struct token_claims *claims)
{
    struct names roles = {
        .count_max = TOKEN_ROLES_MAX, .size_max = TOKEN_ROLE_SIZE_MAX, .fault = TOKEN_BAD_ROLES};
    const json_t *value =
        rules->roles_claim[0] == '\0' ? NULL : json_object_get(object, rules->roles_claim);
    enum token_fault fault = read_names(value, arena, &roles);

    claims->roles = roles.items;
    claims->role_count = roles.count;
    return fault;
}

/* The registered name, or the one that several identity providers use instead. */
static enum token_fault read_scopes(const json_t *object, struct arena *arena,
                                    struct token_claims *claims)
{
    struct names scopes = {
        .count_max = TOKEN_SCOPES_MAX, .size_max = TOKEN_SCOPE_SIZE_MAX, .fault = TOKEN_BAD_SCOPES};
    const json_t *value = json_object_get(object, "scope");
    enum token_fault fault =
        read_names(value != NULL ? value : json_object_get(object, "scp"), arena, &scopes);

    claims->scopes = scopes.items;
    claims->scope_count = scopes.count;
    return fault;
}

static enum token_fault read_claims(const json_t *object, const struct token_rules *rules,
                                    struct arena *arena, struct token_claims *ret_claims)
{
    struct bytes subject = token_parse_text(json_object_get(object, "sub"));
    struct token_claims claims = {.subject = NULL};
    enum token_fault fault = check_times(object, rules, &claims);

    if (fault == TOKEN_OK) {
        fault = check_issuer(object, rules);
    }
    if (fault == TOKEN_OK) {
        fault = check_audience(object, rules);
    }
    if (fault == TOKEN_OK && !token_parse_is_plain(subject, TOKEN_SUBJECT_SIZE_MAX)) {
        fault = TOKEN_BAD_SUBJECT;
    }
    if (fault == TOKEN_OK) {
        fault = read_roles(object, rules, arena, &claims);
    }
    if (fault == TOKEN_OK) {
        fault = read_scopes(object, arena, &claims);
    }
    if (fault != TOKEN_OK) {
        return fault;
    }
    claims.subject = arena_copy_text(arena, subject);
    if (claims.subject == NULL) {
        return TOKEN_NO_MEMORY;
    }
    *ret_claims = claims;
    return TOKEN_OK;
}

enum token_fault token_parse_claims(struct bytes segment, const struct token_rules *rules,
                                    struct arena *arena, struct token_claims *ret_claims)
{
    json_t *object = NULL;
    enum token_fault fault = token_parse_object(segment, arena, TOKEN_BAD_CLAIMS, &object);

    if (fault == TOKEN_OK) {
        fault = read_claims(object, rules, arena, ret_claims);
    }
    json_decref(object);
    return fault;
}
