#include "service/token_parse.h"

#include "service/token_parse_internal.h"

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
 *   claims   what they are and mean (token_claims.c).
 */

#define JSON_DEPTH_MAX 8

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
    [TOKEN_BAD_SCOPES] = "BAD_SCOPES",
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

bool token_parse_is_shallow(struct bytes json)
{
    bool in_text = false;
    unsigned depth = 0;

    for (size_t i = 0; i < json.size; i++) {
        uint8_t byte = json.data[i];

        if (in_text) {
            if (byte == '\\') {
                i++;
            } else if (byte == '"') {
                in_text = false;
            }
        } else if (byte == '"') {
            in_text = true;
        } else if (byte == '{' || byte == '[') {
            if (++depth > JSON_DEPTH_MAX) {
                return false;
            }
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

enum token_fault token_parse_object(struct bytes segment, struct arena *arena,
                                    enum token_fault fault, struct json_t **ret_object)
{
    uint8_t *text = arena_alloc(arena, segment.size);
    size_t size = 0;
    json_t *object;

    if (text == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (token_parse_base64url(segment, text, &size) != 0 ||
        !token_parse_is_shallow((struct bytes){text, size})) {
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

struct bytes token_parse_text(const struct json_t *value)
{
    if (!json_is_string(value)) {
        return (struct bytes){NULL, 0};
    }
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

bool token_parse_is_plain(struct bytes text, size_t size_max)
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
    struct bytes algorithm = token_parse_text(json_object_get(object, "alg"));
    struct token_header header = {.key_id = NULL};
    enum token_fault fault;

    if (header_is_refused(object)) {
        return TOKEN_REFUSED_HEADER;
    }
    if (!token_parse_is_plain(algorithm, TOKEN_KEY_ID_SIZE_MAX) ||
        (key_id != NULL &&
         !token_parse_is_plain(token_parse_text(key_id), TOKEN_KEY_ID_SIZE_MAX))) {
        return TOKEN_BAD_HEADER;
    }
    fault = read_type(json_object_get(object, "typ"), &header.type);
    if (fault != TOKEN_OK) {
        return fault;
    }
    header.algorithm = arena_copy_text(arena, algorithm);
    if (key_id != NULL) {
        header.key_id = arena_copy_text(arena, token_parse_text(key_id));
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
    enum token_fault fault = token_parse_object(segment, arena, TOKEN_BAD_HEADER, &object);

    if (fault == TOKEN_OK) {
        fault = read_header(object, arena, ret_header);
    }
    json_decref(object);
    return fault;
}
