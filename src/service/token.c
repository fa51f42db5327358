#include "service/token.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/signature.h"
#include "service/token_cache.h"
#include "service/token_keyring.h"

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
 * Signatures are compared by core/signature.c. The library (libjwt) frees its copies of token and
 * key unwiped, and 1.10 takes no allocator of ours; it knows no typ at+jwt; and for a public key it
 * reads the key anew each time, at ten times the cost of the signature. What is left to it is a
 * second opinion on the header and payload of HS256 tokens, after ours: two readers of one text
 * must agree. It is shown them under a stand-in, a key made at the start and used for nothing else,
 * so that neither secret nor signature lies in its memory. Without a key it would pass everything;
 * it is never called so.
 *
 * What we copy of a token's signature is wiped when it was judged.
 *
 * Options change while verdicts are remembered. Each verdict says by which rules it was judged, and
 * counts as long as these are in force. Open streams are judged anew by their claims, one after the
 * other: a stream does not keep its token, only the payload.
 */

#define STAND_IN_SIZE 32

struct token_verifier {
    struct clock_source *clock;
    struct token_options *options;
    uint32_t rules; /* how often they changed */
    uint8_t stand_in[STAND_IN_SIZE];
    struct token_keyring keyring;
    struct token_cache cache;
    struct arena scratch; /* of the token being judged */
    struct token_stats stats;
};

int token_verifier_new(struct clock_source *clock, struct random_source *random,
                       const struct token_options *options, struct token_verifier **ret_verifier)
{
    struct token_verifier *verifier = calloc(1, sizeof(*verifier));

    if (verifier == NULL) {
        return -ENOMEM;
    }
    if (token_options_copy(options, &verifier->options) != 0) {
        free(verifier);
        return -ENOMEM;
    }
    verifier->clock = clock;
    random_fill(random, verifier->stand_in, sizeof(verifier->stand_in));
    token_cache_init(&verifier->cache, random, options->cache_entries);
    *ret_verifier = verifier;
    return 0;
}

void token_verifier_free(struct token_verifier *verifier)
{
    if (verifier == NULL) {
        return;
    }
    token_cache_deinit(&verifier->cache);
    token_keyring_deinit(&verifier->keyring);
    arena_deinit(&verifier->scratch);
    token_options_free(verifier->options);
    free(verifier);
}

struct token_stats token_verifier_stats(const struct token_verifier *verifier)
{
    struct token_stats stats = verifier->stats;

    stats.cache_entries = (uint32_t)verifier->cache.by_digest.count;
    stats.keys = verifier->keyring.keys == NULL ? 0 : verifier->keyring.keys->count;
    stats.keys_retired = verifier->keyring.retired_count;
    return stats;
}

uint64_t token_verifier_checked(const struct token_verifier *verifier)
{
    return verifier->stats.signatures_checked;
}

void token_verifier_set_keys(struct token_verifier *verifier, struct token_keys *keys)
{
    uint64_t now_ns = clock_monotonic_ns(verifier->clock);

    token_keyring_set(&verifier->keyring, keys, verifier->options->key_overlap_s * CLOCK_NS_PER_S,
                      now_ns);
    token_cache_drop_ended(&verifier->cache, now_ns);
}

/* Would both judge alike, and for as long? */
static bool rules_are_equal(const struct token_options *a, const struct token_options *b)
{
    return strcmp(a->issuer, b->issuer) == 0 && strcmp(a->audience, b->audience) == 0 &&
           strcmp(a->roles_claim, b->roles_claim) == 0 && a->leeway_s == b->leeway_s &&
           a->cache_ttl_s == b->cache_ttl_s && a->size_max == b->size_max;
}

void token_verifier_set_options(struct token_verifier *verifier, struct token_options *options)
{
    uint64_t now_ns = clock_monotonic_ns(verifier->clock);

    if (!rules_are_equal(verifier->options, options)) {
        verifier->rules++;
        verifier->cache.rules = verifier->rules;
    }
    token_keyring_set_overlap(&verifier->keyring, verifier->options->key_overlap_s * CLOCK_NS_PER_S,
                              options->key_overlap_s * CLOCK_NS_PER_S);
    token_keyring_drop_ended(&verifier->keyring, now_ns);
    token_options_free(verifier->options);
    verifier->options = options;
    token_cache_drop_ended(&verifier->cache, now_ns);
}

