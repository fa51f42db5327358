#include "lib/certs.h"
#include "lib/party.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/conn_internal.h"
#include "core/tls.h"

#include <sys/socket.h>
#include <unistd.h>

#define SIZE (1024 * 1024)

static struct certs certs;
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct loop loop;
static struct party server;
static struct party client;

static void setup(bool with_tls)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_server_options server_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    struct tls_client_options client_options = {.ca_file = certs.ca};
    int fds[2];

    loop_init(&loop);
    sockets_pair(fds);
    if (with_tls) {
        ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
        ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
    }
    party_open(&server, &loop, fds[0], server_context, NULL);
    party_open(&client, &loop, fds[1], client_context, with_tls ? "localhost" : NULL);
}

static void finish(void)
{
    server.close_when_ended = true;
    if (client.conn != NULL && !client.silenced) {
        party_close(&client);
    }
    LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
    party_deinit(&server);
    party_deinit(&client);
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    server_context = NULL;
    client_context = NULL;
    loop_deinit(&loop);
}

static void pause_again(struct party *party)
{
    conn_pause(party->conn);
    party->script_at = PARTY_RECEIVED;
}

/* An owner that pauses inside every delivery, and resumes later, gets every byte in order, and
 * never more at once than a record has. */
START_TEST(conn_receive_pauses_inside_every_delivery)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        unsigned pauses = 0;
        size_t delivered = 0;

        setup(with_tls);
        server.script_at = PARTY_RECEIVED;
        server.script = pause_again;
        party_send_pattern(&client, SIZE);
        while (buf_size(&server.got) < SIZE) {
            loop_turn(&loop);
            if (conn_is_paused(server.conn)) {
                size_t before = buf_size(&server.got);

                ck_assert_uint_le(before - delivered, TLS_PLAIN_MAX);
                delivered = before;
                loop_turn(&loop);
                ck_assert_uint_eq(buf_size(&server.got), before);
                conn_resume(server.conn);
                ck_assert_uint_eq(buf_size(&server.got), before);
                pauses++;
            }
        }
        ck_assert(party_got_pattern(&server, SIZE));
        ck_assert_uint_gt(pauses, 3);
        conn_resume(server.conn);
        server.script_at = PARTY_NOWHERE;
        finish();
    }
}

END_TEST

/* Pausing and resuming at odd moments, also twice in a turn, loses and repeats nothing. */
START_TEST(conn_receive_pauses_at_random)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        unsigned seed = 12345;

        setup(with_tls);
        LOOP_UNTIL(&loop, server.opened_count == 1);
        party_send_pattern(&client, SIZE);
        while (buf_size(&server.got) < SIZE) {
            seed = seed * 1103515245 + 12345;
            if ((seed >> 16) % 3 != 0) {
                conn_pause(server.conn);
            }
            if ((seed >> 18) % 3 != 0) {
                conn_resume(server.conn);
            }
            if ((seed >> 20) % 7 == 0) {
                conn_pause(server.conn);
            }
            loop_turn(&loop);
        }
        ck_assert(party_got_pattern(&server, SIZE));
        conn_resume(server.conn);
        finish();
    }
}

END_TEST

static void pause_now(struct party *party)
{
    conn_pause(party->conn);
}

/* A pause inside `opened`, or before it, holds back the first byte but not the handshake. */
START_TEST(conn_receive_pauses_before_the_first_byte)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        for (int early = 0; early < 2; early++) {
            setup(with_tls);
            if (early) {
                conn_pause(server.conn);
            } else {
                server.script_at = PARTY_OPENED;
                server.script = pause_now;
            }
            party_send(&client, "first");
            LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
            for (int i = 0; i < 3; i++) {
                loop_turn(&loop);
            }
            ck_assert_uint_eq(buf_size(&server.got), 0);
            conn_resume(server.conn);
            LOOP_UNTIL(&loop, buf_size(&server.got) == 5);
            ck_assert(party_got(&server, "first"));
            finish();
        }
    }
}

END_TEST

