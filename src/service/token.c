#include "service/token.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/signature.h"
#include "service/token_cache.h"

#include <jwt.h>

#include <assert.h>
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
 * without it. Only while a key that was replaced under its kid is in its overlap are there two.
 *
 * The library (libjwt) compares HMAC signatures and nothing more. It is never called without a key,
 * because without one it passes everything, and what it says the algorithm was is checked once
 * more. It knows no typ at+jwt and fails such tokens, so their HMAC is compared by
 * core/signature.c; so are all signatures by public keys, for which the library reads the key anew
 * each time, at ten times the cost of the signature.
 *
 * What we copy of a token is wiped when it was judged. The library copies it too, and does not.
 */

#define RETIRED_MAX TOKEN_KEYS_MAX

struct token_verifier {
    struct clock_source *clock;
    struct token_options options;
    char *issuer; /* what the options point to */
    char *audience;
    char *roles_claim;
    struct token_keys *keys;                /* in use; NULL = none yet */
    struct token_key *retired[RETIRED_MAX]; /* the one that ends first at the start */
    unsigned retired_count;
    struct token_cache cache;
    struct arena scratch; /* of the token being judged */
    struct token_stats stats;
};

static void release_retired(struct token_verifier *verifier, unsigned index)
{
    token_key_release(verifier->retired[index]);
    verifier->retired_count--;
    for (unsigned i = index; i < verifier->retired_count; i++) {
        verifier->retired[i] = verifier->retired[i + 1];
    }
}

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
    verifier->roles_claim = strdup(options->roles_claim);
    if (verifier->issuer == NULL || verifier->audience == NULL || verifier->roles_claim == NULL) {
        token_verifier_free(verifier);
        return -ENOMEM;
    }
    verifier->options.issuer = verifier->issuer;
    verifier->options.audience = verifier->audience;
    verifier->options.roles_claim = verifier->roles_claim;
    *ret_verifier = verifier;
    return 0;
}

void token_verifier_free(struct token_verifier *verifier)
{
    if (verifier == NULL) {
        return;
    }
    token_cache_deinit(&verifier->cache);
    token_keys_free(verifier->keys);
    while (verifier->retired_count > 0) {
        release_retired(verifier, verifier->retired_count - 1);
    }
    arena_deinit(&verifier->scratch);
    free(verifier->issuer);
    free(verifier->audience);
    free(verifier->roles_claim);
    free(verifier);
}

struct token_stats token_verifier_stats(const struct token_verifier *verifier)
{
    struct token_stats stats = verifier->stats;

    stats.cache_entries = (uint32_t)verifier->cache.by_digest.count;
    stats.keys = verifier->keys == NULL ? 0 : verifier->keys->count;
    stats.keys_retired = verifier->retired_count;
    return stats;
}

static void drop_ended_keys(struct token_verifier *verifier, uint64_t now_ns)
{
    while (verifier->retired_count > 0 && verifier->retired[0]->until_ns <= now_ns) {
        release_retired(verifier, 0);
    }
}

/* Where a key with the same kid and content stands among those in use, or NULL. */
static struct token_key **find_same(struct token_key **items, unsigned count,
                                    const struct token_key *key)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(items[i]->digest, key->digest, DIGEST_SIZE) == 0) {
            return &items[i];
        }
    }
    return NULL;
}

/* Lets the new set have the very keys that it shares with those before, and verdicts refer to. */
static void keep_same_keys(struct token_verifier *verifier, struct token_keys *keys)
{
    for (unsigned i = 0; i < keys->count; i++) {
        struct token_key **same = NULL;

        if (verifier->keys != NULL) {
            same = find_same(verifier->keys->items, verifier->keys->count, keys->items[i]);
        }
        if (same == NULL) {
            same = find_same(verifier->retired, verifier->retired_count, keys->items[i]);
        }
        if (same != NULL) {
            token_key_release(keys->items[i]);
            keys->items[i] = *same;
            token_key_hold(*same);
        }
    }
}

/* Its end begins. */
static void retire(struct token_verifier *verifier, struct token_key *key, uint64_t now_ns)
{
    if (verifier->options.key_overlap_s == 0) {
        key->until_ns = 0;
        return;
    }
    key->until_ns = now_ns + verifier->options.key_overlap_s * CLOCK_NS_PER_S;
    if (verifier->retired_count == RETIRED_MAX) {
        verifier->retired[0]->until_ns = 0;
        release_retired(verifier, 0);
    }
    verifier->retired[verifier->retired_count++] = key;
    token_key_hold(key);
}

