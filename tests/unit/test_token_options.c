#include "token_fixture.h"

/* The options change while the server runs. */

static void set(const struct token_options *options)
{
    struct token_options *copy = NULL;

    ck_assert_int_eq(token_options_copy(options, &copy), 0);
    token_verifier_set_options(verifier, copy);
}

static enum token_fault judge_body(const char *payload)
{
    return judge_hs256(HEAD, payload);
}

/* What was judged by other options is judged again, in either direction, and texts are copies. */
START_TEST(options_drop_verdicts)
{
    static const char body[] = "{\"sub\":\"a\",\"exp\":1700000100,\"iss\":\"i\",\"aud\":[\"u\"]}";
    struct token_options options = plain_options;
    char issuer[] = "i";

    open_plain();
    ck_assert_int_eq(judge_body(BODY), TOKEN_OK);
    ck_assert_int_eq(judge_body(body), TOKEN_OK);
    options.issuer = issuer;
    set(&options);
    issuer[0] = 'x';
    ck_assert_int_eq(judge_body(BODY), TOKEN_WRONG_ISSUER);
    ck_assert_int_eq(judge_body(body), TOKEN_OK);
    options.issuer = "";
    options.audience = "v";
    set(&options);
    ck_assert_int_eq(judge_body(body), TOKEN_WRONG_AUDIENCE);
    options.audience = "u";
    set(&options);
    ck_assert_int_eq(judge_body(body), TOKEN_OK);
    ck_assert_int_eq(judge_body(BODY), TOKEN_WRONG_AUDIENCE);
    options.size_max = 64;
    set(&options);
    ck_assert_int_eq(judge_body(body), TOKEN_TOO_LONG);
    done();
}

END_TEST

/* The same options again, and another overlap, cost nobody a verdict. */
START_TEST(options_keep_verdicts)
{
    struct token_options options = plain_options;

    open_plain();
    ck_assert_int_eq(judge_body(BODY), TOKEN_OK);
    set(&options);
    options.key_overlap_s = 60;
    set(&options);
    ck_assert_int_eq(judge_body(BODY), TOKEN_OK);
    ck_assert_uint_eq(signatures_checked(), 1);
    ck_assert_uint_eq(token_verifier_rules(verifier), 0);
    done();
}

END_TEST

/* The leeway moves a token's end, the time of the cache that of a verdict. */
START_TEST(options_move_ends)
{
    struct token_options options = plain_options;
    struct token_pass pass;
    char *token = token_make(TOKEN_MAKER_HS256, HEAD, BODY);

    open_plain();
    options.leeway_s = 0;
    options.cache_ttl_s = 7;
    set(&options);
    ck_assert_int_eq(verify_into(token, &pass), TOKEN_OK);
    ck_assert_uint_eq(pass.left_ns, 100 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(pass.fresh_ns, 7 * CLOCK_NS_PER_S);
    token_verdict_release(pass.verdict);
    free(token);
    done();
}

END_TEST

/* Keys in their overlap get the new one, counted from when they were removed: at once without one,
 * as when the removed key turns out to be stolen. */
START_TEST(options_change_the_overlap)
{
    const uint64_t removed_ns = fake_monotonic_ns;
    struct token_options options = plain_options;

    options.key_overlap_s = 60;
    open_with(&options);
    token_verifier_set_keys(verifier, keys_of("another secret, of 32 bytes or so", NULL));
    fake_monotonic_ns = removed_ns + 50 * CLOCK_NS_PER_S;
    ck_assert_int_eq(judge_body(BODY), TOKEN_OK);
    options.key_overlap_s = 100;
    set(&options);
    fake_monotonic_ns = removed_ns + 100 * CLOCK_NS_PER_S - 1;
    ck_assert_int_eq(judge_body(BODY), TOKEN_OK);
    options.key_overlap_s = 0;
    set(&options);
    ck_assert_uint_eq(token_verifier_stats(verifier).keys_retired, 0);
    ck_assert_int_eq(judge_body(BODY), TOKEN_BAD_SIGNATURE);
    done();
}

END_TEST

/* A verdict is judged anew without its token: by what it kept of it. The signature counts as long
 * as its key does, and is not looked at. */
START_TEST(options_judge_verdicts_anew)
{
    struct token_options options = plain_options;
    struct token_pass first;
    struct token_pass again;
    char *token = token_make(TOKEN_MAKER_HS256, HEAD, BODY);

    open_plain();
    ck_assert_int_eq(verify_into(token, &first), TOKEN_OK);
    ck_assert_int_eq(token_verdict_keep_claims(first.verdict, bytes_from_text(token)), 0);
    ck_assert_int_eq(token_verdict_keep_claims(first.verdict, bytes_from_text(token)), 0);
    ck_assert_int_eq(token_rejudge(verifier, first.verdict, &again), TOKEN_OK);
    ck_assert_ptr_eq(again.verdict, first.verdict);
    token_verdict_release(again.verdict);
    options.leeway_s = 1;
    set(&options);
    ck_assert(!token_verdict_stands(verifier, first.verdict, fake_monotonic_ns));
    ck_assert_int_eq(token_rejudge(verifier, first.verdict, &again), TOKEN_OK);
    ck_assert_ptr_ne(again.verdict, first.verdict);
    ck_assert(token_verdict_stands(verifier, again.verdict, fake_monotonic_ns));
    ck_assert_uint_eq(again.left_ns, 101 * CLOCK_NS_PER_S);
    ck_assert_str_eq(again.verdict->caller.roles[0], "admin");
    token_verdict_release(again.verdict);
    options.issuer = "id";
    set(&options);
    ck_assert_int_eq(token_rejudge(verifier, first.verdict, &again), TOKEN_WRONG_ISSUER);
    options.issuer = "";
    set(&options);
    fake_now_s = 1700000101;
    ck_assert_int_eq(token_rejudge(verifier, first.verdict, &again), TOKEN_EXPIRED);
    ck_assert_uint_eq(signatures_checked(), 1);
    token_verdict_release(first.verdict);
    free(token);
    done();
}

END_TEST

UNIT_MAIN("token_options", options_drop_verdicts, options_keep_verdicts, options_move_ends,
          options_change_the_overlap, options_judge_verdicts_anew)
