#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "http2/grpc_connection.h"

#include <sys/socket.h>
#include <unistd.h>

/* What ends a connection that lives too long, or whose client goes too far. */

static struct serve_rig rig;
static struct grpc_connection_owner owner;
static struct grpc_connection *connection; /* NULL once gone */
static struct serve_client client;
static unsigned released; /* memos */

static void on_settled(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    ck_assert_ptr_eq(who, &owner);
    ck_assert_ptr_eq(which, connection);
}

static void on_gone(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    ck_assert_ptr_eq(who, &owner);
    ck_assert_ptr_eq(which, connection);
    connection = NULL;
}

/* A connection over a pair of sockets, whose client sends its preface. */
static void open_connection(bool is_raw)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    grpc_connection_owner_init(&owner, &rig.loop.reactor, &rig.options, &rig.dispatch);
    owner.settled = on_settled;
    owner.gone = on_gone;
    ck_assert_int_eq(grpc_connection_new(&owner, fds[0], NULL, "test", &connection), 0);
    serve_client_init(&client, fds[1], is_raw);
    if (is_raw) {
        struct buf in = {0};

        h2_frame_append_preface(&in);
        serve_client_send(&client, &in);
        buf_deinit(&in);
    }
    SERVE_UNTIL(&rig, &client, connection->has_received);
}

/* The client leaves, and everything goes. */
static void leave(void)
{
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    SERVE_UNTIL(&rig, &client, connection == NULL);
    ck_assert_uint_eq(owner.stats.calls_running, 0);
    ck_assert_uint_eq(owner.stats.calls_finished, owner.stats.calls_started);
    ck_assert_uint_eq(owner.calls.host_count, 0);
    serve_client_deinit(&client);
    grpc_connection_owner_deinit(&owner);
    serve_rig_deinit(&rig);
}

static uint64_t hits(enum limits_hit_reason reason)
{
    return rig.loop.reactor.limits_hit.counts[reason];
}

/* The server ends it, with this as its last GOAWAY. */
static void see_goaway(uint32_t error, const char *debug)
{
    struct h2_frame frame;

    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert(!client.was_reset);
    ck_assert_uint_ge(h2_frame_count(buf_bytes(&client.seen), H2_FRAME_GOAWAY, 0, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 4), error);
    ck_assert(bytes_equal((struct bytes){frame.payload.data + 8, frame.payload.size - 8},
                          bytes_from_text(debug)));
}

static void append_request(struct buf *in, int32_t stream_id, const char *path)
{
    h2_frame_append_request(in, stream_id, 0, path, NULL);
    h2_frame_append(in, H2_FRAME_DATA, H2_FLAG_END_STREAM, stream_id, "\0\0\0\0\0", 5);
}

/* Sends what was gathered, and waits until the server has answered so many PINGs in all. */
static void send_and_wait(struct buf *in, unsigned pings)
{
    serve_client_send(&client, in);
    buf_clear(in);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_PING) == pings);
}

static void set_ping_rules(void)
{
    rig.options.min_ping_ns = 300 * CLOCK_NS_PER_S;
    rig.options.max_ping_strikes = 2;
}

/* PINGs more often than allowed are forgiven twice; the third strike is the end, by the name that
 * clients look for (K5). */
START_TEST(pings_too_often_end_the_connection)
{
    struct buf in = {0};
    unsigned i;

    serve_rig_init(&rig);
    set_ping_rules();
    rig.options.pings_without_calls = true;
    open_connection(true);
    h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
    send_and_wait(&in, 1);
    for (i = 2; i <= 4; i++) { /* at the right pace */
        serve_rig_push_clock(&rig, 300 * CLOCK_NS_PER_S);
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        send_and_wait(&in, i);
    }
    for (i = 5; i <= 6; i++) {
        serve_rig_push_clock(&rig, 290 * CLOCK_NS_PER_S);
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        send_and_wait(&in, i);
    }
    ck_assert_uint_eq(hits(LIMITS_HIT_PING_STRIKES), 0);
    h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too_many_pings");
    ck_assert_uint_eq(hits(LIMITS_HIT_PING_STRIKES), 1);
    ck_assert_uint_eq(hits(LIMITS_HIT_CONTROL), 0);
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    buf_deinit(&in);
    leave();
}

