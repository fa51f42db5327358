#include "lib/token_maker.h"

#include <sodium.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Made for these tests with openssl(1); they open nothing. */
static const char rsa_private_der[] =
    "MIIEowIBAAKCAQEAtlOTPrmia9tW6Wdk6tXPjuqS6iJ8adrugimQqnBY-rfSZ2VHjnfOv69vseiFlT7XycK_"
    "iwEpFFxZtzYZfekfawQJ5aHLe9iMh-exyIuYCcQuuO29i412yBMcnOoebBCP2PpyWlGP27FaQWPC54USCLlP"
    "Rj1iZsWvZBoF15cHx7wNl6iErly1Miz5SswujtmV2uqq3qkPNMG0ybWj_8UQAicNNZFNWgvhkB-WviY9h05O"
    "ZkzmKk-qWg1vfgk-vNcsJvrnwIjd9hHD7-aoFEgAO-7SwIvuk8fuK70lr_vqSJc2KyH24UTTyGOY5KY8zehd"
    "idjnyu1yvgy5zM5LkpfC2wIDAQABAoIBAAYLQjPPmotBw6FMHKPOP6morAMX7pDhwYtODm4f-EsjYdWsnVEj"
    "NpbTHXxDzX3TjfqxuoDEopR6tTymDfVHD5QQF7XlhaXO2WW97_5KZllYiAX4V5KzN09NluK6vhRt_h6-uqC0"
    "2HR7bhcB1BmxpxXj8rVM3qCyh-xlEnGBn6_mxSYm6zCdk5ch1O5aXFg8huDOTLBDsdNSROJBrZ9V8LXSmOMI"
    "Dn6fIC_ZYzveyqpdA2WPfMieGRatSCRLpEEDZPmud1QXC2yR_0DbEJcKofvf7JgIRFImCzTOGNE-VDiOQBes"
    "wzBEmMDSqQdT7PBNUgpXIj9QuU0MUqIxyMc68aUCgYEA3nMnqioOVYRuiWyMaYJMPCudd6WboVr5zJ9fGrfq"
    "Fjkv7ahrA2GuXDAwQIQ0Dk7OoTNCFwYxmUFuj0-4UTCjykugIq5sU5lFP4_E_xRahf2NCzCNSongrtCTVhzH"
    "20F3PeY_d7dSn89v8X5yTmHRJ3fq0boB6khTlAI9_BjD0qcCgYEA0dM_PLrGMHXmBcsgDGM8cSdqP1o8utrj"
    "ohvHJLScdT8tmRWrgAlCvFk1ndcyKl8CnwzgdxrSgl0ZVEy-VVfsNdX_-byx5Y3yL8lDXikz_-2sujFyfc-H"
    "_mMU4WMb2PRVVRL_gClw7wwrWWSO_NSUyOAfoEte0owJ5zfO03N_WK0CgYEAxJlfp-utaXU2wCv4WNN4jwE5"
    "FWJ_Dnc6KNd9lT6QG34FVvSvR3jQQdew_YQaAb8yrZOAyJqHwVvr26roSpFDYOm_qIchZC0k340v3QTfEGbL"
    "feU2Knd65OWgIc4j8CqGuWVCGIsj8evCkttfKNkYodpA5YSQZr_vZfMpVyGICCcCgYBrp6Alb4rqKEOJq2tZ"
    "D71eLSPlN047bL0oWmo1mflAatbhWW3xtk6oRnks79GMTc0Rf9DXK0rgmhW529o3_XFzOcYpAzifF9Iv1Gqd"
    "MDS-1douedpNVKJo0btP3MLX8JyrlqDCyABqlerT5bU7YXKpEd0IKEORcUpPeKHEedjXzQKBgBiWRgZUhRIg"
    "0Nh1PUNM8yajM38WH6PXx0s-6K7nwG5X9hyo7xS9rl9NPJtZ3M0GBvF_x2yHoqa_-qAjtQwB98Od11NFgfjk"
    "EPOfcRHJDwHexp5ijgkva3se9F7tHuNqCtIn07yaEP7YRhJDwhV6Qm_uf73hp38F3nRo0yUymGrO";
static const char p256_private[] = "bcOz7bt8TFIQSPkrYTR_FWCWdGr7wvf-ZZKYxwI67q8";
static const char ed25519_seed[] = "EApblFLKuAL2rMBgsCkqDACsIIPuLRV2DsH0cLx3djk";

