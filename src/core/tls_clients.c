#include "core/tls_clients.h"

#include "core/clock.h"
#include "core/slurp.h"
#include "core/tls.h"
#include "core/tls_certificate.h"
#include "core/tls_context.h"
#include "core/tls_pem.h"

/* clang-format off */
#include <wolfssl/options.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
/* clang-format on */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * The library checks signatures, dates of the client's chain, sizes of keys and revocation. What it
 * leaves open is settled in its verify callback, which sees good certificates as well as bad ones:
 *
 *   1. A chain of more than 4 certificates or 16 KiB is refused before its second signature.
 *   2. The certificate must say clientAuth, and have exactly one name (tls_certificate.h).
 *      Neither it nor what is between it and the CA file may be signed with SHA-1 or MD5.
 *   3. The chain must lead, issuer by issuer, to an authority of the CA file that is valid now, and
 *      no authority on the way may be one for other purposes or with limits on URI names. The
 *      library looks at an authority's dates only when it is loaded, and it keeps intermediate ones
 *      that some client has shown once.
 *
 * Revocation fails closed: without a valid list of the issuer a certificate is refused. A list that
 * is damaged, expired, of the future or partial stops the start (or the reload) with a text that
 * says so; one by an authority whose clock is a little ahead is not of the future.
 */

#ifndef WOLFSSL_ALWAYS_VERIFY_CB
#error "this wolfSSL shows its verify callback no good certificates: run scripts/deps.sh build"
#endif

#define CHAIN_COUNT_MAX  4
#define CHAIN_BYTES_MAX  (16 * 1024)
#define RSA_BITS_MIN     2048
#define ECC_BITS_MIN     256
#define WORDS_SIZE       128
#define DATE_SIZE        24
#define CLOCK_SKEW_MAX_S 300

/* An authority or a revocation list: whose, and when it is valid. */
struct entry {
    uint8_t *name;
    size_t name_size;
    int64_t from_s;
    int64_t until_s;
};

struct entries {
    struct entry *items;
    size_t count;
};

struct tls_clients {
    struct entries authorities;
    struct entries lists;
};

/* While it is made. */
struct set_up {
    WOLFSSL_CTX *library;
    struct tls_clients *clients;
    const char *path; /* of the file being read */
    char *problem;
    int64_t now_s;
    unsigned number; /* of the block in the file */
};

typedef int (*take_block_fn)(struct set_up *set_up, uint8_t *der, size_t size);

static int64_t now_s(void)
{
    return (int64_t)(clock_realtime_ns(clock_system()) / CLOCK_NS_PER_S);
}

static int entries_add(struct entries *entries, struct bytes name, int64_t from_s, int64_t until_s)
{
    struct entry *grown = realloc(entries->items, (entries->count + 1) * sizeof(*grown));
    uint8_t *copy;

    if (grown == NULL) {
        return -ENOMEM;
    }
    entries->items = grown;
    copy = malloc(name.size + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, name.data, name.size);
    entries->items[entries->count++] = (struct entry){copy, name.size, from_s, until_s};
    return 0;
}

static bool entry_is_of(const struct entry *entry, struct bytes name)
{
    return bytes_equal((struct bytes){entry->name, entry->name_size}, name);
}

static void entries_deinit(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free(entries->items[i].name);
    }
    free(entries->items);
}

/* Whether a valid authority, or a list, with this name is there. */
static bool entries_has(const struct entries *entries, struct bytes name, int64_t now)
{
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];

        if (entry->from_s <= now && now <= entry->until_s && entry_is_of(entry, name)) {
            return true;
        }
    }
    return false;
}

