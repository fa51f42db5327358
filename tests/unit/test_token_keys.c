#include "lib/token_maker.h"
#include "lib/unit.h"

#include "service/token_keys.h"

#include <errno.h>
#include <stdio.h>

#define RSA     TOKEN_MAKER_JWK_RSA
#define P256    TOKEN_MAKER_JWK_P256
#define ED25519 TOKEN_MAKER_JWK_ED25519

static struct token_keys *keys;
static char problem[TOKEN_KEYS_PROBLEM_SIZE];

static int add(const char *jwks)
{
    keys = NULL;
    ck_assert_int_eq(token_keys_new(&keys), 0);
    memset(problem, 'x', sizeof(problem));
    return token_keys_add_jwks(keys, bytes_from_text(jwks), problem);
}

static void assert_refused(const char *jwks, const char *why)
{
    ck_assert_msg(add(jwks) == TOKEN_E_BAD_JWKS, "%s", jwks);
    ck_assert_msg(strstr(problem, why) != NULL, "%s: %s", jwks, problem);
    ck_assert_uint_eq(keys->count, 0);
    token_keys_free(keys);
    keys = NULL;
}

static void assert_taken(const char *jwks, unsigned count, const char *warning)
{
    ck_assert_msg(add(jwks) == 0, "%s: %s", jwks, problem);
    ck_assert_uint_eq(keys->count, count);
    ck_assert_msg(warning == NULL ? problem[0] == '\0' : strstr(problem, warning) != NULL, "%s",
                  problem);
    token_keys_free(keys);
    keys = NULL;
}

/* Each kind of key gets its one algorithm. */
START_TEST(keys_own_their_algorithm)
{
    ck_assert_int_eq(add(TOKEN_MAKER_JWKS), 0);
    ck_assert_str_eq(problem, "");
    ck_assert_uint_eq(keys->count, 3);
    ck_assert_str_eq(keys->items[0]->key_id, "r1");
    ck_assert_str_eq(token_algorithm_name(keys->items[0]->algorithm), "RS256");
    ck_assert_str_eq(keys->items[1]->key_id, "e1");
    ck_assert_str_eq(token_algorithm_name(keys->items[1]->algorithm), "ES256");
    ck_assert_str_eq(keys->items[2]->key_id, "d1");
    ck_assert_str_eq(token_algorithm_name(keys->items[2]->algorithm), "EdDSA");
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL(TOKEN_MAKER_SECRET)), 0);
    ck_assert_ptr_null(keys->items[3]->key_id);
    ck_assert_str_eq(token_algorithm_name(keys->items[3]->algorithm), "HS256");
    token_keys_free(keys);
}

END_TEST

/* What a set may say besides, and what others put into theirs, changes nothing. */
START_TEST(keys_ignore_what_others_add)
{
    assert_taken("{\"keys\":[" RSA ",\"alg\":\"RS256\"}," P256 ",\"alg\":\"ES256\"}," ED25519
                 ",\"alg\":\"EdDSA\"}],\"issued\":1}",
                 3, NULL);
    assert_taken("{\"keys\":[" RSA ",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"x5t\":\"AA\","
                 "\"x5c\":[\"AAAA\"],\"ext\":true}]}",
                 1, NULL);
    assert_taken("{\"keys\":[" ED25519 ",\"alg\":\"Ed25519\"}]}", 1, NULL);
}

END_TEST

/* The key owns the algorithm: another one beside it is a mistake. */
START_TEST(keys_refuse_wrong_algorithms)
{
    static const char *const algorithms[] = {"\"RS512\"", "\"PS256\"", "\"HS256\"", "\"none\"",
                                             "\"rs256\"", "\"ES256\"", "\"\"",      "1"};
    char jwks[2048];

    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[" RSA ",\"alg\":%s}]}", algorithms[i]);
        assert_refused(jwks, "key 1 (kid \"r1\"): alg is ");
        ck_assert_ptr_nonnull(strstr(problem, "RS256"));
    }
    assert_refused("{\"keys\":[" P256 ",\"alg\":\"ES384\"}]}", "ES256");
    assert_refused("{\"keys\":[" ED25519 ",\"alg\":\"ES256\"}]}", "EdDSA");
    assert_refused("{\"keys\":[" P256 ",\"alg\":\"Ed25519\"}]}", "ES256");
}

