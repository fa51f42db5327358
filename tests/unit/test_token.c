#include "token_fixture.h"

#include <stdio.h>

/* The way of a token and the cache. What libjwt would let pass is in test_token_holes.c, forged
 * tokens in test_token_corpus.c, changes of keys in test_token_rotation.c. */

#define SECRET TOKEN_MAKER_SECRET

static const char *signed_token(const char *header, const char *payload)
{
    static char text[8192];
    char *token = token_make(TOKEN_MAKER_HS256, header, payload);

    ck_assert_uint_lt(strlen(token), sizeof(text));
    strcpy(text, token);
    free(token);
    return text;
}

static void open_with_secret(struct bytes secret)
{
    struct token_keys *keys = keys_of(NULL, NULL);

    ck_assert_int_eq(token_keys_add_secret(keys, secret), 0);
    open_without_keys(&plain_options);
    token_verifier_set_keys(verifier, keys);
}

/* A good token gives its subject and roles. */
START_TEST(token_passes_a_good_one)
{
    struct token_pass pass;

    open_plain();
    ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &pass), TOKEN_OK);
    ck_assert_str_eq(pass.verdict->caller.subject, "alice");
    ck_assert_uint_eq(pass.verdict->caller.role_count, 1);
    ck_assert_str_eq(pass.verdict->caller.roles[0], "admin");
    ck_assert_uint_eq(pass.verdict->caller.scope_count, 0);
    ck_assert_ptr_null(pass.verdict->caller.certificate);
    ck_assert_uint_eq(pass.verdict->expires_s, 1700000130);
    ck_assert_uint_eq(pass.left_ns, 130 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(pass.fresh_ns, 130 * CLOCK_NS_PER_S);
    token_verdict_release(pass.verdict);
    ck_assert_int_eq(verify(signed_token("{\"alg\":\"HS256\"}", BODY)), TOKEN_OK);
    done();
}

END_TEST

/* The example of RFC 7515 A.1: its signature holds (what is missing is a subject), and with one bit
 * of the key changed it does not. */
