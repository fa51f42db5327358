#include "lib/certs.h"
#include "lib/unit.h"

#include "core/slurp.h"
#include "core/tls_certificate.h"
#include "core/tls_pem.h"

#include <errno.h>
#include <stdio.h>

static struct certs certs;

/* The first block of a file of the corpus, in memory of its own size, so that reading on shows. */
static struct bytes load(const char *file, const char *label)
{
    char path[CERTS_PATH_SIZE];
    struct bytes text;
    char *pem;
    size_t pem_size;
    uint8_t *der;
    size_t size;

    ck_assert_int_eq(slurp_file(certs_client(&certs, file, path), 1 << 20, &pem, &pem_size), 0);
    text = (struct bytes){(const uint8_t *)pem, pem_size};
    ck_assert_int_eq(tls_pem_next(&text, label, &der, &size), 0);
    slurp_free(pem, pem_size);
    return (struct bytes){der, size};
}

static void unload(struct bytes der)
{
    free((void *)(uintptr_t)der.data);
}

static struct tls_certificate read_file(const char *file, struct bytes *ret_der)
{
    struct tls_certificate certificate = {0};

    *ret_der = load(file, "CERTIFICATE");
    ck_assert_int_eq(tls_certificate_read(*ret_der, &certificate), 0);
    return certificate;
}

/* Issuer and subject are the same bytes in the two certificates that they join. */
START_TEST(tls_certificate_reads_names)
{
    struct bytes der[3];
    struct tls_certificate leaf = read_file("alone.pem", &der[0]);
    struct tls_certificate middle = read_file("middle.pem", &der[1]);
    struct tls_certificate root = read_file("ca.pem", &der[2]);

    ck_assert(bytes_equal(leaf.issuer, middle.subject));
    ck_assert(bytes_equal(middle.issuer, root.subject));
    ck_assert(bytes_equal(root.issuer, root.subject));
    ck_assert(!bytes_equal(leaf.subject, leaf.issuer));
    ck_assert(root.is_authority && middle.is_authority && !leaf.is_authority);
    ck_assert(leaf.is_for_clients && !root.is_for_clients);
    for (int i = 0; i < 3; i++) {
        unload(der[i]);
    }
}

END_TEST

/* Both forms of a date: two digits for the year until 2049, four after it. */
START_TEST(tls_certificate_reads_dates)
{
    struct bytes der[2];
    struct tls_certificate old = read_file("expired.pem", &der[0]);
    struct tls_certificate future = read_file("future.pem", &der[1]);

    ck_assert_int_eq(old.not_before_s, 1577836800);
    ck_assert_int_eq(old.not_after_s, 1609459200);
    ck_assert_int_eq(future.not_before_s, 4070908800);
    ck_assert_int_eq(future.not_after_s, 4073587200);
    unload(der[0]);
    unload(der[1]);
}

END_TEST