END_TEST

/* A private key here is a leak, and the set is refused with a word about it; so is a shared
 * secret. Neither gets into the text. */
START_TEST(keys_refuse_private_parts)
{
    static const char *const names[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
    static const char *const heads[] = {RSA, P256, ED25519};
    char jwks[2048];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[%s,\"%s\":\"c2VjcmV0\"}]}", heads[k],
                           names[i]);
            assert_refused(jwks, "this is a private key");
            ck_assert_ptr_null(strstr(problem, "c2VjcmV0"));
        }
    }
    assert_refused("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"s\",\"k\":\"c2VjcmV0\"}]}",
                   "key 1 (kid \"s\"): a shared secret");
    ck_assert_ptr_nonnull(strstr(problem, "auth.jwt_secret_file"));
    ck_assert_ptr_null(strstr(problem, "c2VjcmV0"));
    assert_refused("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"s\"}]}", "a shared secret");
    assert_refused("{\"keys\":[" RSA ",\"k\":\"c2VjcmV0\"}]}", "a shared secret");
    assert_refused("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-999\",\"kid\":\"x\",\"d\":\"AA\"}]}",
                   "this is a private key");
}

END_TEST

/* A file that is no key set at all, such as that of the secret, is not quoted. */
START_TEST(keys_quote_nothing)
{
    assert_refused("c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWU=\n", "line 1, column");
    ck_assert_ptr_null(strstr(problem, "c2Vj"));
    assert_refused("{\"keys\": c2VjcmV0}", "line 1, column");
    ck_assert_ptr_null(strstr(problem, "c2Vj"));
}

END_TEST

/* The set as a whole: JSON, no member twice, `keys` a list of objects, not deep. */
START_TEST(keys_refuse_what_is_no_set)
{
    char deep[256] = "{\"keys\":";

    assert_refused("", "not well formed");
    assert_refused("[]", "`keys`");
    assert_refused("{}", "`keys`");
    assert_refused("{\"keys\":{}}", "`keys`");
    assert_refused(RSA "}", "`keys`");
    assert_refused("{\"keys\":[]}", "no key is left");
    assert_refused("{\"keys\":[1]}", "key 1: it is no JSON object");
    assert_refused("{\"keys\":[" RSA "},null]}", "key 2: it is no JSON object");
    assert_refused("{\"keys\":[" RSA "}]} x", "not well formed");
    assert_refused("{\"keys\":[" RSA "}],\"keys\":[]}", "twice");
    assert_refused("{\"keys\":[" RSA ",\"kid\":\"r2\"}]}", "twice");
    assert_refused("-----BEGIN PUBLIC KEY-----\n", "not well formed");
    memset(deep + strlen(deep), '[', 200);
    assert_refused(deep, "too deep");
}

END_TEST

/* Kids: needed, texts, not too long, without control characters, each once. */
START_TEST(keys_need_a_kid)
{
    static const char tail[] =
        "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" TOKEN_MAKER_ED25519_X "\"}]}";
    char jwks[1024];

    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{%s", tail);
    assert_refused(jwks, "key 1: it has no kid");
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kid\":\"\",%s", tail);
    assert_refused(jwks, "key 1: it has no kid");
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kid\":7,%s", tail);
    assert_refused(jwks, "key 1: it has no kid");
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kid\":\"a\\tb\",%s", tail);
    assert_refused(jwks, "control characters");
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kid\":\"%0256d\",%s", 1, tail);
    assert_taken(jwks, 1, NULL);
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[{\"kid\":\"%0257d\",%s", 1, tail);
    assert_refused(jwks, "longer than 256 bytes");
    assert_refused("{\"keys\":[" RSA "}," P256 "}," RSA "}]}",
                   "key 3 (kid \"r1\"): another key has the same kid");
}

END_TEST

