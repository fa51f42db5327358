#include "core/tls_context.h"

#include "core/slurp.h"
#include "core/tls.h"
#include "core/tls_certificate.h"
#include "core/tls_clients.h"
#include "core/tls_memory.h"
#include "core/tls_pem.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Keys, certificates and the choice of suites: everything about TLS that is settled at start-up.
 * Files are read by us and handed over as text, so that a problem can name the file and its cause.
 *
 * No session cache and no tickets: each connection is verified by itself.
 */

#define PEM_SIZE_MAX (1024 * 1024)
#define WORDS_SIZE   128
#define RSA_BITS_MIN 2048
#define ECC_BITS_MIN 256

#if defined(WOLFSSL_AESNI) && defined(WOLFSSL_SP_ASM)
#define ACCELERATION "accelerated: AES-NI, SP assembler"
#elif defined(WOLFSSL_AESNI)
#define ACCELERATION "accelerated: AES-NI"
#elif defined(WOLFSSL_ARMASM)
#define ACCELERATION "accelerated: ARM crypto extensions"
#endif

/* HTTP/2 forbids everything but ephemeral key exchange with AEAD (RFC 9113, section 9.2.2). AES in
 * software is slow and has table lookups that depend on the key, so ChaCha20 goes first there. */
#ifdef ACCELERATION
#define SUITES_1_3 "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES256-GCM-SHA384"
#define SUITES_1_2                                                                                 \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#else
#define SUITES_1_3 "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384"
#define SUITES_1_2                                                                                 \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#endif

const char *tls_library(void)
{
#ifdef ACCELERATION
    return "wolfSSL " LIBWOLFSSL_VERSION_STRING " (" ACCELERATION ")";
#else
    return "wolfSSL " LIBWOLFSSL_VERSION_STRING " (no CPU acceleration)";
#endif
}

bool tls_is_accelerated(void)
{
#ifdef ACCELERATION
    return true;
#else
    return false;
#endif
}

void tls_describe_error(int error, char *text, size_t size)
{
    char words[WOLFSSL_MAX_ERROR_SZ];

    wolfSSL_ERR_error_string_n((unsigned long)error, words, sizeof(words));
    (void)snprintf(text, size, "%s (%d)", words, error);
}

int tls_load_file(const char *path, const char *what, char *problem, char **ret_text,
                  size_t *ret_size)
{
    int result = slurp_file(path, PEM_SIZE_MAX, ret_text, ret_size);

    if (result == SLURP_E_TOO_LARGE) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE, "the %s %s is larger than 1 MiB: too large", what,
                       path);
        return -EFBIG;
    }
    if (result < 0) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE,
                       "the %s %s cannot be read: %s; check the path and its permissions", what,
                       path, strerror(-result));
    }
    return result;
}

/* The dates of the first certificate, the own one. */
static int read_dates(struct tls_context *context, struct bytes text)
{
    struct tls_certificate certificate;
    uint8_t *der;
    size_t size;
    int result = tls_pem_next(&text, "CERTIFICATE", &der, &size);

    if (result != 0) {
        return result == -ENOMEM ? result : -EINVAL;
    }
    result = tls_certificate_read((struct bytes){der, size}, &certificate);
    free(der);
    if (result != 0) {
        return -EINVAL;
    }
    context->not_before_s = certificate.not_before_s;
    context->not_after_s = certificate.not_after_s;
    return 0;
}

static int load_certificate(struct tls_context *context, const char *path, char *problem)
{
    char words[WORDS_SIZE];
    char *text;
    size_t size;
    int result = tls_load_file(path, "certificate file", problem, &text, &size);

    if (result != 0) {
        return result;
    }
    result = wolfSSL_CTX_use_certificate_chain_buffer(context->library, (const unsigned char *)text,
                                                      (long)size);
    if (result == WOLFSSL_SUCCESS) {
        result = read_dates(context, (struct bytes){(const uint8_t *)text, size});
        (void)snprintf(words, sizeof(words), "it does not follow RFC 5280");
    } else {
        tls_describe_error(result, words, sizeof(words));
        result = -EINVAL;
    }
    slurp_free(text, size);
    if (result == 0) {
        return 0;
    }
    (void)snprintf(problem, TLS_PROBLEM_SIZE,
                   "the certificate file %s holds no usable chain: %s; it must be PEM, the own "
                   "certificate first",
                   path, words);
    return result;
}

