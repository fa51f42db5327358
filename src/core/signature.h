/*
 * Public keys, read once, and the signatures that they judge: RSA with PKCS #1 v1.5 and SHA-256
 * (RS256), ECDSA over P-256 with SHA-256 (ES256), Ed25519 (EdDSA); and HMAC-SHA256.
 *
 * Owns:    the keys.
 * Borrows: message and signature, for the call.
 * Thread:  one at a time with a key.
 */
#ifndef CORE_SIGNATURE_H
#define CORE_SIGNATURE_H

#include "core/bytes.h"

#include <stdbool.h>

#define SIGNATURE_RSA_BITS_MIN 2048
#define SIGNATURE_RSA_BITS_MAX 4096 /* wolfCrypt's, as Debian and as we build it */
#define SIGNATURE_SIZE_MAX     (SIGNATURE_RSA_BITS_MAX / 8)

#define SIGNATURE_HMAC_SIZE 32

#define SIGNATURE_E_SIZE     1 /* RSA: not so many bits; the others: not 32 bytes */
#define SIGNATURE_E_EXPONENT 2 /* RSA: even, less than 3, or more than 32 bits */
#define SIGNATURE_E_NUMBER   3 /* an even modulus; a point not on the curve, or of small order */

struct signature_key;

/* Numbers as big-endian bytes. Returns 0, SIGNATURE_E_*, or -ENOMEM. */
int signature_key_new_rsa(struct bytes modulus, struct bytes exponent,
                          struct signature_key **ret_key);
int signature_key_new_p256(struct bytes x, struct bytes y, struct signature_key **ret_key);

/* The point as RFC 8032 encodes it. Returns as above. */
int signature_key_new_ed25519(struct bytes point, struct signature_key **ret_key);

/* NULL is fine. */
void signature_key_free(struct signature_key *key);

/* Is it the key's signature of the message? ECDSA: r and s, 32 bytes each. Whatever goes wrong is a
 * no. */
bool signature_is_good(struct signature_key *key, struct bytes message, struct bytes signature);

/* The HMAC-SHA256 of the message. */
void signature_hmac(struct bytes secret, struct bytes message, uint8_t out[SIGNATURE_HMAC_SIZE]);

/* Is it the HMAC-SHA256 of the message? Takes the same time for every wrong `mac` of 32 bytes. */
bool signature_hmac_is_good(struct bytes secret, struct bytes message, struct bytes mac);

#endif
