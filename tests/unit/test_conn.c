#include "lib/certs.h"
#include "lib/party.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/conn.h"
#include "core/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct certs certs;
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct loop loop;
static struct party server;
static struct party client;

static void setup(void)
{
    loop_init(&loop);
}

static void setup_tls(const char *ca)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_server_options server_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    struct tls_client_options client_options = {.ca_file = ca};

    setup();
    ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
    ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
}

/* Both ends as conns over a socket pair; TLS when there are contexts. */
static void connect_both(void)
{
    int fds[2];

    sockets_pair(fds);
    party_open(&server, &loop, fds[0], server_context, NULL);
    party_open(&client, &loop, fds[1], client_context, client_context != NULL ? "localhost" : NULL);
}

static void finish(void)
{
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    server_context = NULL;
    client_context = NULL;
    loop_deinit(&loop);
}

static void finish_both(void)
{
    LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
    party_deinit(&server);
    party_deinit(&client);
    finish();
}

static void carry_bytes_both_ways(void)
{
    connect_both();
    party_send(&client, "ping");
    party_send_pattern(&server, 300000);
    LOOP_UNTIL(&loop, party_got(&server, "ping") && buf_size(&client.got) == 300000);
    ck_assert(party_got_pattern(&client, 300000));
    ck_assert_uint_eq(server.opened_count, 1);
    ck_assert_uint_eq(client.opened_count, 1);
    server.close_when_ended = true;
    party_close(&client);
    LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
    ck_assert_int_eq(client.end, CONN_END_LOCAL);
    ck_assert_int_eq(server.end, CONN_END_PEER);
    ck_assert_str_eq(server.detail, "");
    ck_assert_uint_eq(server.ended_count, 1);
    finish_both();
}

/* Plain text: opened at once, bytes both ways, a graceful end that both ends understand. */
START_TEST(conn_carries_plain_bytes)
{
    setup();
    carry_bytes_both_ways();
}

END_TEST

/* The same through TLS. */
START_TEST(conn_carries_tls)
{
    setup_tls(certs.ca);
    carry_bytes_both_ways();
}

END_TEST

/* Callbacks never run inside conn_new(), and bytes that came before it are delivered after
 * `opened`. */
START_TEST(conn_opens_before_it_delivers)
{
    int fds[2];

    setup();
    sockets_pair(fds);
    ck_assert_int_eq(write(fds[1], "early", 5), 5);
    party_open(&server, &loop, fds[0], NULL, NULL);
    LOOP_UNTIL(&loop, buf_size(&server.got) == 5);
    ck_assert(party_got(&server, "early"));
    party_abort(&server);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_ABORTED);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

/* P29: a peer that goes on writing while we close still gets every byte, then a clean end. */
START_TEST(conn_close_delivers_all_while_the_peer_writes)
{
    static char junk[65536];
    struct buf got = {0};
    ssize_t count = 1;
    int fds[2];

    setup();
    sockets_tcp(fds);
    ck_assert_int_eq(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    party_open(&server, &loop, fds[0], NULL, NULL);
    party_send_pattern(&server, 3 * 1024 * 1024);
    server.close_when_sent = true;
    while (count != 0) {
        uint8_t *room = buf_reserve(&got, 65536);

        /* The end may have come in between; then the peer's kernel says EPIPE or resets later. */
        (void)send(fds[1], junk, sizeof(junk), MSG_NOSIGNAL);
        loop_turn(&loop);
        count = recv(fds[1], room, 65536, 0);
        ck_assert(count >= 0 || errno == EAGAIN);
        if (count > 0) {
            buf_commit(&got, (size_t)count);
        }
    }
    ck_assert_uint_eq(buf_size(&got), 3 * 1024 * 1024);
    ck_assert_ptr_nonnull(server.conn); /* lingering: it waits for our end */
    ck_assert_int_eq(close(fds[1]), 0);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_LOCAL);
    buf_deinit(&got);
    party_deinit(&server);
    finish();
}

END_TEST