static void print_date(int64_t seconds, char *text)
{
    time_t when = seconds;
    struct tm utc = {0};

    (void)gmtime_r(&when, &utc);
    (void)strftime(text, DATE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static int refuse_block(const struct set_up *set_up, const char *what, const char *cause)
{
    (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE, "%s %u in %s %s", what, set_up->number,
                   set_up->path, cause);
    return -EINVAL;
}

static int refuse_by_library(const struct set_up *set_up, const char *what, int error)
{
    char words[WORDS_SIZE];
    char cause[WORDS_SIZE + 16];

    tls_describe_error(error, words, sizeof(words));
    (void)snprintf(cause, sizeof(cause), "is refused: %s", words);
    return refuse_block(set_up, what, cause);
}

/* Expired authorities are left out: one of several may go before its line is removed. */
static int take_authority(struct set_up *set_up, uint8_t *der, size_t size)
{
    struct tls_certificate certificate;
    int result;

    if (tls_certificate_read((struct bytes){der, size}, &certificate) != 0) {
        return refuse_block(set_up, "certificate", "is damaged");
    }
    if (!certificate.is_authority) {
        return refuse_block(set_up, "certificate",
                            "is not one of an authority: basic constraints must say CA:TRUE");
    }
    if (!tls_certificate_may_sign_clients(&certificate)) {
        return refuse_block(set_up, "certificate",
                            "may not sign clients' certificates by its extended key usage, or has "
                            "name constraints on URIs, which userd does not check");
    }
    if (set_up->now_s < certificate.not_before_s || set_up->now_s > certificate.not_after_s) {
        return 0;
    }
    result =
        wolfSSL_CTX_load_verify_buffer(set_up->library, der, (long)size, WOLFSSL_FILETYPE_ASN1);
    if (result != WOLFSSL_SUCCESS) {
        return refuse_by_library(set_up, "certificate", result);
    }
    return entries_add(&set_up->clients->authorities, certificate.subject, certificate.not_before_s,
                       certificate.not_after_s);
}

/* What the library does not look at, or says badly. */
static int check_list(const struct set_up *set_up, const struct tls_crl *list)
{
    char cause[WORDS_SIZE];
    char date[DATE_SIZE];

    if (!list->has_next_update) {
        return refuse_block(set_up, "revocation list", "names no next update: when it is stale");
    }
    if (list->next_update_s < set_up->now_s) {
        print_date(list->next_update_s, date);
        (void)snprintf(cause, sizeof(cause),
                       "has expired (next update %s): fetch the authority's newer list", date);
        return refuse_block(set_up, "revocation list", cause);
    }
    if (list->this_update_s > set_up->now_s + CLOCK_SKEW_MAX_S) {
        print_date(list->this_update_s, date);
        (void)snprintf(cause, sizeof(cause),
                       "is of the future (this update %s): set the clock right, or fetch the list "
                       "that is valid now",
                       date);
        return refuse_block(set_up, "revocation list", cause);
    }
    if (list->has_critical_extension) {
        return refuse_block(set_up, "revocation list",
                            "has a critical extension: it may be a partial list, a full one is "
                            "needed");
    }
    if (entries_has(&set_up->clients->lists, list->issuer, set_up->now_s)) {
        return refuse_block(set_up, "revocation list",
                            "is the second one of its authority: keep the newer one only");
    }
    return 0;
}

static int take_list(struct set_up *set_up, uint8_t *der, size_t size)
{
    struct tls_crl list;
    int result;

    if (tls_crl_read((struct bytes){der, size}, &list) != 0) {
        return refuse_block(set_up, "revocation list", "is damaged");
    }
    result = check_list(set_up, &list);
    if (result != 0) {
        return result;
    }
    result = wolfSSL_CTX_LoadCRLBuffer(set_up->library, der, (long)size, WOLFSSL_FILETYPE_ASN1);
    if (result == ASN_CRL_NO_SIGNER_E) {
        return refuse_block(set_up, "revocation list",
                            "is of an authority that is not in tls.client_ca_file");
    }
    if (result != WOLFSSL_SUCCESS) {
        return refuse_by_library(set_up, "revocation list", result);
    }
    return entries_add(&set_up->clients->lists, list.issuer, INT64_MIN, list.next_update_s);
}

/* An authority may be revoked by one above it. That it has no list itself shows when it is used. */
static int check_authority(struct set_up *set_up, uint8_t *der, size_t size)
{
    WOLFSSL_CERT_MANAGER *manager = wolfSSL_CTX_GetCertManager(set_up->library);

    if (wolfSSL_CertManagerCheckCRL(manager, der, (int)size) == CRL_CERT_REVOKED) {
        return refuse_block(set_up, "certificate", "is revoked by a list in tls.crl_file");
    }
    return 0;
}

/* Gives each block of the file to `take`. */
static int read_blocks(struct set_up *set_up, const char *path, const char *what, const char *label,
                       take_block_fn take)
{
    struct bytes rest;
    char *text;
    size_t text_size;
    uint8_t *der;
    size_t size;
    int result = tls_load_file(path, what, set_up->problem, &text, &text_size);

    if (result != 0) {
        return result;
    }
    rest = (struct bytes){(const uint8_t *)text, text_size};
    set_up->path = path;
    set_up->number = 0;
    while (result == 0) {
        set_up->number++;
        result = tls_pem_next(&rest, label, &der, &size);
        if (result == 0) {
            result = take(set_up, der, size);
            free(der);
        } else if (result == -EBADMSG) {
            result = refuse_block(set_up, what, "is damaged: no whole PEM block");
        }
    }
    slurp_free(text, text_size);
    if (result == -ENOMEM) {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE, "out of memory for %s", path);
    }
    return result == TLS_PEM_E_END ? 0 : result;
}

static int load_authorities(struct set_up *set_up, const char *path)
{
    int result;

    if (path == NULL || path[0] == '\0') {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE,
                       "tls.client_auth asks for certificates and tls.client_ca_file is not set: "
                       "name the PEM file of the authorities that issue your clients' ones");
        return -EINVAL;
    }
    result = read_blocks(set_up, path, "client CA file", "CERTIFICATE", take_authority);
    if (result == 0 && set_up->clients->authorities.count == 0) {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE,
                       set_up->number > 1
                           ? "no certificate in the client CA file %s is valid at this time"
                           : "the client CA file %s holds no certificate; it must be PEM",
                       path);
        return -EINVAL;
    }
    return result;
}

