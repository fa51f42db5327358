#include "service/token.h"

#include "core/clock.h"
#include "service/token_cache.h"

#include <jwt.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * The way of a token: remembered? else split, header, key, signature, claims (token_parse.c), then
 * remembered until it expires or the cache's time for it is over. What is refused is never
 * remembered.
 *
 * A key owns its algorithm, and the token's `alg` must name exactly that one: the token does not
 * get to choose how it is judged. A kid finds a key or the token is refused; there is no second try
 * without it.
 *
 * The library compares signatures and nothing more. It is never called without a key, because
 * without one it passes everything, and what it says the algorithm was is checked once more. It
 * knows no typ at+jwt and fails such tokens, so they are refused here, before it.
 */

#define KEYS_MAX 16

struct token_key {
    const char *algorithm; /* as it stands in a header */
    jwt_alg_t library_algorithm;
    const char *key_id; /* NULL = for tokens without kid */
    uint8_t *secret;
    size_t secret_size;
};

struct token_verifier {
    struct clock_source *clock;
    struct token_options options;
    char *issuer; /* what the options point to */
    char *audience;
    struct token_key keys[KEYS_MAX];
    unsigned key_count;
    struct token_cache cache;
    struct token_stats stats;
};

int token_verifier_new(struct clock_source *clock, struct random_source *random,
                       const struct token_options *options, struct token_verifier **ret_verifier)
{
    struct token_verifier *verifier = calloc(1, sizeof(*verifier));

    if (verifier == NULL) {
        return -ENOMEM;
    }
    verifier->clock = clock;
    verifier->options = *options;
    token_cache_init(&verifier->cache, random, options->cache_entries);
    verifier->issuer = strdup(options->issuer);
    verifier->audience = strdup(options->audience);
    if (verifier->issuer == NULL || verifier->audience == NULL) {
        token_verifier_free(verifier);
        return -ENOMEM;
    }
    verifier->options.issuer = verifier->issuer;
    verifier->options.audience = verifier->audience;
    *ret_verifier = verifier;
    return 0;
}

void token_verifier_free(struct token_verifier *verifier)
{
    if (verifier == NULL) {
        return;
    }
    for (unsigned i = 0; i < verifier->key_count; i++) {
        explicit_bzero(verifier->keys[i].secret, verifier->keys[i].secret_size);
        free(verifier->keys[i].secret);
    }
    token_cache_deinit(&verifier->cache);
    free(verifier->issuer);
    free(verifier->audience);
    free(verifier);
}

const struct token_stats *token_verifier_stats(const struct token_verifier *verifier)
{
    return &verifier->stats;
}

/* What counts of a secret: editors end files with a newline, and nobody means it. */
static int trim_secret(struct bytes *secret)
{
    static const char pem[] = "-----BEGIN";

    if (secret->size > 0 && secret->data[secret->size - 1] == '\n') {
        secret->size--;
        if (secret->size > 0 && secret->data[secret->size - 1] == '\r') {
            secret->size--;
        }
    }
    if (secret->size < TOKEN_SECRET_SIZE_MIN || secret->size > TOKEN_SECRET_SIZE_MAX) {
        return TOKEN_E_BAD_SECRET_SIZE;
    }
    if (memmem(secret->data, secret->size, pem, sizeof(pem) - 1) != NULL) {
        return TOKEN_E_SECRET_IS_PEM;
    }
    return 0;
}

/* `key_id` NULL asks for the key of tokens without kid. */
static const struct token_key *find_key(const struct token_verifier *verifier, const char *key_id)
{
    for (unsigned i = 0; i < verifier->key_count; i++) {
        const struct token_key *key = &verifier->keys[i];

        if (key_id == NULL ? key->key_id == NULL
                           : key->key_id != NULL && strcmp(key->key_id, key_id) == 0) {
            return key;
        }
    }
    return NULL;
}

int token_verifier_add_secret(struct token_verifier *verifier, struct bytes secret)
{
    struct token_key *key = &verifier->keys[verifier->key_count];
    int result = trim_secret(&secret);

    if (result != 0) {
        return result;
    }
    if (find_key(verifier, NULL) != NULL) {
        return TOKEN_E_KEY_EXISTS;
    }
    key->secret = malloc(secret.size);
    if (key->secret == NULL) {
        return -ENOMEM;
    }
    memcpy(key->secret, secret.data, secret.size);
    key->secret_size = secret.size;
    key->algorithm = "HS256";
    key->library_algorithm = JWT_ALG_HS256;
    verifier->key_count++;
    return 0;
}

static enum token_fault check_signature(const struct token_key *key, struct bytes token,
                                        struct arena *arena)
{
    char *text = arena_copy_text(arena, token);
    jwt_t *jwt = NULL;
    enum token_fault fault = TOKEN_OK;

