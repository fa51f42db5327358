/*
 * The stage that asks who calls: bearer token to identity.
 *
 * Owns:    its counters.
 * Borrows: verifier and log, for the server's life.
 * Thread:  loop only.
 */
#ifndef SERVICE_AUTH_H
#define SERVICE_AUTH_H

#include "http2/grpc_dispatch.h"
#include "service/token_parse.h"

#include <stdbool.h>
#include <stdint.h>

struct log;
struct token_verifier;

/* Set the borrowed fields and the option, leave the rest zero. */
struct auth {
    struct token_verifier *verifier; /* NULL = auth.mode none: everybody passes, as nobody */
    struct log *log;
    bool anonymous_health; /* auth.anonymous_health: grpc.health.v1.Health asks for no token */
    uint64_t passed;
    uint64_t missing;                    /* calls without a token */
    uint64_t malformed;                  /* two values, or no bearer token in the value */
    uint64_t refused[TOKEN_FAULT_COUNT]; /* tokens, by reason */
};

/* The stage. A call that passes has its `caller` set to the token's subject, and
 * `authorized_until_ns` to the token's end. */
struct grpc_stage auth_stage(struct auth *auth);

/* Calls that were not let pass. */
uint64_t auth_refused_total(const struct auth *auth);

#endif
