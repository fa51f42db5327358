#include "lib/certs.h"
#include "lib/party.h"
#include "lib/unit.h"

#include "core/tls.h"

#include <fcntl.h>
#include <unistd.h>

/*
 * A conn is ended at every moment of its life, in every way, with and without TLS, with the peer
 * there or gone. Each time: `closed` is told exactly once, nothing is delivered after the call, the
 * ring is empty at the end, and the sanitizers find nothing freed twice, late, or never.
 */

enum moment {
    MOMENT_NEW,       /* before the first turn */
    MOMENT_HANDSHAKE, /* after one turn: in the handshake, or open without TLS */
    MOMENT_IN_OPENED, /* inside the callbacks */
    MOMENT_IN_RECEIVED,
    MOMENT_IN_DRAIN,
    MOMENT_IN_ENDED,
    MOMENT_IDLE,       /* open, nothing in flight */
    MOMENT_SENDING,    /* a send is stuck */
    MOMENT_PAUSED,     /* and bytes are held */
    MOMENT_RESUMED,    /* in the same turn as the resume */
    MOMENT_PEER_ENDED, /* the peer closed, we did not yet */
    MOMENT_CLOSING,    /* conn_close() was called, output waits */
    MOMENT_LINGERING,  /* conn_close() was called, all is sent */
    MOMENT_COUNT,
};

enum way {
    WAY_CLOSE,
    WAY_CLOSE_TWICE,
    WAY_ABORT,
    WAY_ABORT_TWICE,
    WAY_CLOSE_ABORT,
    WAY_COUNT,
};

static struct certs certs;
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct loop loop;
static struct party server; /* the one that is ended */
static struct party client;
static enum way way;
static bool peer_goes;

static void end_it(struct party *party)
{
    if (peer_goes && client.conn != NULL) {
        party_abort(&client);
    }
    if (way == WAY_ABORT || way == WAY_ABORT_TWICE) {
        party_abort(party);
    } else {
        party_close(party);
    }
    if (way == WAY_CLOSE_TWICE) {
        party_close(party);
    }
    if (way == WAY_ABORT_TWICE || way == WAY_CLOSE_ABORT) {
        party_abort(party);
    }
    /* What an owner might still do before it learns of the end. */
    conn_touch(party->conn);
    conn_pause(party->conn);
    conn_resume(party->conn);
    ck_assert_int_eq(buf_append(conn_output(party->conn), "late", 4), 0);
    (void)conn_unsent_size(party->conn);
}

static void turns(int count)
{
    while (count-- > 0) {
        loop_turn(&loop);
    }
}

static bool is_open(void)
{
    return server.opened_count == 1 && client.opened_count == 1;
}

/* Brings the server to the moment; returns true when the script there ends it. */
static bool reach_moment(enum moment moment)
{
    static const enum party_place places[MOMENT_COUNT] = {
        [MOMENT_IN_OPENED] = PARTY_OPENED,
        [MOMENT_IN_RECEIVED] = PARTY_RECEIVED,
        [MOMENT_IN_DRAIN] = PARTY_DRAIN,
        [MOMENT_IN_ENDED] = PARTY_ENDED,
    };

    client.close_when_ended = true;
    if (moment == MOMENT_NEW) {
        return false;
    }
    if (moment == MOMENT_HANDSHAKE) {
        turns(1);
        return false;
    }
    if (places[moment] != PARTY_NOWHERE) {
        server.script_at = places[moment];
        server.script = end_it;
        party_send_pattern(&client, 50000);
        party_send_pattern(&server, 50000);
        client.close_when_sent = moment == MOMENT_IN_ENDED;
        return true;
    }
    LOOP_UNTIL(&loop, is_open());
    turns(2);
    return false;
}

static void reach_sending(void)
{
    conn_pause(client.conn);
    turns(2);
    party_send_pattern(&server, 2 * 1024 * 1024);
    turns(20);
    ck_assert_uint_gt(conn_unsent_size(server.conn), 0);
    conn_resume(client.conn);
}

static void reach_closing(void)
{
    reach_sending();
    party_close(&server);
    turns(1);
}

static void reach_paused(void)
{
    party_send_pattern(&client, 200000);
    conn_pause(server.conn); /* the receive that is armed may bring a part */
    turns(5);
}

static void reach_resumed(void)
{
    reach_paused();
    conn_resume(server.conn);
}

static void reach_peer_ended(void)
{
    party_close(&client);
    LOOP_UNTIL(&loop, server.ended_count == 1);
}

static void reach_lingering(void)
{
    client.close_when_ended = false;
    party_close(&server);
    LOOP_UNTIL(&loop, client.ended_count == 1);
    turns(2);
    if (!peer_goes) {
        party_close(&client); /* somebody has to end the waiting */
    }
}