/* A peer that shut its writing side still gets what there is to say: `ended` is no end of ours. */
START_TEST(conn_sends_on_after_the_peer_ended)
{
    static const size_t size = 1024 * 1024;

    for (int with_tls = 0; with_tls < 2; with_tls++) {
        if (with_tls) {
            setup_tls(certs.ca);
        } else {
            setup();
        }
        connect_both();
        LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
        party_send_pattern(&server, size);
        server.close_when_sent = true;
        LOOP_UNTIL(&loop, buf_size(&client.got) == size);
        ck_assert(party_got_pattern(&client, size));
        LOOP_UNTIL(&loop, client.ended_count == 1);
        party_send_pattern(&client, size);
        client.close_when_sent = true;
        LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
        ck_assert_int_eq(server.end, CONN_END_LOCAL);
        ck_assert_int_eq(client.end, CONN_END_PEER);
        finish_both();
    }
}

END_TEST

/* The peer's process is gone without close_notify: `ended`, and the reason is the peer. */
START_TEST(conn_takes_a_missing_close_notify)
{
    setup_tls(certs.ca);
    connect_both();
    server.close_when_ended = true;
    LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
    party_abort(&client);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_uint_eq(server.ended_count, 1);
    ck_assert_int_eq(server.end, CONN_END_PEER);
    ck_assert_int_eq(client.end, CONN_END_ABORTED);
    finish_both();
}

END_TEST

/* A peer that connects and goes, as a probe does, was never opened and is no error. */
START_TEST(conn_takes_a_probe)
{
    int fds[2];

    setup_tls(certs.ca);
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], server_context, NULL);
    ck_assert_int_eq(close(fds[1]), 0);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_PEER);
    ck_assert_uint_eq(server.opened_count + server.ended_count, 0);
    party_deinit(&server);
    finish();
}

END_TEST

/* After our end the peer's is awaited for linger_timeout and no longer. */
START_TEST(conn_lingers_for_a_limited_time)
{
    int fds[2];
    char byte;

    setup();
    loop.settings.linger_timeout_ns = 20 * CLOCK_NS_PER_MS;
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    party_close(&server);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_TIMEOUT);
    ck_assert_int_eq(read(fds[1], &byte, 1), 0);
    ck_assert_int_eq(close(fds[1]), 0);
    party_deinit(&server);
    finish();
}

END_TEST

/* A peer that does not shake hands is dropped in time, whether it says nothing or a part. */
START_TEST(conn_limits_the_handshake)
{
    for (int i = 0; i < 2; i++) {
        int fds[2];

        setup_tls(certs.ca);
        loop.settings.handshake_timeout_ns = 20 * CLOCK_NS_PER_MS;
        sockets_pair(fds);
        party_open(&server, &loop, fds[0], server_context, NULL);
        if (i == 1) {
            ck_assert_int_eq(write(fds[1], "\x16\x03\x01\x02", 4), 4);
        }
        LOOP_UNTIL(&loop, server.conn == NULL);
        ck_assert_int_eq(server.end, CONN_END_TIMEOUT);
        ck_assert_ptr_nonnull(strstr(server.detail, "handshake"));
        ck_assert_uint_eq(server.opened_count, 0);
        ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_TLS_TIMEOUT], 1);
        party_deinit(&server);
        ck_assert_int_eq(close(fds[1]), 0);
        finish();
    }
}

END_TEST

/* Plain HTTP on a TLS port ends at once, with a word for the log. */
START_TEST(conn_refuses_what_is_not_tls)
{
    char byte;
    int fds[2];

    setup_tls(certs.ca);
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], server_context, NULL);
    ck_assert_int_eq(write(fds[1], "G", 1), 1);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_TLS);
    ck_assert_str_eq(server.detail, "not TLS");
    ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_TLS_RECORDS], 0);
    ck_assert_int_eq(read(fds[1], &byte, 1), 0);
    ck_assert_int_eq(close(fds[1]), 0);
    party_deinit(&server);
    finish();
}

END_TEST

/* TLS records that no honest peer sends end it too, and are counted. */
START_TEST(conn_counts_impossible_records)
{
    int fds[2];

    setup_tls(certs.ca);
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], server_context, NULL);
    ck_assert_int_eq(write(fds[1], "\x16\x03\x01\xff\xff", 5), 5);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_TLS);
    ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_TLS_RECORDS], 1);
    ck_assert_int_eq(close(fds[1]), 0);
    party_deinit(&server);
    finish();
}

END_TEST

/* The name in a client's certificate is known once the connection is open; without certificate, and
 * without TLS, there is none. */