uint32_t token_verifier_rules(const struct token_verifier *verifier)
{
    return verifier->rules;
}

bool token_verdict_stands(const struct token_verifier *verifier,
                          const struct token_verdict *verdict, uint64_t monotonic_ns)
{
    return verdict->rules == verifier->rules && monotonic_ns < token_verdict_key_until_ns(verdict);
}

/* Base64url without padding (RFC 7515). `out` takes 4 characters for 3 bytes, and a NUL. */
static void write_base64url(struct bytes bytes, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned bit_count = 0;

    for (size_t i = 0; i < bytes.size; i++) {
        bits = bits << 8 | bytes.data[i];
        bit_count += 8;
        while (bit_count >= 6) {
            bit_count -= 6;
            *out++ = alphabet[bits >> bit_count & 63];
        }
    }
    if (bit_count > 0) {
        *out++ = alphabet[bits << (6 - bit_count) & 63];
    }
    *out = '\0';
}

/* The second opinion on header and payload, which have passed ours. */
static enum token_fault ask_library(struct token_verifier *verifier, struct bytes message)
{
    const struct bytes stand_in = {verifier->stand_in, sizeof(verifier->stand_in)};
    uint8_t mac[SIGNATURE_HMAC_SIZE];
    char *text = arena_alloc(&verifier->scratch, message.size + 1 + sizeof(mac) * 4 / 3 + 2);
    jwt_t *jwt = NULL;
    enum token_fault fault = TOKEN_BAD_SIGNATURE;

    if (text == NULL) {
        return TOKEN_NO_MEMORY;
    }
    signature_hmac(stand_in, message, mac);
    memcpy(text, message.data, message.size);
    text[message.size] = '.';
    write_base64url((struct bytes){mac, sizeof(mac)}, text + message.size + 1);
    if (jwt_decode(&jwt, text, stand_in.data, (int)stand_in.size) == 0) {
        fault = jwt_get_alg(jwt) == JWT_ALG_HS256 ? TOKEN_OK : TOKEN_BAD_ALGORITHM;
        jwt_free(jwt);
    }
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
    if (key->algorithm == TOKEN_ALGORITHM_HS256) {
        good = signature_hmac_is_good((struct bytes){key->secret, key->secret_size}, message,
                                      signature);
    } else {
        good = signature_is_good(key->public_key, message, signature);
    }
    if (!good) {
        return TOKEN_BAD_SIGNATURE;
    }
    return key->algorithm == TOKEN_ALGORITHM_HS256 && judging->header.type != TOKEN_TYPE_ACCESS
               ? ask_library(verifier, message)
               : TOKEN_OK;
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
    struct token_key *key;