/* What is well formed but not for us is left out and named; alone it is no set. */
START_TEST(keys_leave_out_other_kinds)
{
    static const char *const others[] = {
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"o\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"kid\":\"o\"}",
        "{\"kty\":\"EC\",\"kid\":\"o\"}",
        "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"kid\":\"o\",\"x\":\"AA\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"kid\":\"o\"}",
        "{\"kty\":\"AKP\",\"alg\":\"ML-DSA-44\",\"kid\":\"o\",\"pub\":\"AA\"}",
        "{\"kty\":\"rsa\",\"kid\":\"o\"}",
        "{\"kty\":\"RSA\",\"kid\":\"o\",\"use\":\"enc\",\"alg\":\"RSA-OAEP\",\"n\":\"AA\"}",
        "{\"kty\":\"RSA\",\"kid\":\"o\",\"key_ops\":[\"wrapKey\"],\"n\":\"AA\"}",
        "{\"kty\":\"RSA\",\"kid\":\"o\",\"key_ops\":[]}",
    };
    char jwks[2048];

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[%s," ED25519 "}]}", others[i]);
        assert_taken(jwks, 1, "key 1 (kid \"o\") is left out: ");
        (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[%s]}", others[i]);
        assert_refused(jwks, "no key is left");
    }
    (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[%s," ED25519 "},%s]}", others[0], others[7]);
    assert_taken(jwks, 1, "; key 3 (kid \"o\") is left out: ");
    assert_refused("{\"keys\":[{\"kid\":\"o\"}]}", "it has no kty");
    assert_refused("{\"keys\":[{\"kid\":\"o\",\"kty\":1}]}", "it has no kty");
    assert_refused("{\"keys\":[" RSA ",\"use\":1}]}", "use is a text");
    assert_refused("{\"keys\":[" RSA ",\"key_ops\":\"verify\"}]}", "key_ops");
    assert_refused("{\"keys\":[" RSA ",\"key_ops\":[\"verify\",1]}]}", "key_ops");
}

END_TEST

/* Numbers that are missing, misspelt, too small, or no points are refused, each with its reason. */
START_TEST(keys_refuse_bad_numbers)
{
    static const struct {
        const char *key;
        const char *why;
    } rows[] = {
        {"\"kty\":\"RSA\",\"e\":\"AQAB\"", "n and e must be in base64url"},
        {"\"kty\":\"RSA\",\"n\":\"" TOKEN_MAKER_RSA_N "\"", "n and e must be in base64url"},
        {"\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":7", "n and e must be in base64url"},
        {"\"kty\":\"RSA\",\"e\":\"AQAB=\",\"n\":\"" TOKEN_MAKER_RSA_N "\"", "base64url"},
        {"\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"" TOKEN_MAKER_P256_X "\"", "2048 to 4096 bits"},
        {"\"kty\":\"RSA\",\"e\":\"AQ\",\"n\":\"" TOKEN_MAKER_RSA_N "\"", "exponent (e, odd"},
        {"\"kty\":\"RSA\",\"e\":\"Ag\",\"n\":\"" TOKEN_MAKER_RSA_N "\"", "exponent (e, odd"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" TOKEN_MAKER_P256_X "\"", "x and y must be"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"", "32 bytes"},
        {"\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" TOKEN_MAKER_P256_X
         "\",\"y\":\"" TOKEN_MAKER_P256_X "\"",
         "no point of its curve"},
        {"\"kty\":\"OKP\",\"crv\":\"Ed25519\"", "x must be in base64url"},
        {"\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQAB\"", "32 bytes"},
        {"\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
         "no point of its curve"},
    };

    char jwks[2048];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(jwks, sizeof(jwks), "{\"keys\":[" ED25519 "},{\"kid\":\"b\",%s}]}",
                       rows[i].key);
        assert_refused(jwks, rows[i].why);
        ck_assert_ptr_nonnull(strstr(problem, "key 2 (kid \"b\"): "));
    }
}

END_TEST

