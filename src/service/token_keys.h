/*
 * The keys that tokens are judged by: a shared secret for tokens without kid, and the public keys
 * of a JSON Web Key Set (RFC 7517) for those with one. Each key owns its algorithm.
 *
 * Owns:    the keys; they are counted, because verdicts refer to them. Secrets are wiped.
 * Borrows: secret and key set, for the call.
 * Thread:  loop only.
 */
#ifndef SERVICE_TOKEN_KEYS_H
#define SERVICE_TOKEN_KEYS_H

#include "core/bytes.h"
#include "core/digest.h"

#include <stdbool.h>
#include <stdint.h>

struct signature_key;

#define TOKEN_SECRET_SIZE_MIN 32
#define TOKEN_SECRET_SIZE_MAX 4096

#define TOKEN_JWKS_SIZE_MAX     (1024 * 1024)
#define TOKEN_KEYS_MAX          64
#define TOKEN_KEYS_PROBLEM_SIZE 512

#define TOKEN_E_BAD_SECRET_SIZE 1 /* not TOKEN_SECRET_SIZE_MIN to _MAX bytes */
#define TOKEN_E_SECRET_IS_PEM   2 /* a public key, PEM or JSON: everybody could sign with it */
#define TOKEN_E_KEY_EXISTS      3 /* there is a key for tokens without kid already */
#define TOKEN_E_BAD_JWKS        4 /* `problem` says which key, why, and what to do */

enum token_algorithm {
    TOKEN_ALGORITHM_HS256,
    TOKEN_ALGORITHM_RS256,
    TOKEN_ALGORITHM_ES256,
    TOKEN_ALGORITHM_EDDSA,
};

struct token_key {
    unsigned holds;
    enum token_algorithm algorithm;
    char *key_id; /* NULL = for tokens without kid */
    struct signature_key *public_key;
    uint8_t *secret; /* HS256, in memory of core/secret.h */
    size_t secret_size;
    uint8_t digest[DIGEST_SIZE]; /* of all the above: two keys with the same are the same */
    uint64_t until_ns; /* monotonic: from then on it does not count. UINT64_MAX while in use */
};

struct token_keys {
    unsigned count;
    struct token_key *items[TOKEN_KEYS_MAX + 1]; /* a key set and the secret */
};

/* A set without keys. Returns 0 or -ENOMEM. */
int token_keys_new(struct token_keys **ret_keys);

/* NULL is fine. */
void token_keys_free(struct token_keys *keys);

/* Adds the key of tokens without kid: HS256 with this secret (copied), taken as it is apart from
 * one newline at its end. Returns 0, TOKEN_E_*, or -ENOMEM. */
int token_keys_add_secret(struct token_keys *keys, struct bytes secret);

/* What counts of a secret: editors end files with a newline, and nobody means it. Returns 0 or
 * TOKEN_E_*. */
int token_keys_trim_secret(struct bytes *secret);

/* Adds the keys of a key set. `problem` has room for TOKEN_KEYS_PROBLEM_SIZE bytes. Returns 0, then
 * `problem` is empty or names the keys that were left out, because they are of kinds that userd
 * does not know or not for signatures; TOKEN_E_BAD_JWKS, then nothing was added and it says why; or
 * -ENOMEM. */
int token_keys_add_jwks(struct token_keys *keys, struct bytes text, char *problem);

/* "RS256" and so on, exactly as in a token's header. */
const char *token_algorithm_name(enum token_algorithm algorithm);

/* Counts and uncounts. The last one frees. */
void token_key_hold(struct token_key *key);
void token_key_release(struct token_key *key);

#endif
