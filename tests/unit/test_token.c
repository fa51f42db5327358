#include "lib/unit.h"

#include "core/clock.h"
#include "core/random.h"
#include "service/token.h"

#include <sodium.h>

#include <stdio.h>

/* The tokens here are put together by hand and signed with libsodium, so that nothing of what is
 * tested makes them. */

#define SECRET "0123456789abcdef0123456789abcdef"
#define HEAD   "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define BODY   "{\"sub\":\"alice\",\"exp\":1700000100,\"roles\":[\"admin\"]}"

static uint64_t fake_now_s = 1700000000;

static uint64_t fake_now_ns(struct clock_source *source)
{
    (void)source;
    return fake_now_s * CLOCK_NS_PER_S;
}

static struct clock_source fake_clock = {fake_now_ns, fake_now_ns};
static struct arena arena;
static struct token_verifier *verifier;

static const struct token_options plain_options = {
    .issuer = "",
    .audience = "",
    .leeway_s = 30,
    .cache_ttl_s = 300,
    .size_max = 8192,
    .cache_entries = 4,
};

static void open_with(const struct token_options *options)
{
    ck_assert_int_eq(token_verifier_new(&fake_clock, random_system(), options, &verifier), 0);
    ck_assert_int_eq(token_verifier_add_secret(verifier, BYTES_LITERAL(SECRET)), 0);
}

static void open_plain(void)
{
    open_with(&plain_options);
}

static void done(void)
{
    token_verifier_free(verifier);
    arena_deinit(&arena);
}

static void append_base64(char *out, const void *in, size_t size)
{
    size_t used = strlen(out);

    sodium_bin2base64(out + used, 8192 - used, in, size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* header.payload.signature by HMAC-SHA256 with any key; the text is valid until the next call. */
static const char *sign(const char *header, const char *payload, const void *key, size_t key_size)
{
    static char token[8192];
    crypto_auth_hmacsha256_state state;
    uint8_t mac[crypto_auth_hmacsha256_BYTES];

    token[0] = '\0';
    append_base64(token, header, strlen(header));
    strcat(token, ".");
    append_base64(token, payload, strlen(payload));
    crypto_auth_hmacsha256_init(&state, key, key_size);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)token, strlen(token));
    crypto_auth_hmacsha256_final(&state, mac);
    strcat(token, ".");
    append_base64(token, mac, sizeof(mac));
    return token;
}

static const char *signed_token(const char *header, const char *payload)
{
    return sign(header, payload, SECRET, strlen(SECRET));
}

static enum token_fault verify_into(const char *token, struct token_claims *ret_claims)
{
    return token_verify(verifier, bytes_from_text(token), &arena, ret_claims);
}

static enum token_fault verify(const char *token)
{
    struct token_claims claims;

    return verify_into(token, &claims);
}

/* A good token gives its subject and roles. */
START_TEST(token_passes_a_good_one)
{
    struct token_claims claims;

    open_plain();
    ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &claims), TOKEN_OK);
    ck_assert_str_eq(claims.subject, "alice");
    ck_assert_uint_eq(claims.role_count, 1);
    ck_assert_str_eq(claims.roles[0], "admin");
    ck_assert_uint_eq(claims.expires_s, 1700000130);
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
        ck_assert_int_eq(
            token_verifier_new(&fake_clock, random_system(), &plain_options, &verifier), 0);
        ck_assert_int_eq(token_verifier_add_secret(verifier, (struct bytes){key, key_size}), 0);
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
    static char token[8192];
    static char other[8192];

    open_plain();
    strcpy(other, signed_token(HEAD, BODY));
    append_base64(token, HEAD, strlen(HEAD));
    strcat(token, ".");
    append_base64(token, "{\"sub\":\"root\",\"exp\":1700000100}", 31);
    strcat(token, strrchr(other, '.'));
    ck_assert_int_eq(verify(token), TOKEN_BAD_SIGNATURE);
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
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 0);
    done();
}

END_TEST

