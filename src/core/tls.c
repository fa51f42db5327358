#include "core/tls.h"

#include "core/tls_clients.h"
#include "core/tls_context.h"
#include "core/tls_guard.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * wolfSSL is made a pure transformer by its I/O callbacks: receiving reads from the bytes lent by
 * tls_feed(), through the record guard; sending appends to the output buffer and never says that it
 * cannot, because a wolfSSL_write() that is interrupted halfway must be repeated with the very same
 * bytes or the session is lost.
 *
 * The way of a connection:
 *   1. tls_new(), tls_start(): a client's hello is in the output.
 *   2. tls_feed(), then tls_read() until TLS_E_WANT_MORE: the handshake answers through the output;
 *      the call that completes it goes straight on to the first application data.
 *   3. tls_write() seals, tls_read() opens.
 *   4. tls_end() puts close_notify into the output; TLS_E_ENDED says that the peer did.
 *
 * What can go wrong: the peer (bytes that are no TLS, a bad certificate, a broken tag): -EPROTO
 * with the library's alert in the output, and the session stays failed. Memory: -ENOMEM likewise.
 */

#define RECORD_OVERHEAD_MAX 64 /* header, explicit nonce, type and tag, rounded up */
#define PROBLEM_TEXT_SIZE   128
#define TLS_CALL_AGAIN      100 /* inside this file: the library stopped early, bytes are left */
#define ALPN_H2             "h2"

struct tls {
    struct tls_context *context;
    WOLFSSL *session;
    struct buf *output;
    struct bytes cipher; /* lent by tls_feed() and not read yet */
    uint64_t now_ns;     /* when they came */
    struct tls_guard guard;
    enum tls_guard_verdict verdict; /* of the guard, when it refused */
    struct tls_peer peer;           /* a server's client, by its certificate */
    int failure;                    /* negative errno once it has failed */
    bool established;
    bool alpn_is_h2;
    bool ended;    /* the peer sent close_notify */
    bool end_sent; /* and so did we */
    bool out_of_memory;
    char problem[PROBLEM_TEXT_SIZE];
};

static int receive_callback(WOLFSSL *session, char *bytes, int size, void *context)
{
    struct tls *tls = context;
    struct bytes part = {tls->cipher.data, (size_t)size};

    (void)session;
    if (tls->cipher.size == 0) {
        return WOLFSSL_CBIO_ERR_WANT_READ;
    }
    if (part.size > tls->cipher.size) {
        part.size = tls->cipher.size;
    }
    tls->verdict = tls_guard_check(&tls->guard, part);
    if (tls->verdict != TLS_GUARD_PASS) {
        return WOLFSSL_CBIO_ERR_GENERAL;
    }
    memcpy(bytes, part.data, part.size);
    tls->cipher.data += part.size;
    tls->cipher.size -= part.size;
    return (int)part.size;
}

static int send_callback(WOLFSSL *session, char *bytes, int size, void *context)
{
    struct tls *tls = context;

    (void)session;
    if (buf_append(tls->output, bytes, (size_t)size) != 0) {
        tls->out_of_memory = true;
        return WOLFSSL_CBIO_ERR_GENERAL;
    }
    tls_guard_note_answer(&tls->guard);
    return size;
}

/* IP addresses are compared as wolfSSL prints those of a certificate: the long form. They are not
 * sent as SNI (RFC 6066, section 3). */
static int expect_address(struct tls *tls, const uint8_t *octets, size_t size)
{
    char text[48];
    size_t used = 0;
    size_t i;

    if (size == 4) {
        (void)snprintf(text, sizeof(text), "%u.%u.%u.%u", octets[0], octets[1], octets[2],
                       octets[3]);
    } else {
        for (i = 0; i < size; i += 2) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%02X%02X",
                                     i > 0 ? ":" : "", octets[i], octets[i + 1]);
        }
    }
    return wolfSSL_check_domain_name(tls->session, text) == WOLFSSL_SUCCESS ? 0 : -ENOMEM;
}

static int expect_name(struct tls *tls, const char *name)
{
    uint8_t octets[16];

    if (inet_pton(AF_INET, name, octets) == 1) {
        return expect_address(tls, octets, 4);
    }
    if (inet_pton(AF_INET6, name, octets) == 1) {
        return expect_address(tls, octets, 16);
    }
    if (wolfSSL_UseSNI(tls->session, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name)) !=
            WOLFSSL_SUCCESS ||
        wolfSSL_check_domain_name(tls->session, name) != WOLFSSL_SUCCESS) {
        return -ENOMEM;
    }
    return 0;
}

