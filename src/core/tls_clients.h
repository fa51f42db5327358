/*
 * Certificates of clients: which authorities are trusted for them, which lists revoke them, and who
 * a client is by its certificate. For tls.c and tls_context.c; nobody else includes it.
 *
 * Owns:    names and dates of the authorities and lists; the library's context has the rest.
 * Borrows: the context, while it is set up; a session's tls_peer, for the session's life.
 * Thread:  set up: one; then any, it does not change.
 */
#ifndef CORE_TLS_CLIENTS_H
#define CORE_TLS_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct WOLFSSL;
struct WOLFSSL_CTX;
struct tls_clients;
struct tls_server_options;

/* What a session has learnt of its client. */
struct tls_peer {
    const struct tls_clients *clients;
    char *identity;      /* see tls_peer_identity(); the session's owner frees it */
    const char *problem; /* a constant: why we refused the certificate; NULL = we did not */
    bool is_refused;     /* by the library, whose error says why */
    bool is_settled;     /* by the owner, after the handshake: no certificate is taken any more */
};

/* Makes the context ask clients for certificates and check them, in the handshake: who fails gets
 * an alert. Options as in tls.h, `client_auth` not NONE. Returns 0, or negative errno with
 * `problem` naming the file and what to do. */
int tls_clients_new(struct WOLFSSL_CTX *library, const struct tls_server_options *options,
                    char *problem, struct tls_clients **ret_clients);

/* NULL is fine. */
void tls_clients_free(struct tls_clients *clients);

/* From now on the session tells `peer`, whose `clients` is set. */
void tls_clients_attach(struct WOLFSSL *session, struct tls_peer *peer);

/* What an error of the library means for the operator, where its own words mislead; else NULL. */
const char *tls_clients_hint(const struct tls_clients *clients, int error);

/* When the first revocation list expires; INT64_MAX = there is none. */
int64_t tls_clients_crl_until_s(const struct tls_clients *clients);

#endif
