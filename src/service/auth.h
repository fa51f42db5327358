/*
 * The stage that asks who calls: bearer token and client certificate to identity.
 *
 * Each connection keeps its last token beside the verdict on it, so that the next call with the
 * same token costs one comparison. A call holds its verdict until it has finished.
 *
 * Owns:    its counters, what it knows of open streams.
 * Borrows: verifier and log, for the server's life.
 * Thread:  loop only.
 */
#ifndef SERVICE_AUTH_H
#define SERVICE_AUTH_H

#include "core/list.h"
#include "http2/grpc_dispatch.h"
#include "service/auth_waiting.h"
#include "service/token_parse.h"

#include <stdbool.h>
#include <stdint.h>

struct log;
struct token_verifier;

/* Set the borrowed fields and the options, leave the rest zero. */
struct auth {
    struct token_verifier *verifier; /* NULL = auth.mode none: everybody passes, without subject */
    struct log *log;
    uint32_t max_failures;     /* auth.max_failures: of refused tokens on a connection; 0 = any */
    bool anonymous_health;     /* auth.anonymous_health: grpc.health.v1.Health asks for no token */
    bool anonymous_reflection; /* auth.anonymous_reflection: nor does grpc.reflection */
    struct auth_waiting waiting; /* calls whose token was not verified yet; per_turn is an option */
    struct list streams;         /* open ones with a token, of struct auth_stream */
    uint64_t passed;             /* calls with a good token, of these */
    uint64_t passed_by_memo;     /* with the same as the call before on their connection */
    uint64_t anonymous;          /* calls that were asked for none */
    uint64_t missing;            /* calls without a token */
    uint64_t malformed;          /* two values, or no bearer token in the value */
    uint64_t connections_ended;  /* for max_failures */
    uint64_t refused[TOKEN_FAULT_COUNT]; /* tokens, by reason */
};

/* The stage, which keeps the address of `auth`. For a call that passes, `identity` is set to a
 * struct caller, `caller` to the token's subject, or without a token to the certificate's name, and
 * `authorized_until_ns` to the token's end. */
struct grpc_stage auth_stage(struct auth *auth);

/* The keys have changed: streams whose token's key is gone end with UNAUTHENTICATED, those whose
 * key has an end now end then. From the loop, not from inside a call's events. */
void auth_revoke(struct auth *auth);

/* The rules for tokens have changed (token_verifier_set_options()): judges the tokens of at most
 * `count_max` open streams anew. A stream ends with UNAUTHENTICATED when its token is refused now,
 * and else has the caller that its token says now. Returns whether all are done. From the loop, not
 * from inside a call's events. */
bool auth_rejudge(struct auth *auth, unsigned count_max);

/* Calls that were not let pass. */
uint64_t auth_refused_total(const struct auth *auth);

#endif
