#include "core/signature.h"
#include "service/token_keys.h"
#include "service/token_keys_internal.h"
#include "service/token_parse.h"

#include <jansson.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/*
 * A key set is read whole or not at all, and strictly: who makes a mistake in this file locks
 * everybody out, or lets somebody in, and should hear of it at once. What is well formed but not
 * for us (other kinds of keys, keys for encryption) is left out and named, because the sets that
 * identity providers publish have such keys too.
 *
 *   1. Size, depth, JSON without duplicate members, `keys` is a list of at most TOKEN_KEYS_MAX.
 *   2. Each key: no private part, kind and curve, use and key_ops, kid, alg, then its numbers.
 *   3. At least one is left, and no two have one kid.
 *
 * A private key is refused loudly: it would work, but whoever can read the verifier's files could
 * sign tokens with it. So is a shared secret (kty oct), which belongs into auth.jwt_secret_file.
 */

#define NUMBER_SIZE_MAX 1024 /* bytes of any number in a key; more is no key that we take */
#define KEY_NAME_SHOWN  64   /* bytes of a kid in a problem */

/* One key on its way from JSON. */
struct reading {
    struct token_keys *keys; /* what was read so far */
    char *problem;
    size_t index;
    const json_t *object;
    enum token_algorithm algorithm;
    struct bytes key_id;
};

enum outcome {
    OUTCOME_TAKEN,
    OUTCOME_LEFT_OUT, /* `problem` got a line */
    OUTCOME_REFUSED,  /* likewise */
    OUTCOME_NO_MEMORY,
};

/* Adds text behind what stands in `problem`, as far as there is room. */
__attribute__((format(printf, 2, 3))) static void tell(char *problem, const char *format, ...)
{
    size_t used = strlen(problem);
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(problem + used, TOKEN_KEYS_PROBLEM_SIZE - used, format, arguments);
    va_end(arguments);
}

/* Says that this key is refused, or left out, and why. What was left out before is then of no
 * interest. */
