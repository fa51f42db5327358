#include "lib/certs.h"
#include "lib/party.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/conn_internal.h"
#include "core/tls.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct certs certs;
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct loop loop;
static struct party server;
static struct party client;

static void setup_tls(void)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_server_options server_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    struct tls_client_options client_options = {.ca_file = certs.ca};

    ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
    ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
}

static void finish(void)
{
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    server_context = NULL;
    client_context = NULL;
    loop_deinit(&loop);
}

/* A peer that stops reading is dropped after send_timeout; what waits is bounded meanwhile. */
START_TEST(conn_send_gives_up_on_a_stuck_peer)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        int fds[2];

        loop_init(&loop);
        loop.settings.send_timeout_ns = 30 * CLOCK_NS_PER_MS;
        sockets_pair(fds);
        if (with_tls) {
            setup_tls();
            party_open(&client, &loop, fds[1], client_context, "localhost");
        }
        party_open(&server, &loop, fds[0], server_context, NULL);
        if (with_tls) {
            LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
            conn_pause(client.conn);
        }
        party_send_pattern(&server, 8 * 1024 * 1024);
        while (server.conn != NULL) {
            /* Plain and sealed bytes of one flush each, and one chunk of the owner on top. */
            ck_assert_uint_le(conn_unsent_size(server.conn), 2 * (65536 + 1000 + 500));
            loop_turn(&loop);
        }
        ck_assert_int_eq(server.end, CONN_END_TIMEOUT);
        ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_SEND_TIMEOUT], 1);
        ck_assert_str_eq(server.detail, "the peer does not read");
        party_deinit(&server);
        if (with_tls) {
            party_abort(&client);
            LOOP_UNTIL(&loop, client.conn == NULL);
            party_deinit(&client);
        } else {
            ck_assert_int_eq(close(fds[1]), 0);
        }
        finish();
    }
}

END_TEST

/* Whether a buffer has it, in its content or beside it. */
static bool holds(const struct buf *buf, const char *text)
{
    return buf->data != NULL && memmem(buf->data, buf->capacity, text, strlen(text)) != NULL;
}

/* What was sent is left in no buffer of a conn whose output is secret, with TLS and without. */
START_TEST(conn_send_wipes_what_is_secret)
{
    static const char secret[] = "correct horse battery staple";

    for (int with_tls = 0; with_tls < 2; with_tls++) {
        for (int is_secret = 0; is_secret < 2; is_secret++) {
            int fds[2];

            loop_init(&loop);
            loop.settings.is_output_secret = is_secret != 0;
            sockets_pair(fds);
            if (with_tls) {
                setup_tls();
            }
            party_open(&server, &loop, fds[0], server_context, NULL);
            party_open(&client, &loop, fds[1], client_context, with_tls ? "localhost" : NULL);
            LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
            party_send(&client, secret);
            LOOP_UNTIL(&loop,
                       buf_size(&server.got) == strlen(secret) && !client.conn->send_op.pending);
            /* Their memory is kept a while. */
            ck_assert(client.conn->output.data != NULL || client.conn->sending.data != NULL);
            ck_assert((holds(&client.conn->output, secret) ||
                       holds(&client.conn->sending, secret)) == (is_secret == 0));
            party_abort(&client);
            party_abort(&server);
            LOOP_UNTIL(&loop, client.conn == NULL && server.conn == NULL);
            party_deinit(&client);
            party_deinit(&server);
            finish();
        }
    }
}

END_TEST

/* A clock that stands still unless it is moved. */
static uint64_t fake_ns = CLOCK_NS_PER_S;

static uint64_t read_fake_clock(struct clock_source *source)
{
    (void)source;
    return fake_ns;
}

/* The time limit is that of the send in flight, not of the one before nor of a whole second. */
START_TEST(conn_send_measures_each_send)
{
    static struct clock_source fake_clock = {read_fake_clock, read_fake_clock};
    uint8_t got[8];
    int fds[2];

    loop_init(&loop);
    loop.reactor.clock = &fake_clock;
    loop.settings.send_timeout_ns = 25 * CLOCK_NS_PER_S / 10;
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    party_send(&server, "first");
    LOOP_UNTIL(&loop, recv(fds[1], got, sizeof(got), MSG_DONTWAIT) == 5);
    fake_ns += 9 * CLOCK_NS_PER_S / 10;
    party_send_pattern(&server, 8 * 1024 * 1024);
    LOOP_UNTIL(&loop, server.conn->send_op.pending && buf_size(&server.conn->sending) == 65536);
    for (int i = 0; i < 50; i++) {
        loop_turn(&loop);
    }
    ck_assert(server.conn->send_op.pending); /* stuck: the peer does not read */
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_nonnull(server.conn);
        fake_ns += 8 * CLOCK_NS_PER_S / 10;
        loop_turn(&loop);
        loop_turn(&loop);
    }
    ck_assert_ptr_nonnull(server.conn);
    fake_ns += 2 * CLOCK_NS_PER_S / 10;
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_TIMEOUT);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

