#include "token_fixture.h"

#include <stdio.h>

/* Forged and damaged tokens against a verifier that has a secret and public keys of each kind. */

#define HEAD_RSA     "{\"alg\":\"RS256\",\"kid\":\"r1\"}"
#define HEAD_P256    "{\"alg\":\"ES256\",\"kid\":\"e1\"}"
#define HEAD_ED25519 "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}"

static const char rsa_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtlOTPrmia9tW6Wdk6tXP\n"
                              "juqS6iJ8adrugimQqnBY+rfSZ2VHjnfOv69vseiFlT7XycK/iwEpFFxZtzYZfekf\n"
                              "awQJ5aHLe9iMh+exyIuYCcQuuO29i412yBMcnOoebBCP2PpyWlGP27FaQWPC54US\n"
                              "CLlPRj1iZsWvZBoF15cHx7wNl6iErly1Miz5SswujtmV2uqq3qkPNMG0ybWj/8UQ\n"
                              "AicNNZFNWgvhkB+WviY9h05OZkzmKk+qWg1vfgk+vNcsJvrnwIjd9hHD7+aoFEgA\n"
                              "O+7SwIvuk8fuK70lr/vqSJc2KyH24UTTyGOY5KY8zehdidjnyu1yvgy5zM5LkpfC\n"
                              "2wIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";
static const char p256_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4HUKmx5GUUDJ4ZH5f3gbc1JBzgBT\n"
                               "zTqMFsWg6tqaKi/BVrUjT6/ICz6gcVtsKK4Zv+Jbu3+NZVQno1S/YkkH5g==\n"
                               "-----END PUBLIC KEY-----\n";
/* SubjectPublicKeyInfo, base64url. */
static const char rsa_der[] =
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtlOTPrmia9tW6Wdk6tXPjuqS6iJ8adrugimQqnBY"
    "-rfSZ2VHjnfOv69vseiFlT7XycK_iwEpFFxZtzYZfekfawQJ5aHLe9iMh-exyIuYCcQuuO29i412yBMcnOoe"
    "bBCP2PpyWlGP27FaQWPC54USCLlPRj1iZsWvZBoF15cHx7wNl6iErly1Miz5SswujtmV2uqq3qkPNMG0ybWj"
    "_8UQAicNNZFNWgvhkB-WviY9h05OZkzmKk-qWg1vfgk-vNcsJvrnwIjd9hHD7-aoFEgAO-7SwIvuk8fuK70l"
    "r_vqSJc2KyH24UTTyGOY5KY8zehdidjnyu1yvgy5zM5LkpfC2wIDAQAB";
static const char p256_der[] =
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4HUKmx5GUUDJ4ZH5f3gbc1JBzgBTzTqMFsWg6tqaKi_BVrUj"
    "T6_ICz6gcVtsKK4Zv-Jbu3-NZVQno1S_YkkH5g";

static const struct {
    enum token_maker_key key;
    const char *algorithm;
    const char *key_id; /* NULL = none */
} kinds[] = {
    {TOKEN_MAKER_HS256, "HS256", NULL},
    {TOKEN_MAKER_RS256, "RS256", "r1"},
    {TOKEN_MAKER_ES256, "ES256", "e1"},
    {TOKEN_MAKER_EDDSA, "EdDSA", "d1"},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static void write_header(char out[128], const char *algorithm, const char *key_id)
{
    if (key_id == NULL) {
        (void)snprintf(out, 128, "{\"alg\":\"%s\"}", algorithm);
    } else {
        (void)snprintf(out, 128, "{\"alg\":\"%s\",\"kid\":\"%s\"}", algorithm, key_id);
    }
}

/* Each kind of key passes its own tokens. */
START_TEST(corpus_good)
{
    open_public();
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_OK);
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_RS256, HEAD_RSA, BODY)), TOKEN_OK);
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_ES256, HEAD_P256, BODY)), TOKEN_OK);
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_EDDSA, HEAD_ED25519, BODY)), TOKEN_OK);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys, 4);
    done();
}

END_TEST

/* Every combination of named algorithm, named key and signing key, but for the right ones, is
 * refused: 4 x 4 x 4. */