START_TEST(token_agrees_with_rfc_7515)
{
    static const char token[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog"
        "Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_"
        "wW1gFWFOEjXk";
    static const char key_text[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4"
        "hcgUuTwjAzZr1Z9CAow";
    uint8_t key[96];
    size_t key_size = 0;

    ck_assert_int_eq(token_parse_base64url(bytes_from_text(key_text), key, &key_size), 0);
    ck_assert_uint_eq(key_size, 64);
    fake_now_s = 1300819379;
    for (unsigned flip = 0; flip < 2; flip++) {
        key[0] ^= (uint8_t)flip;
        open_with_secret((struct bytes){key, key_size});
        ck_assert_int_eq(verify(token), flip == 0 ? TOKEN_BAD_SUBJECT : TOKEN_BAD_SIGNATURE);
        done();
    }
}

END_TEST

/* Wherever a character of the signature is changed, cut or added, the token is refused. */
START_TEST(token_refuses_changed_signatures)
{
    static char token[8192];
    size_t size;
    size_t dot;

    open_plain();
    strcpy(token, signed_token(HEAD, BODY));
    size = strlen(token);
    dot = (size_t)(strrchr(token, '.') - token);
    for (size_t i = dot + 1; i < size; i++) {
        char kept = token[i];

        token[i] = kept == 'A' ? 'E' : 'A';
        ck_assert_int_ne(verify(token), TOKEN_OK);
        token[i] = kept;
    }
    for (size_t cut = size - 1; cut > dot; cut--) {
        char kept = token[cut];

        token[cut] = '\0';
        ck_assert_int_ne(verify(token), TOKEN_OK);
        token[cut] = kept;
    }
    strcat(token, "A");
    ck_assert_int_ne(verify(token), TOKEN_OK);
    token[size] = '\0';
    ck_assert_int_eq(verify(token), TOKEN_OK);
    done();
}

END_TEST

/* A payload that was exchanged under a good signature is refused. */
START_TEST(token_refuses_a_changed_payload)
{
    char *good = token_make(TOKEN_MAKER_HS256, HEAD, BODY);
    size_t size = 0;
    uint8_t *mac = token_maker_decode(strrchr(good, '.') + 1, &size);

    open_plain();
    ck_assert_int_eq(judge(token_make_with(HEAD, BODY, (struct bytes){mac, size})), TOKEN_OK);
    ck_assert_int_eq(judge(token_make_with(HEAD, "{\"sub\":\"root\",\"exp\":1700000100}",
                                           (struct bytes){mac, size})),
                     TOKEN_BAD_SIGNATURE);
    free(mac);
    free(good);
    done();
}

END_TEST

/* The key chooses the algorithm: none, other names, other cases are refused, however signed. */
START_TEST(token_lets_the_key_choose)
{
    static const char *const algorithms[] = {"none",   "None",  "NONE",  "hs256",
                                             "HS256 ", "HS384", "HS512", "RS256",
                                             "ES256",  "EdDSA", "PS256", "HS2567"};
    char header[64];
    static char token[8192];

    open_plain();
    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        (void)snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", algorithms[i]);
        ck_assert_msg(verify(signed_token(header, BODY)) == TOKEN_BAD_ALGORITHM, "%s",
                      algorithms[i]);
    }
    strcpy(token, signed_token("{\"alg\":\"none\"}", BODY));
    strrchr(token, '.')[1] = '\0';
    ck_assert_int_eq(verify(token), TOKEN_BAD_SHAPE);
    ck_assert_uint_eq(signatures_checked(), 0);
    done();
}

END_TEST

/* A secret is bytes: zeros in it count like any others. */
START_TEST(token_takes_binary_secrets)
{
    static const uint8_t secret[40] = {1, 0, 2, 0, 0, 3};
    static const uint8_t other[40] = {1, 0, 2, 0, 0, 4};

    open_with_secret((struct bytes){secret, 40});
    ck_assert_int_eq(judge(token_make_hs256((struct bytes){secret, 40}, HEAD, BODY)), TOKEN_OK);
    ck_assert_int_eq(judge(token_make_hs256((struct bytes){other, 40}, HEAD, BODY)),
                     TOKEN_BAD_SIGNATURE);
    done();
}

END_TEST

/* A token is verified once; the verdict then comes from memory, the very same. */
START_TEST(token_is_verified_once)
{
    struct token_pass first;
    struct token_pass again;

    open_plain();
    ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &first), TOKEN_OK);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &again), TOKEN_OK);
        ck_assert_ptr_eq(again.verdict, first.verdict);
        ck_assert_uint_eq(again.left_ns, first.left_ns);
        ck_assert_uint_eq(again.fresh_ns, first.fresh_ns);
        token_verdict_release(again.verdict);
    }
    ck_assert_uint_eq(signatures_checked(), 1);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_hits, 100);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_entries, 1);
    done();
    ck_assert_str_eq(first.verdict->caller.subject, "alice"); /* whoever holds it keeps it */
    token_verdict_release(first.verdict);
}

END_TEST

/* What was remembered outlives neither the token nor the time the cache has for it. */
START_TEST(token_is_forgotten_in_time)
{
    const char *forever = "{\"sub\":\"a\",\"exp\":1800000000}";

    open_plain();
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_OK);
    fake_now_s += 129;
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_OK);
    fake_now_s += 1;
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_EXPIRED);
    ck_assert_uint_eq(signatures_checked(), 2);
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    fake_now_s += 299;
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    ck_assert_uint_eq(signatures_checked(), 3);
    fake_now_s += 1;
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    ck_assert_uint_eq(signatures_checked(), 4);
    done();
}

END_TEST

/* Refused tokens are not remembered, so nobody fills the cache with them. */
START_TEST(token_cache_takes_good_ones_only)
{
    open_plain();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(
            judge(token_make_hs256(BYTES_LITERAL("another secret of good length...."), HEAD, BODY)),
            TOKEN_BAD_SIGNATURE);
    }
    ck_assert_uint_eq(signatures_checked(), 3);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_hits, 0);
    done();
}

END_TEST

/* The cache holds no more than it may, and what was not used for longest goes first. */
START_TEST(token_cache_is_bounded)
{
    char payload[64];

    open_plain();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++) {
            (void)snprintf(payload, sizeof(payload), "{\"sub\":\"user%d\",\"exp\":1700000100}", i);
            ck_assert_int_eq(verify(signed_token(HEAD, payload)), TOKEN_OK);
            ck_assert_int_eq(verify(signed_token(HEAD, "{\"sub\":\"user0\",\"exp\":1700000100}")),
                             TOKEN_OK);
        }
    }
    /* Of the five, user0 stays because it is used all the time; the four others share three places.
     */
    ck_assert_uint_eq(signatures_checked(), 1 + 4 + 4);
    done();
}

