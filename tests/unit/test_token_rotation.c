#include "token_fixture.h"

#include <stdio.h>

/* Keys come and go while the server runs. */

#define OTHER_SECRET "another secret, of 32 bytes or so"
#define HEAD_RSA     "{\"alg\":\"RS256\",\"kid\":\"r1\"}"
#define HEAD_P256    "{\"alg\":\"ES256\",\"kid\":\"e1\"}"
#define JWKS_RSA     "{\"keys\":[" TOKEN_MAKER_JWK_RSA "}]}"
#define JWKS_P256    "{\"keys\":[" TOKEN_MAKER_JWK_P256 "}]}"

static void open_overlapping(uint64_t overlap_s)
{
    struct token_options options = plain_options;

    options.key_overlap_s = overlap_s;
    open_without_keys(&options);
}

static void set_keys(const char *secret, const char *jwks)
{
    token_verifier_set_keys(verifier, keys_of(secret, jwks));
}

static struct token_verdict *verdict_on(enum token_maker_key key, const char *header)
{
    char *token = token_make(key, header, "{\"sub\":\"alice\",\"exp\":1700009000}");
    struct token_pass pass;

    ck_assert_int_eq(verify_into(token, &pass), TOKEN_OK);
    free(token);
    return pass.verdict;
}

static enum token_fault judge_p256(void)
{
    return judge(token_make(TOKEN_MAKER_ES256, HEAD_P256, BODY));
}

/* A removed key really stops: for new tokens, for those in the cache, for verdicts that are held;
 * the others stay, with their verdicts. */
START_TEST(rotation_removes)
{
    struct token_verdict *gone;
    struct token_verdict *kept;
    struct token_verdict *again;

    open_overlapping(0);
    set_keys(TOKEN_MAKER_SECRET, TOKEN_MAKER_JWKS);
    gone = verdict_on(TOKEN_MAKER_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}");
    kept = verdict_on(TOKEN_MAKER_HS256, HEAD);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_entries, 2);
    set_keys(TOKEN_MAKER_SECRET, JWKS_P256);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_entries, 1);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys, 2);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, 0);
    ck_assert_uint_eq(token_verdict_key_until_ns(gone), 0);
    ck_assert_uint_eq(token_verdict_key_until_ns(kept), UINT64_MAX);
    ck_assert_int_eq(judge(token_make(TOKEN_MAKER_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"d1\"}",
                                      "{\"sub\":\"alice\",\"exp\":1700009000}")),
                     TOKEN_UNKNOWN_KEY);
    again = verdict_on(TOKEN_MAKER_HS256, HEAD);
    ck_assert_ptr_eq(again, kept);
    ck_assert_uint_eq(signatures_checked(), 2);
    token_verdict_release(again);
    token_verdict_release(kept);
    done();
    ck_assert_str_eq(gone->caller.subject, "alice");
    token_verdict_release(gone);
}

END_TEST

/* The same keys again, in another order and with other words around them, change nothing. */
START_TEST(rotation_knows_keys_by_content)
{
    struct token_verdict *verdict;

    open_overlapping(0);
    set_keys(TOKEN_MAKER_SECRET, TOKEN_MAKER_JWKS);
    verdict = verdict_on(TOKEN_MAKER_ES256, HEAD_P256);
    set_keys(TOKEN_MAKER_SECRET, "{\"keys\":[" TOKEN_MAKER_JWK_P256
                                 ",\"alg\":\"ES256\",\"use\":\"sig\"}," TOKEN_MAKER_JWK_RSA "}]}");
    ck_assert_uint_eq(token_verdict_key_until_ns(verdict), UINT64_MAX);
    ck_assert_uint_eq(token_verifier_stats(verifier).cache_entries, 1);
    token_verdict_release(verdict);
    done();
}

END_TEST

/* Other content under the same kid is another key, and the same content under another kid too. */
START_TEST(rotation_tells_keys_apart)
{
    struct token_verdict *secret;
    struct token_verdict *point;

    open_overlapping(0);
    set_keys(TOKEN_MAKER_SECRET, JWKS_P256);
    secret = verdict_on(TOKEN_MAKER_HS256, HEAD);
    point = verdict_on(TOKEN_MAKER_ES256, HEAD_P256);
    set_keys(OTHER_SECRET, "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"e2\",\"crv\":\"P-256\",\"x\":"
                           "\"" TOKEN_MAKER_P256_X "\",\"y\":\"" TOKEN_MAKER_P256_Y "\"}]}");
    ck_assert_uint_eq(token_verdict_key_until_ns(secret), 0);
    ck_assert_uint_eq(token_verdict_key_until_ns(point), 0);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_BAD_SIGNATURE);
    ck_assert_int_eq(judge_p256(), TOKEN_UNKNOWN_KEY);
    ck_assert_int_eq(
        judge(token_make(TOKEN_MAKER_ES256, "{\"alg\":\"ES256\",\"kid\":\"e2\"}", BODY)), TOKEN_OK);
    token_verdict_release(secret);
    token_verdict_release(point);
    done();
}

