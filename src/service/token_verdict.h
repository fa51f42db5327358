/*
 * What a good token says, kept beyond the call that brought it: the cache of verdicts, connections
 * and calls share one.
 *
 * Owns:    copies of the claims; a count on the key.
 * Borrows: nothing after a call returns.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_VERDICT_H
#define SERVICE_TOKEN_VERDICT_H

#include "core/bytes.h"
#include "core/digest.h"
#include "core/list.h"
#include "service/caller.h"

#include <stdint.h>

struct token_claims;
struct token_key;

struct token_verdict {
    unsigned holds;
    struct caller caller;            /* without certificate */
    uint64_t expires_s;              /* since 1970: exp and the leeway */
    uint32_t rules;                  /* it was judged by: token_verifier_rules() */
    struct token_key *key;           /* that judged it */
    struct token_verdict *successor; /* by later rules, held; NULL = none yet */
    char *claims;                    /* payload segment of the token; NULL = not kept */
    size_t claims_size;
    struct list link; /* the cache's, as are the rest */
    uint64_t remembered_until_s;
    uint8_t digest[DIGEST_SIZE]; /* of the token */
};

/* Copies the claims. NULL when out of memory; else held once. */
struct token_verdict *token_verdict_new(const struct token_claims *claims, struct token_key *key);

void token_verdict_hold(struct token_verdict *verdict);

/* Keeps what token_rejudge() needs of the token, which must be the verdict's: its payload, which is
 * no secret. For verdicts that calls may hold for long. Returns 0 (also when it is there already)
 * or -ENOMEM. */
int token_verdict_keep_claims(struct token_verdict *verdict, struct bytes token);

/* NULL is fine. The last one frees. */
void token_verdict_release(struct token_verdict *verdict);

/* Until when its key counts, by the monotonic clock; UINT64_MAX while the key is in use. */
uint64_t token_verdict_key_until_ns(const struct token_verdict *verdict);

#endif
