#include "lib/certs.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/tls.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>

static const enum tls_version versions[] = {TLS_VERSION_1_3, TLS_VERSION_1_2};

static struct certs certs;
static char problem[TLS_PROBLEM_SIZE];

/* A server and a client whose wire is two buffers. */
struct pair {
    struct tls *server;
    struct tls *client;
    struct buf from_server;
    struct buf from_client;
    int server_result;
    int client_result;
    size_t received; /* plain bytes that the server got */
};

static struct tls_context *make_server(enum tls_version version, enum tls_client_auth auth,
                                       const char *ca, const char *crl)
{
    char ca_path[CERTS_PATH_SIZE];
    char crl_path[CERTS_PATH_SIZE];
    const struct tls_server_options options = {
        .cert_file = certs.cert,
        .key_file = certs.key,
        .min_version = version,
        .client_auth = auth,
        .client_ca_file = ca == NULL ? NULL : certs_client(&certs, ca, ca_path),
        .crl_file = crl == NULL || crl[0] == '\0' ? crl : certs_client(&certs, crl, crl_path),
    };
    struct tls_context *context = NULL;

    problem[0] = '\0';
    (void)tls_context_new_server(&options, problem, &context);
    return context;
}

/* The text of a set-up that must fail. */
static const char *server_problem(const char *ca, const char *crl)
{
    struct tls_context *context = make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_OPTIONAL, ca, crl);

    ck_assert_msg(context == NULL, "%s, %s", ca, crl);
    return problem;
}

/* `cert` NULL = a client without certificate. */
static struct tls_context *make_client(const char *cert)
{
    char cert_path[CERTS_PATH_SIZE];
    char key_path[CERTS_PATH_SIZE];
    const struct tls_client_options options = {
        .ca_file = certs.ca,
        .cert_file = cert == NULL ? NULL : certs_client(&certs, cert, cert_path),
        .key_file = certs_client(&certs, "client.key", key_path),
    };
    struct tls_context *context = NULL;

    ck_assert_msg(tls_context_new_client(&options, problem, &context) == 0, "%s", problem);
    return context;
}

static int carry(struct buf *wire, struct tls *to, size_t *received)
{
    uint8_t plain[64];
    size_t size = 0;
    int result;

    tls_feed(to, buf_bytes(wire), 0);
    while ((result = tls_read(to, plain, sizeof(plain), &size)) == 0) {
        *received += size;
    }
    (void)tls_take_unread(to);
    buf_clear(wire);
    return result;
}

static void exchange(struct pair *pair)
{
    size_t ignored = 0;

    while (buf_size(&pair->from_client) + buf_size(&pair->from_server) > 0) {
        pair->server_result = carry(&pair->from_client, pair->server, &pair->received);
        pair->client_result = carry(&pair->from_server, pair->client, &ignored);
    }
}

/* Both contexts are borrowed. */
static void shake_hands(struct pair *pair, struct tls_context *server, struct tls_context *client)
{
    *pair = (struct pair){0};
    ck_assert_int_eq(tls_new(server, &pair->from_server, NULL, &pair->server), 0);
    ck_assert_int_eq(tls_new(client, &pair->from_client, "localhost", &pair->client), 0);
    ck_assert_int_eq(tls_start(pair->client), 0);
    exchange(pair);
}

static void finish(struct pair *pair)
{
    tls_free(pair->server);
    tls_free(pair->client);
    buf_deinit(&pair->from_server);
    buf_deinit(&pair->from_client);
}

/* One handshake, whose client also sends bytes at once when it thinks that it may. The identity is
 * copied to `identity`, "" = none. Returns whether the server let it in. */
static bool try(struct tls_context *server, const char *cert, char *identity)
{
    struct tls_context *client = make_client(cert);
    const char *name;
    struct pair pair;
    bool is_in;

    shake_hands(&pair, server, client);
    is_in = tls_is_established(pair.server);
    name = tls_peer_identity(pair.server);
    ck_assert(is_in || name == NULL);
    (void)snprintf(identity, 300, "%s", name == NULL ? "" : name);
    (void)snprintf(problem, sizeof(problem), "%s", tls_problem(pair.server));
    if (tls_is_established(pair.client) && pair.client_result >= 0) {
        ck_assert_int_eq(tls_write(pair.client, BYTES_LITERAL("early")), 0);
        exchange(&pair);
    }
    ck_assert_uint_eq(pair.received, is_in ? 5 : 0);
    if (!is_in) { /* and the client was told why */
        ck_assert_int_eq(pair.server_result, -EPROTO);
        ck_assert_int_eq(pair.client_result, -EPROTO);
        ck_assert_ptr_nonnull(strstr(tls_problem(pair.client), "alert"));
        ck_assert_uint_gt(strlen(tls_problem(pair.server)), 0);
    }
    finish(&pair);
    tls_context_unref(client);
    return is_in;
}

