#include "token_fixture.h"

#include <stdio.h>

/*
 * libjwt as Debian ships it lets a good deal pass, or fails on it. One test for each of what was
 * measured there, hole_...; then the best practices of RFC 8725, section by section, rfc8725_....
 */

static const char rsa_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtlOTPrmia9tW6Wdk6tXP\n"
                              "juqS6iJ8adrugimQqnBY+rfSZ2VHjnfOv69vseiFlT7XycK/iwEpFFxZtzYZfekf\n"
                              "awQJ5aHLe9iMh+exyIuYCcQuuO29i412yBMcnOoebBCP2PpyWlGP27FaQWPC54US\n"
                              "CLlPRj1iZsWvZBoF15cHx7wNl6iErly1Miz5SswujtmV2uqq3qkPNMG0ybWj/8UQ\n"
                              "AicNNZFNWgvhkB+WviY9h05OZkzmKk+qWg1vfgk+vNcsJvrnwIjd9hHD7+aoFEgA\n"
                              "O+7SwIvuk8fuK70lr/vqSJc2KyH24UTTyGOY5KY8zehdidjnyu1yvgy5zM5LkpfC\n"
                              "2wIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";

/* Who may sign tokens with a key that everybody knows? Nobody: a PEM is refused as secret, and a
 * token signed with it, with or without the kid of that key, is not taken. */
START_TEST(hole_public_key_as_hmac_secret)
{
    struct token_keys *keys = keys_of(NULL, NULL);
    struct bytes pem = bytes_from_text(rsa_pem);

    ck_assert_int_eq(token_keys_add_secret(keys, pem), TOKEN_E_SECRET_IS_PEM);
    token_keys_free(keys);
    open_public();
    ck_assert_int_eq(judge(token_make_hs256(pem, HEAD, BODY)), TOKEN_BAD_SIGNATURE);
    ck_assert_int_eq(judge(token_make_hs256(pem, "{\"alg\":\"HS256\",\"kid\":\"r1\"}", BODY)),
                     TOKEN_BAD_ALGORITHM);
    done();
}

END_TEST

/* Without a key for it a token is refused and no library is asked: without any key, with public
 * keys only, and for a kid that is not there. */
START_TEST(hole_no_key_passes_everything)
{
    open_without_keys(&plain_options);
    ck_assert_int_eq(judge(token_make_hs256(BYTES_LITERAL(""), HEAD, BODY)), TOKEN_UNKNOWN_KEY);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_UNKNOWN_KEY);
    token_verifier_set_keys(verifier, keys_of(NULL, TOKEN_MAKER_JWKS));
    ck_assert_int_eq(judge(token_make_hs256(BYTES_LITERAL(""), HEAD, BODY)), TOKEN_UNKNOWN_KEY);
    token_verifier_set_keys(verifier, keys_of(TOKEN_MAKER_SECRET, NULL));
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"kid\":\"k1\"}", BODY), TOKEN_UNKNOWN_KEY);
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* The empty secret, and any of less than 32 bytes, is no key. */
START_TEST(hole_empty_secret)
{
    struct token_keys *keys = keys_of(NULL, NULL);

    ck_assert_int_eq(token_keys_add_secret(keys, (struct bytes){0}), TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL("\n")), TOKEN_E_BAD_SECRET_SIZE);
    token_keys_free(keys);
}

END_TEST

/* Expired tokens are refused, to the second; so are tokens that never expire. */
START_TEST(hole_expired_token)
{
    open_plain();
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1699999970}"), TOKEN_EXPIRED);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1699999971}"), TOKEN_OK);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\"}"), TOKEN_NO_EXPIRY);
    done();
}

END_TEST

/* `crit` names what a reader must understand; we understand none of it. */
START_TEST(hole_unknown_crit)
{
    open_plain();
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"crit\":[\"x\"],\"x\":1}", BODY),
                     TOKEN_REFUSED_HEADER);
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"crit\":[]}", BODY), TOKEN_REFUSED_HEADER);
    done();
}