/* A resume before the handshake is over is no reason to hold its bytes back. */
START_TEST(conn_receive_resumes_before_the_handshake)
{
    setup(true);
    conn_pause(server.conn);
    conn_resume(server.conn);
    party_send(&client, "first");
    LOOP_UNTIL(&loop, party_got(&server, "first"));
    finish();
}

END_TEST

/* What a paused conn keeps is bounded: it stops receiving, and the peer's sending comes to rest.
 * So it does when it is paused once more. */
START_TEST(conn_receive_stops_while_paused)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        setup(with_tls);
        LOOP_UNTIL(&loop, server.opened_count == 1 && client.opened_count == 1);
        for (int round = 0; round < 2; round++) {
            conn_pause(server.conn);
            LOOP_UNTIL(&loop, !server.conn->recv_op.pending);
            party_send_pattern(&client, 4 * SIZE);
            LOOP_UNTIL(&loop, client.conn->send_op.pending);
            for (int i = 0; i < 10; i++) {
                loop_turn(&loop);
            }
            ck_assert_uint_eq(buf_size(&server.conn->held), 0);
            ck_assert_uint_gt(buf_size(&client.to_send), 0);
            conn_resume(server.conn);
            LOOP_UNTIL(&loop, buf_size(&server.got) == 4 * SIZE);
            ck_assert(party_got_pattern(&server, 4 * SIZE));
            buf_clear(&server.got);
        }
        finish();
    }
}

END_TEST

/* Bytes that complete between the resume and the delivery of what was held come after that. */
START_TEST(conn_receive_keeps_order_around_a_resume)
{
    struct ring_event event = {.result = 4, .more = true, .bytes = (const uint8_t *)"late"};

    setup(false);
    LOOP_UNTIL(&loop, server.opened_count == 1);
    conn_pause(server.conn);
    party_send(&client, "held ");
    LOOP_UNTIL(&loop, buf_size(&server.conn->held) > 0 || !server.conn->recv_op.pending);
    if (buf_size(&server.conn->held) == 0) {
        ck_assert_int_eq(buf_append(&server.conn->held, "held ", 5), 0); /* the cancel was first */
    }
    conn_resume(server.conn);
    conn_on_recv(&server.conn->recv_op, &event);
    ck_assert_uint_eq(buf_size(&server.got), 0);
    loop_turn(&loop);
    ck_assert(
        bytes_equal((struct bytes){buf_bytes(&server.got).data, 9}, BYTES_LITERAL("held late")));
    finish();
}

END_TEST

/* The peer's end is told after the last held byte, not before. */
START_TEST(conn_receive_tells_the_end_last)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        setup(with_tls);
        server.script_at = PARTY_RECEIVED;
        server.script = pause_now;
        party_send_pattern(&client, 20000);
        client.close_when_sent = true;
        server.close_when_ended = true;
        LOOP_UNTIL(&loop, conn_is_paused(server.conn));
        for (int i = 0; i < 5; i++) {
            loop_turn(&loop);
        }
        ck_assert_uint_eq(server.ended_count, 0);
        conn_resume(server.conn);
        LOOP_UNTIL(&loop, server.ended_count == 1);
        ck_assert(party_got_pattern(&server, 20000));
        finish();
    }
}

END_TEST

static void end_both(struct party *party)
{
    party_close(party);
}

/* Closing inside a delivery drops the rest, and the bytes being delivered stay valid. */
START_TEST(conn_receive_drops_after_close)
{
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        for (int held = 0; held < 2; held++) {
            setup(with_tls);
            if (held) {
                conn_pause(server.conn);
            }
            server.script_at = PARTY_RECEIVED;
            server.script = end_both;
            client.close_when_ended = true;
            party_send_pattern(&client, 100000);
            LOOP_UNTIL(&loop, client.opened_count == 1 && server.opened_count == 1);
            loop_turn(&loop);
            if (held) {
                conn_resume(server.conn);
            }
            LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
            ck_assert_uint_eq(server.received_count, 1);
            ck_assert_int_eq(server.end, CONN_END_LOCAL);
            finish();
        }
    }
}