static int load_lists(struct set_up *set_up, const struct tls_server_options *options)
{
    int result;

    if (options->crl_file == NULL) {
        return 0;
    }
    if (options->crl_file[0] == '\0') {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE,
                       "tls.crl = require and tls.crl_file is not set: name the PEM file of the "
                       "revocation lists");
        return -EINVAL;
    }
    if (wolfSSL_CTX_EnableCRL(set_up->library, WOLFSSL_CRL_CHECKALL) != WOLFSSL_SUCCESS) {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE, "the TLS library refuses to use CRLs");
        return -ENOTSUP;
    }
#ifdef HAVE_CRL_IO
    /* Debian's library would fetch a missing list over HTTP, from where the certificate says, and
     * the loop would stand still meanwhile. */
    (void)wolfSSL_CTX_SetCRL_IOCb(set_up->library, NULL);
#endif
    result = read_blocks(set_up, options->crl_file, "CRL file", "X509 CRL", take_list);
    if (result == 0 && set_up->clients->lists.count == 0) {
        (void)snprintf(set_up->problem, TLS_PROBLEM_SIZE,
                       "the CRL file %s holds no revocation list; it must be PEM "
                       "(openssl crl -inform DER converts)",
                       options->crl_file);
        return -EINVAL;
    }
    return result != 0 ? result
                       : read_blocks(set_up, options->client_ca_file, "client CA file",
                                     "CERTIFICATE", check_authority);
}

static bool chain_is_small(const WOLFSSL_X509_STORE_CTX *store)
{
    size_t size = 0;

    for (int i = 0; i < store->totalCerts; i++) {
        size += store->certs[i].length;
    }
    return store->totalCerts <= CHAIN_COUNT_MAX && size <= CHAIN_BYTES_MAX;
}

static int read_link(const WOLFSSL_X509_STORE_CTX *store, int index, struct tls_certificate *ret)
{
    const WOLFSSL_BUFFER_INFO *link = &store->certs[index];

    return tls_certificate_read((struct bytes){link->buffer, link->length}, ret);
}

/* NULL = the chain leads to an authority, and all in it may sign what they signed. */
static const char *check_chain(const struct tls_clients *clients,
                               const WOLFSSL_X509_STORE_CTX *store,
                               const struct tls_certificate *leaf)
{
    struct tls_certificate link = *leaf;
    struct tls_certificate next;
    int64_t now = now_s();

    for (int i = 1; !entries_has(&clients->authorities, link.issuer, now); i++) {
        if (i >= store->totalCerts || read_link(store, i, &next) != 0 ||
            !bytes_equal(link.issuer, next.subject)) {
            return "the client's chain does not lead to a valid certificate of tls.client_ca_file";
        }
        if (next.is_weak || !tls_certificate_may_sign_clients(&next)) {
            return "an authority in the client's chain is not for clients, limits URIs, or is weak";
        }
        link = next;
    }
    return NULL;
}

