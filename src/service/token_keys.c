#include "service/token_keys.h"

#include "core/secret.h"
#include "core/signature.h"
#include "service/token_keys_internal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Keys and the secret among them. What a key set says is read by token_jwks.c. */

static const char *const algorithm_names[] = {
    [TOKEN_ALGORITHM_HS256] = "HS256",
    [TOKEN_ALGORITHM_RS256] = "RS256",
    [TOKEN_ALGORITHM_ES256] = "ES256",
    [TOKEN_ALGORITHM_EDDSA] = "EdDSA",
};

const char *token_algorithm_name(enum token_algorithm algorithm)
{
    return algorithm_names[algorithm];
}

void token_key_hold(struct token_key *key)
{
    key->holds++;
}

void token_key_release(struct token_key *key)
{
    if (--key->holds > 0) {
        return;
    }
    secret_free(key->secret);
    signature_key_free(key->public_key);
    free(key->key_id);
    free(key);
}

int token_keys_new(struct token_keys **ret_keys)
{
    struct token_keys *keys = calloc(1, sizeof(*keys));

    if (keys == NULL) {
        return -ENOMEM;
    }
    *ret_keys = keys;
    return 0;
}

void token_keys_free(struct token_keys *keys)
{
    if (keys == NULL) {
        return;
    }
    for (unsigned i = 0; i < keys->count; i++) {
        token_key_release(keys->items[i]);
    }
    free(keys);
}

struct token_key *token_key_new(enum token_algorithm algorithm)
{
    struct token_key *key = calloc(1, sizeof(*key));

    if (key != NULL) {
        key->holds = 1;
        key->algorithm = algorithm;
        key->until_ns = UINT64_MAX;
    }
    return key;
}

/* Every part is led by its size, so that no two lists of parts look the same. */
static void digest_part(struct digest *digest, struct bytes part)
{
    uint64_t size = part.size;

    digest_add(digest, (struct bytes){(const uint8_t *)&size, sizeof(size)});
    digest_add(digest, part);
}

void token_key_identify(struct token_key *key, struct bytes first, struct bytes second)
{
    struct bytes key_id = {0};
    struct digest digest;

    if (key->key_id != NULL) {
        key_id = bytes_from_text(key->key_id);
    }
    digest_init(&digest);
    digest_part(&digest, bytes_from_text(algorithm_names[key->algorithm]));
    digest_part(&digest, key_id);
    digest_part(&digest, first);
    digest_part(&digest, second);
    digest_end(&digest, key->digest);
    explicit_bzero(&digest, sizeof(digest));
}

/* A public key in the one form or the other: its owner took the wrong file for the secret's. */
static bool is_public_key(struct bytes text)
{
    static const char pem[] = "-----BEGIN";
    static const char jwk[] = "\"kty\"";

    return memmem(text.data, text.size, pem, sizeof(pem) - 1) != NULL ||
           memmem(text.data, text.size, jwk, sizeof(jwk) - 1) != NULL;
}

int token_keys_trim_secret(struct bytes *secret)
{
    if (secret->size > 0 && secret->data[secret->size - 1] == '\n') {
        secret->size--;
        if (secret->size > 0 && secret->data[secret->size - 1] == '\r') {
            secret->size--;
        }
    }
    if (secret->size < TOKEN_SECRET_SIZE_MIN || secret->size > TOKEN_SECRET_SIZE_MAX) {
        return TOKEN_E_BAD_SECRET_SIZE;
    }
    return is_public_key(*secret) ? TOKEN_E_SECRET_IS_PEM : 0;
}

int token_keys_add_secret(struct token_keys *keys, struct bytes secret)
{
    struct token_key *key;
    int result = token_keys_trim_secret(&secret);

    if (result != 0) {
        return result;
    }
    for (unsigned i = 0; i < keys->count; i++) {
        if (keys->items[i]->key_id == NULL) {
            return TOKEN_E_KEY_EXISTS;
        }
    }
    key = token_key_new(TOKEN_ALGORITHM_HS256);
    if (key == NULL) {
        return -ENOMEM;
    }
    key->secret = secret_alloc(secret.size);
    if (key->secret == NULL) {
        token_key_release(key);
        return -ENOMEM;
    }
    memcpy(key->secret, secret.data, secret.size);
    key->secret_size = secret.size;
    token_key_identify(key, secret, (struct bytes){0});
    keys->items[keys->count++] = key;
    return 0;
}
