/*
 * Who is calling: verifies bearer tokens against the configured keys, and signs tokens for
 * development.
 *
 * Owns:    the keys, the options in force, the cache of verdicts.
 * Borrows: clock and random source, for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_H
#define SERVICE_TOKEN_H

#include "core/bytes.h"
#include "service/token_keys.h"
#include "service/token_parse.h"
#include "service/token_verdict.h"

#include <stdbool.h>
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

/* The options with texts of their own. Returns 0 or -ENOMEM. */
int token_options_copy(const struct token_options *options, struct token_options **ret_copy);

/* NULL is fine. */
void token_options_free(struct token_options *options);

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

/* From now on these options count; the verifier owns them, a token_options_copy(). `cache_entries`
 * stays as it was. Keys in their overlap get the new one, counted from when they were removed; if
 * anything else differs, no verdict from before counts any more: call auth_rejudge() after this,
 * until it says that it is done. */
void token_verifier_set_options(struct token_verifier *verifier, struct token_options *options);

/* Counts the changes of options that verdicts are judged by. */
uint32_t token_verifier_rules(const struct token_verifier *verifier);

/* May the verdict be taken once more, while its own time is not over: judged by the options in
 * force and a key that counts? */
bool token_verdict_stands(const struct token_verifier *verifier,
                          const struct token_verdict *verdict, uint64_t monotonic_ns);

/* Judges a token. `*ret_pass` is set with TOKEN_OK only. */
enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct token_pass *ret_pass);

/* Judges the token of a verdict by the options in force; its signature and its key hold as they
 * did. The verdict must have its claims (token_verdict_keep_claims()). As token_verify(). */
enum token_fault token_rejudge(struct token_verifier *verifier, struct token_verdict *verdict,
                               struct token_pass *ret_pass);

/* Is there a verdict in the cache? Then judging costs no signature. */
bool token_is_remembered(struct token_verifier *verifier, struct bytes token);

/* How many signatures were checked so far. */
uint64_t token_verifier_checked(const struct token_verifier *verifier);

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
