#include "core/signature.h"

#include "core/digest.h"
#include "core/tls_memory.h"

#include <sodium.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/wc_port.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * wolfCrypt has the fast RSA and P-256, libsodium the strict Ed25519: it refuses points of small
 * order and any second spelling of S. A key is parsed and looked at once, so that a signature costs
 * the arithmetic and nothing else; nothing is allocated for it.
 *
 * What a library may or may not look at is looked at here:
 *   - RSA: the whole decrypted block is the padding, the name of SHA-256 and the digest, with not a
 *     byte more or less. The library takes the padding off; the rest is compared.
 *   - ECDSA: r and s, 32 bytes each, are from 1 to n - 1; DER is no signature here.
 */

#define P256_SIZE 32

enum kind {
    KIND_RSA,
    KIND_P256,
    KIND_ED25519,
};

struct signature_key {
    enum kind kind;
    bool initialised; /* the library's key is to be freed */

    union {
        RsaKey rsa;
        ecc_key p256;
        uint8_t ed25519[crypto_sign_PUBLICKEYBYTES];
    } as;
};

/* The order of the group of P-256. */
static const uint8_t p256_order[P256_SIZE] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

/* DigestInfo of SHA-256 up to the digest (RFC 8017, 9.2). */
static const uint8_t sha256_prefix[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                        0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

static struct signature_key *key_new(enum kind kind)
{
    struct signature_key *key;

    tls_memory_install(); /* Debian's library keeps points of keys beyond the key that it saw */
    if (wolfCrypt_Init() != 0) { /* counted, like its end */
        return NULL;
    }
    key = calloc(1, sizeof(*key));
    if (key == NULL) {
        (void)wolfCrypt_Cleanup();
        return NULL;
    }
    key->kind = kind;
    return key;
}

void signature_key_free(struct signature_key *key)
{
    if (key == NULL) {
        return;
    }
    if (key->initialised && key->kind == KIND_RSA) {
        (void)wc_FreeRsaKey(&key->as.rsa);
    } else if (key->initialised && key->kind == KIND_P256) {
        (void)wc_ecc_free(&key->as.p256);
    }
    free(key);
    (void)wolfCrypt_Cleanup();
}

static struct bytes without_leading_zeros(struct bytes number)
{
    while (number.size > 0 && number.data[0] == 0) {
        number.data++;
        number.size--;
    }
    return number;
}

/* Of a number without leading zeros. */
static size_t bit_count(struct bytes number)
{
    size_t bits = number.size * 8;

    for (unsigned first = number.size > 0 ? number.data[0] : 0x80; first < 0x80; first *= 2) {
        bits--;
    }
    return bits;
}

static bool is_odd(struct bytes number)
{
    return number.size > 0 && (number.data[number.size - 1] & 1) != 0;
}

int signature_key_new_rsa(struct bytes modulus, struct bytes exponent,
                          struct signature_key **ret_key)
{
    struct signature_key *key;
    int result;

    modulus = without_leading_zeros(modulus);
    exponent = without_leading_zeros(exponent);
    if (bit_count(modulus) < SIGNATURE_RSA_BITS_MIN ||
        bit_count(modulus) > SIGNATURE_RSA_BITS_MAX) {
        return SIGNATURE_E_SIZE;
    }
    if (!is_odd(exponent) || exponent.size > 4 || bit_count(exponent) < 2) {
        return SIGNATURE_E_EXPONENT;
    }
    if (!is_odd(modulus)) {
        return SIGNATURE_E_NUMBER;
    }
    key = key_new(KIND_RSA);
    if (key == NULL) {
        return -ENOMEM;
    }
    result = wc_InitRsaKey(&key->as.rsa, NULL);
    if (result == 0) {
        key->initialised = true;
        result = wc_RsaPublicKeyDecodeRaw(modulus.data, (word32)modulus.size, exponent.data,
                                          (word32)exponent.size, &key->as.rsa);
    }
    if (result != 0) {
        signature_key_free(key);
        return result == MEMORY_E ? -ENOMEM : SIGNATURE_E_NUMBER;
    }
    *ret_key = key;
    return 0;
}

/* The library reads coordinates without a const. */
static int import_point(ecc_key *library_key, struct bytes x, struct bytes y)
{
    uint8_t copies[2][P256_SIZE];

    memcpy(copies[0], x.data, P256_SIZE);
    memcpy(copies[1], y.data, P256_SIZE);
    return wc_ecc_import_unsigned(library_key, copies[0], copies[1], NULL, ECC_SECP256R1);
}

int signature_key_new_p256(struct bytes x, struct bytes y, struct signature_key **ret_key)
{
    struct signature_key *key;
    int result;

    if (x.size != P256_SIZE || y.size != P256_SIZE) {
        return SIGNATURE_E_SIZE;
    }
    key = key_new(KIND_P256);
    if (key == NULL) {
        return -ENOMEM;
    }
    result = wc_ecc_init(&key->as.p256);
    if (result == 0) {
        key->initialised = true;
        result = import_point(&key->as.p256, x, y);
    }
    if (result == 0) {
        result = wc_ecc_check_key(&key->as.p256);
    }
    if (result != 0) {
        signature_key_free(key);
        return result == MEMORY_E ? -ENOMEM : SIGNATURE_E_NUMBER;
    }
    *ret_key = key;
    return 0;
}

int signature_key_new_ed25519(struct bytes point, struct signature_key **ret_key)
{
    struct signature_key *key;

    if (point.size != crypto_sign_PUBLICKEYBYTES) {
        return SIGNATURE_E_SIZE;
    }
    if (sodium_init() < 0) {
        return -ENOMEM;
    }
    if (crypto_core_ed25519_is_valid_point(point.data) != 1) {
        return SIGNATURE_E_NUMBER;
    }
    key = key_new(KIND_ED25519);
    if (key == NULL) {
        return -ENOMEM;
    }
    memcpy(key->as.ed25519, point.data, point.size);
    *ret_key = key;
    return 0;
}

static void sha256(struct bytes message, uint8_t out[DIGEST_SIZE])
{
    struct digest digest;

    digest_init(&digest);
    digest_add(&digest, message);
    digest_end(&digest, out);
}

static bool rsa_is_good(RsaKey *key, struct bytes message, struct bytes signature)
{
    uint8_t block[SIGNATURE_SIZE_MAX];
    uint8_t expected[sizeof(sha256_prefix) + DIGEST_SIZE];
    uint8_t *found = NULL;
    int size;

    if (signature.size != (size_t)wc_RsaEncryptSize(key) || signature.size > sizeof(block)) {
        return false;
    }
    memcpy(block, signature.data, signature.size);
    size = wc_RsaSSL_VerifyInline(block, (word32)signature.size, &found, key);
    if (size != (int)sizeof(expected) || found == NULL) {
        return false;
    }
    memcpy(expected, sha256_prefix, sizeof(sha256_prefix));
    sha256(message, expected + sizeof(sha256_prefix));
    return memcmp(found, expected, sizeof(expected)) == 0;
}

/* From 1 to the order less 1. */
static bool is_scalar(const uint8_t *number)
{
    static const uint8_t zero[P256_SIZE];

    return memcmp(number, zero, P256_SIZE) != 0 && memcmp(number, p256_order, P256_SIZE) < 0;
}

static bool p256_is_good(ecc_key *key, struct bytes message, struct bytes signature)
{
    uint8_t hash[DIGEST_SIZE];
    mp_int r;
    mp_int s;
    int verdict = 0;
    bool good;

    if (signature.size != 2 * P256_SIZE || !is_scalar(signature.data) ||
        !is_scalar(signature.data + P256_SIZE) ||
        mp_init_multi(&r, &s, NULL, NULL, NULL, NULL) != MP_OKAY) {
        return false;
    }
    sha256(message, hash);
    good = mp_read_unsigned_bin(&r, signature.data, P256_SIZE) == MP_OKAY &&
           mp_read_unsigned_bin(&s, signature.data + P256_SIZE, P256_SIZE) == MP_OKAY &&
           wc_ecc_verify_hash_ex(&r, &s, hash, sizeof(hash), &verdict, key) == 0 && verdict == 1;
    mp_clear(&r);
    mp_clear(&s);
    return good;
}

bool signature_is_good(struct signature_key *key, struct bytes message, struct bytes signature)
{
    switch (key->kind) {
    case KIND_RSA:
        return rsa_is_good(&key->as.rsa, message, signature);
    case KIND_P256:
        return p256_is_good(&key->as.p256, message, signature);
    case KIND_ED25519:
        return signature.size == crypto_sign_BYTES &&
               crypto_sign_verify_detached(signature.data, message.data, message.size,
                                           key->as.ed25519) == 0;
    }
    return false;
}

_Static_assert(SIGNATURE_HMAC_SIZE == crypto_auth_hmacsha256_BYTES, "of the same function");

void signature_hmac(struct bytes secret, struct bytes message, uint8_t out[SIGNATURE_HMAC_SIZE])
{
    crypto_auth_hmacsha256_state state;

    (void)crypto_auth_hmacsha256_init(&state, secret.data, secret.size);
    (void)crypto_auth_hmacsha256_update(&state, message.data, message.size);
    (void)crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof(state));
}

bool signature_hmac_is_good(struct bytes secret, struct bytes message, struct bytes mac)
{
    uint8_t expected[SIGNATURE_HMAC_SIZE];
    bool good;

    if (secret.size == 0 || mac.size != sizeof(expected)) {
        return false;
    }
    signature_hmac(secret, message, expected);
    good = sodium_memcmp(expected, mac.data, sizeof(expected)) == 0;
    sodium_memzero(expected, sizeof(expected));
    return good;
}