void token_verifier_set_keys(struct token_verifier *verifier, struct token_keys *keys)
{
    uint64_t now_ns = clock_monotonic_ns(verifier->clock);
    struct token_keys *before = verifier->keys;

    assert(keys != before);
    drop_ended_keys(verifier, now_ns);
    keep_same_keys(verifier, keys);
    for (unsigned i = verifier->retired_count; i > 0; i--) {
        struct token_key *key = verifier->retired[i - 1];

        if (find_same(keys->items, keys->count, key) != NULL) {
            key->until_ns = UINT64_MAX; /* it is back */
            release_retired(verifier, i - 1);
        }
    }
    for (unsigned i = 0; before != NULL && i < before->count; i++) {
        if (find_same(keys->items, keys->count, before->items[i]) == NULL) {
            retire(verifier, before->items[i], now_ns);
        }
    }
    verifier->keys = keys;
    token_keys_free(before);
    token_cache_drop_ended(&verifier->cache, now_ns);
}

static enum token_fault ask_library(const struct token_key *key, struct bytes token,
                                    struct arena *scratch)
{
    char *text = arena_copy_text(scratch, token);
    jwt_t *jwt = NULL;
    enum token_fault fault = TOKEN_BAD_SIGNATURE;

    if (text == NULL) {
        return TOKEN_NO_MEMORY;
    }
    if (key->secret != NULL && key->secret_size > 0 &&
        jwt_decode(&jwt, text, key->secret, (int)key->secret_size) == 0) {
        fault = jwt_get_alg(jwt) == JWT_ALG_HS256 ? TOKEN_OK : TOKEN_BAD_ALGORITHM;
        jwt_free(jwt);
    }
    explicit_bzero(text, token.size);
    return fault;
}

/* A token on its way. */
struct judging {
    struct bytes token;
    struct token_parts parts;
    struct token_header header;
    uint64_t now_ns; /* monotonic */
    uint8_t signature[SIGNATURE_SIZE_MAX + 2];
    size_t signature_size;
};

static enum token_fault check_signature(struct token_verifier *verifier,
                                        const struct judging *judging, const struct token_key *key)
{
    const struct token_parts *parts = &judging->parts;
    struct bytes signature = {judging->signature, judging->signature_size};
    struct bytes message = {judging->token.data, parts->header.size + 1 + parts->payload.size};
    bool good;

    verifier->stats.signatures_checked++;
    if (key->algorithm == TOKEN_ALGORITHM_HS256 && judging->header.type != TOKEN_TYPE_ACCESS) {
        return ask_library(key, judging->token, &verifier->scratch);
    }
    if (key->algorithm == TOKEN_ALGORITHM_HS256) {
        good = signature_hmac_is_good((struct bytes){key->secret, key->secret_size}, message,
                                      signature);
    } else {
        good = signature_is_good(key->public_key, message, signature);
    }
    return good ? TOKEN_OK : TOKEN_BAD_SIGNATURE;
}

/* Is the token this key's? TOKEN_OK, or why not; `fault` when the key is not asked. */
static enum token_fault try_key(struct token_verifier *verifier, const struct judging *judging,
                                const struct token_key *key, enum token_fault fault)
{
    const char *key_id = judging->header.key_id;

    if (key->until_ns <= judging->now_ns || (key_id == NULL) != (key->key_id == NULL) ||
        (key_id != NULL && strcmp(key_id, key->key_id) != 0)) {
        return fault;
    }
    if (strcmp(judging->header.algorithm, token_algorithm_name(key->algorithm)) != 0) {
        return fault == TOKEN_UNKNOWN_KEY ? TOKEN_BAD_ALGORITHM : fault;
    }
    return check_signature(verifier, judging, key);
}

/* Tries the key of that kid, then those it replaced and that are in their overlap. */
static enum token_fault find_signer(struct token_verifier *verifier, const struct judging *judging,
                                    struct token_key **ret_key)
{
    enum token_fault fault = TOKEN_UNKNOWN_KEY;

    for (unsigned i = 0; verifier->keys != NULL && i < verifier->keys->count; i++) {
        fault = try_key(verifier, judging, verifier->keys->items[i], fault);
        if (fault == TOKEN_OK) {
            *ret_key = verifier->keys->items[i];
            return TOKEN_OK;
        }
    }
    for (unsigned i = verifier->retired_count; i > 0; i--) {
        fault = try_key(verifier, judging, verifier->retired[i - 1], fault);
        if (fault == TOKEN_OK) {
            *ret_key = verifier->retired[i - 1];
            return TOKEN_OK;
        }
    }
    return fault;
}

