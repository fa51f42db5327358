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

/* A server with TLS on its second address. */
static struct tls_context *begin_tls(const char *cert, const char *key)
{
    const struct tls_server_options tls_options = {
        .cert_file = cert, .key_file = key, .min_version = TLS_VERSION_1_3};
    struct tls_context *tls;
    char problem[512] = "";

    begin();
    ck_assert_msg(tls_context_new_server(&tls_options, problem, &tls) == 0, "%s", problem);
    ck_assert_msg(grpc_server_listen(server, "127.0.0.1:0", tls, problem) == 0, "%s", problem);
    return tls;
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
    struct tls_context *tls;
    struct serve_client clients[3];
    unsigned i;

    serve_rig_init(&rig);
    rig.options.max_handshakes = 1;
    rig.options.tls_timeout_ns = 5 * CLOCK_NS_PER_S;
    tls = begin_tls(certs.cert, certs.key);
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
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 1);
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S); /* nghttp2 at rest answers no PING after it */
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
    ck_assert_uint_eq(grpc_server_gauges(server).streams, 1);
    ck_assert_uint_eq(grpc_server_gauges(server).unsent_bytes, 0);
    ck_assert_uint_gt(grpc_server_gauges(server).session_bytes, 0);
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

static uint64_t hits(enum limits_hit_reason reason)
{
    return rig.loop.reactor.limits_hit.counts[reason];
}

/* Silent connections of one address take its share of handshakes, and no more. */
START_TEST(server_limits_handshakes_per_address)
{
    struct tls_context *tls;
    struct serve_client clients[4];
    unsigned i;

    serve_rig_init(&rig);
    rig.options.max_handshakes_per_ip = 2;
    tls = begin_tls(certs.cert, certs.key);
    for (i = 0; i < 2; i++) {
        serve_client_connect(&clients[i], grpc_server_address(server, 1), true);
    }
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->handshakes == 2);
    serve_client_connect(&clients[2], grpc_server_address(server, 1), true);
    SERVE_UNTIL(&rig, &clients[2], clients[2].has_ended);
    ck_assert_uint_eq(hits(LIMITS_HIT_HANDSHAKES_PER_IP), 1);
    ck_assert_uint_eq(
        grpc_server_stats(server)->connections_refused_by[LIMITS_HIT_HANDSHAKES_PER_IP], 1);
    connect_client(&clients[3], false); /* without TLS there is no handshake */
    SERVE_UNTIL(&rig, &clients[3], serve_client_count(&clients[3], H2_FRAME_SETTINGS) > 0);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_refused, 1);
    drain(0);
    LOOP_UNTIL(&rig.loop, drained == 1);
    ck_assert_uint_eq(grpc_server_stats(server)->handshakes, 0);
    for (i = 0; i < 4; i++) {
        serve_client_deinit(&clients[i]);
    }
    tls_context_unref(tls);
    clean_up();
}

END_TEST

/* More handshakes per second than the rate are closed; they may come again later. */
START_TEST(server_limits_the_rate_of_handshakes)
{
    struct tls_context *tls;
    struct serve_client clients[4];
    unsigned i;

    serve_rig_init(&rig);
    rig.options.handshake_rate = 4; /* half of it from one address */
    tls = begin_tls(certs.cert, certs.key);
    for (i = 0; i < 3; i++) {
        serve_client_connect(&clients[i], grpc_server_address(server, 1), true);
    }
    SERVE_UNTIL(&rig, &clients[2], clients[2].has_ended);
    ck_assert_uint_eq(hits(LIMITS_HIT_HANDSHAKE_RATE), 1);
    ck_assert_uint_eq(grpc_server_stats(server)->handshakes, 2);
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
    serve_client_connect(&clients[3], grpc_server_address(server, 1), true);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->handshakes == 3);
    drain(0);
    LOOP_UNTIL(&rig.loop, drained == 1);
    for (i = 0; i < 4; i++) {
        serve_client_deinit(&clients[i]);
    }
    tls_context_unref(tls);
    clean_up();
}

END_TEST

/* A new client with TLS; returns whether its handshake went well. */
static bool shakes_hands(struct tls_context *client_tls)
{
    struct serve_client dialled;
    struct party client = {0};
    bool opened;

    serve_client_connect(&dialled, grpc_server_address(server, 1), true);
    party_open(&client, &rig.loop, dialled.fd, client_tls, "localhost");
    dialled.fd = -1;
    serve_client_deinit(&dialled);
    LOOP_UNTIL(&rig.loop, client.opened_count + client.closed_count > 0);
    opened = client.opened_count > 0;
    if (client.closed_count == 0) {
        party_abort(&client);
    }
    LOOP_UNTIL(&rig.loop, client.closed_count > 0);
    party_deinit(&client);
    return opened;
}

