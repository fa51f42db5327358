/*
 * TLS by wolfSSL as a pure transformer: cipher bytes in and out, plain bytes in and out. No socket.
 *
 * Owns:    keys and certificates (context), the state of one connection (tls).
 * Borrows: the cipher bytes fed, until tls_read() wants more or they are taken back; the output
 *          buffer given at creation.
 * Thread:  a tls: one; a context: shared, counted.
 */
#ifndef CORE_TLS_H
#define CORE_TLS_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls;
struct tls_context;

#define TLS_PROBLEM_SIZE 512
#define TLS_PLAIN_MAX    16384 /* most plain bytes in one record */

#define TLS_E_WANT_MORE 1 /* all that was fed is used up */
#define TLS_E_ENDED     2 /* the peer sent close_notify */

enum tls_version {
    TLS_VERSION_1_2, /* ECDHE with AEAD suites only */
    TLS_VERSION_1_3,
};

/* What clients are asked for. */
enum tls_client_auth {
    TLS_CLIENT_AUTH_NONE,
    TLS_CLIENT_AUTH_OPTIONAL, /* whoever shows a certificate must show a good one */
    TLS_CLIENT_AUTH_REQUIRE,
};

struct tls_server_options {
    const char *cert_file; /* PEM chain */
    const char *key_file;  /* PEM */
    enum tls_version min_version;
    enum tls_client_auth client_auth;
    const char *client_ca_file; /* PEM; required unless client_auth is NONE; never the system's */
    const char *crl_file;       /* PEM, one list per issuer; NULL = revocation is not looked at, ""
                                   = it should be and no file is named: an error. A missing or
                                   expired list refuses (fail closed) */
};

struct tls_client_options {
    const char *ca_file;   /* PEM; required */
    const char *cert_file; /* optional pair for mutual TLS */
    const char *key_file;
};

/* "wolfSSL 5.7.2 (accelerated: AES-NI, SP assembler)" and the like. */
const char *tls_library(void);

/* False when the linked library has no CPU acceleration; userd warns at start. */
bool tls_is_accelerated(void);

/* Makes a context, checks that key and certificate belong together. Returns 0, or negative errno
 * with `problem` naming the file and what to do. */
int tls_context_new_server(const struct tls_server_options *options, char *problem,
                           struct tls_context **ret_context);
int tls_context_new_client(const struct tls_client_options *options, char *problem,
                           struct tls_context **ret_context);

/* When the own certificate starts and stops being valid, in seconds since 1970. Neither is a reason
 * not to make a context: a server that starts is better than none, and clients will tell. */
int64_t tls_context_not_before_s(const struct tls_context *context);
int64_t tls_context_not_after_s(const struct tls_context *context);

/* When the first of the revocation lists expires, likewise; from then on its clients are refused.
 * INT64_MAX = there is no list. */
int64_t tls_context_crl_until_s(const struct tls_context *context);

/* Counted: each tls holds one reference. NULL is fine. */
void tls_context_unref(struct tls_context *context);

/* `output` receives cipher bytes and must outlive the tls. `server_name` (client role only, else
 * NULL) is sent as SNI and checked against the certificate (host name or IP address). Returns 0 or
 * -ENOMEM. */
int tls_new(struct tls_context *context, struct buf *output, const char *server_name,
            struct tls **ret_tls);

/* NULL is fine. */
void tls_free(struct tls *tls);

/* Client: puts the first flight into the output. Server: nothing. Returns 0 or negative errno. */
int tls_start(struct tls *tls);

/* Lends cipher bytes: those lent before must be used up (TLS_E_WANT_MORE) or taken back. The time,
 * from any clock that only goes forward, is for limits on floods. */
void tls_feed(struct tls *tls, struct bytes cipher, uint64_t now_ns);

/* Moves the handshake on. Returns 0 once it is complete, else what tls_read() returns. Calling it
 * is optional: tls_read() does the same first; it is for those who must know before any data. */
int tls_handshake(struct tls *tls);

/* Moves the handshake on and decrypts: up to `room` plain bytes into `plain`.
 *
 * Returns 0 with *ret_size > 0; TLS_E_WANT_MORE; TLS_E_ENDED (what follows is dropped); -EPROTO on
 * any TLS failure, also when the record guard (tls_guard.h) refuses the bytes, with
 * tls_problem() saying what and maybe an alert in the output; -ENOMEM. Handshake output appears in
 * the output buffer. After a failure every call fails again. */
int tls_read(struct tls *tls, uint8_t *plain, size_t room, size_t *ret_size);

/* Gives back the lent bytes that were not read yet, for when reading has to stop halfway: they are
 * to be fed again later. Plain bytes of a record that was begun stay inside; tls_read() has them.
 */
struct bytes tls_take_unread(struct tls *tls);

/* Seals plain bytes into the output: records of at most TLS_PLAIN_MAX. Only after the handshake.
 * Returns 0, -ENOMEM or -EPROTO; after either the connection is of no use. */
int tls_write(struct tls *tls, struct bytes plain);

/* Puts close_notify into the output, once. */
void tls_end(struct tls *tls);

bool tls_is_established(const struct tls *tls);

/* True when ALPN agreed on "h2". A peer without ALPN passes the handshake: check this after it. */
bool tls_alpn_is_h2(const struct tls *tls);

/* Who the client is, by its certificate: "uri:spiffe://..." or "dns:name" of its one URI SAN, else
 * its one DNS SAN; never the common name. NULL when it showed none. Valid while the tls is. */
const char *tls_peer_identity(const struct tls *tls);

/* True when it failed because the record guard took the peer's bytes for an attack: for something
 * that no honest peer sends once it speaks TLS at all. */
bool tls_is_attacked(const struct tls *tls);

/* Text of the last failure, for the log. */
const char *tls_problem(const struct tls *tls);

#endif