/* Shape, header, signature. */
static enum token_fault authenticate(struct token_verifier *verifier, struct judging *judging,
                                     struct token_key **ret_key)
{
    enum token_fault fault =
        token_parse_split(judging->token, verifier->options.size_max, &judging->parts);

    if (fault == TOKEN_OK) {
        fault = token_parse_header(judging->parts.header, &verifier->scratch, &judging->header);
    }
    if (fault != TOKEN_OK) {
        return fault;
    }
    if (judging->parts.signature.size / 4 * 3 + 2 > sizeof(judging->signature) ||
        token_parse_base64url(judging->parts.signature, judging->signature,
                              &judging->signature_size) != 0) {
        return TOKEN_BAD_SIGNATURE; /* longer than any */
    }
    return find_signer(verifier, judging, ret_key);
}

static enum token_fault verify_anew(struct token_verifier *verifier, struct bytes token,
                                    uint64_t now_s, uint64_t now_ns,
                                    struct token_verdict **ret_verdict)
{
    const struct token_options *options = &verifier->options;
    const struct token_rules rules = {
        .issuer = options->issuer,
        .audience = options->audience,
        .roles_claim = options->roles_claim,
        .leeway_s = options->leeway_s,
        .now_s = now_s,
    };
    struct judging judging = {.token = token, .now_ns = now_ns};
    struct token_key *key = NULL;
    struct token_claims claims;
    enum token_fault fault = authenticate(verifier, &judging, &key);

    if (fault == TOKEN_OK) {
        fault = token_parse_claims(judging.parts.payload, &rules, &verifier->scratch, &claims);
    }
    if (fault == TOKEN_OK) {
        *ret_verdict = token_verdict_new(&claims, key);
        fault = *ret_verdict == NULL ? TOKEN_NO_MEMORY : TOKEN_OK;
    }
    explicit_bzero(judging.signature, judging.signature_size);
    arena_reset(&verifier->scratch);
    return fault;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* From `now_ns` to a second since 1970; UINT64_MAX when that is centuries. */
static uint64_t left_ns(uint64_t end_s, uint64_t now_ns)
{
    if (end_s >= UINT64_MAX / CLOCK_NS_PER_S) {
        return UINT64_MAX;
    }
    return end_s * CLOCK_NS_PER_S > now_ns ? end_s * CLOCK_NS_PER_S - now_ns : 0;
}

static void token_digest(struct bytes token, uint8_t out[DIGEST_SIZE])
{
    struct digest digest;

    digest_init(&digest);
    digest_add(&digest, token);
    digest_end(&digest, out);
    explicit_bzero(&digest, sizeof(digest));
}

enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct token_pass *ret_pass)
{
    const uint64_t now_ns = clock_realtime_ns(verifier->clock);
    const uint64_t now_s = now_ns / CLOCK_NS_PER_S;
    const uint64_t monotonic_ns = clock_monotonic_ns(verifier->clock);
    struct token_verdict *verdict;
    uint8_t digest[DIGEST_SIZE];
    uint64_t until_s = now_s + verifier->options.cache_ttl_s;
    enum token_fault fault;

    if (token.size > verifier->options.size_max) {
        return TOKEN_TOO_LONG;
    }
    token_digest(token, digest);
    verdict = token_cache_find(&verifier->cache, digest, now_s, monotonic_ns);
    if (verdict != NULL) {
        verifier->stats.cache_hits++;
        token_verdict_hold(verdict);
        until_s = verdict->remembered_until_s;
    } else {
        drop_ended_keys(verifier, monotonic_ns);
        fault = verify_anew(verifier, token, now_s, monotonic_ns, &verdict);
        if (fault != TOKEN_OK) {
            return fault;
        }
        until_s = earlier(until_s, verdict->expires_s);
        token_cache_add(&verifier->cache, verdict, digest, until_s);
    }
    *ret_pass = (struct token_pass){
        .verdict = verdict,
        .left_ns = left_ns(verdict->expires_s, now_ns),
        .fresh_ns = left_ns(until_s, now_ns),
    };
    return TOKEN_OK;
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
    int result = token_keys_trim_secret(&secret);

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
