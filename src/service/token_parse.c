#include "service/token_parse.h"

#include <jansson.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/*
 * The library that checks signatures (libjwt 1.10) takes almost anything: empty segments, which
 * make it read beyond its memory; unknown `crit`; duplicate members; expired tokens. So everything
 * but the signature is decided here, and the library sees only tokens that passed:
 *
 *   split    length, three segments, the alphabet, a canonical last character. One token has one
 *            spelling, so that a cache of verdicts cannot be filled with variants of it.
 *   header   a JSON object without duplicates and not deep; alg, typ, kid are texts; members that
 *            would have us fetch or believe a key are refused.
 *   claims   types first, then their meaning: exp is required; times are JSON numbers, whole or
 *            not, floored, from 1970 to the year 9999.
 */

#define JSON_DEPTH_MAX  8
#define KEY_ID_SIZE_MAX 256
#define TIME_MAX_S      253402300799LL /* the last second of the year 9999 */

static const char *const fault_names[TOKEN_FAULT_COUNT] = {
    [TOKEN_OK] = "OK",
    [TOKEN_TOO_LONG] = "TOO_LONG",
    [TOKEN_BAD_SHAPE] = "BAD_SHAPE",
    [TOKEN_BAD_HEADER] = "BAD_HEADER",
    [TOKEN_REFUSED_HEADER] = "REFUSED_HEADER",
    [TOKEN_BAD_TYPE] = "BAD_TYPE",
    [TOKEN_UNKNOWN_KEY] = "UNKNOWN_KEY",
    [TOKEN_BAD_ALGORITHM] = "BAD_ALGORITHM",
    [TOKEN_BAD_SIGNATURE] = "BAD_SIGNATURE",
    [TOKEN_BAD_CLAIMS] = "BAD_CLAIMS",
    [TOKEN_NO_EXPIRY] = "NO_EXPIRY",
    [TOKEN_EXPIRED] = "EXPIRED",
    [TOKEN_NOT_YET_VALID] = "NOT_YET_VALID",
    [TOKEN_WRONG_ISSUER] = "WRONG_ISSUER",
    [TOKEN_WRONG_AUDIENCE] = "WRONG_AUDIENCE",
    [TOKEN_BAD_SUBJECT] = "BAD_SUBJECT",
    [TOKEN_BAD_ROLES] = "BAD_ROLES",
    [TOKEN_NO_MEMORY] = "NO_MEMORY",
};

const char *token_fault_name(enum token_fault fault)
{
    return fault_names[fault];
}

/* The six bits of a character, or -1. */
static int sextet(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z') {
        return byte - 'A';
    }
    if (byte >= 'a' && byte <= 'z') {
        return byte - 'a' + 26;
    }
    if (byte >= '0' && byte <= '9') {
        return byte - '0' + 52;
    }
    if (byte == '-') {
        return 62;
    }
    return byte == '_' ? 63 : -1;
}

/* The alphabet, a possible length, and no bits set in the last character that no byte uses. */
static bool segment_is_canonical(struct bytes text)
{
    int unused_bits = 0;

    if (text.size == 0 || text.size % 4 == 1) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (sextet(text.data[i]) < 0) {
            return false;
        }
    }
    if (text.size % 4 == 2) {
        unused_bits = 0xf;
    } else if (text.size % 4 == 3) {
        unused_bits = 0x3;
    }
    return (sextet(text.data[text.size - 1]) & unused_bits) == 0;
}

int token_parse_base64url(struct bytes text, uint8_t *out, size_t *ret_size)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t size = 0;

    if (!segment_is_canonical(text)) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < text.size; i++) {
        bits = bits << 6 | (uint32_t)sextet(text.data[i]);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[size++] = (uint8_t)(bits >> bit_count);
        }
    }
    *ret_size = size;
    return 0;
}

enum token_fault token_parse_split(struct bytes token, size_t size_max,
                                   struct token_parts *ret_parts)
{
    const uint8_t *first;
    const uint8_t *second;
    const uint8_t *end = token.data + token.size;
    struct token_parts parts;

