/*
 * Any bytes as certificate, as revocation list and as PEM: reading ends with a verdict, what is
 * found lies inside the bytes, and an identity keeps its promises.
 */
#include "core/tls_certificate.h"
#include "core/tls_pem.h"

#include <stdlib.h>
#include <string.h>

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void must_lie_inside(struct bytes part, struct bytes whole)
{
    must(part.size == 0 ||
         (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

static void read_certificate(struct bytes input)
{
    struct tls_certificate certificate;
    char identity[TLS_IDENTITY_MAX + 1];

    if (tls_certificate_read(input, &certificate) != 0) {
        return;
    }
    must_lie_inside(certificate.issuer, input);
    must_lie_inside(certificate.subject, input);
    must_lie_inside(certificate.uri, input);
    must_lie_inside(certificate.dns, input);
    if (tls_certificate_identity(&certificate, identity) == NULL) {
        must(strlen(identity) > 4 && strlen(identity) <= TLS_IDENTITY_MAX);
        must(certificate.uri_count == 1 ||
             (certificate.uri_count == 0 && certificate.dns_count == 1));
        for (const char *at = identity; *at != '\0'; at++) {
            must(*at > ' ' && *at < 0x7f);
        }
    }
}

static void read_list(struct bytes input)
{
    struct tls_crl crl;

    if (tls_crl_read(input, &crl) == 0) {
        must_lie_inside(crl.issuer, input);
    }
}

static void read_pem(struct bytes input)
{
    uint8_t *der;
    size_t size;

    while (tls_pem_next(&input, "X", &der, &size) == 0) {
        must(size > 0);
        free(der);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};

    read_certificate(input);
    read_list(input);
    read_pem(input);
    return 0;
}