/* Asserts, for both versions and both ways of asking, that each of these is let in or kept out. */
struct expected {
    const char *cert;
    const char *identity; /* NULL = refused */
};

static void check_each(const char *ca, const char *crl, const struct expected *expected,
                       size_t count)
{
    static const enum tls_client_auth auths[] = {TLS_CLIENT_AUTH_OPTIONAL, TLS_CLIENT_AUTH_REQUIRE};

    char identity[300];

    for (int i = 0; i < 4; i++) {
        struct tls_context *server = make_server(versions[i % 2], auths[i / 2], ca, crl);

        ck_assert_msg(server != NULL, "%s", problem);
        for (size_t j = 0; j < count; j++) {
            bool is_in = try(server, expected[j].cert, identity);

            ck_assert_msg(is_in == (expected[j].identity != NULL), "%s: %s (%s)", expected[j].cert,
                          is_in ? "let in" : "refused", problem);
            if (is_in) {
                ck_assert_str_eq(identity, expected[j].identity);
            }
        }
        tls_context_unref(server);
    }
}

#define CHECK_EACH(ca, crl, expected)                                                              \
    check_each((ca), (crl), (expected), sizeof(expected) / sizeof((expected)[0]))

/* The one URI name is the identity, else the one DNS name, in lower case. */
START_TEST(tls_clients_take_the_name)
{
    static const struct expected expected[] = {
        {"uri.pem", "uri:spiffe://test/client"},
        {"dns.pem", "dns:client.test"},
        {"uri-dns.pem", "uri:spiffe://test/both"},
        {"two-purposes.pem", "uri:spiffe://test/client"},
    };

    CHECK_EACH("ca.pem", NULL, expected);
}

END_TEST

/* No name, two of a kind, odd names, and whatever is not for clients: refused in the handshake,
 * also when a certificate is optional. */
START_TEST(tls_clients_refuse_bad_names_and_purposes)
{
    static const struct expected expected[] = {
        {"no-name.pem", NULL},     {"two-uris.pem", NULL},       {"two-dns.pem", NULL},
        {"ip.pem", NULL},          {"email.pem", NULL},          {"long-name.pem", NULL},
        {"nul-name.pem", NULL},    {"blank-name.pem", NULL},     {"no-purpose.pem", NULL},
        {"any-purpose.pem", NULL}, {"server-purpose.pem", NULL},
    };

    CHECK_EACH("ca.pem", NULL, expected);
}

END_TEST

/* So is everything that the authority does not stand behind at this time. */
START_TEST(tls_clients_refuse_bad_authority)
{
    static const struct expected expected[] = {
        {"expired.pem", NULL}, {"future.pem", NULL}, {"foreign.pem", NULL},
        {"self.pem", NULL},    {"of-old.pem", NULL}, {"alone.pem", NULL},
    };

    CHECK_EACH("ca.pem", NULL, expected);
    CHECK_EACH("with-old.pem", NULL, expected);
}

END_TEST

/* Chains of up to 4 certificates and 16 KiB pass. An intermediate certificate that one client
 * showed is not kept for the next, which must show it again. */
START_TEST(tls_clients_limit_the_chain)
{
    static const struct expected expected[] = {
        {"chain.pem", "uri:spiffe://test/client"},
        {"chain-root.pem", "uri:spiffe://test/client"},
        {"alone.pem", NULL},
        {"chain-4.pem", "uri:spiffe://test/client"},
        {"chain-5.pem", NULL},
        {"large.pem", "uri:spiffe://test/client"},
        {"fat.pem", NULL},
    };

    CHECK_EACH("ca.pem", NULL, expected);
}

END_TEST

/* An authority signs what it says that it may: none for clients when its extended key usage leaves
 * them out, and none at all when it limits URI names, which is not checked. Nothing but the
 * authorities of the file is signed with SHA-1. */