START_TEST(conn_knows_its_peer)
{
    char cert[CERTS_PATH_SIZE];
    char key[CERTS_PATH_SIZE];
    char ca[CERTS_PATH_SIZE];
    char problem[TLS_PROBLEM_SIZE];
    const struct tls_server_options server_options = {.cert_file = certs.cert,
                                                      .key_file = certs.key,
                                                      .min_version = TLS_VERSION_1_3,
                                                      .client_auth = TLS_CLIENT_AUTH_OPTIONAL,
                                                      .client_ca_file =
                                                          certs_client(&certs, "ca.pem", ca)};
    const struct tls_client_options client_options = {
        .ca_file = certs.ca,
        .cert_file = certs_client(&certs, "uri.pem", cert),
        .key_file = certs_client(&certs, "client.key", key)};

    for (int i = 0; i < 3; i++) {
        setup_tls(certs.ca);
        if (i == 0) {
            tls_context_unref(client_context);
            ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
        }
        tls_context_unref(server_context);
        ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
        if (i == 2) {
            tls_context_unref(server_context);
            tls_context_unref(client_context);
            server_context = NULL;
            client_context = NULL;
        }
        connect_both();
        LOOP_UNTIL(&loop, server.opened_count == 1);
        if (i == 0) {
            ck_assert_str_eq(conn_peer_identity(server.conn), "uri:spiffe://test/client");
        } else {
            ck_assert_ptr_null(conn_peer_identity(server.conn));
        }
        ck_assert_ptr_null(conn_peer_identity(client.conn));
        party_abort(&server);
        party_abort(&client);
        finish_both();
    }
}

END_TEST

/* A client that does not trust the certificate ends, and its alert reaches the server. */
START_TEST(conn_sends_the_alert_of_a_failed_handshake)
{
    setup_tls(certs.other_ca);
    connect_both();
    LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
    ck_assert_int_eq(client.end, CONN_END_TLS);
    ck_assert_int_eq(server.end, CONN_END_TLS);
    ck_assert_ptr_nonnull(strstr(server.detail, "alert"));
    ck_assert_uint_eq(server.opened_count + client.opened_count, 0);
    finish_both();
}

END_TEST

/* Runs `openssl s_client` against a server conn until that is closed: an option with its value, and
 * maybe one without. */