/* Takes the client's name from a certificate that the library finds good, or says what is wrong. */
static const char *judge_client(struct tls_peer *peer, const WOLFSSL_X509_STORE_CTX *store)
{
    struct tls_certificate leaf;
    char identity[TLS_IDENTITY_MAX + 1];
    const char *problem;

    if (read_link(store, 0, &leaf) != 0) {
        return "the client's certificate is malformed";
    }
    if (!leaf.is_for_clients) {
        return "the client's certificate lacks the extended key usage clientAuth";
    }
    problem = tls_certificate_identity(&leaf, identity);
    if (problem != NULL) {
        return problem;
    }
    if (leaf.is_weak) {
        return "the client's certificate is signed with SHA-1 or MD5";
    }
    problem = check_chain(peer->clients, store, &leaf);
    if (problem != NULL) {
        return problem;
    }
    free(peer->identity);
    peer->identity = strdup(identity);
    return peer->identity == NULL ? "out of memory" : NULL;
}

/* Returns 1 to go on. After an error that would overrule the library: never. */
static int on_verify(int is_good, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls_peer *peer = store->userCtx;

    if (store->totalCerts == 0) {
        return is_good; /* an empty chain is none, which the library judges */
    }
    if (!is_good) {
        peer->is_refused = true;
        return 0;
    }
    if (peer->is_settled) {
        peer->problem = "the client showed a certificate after the handshake";
    } else if (!chain_is_small(store)) {
        peer->problem = "the client's chain has more than 4 certificates or 16 KiB";
    } else if (store->error_depth == 0) {
        peer->problem = judge_client(peer, store);
    }
    return peer->problem == NULL;
}

static int set_up_all(struct set_up *set_up, const struct tls_server_options *options)
{
    int mode = WOLFSSL_VERIFY_PEER;
    int result = load_authorities(set_up, options->client_ca_file);

    if (result == 0) {
        result = load_lists(set_up, options);
    }
    if (options->client_auth == TLS_CLIENT_AUTH_REQUIRE) {
        mode |= WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    wolfSSL_CTX_set_verify(set_up->library, mode, on_verify);
    return result;
}

int tls_clients_new(struct WOLFSSL_CTX *library, const struct tls_server_options *options,
                    char *problem, struct tls_clients **ret_clients)
{
    struct tls_clients *clients = calloc(1, sizeof(*clients));
    struct set_up set_up = {library, clients, "", problem, now_s(), 0};
    int result;

    if (clients == NULL) {
        (void)snprintf(problem, TLS_PROBLEM_SIZE, "out of memory");
        return -ENOMEM;
    }
    (void)wolfSSL_CTX_SetMinRsaKey_Sz(library, RSA_BITS_MIN);
    (void)wolfSSL_CTX_SetMinEccKey_Sz(library, ECC_BITS_MIN);
    result = set_up_all(&set_up, options);
    if (result != 0) {
        tls_clients_free(clients);
        return result;
    }
    *ret_clients = clients;
    return 0;
}

void tls_clients_free(struct tls_clients *clients)
{
    if (clients == NULL) {
        return;
    }
    entries_deinit(&clients->authorities);
    entries_deinit(&clients->lists);
    free(clients);
}

void tls_clients_attach(struct WOLFSSL *session, struct tls_peer *peer)
{
    wolfSSL_SetCertCbCtx(session, peer);
}

int64_t tls_clients_crl_until_s(const struct tls_clients *clients)
{
    int64_t until_s = INT64_MAX;

    for (size_t i = 0; i < clients->lists.count; i++) {
        if (clients->lists.items[i].until_s < until_s) {
            until_s = clients->lists.items[i].until_s;
        }
    }
    return until_s;
}

const char *tls_clients_hint(const struct tls_clients *clients, int error)
{
    if (error != CRL_MISSING && error != CRL_CERT_DATE_ERR) {
        return NULL;
    }
    return now_s() > tls_clients_crl_until_s(clients)
               ? "a revocation list in tls.crl_file has expired: its clients cannot connect"
               : "no revocation list in tls.crl_file is of the issuer of the client's certificate";
}