END_TEST

/* A cache of size 0 remembers nothing and refuses nothing. */
START_TEST(token_cache_can_be_off)
{
    struct token_options options = plain_options;

    options.cache_entries = 0;
    open_with(&options);
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_OK);
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_OK);
    ck_assert_uint_eq(signatures_checked(), 2);
    done();
}

END_TEST

/* What we sign we accept, with every claim as asked; and the signature is HMAC-SHA256. */
START_TEST(token_signs)
{
    const struct token_request request = {
        .subject = "bob",
        .roles = "admin viewer",
        .issuer = "i",
        .audience = "a",
        .issued_s = 1700000000,
        .expires_s = 1700000100,
    };
    struct token_options options = plain_options;
    struct token_pass pass;
    char *token = NULL;

    options.issuer = "i";
    options.audience = "a";
    open_with(&options);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET "\n"), &request, &token), 0);
    ck_assert_int_eq(verify_into(token, &pass), TOKEN_OK);
    ck_assert_str_eq(pass.verdict->caller.subject, "bob");
    ck_assert_uint_eq(pass.verdict->caller.role_count, 2);
    ck_assert_str_eq(pass.verdict->caller.roles[1], "viewer");
    ck_assert_uint_eq(pass.verdict->expires_s, 1700000130);
    token_verdict_release(pass.verdict);
    free(token);
    done();
}

END_TEST

/* A secret that no verifier would take signs nothing. */
START_TEST(token_signs_with_good_secrets_only)
{
    const struct token_request request = {.subject = "bob", .expires_s = 1700000100};
    char *token = NULL;

    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL("short"), &request, &token),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_ptr_null(token);
}

END_TEST

/* Roles are read from the claim that is configured, scopes from `scope` or `scp`. */
START_TEST(token_reads_the_claims_asked_for)
{
    static const char payload[] =
        "{\"sub\":\"a\",\"exp\":1700000100,\"roles\":[\"x\"],\"groups\":\"g1 g2\","
        "\"scope\":\"users.read users.write\"}";
    struct token_options options = plain_options;
    struct token_pass pass;

    options.roles_claim = "groups";
    open_with(&options);
    ck_assert_int_eq(verify_into(signed_token(HEAD, payload), &pass), TOKEN_OK);
    ck_assert_uint_eq(pass.verdict->caller.role_count, 2);
    ck_assert_str_eq(pass.verdict->caller.roles[1], "g2");
    ck_assert_uint_eq(pass.verdict->caller.scope_count, 2);
    ck_assert_str_eq(pass.verdict->caller.scopes[0], "users.read");
    ck_assert_str_eq(pass.verdict->caller.scopes[1], "users.write");
    token_verdict_release(pass.verdict);
    done();
}

END_TEST

/* What the cache has for a token ends with the token, where that is earlier. */
START_TEST(token_says_how_long_a_verdict_is_fresh)
{
    struct token_pass pass;

    open_plain();
    ck_assert_int_eq(verify_into(signed_token(HEAD, "{\"sub\":\"a\",\"exp\":1700001000}"), &pass),
                     TOKEN_OK);
    ck_assert_uint_eq(pass.left_ns, 1030 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(pass.fresh_ns, 300 * CLOCK_NS_PER_S);
    token_verdict_release(pass.verdict);
    fake_now_s += 100;
    ck_assert_int_eq(verify_into(signed_token(HEAD, "{\"sub\":\"a\",\"exp\":1700001000}"), &pass),
                     TOKEN_OK);
    ck_assert_uint_eq(pass.left_ns, 930 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(pass.fresh_ns, 200 * CLOCK_NS_PER_S);
    token_verdict_release(pass.verdict);
    ck_assert_uint_eq(signatures_checked(), 1);
    done();
}

END_TEST

UNIT_MAIN("token", token_passes_a_good_one, token_agrees_with_rfc_7515,
          token_refuses_changed_signatures, token_refuses_a_changed_payload,
          token_lets_the_key_choose, token_takes_binary_secrets, token_is_verified_once,
          token_is_forgotten_in_time, token_cache_takes_good_ones_only, token_cache_is_bounded,
          token_cache_can_be_off, token_signs, token_signs_with_good_secrets_only,
          token_reads_the_claims_asked_for, token_says_how_long_a_verdict_is_fresh)