END_TEST

/* Without an open call even five minutes are too short (K4); with one they are not. */
START_TEST(pings_count_by_open_calls)
{
    struct buf in = {0};
    unsigned i;

    serve_rig_init(&rig);
    set_ping_rules();
    open_connection(true);
    append_request(&in, 1, "/t.T/Hold");
    for (i = 1; i <= 8; i++) {
        serve_rig_push_clock(&rig, 300 * CLOCK_NS_PER_S);
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        send_and_wait(&in, i);
    }
    ck_assert_uint_eq(rig.held_count, 1);
    grpc_call_fail_text(rig.held, GRPC_STATUS_ABORTED, "TEST", "");
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, connection->call_count == 0);
    for (i = 0; i < 4; i++) { /* the first after the answer is free */
        serve_rig_push_clock(&rig, 300 * CLOCK_NS_PER_S);
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        if (i < 3) {
            send_and_wait(&in, 9 + i);
        }
    }
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too_many_pings");
    buf_deinit(&in);
    leave();
}

END_TEST

/* A client that measures the path with a PING for each answer is left alone (K6), and so is one
 * that acknowledges ours. */
START_TEST(pings_that_measure_are_honest)
{
    struct buf in = {0};
    int32_t i;

    serve_rig_init(&rig);
    set_ping_rules();
    open_connection(true);
    for (i = 0; i < 50; i++) {
        append_request(&in, 2 * i + 1, "/t.T/Echo");
        serve_client_send(&client, &in);
        buf_clear(&in);
        SERVE_UNTIL(&rig, &client,
                    h2_frame_count(buf_bytes(&client.seen), H2_FRAME_HEADERS, 2 * i + 1, NULL) > 1);
        h2_frame_append(&in, H2_FRAME_PING, H2_FLAG_ACK, 0, "01234567", 8);
        h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
        send_and_wait(&in, (unsigned)i + 1);
    }
    ck_assert_uint_eq(hits(LIMITS_HIT_PING_STRIKES), 0);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    buf_deinit(&in);
    leave();
}

END_TEST

/* An old connection is drained: two GOAWAYs, the last with the reason (K8); what still runs after
 * the grace is answered UNAVAILABLE (K9). */
START_TEST(age_ends_the_connection)
{
    struct h2_peer_call held;

    serve_rig_init(&rig);
    rig.options.max_age_ns = 1000 * CLOCK_NS_PER_S;
    rig.options.max_age_grace_ns = 30 * CLOCK_NS_PER_S;
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    serve_rig_push_clock(&rig, 890 * CLOCK_NS_PER_S);
    loop_turn(&rig.loop);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    serve_rig_push_clock(&rig, 211 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 2);
    ck_assert_uint_eq(hits(LIMITS_HIT_AGE), 1);
    serve_rig_push_clock(&rig, 28 * CLOCK_NS_PER_S);
    loop_turn(&rig.loop);
    serve_client_pump(&client);
    ck_assert(!held.closed);
    serve_rig_push_clock(&rig, 2 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, held.closed);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "14");
    ck_assert_uint_eq(rig.cancelled_count, 1);
    grpc_call_release(rig.held);
    h2_peer_call_deinit(&held);
    see_goaway(H2_ERROR_NO_ERROR, "max_age");
    ck_assert_uint_eq(owner.stats.connections_failed, 0);
    leave();
}

END_TEST

/* Calls that end within the grace have their real answers. */
START_TEST(age_waits_for_calls)
{
    struct h2_peer_call held;

    serve_rig_init(&rig);
    rig.options.max_age_ns = 1000 * CLOCK_NS_PER_S;
    rig.options.max_age_grace_ns = 30 * CLOCK_NS_PER_S;
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    serve_rig_push_clock(&rig, 1100 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 2);
    grpc_call_reply(rig.held, NULL, 0);
    grpc_call_release(rig.held);
    see_goaway(H2_ERROR_NO_ERROR, "max_age");
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "0");
    h2_peer_call_deinit(&held);
    leave();
}

