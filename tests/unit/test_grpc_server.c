#include "lib/certs.h"
#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "core/tls.h"
#include "http2/grpc_server.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct certs certs;
static struct serve_rig rig;
static struct grpc_server *server;
static unsigned drained;

/* Makes a server on a free port of the loopback. */
static void begin(void)
{
    char problem[512] = "";

    drained = 0;
    ck_assert_int_eq(grpc_server_new(&rig.loop.reactor, &rig.options, &rig.dispatch, &server), 0);
    ck_assert_msg(grpc_server_listen(server, "127.0.0.1:0", NULL, problem) == 0, "%s", problem);
}

static void on_drained(void *context)
{
    ck_assert_ptr_eq(context, &rig);
    drained++;
}

static void drain(uint64_t grace_ns)
{
    grpc_server_drain(server, grace_ns, on_drained, &rig);
}

static void clean_up(void)
{
    const struct grpc_server_stats *stats = grpc_server_stats(server);

    ck_assert_uint_eq(drained, 1);
    ck_assert_uint_eq(stats->connections_open, 0);
    ck_assert_uint_eq(stats->calls_running, 0);
    ck_assert_uint_eq(stats->calls_started, stats->calls_finished);
    grpc_server_free(server);
    serve_rig_deinit(&rig);
}

/* Ends the server at once. */
static void end(void)
{
    drain(0);
    LOOP_UNTIL(&rig.loop, drained == 1);
    clean_up();
}

static void connect_client(struct serve_client *client, bool is_raw)
{
    serve_client_connect(client, grpc_server_address(server, 0), is_raw);
}

/* Several clients are served side by side. */
START_TEST(server_serves_several_clients)
{
    struct serve_client clients[3];
    struct h2_peer_call calls[3];
    unsigned i;

    serve_rig_init(&rig);
    begin();
    for (i = 0; i < 3; i++) {
        connect_client(&clients[i], false);
        h2_peer_call_unary(&clients[i].peer, &calls[i], "/t.T/Echo", "hello", 5);
    }
    for (i = 0; i < 3; i++) {
        SERVE_UNTIL(&rig, &clients[i], calls[i].closed);
        ck_assert_str_eq(h2_peer_field(&calls[i], "grpc-status"), "0");
        ck_assert(bytes_equal(buf_bytes(&calls[i].body), BYTES_LITERAL("\0\0\0\0\5hello")));
        h2_peer_call_deinit(&calls[i]);
    }
    ck_assert_uint_eq(grpc_server_stats(server)->connections_accepted, 3);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_open, 3);
    end();
    for (i = 0; i < 3; i++) {
        serve_client_deinit(&clients[i]);
    }
}

END_TEST

/* Beyond the limit on connections a socket is closed; when one has gone, the next may come. */
START_TEST(server_limits_connections)
{
    struct serve_client first;
    struct serve_client second;

    serve_rig_init(&rig);
    rig.options.max_connections = 1;
    begin();
    connect_client(&first, false);
    SERVE_UNTIL(&rig, &first, serve_client_count(&first, H2_FRAME_SETTINGS) > 0);
    connect_client(&second, false);
    SERVE_UNTIL(&rig, &second, second.has_ended);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_refused, 1);
    serve_client_deinit(&second);
    serve_client_deinit(&first);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 0);
    connect_client(&second, false);
    SERVE_UNTIL(&rig, &second, serve_client_count(&second, H2_FRAME_SETTINGS) > 0);
    end();
    serve_client_deinit(&second);
}

END_TEST

/* One address may have so many, and has room again when one of its own is gone (X11). */
START_TEST(server_limits_connections_per_address)
{
    struct serve_client clients[3];
    unsigned i;

    serve_rig_init(&rig);
    rig.options.max_connections_per_ip = 2;
    begin();
    for (i = 0; i < 2; i++) {
        connect_client(&clients[i], false);
        SERVE_UNTIL(&rig, &clients[i], serve_client_count(&clients[i], H2_FRAME_SETTINGS) > 0);
    }
    connect_client(&clients[2], false);
    SERVE_UNTIL(&rig, &clients[2], clients[2].has_ended);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_refused, 1);
    serve_client_deinit(&clients[2]);
    serve_client_deinit(&clients[1]);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 1);
    connect_client(&clients[1], false);
    SERVE_UNTIL(&rig, &clients[1], serve_client_count(&clients[1], H2_FRAME_SETTINGS) > 0);
    end();
    serve_client_deinit(&clients[0]);
    serve_client_deinit(&clients[1]);
}

END_TEST