/* The moments that are states of an open conn. */
static void reach_state(enum moment moment)
{
    static void (*const reach[MOMENT_COUNT])(void) = {
        [MOMENT_SENDING] = reach_sending, [MOMENT_PAUSED] = reach_paused,
        [MOMENT_RESUMED] = reach_resumed, [MOMENT_PEER_ENDED] = reach_peer_ended,
        [MOMENT_CLOSING] = reach_closing, [MOMENT_LINGERING] = reach_lingering,
    };

    if (reach[moment] != NULL) {
        reach[moment]();
    }
}

static void live_and_die(enum moment moment, bool with_tls)
{
    bool scripted;
    int fds[2];

    sockets_tcp(fds);
    party_open(&server, &loop, fds[0], with_tls ? server_context : NULL, NULL);
    party_open(&client, &loop, fds[1], with_tls ? client_context : NULL,
               with_tls ? "localhost" : NULL);
    scripted = reach_moment(moment);
    if (!scripted) {
        reach_state(moment);
        if (server.conn != NULL) {
            end_it(&server);
        }
    }
    LOOP_UNTIL(&loop, server.conn == NULL);
    if (client.conn != NULL && !client.silenced) {
        party_abort(&client);
    }
    LOOP_UNTIL(&loop, client.conn == NULL);
    party_deinit(&server);
    party_deinit(&client);
    ck_assert_uint_eq(ring_pending_count(loop.reactor.ring), 0);
}

static void setup(void)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_server_options server_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    struct tls_client_options client_options = {.ca_file = certs.ca};

    loop_init(&loop);
    ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
    ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
}

static void finish(void)
{
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    loop_deinit(&loop);
}

static void run_all_moments(bool with_tls)
{
    setup();
    for (int moment = 0; moment < MOMENT_COUNT; moment++) {
        for (int w = 0; w < WAY_COUNT; w++) {
            for (int goes = 0; goes < 2; goes++) {
                way = (enum way)w;
                peer_goes = goes != 0;
                live_and_die((enum moment)moment, with_tls);
            }
        }
    }
    finish();
}

/* Every moment and way in plain text. */
START_TEST(lifetime_conn_plain)
{
    run_all_moments(false);
}

END_TEST

/* Every moment and way with TLS. */
START_TEST(lifetime_conn_tls)
{
    run_all_moments(true);
}

END_TEST

/* A conn in the handshake can be ended at each of its turns. */
START_TEST(lifetime_conn_each_turn_of_the_handshake)
{
    setup();
    for (int turn = 0; turn < 12; turn++) {
        for (int w = 0; w < WAY_COUNT; w++) {
            int fds[2];

            way = (enum way)w;
            peer_goes = false;
            sockets_tcp(fds);
            party_open(&server, &loop, fds[0], server_context, NULL);
            party_open(&client, &loop, fds[1], client_context, "localhost");
            server.close_when_ended = true;
            client.close_when_ended = true;
            turns(turn);
            end_it(w % 2 == 0 ? &server : &client);
            LOOP_UNTIL(&loop, server.conn == NULL && client.conn == NULL);
            party_deinit(&server);
            party_deinit(&client);
        }
    }
    finish();
}

END_TEST

/* An owner whose own cleaning up, inside `closed`, still calls the conn does no harm. */
START_TEST(lifetime_conn_called_in_closed)
{
    for (int w = 0; w < WAY_COUNT; w++) {
        int fds[2];

        setup();
        way = (enum way)w;
        peer_goes = false;
        sockets_pair(fds);
        party_open(&server, &loop, fds[0], NULL, NULL);
        server.script_at = PARTY_CLOSED;
        server.script = end_it;
        turns(2);
        party_abort(&server);
        LOOP_UNTIL(&loop, server.conn == NULL);
        party_deinit(&server);
        ck_assert_int_eq(close(fds[1]), 0);
        finish();
    }
}

END_TEST

/* A descriptor that is no socket ends with an error, and is closed. */
START_TEST(lifetime_conn_without_a_socket)
{
    int fds[2];

    loop_init(&loop);
    ck_assert_int_eq(pipe(fds), 0);
    party_open(&server, &loop, fds[0], NULL, NULL);
    LOOP_UNTIL(&loop, server.conn == NULL);
    ck_assert_int_eq(server.end, CONN_END_ERROR);
    ck_assert_uint_gt(strlen(server.detail), 0);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
    party_deinit(&server);
    ck_assert_int_eq(close(fds[1]), 0);
    loop_deinit(&loop);
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {lifetime_conn_plain,
                                  lifetime_conn_tls,
                                  lifetime_conn_each_turn_of_the_handshake,
                                  lifetime_conn_called_in_closed,
                                  lifetime_conn_without_a_socket,
                                  NULL};
    int result;

    certs_make(&certs);
    result = unit_run("lifetime_conn", tests);
    certs_remove(&certs);
    return result;
}
