/*
 * What the two halves of the keys share: token_keys.c has keys and the secret, token_jwks.c reads
 * key sets.
 *
 * Owns, borrows, thread: as token_keys.h says.
 */
#ifndef SERVICE_TOKEN_KEYS_INTERNAL_H
#define SERVICE_TOKEN_KEYS_INTERNAL_H

#include "service/token_keys.h"

/* A key without content, held once. NULL when out of memory. */
struct token_key *token_key_new(enum token_algorithm algorithm);

/* Fills in what says whether two keys are the same: algorithm and kid, which it has, and the
 * content. */
void token_key_identify(struct token_key *key, struct bytes first, struct bytes second);

#endif
