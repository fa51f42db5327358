/*
 * Reads out of X.509 certificates and revocation lists (DER) what userd itself must know of them:
 * names, dates, what a certificate is for. Signatures are the TLS library's matter. Pure.
 *
 * Owns:    nothing.
 * Borrows: the bytes that were read: what it gives points into them.
 * Thread:  any.
 */
#ifndef CORE_TLS_CERTIFICATE_H
#define CORE_TLS_CERTIFICATE_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define TLS_IDENTITY_MAX 256 /* bytes, with "uri:" or "dns:" */

struct tls_certificate {
    struct bytes issuer;  /* distinguished names, as they are encoded */
    struct bytes subject; /* likewise */
    int64_t not_before_s; /* since 1970 */
    int64_t not_after_s;
    bool is_authority;   /* basic constraints say that it may sign certificates */
    bool is_for_clients; /* extended key usage says clientAuth, in so many words */
    bool is_for_others;  /* it is there and says neither that nor "any" */
    bool limits_uris;    /* name constraints say which URIs it may sign, or may not */
    bool is_weak;        /* signed with SHA-1 or MD5 */
    unsigned uri_count;  /* subject alternative names of these two kinds, */
    unsigned dns_count;
    struct bytes uri; /* and the first of each */
    struct bytes dns;
};

struct tls_crl {
    struct bytes issuer;
    bool has_next_update;
    bool has_critical_extension; /* its meaning may be: this list is not a full one */
    int64_t this_update_s;       /* when it was issued */
    int64_t next_update_s;
};

/* Returns 0, or -EBADMSG when it is no certificate (no list) that follows RFC 5280. */
int tls_certificate_read(struct bytes der, struct tls_certificate *ret_certificate);
int tls_crl_read(struct bytes der, struct tls_crl *ret_crl);

/* Whether what it says of itself lets it sign clients' certificates. The library does not look at
 * an authority's extended key usage, nor at name constraints on URIs: authorities with such ones
 * are refused, as RFC 5280 (4.2.1.10) has it. */
bool tls_certificate_may_sign_clients(const struct tls_certificate *authority);

/* The name of a client: "uri:..." when there are URI names, else "dns:..." in lower case; it must
 * be the only one of its kind, printable ASCII without blanks. Returns NULL with `text` (of
 * TLS_IDENTITY_MAX + 1 bytes) filled, or says why there is none. */
const char *tls_certificate_identity(const struct tls_certificate *certificate, char *text);

#endif