int tls_new(struct tls_context *context, struct buf *output, const char *server_name,
            struct tls **ret_tls)
{
    char alpn[] = ALPN_H2; /* wolfSSL wants to write in it */
    struct tls *tls = calloc(1, sizeof(*tls));

    assert(context->is_client == (server_name != NULL));
    if (tls == NULL) {
        return -ENOMEM;
    }
    tls->context = context;
    tls_context_ref(context);
    tls->output = output;
    tls->guard.is_client = context->is_client;
    tls->session = wolfSSL_new(context->library);
    if (tls->session == NULL) {
        goto fail;
    }
    wolfSSL_SSLSetIORecv(tls->session, receive_callback);
    wolfSSL_SSLSetIOSend(tls->session, send_callback);
    wolfSSL_SetIOReadCtx(tls->session, tls);
    wolfSSL_SetIOWriteCtx(tls->session, tls);
    if (wolfSSL_UseALPN(tls->session, alpn, sizeof(alpn) - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH) !=
        WOLFSSL_SUCCESS) {
        goto fail;
    }
    if (server_name != NULL && expect_name(tls, server_name) != 0) {
        goto fail;
    }
    if (context->clients != NULL) {
        tls->peer.clients = context->clients;
        tls_clients_attach(tls->session, &tls->peer);
    }
    *ret_tls = tls;
    return 0;

fail:
    tls_free(tls);
    return -ENOMEM;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    wolfSSL_free(tls->session);
    tls_context_unref(tls->context);
    free(tls->peer.identity);
    free(tls);
}

static int tls_fail_by_guard(struct tls *tls, enum tls_guard_verdict verdict)
{
    (void)snprintf(tls->problem, sizeof(tls->problem), "%s", tls_guard_verdict_text(verdict));
    tls->verdict = verdict;
    tls->failure = -EPROTO;
    return tls->failure;
}

static int tls_fail(struct tls *tls, int error)
{
    WOLFSSL_ALERT_HISTORY alerts = {0};
    const char *hint = tls->peer.problem;

    if (tls->out_of_memory) {
        (void)snprintf(tls->problem, sizeof(tls->problem), "out of memory");
        tls->failure = -ENOMEM;
        return tls->failure;
    }
    if (tls->verdict != TLS_GUARD_PASS) {
        return tls_fail_by_guard(tls, tls->verdict);
    }
    if (hint == NULL && tls->peer.clients != NULL) {
        hint = tls_clients_hint(tls->peer.clients, error);
    }
    (void)wolfSSL_get_alert_history(tls->session, &alerts);
    if (hint != NULL) {
        (void)snprintf(tls->problem, sizeof(tls->problem), "%s", hint);
    } else if (alerts.last_rx.level == alert_fatal) {
        (void)snprintf(tls->problem, sizeof(tls->problem), "the peer sent alert %d",
                       alerts.last_rx.code);
    } else {
        char words[PROBLEM_TEXT_SIZE - 32];

        tls_describe_error(error, words, sizeof(words));
        (void)snprintf(tls->problem, sizeof(tls->problem), "%s%s",
                       tls->peer.is_refused ? "the client's certificate: " : "", words);
    }
    tls->failure = -EPROTO;
    return tls->failure;
}

/* What a library call that did not succeed means; `before` bytes were unread when it began. */
static int tls_outcome(struct tls *tls, int returned, size_t before)
{
    int error = wolfSSL_get_error(tls->session, returned);
    enum tls_guard_verdict verdict;

    if (error == WOLFSSL_ERROR_WANT_READ && tls->cipher.size == 0) {
        verdict = tls_guard_note_all_read(&tls->guard, tls->now_ns);
        return verdict == TLS_GUARD_PASS ? TLS_E_WANT_MORE : tls_fail_by_guard(tls, verdict);
    }
    if (error == WOLFSSL_ERROR_WANT_READ && tls->cipher.size < before) {
        return TLS_CALL_AGAIN;
    }
    if (error == WOLFSSL_ERROR_ZERO_RETURN) {
        tls->ended = true;
        tls->cipher = (struct bytes){0};
        return TLS_E_ENDED;
    }
    return tls_fail(tls, error);
}