START_TEST(corpus_every_mismatch)
{
    char header[128];

    open_public();
    for (size_t named = 0; named < KIND_COUNT; named++) {
        for (size_t chosen = 0; chosen < KIND_COUNT; chosen++) {
            for (size_t signer = 0; signer < KIND_COUNT; signer++) {
                enum token_fault expected = TOKEN_OK;

                if (named != chosen) {
                    expected = TOKEN_BAD_ALGORITHM;
                } else if (chosen != signer) {
                    expected = TOKEN_BAD_SIGNATURE;
                }
                write_header(header, kinds[named].algorithm, kinds[chosen].key_id);
                ck_assert_msg(judge(token_make(kinds[signer].key, header, BODY)) == expected,
                              "%s signed by %s", header, kinds[signer].algorithm);
            }
        }
    }
    done();
}

END_TEST

/* `none` in any spelling, with and without a signature, with and without a kid. */
START_TEST(corpus_none)
{
    static const char *const names[] = {"none", "None", "NONE", "nOnE"};
    char header[128];

    open_public();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t kind = 0; kind < KIND_COUNT; kind++) {
            char *token;

            write_header(header, names[i], kinds[kind].key_id);
            ck_assert_int_eq(judge(token_make(kinds[kind].key, header, BODY)), TOKEN_BAD_ALGORITHM);
            token = token_make(kinds[kind].key, header, BODY);
            strrchr(token, '.')[1] = '\0';
            ck_assert_int_eq(judge(token), TOKEN_BAD_SHAPE);
        }
    }
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* HS256 with what everybody knows of a public key as the secret: PEM, DER, the members of the
 * key set, the key set itself; for tokens with its kid and without. */
START_TEST(corpus_confusion)
{
    size_t sizes[4] = {0};
    uint8_t *decoded[] = {
        token_maker_decode(rsa_der, &sizes[0]),
        token_maker_decode(p256_der, &sizes[1]),
        token_maker_decode(TOKEN_MAKER_RSA_N, &sizes[2]),
        token_maker_decode(TOKEN_MAKER_ED25519_X, &sizes[3]),
    };
    const struct bytes secrets[] = {
        bytes_from_text(rsa_pem),
        bytes_from_text(p256_pem),
        {decoded[0], sizes[0]},
        {decoded[1], sizes[1]},
        {decoded[2], sizes[2]},
        {decoded[3], sizes[3]},
        bytes_from_text(TOKEN_MAKER_RSA_N),
        bytes_from_text(TOKEN_MAKER_JWK_RSA "}"),
        bytes_from_text(TOKEN_MAKER_JWKS),
        bytes_from_text("r1"),
    };

    open_public();
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        ck_assert_int_eq(judge(token_make_hs256(secrets[i], HEAD, BODY)), TOKEN_BAD_SIGNATURE);
        for (size_t kind = 1; kind < KIND_COUNT; kind++) {
            char header[128];

            write_header(header, "HS256", kinds[kind].key_id);
            ck_assert_int_eq(judge(token_make_hs256(secrets[i], header, BODY)),
                             TOKEN_BAD_ALGORITHM);
            write_header(header, kinds[kind].algorithm, kinds[kind].key_id);
            ck_assert_int_eq(judge(token_make_hs256(secrets[i], header, BODY)),
                             TOKEN_BAD_SIGNATURE);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        free(decoded[i]);
    }
    done();
}

END_TEST

/* A kid is compared and nothing else: it is no path, no query, no pattern. What is no kid at all
 * (another type, empty, huge, with a NUL) is refused before any key is looked at. */