static int load_key(struct tls_context *context, const char *path, char *problem)
{
    char words[WORDS_SIZE];
    char *text;
    size_t size;
    bool is_encrypted;
    int result = tls_load_file(path, "key file", problem, &text, &size);

    if (result != 0) {
        return result;
    }
    is_encrypted = strstr(text, "ENCRYPTED") != NULL;
    if (is_encrypted) {
        result = WOLFSSL_FAILURE;
    } else {
        tls_memory_set_secret(true);
        result = wolfSSL_CTX_use_PrivateKey_buffer(context->library, (const unsigned char *)text,
                                                   (long)size, WOLFSSL_FILETYPE_PEM);
        tls_memory_set_secret(false);
    }
    slurp_free(text, size);
    if (result == WOLFSSL_SUCCESS) {
        return 0;
    }
    if (is_encrypted) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE,
                       "the key file %s is encrypted and nobody is there to type its passphrase; "
                       "decrypt it: openssl pkey -in %s -out NEW_FILE",
                       path, path);
        return -EINVAL;
    }
    tls_describe_error(result, words, sizeof(words));
    (void)snprintf(problem, TLS_PROBLEM_SIZE,
                   "the key file %s holds no usable private key: %s; it must be PEM (EC P-256 is "
                   "the fastest kind)",
                   path, words);
    return -EINVAL;
}

static int load_pair(struct tls_context *context, const char *cert_file, const char *key_file,
                     char *problem)
{
    int result = load_certificate(context, cert_file, problem);

    if (result == 0) {
        result = load_key(context, key_file, problem);
    }
    if (result == 0 && wolfSSL_CTX_check_private_key(context->library) != WOLFSSL_SUCCESS) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE,
                       "the key in %s does not belong to the first certificate in %s; name the "
                       "key that the certificate was issued for",
                       key_file, cert_file);
        result = -EINVAL;
    }
    return result;
}

static int load_authorities(struct tls_context *context, const char *path, char *problem)
{
    char words[WORDS_SIZE];
    char *text;
    size_t size;
    int result = tls_load_file(path, "CA file", problem, &text, &size);

    if (result != 0) {
        return result;
    }
    result = wolfSSL_CTX_load_verify_buffer(context->library, (const unsigned char *)text,
                                            (long)size, WOLFSSL_FILETYPE_PEM);
    slurp_free(text, size);
    if (result == WOLFSSL_SUCCESS) {
        return 0;
    }
    tls_describe_error(result, words, sizeof(words));
    (void)snprintf(problem, TLS_PROBLEM_SIZE,
                   "the CA file %s holds no usable certificate: %s; it must be PEM", path, words);
    return -EINVAL;
}

/* What both roles have in common. */
static int context_new(WOLFSSL_METHOD *(*method)(void), const char *suites,
                       struct tls_context **ret_context)
{
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1};
    struct tls_context *context = calloc(1, sizeof(*context));

    if (context == NULL) {
        return -ENOMEM;
    }
    atomic_init(&context->reference_count, 1);
    tls_memory_install();
    (void)wolfSSL_Init(); /* counted by the library; undone by tls_context_unref() */
    context->library = wolfSSL_CTX_new(method());
    if (context->library == NULL) {
        goto fail;
    }
    if (wolfSSL_CTX_set_cipher_list(context->library, suites) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_groups(context->library, groups, 2) != WOLFSSL_SUCCESS) {
        goto fail;
    }
#ifndef NO_SESSION_CACHE
    (void)wolfSSL_CTX_set_session_cache_mode(context->library, WOLFSSL_SESS_CACHE_OFF);
#endif
#ifdef HAVE_SESSION_TICKET
    (void)wolfSSL_CTX_no_ticket_TLSv13(context->library);
    (void)wolfSSL_CTX_NoTicketTLSv12(context->library);
#endif
    *ret_context = context;
    return 0;

fail:
    tls_context_unref(context);
    return -ENOMEM;
}

/* Hands the output of one end to the other. False when that failed. */
static bool trial_carry(struct buf *output, struct tls *to)
{
    int result;

    tls_feed(to, buf_bytes(output), 0);
    result = tls_handshake(to);
    (void)tls_take_unread(to);
    buf_clear(output);
    return result >= 0;
}

/* A handshake in memory with a client that trusts everybody: it finds a key that is not the
 * certificate's (which the library's own check overlooks in 5.5.4 when both are EC keys), and kinds
 * of keys that no suite of ours can use. */
