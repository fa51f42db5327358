#include "transport_rig.h"

/* A refused connection says so, and what was to be reached by which address. */
START_TEST(transport_reports_refused_connections)
{
    begin_reactor();
    connect_to(dead_address());
    ck_assert_uint_eq(closed_count, 0);
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CONNECT);
    ck_assert_ptr_nonnull(strstr(closed_problem, "cannot connect to " NAME_IN_TEXT));
    ck_assert_ptr_nonnull(strstr(closed_problem, "Connection refused"));
    ck_assert_uint_eq(ready_count, 0);
    end();
}

END_TEST

/* An address that no socket can be made for is told from the loop, too. */
START_TEST(transport_reports_impossible_addresses)
{
    struct target_address address = loopback_address(1);

    begin_reactor();
    address.address.ss_family = AF_MAX;
    connect_to(address);
    ck_assert_uint_eq(closed_count, 0);
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CONNECT);
    end();
}

END_TEST

/* A server whose queue of connections is full lets TCP wait, one that accepts and says nothing the
 * HTTP/2 session: neither for ever. */
START_TEST(transport_gives_up_connecting)
{
    static const char *const texts[] = {"timed out", "did not answer in HTTP/2 within"};

    for (int accepts = 0; accepts < 2; accepts++) {
        struct transport_options options = plain_options();
        struct target_address address;
        int port;
        int listener = open_socket(accepts == 0 ? 0 : 8, &port);
        int fillers[4];

        begin_reactor();
        address = loopback_address(port);
        for (int i = 0; i < 4; i++) {
            fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            ck_assert_int_ge(fillers[i], 0);
            if (accepts == 0) {
                (void)connect(fillers[i], (struct sockaddr *)&address.address, address.size);
            }
        }
        options.connect_timeout_ns = 50 * CLOCK_NS_PER_MS;
        connect_with(&options, &address);
        wait_until_closed();
        ck_assert_int_eq(closed_cause, CALL_CAUSE_CONNECT);
        ck_assert_msg(strstr(closed_problem, texts[accepts]) != NULL, "%s", closed_problem);
        ck_assert_ptr_nonnull(strstr(closed_problem, NAME_IN_TEXT));
        for (int i = 0; i < 4; i++) {
            (void)close(fillers[i]);
        }
        (void)close(listener);
        end();
    }
}

END_TEST

/* The same over TLS, with the certificate checked. */
START_TEST(transport_calls_over_tls)
{
    make_tls(certs.ca);
    begin_ready();
    expect_echo(0);
    expect_echo(1);
    end();
}

END_TEST

/* A certificate that nobody we trust has signed, or for another name, is a failure of TLS, told in
 * words. */
START_TEST(transport_refuses_foreign_certificates)
{
    for (int is_name = 0; is_name < 2; is_name++) {
        struct transport_options options = plain_options();

        make_tls(is_name == 1 ? certs.ca : certs.other_ca);
        options.tls = client_tls;
        options.server_name = is_name == 1 ? "elsewhere.example" : "localhost";
        begin_with(&options);
        wait_until_closed();
        ck_assert_int_eq(closed_cause, CALL_CAUSE_TLS);
        ck_assert_msg(strstr(closed_problem, "TLS failed: ") != NULL, "%s", closed_problem);
        ck_assert_ptr_nonnull(strstr(closed_problem, NAME_IN_TEXT));
        end();
    }
}

END_TEST

/* A server that does not speak TLS is one too; a server that wants it and gets none ends the
 * connection before it was READY. */
START_TEST(transport_needs_tls_on_both_sides)
{
    struct tls_context *kept;

    make_tls(certs.ca);
    kept = server_tls;
    server_tls = NULL;
    begin();
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_TLS);
    end();

    server_tls = kept;
    begin();
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_CONNECT);
    ck_assert_msg(strstr(closed_problem, "does the server want TLS?") != NULL, "%s",
                  closed_problem);
    ck_assert_uint_eq(ready_count, 0);
    end();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {
        transport_reports_refused_connections,
        transport_reports_impossible_addresses,
        transport_gives_up_connecting,
        transport_calls_over_tls,
        transport_refuses_foreign_certificates,
        transport_needs_tls_on_both_sides,
        NULL,
    };
    int result;

    certs_make(&certs);
    result = unit_run("transport_connect", tests);
    certs_remove(&certs);
    return result;
}