END_TEST

/* An old connection whose client is slow is given ten seconds to see the first GOAWAY, and one when
 * the server ends meanwhile. */
START_TEST(age_gives_the_client_time)
{
    struct buf in = {0};

    for (unsigned i = 0; i < 2; i++) {
        bool shuts_down = i == 1;

        serve_rig_init(&rig);
        rig.options.max_age_ns = 1000 * CLOCK_NS_PER_S;
        rig.options.max_age_grace_ns = 30 * CLOCK_NS_PER_S;
        open_connection(true);
        append_request(&in, 1, "/t.T/Echo");
        serve_client_send(&client, &in);
        buf_clear(&in);
        SERVE_UNTIL(&rig, &client, owner.stats.calls_finished == 1);
        serve_rig_push_clock(&rig, 1100 * CLOCK_NS_PER_S);
        SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 1);
        if (shuts_down) {
            grpc_connection_drain(connection);
            grpc_connection_drain(connection);
        } else {
            serve_rig_push_clock(&rig, 9 * CLOCK_NS_PER_S);
        }
        append_request(&in, 3, "/t.T/Echo");
        serve_client_send(&client, &in);
        buf_clear(&in);
        SERVE_UNTIL(&rig, &client, owner.stats.calls_finished == 2);
        ck_assert_int_eq(connection->phase, GRPC_CONNECTION_ANNOUNCED);
        serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
        see_goaway(H2_ERROR_NO_ERROR, "max_age");
        leave();
    }
    buf_deinit(&in);
}

END_TEST

/* Connections that begin together end at different times, by a tenth either way. Their age counts
 * from the first call. */
START_TEST(age_differs)
{
    const uint64_t age_ns = 1000 * CLOCK_NS_PER_S;
    struct h2_peer_call call;
    uint64_t ages_ns[8];
    bool differ = false;
    unsigned i;

    for (i = 0; i < 8; i++) {
        serve_rig_init(&rig);
        rig.options.max_age_ns = age_ns;
        open_connection(false);
        serve_rig_push_clock(&rig, 2 * age_ns);
        loop_turn(&rig.loop);
        ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
        ck_assert_uint_eq(connection->aged_ns, UINT64_MAX);
        h2_peer_call_unary(&client.peer, &call, "/t.T/Echo", "", 0);
        SERVE_UNTIL(&rig, &client, call.closed);
        h2_peer_call_deinit(&call);
        ages_ns[i] = connection->aged_ns - connection->idle_since_ns; /* from its only call */
        ck_assert_uint_ge(ages_ns[i], age_ns / 10 * 9 - CLOCK_NS_PER_S);
        ck_assert_uint_le(ages_ns[i], age_ns / 10 * 11);
        differ = differ || ages_ns[i] != ages_ns[0];
        leave();
    }
    ck_assert(differ);
}

END_TEST

/* The end of an idle connection has a name, too (K7). */
START_TEST(idleness_has_a_name)
{
    serve_rig_init(&rig);
    rig.options.idle_timeout_ns = 300 * CLOCK_NS_PER_S;
    open_connection(false);
    serve_rig_push_clock(&rig, 300 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 1);
    serve_rig_push_clock(&rig, 10 * CLOCK_NS_PER_S);
    see_goaway(H2_ERROR_NO_ERROR, "max_idle");
    ck_assert_uint_eq(hits(LIMITS_HIT_IDLE_TIMEOUT), 1);
    leave();
}

END_TEST

static unsigned judged;

/* Refuses every call, and after the third ends the connection; again and again, which is safe. */
static bool refuse(void *context, struct grpc_call *call)
{
    ck_assert_ptr_null(context);
    judged++;
    grpc_call_fail_text(call, GRPC_STATUS_UNAUTHENTICATED, "TEST", "no");
    if (judged >= 3) {
        call->host->ops->end_connection(call->host, "too_many_auth_failures");
        call->host->ops->end_connection(call->host, "another");
    }
    return false;
}