START_TEST(corpus_kid_injection)
{
    static const struct {
        const char *key_id;
        enum token_fault fault;
    } rows[] = {
        {"\"../../../../dev/null\"", TOKEN_UNKNOWN_KEY},
        {"\"/dev/null\"", TOKEN_UNKNOWN_KEY},
        {"\"file:///etc/passwd\"", TOKEN_UNKNOWN_KEY},
        {"\"r1' OR '1'='1\"", TOKEN_UNKNOWN_KEY},
        {"\"x' UNION SELECT 'secret'--\"", TOKEN_UNKNOWN_KEY},
        {"\"$(id)\"", TOKEN_UNKNOWN_KEY},
        {"\"%s%s%n\"", TOKEN_UNKNOWN_KEY},
        {"\"*\"", TOKEN_UNKNOWN_KEY},
        {"\"R1\"", TOKEN_UNKNOWN_KEY},
        {"\"r1 \"", TOKEN_UNKNOWN_KEY},
        {"\"r\"", TOKEN_UNKNOWN_KEY},
        {"\"\"", TOKEN_BAD_HEADER},
        {"\"r1\\u0000\"", TOKEN_BAD_HEADER},
        {"\"r1\\n\"", TOKEN_BAD_HEADER},
        {"null", TOKEN_BAD_HEADER},
        {"1", TOKEN_BAD_HEADER},
        {"true", TOKEN_BAD_HEADER},
        {"[\"r1\"]", TOKEN_BAD_HEADER},
        {"{\"r1\":1}", TOKEN_BAD_HEADER},
    };

    char header[512];

    open_public();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":%s}", rows[i].key_id);
        ck_assert_msg(judge(token_make(TOKEN_MAKER_RS256, header, BODY)) == rows[i].fault, "%s",
                      header);
        (void)snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":%s}", rows[i].key_id);
        ck_assert_msg(judge_hs256(header, BODY) == rows[i].fault, "%s", header);
    }
    for (unsigned size = 256; size <= 257; size++) {
        (void)snprintf(header, sizeof(header), "{\"alg\":\"RS256\",\"kid\":\"%0*d\"}", (int)size,
                       1);
        ck_assert_int_eq(judge(token_make(TOKEN_MAKER_RS256, header, BODY)),
                         size == 256 ? TOKEN_UNKNOWN_KEY : TOKEN_BAD_HEADER);
    }
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* A token of a public key without kid, or of the secret with one, finds no key: there is no second
 * try. */
START_TEST(corpus_kid_left_out)
{
    open_public();
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_RS256, "{\"alg\":\"RS256\"}", BODY)),
                     TOKEN_BAD_ALGORITHM);
    token_verifier_set_keys(verifier, keys_of(NULL, TOKEN_MAKER_JWKS));
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_RS256, "{\"alg\":\"RS256\"}", BODY)),
                     TOKEN_UNKNOWN_KEY);
    done();
}

END_TEST

/* JSON that nests deeper than we read is refused without being read, in header and claims. */
START_TEST(corpus_deep_json)
{
    char deep[2048] = "{\"alg\":\"HS256\",\"sub\":\"a\",\"exp\":1700000100,\"x\":";
    size_t start = strlen(deep);

    open_public();
    for (size_t depth = 7; depth <= 900; depth += depth < 9 ? 1 : 100) {
        bool is_read = depth <= 7;

        memset(deep + start, '[', depth);
        memset(deep + start + depth, ']', depth);
        memcpy(deep + start + 2 * depth, "}", 2);
        ck_assert_int_eq(judge_hs256(HEAD, deep), is_read ? TOKEN_OK : TOKEN_BAD_CLAIMS);
        ck_assert_int_eq(judge_hs256(deep, BODY), is_read ? TOKEN_OK : TOKEN_BAD_HEADER);
    }
    done();
}

END_TEST

/* A token may be as long as the option says and not a byte longer. */
START_TEST(corpus_huge)
{
    size_t size = 6000;
    char *payload = malloc(size + 64);
    struct token_options options = plain_options;
    char *token;

    (void)sprintf(payload, "{\"sub\":\"a\",\"exp\":1700000100,\"x\":\"%0*d\"}", (int)size, 1);
    token = token_make(TOKEN_MAKER_HS256, HEAD, payload);
    options.size_max = (uint32_t)strlen(token);
    open_with(&options);
    ck_assert_int_eq(verify(token), TOKEN_OK);
    done();
    options.size_max--;
    open_with(&options);
    ck_assert_int_eq(verify(token), TOKEN_TOO_LONG);
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
    free(token);
    free(payload);
}

END_TEST

/* A token has one spelling: padding, the other alphabet, blanks, unused bits, a fourth segment are
 * refused, so that nobody fills the cache with variants of one good token. */
START_TEST(corpus_malleable_base64)
{
    char *good = token_make(TOKEN_MAKER_ES256, HEAD_P256, BODY);
    size_t size = strlen(good);
    char *bad = malloc(size + 8);

    open_public();
    ck_assert_int_eq(verify(good), TOKEN_OK);
    for (size_t i = 0; i < 3; i++) {
        static const char *const tails[] = {"=", "==", ".AAAA"};

        strcpy(bad, good);
        strcat(bad, tails[i]);
        ck_assert_int_eq(verify(bad), TOKEN_BAD_SHAPE);
    }
    for (size_t i = 0; i < 4; i++) {
        static const char spaces[] = " \n\t\r";

        memcpy(bad, good, size);
        bad[size] = spaces[i];
        bad[size + 1] = '\0';
        ck_assert_int_eq(verify(bad), TOKEN_BAD_SHAPE);
        bad[0] = spaces[i];
        memcpy(bad + 1, good, size + 1);
        ck_assert_int_eq(verify(bad), TOKEN_BAD_SHAPE);
    }
    for (char other = 0x20; other < 0x7f; other++) { /* 64 bytes leave four bits unused */
        strcpy(bad, good);
        bad[size - 1] = other;
        ck_assert_int_eq(verify(bad) == TOKEN_OK, other == good[size - 1]);
    }
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_entries, 1);
    free(bad);
    free(good);
    done();
}

