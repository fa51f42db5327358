#include "userctl_call_words.h"

#include <stdio.h>
#include <string.h>

#define BEARER "Bearer "

/* "/pkg.Service/Method", "pkg.Service/Method" or "pkg.Service.Method", taken apart. */
static int read_name(const struct userctl_arguments *arguments, struct userctl_call_words *words,
                     const char **ret_method)
{
    const char *name = arguments->operand;
    const char *cut;

    name += name[0] == '/';
    cut = strrchr(name, '/') != NULL ? strrchr(name, '/') : strrchr(name, '.');
    if (cut == NULL || cut == name || cut[1] == '\0' || strlen(name) >= USERCTL_CALL_NAME_SIZE) {
        return userctl_arguments_refuse(arguments, "'%s' is not /package.Service/Method",
                                        arguments->operand);
    }
    (void)snprintf(words->service, sizeof(words->service), "%.*s", (int)(cut - name), name);
    *ret_method = cut + 1;
    return 0;
}

/* "x-name: value": the name in small letters. */
static int read_headers(const struct userctl_arguments *arguments, struct userctl_call_words *words)
{
    for (unsigned i = 0; i < arguments->header_count; i++) {
        const char *header = arguments->headers[i];
        size_t size = strcspn(header, ":");
        const char *value = header + size + 1 + strspn(header + size + 1, " ");
        char *name = words->names[words->header_count];

        if (size == 0 || size >= USERCTL_CALL_FIELD_SIZE) {
            return userctl_arguments_refuse(arguments, "--header is not NAME:VALUE");
        }
        for (size_t j = 0; j < size; j++) {
            bool is_upper = header[j] >= 'A' && header[j] <= 'Z';

            name[j] = (char)(is_upper ? header[j] - 'A' + 'a' : header[j]);
        }
        name[size] = '\0';
        if (strcmp(name, "authorization") == 0) {
            /* In place of the client's, and kept as secret as that. */
            bool is_bearer = strncasecmp(value, BEARER, strlen(BEARER)) == 0;

            words->token = is_bearer ? value + strlen(BEARER) : "";
            if (is_bearer) {
                continue;
            }
        }
        words->metadata[words->header_count++] =
            (struct userd_metadata){.name = name, .value = value};
    }
    return 0;
}

int userctl_call_words_read(const struct userctl_arguments *arguments,
                            struct userctl_call_words *words, const char **ret_method)
{
    int ret = read_name(arguments, words, ret_method);

    return ret == 0 ? read_headers(arguments, words) : ret;
}