    if (token.size > size_max) {
        return TOKEN_TOO_LONG;
    }
    if (token.size == 0) {
        return TOKEN_BAD_SHAPE;
    }
    first = memchr(token.data, '.', token.size);
    second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL) {
        return TOKEN_BAD_SHAPE;
    }
    parts.header = (struct bytes){token.data, (size_t)(first - token.data)};
    parts.payload = (struct bytes){first + 1, (size_t)(second - first - 1)};
    parts.signature = (struct bytes){second + 1, (size_t)(end - second - 1)};
    /* A third dot is no character of the alphabet, so it is found here. */
    if (!segment_is_canonical(parts.header) || !segment_is_canonical(parts.payload) ||
        !segment_is_canonical(parts.signature)) {
        return TOKEN_BAD_SHAPE;
    }
    *ret_parts = parts;
    return TOKEN_OK;
}

/* The JSON parser recurses: what it would recurse into is counted first. */
static bool json_is_shallow(const uint8_t *text, size_t size)
{
    bool in_text = false;
    unsigned depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (in_text) {
            if (text[i] == '\\') {
                i++;
            } else if (text[i] == '"') {
                in_text = false;
            }
        } else if (text[i] == '"') {
            in_text = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return false;
            }
        } else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

/* A segment as JSON object. Returns TOKEN_OK, TOKEN_NO_MEMORY or `fault`. */
static enum token_fault load_object(struct bytes segment, struct arena *arena,
                                    enum token_fault fault, json_t **ret_object)
{
    uint8_t *text = arena_alloc(arena, segment.size);
    size_t size = 0;
    json_t *object;