END_TEST

/* Of each kind: wherever the signature is changed, cut or lengthened, the token is refused. */
START_TEST(corpus_damaged_signatures)
{
    uint8_t bytes[600] = {0};

    open_public();
    for (size_t kind = 0; kind < KIND_COUNT; kind++) {
        char header[128];
        char *good;
        uint8_t *signature;
        size_t size = 0;

        write_header(header, kinds[kind].algorithm, kinds[kind].key_id);
        good = token_make(kinds[kind].key, header, BODY);
        signature = token_maker_decode(strrchr(good, '.') + 1, &size);
        memcpy(bytes, signature, size);
        for (size_t i = 0; i < size; i += 7) {
            bytes[i] ^= 0x10;
            ck_assert_int_eq(judge(token_make_with(header, BODY, (struct bytes){bytes, size})),
                             TOKEN_BAD_SIGNATURE);
            bytes[i] ^= 0x10;
        }
        for (size_t other = 1; other <= sizeof(bytes); other += 13) {
            if (other != size) {
                ck_assert_int_eq(judge(token_make_with(header, BODY, (struct bytes){bytes, other})),
                                 TOKEN_BAD_SIGNATURE);
            }
        }
        ck_assert_int_eq(verify(good), TOKEN_OK);
        memset(bytes, 0, sizeof(bytes));
        ck_assert_int_eq(judge(token_make_with(header, BODY, (struct bytes){bytes, size})),
                         TOKEN_BAD_SIGNATURE);
        free(signature);
        free(good);
    }
    done();
}

END_TEST

/* What was signed is the header as it was sent: the same one written otherwise has another
 * signature. */
START_TEST(corpus_rewritten_header)
{
    char *good = token_make(TOKEN_MAKER_EDDSA, HEAD_ED25519, BODY);
    size_t size = 0;
    uint8_t *signature = token_maker_decode(strrchr(good, '.') + 1, &size);

    open_public();
    ck_assert_int_eq(verify(good), TOKEN_OK);
    ck_assert_int_eq(judge(token_make_with("{\"kid\":\"d1\",\"alg\":\"EdDSA\"}", BODY,
                                           (struct bytes){signature, size})),
                     TOKEN_BAD_SIGNATURE);
    ck_assert_int_eq(
        judge(token_make_with(HEAD_ED25519 " ", BODY, (struct bytes){signature, size})),
        TOKEN_BAD_SIGNATURE);
    free(signature);
    free(good);
    done();
}

END_TEST

/* A payload or header that is no JSON object, or has something behind it, says nothing. */
START_TEST(corpus_no_objects)
{
    static const char *const texts[] = {"[]",   "1",    "\"x\"",   "null",          "{",
                                        "{}{}", "{} x", "{'a':1}", "\xef\xbb\xbf{}"};

    open_public();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(judge(token_make(TOKEN_MAKER_EDDSA, HEAD_ED25519, texts[i])) ==
                          TOKEN_BAD_CLAIMS,
                      "%s", texts[i]);
        ck_assert_msg(judge_hs256(HEAD, texts[i]) != TOKEN_OK, "%s", texts[i]);
        ck_assert_msg(judge_hs256(texts[i], BODY) == TOKEN_BAD_HEADER, "%s", texts[i]);
    }
    ck_assert_int_eq(judge_hs256(HEAD, "{}"), TOKEN_NO_EXPIRY);
    done();
}

END_TEST

UNIT_MAIN("token_corpus", corpus_good, corpus_every_mismatch, corpus_none, corpus_confusion,
          corpus_kid_injection, corpus_kid_left_out, corpus_deep_json, corpus_huge,
          corpus_malleable_base64, corpus_damaged_signatures, corpus_rewritten_header,
          corpus_no_objects)
