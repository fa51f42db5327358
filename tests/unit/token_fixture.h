/*
 * A token verifier with clocks that a test sets, for the tests of token*.c: with the secret alone,
 * or with the public keys of lib/token_maker.h too.
 *
 * Thread: one.
 */
#ifndef UNIT_TOKEN_FIXTURE_H
#define UNIT_TOKEN_FIXTURE_H

#include "lib/token_maker.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/random.h"
#include "service/token.h"

#define HEAD "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define BODY "{\"sub\":\"alice\",\"exp\":1700000100,\"roles\":[\"admin\"]}"

static uint64_t fake_now_s = 1700000000;
static uint64_t fake_monotonic_ns = 1000;

static inline uint64_t fixture_realtime(struct clock_source *source)
{
    (void)source;
    return fake_now_s * CLOCK_NS_PER_S;
}

static inline uint64_t fixture_monotonic(struct clock_source *source)
{
    (void)source;
    return fake_monotonic_ns;
}

static struct clock_source fixture_clock = {fixture_monotonic, fixture_realtime};
static struct token_verifier *verifier;

static const struct token_options plain_options = {
    .issuer = "",
    .audience = "",
    .roles_claim = "roles",
    .leeway_s = 30,
    .cache_ttl_s = 300,
    .size_max = 8192,
    .cache_entries = 4,
};

static inline struct token_keys *keys_of(const char *secret, const char *jwks)
{
    char problem[TOKEN_KEYS_PROBLEM_SIZE];
    struct token_keys *keys = NULL;

    ck_assert_int_eq(token_keys_new(&keys), 0);
    if (secret != NULL) {
        ck_assert_int_eq(token_keys_add_secret(keys, bytes_from_text(secret)), 0);
    }
    if (jwks != NULL) {
        ck_assert_msg(token_keys_add_jwks(keys, bytes_from_text(jwks), problem) == 0, "%s",
                      problem);
    }
    return keys;
}

static inline void open_without_keys(const struct token_options *options)
{
    ck_assert_int_eq(token_verifier_new(&fixture_clock, random_system(), options, &verifier), 0);
}

static inline void open_with(const struct token_options *options)
{
    open_without_keys(options);
    token_verifier_set_keys(verifier, keys_of(TOKEN_MAKER_SECRET, NULL));
}

static inline void open_plain(void)
{
    open_with(&plain_options);
}

/* The secret, and all kinds of public keys. */
static inline void open_public(void)
{
    open_without_keys(&plain_options);
    token_verifier_set_keys(verifier, keys_of(TOKEN_MAKER_SECRET, TOKEN_MAKER_JWKS));
}

static inline void done(void)
{
    token_verifier_free(verifier);
    verifier = NULL;
}

/* With TOKEN_OK the pass is the caller's. */
static inline enum token_fault verify_into(const char *token, struct token_pass *ret_pass)
{
    return token_verify(verifier, bytes_from_text(token), ret_pass);
}

static inline enum token_fault verify(const char *token)
{
    struct token_pass pass;
    enum token_fault fault = verify_into(token, &pass);

    if (fault == TOKEN_OK) {
        token_verdict_release(pass.verdict);
    }
    return fault;
}

/* Judges a token that was made for this, and frees it. */
static inline enum token_fault judge(char *token)
{
    enum token_fault fault = verify(token);

    free(token);
    return fault;
}

static inline enum token_fault judge_hs256(const char *header, const char *payload)
{
    return judge(token_make(TOKEN_MAKER_HS256, header, payload));
}

static inline uint64_t signatures_checked(void)
{
    return token_verifier_stats(verifier).signatures_checked;
}

#endif