START_TEST(tls_clients_refuse_what_an_authority_may_not_sign)
{
    static const struct expected expected[] = {
        {"chain-uris.pem", NULL},
        {"chain-no-uris.pem", NULL},
        {"chain-servers.pem", NULL},
        {"chain-for-any.pem", "uri:spiffe://test/client"},
        {"chain-for-clients.pem", "uri:spiffe://test/client"},
        {"chain-weak-ca.pem", NULL},
        {"sha1.pem", NULL},
    };

    CHECK_EACH("ca.pem", NULL, expected);
}

END_TEST

/* Without certificate: refused when one is required, else let in as nobody; and when nobody asks a
 * certificate makes no difference. */
START_TEST(tls_clients_without_certificate)
{
    char identity[300];

    for (int i = 0; i < 2; i++) {
        struct tls_context *server =
            make_server(versions[i], TLS_CLIENT_AUTH_REQUIRE, "ca.pem", NULL);

        ck_assert(!try(server, NULL, identity));
        tls_context_unref(server);
        server = make_server(versions[i], TLS_CLIENT_AUTH_OPTIONAL, "ca.pem", NULL);
        ck_assert_msg(try(server, NULL, identity), "%s", problem);
        ck_assert_str_eq(identity, "");
        tls_context_unref(server);
        server = make_server(versions[i], TLS_CLIENT_AUTH_NONE, NULL, NULL);
        ck_assert(try(server, "expired.pem", identity));
        ck_assert_str_eq(identity, "");
        tls_context_unref(server);
    }
}

END_TEST

/* The authority of the server's own certificate is not trusted for clients. */
START_TEST(tls_clients_trust_their_authority_only)
{
    struct tls_context *server =
        make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_OPTIONAL, "ca.pem", NULL);
    const struct tls_client_options options = {
        .ca_file = certs.ca, .cert_file = certs.cert, .key_file = certs.key};
    struct tls_context *client = NULL;
    struct pair pair;

    ck_assert_int_eq(tls_context_new_client(&options, problem, &client), 0);
    shake_hands(&pair, server, client);
    ck_assert(!tls_is_established(pair.server));
    ck_assert_int_eq(pair.server_result, -EPROTO);
    finish(&pair);
    tls_context_unref(client);
    tls_context_unref(server);
}

END_TEST

/* Revocation: the revoked are refused, and those of whose issuer there is no list. */
START_TEST(tls_clients_refuse_the_revoked)
{
    static const struct expected one_list[] = {
        {"uri.pem", "uri:spiffe://test/client"},
        {"revoked.pem", NULL},
        {"chain-revoked.pem", NULL},
        {"chain.pem", NULL},
    };
    static const struct expected both_lists[] = {
        {"uri.pem", "uri:spiffe://test/client"},
        {"revoked.pem", NULL},
        {"chain.pem", "uri:spiffe://test/client"},
        {"alone.pem", "uri:spiffe://test/client"},
        {"chain-revoked.pem", NULL},
    };
    static const struct expected no_list[] = {{"revoked.pem", "uri:spiffe://test/client"}};

    CHECK_EACH("ca.pem", "ca.crl", one_list);
    CHECK_EACH("ca.pem", "soon.crl", one_list);
    CHECK_EACH("both.pem", "all.crl", both_lists);
    CHECK_EACH("ca.pem", NULL, no_list);
}

END_TEST

/* The log says why, in words that help. */
START_TEST(tls_clients_say_why)
{
    static const struct {
        const char *cert;
        const char *words;
    } cases[] = {
        {"no-name.pem", "no URI or DNS name"},
        {"two-uris.pem", "several URI names"},
        {"two-dns.pem", "several DNS names"},
        {"no-purpose.pem", "clientAuth"},
        {"chain-5.pem", "more than 4 certificates"},
        {"chain.pem", "no revocation list in tls.crl_file"},
        {"nul-name.pem", "printable"},
        {"expired.pem", "the client's certificate: ASN date"},
        {"foreign.pem", "the client's certificate: "},
        {"revoked.pem", "revoked"},
    };
    struct tls_context *server =
        make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_OPTIONAL, "ca.pem", "ca.crl");
    char identity[300];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert(!try(server, cases[i].cert, identity));
        if (strcmp(cases[i].cert, "nul-name.pem") != 0) {
            ck_assert_msg(strcasestr(problem, cases[i].words) != NULL, "%s: %s", cases[i].cert,
                          problem);
        }
    }
    tls_context_unref(server);
}

END_TEST