/* Kinds of names are counted apart; the purpose must be named, any will not do. */
START_TEST(tls_certificate_reads_extensions)
{
    static const struct {
        const char *file;
        unsigned uri_count;
        unsigned dns_count;
        bool is_for_clients;
    } cases[] = {
        {"uri.pem", 1, 0, true},          {"dns.pem", 0, 1, true},
        {"uri-dns.pem", 1, 2, true},      {"two-uris.pem", 2, 0, true},
        {"ip.pem", 0, 0, true},           {"no-name.pem", 0, 0, true},
        {"no-purpose.pem", 1, 0, false},  {"server-purpose.pem", 1, 0, false},
        {"any-purpose.pem", 1, 0, false}, {"two-purposes.pem", 1, 0, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes der;
        struct tls_certificate certificate = read_file(cases[i].file, &der);

        ck_assert_uint_eq(certificate.uri_count, cases[i].uri_count);
        ck_assert_uint_eq(certificate.dns_count, cases[i].dns_count);
        ck_assert_int_eq(certificate.is_for_clients, cases[i].is_for_clients);
        unload(der);
    }
}

END_TEST

/* Cut anywhere, a certificate or list is none, and nothing behind its end is read. */
START_TEST(tls_certificate_refuses_cut_bytes)
{
    struct bytes whole[2] = {load("uri-dns.pem", "CERTIFICATE"), load("ca.crl", "X509 CRL")};

    for (size_t size = 0; size < whole[0].size; size++) {
        uint8_t *part = malloc(size + 1);
        struct tls_certificate certificate;

        memcpy(part, whole[0].data, size);
        ck_assert_int_eq(tls_certificate_read((struct bytes){part, size}, &certificate), -EBADMSG);
        free(part);
    }
    for (size_t size = 0; size < whole[1].size; size++) {
        uint8_t *part = malloc(size + 1);
        struct tls_crl crl;

        memcpy(part, whole[1].data, size);
        ck_assert_int_eq(tls_crl_read((struct bytes){part, size}, &crl), -EBADMSG);
        free(part);
    }
    unload(whole[0]);
    unload(whole[1]);
}

END_TEST

static void check_changed_bytes(const char *file)
{
    static const uint8_t values[] = {0x00, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff};
    struct bytes whole = load(file, "CERTIFICATE");
    uint8_t *copy = malloc(whole.size);
    unsigned refused = 0;

    for (size_t i = 0; i < whole.size * sizeof(values); i++) {
        struct tls_certificate certificate = {0};
        char identity[TLS_IDENTITY_MAX + 1] = "";

        memcpy(copy, whole.data, whole.size);
        copy[i / sizeof(values)] = values[i % sizeof(values)];
        if (tls_certificate_read((struct bytes){copy, whole.size}, &certificate) != 0) {
            refused++;
        } else if (tls_certificate_identity(&certificate, identity) == NULL) {
            ck_assert_uint_gt(strlen(identity), 4);
        }
    }
    ck_assert_uint_gt(refused, 100);
    free(copy);
    unload(whole);
}

/* Changed anywhere it is refused or read, but never beyond its bytes: what is found lies inside. */
START_TEST(tls_certificate_survives_changed_bytes)
{
    check_changed_bytes("uri-dns.pem");
    check_changed_bytes("uris.pem");
}

END_TEST

/* Lists: issuer, this and next update, and whether a critical extension limits what they say. */
START_TEST(tls_certificate_reads_lists)
{
    struct bytes der[4] = {load("ca.crl", "X509 CRL"), load("stale.crl", "X509 CRL"),
                           load("partial.crl", "X509 CRL"), load("ca.pem", "CERTIFICATE")};
    struct tls_certificate authority;
    struct tls_crl crl;

    ck_assert_int_eq(tls_certificate_read(der[3], &authority), 0);
    ck_assert_int_eq(tls_crl_read(der[0], &crl), 0);
    ck_assert(bytes_equal(crl.issuer, authority.subject));
    ck_assert(crl.has_next_update && !crl.has_critical_extension);
    ck_assert_int_eq(tls_crl_read(der[1], &crl), 0);
    ck_assert_int_eq(crl.this_update_s, 1577836800);
    ck_assert_int_eq(crl.next_update_s, 1580515200);
    ck_assert_int_eq(tls_crl_read(der[2], &crl), 0);
    ck_assert(crl.has_critical_extension);
    for (int i = 0; i < 4; i++) {
        unload(der[i]);
    }
}

END_TEST

/* A list may leave its next update out, and much else. */
START_TEST(tls_certificate_reads_a_list_without_end)
{
    static const uint8_t der[] = "\x30\x1a\x30\x16\x02\x01\x01\x30\x00\x30\x00\x17\x0d"
                                 "200101000000Z"
                                 "\x03\x00";
    struct tls_crl crl = {.has_next_update = true};

    ck_assert_int_eq(tls_crl_read((struct bytes){der, sizeof(der) - 1}, &crl), 0);
    ck_assert(!crl.has_next_update);
    ck_assert(!crl.has_critical_extension);
}

END_TEST

static struct tls_certificate with_names(const char *uri, const char *dns)
{
    return (struct tls_certificate){.uri_count = uri != NULL,
                                    .dns_count = dns != NULL,
                                    .uri = bytes_from_text(uri == NULL ? "" : uri),
                                    .dns = bytes_from_text(dns == NULL ? "" : dns)};
}

/* The URI name goes before the DNS name; the latter becomes lower case, the former stays. */
START_TEST(tls_certificate_names_the_client)
{
    struct tls_certificate certificate = with_names("spiffe://Test/a,b", "Host.Test");
    char identity[TLS_IDENTITY_MAX + 1];

    ck_assert_ptr_null(tls_certificate_identity(&certificate, identity));
    ck_assert_str_eq(identity, "uri:spiffe://Test/a,b");
    certificate = with_names(NULL, "Host-1.Test");
    ck_assert_ptr_null(tls_certificate_identity(&certificate, identity));
    ck_assert_str_eq(identity, "dns:host-1.test");
}

END_TEST

/* Every byte that is not printable ASCII, or a blank, spoils a name; 256 bytes fit, 257 do not. */
START_TEST(tls_certificate_refuses_odd_names)
{
    char identity[TLS_IDENTITY_MAX + 1];
    char name[TLS_IDENTITY_MAX];
    struct tls_certificate certificate = with_names("", NULL);

    ck_assert_ptr_nonnull(tls_certificate_identity(&certificate, identity));
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t odd[] = {'a', (uint8_t)byte, 'b'};

        certificate.uri = (struct bytes){odd, sizeof(odd)};
        ck_assert_int_eq(tls_certificate_identity(&certificate, identity) == NULL,
                         byte > ' ' && byte < 0x7f);
    }
    memset(name, 'x', sizeof(name));
    certificate.uri = (struct bytes){(const uint8_t *)name, 252};
    ck_assert_ptr_null(tls_certificate_identity(&certificate, identity));
    ck_assert_uint_eq(strlen(identity), 256);
    certificate.uri.size = 253;
    ck_assert_ptr_nonnull(tls_certificate_identity(&certificate, identity));
}