/* Handshakes in progress have a limit of their own; one that takes too long makes room. */
START_TEST(server_limits_handshakes)
{
    const struct tls_server_options tls_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    struct tls_context *tls;
    struct serve_client clients[3];
    char problem[512] = "";
    unsigned i;

    serve_rig_init(&rig);
    rig.options.max_handshakes = 1;
    rig.options.tls_timeout_ns = 5 * CLOCK_NS_PER_S;
    begin();
    ck_assert_msg(tls_context_new_server(&tls_options, problem, &tls) == 0, "%s", problem);
    ck_assert_msg(grpc_server_listen(server, "127.0.0.1:0", tls, problem) == 0, "%s", problem);
    serve_client_connect(&clients[0], grpc_server_address(server, 1), true);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 1);
    serve_client_connect(&clients[1], grpc_server_address(server, 1), true);
    SERVE_UNTIL(&rig, &clients[1], clients[1].has_ended);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_refused, 1);
    serve_rig_push_clock(&rig, 5 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &clients[0], clients[0].has_ended);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_failed, 1);
    serve_client_connect(&clients[2], grpc_server_address(server, 1), true);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_accepted == 2);
    /* A drain drops what is still shaking hands. */
    drain(3600 * CLOCK_NS_PER_S);
    LOOP_UNTIL(&rig.loop, drained == 1);
    for (i = 0; i < 3; i++) {
        serve_client_deinit(&clients[i]);
    }
    tls_context_unref(tls);
    clean_up();
}

END_TEST

/* An idle server with idle clients drains without waiting for its grace. */
START_TEST(server_drains_idle_clients_at_once)
{
    struct serve_client client;

    serve_rig_init(&rig);
    begin();
    connect_client(&client, false);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_SETTINGS) > 1);
    drain(3600 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert(!client.was_reset);
    ck_assert_uint_eq(serve_client_count(&client, H2_FRAME_GOAWAY), 2);
    ck_assert_uint_eq(drained, 0); /* it lingers until the client is done reading (P29) */
    serve_client_deinit(&client);
    LOOP_UNTIL(&rig.loop, drained == 1);
    clean_up();
}

END_TEST

/* A call accepted before the drain completes with its real answer (X2); no new client gets in. */
START_TEST(server_drains_after_open_calls)
{
    struct serve_client client;
    struct h2_peer_call held;
    const struct bytes reply = BYTES_LITERAL("done");
    char address[64];
    struct serve_client late;

    serve_rig_init(&rig);
    begin();
    (void)snprintf(address, sizeof(address), "%s", grpc_server_address(server, 0));
    connect_client(&client, false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    serve_client_connect(&late, address, false); /* waits in the backlog, or is just accepted */
    drain(3600 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 2);
    SERVE_UNTIL(&rig, &late, late.has_ended);
    serve_client_deinit(&late);
    ck_assert_uint_eq(drained, 0);
    grpc_call_reply(rig.held, &reply, 1);
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "0");
    h2_peer_call_deinit(&held);
    serve_client_deinit(&client);
    LOOP_UNTIL(&rig.loop, drained == 1);
    clean_up();
}

END_TEST

/* A call that does not end gets a clean status before the grace is over, and the drain ends with it
 * (X1). */
START_TEST(server_drain_is_bounded_with_a_clean_status)
{
    struct serve_client client;
    struct h2_peer_call held;

    serve_rig_init(&rig);
    begin();
    connect_client(&client, false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    drain(30 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 2);
    ck_assert(!held.closed);
    serve_rig_push_clock(&rig, 29 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, held.closed);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "14");
    ck_assert_uint_eq(rig.cancelled_count, 1);
    grpc_call_release(rig.held);
    /* The client does not even close: the end of the grace does. */
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
    LOOP_UNTIL(&rig.loop, drained == 1);
    h2_peer_call_deinit(&held);
    serve_client_deinit(&client);
    clean_up();
}

END_TEST

/* Silent peers in every stage do not hold a drain up: nothing sent, half a preface, no reading. */
START_TEST(server_drain_survives_silent_peers)
{
    struct serve_client clients[3];
    struct buf in = {0};
    unsigned i;

    serve_rig_init(&rig);
    begin();
    for (i = 0; i < 3; i++) {
        connect_client(&clients[i], true);
        clients[i].reads = false;
    }
    h2_frame_append_preface(&in);
    serve_client_send(&clients[2], &in);
    in.end = in.start + 10;
    serve_client_send(&clients[1], &in);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 3);
    loop_turn(&rig.loop);
    drain(10 * CLOCK_NS_PER_S);
    loop_turn(&rig.loop);
    ck_assert_uint_eq(drained, 0);
    serve_rig_push_clock(&rig, 10 * CLOCK_NS_PER_S);
    loop_turn(&rig.loop);
    serve_rig_push_clock(&rig, 10 * CLOCK_NS_PER_S);
    LOOP_UNTIL(&rig.loop, drained == 1);
    for (i = 0; i < 3; i++) {
        serve_client_deinit(&clients[i]);
    }
    buf_deinit(&in);
    clean_up();
}