static const struct grpc_stage refusing_stage = {.begin = refuse};

static void begin_refusing(void)
{
    judged = 0;
    serve_rig_init(&rig);
    rig.dispatch.stages = &refusing_stage;
    rig.dispatch.stage_count = 1;
}

/* A stage ends the connection: what was answered goes out, calls behind it are refused unseen, then
 * comes the GOAWAY with the reason. */
START_TEST(stage_ends_the_connection)
{
    struct buf in = {0};
    struct h2_frame frame;
    int32_t i;

    begin_refusing();
    open_connection(true);
    for (i = 0; i < 5; i++) {
        append_request(&in, 2 * i + 1, "/t.T/Echo");
    }
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too_many_auth_failures");
    ck_assert_uint_eq(judged, 3);
    for (i = 0; i < 3; i++) {
        ck_assert_uint_eq(
            h2_frame_count(buf_bytes(&client.seen), H2_FRAME_HEADERS, 2 * i + 1, &frame), 1);
        ck_assert((frame.flags & H2_FLAG_END_STREAM) != 0);
    }
    for (; i < 5; i++) {
        ck_assert_uint_eq(
            h2_frame_count(buf_bytes(&client.seen), H2_FRAME_RST_STREAM, 2 * i + 1, &frame), 1);
        ck_assert_uint_eq(h2_frame_number(&frame, 0), H2_ERROR_REFUSED_STREAM);
    }
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    buf_deinit(&in);
    leave();
}

END_TEST

/* It may also be asked for a connection that ends anyway, or is gone. */
START_TEST(stage_ends_a_connection_that_goes)
{
    struct buf in = {0};

    begin_refusing();
    judged = 2;
    open_connection(true);
    append_request(&in, 1, "/t.T/Echo");
    h2_frame_append(&in, H2_FRAME_DATA, 0, 99, "x", 1); /* breaks the protocol in the same turn */
    serve_client_send(&client, &in);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(judged, 3);
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    connection->host.ops->end_connection(&connection->host, "late");
    buf_deinit(&in);
    leave();
}

END_TEST

static void release(void *memo)
{
    ck_assert_ptr_eq(memo, &released);
    released++;
}

/* What a stage keeps for the connection is released with it: once, and after its last call. */
START_TEST(memo_lives_as_long_as_the_connection)
{
    struct h2_peer_call held;

    released = 0;
    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    ck_assert_uint_eq(rig.held->host->auth_failures, 0);
    rig.held->host->memo = &released;
    rig.held->host->memo_release = release;
    ck_assert_int_eq(shutdown(client.fd, SHUT_RDWR), 0);
    SERVE_UNTIL(&rig, &client, connection->conn == NULL);
    ck_assert_uint_eq(released, 0);
    grpc_call_release(rig.held);
    ck_assert_ptr_null(connection);
    ck_assert_uint_eq(released, 1);
    h2_peer_call_deinit(&held);
    serve_client_deinit(&client);
    grpc_connection_owner_deinit(&owner);
    serve_rig_deinit(&rig);
}

END_TEST

static void append_bad_request(struct buf *in, int32_t stream_id)
{
    static const char *const fields[] = {":method", "GET",        ":scheme", "http", ":path",
                                         "/t.T",    ":authority", "x",       NULL};
    struct buf block = {0};

    h2_frame_append_fields(&block, fields);
    h2_frame_append(in, H2_FRAME_HEADERS, H2_FLAG_END_HEADERS | H2_FLAG_END_STREAM, stream_id,
                    buf_bytes(&block).data, buf_size(&block));
    buf_deinit(&block);
}

