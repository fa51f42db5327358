/*
 * Who is calling: verifies bearer tokens against the configured keys, and signs tokens for
 * development.
 *
 * Owns:    the keys, the cache of verdicts.
 * Borrows: clock and random source, for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_H
#define SERVICE_TOKEN_H

#include "core/bytes.h"
#include "service/token_keys.h"
#include "service/token_parse.h"
#include "service/token_verdict.h"

#include <stdint.h>

struct clock_source;
struct random_source;
struct token_verifier;

struct token_options {
    const char *issuer;      /* required claim iss; "" = any */
    const char *audience;    /* required in claim aud; "" = any */
    const char *roles_claim; /* auth.roles_claim; "" = tokens give no roles */
    uint64_t leeway_s;
    uint64_t key_overlap_s; /* auth.key_overlap_s */
    uint64_t cache_ttl_s;
    uint32_t size_max; /* longest token */
    uint32_t cache_entries;
};

struct token_stats {
    uint64_t signatures_checked;
    uint64_t cache_hits;
    uint32_t cache_entries; /* now, as are the next two */
    unsigned keys;          /* in use */
    unsigned keys_retired;  /* removed by a reload and still in their overlap */
};

/* What a good token is worth. */
struct token_pass {
    struct token_verdict *verdict; /* held: token_verdict_release() it */
    uint64_t left_ns;              /* from now on until the token ends; UINT64_MAX = centuries */
    uint64_t fresh_ns; /* from now on no need to ask again, while the key counts; <= left_ns */
};

/* Makes a verifier without keys, which passes nothing; the options are copied. Returns 0 or
 * -ENOMEM. */
int token_verifier_new(struct clock_source *clock, struct random_source *random,
                       const struct token_options *options, struct token_verifier **ret_verifier);

/* NULL is fine. Verdicts that are held live on. */
void token_verifier_free(struct token_verifier *verifier);

/* From now on these keys count; the verifier owns them. Keys that were there before (same kid and
 * content) keep their verdicts. One that is not there any more counts for key_overlap_s yet, then,
 * or at once, neither for new tokens nor for verdicts: call auth_revoke() after this. */
void token_verifier_set_keys(struct token_verifier *verifier, struct token_keys *keys);

/* Judges a token. `*ret_pass` is set with TOKEN_OK only. */
enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct token_pass *ret_pass);

struct token_stats token_verifier_stats(const struct token_verifier *verifier);

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
