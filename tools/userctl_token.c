#include "userctl_token.h"

#include "core/clock.h"
#include "core/slurp.h"
#include "service/token.h"

#include <stdlib.h>
#include <string.h>

static int sign(const struct userctl_arguments *arguments, struct bytes secret, const char *roles)
{
    uint64_t now_s = clock_realtime_ns(clock_system()) / CLOCK_NS_PER_S;
    const struct token_request request = {
        .subject = arguments->subject,
        .roles = roles,
        .issuer = arguments->issuer,
        .audience = arguments->audience,
        .issued_s = now_s,
        .expires_s = now_s + (arguments->ttl_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S,
    };
    char *token;
    int ret = token_sign_hs256(secret, &request, &token);

    if (ret == TOKEN_E_BAD_SECRET_SIZE) {
        return userctl_arguments_refuse(arguments, "the secret in %s must have %d to %d bytes",
                                        arguments->secret_file, TOKEN_SECRET_SIZE_MIN,
                                        TOKEN_SECRET_SIZE_MAX);
    }
    if (ret == TOKEN_E_SECRET_IS_PEM) {
        return userctl_arguments_refuse(arguments, "%s holds a PEM key, not a shared secret",
                                        arguments->secret_file);
    }
    if (ret != 0) {
        return userctl_arguments_refuse(arguments, "cannot sign the token: %s", strerror(-ret));
    }
    (void)printf("%s\n", token);
    free(token);
    return 0;
}

/* A list of roles is written with commas here and with blanks in the token. */
static char *with_blanks(const char *roles)
{
    char *copy = strdup(roles);

    for (size_t i = 0; copy != NULL && copy[i] != '\0'; i++) {
        if (copy[i] == ',') {
            copy[i] = ' ';
        }
    }
    return copy;
}

int userctl_token_run(const struct userctl_arguments *arguments)
{
    char *roles = NULL;
    char *secret;
    size_t size;
    int ret;

    if (arguments->secret_file == NULL || arguments->subject == NULL) {
        return userctl_arguments_refuse(arguments, "--secret-file and --sub are required");
    }
    if (arguments->roles != NULL && (roles = with_blanks(arguments->roles)) == NULL) {
        return userctl_arguments_refuse(arguments, "out of memory");
    }
    ret = slurp_file(arguments->secret_file, TOKEN_SECRET_SIZE_MAX + 2, &secret, &size);
    if (ret != 0) {
        free(roles);
        return userctl_arguments_refuse(arguments, "cannot read %s: %s", arguments->secret_file,
                                        ret > 0 ? "it is too large" : strerror(-ret));
    }
    ret = sign(arguments, (struct bytes){(const uint8_t *)secret, size}, roles);
    slurp_free(secret, size);
    free(roles);
    return ret;
}