END_TEST

/* Standard access tokens (typ at+jwt, RFC 9068), which the library refuses, are taken, in every
 * spelling and signed by every kind of key; and a bad signature is no better under this typ. */
START_TEST(hole_access_token_type)
{
    static const char *const heads[] = {
        "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}",
        "{\"alg\":\"HS256\",\"typ\":\"AT+JWT\"}",
        "{\"alg\":\"HS256\",\"typ\":\"application/at+jwt\"}",
    };

    open_public();
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        ck_assert_int_eq(judge_hs256(heads[i], BODY), TOKEN_OK);
        ck_assert_int_eq(judge(token_make_hs256(BYTES_LITERAL("another secret of good length...."),
                                                heads[i], BODY)),
                         TOKEN_BAD_SIGNATURE);
    }
    ck_assert_int_eq(
        judge(token_make(TOKEN_MAKER_RS256, "{\"alg\":\"RS256\",\"typ\":\"at+jwt\",\"kid\":\"r1\"}",
                         BODY)),
        TOKEN_OK);
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"typ\":\"dpop+jwt\"}", BODY), TOKEN_BAD_TYPE);
    done();
}

END_TEST

/* The names of algorithms are compared byte by byte. */
START_TEST(hole_algorithm_in_lower_case)
{
    open_plain();
    ck_assert_int_eq(judge_hs256("{\"alg\":\"hs256\"}", BODY), TOKEN_BAD_ALGORITHM);
    ck_assert_int_eq(judge_hs256("{\"alg\":\"Hs256\"}", BODY), TOKEN_BAD_ALGORITHM);
    done();
}

END_TEST

/* A member that stands twice is refused, in the claims and in the header, also in their depth. */
START_TEST(hole_duplicate_members)
{
    open_plain();
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"sub\":\"root\",\"exp\":1700000100}"),
                     TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1,\"exp\":1700000100}"),
                     TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(
        judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"x\":{\"y\":1,\"y\":2}}"),
        TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"alg\":\"none\"}", BODY), TOKEN_BAD_HEADER);
    /* The same member in another spelling is the same. */
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"s\\u0075b\":\"root\",\"exp\":1700000100}"),
                     TOKEN_BAD_CLAIMS);
    done();
}

END_TEST

/* `aud` may be a list; ours must be in it. */
START_TEST(hole_audience_as_list)
{
    struct token_options options = plain_options;

    options.audience = "users";
    open_with(&options);
    ck_assert_int_eq(
        judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[\"x\",\"users\"]}"),
        TOKEN_OK);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[\"x\"]}"),
                     TOKEN_WRONG_AUDIENCE);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[]}"),
                     TOKEN_WRONG_AUDIENCE);
    done();
}

END_TEST

/* Times may be any JSON number, and nothing else. */
START_TEST(hole_time_as_real_number)
{
    open_plain();
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1.8e9}"), TOKEN_OK);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1.5e9}"), TOKEN_EXPIRED);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1699999971.5}"), TOKEN_OK);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":\"1700000100\"}"), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":-1}"), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1e300}"), TOKEN_BAD_CLAIMS);
    done();
}

END_TEST

/* Segments without a byte, on which the library reads beyond its memory, never get to it. */
START_TEST(hole_empty_segments)
{
    static const char *const tokens[] = {"",           ".",         "..",         ".x.y",
                                         "x..y",       "x.y.",      ".AAAA.AAAA", "AAAA..AAAA",
                                         "AAAA.AAAA.", "AAAA.AAAA", "AAAA"};

    open_plain();
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        ck_assert_msg(verify(tokens[i]) == TOKEN_BAD_SHAPE, "%s", tokens[i]);
    }
    ck_assert_int_eq(judge_hs256("", BODY), TOKEN_BAD_SHAPE);
    ck_assert_int_eq(judge_hs256(HEAD, ""), TOKEN_BAD_SHAPE);
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* A header segment of 8 MiB, on which the library runs out of stack, is refused by its length. */
START_TEST(hole_huge_header)
{
    size_t size = 8 << 20;
    char *token = malloc(size + 12);
    struct token_pass pass;

    memset(token, 'A', size);
    memcpy(token + size, ".AAAA.AAAA", 11);
    open_plain();
    ck_assert_int_eq(token_verify(verifier, (struct bytes){(uint8_t *)token, size + 10}, &pass),
                     TOKEN_TOO_LONG);
    free(token);
    done();
}