/* Requests that are no gRPC never reach the stages: they are charged like resets. */
START_TEST(bad_heads_end_the_connection)
{
    struct buf in = {0};
    int32_t i;

    serve_rig_init(&rig);
    rig.options.h2.reset_burst = 20;
    rig.options.h2.reset_rate = 1;
    open_connection(true);
    for (i = 0; i < 30; i++) {
        append_bad_request(&in, 2 * i + 1);
    }
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many bad requests");
    ck_assert_uint_le(owner.stats.calls_started, 21);
    ck_assert_uint_eq(hits(LIMITS_HIT_RESETS), 1);
    buf_deinit(&in);
    leave();
}

END_TEST

/* Heads over the size that was announced are answered, and charged several times each. */
START_TEST(large_heads_end_the_connection)
{
    static char value[5000];
    const char *const more[] = {"x-large", value, NULL};
    struct buf in = {0};

    memset(value, 'v', sizeof(value) - 1);
    serve_rig_init(&rig);
    rig.options.h2.max_header_list = 4000;
    rig.options.h2.reset_burst = 20;
    rig.options.h2.reset_rate = 1;
    open_connection(true);
    for (int32_t i = 0; i < 20; i++) {
        h2_frame_append_request(&in, 2 * i + 1, H2_FLAG_END_STREAM, "/t.T/Echo", more);
    }
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many bad requests");
    ck_assert_uint_ge(owner.stats.calls_started, 5);
    ck_assert_uint_le(owner.stats.calls_started, 7);
    ck_assert_uint_ge(hits(LIMITS_HIT_HEADER_LIST), 5);
    ck_assert_uint_eq(hits(LIMITS_HIT_RESETS), 1);
    buf_deinit(&in);
    leave();
}

END_TEST

/* So are requests beyond what may be buffered: filling every stream halfway ends the connection. */
START_TEST(half_messages_end_the_connection)
{
    static const uint8_t half[] = {0, 0, 0, 2, 0, 'h', 'a', 'l', 'f'};
    struct buf in = {0};

    serve_rig_init(&rig);
    rig.options.h2.reset_burst = 20;
    rig.options.h2.reset_rate = 1;
    rig.options.max_buffered_per_connection = 10;
    open_connection(true);
    for (int32_t i = 0; i < 40; i++) {
        h2_frame_append_request(&in, 2 * i + 1, 0, "/t.T/Echo", NULL);
        h2_frame_append(&in, H2_FRAME_DATA, 0, 2 * i + 1, half, sizeof(half));
    }
    serve_client_send(&client, &in);
    see_goaway(H2_ERROR_ENHANCE_YOUR_CALM, "too many bad requests");
    ck_assert_uint_gt(hits(LIMITS_HIT_BUFFERED_PER_CONNECTION), 20);
    ck_assert_uint_eq(hits(LIMITS_HIT_RESETS), 1);
    buf_deinit(&in);
    leave();
}

END_TEST

/* Among good calls a few of them are borne for ever. */
START_TEST(bad_heads_among_good_calls_are_borne)
{
    struct buf in = {0};
    int32_t i;

    serve_rig_init(&rig);
    rig.options.h2.reset_burst = 20;
    rig.options.h2.reset_rate = 0;
    open_connection(true);
    for (i = 0; i < 200; i += 2) {
        append_bad_request(&in, 2 * i + 1);
        append_request(&in, 2 * i + 3, "/t.T/Echo");
        serve_client_send(&client, &in);
        buf_clear(&in);
        SERVE_UNTIL(&rig, &client, owner.stats.calls_finished == (unsigned)i + 2);
        loop_turn(&rig.loop);
    }
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    buf_deinit(&in);
    leave();
}

END_TEST

UNIT_MAIN("grpc_connection_limits", pings_too_often_end_the_connection, pings_count_by_open_calls,
          pings_that_measure_are_honest, age_ends_the_connection, age_waits_for_calls,
          age_gives_the_client_time, age_differs, idleness_has_a_name, stage_ends_the_connection,
          stage_ends_a_connection_that_goes, memo_lives_as_long_as_the_connection,
          bad_heads_end_the_connection, large_heads_end_the_connection,
          half_messages_end_the_connection, bad_heads_among_good_calls_are_borne)