static bool trial_handshake(struct tls_context *server)
{
    struct tls_context *client = NULL;
    struct tls *client_tls = NULL;
    struct tls *server_tls = NULL;
    struct buf client_output = {0};
    struct buf server_output = {0};
    bool good = context_new(wolfSSLv23_client_method, SUITES_1_3 ":" SUITES_1_2, &client) == 0;

    if (good) {
        client->is_client = true;
        wolfSSL_CTX_set_verify(client->library, WOLFSSL_VERIFY_NONE, NULL);
        good = tls_new(server, &server_output, NULL, &server_tls) == 0 &&
               tls_new(client, &client_output, "localhost", &client_tls) == 0 &&
               tls_start(client_tls) == 0;
    }
    while (good && buf_size(&client_output) > 0) {
        good = trial_carry(&client_output, server_tls) && trial_carry(&server_output, client_tls);
    }
    good = good && tls_is_established(server_tls) && tls_is_established(client_tls);
    tls_free(client_tls);
    tls_free(server_tls);
    buf_deinit(&client_output);
    buf_deinit(&server_output);
    tls_context_unref(client);
    return good;
}

int tls_context_new_server(const struct tls_server_options *options, char *problem,
                           struct tls_context **ret_context)
{
    bool only_1_3 = options->min_version == TLS_VERSION_1_3;
    struct tls_context *context = NULL;
    int result;

    result = context_new(only_1_3 ? wolfTLSv1_3_server_method : wolfSSLv23_server_method,
                         only_1_3 ? SUITES_1_3 : SUITES_1_3 ":" SUITES_1_2, &context);
    if (result != 0) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE, "the TLS library refuses its settings");
        return result;
    }
    if (!only_1_3) {
        (void)wolfSSL_CTX_SetMinVersion(context->library, WOLFSSL_TLSV1_2);
    }
    wolfSSL_CTX_set_verify(context->library, WOLFSSL_VERIFY_NONE, NULL);
    result = load_pair(context, options->cert_file, options->key_file, problem);
    /* Before clients are asked for certificates: the client of the trial has none. */
    if (result == 0 && !trial_handshake(context)) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE,
                       "a trial handshake failed: the key in %s does not belong to the first "
                       "certificate in %s, or is of no use for TLS (EC P-256 is)",
                       options->key_file, options->cert_file);
        result = -EINVAL;
    }
    if (result == 0 && options->client_auth != TLS_CLIENT_AUTH_NONE) {
        context->requires_client_name = options->client_auth == TLS_CLIENT_AUTH_REQUIRE;
        result = tls_clients_new(context->library, options, problem, &context->clients);
    }
    if (result != 0) {
        tls_context_unref(context);
        return result;
    }
    *ret_context = context;
    return 0;
}

int tls_context_new_client(const struct tls_client_options *options, char *problem,
                           struct tls_context **ret_context)
{
    struct tls_context *context = NULL;
    int result;

    result = context_new(wolfSSLv23_client_method, SUITES_1_3 ":" SUITES_1_2, &context);
    if (result != 0) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE, "the TLS library refuses its settings");
        return result;
    }
    context->is_client = true;
    (void)wolfSSL_CTX_SetMinVersion(context->library, WOLFSSL_TLSV1_2);
    (void)wolfSSL_CTX_SetMinRsaKey_Sz(context->library, RSA_BITS_MIN);
    (void)wolfSSL_CTX_SetMinEccKey_Sz(context->library, ECC_BITS_MIN);
    wolfSSL_CTX_set_verify(context->library, WOLFSSL_VERIFY_PEER, NULL);
    result = load_authorities(context, options->ca_file, problem);
    if (result == 0 && options->cert_file != NULL) {
        result = load_pair(context, options->cert_file, options->key_file, problem);
    }
    if (result != 0) {
        tls_context_unref(context);
        return result;
    }
    *ret_context = context;
    return 0;
}

int64_t tls_context_not_before_s(const struct tls_context *context)
{
    return context->not_before_s;
}

int64_t tls_context_not_after_s(const struct tls_context *context)
{
    return context->not_after_s;
}

int64_t tls_context_crl_until_s(const struct tls_context *context)
{
    return context->clients == NULL ? INT64_MAX : tls_clients_crl_until_s(context->clients);
}

void tls_context_ref(struct tls_context *context)
{
    (void)atomic_fetch_add(&context->reference_count, 1);
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->reference_count, 1) > 1) {
        return;
    }
    wolfSSL_CTX_free(context->library);
    tls_clients_free(context->clients);
    free(context);
    (void)wolfSSL_Cleanup();
}
