#include "core/tls_pem.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/coding.h>
#include <wolfssl/wolfcrypt/types.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_SIZE 64

/* The text from behind the mark on; data NULL when it is not there. */
static struct bytes find_behind(struct bytes text, const char *mark, struct bytes *ret_before)
{
    size_t size = strlen(mark);
    const uint8_t *found = text.size > 0 ? memmem(text.data, text.size, mark, size) : NULL;

    if (found == NULL) {
        return (struct bytes){0};
    }
    *ret_before = (struct bytes){text.data, (size_t)(found - text.data)};
    return (struct bytes){found + size, text.size - ret_before->size - size};
}

static int decode(struct bytes base64, uint8_t **ret_der, size_t *ret_size)
{
    word32 size = (word32)base64.size; /* decoding only ever shrinks */
    uint8_t *der = malloc(base64.size + 1);

    if (der == NULL) {
        return -ENOMEM;
    }
    if (base64.size == 0 || base64.size > INT32_MAX ||
        Base64_Decode(base64.data, size, der, &size) != 0 || size == 0) {
        free(der);
        return -EBADMSG;
    }
    *ret_der = der;
    *ret_size = size;
    return 0;
}

int tls_pem_next(struct bytes *text, const char *label, uint8_t **ret_der, size_t *ret_size)
{
    char mark[MARK_SIZE];
    struct bytes body;
    struct bytes rest;
    struct bytes ignored;
    int result;

    (void)snprintf(mark, sizeof(mark), "-----BEGIN %s-----", label);
    rest = find_behind(*text, mark, &ignored);
    if (rest.data == NULL) {
        return TLS_PEM_E_END;
    }
    (void)snprintf(mark, sizeof(mark), "-----END %s-----", label);
    rest = find_behind(rest, mark, &body);
    if (rest.data == NULL) {
        return -EBADMSG;
    }
    while (body.size > 0 && (body.data[0] == '\r' || body.data[0] == '\n')) {
        body = (struct bytes){body.data + 1, body.size - 1};
    }
    result = decode(body, ret_der, ret_size);
    if (result == 0) {
        *text = rest;
    }
    return result;
}