static int tls_establish(struct tls *tls)
{
    char *protocol = NULL;
    unsigned short size = 0;

    if (tls->context->requires_client_name && tls->peer.identity == NULL) {
        tls->peer.problem = "the handshake passed without the client's certificate";
        return tls_fail(tls, 0); /* the library has refused it before, as far as we know */
    }
    tls->established = true;
    tls->guard.established = true;
    tls->peer.is_settled = true;
    if (wolfSSL_ALPN_GetProtocol(tls->session, &protocol, &size) == WOLFSSL_SUCCESS) {
        tls->alpn_is_h2 = size == strlen(ALPN_H2) && memcmp(protocol, ALPN_H2, size) == 0;
    }
    return 0;
}

static int tls_shake_hands(struct tls *tls)
{
    int result;

    do {
        size_t before = tls->cipher.size;
        int returned =
            tls->context->is_client ? wolfSSL_connect(tls->session) : wolfSSL_accept(tls->session);

        if (returned == WOLFSSL_SUCCESS) {
            return tls_establish(tls);
        }
        result = tls_outcome(tls, returned, before);
    } while (result == TLS_CALL_AGAIN);
    return result;
}

int tls_start(struct tls *tls)
{
    int result;

    if (!tls->context->is_client) {
        return 0;
    }
    result = tls_shake_hands(tls);
    assert(result != 0); /* nobody has answered yet */
    return result == TLS_E_WANT_MORE ? 0 : result;
}

void tls_feed(struct tls *tls, struct bytes cipher, uint64_t now_ns)
{
    assert(tls->cipher.size == 0);
    tls->now_ns = now_ns;
    if (!tls->ended && tls->failure == 0) {
        tls->cipher = cipher;
    }
}

int tls_handshake(struct tls *tls)
{
    if (tls->failure != 0) {
        return tls->failure;
    }
    if (tls->ended) {
        return TLS_E_ENDED;
    }
    return tls->established ? 0 : tls_shake_hands(tls);
}

int tls_read(struct tls *tls, uint8_t *plain, size_t room, size_t *ret_size)
{
    int result = tls_handshake(tls);

    assert(room > 0);
    if (result != 0) {
        return result;
    }
    do {
        size_t before = tls->cipher.size;
        int count =
            wolfSSL_read(tls->session, plain, room < TLS_PLAIN_MAX ? (int)room : TLS_PLAIN_MAX);

        if (count > 0) {
            tls_guard_note_data(&tls->guard, (size_t)count, wolfSSL_pending(tls->session) == 0);
            *ret_size = (size_t)count;
            return 0;
        }
        result = tls_outcome(tls, count, before);
    } while (result == TLS_CALL_AGAIN);
    return result;
}

struct bytes tls_take_unread(struct tls *tls)
{
    struct bytes unread = tls->cipher;

    tls->cipher = (struct bytes){0};
    return unread;
}

int tls_write(struct tls *tls, struct bytes plain)
{
    size_t record_count = plain.size / TLS_PLAIN_MAX + 1;
    size_t offset = 0;

    assert(tls->established);
    if (tls->failure != 0) {
        return tls->failure;
    }
    if (buf_reserve(tls->output, plain.size + record_count * RECORD_OVERHEAD_MAX) == NULL) {
        tls->out_of_memory = true;
        return tls_fail(tls, 0);
    }
    while (offset < plain.size) {
        size_t left = plain.size - offset;
        int size = left < TLS_PLAIN_MAX ? (int)left : TLS_PLAIN_MAX;
        int written = wolfSSL_write(tls->session, plain.data + offset, size);

        if (written != size) {
            return tls_fail(tls, wolfSSL_get_error(tls->session, written));
        }
        offset += (size_t)size;
    }
    return 0;
}

void tls_end(struct tls *tls)
{
    if (tls->established && !tls->end_sent && tls->failure == 0) {
        tls->end_sent = true;
        (void)wolfSSL_shutdown(tls->session); /* it says "not yet" until the peer answers */
    }
}

bool tls_is_established(const struct tls *tls)
{
    return tls->established;
}

bool tls_alpn_is_h2(const struct tls *tls)
{
    return tls->alpn_is_h2;
}

const char *tls_peer_identity(const struct tls *tls)
{
    return tls->established ? tls->peer.identity : NULL;
}

bool tls_is_attacked(const struct tls *tls)
{
    return tls->verdict != TLS_GUARD_PASS && tls->verdict != TLS_GUARD_NOT_TLS;
}

const char *tls_problem(const struct tls *tls)
{
    return tls->problem;
}