/* New handshakes use the new certificate; a listener without TLS stays without. */
START_TEST(server_takes_a_new_certificate)
{
    const struct tls_server_options other_options = {
        .cert_file = certs.other_ca, .key_file = certs.other_key, .min_version = TLS_VERSION_1_3};
    const struct tls_client_options client_options = {.ca_file = certs.ca};
    struct tls_context *tls;
    struct tls_context *other;
    struct tls_context *client_tls;
    struct serve_client plain;
    char problem[512] = "";

    serve_rig_init(&rig);
    tls = begin_tls(certs.cert, certs.key);
    ck_assert_int_eq(tls_context_new_server(&other_options, problem, &other), 0);
    ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_tls), 0);
    ck_assert(shakes_hands(client_tls));
    grpc_server_set_tls(server, other);
    ck_assert(!shakes_hands(client_tls)); /* it does not know who signed this one */
    grpc_server_set_tls(server, tls);
    ck_assert(shakes_hands(client_tls));
    connect_client(&plain, false);
    SERVE_UNTIL(&rig, &plain, serve_client_count(&plain, H2_FRAME_SETTINGS) > 0);
    end();
    serve_client_deinit(&plain);
    tls_context_unref(client_tls);
    tls_context_unref(other);
    tls_context_unref(tls);
}

END_TEST

/* New limits on numbers and times count at once, also for those who are there. */
START_TEST(server_takes_new_options)
{
    struct serve_client first;
    struct serve_client second;
    struct h2_peer_call call;

    serve_rig_init(&rig);
    begin();
    connect_client(&first, false);
    SERVE_UNTIL(&rig, &first, serve_client_count(&first, H2_FRAME_SETTINGS) > 1);
    rig.options.max_connections = 1;
    rig.options.max_age_ns = 1; /* for new ones only */
    grpc_server_set_options(server, &rig.options);
    connect_client(&second, false);
    SERVE_UNTIL(&rig, &second, second.has_ended);
    ck_assert_uint_eq(hits(LIMITS_HIT_CONNECTIONS), 1);
    serve_client_deinit(&second);
    ck_assert_uint_eq(serve_client_count(&first, H2_FRAME_GOAWAY), 0);
    rig.options.idle_timeout_ns = CLOCK_NS_PER_S;
    grpc_server_set_options(server, &rig.options);
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &first, serve_client_count(&first, H2_FRAME_GOAWAY) == 1);
    serve_rig_push_clock(&rig, 10 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &first, first.has_ended);
    ck_assert_uint_eq(hits(LIMITS_HIT_IDLE_TIMEOUT), 1);
    ck_assert_uint_eq(hits(LIMITS_HIT_AGE), 0);
    serve_client_deinit(&first);
    LOOP_UNTIL(&rig.loop, grpc_server_stats(server)->connections_open == 0);
    rig.options.idle_timeout_ns = 3600 * CLOCK_NS_PER_S;
    grpc_server_set_options(server, &rig.options);
    connect_client(&second, false);
    h2_peer_call_unary(&second.peer, &call, "/t.T/Echo", "", 0);
    SERVE_UNTIL(&rig, &second, call.closed && serve_client_count(&second, H2_FRAME_GOAWAY) >= 1);
    ck_assert_uint_eq(hits(LIMITS_HIT_AGE), 1);
    h2_peer_call_deinit(&call);
    end();
    serve_client_deinit(&second);
}

END_TEST

/* A higher limit on connections is one that can be reached: there is memory for their sessions. */
START_TEST(server_has_room_for_more_connections_then)
{
    struct serve_client clients[16];
    size_t i;

    serve_rig_init(&rig);
    rig.options.max_connections = 1;
    begin();
    rig.options.max_connections = 16;
    grpc_server_set_options(server, &rig.options);
    for (i = 0; i < 16; i++) {
        connect_client(&clients[i], false);
        SERVE_UNTIL(&rig, &clients[i],
                    clients[i].has_ended || serve_client_count(&clients[i], H2_FRAME_SETTINGS) > 1);
        ck_assert_msg(!clients[i].has_ended, "connection %zu", i);
    }
    end();
    for (i = 0; i < 16; i++) {
        serve_client_deinit(&clients[i]);
    }
}

END_TEST

