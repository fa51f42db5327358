#include "lib/certs.h"
#include "lib/unit.h"

#include "core/tls.h"
#include "core/tls_context.h"

#include <errno.h>
#include <stdio.h>

static struct certs certs;
static char problem[TLS_PROBLEM_SIZE];

static int make_server(const char *cert, const char *key)
{
    struct tls_server_options options = {
        .cert_file = cert, .key_file = key, .min_version = TLS_VERSION_1_3};
    struct tls_context *context = NULL;
    int result;

    problem[0] = '\0';
    result = tls_context_new_server(&options, problem, &context);
    tls_context_unref(context);
    return result;
}

static int make_client(const char *ca, const char *cert, const char *key)
{
    struct tls_client_options options = {ca, cert, key};
    struct tls_context *context = NULL;
    int result;

    problem[0] = '\0';
    result = tls_context_new_client(&options, problem, &context);
    tls_context_unref(context);
    return result;
}

/* A pair that belongs together makes a context, for both versions and both roles. */
START_TEST(tls_context_takes_good_files)
{
    struct tls_server_options options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_2};
    struct tls_context *context = NULL;

    ck_assert_int_eq(make_server(certs.cert, certs.key), 0);
    ck_assert_int_eq(tls_context_new_server(&options, problem, &context), 0);
    tls_context_unref(context);
    ck_assert_int_eq(make_client(certs.ca, NULL, NULL), 0);
    ck_assert_int_eq(make_client(certs.ca, certs.cert, certs.key), 0);
    tls_context_unref(NULL);
}

END_TEST

/* A missing file is named together with the system's reason. */
START_TEST(tls_context_names_missing_files)
{
    ck_assert_int_eq(make_server("/no/cert.pem", certs.key), -ENOENT);
    ck_assert_ptr_nonnull(strstr(problem, "certificate file /no/cert.pem"));
    ck_assert_ptr_nonnull(strstr(problem, "No such file"));
    ck_assert_int_eq(make_server(certs.cert, "/no/key.pem"), -ENOENT);
    ck_assert_ptr_nonnull(strstr(problem, "key file /no/key.pem"));
    ck_assert_int_eq(make_client("/no/ca.pem", NULL, NULL), -ENOENT);
    ck_assert_ptr_nonnull(strstr(problem, "CA file /no/ca.pem"));
}

END_TEST

/* A file that is no PEM, or the wrong kind of it, is named. */
START_TEST(tls_context_names_bad_files)
{
    ck_assert_int_eq(make_server(certs.broken, certs.key), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, certs.broken));
    ck_assert_int_eq(make_server(certs.cert, certs.broken), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, certs.broken));
    ck_assert_int_eq(make_server(certs.cert, certs.cert), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, certs.cert));
    ck_assert_int_eq(make_client(certs.broken, NULL, NULL), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, certs.broken));
}

END_TEST

/* A key of another certificate is found at start-up, not at the first handshake. */
START_TEST(tls_context_checks_that_the_pair_belongs_together)
{
    ck_assert_int_eq(make_server(certs.cert, certs.other_key), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, certs.other_key));
    ck_assert_ptr_nonnull(strstr(problem, certs.cert));
    ck_assert_ptr_nonnull(strstr(problem, "does not belong"));
}

END_TEST

/* An encrypted key is refused with the command that helps. */
START_TEST(tls_context_explains_encrypted_keys)
{
    ck_assert_int_eq(make_server(certs.cert, certs.locked_key), -EINVAL);
    ck_assert_ptr_nonnull(strstr(problem, "encrypted"));
    ck_assert_ptr_nonnull(strstr(problem, "openssl pkey"));
}

END_TEST

/* The dates of the own certificate are told. One that is not valid now still makes a context: the
 * caller decides. */
START_TEST(tls_context_tells_dates)
{
    static const struct {
        const char *cert;
        int64_t not_before_s;
        int64_t not_after_s;
    } cases[] = {
        {"old-server.pem", 1577836800, 1609459200},
        {"new-server.pem", 4070908800, 4073587200},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char cert[CERTS_PATH_SIZE];
        char key[CERTS_PATH_SIZE];
        const struct tls_server_options options = {
            .cert_file = certs_client(&certs, cases[i].cert, cert),
            .key_file = certs_client(&certs, "client.key", key),
            .min_version = TLS_VERSION_1_3};
        struct tls_context *context = NULL;

        ck_assert_msg(tls_context_new_server(&options, problem, &context) == 0, "%s", problem);
        ck_assert_int_eq(tls_context_not_before_s(context), cases[i].not_before_s);
        ck_assert_int_eq(tls_context_not_after_s(context), cases[i].not_after_s);
        tls_context_unref(context);
    }
}

END_TEST

/* The text about the library agrees with the answer to "is it fast". */
START_TEST(tls_context_describes_the_library)
{
    ck_assert_ptr_nonnull(strstr(tls_library(), "wolfSSL 5."));
    ck_assert_int_eq(strstr(tls_library(), "(accelerated: ") != NULL, tls_is_accelerated());
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {
        tls_context_takes_good_files,        tls_context_names_missing_files,
        tls_context_names_bad_files,         tls_context_checks_that_the_pair_belongs_together,
        tls_context_explains_encrypted_keys, tls_context_tells_dates,
        tls_context_describes_the_library,   NULL};
    int result;

    certs_make(&certs);
    certs_make_clients(&certs);
    result = unit_run("tls_context", tests);
    certs_remove(&certs);
    return result;
}
