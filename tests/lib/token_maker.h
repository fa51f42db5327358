/*
 * Tokens for tests, signed with fixed keys by wolfCrypt and libsodium: whatever header and payload
 * a test writes, well formed or not.
 *
 * Thread: one.
 */
#ifndef TESTS_LIB_TOKEN_MAKER_H
#define TESTS_LIB_TOKEN_MAKER_H

#include "core/bytes.h"

#define TOKEN_MAKER_RSA_N                                                                          \
    "tlOTPrmia9tW6Wdk6tXPjuqS6iJ8adrugimQqnBY-rfSZ2VHjnfOv69vseiFlT7XycK_iwEpFFxZtzYZfekf"         \
    "awQJ5aHLe9iMh-exyIuYCcQuuO29i412yBMcnOoebBCP2PpyWlGP27FaQWPC54USCLlPRj1iZsWvZBoF15cH"         \
    "x7wNl6iErly1Miz5SswujtmV2uqq3qkPNMG0ybWj_8UQAicNNZFNWgvhkB-WviY9h05OZkzmKk-qWg1vfgk-"         \
    "vNcsJvrnwIjd9hHD7-aoFEgAO-7SwIvuk8fuK70lr_vqSJc2KyH24UTTyGOY5KY8zehdidjnyu1yvgy5zM5L"         \
    "kpfC2w"
#define TOKEN_MAKER_P256_X    "4HUKmx5GUUDJ4ZH5f3gbc1JBzgBTzTqMFsWg6tqaKi8"
#define TOKEN_MAKER_P256_Y    "wVa1I0-vyAs-oHFbbCiuGb_iW7t_jWVUJ6NUv2JJB-Y"
#define TOKEN_MAKER_ED25519_X "pmZ1eqtocpNIaqjtkU2-VzbVooVPzmx9hQUN1MkFS3Y"
#define TOKEN_MAKER_SECRET    "0123456789abcdef0123456789abcdef"

/* The public keys as members of a key set; more members may follow. */
#define TOKEN_MAKER_JWK_RSA                                                                        \
    "{\"kty\":\"RSA\",\"kid\":\"r1\",\"e\":\"AQAB\",\"n\":\"" TOKEN_MAKER_RSA_N "\""
#define TOKEN_MAKER_JWK_P256                                                                       \
    "{\"kty\":\"EC\",\"kid\":\"e1\",\"crv\":\"P-256\",\"x\":\"" TOKEN_MAKER_P256_X                 \
    "\",\"y\":\"" TOKEN_MAKER_P256_Y "\""
#define TOKEN_MAKER_JWK_ED25519                                                                    \
    "{\"kty\":\"OKP\",\"kid\":\"d1\",\"crv\":\"Ed25519\",\"x\":\"" TOKEN_MAKER_ED25519_X "\""
#define TOKEN_MAKER_JWKS                                                                           \
    "{\"keys\":[" TOKEN_MAKER_JWK_RSA "}," TOKEN_MAKER_JWK_P256 "}," TOKEN_MAKER_JWK_ED25519 "}]}"

enum token_maker_key {
    TOKEN_MAKER_HS256,
    TOKEN_MAKER_RS256,
    TOKEN_MAKER_ES256,
    TOKEN_MAKER_EDDSA,
};

#define TOKEN_MAKER_SIGNATURE_MAX 256

/* Signs a message; returns the size of the signature. */
size_t token_maker_sign(enum token_maker_key key, struct bytes message,
                        uint8_t out[TOKEN_MAKER_SIGNATURE_MAX]);

/* header.payload.signature. The caller frees it. */
char *token_make(enum token_maker_key key, const char *header, const char *payload);

/* The same with HS256 and any secret. */
char *token_make_hs256(struct bytes secret, const char *header, const char *payload);

/* The same with any signature. */
char *token_make_with(const char *header, const char *payload, struct bytes signature);

/* Decodes base64url into fresh memory, which the caller frees. */
uint8_t *token_maker_decode(const char *text, size_t *ret_size);

#endif