/* DigestInfo of SHA-256 up to the digest. */
static const uint8_t sha256_prefix[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                        0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

uint8_t *token_maker_decode(const char *text, size_t *ret_size)
{
    uint8_t *out = malloc(strlen(text) + 1);

    must(out != NULL && sodium_base642bin(out, strlen(text) + 1, text, strlen(text), NULL, ret_size,
                                          NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0);
    return out;
}

static char *encode(const void *bytes, size_t size)
{
    size_t room = sodium_base64_encoded_len(size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *text = malloc(room);

    must(text != NULL);
    return sodium_bin2base64(text, room, bytes, size, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static size_t sign_rsa(struct bytes message, uint8_t *out, WC_RNG *rng)
{
    uint8_t info[sizeof(sha256_prefix) + crypto_hash_sha256_BYTES];
    RsaKey *key = calloc(1, sizeof(*key)); /* large for a stack */
    word32 index = 0;
    size_t size = 0;
    uint8_t *der = token_maker_decode(rsa_private_der, &size);
    int signed_size;

    memcpy(info, sha256_prefix, sizeof(sha256_prefix));
    crypto_hash_sha256(info + sizeof(sha256_prefix), message.data, message.size);
    must(key != NULL && wc_InitRsaKey(key, NULL) == 0);
    must(wc_RsaPrivateKeyDecode(der, &index, key, (word32)size) == 0);
#ifdef WC_RSA_BLINDING
    must(wc_RsaSetRNG(key, rng) == 0);
#endif
    signed_size = wc_RsaSSL_Sign(info, sizeof(info), out, TOKEN_MAKER_SIGNATURE_MAX, key, rng);
    must(signed_size == TOKEN_MAKER_SIGNATURE_MAX);
    must(wc_FreeRsaKey(key) == 0);
    free(key);
    free(der);
    return (size_t)signed_size;
}

static size_t sign_p256(struct bytes message, uint8_t *out, WC_RNG *rng)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    size_t size = 0;
    uint8_t *number = token_maker_decode(p256_private, &size);
    static ecc_key key; /* large for a stack */
    static mp_int r;
    static mp_int s;

    crypto_hash_sha256(hash, message.data, message.size);
    must(wc_ecc_init(&key) == 0);
    must(wc_ecc_import_private_key_ex(number, (word32)size, NULL, 0, &key, ECC_SECP256R1) == 0);
    must(mp_init(&r) == 0 && mp_init(&s) == 0);
    must(wc_ecc_sign_hash_ex(hash, sizeof(hash), rng, &key, &r, &s) == 0);
    must(mp_to_unsigned_bin_len(&r, out, 32) == 0);
    must(mp_to_unsigned_bin_len(&s, out + 32, 32) == 0);
    mp_clear(&r);
    mp_clear(&s);
    (void)wc_ecc_free(&key);
    free(number);
    return 64;
}

static size_t sign_ed25519(struct bytes message, uint8_t *out)
{
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    size_t size = 0;
    uint8_t *seed = token_maker_decode(ed25519_seed, &size);

    must(size == crypto_sign_SEEDBYTES);
    must(crypto_sign_seed_keypair(public_key, secret_key, seed) == 0);
    must(crypto_sign_detached(out, NULL, message.data, message.size, secret_key) == 0);
    free(seed);
    return crypto_sign_BYTES;
}

static size_t sign_hmac(struct bytes secret, struct bytes message, uint8_t *out)
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, secret.data, secret.size);
    crypto_auth_hmacsha256_update(&state, message.data, message.size);
    crypto_auth_hmacsha256_final(&state, out);
    return crypto_auth_hmacsha256_BYTES;
}

size_t token_maker_sign(enum token_maker_key key, struct bytes message,
                        uint8_t out[TOKEN_MAKER_SIGNATURE_MAX])
{
    WC_RNG rng;
    size_t size;

    must(sodium_init() >= 0);
    if (key == TOKEN_MAKER_HS256) {
        return sign_hmac(BYTES_LITERAL(TOKEN_MAKER_SECRET), message, out);
    }
    if (key == TOKEN_MAKER_EDDSA) {
        return sign_ed25519(message, out);
    }
    must(wc_InitRng(&rng) == 0);
    size = key == TOKEN_MAKER_RS256 ? sign_rsa(message, out, &rng) : sign_p256(message, out, &rng);
    must(wc_FreeRng(&rng) == 0);
    return size;
}

/* `head` is taken over. */
static char *add_segment(char *head, const void *bytes, size_t size)
{
    char *segment = encode(bytes, size);
    char *whole = NULL;

    must(asprintf(&whole, "%s%s%s", head == NULL ? "" : head, head == NULL ? "" : ".", segment) >=
         0);
    free(head);
    free(segment);
    return whole;
}

static char *unsigned_token(const char *header, const char *payload)
{
    return add_segment(add_segment(NULL, header, strlen(header)), payload, strlen(payload));
}

char *token_make_with(const char *header, const char *payload, struct bytes signature)
{
    return add_segment(unsigned_token(header, payload), signature.data, signature.size);
}

char *token_make(enum token_maker_key key, const char *header, const char *payload)
{
    char *text = unsigned_token(header, payload);
    uint8_t signature[TOKEN_MAKER_SIGNATURE_MAX];
    size_t size = token_maker_sign(key, bytes_from_text(text), signature);

    return add_segment(text, signature, size);
}

char *token_make_hs256(struct bytes secret, const char *header, const char *payload)
{
    char *text = unsigned_token(header, payload);
    uint8_t signature[TOKEN_MAKER_SIGNATURE_MAX];
    size_t size = sign_hmac(secret, bytes_from_text(text), signature);

    return add_segment(text, signature, size);
}