/* Row by row: what libjwt alone lets pass, or fails on, is decided by us. */
START_TEST(token_closes_the_holes_of_the_library)
{
    static const struct {
        const char *header;
        const char *payload;
        enum token_fault fault;
    } rows[] = {
        {HEAD, "{\"sub\":\"a\",\"exp\":1699999970}", TOKEN_EXPIRED},
        {HEAD, "{\"sub\":\"a\"}", TOKEN_NO_EXPIRY},
        {"{\"alg\":\"HS256\",\"crit\":[\"x\"],\"x\":1}", BODY, TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", BODY, TOKEN_BAD_TYPE},
        {"{\"alg\":\"hs256\"}", BODY, TOKEN_BAD_ALGORITHM},
        {HEAD, "{\"sub\":\"a\",\"sub\":\"root\",\"exp\":1700000100}", TOKEN_BAD_CLAIMS},
        {HEAD, "{\"sub\":\"a\",\"exp\":1700000100,\"aud\":[\"b\",\"c\"]}", TOKEN_OK},
        {HEAD, "{\"sub\":\"a\",\"exp\":1.8e9}", TOKEN_OK},
        {HEAD, "{\"sub\":\"a\",\"exp\":1.5e9}", TOKEN_EXPIRED},
        {"{\"alg\":\"HS256\",\"kid\":\"k1\"}", BODY, TOKEN_UNKNOWN_KEY},
        {"{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}", BODY, TOKEN_UNKNOWN_KEY},
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", BODY, TOKEN_BAD_HEADER},
        {"", BODY, TOKEN_BAD_SHAPE},
        {HEAD, "", TOKEN_BAD_SHAPE},
        {HEAD, "[]", TOKEN_BAD_CLAIMS},
        {HEAD, "{\"sub\":\"a\",\"exp\":\"1700000100\"}", TOKEN_BAD_CLAIMS},
    };

    open_plain();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(verify(signed_token(rows[i].header, rows[i].payload)) == rows[i].fault,
                      "%s %s", rows[i].header, rows[i].payload);
    }
    done();
}

END_TEST

/* A header segment of 8 MiB, on which libjwt runs out of stack, is refused by its length. */
START_TEST(token_refuses_a_huge_header)
{
    size_t size = 8 << 20;
    char *token = malloc(size + 12);
    struct token_claims claims;

    memset(token, 'A', size);
    memcpy(token + size, ".AAAA.AAAA", 11);
    open_plain();
    ck_assert_int_eq(
        token_verify(verifier, (struct bytes){(uint8_t *)token, size + 10}, &arena, &claims),
        TOKEN_TOO_LONG);
    free(token);
    done();
}

END_TEST

/* Without a key nothing passes: neither with the empty secret nor with a bad signature. */
START_TEST(token_needs_a_key)
{
    ck_assert_int_eq(token_verifier_new(&fake_clock, random_system(), &plain_options, &verifier),
                     0);
    ck_assert_int_eq(verify(sign(HEAD, BODY, "", 0)), TOKEN_UNKNOWN_KEY);
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_UNKNOWN_KEY);
    done();
}

END_TEST

/* A secret has 32 to 4096 bytes after one newline at its end; a public key is none (it would let
 * everybody who knows it sign); and there is one. */