    if (text == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (key->secret == NULL || key->secret_size == 0 ||
        jwt_decode(&jwt, text, key->secret, (int)key->secret_size) != 0) {
        return TOKEN_BAD_SIGNATURE;
    }
    if (jwt_get_alg(jwt) != key->library_algorithm) {
        fault = TOKEN_BAD_ALGORITHM;
    }
    jwt_free(jwt);
    return fault;
}

static enum token_fault verify_anew(struct token_verifier *verifier, struct bytes token,
                                    const struct token_rules *rules, struct arena *arena,
                                    struct token_claims *ret_claims)
{
    struct token_parts parts;
    struct token_header header;
    const struct token_key *key;
    enum token_fault fault = token_parse_split(token, verifier->options.size_max, &parts);

    if (fault == TOKEN_OK) {
        fault = token_parse_header(parts.header, arena, &header);
    }
    if (fault != TOKEN_OK) {
        return fault;
    }
    if (header.type == TOKEN_TYPE_ACCESS) {
        return TOKEN_BAD_TYPE;
    }
    key = find_key(verifier, header.key_id);
    if (key == NULL) {
        return TOKEN_UNKNOWN_KEY;
    }
    if (strcmp(header.algorithm, key->algorithm) != 0) {
        return TOKEN_BAD_ALGORITHM;
    }
    verifier->stats.signatures_checked++;
    fault = check_signature(key, token, arena);
    return fault == TOKEN_OK ? token_parse_claims(parts.payload, rules, arena, ret_claims) : fault;
}

/* From the cache, whose entry may go, to the arena. */
static enum token_fault copy_claims(const struct token_claims *claims, struct arena *arena,
                                    struct token_claims *ret_claims)
{
    struct token_claims copy = *claims;
    const char **roles = NULL;

    copy.subject = arena_copy_text(arena, bytes_from_text(claims->subject));
    if (copy.subject == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (claims->role_count > 0) {
        roles = arena_alloc(arena, claims->role_count * sizeof(*roles));
        if (roles == NULL) {
            return TOKEN_NO_MEMORY;
        }
    }
    for (unsigned i = 0; i < claims->role_count; i++) {
        roles[i] = arena_copy_text(arena, bytes_from_text(claims->roles[i]));
        if (roles[i] == NULL) {
            return TOKEN_NO_MEMORY;
        }
    }
    copy.roles = roles;
    *ret_claims = copy;
    return TOKEN_OK;
}

/* What the token has left; UINT64_MAX when that is centuries. */
static uint64_t left_ns(const struct token_claims *claims, uint64_t now_ns)
{
    if (claims->expires_s >= UINT64_MAX / CLOCK_NS_PER_S) {
        return UINT64_MAX;
    }
    return claims->expires_s * CLOCK_NS_PER_S - now_ns;
}

enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct arena *arena, struct token_claims *ret_claims)
{
    const struct token_options *options = &verifier->options;
    const uint64_t now_ns = clock_realtime_ns(verifier->clock);
    const struct token_rules rules = {
        .issuer = options->issuer,
        .audience = options->audience,
        .leeway_s = options->leeway_s,
        .now_s = now_ns / CLOCK_NS_PER_S,
    };
    const struct token_claims *known = NULL;
    uint64_t until_s = rules.now_s + options->cache_ttl_s;
    enum token_fault fault;

    if (token.size <= options->size_max) {
        known = token_cache_find(&verifier->cache, token, rules.now_s);
    }
    if (known != NULL) {
        verifier->stats.cache_hits++;
        fault = copy_claims(known, arena, ret_claims);
    } else {
        fault = verify_anew(verifier, token, &rules, arena, ret_claims);
        if (fault == TOKEN_OK) {
            until_s = ret_claims->expires_s < until_s ? ret_claims->expires_s : until_s;
            token_cache_add(&verifier->cache, token, ret_claims, until_s);
        }
    }
    if (fault == TOKEN_OK) {
        ret_claims->left_ns = left_ns(ret_claims, now_ns);
    }
    return fault;
}

/* Returns 0 or the library's errno as ours. */
static int add_claims(jwt_t *jwt, const struct token_request *request)
{
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        {"sub", request->subject},
        {"roles", request->roles},
        {"iss", request->issuer},
        {"aud", request->audience},
    };

    int error = jwt_add_grant_int(jwt, "iat", (long)request->issued_s);

    if (error == 0) {
        error = jwt_add_grant_int(jwt, "exp", (long)request->expires_s);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && error == 0; i++) {
        if (texts[i].value != NULL) {
            error = jwt_add_grant(jwt, texts[i].name, texts[i].value);
        }
    }
    return -error;
}

int token_sign_hs256(struct bytes secret, const struct token_request *request, char **ret_token)
{
    jwt_t *jwt = NULL;
    char *token;
    int result = trim_secret(&secret);

    if (result != 0) {
        return result;
    }
    if (jwt_new(&jwt) != 0) {
        return -ENOMEM;
    }
    result = add_claims(jwt, request);
    if (result == 0) {
        result = -jwt_set_alg(jwt, JWT_ALG_HS256, secret.data, (int)secret.size);
    }
    if (result == 0) {
        token = jwt_encode_str(jwt);
        if (token == NULL) {
            result = -ENOMEM;
        } else {
            *ret_token = token;
        }
    }
    jwt_free(jwt);
    return result;
}