END_TEST

/* A MAC that is right but for its last byte is refused like any other, also when it is short. */
START_TEST(hole_mac_compare)
{
    char *good = token_make(TOKEN_MAKER_HS256, HEAD, BODY);
    size_t size = 0;
    uint8_t *mac = token_maker_decode(strrchr(good, '.') + 1, &size);

    open_plain();
    for (size_t kept = 1; kept < size; kept++) {
        ck_assert_int_eq(judge(token_make_with(HEAD, BODY, (struct bytes){mac, kept})),
                         TOKEN_BAD_SIGNATURE);
    }
    mac[size - 1] ^= 1;
    ck_assert_int_eq(judge(token_make_with(HEAD, BODY, (struct bytes){mac, size})),
                     TOKEN_BAD_SIGNATURE);
    ck_assert_int_eq(verify(good), TOKEN_OK);
    free(mac);
    free(good);
    done();
}

END_TEST

/* 3.1, 3.2: the key names the one algorithm; `none` and all others are refused, however signed. */
START_TEST(rfc8725_3_1_algorithm)
{
    static const char *const names[] = {"none",  "None",   "NONE",   "nOnE",  "HS384",
                                        "HS512", "RS256",  "RS512",  "PS256", "ES384",
                                        "EdDSA", "HS256 ", " HS256", "dir",   "RSA-OAEP"};
    char header[64];

    open_public();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", names[i]);
        ck_assert_msg(judge_hs256(header, BODY) == TOKEN_BAD_ALGORITHM, "%s", names[i]);
    }
    ck_assert_int_eq(judge_hs256("{\"typ\":\"JWT\"}", BODY), TOKEN_BAD_HEADER);
    ck_assert_int_eq(judge_hs256("{\"alg\":null}", BODY), TOKEN_BAD_HEADER);
    ck_assert_int_eq(judge_hs256("{\"alg\":[\"HS256\"]}", BODY), TOKEN_BAD_HEADER);
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* 3.3: a token is judged as a whole: no nested tokens, no encrypted ones. */
START_TEST(rfc8725_3_3_every_operation)
{
    open_plain();
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"cty\":\"JWT\"}", BODY),
                     TOKEN_REFUSED_HEADER);
    ck_assert_int_eq(verify("AAAA.AAAA.AAAA.AAAA.AAAA"), TOKEN_BAD_SHAPE);
    done();
}

END_TEST

/* 3.5: a secret has at least the 32 bytes of its hash. */
START_TEST(rfc8725_3_5_entropy)
{
    struct token_keys *keys = keys_of(NULL, NULL);

    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL("0123456789abcdef0123456789abcde")),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL("0123456789abcdef0123456789abcdef")),
                     0);
    token_keys_free(keys);
}

END_TEST

/* 3.6: nothing is decompressed. */
START_TEST(rfc8725_3_6_compression)
{
    open_plain();
    ck_assert_int_eq(judge_hs256("{\"alg\":\"HS256\",\"zip\":\"DEF\"}", BODY),
                     TOKEN_REFUSED_HEADER);
    done();
}

END_TEST