static void meet_openssl(const char *option, const char *value, const char *flag)
{
    int fds[2];
    char port[8];
    pid_t pid;
    int status;
    struct sockaddr_storage address;
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address = (struct sockaddr_storage){.ss_family = AF_INET};
    ck_assert_int_eq(bind(listener, any, sizeof(struct sockaddr_in)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, any, &size), 0);
    (void)snprintf(port, sizeof(port), "%u",
                   ntohs(((struct sockaddr_in *)(void *)&address)->sin_port));
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0); /* never written: s_client waits on it */
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        (void)dup2(fds[0], STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execlp("openssl", "openssl", "s_client", "-host", "127.0.0.1", "-port", port, option,
                     value, flag, (char *)NULL);
        _exit(127);
    }
    party_open(&server, &loop, accept4(listener, NULL, NULL, SOCK_CLOEXEC), server_context, NULL);
    server.close_when_ended = true;
    server.script_at = PARTY_OPENED;
    server.script = party_close;
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
    ck_assert_int_eq(close(listener), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* A foreign client with ALPN h2 is opened and gets a clean end. */
START_TEST(conn_meets_a_foreign_client)
{
    setup_tls(certs.ca);
    meet_openssl("-alpn", "h2", NULL);
    ck_assert_int_eq(server.end, CONN_END_LOCAL);
    ck_assert_str_eq(server.detail, "");
    party_deinit(&server);
    finish();
}

END_TEST

/* A client that offers only http/1.1, or no ALPN at all, is refused (P32). */
START_TEST(conn_refuses_clients_without_h2)
{
    setup_tls(certs.ca);
    meet_openssl("-alpn", "http/1.1", NULL);
    ck_assert_int_eq(server.end, CONN_END_TLS);
    ck_assert_uint_eq(server.opened_count, 0);
    party_deinit(&server);
    meet_openssl("-servername", "localhost", NULL);
    ck_assert_int_eq(server.end, CONN_END_TLS);
    ck_assert_str_eq(server.detail, "no ALPN h2");
    ck_assert_uint_eq(server.opened_count, 0);
    party_deinit(&server);
    finish();
}

END_TEST

/* TLS 1.2 is spoken where it is allowed, and only there. */
START_TEST(conn_keeps_the_minimal_version)
{
    static const enum tls_version versions[] = {TLS_VERSION_1_2, TLS_VERSION_1_3};

    static const enum conn_end ends[] = {CONN_END_LOCAL, CONN_END_TLS};

    char problem[TLS_PROBLEM_SIZE];

    for (int i = 0; i < 2; i++) {
        struct tls_server_options options = {
            .cert_file = certs.cert, .key_file = certs.key, .min_version = versions[i]};

        setup();
        ck_assert_int_eq(tls_context_new_server(&options, problem, &server_context), 0);
        meet_openssl("-alpn", "h2", "-tls1_2");
        ck_assert_int_eq(server.end, ends[i]);
        party_deinit(&server);
        finish();
    }
}

END_TEST

/* How long sent bytes may stay unacknowledged, as the kernel has it. */
static unsigned user_timeout_of(int fd)
{
    unsigned value = 0;
    socklen_t size = sizeof(value);

    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    return value;
}

/* A peer whose machine takes nothing any more is given up by the kernel, which is told how long to
 * wait (K10), and that is counted; without a limit the kernel has its own. Where a send is in
 * flight meanwhile it may look as if the peer had gone. */
START_TEST(conn_is_given_up_by_the_kernel)
{
    const int small = 4096;
    const int large = 1048576;
    int fds[2];

    setup();
    sockets_tcp(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    ck_assert_uint_eq(user_timeout_of(fds[0]), 0);
    party_abort(&server);
    LOOP_UNTIL(&loop, server.conn == NULL);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);

    loop.settings.user_timeout_ns = 100 * CLOCK_NS_PER_MS;
    sockets_tcp(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    ck_assert_uint_eq(user_timeout_of(fds[0]), 100);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
    ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    party_send_pattern(&server, 200000); /* more than the peer's socket holds, and less than both */
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_ERROR);
    ck_assert_str_eq(server.detail, "nothing acknowledged for keepalive.timeout_s");
    ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_KEEPALIVE], 1);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);

    sockets_tcp(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    party_send_pattern(&server, 16 * 1048576); /* more than both hold */
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_SEND_TIMEOUT], 0);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

/* The last time that the peer was heard moves with every byte, and with the owner's own pauses. */
START_TEST(conn_knows_when_its_peer_was_heard)
{
    uint64_t heard_ns;

    setup();
    connect_both();
    LOOP_UNTIL(&loop, server.opened_count == 1);
    heard_ns = conn_heard_ns(server.conn);
    loop_turn(&loop);
    ck_assert_uint_eq(conn_heard_ns(server.conn), heard_ns);
    party_send(&client, "x");
    LOOP_UNTIL(&loop, party_got(&server, "x"));
    ck_assert_uint_gt(conn_heard_ns(server.conn), heard_ns);
    conn_pause(server.conn);
    loop_turn(&loop);
    ck_assert_uint_eq(conn_heard_ns(server.conn), loop.reactor.now_ns);
    heard_ns = loop.reactor.now_ns;
    conn_resume(server.conn);
    loop_turn(&loop);
    ck_assert_uint_eq(conn_heard_ns(server.conn), heard_ns);
    party_close(&client);
    party_close(&server);
    finish_both();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {conn_carries_plain_bytes,
                                  conn_carries_tls,
                                  conn_opens_before_it_delivers,
                                  conn_close_delivers_all_while_the_peer_writes,
                                  conn_sends_on_after_the_peer_ended,
                                  conn_takes_a_missing_close_notify,
                                  conn_takes_a_probe,
                                  conn_lingers_for_a_limited_time,
                                  conn_limits_the_handshake,
                                  conn_refuses_what_is_not_tls,
                                  conn_counts_impossible_records,
                                  conn_knows_its_peer,
                                  conn_sends_the_alert_of_a_failed_handshake,
                                  conn_meets_a_foreign_client,
                                  conn_refuses_clients_without_h2,
                                  conn_keeps_the_minimal_version,
                                  conn_is_given_up_by_the_kernel,
                                  conn_knows_when_its_peer_was_heard,
                                  NULL};
    int result;

    certs_make(&certs);
    certs_make_clients(&certs);
    result = unit_run("conn", tests);
    certs_remove(&certs);
    return result;
}