END_TEST

/* With an overlap a removed key counts so long yet, for new tokens too, and then no more. */
START_TEST(rotation_overlaps)
{
    const uint64_t end_ns = fake_monotonic_ns + 60 * CLOCK_NS_PER_S;
    struct token_verdict *verdict;

    open_overlapping(60);
    set_keys(TOKEN_MAKER_SECRET, TOKEN_MAKER_JWKS);
    verdict = verdict_on(TOKEN_MAKER_RS256, HEAD_RSA);
    set_keys(TOKEN_MAKER_SECRET, NULL);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys, 1);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, 3);
    ck_assert_uint_eq(token_verdict_key_until_ns(verdict), end_ns);
    ck_assert_int_eq(judge_p256(), TOKEN_OK);
    fake_monotonic_ns = end_ns - 1;
    ck_assert_int_eq(judge_p256(), TOKEN_OK);
    fake_monotonic_ns = end_ns;
    ck_assert_int_eq(judge_p256(), TOKEN_UNKNOWN_KEY);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, 0);
    token_verdict_release(verdict);
    done();
}

END_TEST

/* A secret that is exchanged overlaps too: tokens of both pass, until the old one's end. */
START_TEST(rotation_overlaps_under_one_kid)
{
    open_overlapping(60);
    set_keys(TOKEN_MAKER_SECRET, NULL);
    set_keys(OTHER_SECRET, NULL);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_OK);
    ck_assert_int_eq(judge(token_make_hs256(BYTES_LITERAL(OTHER_SECRET), HEAD, BODY)), TOKEN_OK);
    ck_assert_int_eq(
        judge(token_make_hs256(BYTES_LITERAL("neither this one nor the other..."), HEAD, BODY)),
        TOKEN_BAD_SIGNATURE);
    fake_monotonic_ns += 60 * CLOCK_NS_PER_S;
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_BAD_SIGNATURE);
    ck_assert_int_eq(judge(token_make_hs256(BYTES_LITERAL(OTHER_SECRET), HEAD, BODY)), TOKEN_OK);
    done();
}

END_TEST

/* A key that comes back in its overlap is as it was before. */
START_TEST(rotation_takes_keys_back)
{
    struct token_verdict *verdict;

    open_overlapping(60);
    set_keys(NULL, JWKS_P256);
    verdict = verdict_on(TOKEN_MAKER_ES256, HEAD_P256);
    set_keys(NULL, JWKS_RSA);
    ck_assert_uint_ne(token_verdict_key_until_ns(verdict), UINT64_MAX);
    set_keys(NULL, TOKEN_MAKER_JWKS);
    ck_assert_uint_eq(token_verdict_key_until_ns(verdict), UINT64_MAX);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, 0);
    fake_monotonic_ns += 3600 * CLOCK_NS_PER_S;
    ck_assert_int_eq(judge_p256(), TOKEN_OK);
    token_verdict_release(verdict);
    done();
}

END_TEST

/* However often keys change, a bounded number is in its overlap: the one that would end first makes
 * room. */
START_TEST(rotation_is_bounded)
{
    open_overlapping(3600);
    set_keys(TOKEN_MAKER_SECRET, NULL);
    for (int i = 0; i < TOKEN_KEYS_MAX; i++) {
        char secret[64];

        (void)snprintf(secret, sizeof(secret), "the secret of the %20dth round", i);
        set_keys(secret, NULL);
    }
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, TOKEN_KEYS_MAX);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_OK);
    set_keys(OTHER_SECRET, NULL);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, TOKEN_KEYS_MAX);
    ck_assert_int_eq(judge_hs256(HEAD, BODY), TOKEN_BAD_SIGNATURE);
    done();
}

END_TEST

UNIT_MAIN("token_rotation", rotation_removes, rotation_knows_keys_by_content,
          rotation_tells_keys_apart, rotation_overlaps, rotation_overlaps_under_one_kid,
          rotation_takes_keys_back, rotation_is_bounded)