END_TEST

static size_t buffers_size(const struct conn *conn)
{
    return conn->output.capacity + conn->cipher.capacity + conn->sending.capacity +
           conn->held.capacity;
}

/* The system's clock, moved forward. */
static uint64_t moved_ns;

static uint64_t read_moved_clock(struct clock_source *source)
{
    (void)source;
    return clock_monotonic_ns(clock_system()) + moved_ns;
}

/* A busy conn keeps its buffers from flush to flush, within bounds, and an idle one holds none. */
START_TEST(conn_receive_keeps_nothing_when_idle)
{
    static struct clock_source moved_clock = {read_moved_clock, read_moved_clock};

    for (int with_tls = 0; with_tls < 2; with_tls++) {
        setup(with_tls);
        loop.reactor.clock = &moved_clock;
        party_send_pattern(&client, SIZE);
        party_send_pattern(&server, SIZE);
        LOOP_UNTIL(&loop, buf_size(&server.got) == SIZE && buf_size(&client.got) == SIZE);
        for (int i = 0; i < 3; i++) {
            loop_turn(&loop);
        }
        ck_assert_uint_ge(buffers_size(server.conn), loop.settings.flush_bytes_max);
        ck_assert_uint_le(buffers_size(server.conn), 3 * 2 * loop.settings.flush_bytes_max);
        moved_ns += 2 * CLOCK_NS_PER_S;
        loop_turn(&loop);
        ck_assert_uint_eq(buffers_size(server.conn), 0);
        ck_assert(!timer_is_armed(&server.conn->send_timer));
        party_send_pattern(&server, 5); /* and goes on as before */
        LOOP_UNTIL(&loop, buf_size(&client.got) == SIZE + 5);
        finish();
    }
}

END_TEST

#define GREEDY_COUNT 4

/* Peers that send more than the ring's whole pool of buffers in every turn do not keep the others
 * from receiving. */
START_TEST(conn_receive_lets_everybody_have_a_buffer)
{
    static uint8_t much[64 * 1024];
    const int room = 1024 * 1024; /* twice the pool of the test's ring, when the kernel grants it */
    struct party greedy[GREEDY_COUNT] = {0};
    int peers[GREEDY_COUNT];
    int fds[2];

    setup(false);
    for (int i = 0; i < GREEDY_COUNT; i++) {
        sockets_pair(fds);
        party_open(&greedy[i], &loop, fds[0], NULL, NULL);
        peers[i] = fds[1];
        ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    }
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < GREEDY_COUNT; i++) {
            while (send(peers[i], much, sizeof(much), MSG_DONTWAIT) > 0) {
            }
            buf_clear(&greedy[i].got);
        }
        if (turn == 10) {
            party_send(&client, "please");
        }
        loop_turn(&loop);
    }
    ck_assert(party_got(&server, "please"));
    for (int i = 0; i < GREEDY_COUNT; i++) {
        party_abort(&greedy[i]);
        LOOP_UNTIL(&loop, greedy[i].conn == NULL);
        party_deinit(&greedy[i]);
        ck_assert_int_eq(close(peers[i]), 0);
    }
    finish();
}

END_TEST

#define HELLO_COUNT (2 * REACTOR_SLOW_TASKS_PER_TURN + 1)