/* A set-up that could not work, or would not check what it should, is refused with its reason. */
START_TEST(tls_clients_name_bad_files)
{
    static const struct {
        const char *ca;
        const char *crl;
        const char *words;
    } cases[] = {
        {NULL, NULL, "tls.client_ca_file is not set"},
        {"missing.pem", NULL, "No such file"},
        {"empty.pem", NULL, "holds no certificate"},
        {"client.key", NULL, "holds no certificate"},
        {"old.pem", NULL, "valid at this time"},
        {"uri.pem", NULL, "certificate 1 in"},
        {"with-uris.pem", NULL, "name constraints on URIs"},
        {"with-servers.pem", NULL, "certificate 2 in"},
        {"ca.pem", "missing.crl", "No such file"},
        {"ca.pem", "", "tls.crl_file is not set"},
        {"ca.pem", "empty.pem", "holds no revocation list"},
        {"ca.pem", "stale.crl", "has expired (next update 2020-02-01T00:00:00Z)"},
        {"ca.pem", "future.crl", "is of the future (this update 2099-01-01T00:00:00Z)"},
        {"ca.pem", "partial.crl", "critical extension"},
        {"ca.pem", "twice.crl", "revocation list 2 in"},
        {"ca.pem", "other.crl", "not in tls.client_ca_file"},
        {"ca.pem", "all.crl", "revocation list 2 in"},
        {"with-revoked.pem", "ca.crl", "certificate 2 in"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = server_problem(cases[i].ca, cases[i].crl);

        ck_assert_msg(strstr(text, cases[i].words) != NULL, "%s, %s: %s", cases[i].ca, cases[i].crl,
                      text);
        ck_assert(strstr(text, "not set") != NULL || strstr(text, "/clients/") != NULL);
    }
}

END_TEST

/* Dates of the own certificate and of the first list that expires are there for warnings. */
START_TEST(tls_clients_tell_dates)
{
    int64_t now_s = (int64_t)(clock_realtime_ns(clock_system()) / CLOCK_NS_PER_S);
    int64_t in_29_days_s = now_s + 29 * 86400;
    struct tls_context *server =
        make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_REQUIRE, "both.pem", "all.crl");

    ck_assert_int_le(tls_context_not_before_s(server), now_s);
    ck_assert_int_gt(tls_context_not_after_s(server), in_29_days_s);
    ck_assert_int_gt(tls_context_crl_until_s(server), in_29_days_s);
    ck_assert_int_lt(tls_context_crl_until_s(server), in_29_days_s + 2 * 86400);
    tls_context_unref(server);
    server = make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_REQUIRE, "both.pem", NULL);
    ck_assert_int_eq(tls_context_crl_until_s(server), INT64_MAX);
    tls_context_unref(server);
}

END_TEST

/* A new context changes nothing for sessions of the old one, even when that is given up: bytes
 * flow, the identity stays. The new one holds for new sessions. */
START_TEST(tls_clients_outlive_their_context)
{
    struct tls_context *server =
        make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_REQUIRE, "ca.pem", NULL);
    struct tls_context *client = make_client("revoked.pem");
    struct tls_context *next;
    struct pair old;
    struct pair new;

    shake_hands(&old, server, client);
    next = make_server(TLS_VERSION_1_3, TLS_CLIENT_AUTH_REQUIRE, "ca.pem", "ca.crl");
    tls_context_unref(server);
    shake_hands(&new, next, client);
    ck_assert(!tls_is_established(new.server));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(tls_write(old.client, BYTES_LITERAL("still there")), 0);
        ck_assert_int_eq(tls_write(old.server, BYTES_LITERAL("yes")), 0);
        exchange(&old);
    }
    ck_assert_uint_eq(old.received, 33);
    ck_assert_str_eq(tls_peer_identity(old.server), "uri:spiffe://test/client");
    finish(&new);
    finish(&old);
    tls_context_unref(client);
    tls_context_unref(next);
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {tls_clients_take_the_name,
                                  tls_clients_refuse_bad_names_and_purposes,
                                  tls_clients_refuse_bad_authority,
                                  tls_clients_limit_the_chain,
                                  tls_clients_without_certificate,
                                  tls_clients_trust_their_authority_only,
                                  tls_clients_refuse_the_revoked,
                                  tls_clients_say_why,
                                  tls_clients_name_bad_files,
                                  tls_clients_tell_dates,
                                  tls_clients_outlive_their_context,
                                  tls_clients_refuse_what_an_authority_may_not_sign,
                                  NULL};
    int result;

    certs_make(&certs);
    certs_make_clients(&certs);
    result = unit_run("tls_clients", tests);
    certs_remove(&certs);
    return result;
}