    for (unsigned i = 0; (key = token_keyring_at(&verifier->keyring, i)) != NULL; i++) {
        fault = try_key(verifier, judging, key, fault);
        if (fault == TOKEN_OK) {
            *ret_key = key;
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
        token_parse_split(judging->token, verifier->options->size_max, &judging->parts);

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

/* The verdict on a payload that the key has signed. */
static enum token_fault judge_claims(struct token_verifier *verifier, struct bytes payload,
                                     uint64_t now_s, struct token_key *key,
                                     struct token_verdict **ret_verdict)
{
    const struct token_options *options = verifier->options;
    const struct token_rules rules = {
        .issuer = options->issuer,
        .audience = options->audience,
        .roles_claim = options->roles_claim,
        .leeway_s = options->leeway_s,
        .now_s = now_s,
    };
    struct token_claims claims;
    struct token_verdict *verdict;
    enum token_fault fault = token_parse_claims(payload, &rules, &verifier->scratch, &claims);

    if (fault != TOKEN_OK) {
        return fault;
    }
    verdict = token_verdict_new(&claims, key);
    if (verdict == NULL) {
        return TOKEN_NO_MEMORY;
    }
    verdict->rules = verifier->rules;
    *ret_verdict = verdict;
    return TOKEN_OK;
}

static enum token_fault verify_anew(struct token_verifier *verifier, struct bytes token,
                                    uint64_t now_s, uint64_t now_ns,
                                    struct token_verdict **ret_verdict)
{
    struct judging judging = {.token = token, .now_ns = now_ns};
    struct token_key *key = NULL;
    enum token_fault fault = authenticate(verifier, &judging, &key);

    if (fault == TOKEN_OK) {
        fault = judge_claims(verifier, judging.parts.payload, now_s, key, ret_verdict);
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

bool token_is_remembered(struct token_verifier *verifier, struct bytes token)
{
    uint8_t digest[DIGEST_SIZE];

    token_digest(token, digest);
    return token_cache_find(&verifier->cache, digest,
                            clock_realtime_ns(verifier->clock) / CLOCK_NS_PER_S,
                            clock_monotonic_ns(verifier->clock)) != NULL;
}

enum token_fault token_verify(struct token_verifier *verifier, struct bytes token,
                              struct token_pass *ret_pass)
{
    const uint64_t now_ns = clock_realtime_ns(verifier->clock);
    const uint64_t now_s = now_ns / CLOCK_NS_PER_S;
    const uint64_t monotonic_ns = clock_monotonic_ns(verifier->clock);
    struct token_verdict *verdict;
    uint8_t digest[DIGEST_SIZE];
    uint64_t until_s = now_s + verifier->options->cache_ttl_s;
    enum token_fault fault;

    if (token.size > verifier->options->size_max) {
        return TOKEN_TOO_LONG;
    }
    token_digest(token, digest);
    verdict = token_cache_find(&verifier->cache, digest, now_s, monotonic_ns);
    if (verdict != NULL) {
        verifier->stats.cache_hits++;
        token_verdict_hold(verdict);
        until_s = verdict->remembered_until_s;
    } else {
        token_keyring_drop_ended(&verifier->keyring, monotonic_ns);
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

/* The verdict by the rules in force on the token of one by earlier rules; not held for the caller.
 * It is kept with that one, for the other streams of the same token. */
static enum token_fault find_successor(struct token_verifier *verifier,
                                       struct token_verdict *verdict, uint64_t now_s,
                                       struct token_verdict **ret_verdict)
{
    struct token_verdict *latest = verdict->successor != NULL ? verdict->successor : verdict;
    struct token_verdict *fresh = NULL;
    enum token_fault fault;

    if (latest->rules == verifier->rules) {
        *ret_verdict = latest;
        return TOKEN_OK;
    }
    assert(verdict->claims != NULL);
    fault = judge_claims(verifier, (struct bytes){(uint8_t *)verdict->claims, verdict->claims_size},
                         now_s, verdict->key, &fresh);
    arena_reset(&verifier->scratch);
    if (fault != TOKEN_OK) {
        return fault;
    }
    fresh->claims = malloc(verdict->claims_size);
    if (fresh->claims == NULL) {
        token_verdict_release(fresh);
        return TOKEN_NO_MEMORY;
    }
    memcpy(fresh->claims, verdict->claims, verdict->claims_size);
    fresh->claims_size = verdict->claims_size;
    token_verdict_release(verdict->successor);
    verdict->successor = fresh;
    *ret_verdict = fresh;
    return TOKEN_OK;
}

enum token_fault token_rejudge(struct token_verifier *verifier, struct token_verdict *verdict,
                               struct token_pass *ret_pass)
{
    const uint64_t now_ns = clock_realtime_ns(verifier->clock);
    struct token_verdict *latest = NULL;
    enum token_fault fault = find_successor(verifier, verdict, now_ns / CLOCK_NS_PER_S, &latest);

    if (fault != TOKEN_OK) {
        return fault;
    }
    token_verdict_hold(latest);
    *ret_pass = (struct token_pass){
        .verdict = latest,
        .left_ns = left_ns(latest->expires_s, now_ns),
        .fresh_ns = 0,
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