/* Of many hellos that arrive together only a few are answered in one turn, and all in the end. */
START_TEST(conn_receive_limits_handshakes_per_turn)
{
    struct party servers[HELLO_COUNT] = {0};
    int peers[HELLO_COUNT];
    struct buf hello = {0};
    struct tls *tls;
    unsigned answered = 0;

    setup(true);
    ck_assert_int_eq(tls_new(client_context, &hello, "localhost", &tls), 0);
    ck_assert_int_eq(tls_start(tls), 0);
    for (int i = 0; i < HELLO_COUNT; i++) {
        int fds[2];

        sockets_pair(fds);
        party_open(&servers[i], &loop, fds[0], server_context, NULL);
        peers[i] = fds[1];
        ck_assert_int_eq(write(peers[i], hello.data, buf_size(&hello)), (int)buf_size(&hello));
    }
    while (answered < HELLO_COUNT) {
        unsigned before = answered;

        loop_turn(&loop);
        answered = 0;
        for (int i = 0; i < HELLO_COUNT; i++) {
            answered += conn_unsent_size(servers[i].conn) > 0 ||
                        recv(peers[i], (char[1]){0}, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
        }
        ck_assert_uint_le(answered, before + REACTOR_SLOW_TASKS_PER_TURN);
    }
    for (int i = 0; i < HELLO_COUNT; i++) {
        party_abort(&servers[i]);
        LOOP_UNTIL(&loop, servers[i].conn == NULL);
        party_deinit(&servers[i]);
        ck_assert_int_eq(close(peers[i]), 0);
    }
    tls_free(tls);
    buf_deinit(&hello);
    finish();
}

END_TEST

static void do_nothing(struct reactor_task *task)
{
    (void)task;
}

#define OTHERS_COUNT (10 * REACTOR_SLOW_TASKS_PER_TURN)

/* A client by hand, up to the end of its handshake: what it has to say next is in `output`. */
static struct tls *shake_by_hand(struct buf *output, int fd)
{
    uint8_t answer[2048];
    struct tls *tls;
    int result = TLS_E_WANT_MORE;

    ck_assert_int_eq(tls_new(client_context, output, "localhost", &tls), 0);
    ck_assert_int_eq(tls_start(tls), 0);
    ck_assert_int_eq(write(fd, output->data, buf_size(output)), (int)buf_size(output));
    buf_clear(output);
    while (result == TLS_E_WANT_MORE) {
        ssize_t size;

        loop_turn(&loop);
        size = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
        if (size > 0) {
            tls_feed(tls, (struct bytes){answer, (size_t)size}, 0);
            result = tls_handshake(tls);
        }
    }
    ck_assert_int_eq(result, 0);
    return tls;
}

/* A peer whose handshake has to wait for its turn, and which has sent a request and its end along
 * with it, is served like any other. */
START_TEST(conn_receive_serves_who_ended_while_waiting)
{
    struct reactor_task others[OTHERS_COUNT];
    struct party late = {.close_when_ended = true};
    struct buf output = {0};
    struct tls *tls;
    int fds[2];

    setup(true);
    sockets_pair(fds);
    party_open(&late, &loop, fds[0], server_context, NULL);
    tls = shake_by_hand(&output, fds[1]);
    ck_assert_int_eq(tls_write(tls, BYTES_LITERAL("last words")), 0);
    tls_end(tls);
    ck_assert_int_eq(write(fds[1], output.data, buf_size(&output)), (int)buf_size(&output));
    ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
    for (int i = 0; i < OTHERS_COUNT; i++) {
        others[i].run = do_nothing;
        list_init(&others[i].link);
        reactor_defer_slow(&loop.reactor, &others[i]);
    }
    LOOP_UNTIL(&loop, late.conn == NULL);
    ck_assert(party_got(&late, "last words"));
    ck_assert_int_eq(late.end, CONN_END_PEER);
    party_deinit(&late);
    tls_free(tls);
    buf_deinit(&output);
    ck_assert_int_eq(close(fds[1]), 0);
    finish();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {conn_receive_pauses_inside_every_delivery,
                                  conn_receive_pauses_at_random,
                                  conn_receive_pauses_before_the_first_byte,
                                  conn_receive_resumes_before_the_handshake,
                                  conn_receive_stops_while_paused,
                                  conn_receive_keeps_order_around_a_resume,
                                  conn_receive_tells_the_end_last,
                                  conn_receive_drops_after_close,
                                  conn_receive_keeps_nothing_when_idle,
                                  conn_receive_lets_everybody_have_a_buffer,
                                  conn_receive_limits_handshakes_per_turn,
                                  conn_receive_serves_who_ended_while_waiting,
                                  NULL};
    int result;

    certs_make(&certs);
    result = unit_run("conn_receive", tests);
    certs_remove(&certs);
    return result;
}
