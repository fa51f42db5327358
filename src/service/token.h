/*
 * Who is calling: verifies bearer tokens against the configured keys, and signs tokens for
 * development.
 *
 * Owns:    the keys (wiped at the end), the cache of verdicts.
 * Borrows: clock and random source, for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_H
#define SERVICE_TOKEN_H

#include "core/arena.h"
#include "core/bytes.h"
#include "service/token_parse.h"

#include <stdint.h>

struct clock_source;
struct random_source;
struct token_verifier;

#define TOKEN_SECRET_SIZE_MIN 32
#define TOKEN_SECRET_SIZE_MAX 4096

#define TOKEN_E_BAD_SECRET_SIZE 1 /* not TOKEN_SECRET_SIZE_MIN to _MAX bytes */
#define TOKEN_E_SECRET_IS_PEM   2 /* a public key as shared secret would let everybody sign */
#define TOKEN_E_KEY_EXISTS      3 /* there is a key for tokens without kid already */

struct token_options {
    const char *issuer;   /* required claim iss; "" = any */
    const char *audience; /* required in claim aud; "" = any */
    uint64_t leeway_s;
    uint64_t cache_ttl_s;
    uint32_t size_max; /* longest token */
    uint32_t cache_entries;
};

struct token_stats {
    uint64_t signatures_checked;
    uint64_t cache_hits;
};

/* Makes a verifier without keys, which passes nothing; the options are copied. Returns 0 or
 * -ENOMEM. */
int token_verifier_new(struct clock_source *clock, struct random_source *random,
                       const struct token_options *options, struct token_verifier **ret_verifier);

/* NULL is fine. */
void token_verifier_free(struct token_verifier *verifier);

/* Adds the key of tokens without kid: HS256 with this secret (copied), taken as it is apart from
 * one newline at its end. Returns 0, TOKEN_E_*, or -ENOMEM. */
int token_verifier_add_secret(struct token_verifier *verifier, struct bytes secret);

/* Judges a token. With TOKEN_OK the claims are in the arena. */
enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct arena *arena, struct token_claims *ret_claims);

const struct token_stats *token_verifier_stats(const struct token_verifier *verifier);

struct token_request {
    const char *subject;
    const char *roles;    /* words with blanks between; NULL = no such claim */
    const char *issuer;   /* NULL = no such claim */
    const char *audience; /* NULL = no such claim */
    uint64_t issued_s;    /* since 1970 */
    uint64_t expires_s;
};

/* Signs a token with HS256 and such a secret. The caller frees `*ret_token`. Returns 0, TOKEN_E_*,
 * or negative errno. */
int token_sign_hs256(struct bytes secret, const struct token_request *request, char **ret_token);

#endif