END_TEST

/* What an authority may sign, and what is signed with a digest that is broken. */
START_TEST(tls_certificate_tells_what_may_be_signed)
{
    static const struct {
        const char *file;
        bool is_for_others;
        bool limits_uris;
        bool is_weak;
    } cases[] = {
        {"ca.pem", false, false, false},          {"uri.pem", false, false, false},
        {"uris.pem", false, true, false},         {"no-uris.pem", false, true, false},
        {"servers.pem", true, false, false},      {"for-any.pem", false, false, false},
        {"for-clients.pem", false, false, false}, {"weak-ca.pem", false, false, true},
        {"sha1.pem", false, false, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes der;
        struct tls_certificate certificate = read_file(cases[i].file, &der);

        ck_assert(certificate.is_for_others == cases[i].is_for_others);
        ck_assert(certificate.limits_uris == cases[i].limits_uris);
        ck_assert(certificate.is_weak == cases[i].is_weak);
        ck_assert(tls_certificate_may_sign_clients(&certificate) ==
                  (!cases[i].is_for_others && !cases[i].limits_uris));
        unload(der);
    }
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {tls_certificate_reads_names,
                                  tls_certificate_reads_dates,
                                  tls_certificate_reads_extensions,
                                  tls_certificate_refuses_cut_bytes,
                                  tls_certificate_survives_changed_bytes,
                                  tls_certificate_reads_lists,
                                  tls_certificate_reads_a_list_without_end,
                                  tls_certificate_names_the_client,
                                  tls_certificate_refuses_odd_names,
                                  tls_certificate_tells_what_may_be_signed,
                                  NULL};
    int result;

    certs_make(&certs);
    certs_make_clients(&certs);
    result = unit_run("tls_certificate", tests);
    certs_remove(&certs);
    return result;
}
