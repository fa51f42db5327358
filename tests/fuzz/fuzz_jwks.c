/*
 * Any bytes as key set: reading ends with keys that verify without a crash, or with a problem that
 * fits; what is refused adds nothing.
 */
#include "core/signature.h"
#include "service/token_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void check_key(const struct token_key *key)
{
    static const uint8_t zeros[SIGNATURE_SIZE_MAX];

    must(key->key_id != NULL && key->key_id[0] != '\0');
    must(key->algorithm != TOKEN_ALGORITHM_HS256 && key->secret == NULL);
    must(!signature_is_good(key->public_key, (struct bytes){zeros, 1}, (struct bytes){zeros, 64}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char problem[TOKEN_KEYS_PROBLEM_SIZE];
    struct token_keys *keys = NULL;
    int result;

    if (token_keys_new(&keys) != 0) {
        return 0;
    }
    memset(problem, 'x', sizeof(problem));
    result = token_keys_add_jwks(keys, (struct bytes){data, size}, problem);
    must(memchr(problem, '\0', sizeof(problem)) != NULL);
    if (result == 0) {
        must(keys->count > 0 && keys->count <= TOKEN_KEYS_MAX);
    } else {
        must(result == TOKEN_E_BAD_JWKS && keys->count == 0 && problem[0] != '\0');
    }
    for (unsigned i = 0; i < keys->count; i++) {
        check_key(keys->items[i]);
    }
    token_keys_free(keys);
    return 0;
}