END_TEST

/* A second, shorter drain shortens the first; a longer one changes nothing; `drained` is told once.
 */
START_TEST(server_drain_may_be_shortened)
{
    struct serve_client client;

    serve_rig_init(&rig);
    begin();
    connect_client(&client, true);
    client.reads = false;
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 1);
    drain(100 * CLOCK_NS_PER_S);
    drain(1000 * CLOCK_NS_PER_S);
    drain(0);
    LOOP_UNTIL(&rig.loop, drained == 1);
    drain(0);
    loop_turn(&rig.loop);
    ck_assert_uint_eq(drained, 1);
    serve_client_deinit(&client);
    clean_up();
}

END_TEST

/* The drain waits for a handler whose client is long gone, for its memory is still in use. */
START_TEST(server_drain_waits_for_handlers)
{
    struct serve_client client;
    struct h2_peer_call held;

    serve_rig_init(&rig);
    begin();
    connect_client(&client, false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    drain(0);
    SERVE_UNTIL(&rig, &client, rig.cancelled_count == 1);
    for (unsigned i = 0; i < 5; i++) {
        loop_turn(&rig.loop);
    }
    ck_assert_uint_eq(drained, 0);
    grpc_call_release(rig.held);
    LOOP_UNTIL(&rig.loop, drained == 1);
    h2_peer_call_deinit(&held);
    serve_client_deinit(&client);
    clean_up();
}

END_TEST

/* Without listeners or connections a drain is over in the next turn, not inside the call. */
START_TEST(server_without_anything_drains)
{
    serve_rig_init(&rig);
    drained = 0;
    ck_assert_int_eq(grpc_server_new(&rig.loop.reactor, &rig.options, &rig.dispatch, &server), 0);
    ck_assert_ptr_null(grpc_server_address(server, 0));
    drain(3600 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(drained, 0);
    loop_turn(&rig.loop);
    clean_up();
}

END_TEST

/* An address that cannot be bound is a text, not an end. */
START_TEST(server_tells_why_it_cannot_listen)
{
    char problem[512] = "";
    char address[64];

    serve_rig_init(&rig);
    begin();
    (void)snprintf(address, sizeof(address), "%s", grpc_server_address(server, 0));
    ck_assert_int_lt(grpc_server_listen(server, address, NULL, problem), 0);
    ck_assert_ptr_nonnull(strstr(problem, address));
    ck_assert_ptr_null(grpc_server_address(server, 1));
    ck_assert_int_eq(grpc_server_listen(server, "127.0.0.1:0", NULL, problem), 0);
    ck_assert_ptr_nonnull(grpc_server_address(server, 1));
    end();
}

END_TEST

/* Ten clients that each do something forbidden are told, and an honest one never notices. */
START_TEST(server_keeps_honest_clients_apart_from_others)
{
    struct serve_client honest;
    unsigned i;

    serve_rig_init(&rig);
    begin();
    connect_client(&honest, false);
    for (i = 0; i < 10; i++) {
        struct serve_client hostile;
        struct h2_peer_call call;
        struct buf in = {0};

        connect_client(&hostile, true);
        h2_frame_append_preface(&in);
        for (unsigned n = 0; n < 200; n++) {
            h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        }
        serve_client_send(&hostile, &in);
        h2_peer_call_unary(&honest.peer, &call, "/t.T/Echo", "hello", 5);
        SERVE_UNTIL(&rig, &honest, call.closed);
        ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "0");
        SERVE_UNTIL(&rig, &hostile, hostile.has_ended);
        ck_assert_uint_eq(serve_client_count(&hostile, H2_FRAME_GOAWAY), 1);
        h2_peer_call_deinit(&call);
        serve_client_deinit(&hostile);
        buf_deinit(&in);
    }
    ck_assert_uint_eq(grpc_server_stats(server)->connections_failed, 10);
    end();
    serve_client_deinit(&honest);
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {server_serves_several_clients,
                                  server_limits_connections,
                                  server_limits_connections_per_address,
                                  server_limits_handshakes,
                                  server_drains_idle_clients_at_once,
                                  server_drains_after_open_calls,
                                  server_drain_is_bounded_with_a_clean_status,
                                  server_drain_survives_silent_peers,
                                  server_drain_may_be_shortened,
                                  server_drain_waits_for_handlers,
                                  server_without_anything_drains,
                                  server_tells_why_it_cannot_listen,
                                  server_keeps_honest_clients_apart_from_others,
                                  NULL};
    int result;

    certs_make(&certs);
    result = unit_run("grpc_server", tests);
    certs_remove(&certs);
    return result;
}