/* A client may have as many calls as it was told when it came. */
START_TEST(server_keeps_its_word_about_streams)
{
    struct serve_client first;
    struct serve_client second;
    struct h2_peer_call calls[3];

    serve_rig_init(&rig);
    rig.options.h2.max_concurrent_streams = 2;
    begin();
    connect_client(&first, false);
    SERVE_UNTIL(&rig, &first, serve_client_count(&first, H2_FRAME_SETTINGS) > 1);
    rig.options.h2.max_concurrent_streams = 1;
    grpc_server_set_options(server, &rig.options);
    h2_peer_call_unary(&first.peer, &calls[0], "/t.T/Hold", "", 0);
    h2_peer_call_unary(&first.peer, &calls[1], "/t.T/Echo", "hello", 5);
    SERVE_UNTIL(&rig, &first, calls[1].closed);
    ck_assert_uint_eq(hits(LIMITS_HIT_STREAMS), 0);
    ck_assert_str_eq(h2_peer_field(&calls[1], "grpc-status"), "0");
    connect_client(&second, false);
    h2_peer_call_unary(&second.peer, &calls[2], "/t.T/Echo", "hello", 5);
    SERVE_UNTIL(&rig, &second, calls[2].closed);
    grpc_call_release(rig.held);
    end();
    for (size_t i = 0; i < 3; i++) {
        h2_peer_call_deinit(&calls[i]);
    }
    serve_client_deinit(&first);
    serve_client_deinit(&second);
}

END_TEST

/* Short of memory it takes no new connections, and serves those it has. */
START_TEST(server_refuses_connections_when_told)
{
    struct serve_client first;
    struct serve_client second;
    struct h2_peer_call call;

    serve_rig_init(&rig);
    begin();
    connect_client(&first, false);
    SERVE_UNTIL(&rig, &first, serve_client_count(&first, H2_FRAME_SETTINGS) > 0);
    grpc_server_refuse_connections(server, true);
    connect_client(&second, false);
    SERVE_UNTIL(&rig, &second, second.has_ended);
    ck_assert_uint_eq(hits(LIMITS_HIT_MEMORY_SOFT), 1);
    ck_assert_uint_eq(grpc_server_stats(server)->connections_refused_by[LIMITS_HIT_MEMORY_SOFT], 1);
    serve_client_deinit(&second);
    h2_peer_call_unary(&first.peer, &call, "/t.T/Echo", "hello", 5);
    SERVE_UNTIL(&rig, &first, call.closed);
    ck_assert_str_eq(h2_peer_field(&call, "grpc-status"), "0");
    h2_peer_call_deinit(&call);
    grpc_server_refuse_connections(server, false);
    connect_client(&second, false);
    SERVE_UNTIL(&rig, &second, serve_client_count(&second, H2_FRAME_SETTINGS) > 0);
    end();
    serve_client_deinit(&first);
    serve_client_deinit(&second);
}

END_TEST

/* A call knows the address it came from, as limits by address see it; and what a client has sent in
 * part is known. */
START_TEST(server_knows_the_address_of_a_call)
{
    struct serve_client client;
    struct h2_peer_call held;
    struct h2_peer_call half;

    serve_rig_init(&rig);
    begin();
    connect_client(&client, false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    ck_assert(bytes_equal(rig.held->host->peer_address, BYTES_LITERAL("\x7f\0\0\1\0\0\0\0\4")));
    ck_assert_ptr_null(rig.held->host->peer_identity);
    h2_peer_begin(&client.peer, &half, "/t.T/Echo", NULL);
    ck_assert_int_eq(h2_stream_write(half.stream, &BYTES_LITERAL("\0\0\0\0\7half"), 1), 0);
    SERVE_UNTIL(&rig, &client, grpc_server_buffered_size(server) == 4);
    drain(0);
    LOOP_UNTIL(&rig.loop, rig.cancelled_count == 1);
    ck_assert_uint_eq(grpc_server_buffered_size(server), 0);
    grpc_call_release(rig.held);
    LOOP_UNTIL(&rig.loop, drained == 1);
    h2_peer_call_deinit(&half);
    h2_peer_call_deinit(&held);
    serve_client_deinit(&client);
    clean_up();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {server_serves_several_clients,
                                  server_limits_connections,
                                  server_limits_connections_per_address,
                                  server_limits_handshakes,
                                  server_limits_handshakes_per_address,
                                  server_limits_the_rate_of_handshakes,
                                  server_takes_a_new_certificate,
                                  server_takes_new_options,
                                  server_has_room_for_more_connections_then,
                                  server_keeps_its_word_about_streams,
                                  server_refuses_connections_when_told,
                                  server_knows_the_address_of_a_call,
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
