#include "service/token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The options and their texts lie in one piece of memory. */

static const char *put_text(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = *at;

    memcpy(copy, text, size);
    *at += size;
    return copy;
}

int token_options_copy(const struct token_options *options, struct token_options **ret_copy)
{
    struct token_options *copy =
        malloc(sizeof(*copy) + strlen(options->issuer) + 1 + strlen(options->audience) + 1 +
               strlen(options->roles_claim) + 1);
    char *at;

    if (copy == NULL) {
        return -ENOMEM;
    }
    at = (char *)(copy + 1);
    *copy = *options;
    copy->issuer = put_text(&at, options->issuer);
    copy->audience = put_text(&at, options->audience);
    copy->roles_claim = put_text(&at, options->roles_claim);
    *ret_copy = copy;
    return 0;
}

void token_options_free(struct token_options *options)
{
    free(options);
}