START_TEST(token_refuses_weak_secrets)
{
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    static uint8_t large[TOKEN_SECRET_SIZE_MAX + 1];
    struct bytes secret = BYTES_LITERAL(SECRET);

    ck_assert_int_eq(token_verifier_new(&fake_clock, random_system(), &plain_options, &verifier),
                     0);
    ck_assert_int_eq(token_verifier_add_secret(verifier, (struct bytes){NULL, 0}),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_verifier_add_secret(verifier, BYTES_LITERAL("\n")),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_verifier_add_secret(verifier, (struct bytes){secret.data, 31}),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(
        token_verifier_add_secret(verifier, BYTES_LITERAL("0123456789abcdef0123456789abcde\n")),
        TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_verifier_add_secret(verifier, (struct bytes){large, sizeof(large)}),
                     TOKEN_E_BAD_SECRET_SIZE);
    ck_assert_int_eq(token_verifier_add_secret(verifier, bytes_from_text(pem)),
                     TOKEN_E_SECRET_IS_PEM);
    ck_assert_int_eq(verify(sign(HEAD, BODY, pem, sizeof(pem) - 1)), TOKEN_UNKNOWN_KEY);
    ck_assert_int_eq(token_verifier_add_secret(verifier, BYTES_LITERAL(SECRET "\n")), 0);
    ck_assert_int_eq(token_verifier_add_secret(verifier, secret), TOKEN_E_KEY_EXISTS);
    ck_assert_int_eq(verify(signed_token(HEAD, BODY)), TOKEN_OK);
    done();
}

END_TEST

/* A secret is bytes: zeros in it count like any others. */
START_TEST(token_takes_binary_secrets)
{
    static const uint8_t secret[40] = {1, 0, 2, 0, 0, 3};
    static const uint8_t other[40] = {1, 0, 2, 0, 0, 4};

    ck_assert_int_eq(token_verifier_new(&fake_clock, random_system(), &plain_options, &verifier),
                     0);
    ck_assert_int_eq(token_verifier_add_secret(verifier, (struct bytes){secret, 40}), 0);
    ck_assert_int_eq(verify(sign(HEAD, BODY, secret, 40)), TOKEN_OK);
    ck_assert_int_eq(verify(sign(HEAD, BODY, other, 40)), TOKEN_BAD_SIGNATURE);
    done();
}

END_TEST

/* A token is verified once; the verdict then comes from memory, the same to the letter. */
START_TEST(token_is_verified_once)
{
    struct token_claims first;
    struct token_claims again;

    open_plain();
    ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &first), TOKEN_OK);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(verify_into(signed_token(HEAD, BODY), &again), TOKEN_OK);
    }
    ck_assert_str_eq(again.subject, first.subject);
    ck_assert_uint_eq(again.expires_s, first.expires_s);
    ck_assert_uint_eq(again.role_count, 1);
    ck_assert_str_eq(again.roles[0], "admin");
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 1);
    ck_assert_uint_eq(token_verifier_stats(verifier)->cache_hits, 100);
    done();
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
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 2);
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    fake_now_s += 299;
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 3);
    fake_now_s += 1;
    ck_assert_int_eq(verify(signed_token(HEAD, forever)), TOKEN_OK);
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 4);
    done();
}

END_TEST

/* Refused tokens are not remembered, so nobody fills the cache with them. */
START_TEST(token_cache_takes_good_ones_only)
{
    open_plain();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(verify(sign(HEAD, BODY, "another secret of good length....", 33)),
                         TOKEN_BAD_SIGNATURE);
    }
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 3);
    ck_assert_uint_eq(token_verifier_stats(verifier)->cache_hits, 0);
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
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 1 + 4 + 4);
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
    ck_assert_uint_eq(token_verifier_stats(verifier)->signatures_checked, 2);
    done();
}

END_TEST

/* Memory that runs out anywhere on the way refuses the call and passes nobody. */
START_TEST(token_survives_a_full_arena)
{
    unsigned passed = 0;

    open_plain();
    for (size_t room = 1; room < 4000; room += 64) {
        struct arena small = {.size_max = room};
        struct token_claims claims;
        enum token_fault fault =
            token_verify(verifier, bytes_from_text(signed_token(HEAD, BODY)), &small, &claims);

        ck_assert(fault == TOKEN_OK || fault == TOKEN_NO_MEMORY);
        passed += fault == TOKEN_OK;
        arena_deinit(&small);
    }
    ck_assert_uint_gt(passed, 0);
    ck_assert_uint_lt(passed, 62);
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
    struct token_claims claims;
    char *token = NULL;

    options.issuer = "i";
    options.audience = "a";
    open_with(&options);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET "\n"), &request, &token), 0);
    ck_assert_int_eq(verify_into(token, &claims), TOKEN_OK);
    ck_assert_str_eq(claims.subject, "bob");
    ck_assert_uint_eq(claims.role_count, 2);
    ck_assert_str_eq(claims.roles[1], "viewer");
    ck_assert_uint_eq(claims.expires_s, 1700000130);
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

UNIT_MAIN("token", token_passes_a_good_one, token_agrees_with_rfc_7515,
          token_refuses_changed_signatures, token_refuses_a_changed_payload,
          token_lets_the_key_choose, token_closes_the_holes_of_the_library,
          token_refuses_a_huge_header, token_needs_a_key, token_refuses_weak_secrets,
          token_takes_binary_secrets, token_is_verified_once, token_is_forgotten_in_time,
          token_cache_takes_good_ones_only, token_cache_is_bounded, token_cache_can_be_off,
          token_survives_a_full_arena, token_signs, token_signs_with_good_secrets_only)