/* 3.7: JSON is UTF-8. */
START_TEST(rfc8725_3_7_utf8)
{
    static const char head[] = "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}";

    open_public();
    ck_assert_int_eq(
        judge(token_make(TOKEN_MAKER_EDDSA, head, "{\"sub\":\"\xc3\xa9\",\"exp\":1700000100}")),
        TOKEN_OK);
    ck_assert_int_eq(
        judge(token_make(TOKEN_MAKER_EDDSA, head, "{\"sub\":\"\xe9\",\"exp\":1700000100}")),
        TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(
        judge(token_make(TOKEN_MAKER_EDDSA, head, "{\"sub\":\"\xc0\xaf\",\"exp\":1700000100}")),
        TOKEN_BAD_CLAIMS);
    /* The library, which reads claims before it compares, has no better word for it. */
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"\xe9\",\"exp\":1700000100}"),
                     TOKEN_BAD_SIGNATURE);
    done();
}

END_TEST

/* 3.8: issuer and subject are looked at; the issuer is exactly ours. */
START_TEST(rfc8725_3_8_issuer_and_subject)
{
    struct token_options options = plain_options;

    options.issuer = "https://id.example";
    open_with(&options);
    ck_assert_int_eq(
        judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"iss\":\"https://id.example\"}"),
        TOKEN_OK);
    ck_assert_int_eq(
        judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"iss\":\"https://id.example/\"}"),
        TOKEN_WRONG_ISSUER);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100}"), TOKEN_WRONG_ISSUER);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"exp\":1700000100,\"iss\":\"https://id.example\"}"),
                     TOKEN_BAD_SUBJECT);
    done();
}

END_TEST

/* 3.9: a token for somebody else is refused. */
START_TEST(rfc8725_3_9_audience)
{
    struct token_options options = plain_options;

    options.audience = "users";
    open_with(&options);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":\"users\"}"),
                     TOKEN_OK);
    ck_assert_int_eq(judge_hs256(HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":\"user\"}"),
                     TOKEN_WRONG_AUDIENCE);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_WRONG_AUDIENCE);
    done();
}

END_TEST

/* 3.10: nothing in the header leads anywhere: keys in it, or addresses of keys, are refused. */
START_TEST(rfc8725_3_10_received_claims)
{
    static const char *const members[] = {
        "\"jku\":\"https://evil.example/keys\"",
        "\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"}",
        "\"x5u\":\"https://evil.example/chain\"",
        "\"x5c\":[\"AAAA\"]",
        "\"b64\":false",
    };
    char header[256];

    open_public();
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        (void)snprintf(header, sizeof(header), "{\"alg\":\"HS256\",%s}", members[i]);
        ck_assert_msg(judge_hs256(header, BODY) == TOKEN_REFUSED_HEADER, "%s", members[i]);
    }
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* 3.11, 3.12: tokens that say that they are of another kind are refused. */
START_TEST(rfc8725_3_11_explicit_types)
{
    static const char *const types[] = {
        "\"JWE\"", "\"secevent+jwt\"", "\"logout+jwt\"", "\"application/jwt+at\"", "\"\"", "1",
        "null"};
    char header[128];

    open_plain();
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        enum token_fault fault;

        (void)snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"typ\":%s}", types[i]);
        fault = judge_hs256(header, BODY);
        ck_assert_msg(fault == TOKEN_BAD_TYPE || fault == TOKEN_BAD_HEADER, "%s", types[i]);
    }
    done();
}

END_TEST

UNIT_MAIN("token_holes", hole_public_key_as_hmac_secret, hole_no_key_passes_everything,
          hole_empty_secret, hole_expired_token, hole_unknown_crit, hole_access_token_type,
          hole_algorithm_in_lower_case, hole_duplicate_members, hole_audience_as_list,
          hole_time_as_real_number, hole_empty_segments, hole_huge_header, hole_mac_compare,
          rfc8725_3_1_algorithm, rfc8725_3_3_every_operation, rfc8725_3_5_entropy,
          rfc8725_3_6_compression, rfc8725_3_7_utf8, rfc8725_3_8_issuer_and_subject,
          rfc8725_3_9_audience, rfc8725_3_10_received_claims, rfc8725_3_11_explicit_types)