    if (text == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (token_parse_base64url(segment, text, &size) != 0 || !json_is_shallow(text, size)) {
        return fault;
    }
    object = json_loadb((const char *)text, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return fault;
    }
    *ret_object = object;
    return TOKEN_OK;
}

/* A JSON text as bytes; size 0 for anything else. */
static struct bytes text_of(const json_t *value)
{
    if (!json_is_string(value)) {
        return (struct bytes){NULL, 0};
    }
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

static bool text_is(const json_t *value, const char *expected)
{
    return bytes_equal(text_of(value), bytes_from_text(expected));
}

/* 1 to `size_max` bytes without control characters. */
static bool text_is_plain(struct bytes text, size_t size_max)
{
    if (text.size == 0 || text.size > size_max) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Members that point to a key, carry one, or change how the token is to be read. */
static bool header_is_refused(const json_t *object)
{
    static const char *const names[] = {"crit", "jku", "jwk", "x5u", "x5c", "cty", "b64", "zip"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_object_get(object, names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Media types compare without regard to case, and may leave out "application/" (RFC 7515 4.1.9). */
static enum token_fault read_type(const json_t *type, enum token_type *ret_type)
{
    static const char prefix[] = "application/";
    const char *name = json_string_value(type);

    if (type == NULL) {
        *ret_type = TOKEN_TYPE_ABSENT;
        return TOKEN_OK;
    }
    if (name == NULL) {
        return TOKEN_BAD_HEADER;
    }
    if (strcasecmp(name, "JWT") == 0) {
        *ret_type = TOKEN_TYPE_JWT;
        return TOKEN_OK;
    }
    if (strncasecmp(name, prefix, sizeof(prefix) - 1) == 0) {
        name += sizeof(prefix) - 1;
    }
    if (strcasecmp(name, "at+jwt") == 0) {
        *ret_type = TOKEN_TYPE_ACCESS;
        return TOKEN_OK;
    }
    return TOKEN_BAD_TYPE;
}

static enum token_fault read_header(const json_t *object, struct arena *arena,
                                    struct token_header *ret_header)
{
    const json_t *key_id = json_object_get(object, "kid");
    struct bytes algorithm = text_of(json_object_get(object, "alg"));
    struct token_header header = {.key_id = NULL};
    enum token_fault fault;

    if (header_is_refused(object)) {
        return TOKEN_REFUSED_HEADER;
    }
    if (!text_is_plain(algorithm, KEY_ID_SIZE_MAX) ||
        (key_id != NULL && !text_is_plain(text_of(key_id), KEY_ID_SIZE_MAX))) {
        return TOKEN_BAD_HEADER;
    }
    fault = read_type(json_object_get(object, "typ"), &header.type);
    if (fault != TOKEN_OK) {
        return fault;
    }
    header.algorithm = arena_copy_text(arena, algorithm);
    if (key_id != NULL) {
        header.key_id = arena_copy_text(arena, text_of(key_id));
    }
    if (header.algorithm == NULL || (key_id != NULL && header.key_id == NULL)) {
        return TOKEN_NO_MEMORY;
    }
    *ret_header = header;
    return TOKEN_OK;
}

enum token_fault token_parse_header(struct bytes segment, struct arena *arena,
                                    struct token_header *ret_header)
{
    json_t *object = NULL;
    enum token_fault fault = load_object(segment, arena, TOKEN_BAD_HEADER, &object);

    if (fault == TOKEN_OK) {
        fault = read_header(object, arena, ret_header);
    }
    json_decref(object);
    return fault;
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

static enum token_fault add_role(struct token_claims *claims, const char **roles, struct bytes role,
                                 struct arena *arena)
{
    const char *copy;

    if (claims->role_count == TOKEN_ROLES_MAX || !text_is_plain(role, TOKEN_ROLE_SIZE_MAX)) {
        return TOKEN_BAD_ROLES;
    }
    copy = arena_copy_text(arena, role);
    if (copy == NULL) {
        return TOKEN_NO_MEMORY;
    }
    roles[claims->role_count++] = copy;
    return TOKEN_OK;
}

/* Words with blanks between, as in `scope` (RFC 8693 4.2). */
static enum token_fault add_words(struct token_claims *claims, const char **roles,
                                  struct bytes words, struct arena *arena)
{
    enum token_fault fault = TOKEN_OK;
    size_t start = 0;

    for (size_t i = 0; i <= words.size && fault == TOKEN_OK; i++) {
        if (i < words.size && words.data[i] != ' ') {
            continue;
        }
        if (i > start) {
            struct bytes word = {words.data + start, i - start};

            fault = add_role(claims, roles, word, arena);
        }
        start = i + 1;
    }
    return fault;
}

static enum token_fault read_roles(const json_t *object, struct arena *arena,
                                   struct token_claims *claims)
{
    const json_t *value = json_object_get(object, "roles");
    enum token_fault fault = TOKEN_OK;
    const char **roles;

    if (value == NULL) {
        return TOKEN_OK;
    }
    if (!json_is_string(value) && !json_is_array(value)) {
        return TOKEN_BAD_ROLES;
    }
    roles = arena_alloc(arena, TOKEN_ROLES_MAX * sizeof(*roles));
    if (roles == NULL) {
        return TOKEN_NO_MEMORY;
    }
    claims->roles = roles;
    if (json_is_string(value)) {
        return add_words(claims, roles, text_of(value), arena);
    }
    for (size_t i = 0; i < json_array_size(value) && fault == TOKEN_OK; i++) {
        fault = add_role(claims, roles, text_of(json_array_get(value, i)), arena);
    }
    return fault;
}

static enum token_fault read_claims(const json_t *object, const struct token_rules *rules,
                                    struct arena *arena, struct token_claims *ret_claims)
{
    struct bytes subject = text_of(json_object_get(object, "sub"));
    struct token_claims claims = {.subject = NULL};
    enum token_fault fault = check_times(object, rules, &claims);

    if (fault == TOKEN_OK) {
        fault = check_issuer(object, rules);
    }
    if (fault == TOKEN_OK) {
        fault = check_audience(object, rules);
    }
    if (fault == TOKEN_OK && !text_is_plain(subject, TOKEN_SUBJECT_SIZE_MAX)) {
        fault = TOKEN_BAD_SUBJECT;
    }
    if (fault == TOKEN_OK) {
        fault = read_roles(object, arena, &claims);
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
    enum token_fault fault = load_object(segment, arena, TOKEN_BAD_CLAIMS, &object);

    if (fault == TOKEN_OK) {
        fault = read_claims(object, rules, arena, ret_claims);
    }
    json_decref(object);
    return fault;
}