static void overfill(struct party *party)
{
    struct buf *output = conn_output(party->conn);

    ck_assert_int_eq(buf_append(output, buf_bytes(&party->to_send).data, buf_size(&party->to_send)),
                     0);
    buf_clear(&party->to_send);
    ck_assert(!conn_has_room(party->conn));
}

/* An output far beyond what one flush takes is sent in pieces, in order. */
START_TEST(conn_send_cuts_a_large_output)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        int fds[2];

        loop_init(&loop);
        sockets_pair(fds);
        if (with_tls) {
            setup_tls();
        }
        party_open(&server, &loop, fds[0], server_context, NULL);
        party_open(&client, &loop, fds[1], client_context, with_tls ? "localhost" : NULL);
        server.script_at = PARTY_DRAIN;
        server.script = overfill;
        party_send_pattern(&server, 1024 * 1024);
        client.close_when_ended = true;
        server.close_when_sent = true;
        LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
        ck_assert(party_got_pattern(&client, 1024 * 1024));
        ck_assert_int_eq(server.end, CONN_END_LOCAL);
        party_deinit(&server);
        party_deinit(&client);
        finish();
    }
}

END_TEST

/* While a send is in flight nobody is asked for more, however often the conn is touched. */
START_TEST(conn_send_asks_nobody_while_in_flight)
{
    unsigned drains;
    int fds[2];

    loop_init(&loop);
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    LOOP_UNTIL(&loop, server.opened_count == 1);
    party_send_pattern(&server, 8 * 1024 * 1024);
    for (int i = 0; i < 50; i++) {
        loop_turn(&loop);
    }
    ck_assert(server.conn->send_op.pending); /* stuck: the peer does not read */
    drains = server.drain_count;
    for (int i = 0; i < 5; i++) {
        conn_touch(server.conn);
        loop_turn(&loop);
    }
    ck_assert_uint_eq(server.drain_count, drains);
    party_abort(&server);
    LOOP_UNTIL(&loop, server.conn == NULL);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

/* Many touches in one turn, with many small appends, are one drain and one send. */
START_TEST(conn_send_flushes_once_per_turn)
{
    uint8_t got[64];
    unsigned drains;
    int fds[2];

    loop_init(&loop);
    sockets_pair(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    LOOP_UNTIL(&loop, server.opened_count == 1);
    loop_turn(&loop);
    drains = server.drain_count;
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(buf_append(conn_output(server.conn), "abcd", 4), 0);
        conn_touch(server.conn);
    }
    loop_turn(&loop);
    ck_assert_uint_eq(server.drain_count, drains + 1);
    LOOP_UNTIL(&loop, recv(fds[1], got, sizeof(got), MSG_DONTWAIT | MSG_PEEK) == 40);
    party_abort(&server);
    LOOP_UNTIL(&loop, server.conn == NULL);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

/* When the peer answers and resets while we still send, its answer is delivered first. */
START_TEST(conn_send_reads_the_last_words_of_a_gone_peer)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fds[2];

    loop_init(&loop);
    sockets_tcp(fds);
    party_open(&server, &loop, fds[0], NULL, NULL);
    LOOP_UNTIL(&loop, server.opened_count == 1);
    party_send_pattern(&server, 16 * 1024 * 1024);
    LOOP_UNTIL(&loop, server.conn->send_op.pending);
    ck_assert_int_eq(write(fds[1], "bye", 3), 3);
    ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    ck_assert_int_eq(close(fds[1]), 0);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert(party_got(&server, "bye"));
    ck_assert_int_eq(server.end, CONN_END_PEER);
    party_deinit(&server);
    finish();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {conn_send_gives_up_on_a_stuck_peer,
                                  conn_send_measures_each_send,
                                  conn_send_cuts_a_large_output,
                                  conn_send_asks_nobody_while_in_flight,
                                  conn_send_flushes_once_per_turn,
                                  conn_send_wipes_what_is_secret,
                                  conn_send_reads_the_last_words_of_a_gone_peer,
                                  NULL};
    int result;

    certs_make(&certs);
    result = unit_run("conn_send", tests);
    certs_remove(&certs);
    return result;
}
