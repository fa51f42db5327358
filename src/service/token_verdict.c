#include "service/token_verdict.h"

#include "service/token_keys.h"
#include "service/token_parse.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Everything of a verdict lies in one piece of memory: the pointers to roles and scopes stand
 * behind the struct, then come the texts. */

static size_t texts_size(const char *const *texts, unsigned count)
{
    size_t size = count * sizeof(*texts);

    for (unsigned i = 0; i < count; i++) {
        size += strlen(texts[i]) + 1;
    }
    return size;
}

/* Copies a text to `*at`, which moves on. */
static const char *put_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = *at;

    memcpy(copy, text, size);
    *at += size;
    return copy;
}

static void put_texts(const char **out, char **at, const char *const *texts, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        out[i] = put_text(at, texts[i]);
    }
}

struct token_verdict *token_verdict_new(const struct token_claims *claims, struct token_key *key)
{
    size_t size = sizeof(struct token_verdict) + strlen(claims->subject) + 1 +
                  texts_size(claims->roles, claims->role_count) +
                  texts_size(claims->scopes, claims->scope_count);
    struct token_verdict *verdict = calloc(1, size);
    const char **pointers;
    char *at;

    if (verdict == NULL) {
        return NULL;
    }
    pointers = (const char **)(verdict + 1);
    at = (char *)(pointers + claims->role_count + claims->scope_count);
    verdict->holds = 1;
    verdict->caller.subject = put_text(&at, claims->subject);
    verdict->caller.roles = pointers;
    verdict->caller.role_count = claims->role_count;
    put_texts(pointers, &at, claims->roles, claims->role_count);
    pointers += claims->role_count;
    verdict->caller.scopes = pointers;
    verdict->caller.scope_count = claims->scope_count;
    put_texts(pointers, &at, claims->scopes, claims->scope_count);
    assert(at == (char *)verdict + size);
    verdict->expires_s = claims->expires_s;
    verdict->key = key;
    token_key_hold(key);
    list_init(&verdict->link);
    return verdict;
}

void token_verdict_hold(struct token_verdict *verdict)
{
    verdict->holds++;
}

void token_verdict_release(struct token_verdict *verdict)
{
    while (verdict != NULL && --verdict->holds == 0) {
        struct token_verdict *successor = verdict->successor;

        assert(!list_is_linked(&verdict->link));
        token_key_release(verdict->key);
        free(verdict->claims);
        free(verdict);
        verdict = successor;
    }
}

int token_verdict_keep_claims(struct token_verdict *verdict, struct bytes token)
{
    struct token_parts parts;

    if (verdict->claims != NULL) {
        return 0;
    }
    if (token_parse_split(token, token.size, &parts) != TOKEN_OK) {
        assert(false); /* it was good a moment ago */
        return -EINVAL;
    }
    verdict->claims = malloc(parts.payload.size);
    if (verdict->claims == NULL) {
        return -ENOMEM;
    }
    memcpy(verdict->claims, parts.payload.data, parts.payload.size);
    verdict->claims_size = parts.payload.size;
    return 0;
}

uint64_t token_verdict_key_until_ns(const struct token_verdict *verdict)
{
    return verdict->key->until_ns;
}