/* A set is bounded in bytes and in keys. */
START_TEST(keys_are_bounded)
{
    size_t size = TOKEN_JWKS_SIZE_MAX + 1;
    char *text = malloc(size + 1);
    char *at;

    memset(text, ' ', size);
    memcpy(text, TOKEN_MAKER_JWKS, sizeof(TOKEN_MAKER_JWKS) - 1);
    text[size] = '\0';
    assert_refused(text, "larger than 1048576 bytes");
    text[size - 1] = '\0';
    assert_taken(text, 3, NULL);
    for (int count = TOKEN_KEYS_MAX; count <= TOKEN_KEYS_MAX + 1; count++) {
        at = text + sprintf(text, "{\"keys\":[");
        for (int i = 0; i < count; i++) {
            at += sprintf(at, "%s{\"kid\":\"%d\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}",
                          i == 0 ? "" : ",", i, TOKEN_MAKER_ED25519_X);
        }
        (void)sprintf(at, "]}");
        if (count == TOKEN_KEYS_MAX) {
            ck_assert_int_eq(add(text), 0);
            ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL(TOKEN_MAKER_SECRET)), 0);
            ck_assert_uint_eq(keys->count, TOKEN_KEYS_MAX + 1);
            token_keys_free(keys);
            keys = NULL;
        } else {
            assert_refused(text, "it has 65 keys: at most 64");
        }
    }
    free(text);
}

END_TEST

/* A problem fits into its place, whatever the set says. */
START_TEST(keys_say_it_in_short)
{
    char *text = malloc(1 << 16);
    char *at = text + sprintf(text, "{\"keys\":[" ED25519 "}");

    for (int i = 0; i < 63; i++) {
        at += sprintf(at, ",{\"kid\":\"%0200d\",\"kty\":\"%0100d\",\"crv\":\"%0100d\"}", i, i, i);
    }
    (void)sprintf(at, "]}");
    ck_assert_int_eq(add(text), 0);
    ck_assert_uint_eq(strlen(problem), sizeof(problem) - 1);
    token_keys_free(keys);
    free(text);
}

END_TEST

/* A secret has 32 to 4096 bytes after one newline at its end; a public key is none (it would let
 * everybody who knows it sign); and there is one. */
START_TEST(keys_refuse_weak_secrets)
{
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    static uint8_t large[TOKEN_SECRET_SIZE_MAX + 1];
    struct bytes secret = BYTES_LITERAL(TOKEN_MAKER_SECRET);

    ck_assert_int_eq(token_keys_new(&keys), 0);
    ck_assert_int_eq(token_keys_add_secret(keys, (struct bytes){NULL, 0}), TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL("\n")), TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, (struct bytes){secret.data, 31}),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(
        token_keys_add_secret(keys, BYTES_LITERAL("0123456789abcdef0123456789abcde\n")),
        TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, (struct bytes){large, sizeof(large)}),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, bytes_from_text(pem)), TOKEN_E_SECRET_IS_PEM);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL(TOKEN_MAKER_JWKS)),
                     TOKEN_E_SECRET_IS_PEM);
    ck_assert_uint_eq(keys->count, 0);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL(TOKEN_MAKER_SECRET "\r\n")), 0);
    ck_assert_uint_eq(keys->items[0]->secret_size, 32);
    ck_assert_int_eq(token_keys_add_secret(keys, secret), TOKEN_E_KEY_EXISTS);
    token_keys_free(keys);
}

END_TEST

/* Keys outlive their set while somebody holds them. */
START_TEST(keys_are_counted)
{
    struct token_key *key;

    ck_assert_int_eq(add(TOKEN_MAKER_JWKS), 0);
    key = keys->items[1];
    token_key_hold(key);
    token_keys_free(keys);
    ck_assert_str_eq(key->key_id, "e1");
    token_key_release(key);
    token_keys_free(NULL);
}

END_TEST

UNIT_MAIN("token_keys", keys_own_their_algorithm, keys_ignore_what_others_add,
          keys_refuse_wrong_algorithms, keys_refuse_private_parts, keys_quote_nothing,
          keys_refuse_what_is_no_set, keys_need_a_kid, keys_leave_out_other_kinds,
          keys_refuse_bad_numbers, keys_are_bounded, keys_say_it_in_short, keys_refuse_weak_secrets,
          keys_are_counted)