__attribute__((format(printf, 3, 4))) static enum outcome
judge(const struct reading *reading, enum outcome outcome, const char *format, ...)
{
    char why[TOKEN_KEYS_PROBLEM_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    if (outcome == OUTCOME_REFUSED) {
        reading->problem[0] = '\0';
    } else if (reading->problem[0] != '\0') {
        tell(reading->problem, "; ");
    }
    tell(reading->problem, "key %zu", reading->index + 1);
    if (reading->key_id.size > 0) {
        tell(reading->problem, " (kid \"%.*s\")",
             (int)(reading->key_id.size < KEY_NAME_SHOWN ? reading->key_id.size : KEY_NAME_SHOWN),
             (const char *)reading->key_id.data);
    }
    tell(reading->problem, outcome == OUTCOME_LEFT_OUT ? " is left out: %s" : ": %s", why);
    return outcome;
}

/* A member's text; size 0 when there is none, or it is something else. */
static struct bytes member_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_string(value)) {
        return (struct bytes){0};
    }
    return (struct bytes){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

static bool member_is(const json_t *object, const char *name, const char *expected)
{
    return bytes_equal(member_text(object, name), bytes_from_text(expected));
}

static enum outcome check_public(const struct reading *reading)
{
    static const char *const names[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};

    if (member_is(reading->object, "kty", "oct") || json_object_get(reading->object, "k") != NULL) {
        return judge(reading, OUTCOME_REFUSED,
                     "a shared secret (kty oct) does not belong into a file of public keys: put it "
                     "into auth.jwt_secret_file");
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (json_object_get(reading->object, names[i]) != NULL) {
            return judge(reading, OUTCOME_REFUSED,
                         "this is a private key (it has the member %s): leave only the public part "
                         "here, and replace the key if others could read this file",
                         names[i]);
        }
    }
    return OUTCOME_TAKEN;
}

/* Kind and curve to the one algorithm of such keys. */
static enum outcome read_kind(struct reading *reading)
{
    const json_t *object = reading->object;
    struct bytes kind = member_text(object, "kty");
    struct bytes curve = member_text(object, "crv");

    if (kind.size == 0) {
        return judge(reading, OUTCOME_REFUSED, "it has no kty");
    }
    if (member_is(object, "kty", "RSA")) {
        reading->algorithm = TOKEN_ALGORITHM_RS256;
        return OUTCOME_TAKEN;
    }
    if (member_is(object, "kty", "EC") && member_is(object, "crv", "P-256")) {
        reading->algorithm = TOKEN_ALGORITHM_ES256;
        return OUTCOME_TAKEN;
    }
    if (member_is(object, "kty", "OKP") && member_is(object, "crv", "Ed25519")) {
        reading->algorithm = TOKEN_ALGORITHM_EDDSA;
        return OUTCOME_TAKEN;
    }
    return judge(reading, OUTCOME_LEFT_OUT,
                 "userd knows no keys of kty %.32s, crv %.32s (it takes RSA, EC with P-256, and "
                 "OKP with Ed25519)",
                 (const char *)kind.data, curve.size == 0 ? "-" : (const char *)curve.data);
}

/* `use` and `key_ops` say what a key is for. */
static enum outcome check_use(const struct reading *reading)
{
    const json_t *use = json_object_get(reading->object, "use");
    const json_t *operations = json_object_get(reading->object, "key_ops");
    bool verifies = operations == NULL;

    if ((use != NULL && !json_is_string(use)) ||
        (operations != NULL && !json_is_array(operations))) {
        return judge(reading, OUTCOME_REFUSED, "use is a text, key_ops a list of texts");
    }
    for (size_t i = 0; i < json_array_size(operations); i++) {
        const char *operation = json_string_value(json_array_get(operations, i));

        if (operation == NULL) {
            return judge(reading, OUTCOME_REFUSED, "use is a text, key_ops a list of texts");
        }
        verifies = verifies || strcmp(operation, "verify") == 0;
    }
    if ((use != NULL && strcmp(json_string_value(use), "sig") != 0) || !verifies) {
        return judge(reading, OUTCOME_LEFT_OUT, "it is not for signatures (use sig)");
    }
    return OUTCOME_TAKEN;
}

static enum outcome check_key_id(const struct reading *reading)
{
    struct bytes key_id = reading->key_id;

    if (key_id.size == 0) {
        return judge(reading, OUTCOME_REFUSED,
                     "it has no kid: give it one, and the same to the tokens signed with it");
    }
    if (!token_parse_is_plain(key_id, TOKEN_KEY_ID_SIZE_MAX)) {
        return judge(reading, OUTCOME_REFUSED,
                     "its kid is longer than %d bytes or has control characters",
                     TOKEN_KEY_ID_SIZE_MAX);
    }
    for (unsigned i = 0; i < reading->keys->count; i++) {
        const char *other = reading->keys->items[i]->key_id;

        if (other != NULL && bytes_equal(key_id, bytes_from_text(other))) {
            return judge(reading, OUTCOME_REFUSED, "another key has the same kid");
        }
    }
    return OUTCOME_TAKEN;
}

static enum outcome check_algorithm(const struct reading *reading)
{
    const char *expected = token_algorithm_name(reading->algorithm);
    const json_t *algorithm = json_object_get(reading->object, "alg");

    /* RFC 9864 has a name of its own for EdDSA with this curve, so keys may use it; tokens do not.
     */
    if (algorithm == NULL || member_is(reading->object, "alg", expected) ||
        (reading->algorithm == TOKEN_ALGORITHM_EDDSA &&
         member_is(reading->object, "alg", "Ed25519"))) {
        return OUTCOME_TAKEN;
    }
    return judge(reading, OUTCOME_REFUSED,
                 "alg is %.32s: keys of this kind are for %s here; remove the key, or alg",
                 json_is_string(algorithm) ? json_string_value(algorithm) : "no text", expected);
}

/* A number in base64url. False when it is not there or written otherwise. */
static bool read_number(const json_t *object, const char *name, uint8_t out[NUMBER_SIZE_MAX],
                        struct bytes *ret_number)
{
    struct bytes text = member_text(object, name);
    size_t size = 0;

    if (text.size / 4 * 3 + 2 > NUMBER_SIZE_MAX || token_parse_base64url(text, out, &size) != 0) {
        return false;
    }
    *ret_number = (struct bytes){out, size};
    return true;
}

static enum outcome refuse_numbers(const struct reading *reading, int result)
{
    if (result == -ENOMEM) {
        return OUTCOME_NO_MEMORY;
    }
    if (reading->algorithm == TOKEN_ALGORITHM_RS256) {
        return judge(reading, OUTCOME_REFUSED,
                     result == SIGNATURE_E_SIZE
                         ? "its modulus must have %d to %d bits: make a new key"
                         : "its modulus (n, %d to %d bits) or exponent (e, odd, 3 to 32 bits) is "
                           "no such number",
                     SIGNATURE_RSA_BITS_MIN, SIGNATURE_RSA_BITS_MAX);
    }
    return judge(reading, OUTCOME_REFUSED,
                 result == SIGNATURE_E_SIZE ? "its coordinates must have 32 bytes each"
                                            : "it is no point of its curve");
}

/* The numbers last: they cost time. */
static enum outcome read_numbers(const struct reading *reading, struct token_key *key)
{
    const json_t *object = reading->object;
    uint8_t room[2][NUMBER_SIZE_MAX];
    struct bytes first = {0};
    struct bytes second = {0};
    const char *names[2] = {"x", NULL};
    int result;

    if (key->algorithm == TOKEN_ALGORITHM_RS256) {
        names[0] = "n";
        names[1] = "e";
    } else if (key->algorithm == TOKEN_ALGORITHM_ES256) {
        names[1] = "y";
    }
    if (!read_number(object, names[0], room[0], &first) ||
        (names[1] != NULL && !read_number(object, names[1], room[1], &second))) {
        return judge(reading, OUTCOME_REFUSED, "%s%s%s must be in base64url without padding",
                     names[0], names[1] == NULL ? "" : " and ", names[1] == NULL ? "" : names[1]);
    }
    if (key->algorithm == TOKEN_ALGORITHM_RS256) {
        result = signature_key_new_rsa(first, second, &key->public_key);
    } else if (key->algorithm == TOKEN_ALGORITHM_ES256) {
        result = signature_key_new_p256(first, second, &key->public_key);
    } else {
        result = signature_key_new_ed25519(first, &key->public_key);
    }
    if (result != 0) {
        return refuse_numbers(reading, result);
    }
    token_key_identify(key, first, second);
    return OUTCOME_TAKEN;
}

static enum outcome take_key(const struct reading *reading)
{
    struct token_key *key = token_key_new(reading->algorithm);
    enum outcome outcome = OUTCOME_NO_MEMORY;

    if (key == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    key->key_id = strndup((const char *)reading->key_id.data, reading->key_id.size);
    if (key->key_id != NULL) {
        outcome = read_numbers(reading, key);
    }
    if (outcome != OUTCOME_TAKEN) {
        token_key_release(key);
        return outcome;
    }
    reading->keys->items[reading->keys->count++] = key;
    return OUTCOME_TAKEN;
}

static enum outcome read_key(struct reading *reading)
{
    enum outcome outcome;

    if (!json_is_object(reading->object)) {
        return judge(reading, OUTCOME_REFUSED, "it is no JSON object");
    }
    reading->key_id = member_text(reading->object, "kid");
    outcome = check_public(reading);
    if (outcome == OUTCOME_TAKEN) {
        outcome = read_kind(reading);
    }
    if (outcome == OUTCOME_TAKEN) {
        outcome = check_use(reading);
    }
    if (outcome == OUTCOME_TAKEN) {
        outcome = check_key_id(reading);
    }
    if (outcome == OUTCOME_TAKEN) {
        outcome = check_algorithm(reading);
    }
    return outcome == OUTCOME_TAKEN ? take_key(reading) : outcome;
}

static enum outcome read_list(struct token_keys *keys, const json_t *list, char *problem)
{
    struct reading reading = {.keys = keys, .problem = problem};
    unsigned before = keys->count;

    if (!json_is_array(list)) {
        tell(problem, "this is no key set: it needs a member `keys`, a list");
        return OUTCOME_REFUSED;
    }
    if (json_array_size(list) > TOKEN_KEYS_MAX) {
        tell(problem, "it has %zu keys: at most %d are taken", json_array_size(list),
             TOKEN_KEYS_MAX);
        return OUTCOME_REFUSED;
    }
    for (reading.index = 0; reading.index < json_array_size(list); reading.index++) {
        enum outcome outcome;

        reading.object = json_array_get(list, reading.index);
        reading.key_id = (struct bytes){0};
        outcome = read_key(&reading);
        if (outcome == OUTCOME_REFUSED || outcome == OUTCOME_NO_MEMORY) {
            return outcome;
        }
    }
    if (keys->count == before) {
        tell(problem, "%sno key is left that could verify a token", problem[0] == '\0' ? "" : "; ");
        return OUTCOME_REFUSED;
    }
    return OUTCOME_TAKEN;
}

/* Takes back what was added last. */
static void shrink(struct token_keys *keys, unsigned count)
{
    while (keys->count > count) {
        token_key_release(keys->items[--keys->count]);
    }
}

int token_keys_add_jwks(struct token_keys *keys, struct bytes text, char *problem)
{
    unsigned before = keys->count;
    enum outcome outcome;
    json_error_t error;
    json_t *set;

    problem[0] = '\0';
    if (text.size > TOKEN_JWKS_SIZE_MAX) {
        tell(problem, "it is larger than %d bytes", TOKEN_JWKS_SIZE_MAX);
        return TOKEN_E_BAD_JWKS;
    }
    if (!token_parse_is_shallow(text)) {
        tell(problem, "this is no key set: its JSON is too deep");
        return TOKEN_E_BAD_JWKS;
    }
    set = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (set == NULL && json_error_code(&error) == json_error_out_of_memory) {
        return -ENOMEM;
    }
    if (set == NULL) {
        /* Not the library's text: it quotes the file, which may be that of the secret. */
        tell(problem, "line %d, column %d: %s", error.line, error.column,
             json_error_code(&error) == json_error_duplicate_key
                 ? "a member stands there twice"
                 : "this is no key set: its JSON is not well formed");
        return TOKEN_E_BAD_JWKS;
    }
    outcome = read_list(keys, json_object_get(set, "keys"), problem);
    json_decref(set);
    if (outcome == OUTCOME_TAKEN) {
        return 0;
    }
    shrink(keys, before);
    return outcome == OUTCOME_NO_MEMORY ? -ENOMEM : TOKEN_E_BAD_JWKS;
}
