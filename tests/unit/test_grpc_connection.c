#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "http2/grpc_connection.h"

#include <sys/socket.h>
#include <unistd.h>

static struct serve_rig rig;
static struct grpc_connection_owner owner;
static struct grpc_connection *connection; /* NULL once gone */
static struct serve_client client;
static unsigned settled;

static void on_settled(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    ck_assert_ptr_eq(who, &owner);
    ck_assert_ptr_eq(which, connection);
    settled++;
}

static void on_gone(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    ck_assert_ptr_eq(who, &owner);
    ck_assert_ptr_eq(which, connection);
    connection = NULL;
}

/* One end of a socket pair for the connection, the other for a client of the kind. */
static void open_connection(bool is_raw)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    settled = 0;
    grpc_connection_owner_init(&owner, &rig.loop.reactor, &rig.options, &rig.dispatch);
    owner.settled = on_settled;
    owner.gone = on_gone;
    ck_assert_int_eq(grpc_connection_new(&owner, fds[0], NULL, "test", &connection), 0);
    serve_client_init(&client, fds[1], is_raw);
    SERVE_UNTIL(&rig, &client, settled == 1);
}

static void clean_up(void)
{
    ck_assert_ptr_null(connection);
    ck_assert_uint_eq(settled, 1);
    ck_assert_uint_eq(owner.stats.calls_running, 0);
    ck_assert_uint_eq(owner.stats.calls_finished, owner.stats.calls_started);
    serve_client_deinit(&client);
    grpc_connection_owner_deinit(&owner);
    serve_rig_deinit(&rig);
}

/* The client leaves, and everything goes. */
static void leave(void)
{
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    SERVE_UNTIL(&rig, &client, connection == NULL);
    clean_up();
}

/* The server has ended it, gracefully: the client reads to the end, closes, and everything goes. */
static void see_the_end(void)
{
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert(!client.was_reset);
    leave();
}

/* The error of the last GOAWAY the client saw. */
static uint32_t goaway_error(void)
{
    struct h2_frame frame;

    ck_assert_uint_ge(h2_frame_count(buf_bytes(&client.seen), H2_FRAME_GOAWAY, 0, &frame), 1);
    return h2_frame_number(&frame, 4);
}

/* Calls go through, many at a time, and the counts agree. */
START_TEST(connection_serves_calls)
{
    struct h2_peer_call calls[50];
    unsigned i;

    serve_rig_init(&rig);
    open_connection(false);
    for (i = 0; i < 50; i++) {
        h2_peer_call_unary(&client.peer, &calls[i], "/t.T/Echo", "hello", 5);
    }
    SERVE_UNTIL(&rig, &client, calls[49].closed);
    for (i = 0; i < 50; i++) {
        ck_assert_str_eq(h2_peer_field(&calls[i], "grpc-status"), "0");
        ck_assert(bytes_equal(buf_bytes(&calls[i].body), BYTES_LITERAL("\0\0\0\0\5hello")));
        h2_peer_call_deinit(&calls[i]);
    }
    ck_assert_uint_eq(owner.stats.calls_started, 50);
    leave();
}

END_TEST

/* An answer much larger than all buffers arrives, at the pace of its reader. */
START_TEST(connection_sends_large_answers)
{
    struct h2_peer_call calls[3];
    unsigned i;

    serve_rig_init(&rig);
    open_connection(false);
    for (i = 0; i < 3; i++) {
        h2_peer_call_unary(&client.peer, &calls[i], "/t.T/Large", "", 0);
    }
    for (i = 0; i < 3; i++) {
        SERVE_UNTIL(&rig, &client, calls[i].closed);
        ck_assert_uint_eq(buf_size(&calls[i].body), 1000005);
        ck_assert_str_eq(h2_peer_field(&calls[i], "grpc-status"), "0");
        h2_peer_call_deinit(&calls[i]);
    }
    leave();
}

END_TEST

/* Appends a whole request to a method with an empty message. */
static void append_request(struct buf *in, int32_t stream_id, const char *path)
{
    h2_frame_append_request(in, stream_id, 0, path, NULL);
    h2_frame_append(in, H2_FRAME_DATA, H2_FLAG_END_STREAM, stream_id, "\0\0\0\0\0", 5);
}

/* A peer that asks and does not read is read from no further, and costs no more memory than the
 * limits say. */
START_TEST(connection_stops_reading_from_who_does_not_read)
{
    struct buf in = {0};
    uint64_t started;
    int32_t i;

    serve_rig_init(&rig);
    rig.options.max_unsent = 1 << 30; /* what waits in streams is for another test */
    open_connection(true);
    client.reads = false;
    h2_frame_append_preface(&in);
    h2_frame_append_number(&in, H2_FRAME_WINDOW_UPDATE, 0, 0x40000000);
    for (i = 0; i < 90; i++) { /* each asks for a megabyte */
        append_request(&in, 2 * i + 1, "/t.T/Large");
    }
    serve_client_send(&client, &in);
    /* The socket's own buffers fill first; then a send stays in flight, and what is read next is
     * the last. */
    for (i = 0; i < 20; i++) {
        loop_turn(&rig.loop);
    }
    buf_clear(&in);
    append_request(&in, 181, "/t.T/Echo");
    serve_client_send(&client, &in);
    while (!conn_is_paused(connection->conn)) {
        loop_turn(&rig.loop);
    }
    started = owner.stats.calls_started;
    buf_clear(&in);
    append_request(&in, 183, "/t.T/Echo");
    serve_client_send(&client, &in);
    for (i = 0; i < 20; i++) {
        loop_turn(&rig.loop);
    }
    ck_assert(conn_is_paused(connection->conn));
    ck_assert_uint_ge(rig.loop.reactor.limits_hit.counts[LIMITS_HIT_OUTQ], 1);
    ck_assert_uint_eq(owner.stats.calls_started, started);
    ck_assert_uint_le(conn_unsent_size(connection->conn), 4 * 65536);
    buf_deinit(&in);
    ck_assert_int_eq(close(client.fd), 0);
    client.fd = -1;
    client.has_ended = true;
    SERVE_UNTIL(&rig, &client, connection == NULL);
    clean_up();
}

END_TEST

/* A client that does not take its long answers gets no more of them made: further requests for them
 * wait, and are answered when it reads. Short answers do not wait. */
START_TEST(connection_holds_requests_back_while_answers_wait)
{
    struct h2_peer_call calls[10];
    struct h2_peer_call echo;
    unsigned answered = 0;
    unsigned i;

    serve_rig_init(&rig);
    rig.options.max_unsent = 1 << 20;
    open_connection(false);
    h2_peer_call_unary(&client.peer, &calls[0], "/t.T/Large", "", 0);
    calls[0].holds_credit = true;
    SERVE_UNTIL(&rig, &client, buf_size(&calls[0].body) > 0);
    h2_peer_call_unary(&client.peer, &echo, "/t.T/Echo", "hello", 5);
    SERVE_UNTIL(&rig, &client, echo.closed); /* past the megabyte that waits */
    for (i = 1; i < 10; i++) {
        h2_peer_call_unary(&client.peer, &calls[i], "/t.T/Large", "", 0);
        calls[i].holds_credit = true;
    }
    SERVE_UNTIL(&rig, &client, owner.stats.calls_started == 11 && connection->has_waiting);
    for (i = 0; i < 10; i++) {
        loop_turn(&rig.loop);
        serve_client_pump(&client);
    }
    ck_assert_uint_lt(h2_session_unsent_size(connection->session), 4 << 20);
    for (i = 0; i < 10; i++) {
        answered += calls[i].head_done;
    }
    ck_assert_uint_lt(answered, 5);
    h2_peer_call_deinit(&echo);
    h2_peer_call_unary(&client.peer, &echo, "/t.T/Echo", "hello", 5);
    SERVE_UNTIL(&rig, &client, echo.closed);
    ck_assert(connection->has_waiting);
    ck_assert_uint_ge(rig.loop.reactor.limits_hit.counts[LIMITS_HIT_UNSENT], 1);
    for (i = 0; i < 10; i++) {
        calls[i].holds_credit = false;
        h2_stream_consume(calls[i].stream, buf_size(&calls[i].body));
    }
    h2_peer_drain(&client.peer);
    for (i = 0; i < 10; i++) {
        SERVE_UNTIL(&rig, &client, calls[i].closed);
        ck_assert_str_eq(h2_peer_field(&calls[i], "grpc-status"), "0");
        h2_peer_call_deinit(&calls[i]);
    }
    ck_assert(!connection->has_waiting);
    h2_peer_call_deinit(&echo);
    leave();
}

END_TEST

/* Beyond the limit on running handlers streams are refused, also while the streams of the running
 * ones are gone. */
START_TEST(connection_limits_running_handlers)
{
    struct h2_peer_call held;
    struct h2_peer_call refused;
    struct grpc_call *call;

    serve_rig_init(&rig);
    rig.options.max_running = 1;
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    call = rig.held;
    h2_stream_reset(held.stream, H2_ERROR_CANCEL);
    SERVE_UNTIL(&rig, &client, rig.cancelled_count == 1);
    ck_assert_uint_eq(owner.stats.calls_running, 1); /* its handler still works */
    h2_peer_call_unary(&client.peer, &refused, "/t.T/Echo", "", 0);
    SERVE_UNTIL(&rig, &client, refused.closed);
    ck_assert_uint_eq(refused.error, H2_ERROR_REFUSED_STREAM);
    ck_assert_uint_eq(owner.stats.calls_refused, 1);
    ck_assert_uint_eq(owner.stats.calls_refused_by[GRPC_CALL_REFUSAL_RUNNING], 1);
    ck_assert_uint_eq(rig.loop.reactor.limits_hit.counts[LIMITS_HIT_RUNNING], 1);
    h2_peer_call_deinit(&refused);
    grpc_call_release(call);
    h2_peer_call_unary(&client.peer, &refused, "/t.T/Echo", "", 0);
    SERVE_UNTIL(&rig, &client, refused.closed);
    ck_assert_str_eq(h2_peer_field(&refused, "grpc-status"), "0");
    h2_peer_call_deinit(&refused);
    h2_peer_call_deinit(&held);
    leave();
}

END_TEST

/* A lost connection cancels its calls; it goes when the last handler lets go (P26, X3). */
START_TEST(connection_outlived_by_a_handler)
{
    struct h2_peer_call held;
    const struct bytes reply = BYTES_LITERAL("late");

    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    ck_assert_int_eq(shutdown(client.fd, SHUT_RDWR), 0);
    SERVE_UNTIL(&rig, &client, rig.cancelled_count == 1);
    SERVE_UNTIL(&rig, &client, connection->conn == NULL);
    ck_assert_int_eq(rig.held->status, GRPC_STATUS_CANCELLED);
    grpc_call_reply(rig.held, &reply, 1);
    ck_assert_ptr_nonnull(connection);
    grpc_call_release(rig.held);
    ck_assert_ptr_null(connection);
    h2_peer_call_deinit(&held);
    clean_up();
}

END_TEST

/* A handler that answers in a later turn is heard. */
START_TEST(connection_flushes_late_answers)
{
    struct h2_peer_call held;
    const struct bytes reply = BYTES_LITERAL("late");

    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    loop_turn(&rig.loop);
    grpc_call_reply(rig.held, &reply, 1);
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, held.closed);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "0");
    h2_peer_call_deinit(&held);
    leave();
}

END_TEST

/* A peer that breaks the protocol reads why, and is counted. */
START_TEST(connection_tells_why_it_ends)
{
    struct buf in = {0};

    serve_rig_init(&rig);
    open_connection(true);
    h2_frame_append_preface(&in);
    h2_frame_append(&in, H2_FRAME_DATA, 0, 1, "x", 1);
    serve_client_send(&client, &in);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(goaway_error(), H2_ERROR_PROTOCOL);
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    ck_assert_uint_eq(owner.stats.goaways[GRPC_GOAWAY_PROTOCOL], 1);
    buf_deinit(&in);
    see_the_end();
}

END_TEST

/* HTTP/1.1 on the port is no crash and no silence. */
START_TEST(connection_ends_for_foreign_protocols)
{
    struct buf in = {0};

    serve_rig_init(&rig);
    open_connection(true);
    ck_assert_int_eq(buf_append(&in, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 0);
    serve_client_send(&client, &in);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    buf_deinit(&in);
    see_the_end();
}

END_TEST

/* Who only connects and leaves has done nothing wrong (P30). */
START_TEST(connection_takes_a_probe_for_what_it_is)
{
    serve_rig_init(&rig);
    open_connection(true);
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    SERVE_UNTIL(&rig, &client, connection == NULL);
    ck_assert_uint_eq(owner.stats.connections_failed, 0);
    ck_assert_uint_eq(owner.stats.connections_closed[CONN_END_PEER], 1);
    ck_assert_uint_eq(owner.stats.handshakes_done, 0); /* there is no TLS here */
    clean_up();
}

END_TEST

/* Each thing that must happen in time has its limit, after which the peer reads a GOAWAY with the
 * reason. */
START_TEST(connection_has_no_patience_without_end)
{
    enum {
        PREFACE,
        HALF_PREFACE,
        SETTINGS_ACK,
        HEADER_BLOCK
    } what;

    static const enum limits_hit_reason reasons[] = {
        LIMITS_HIT_PREFACE_TIMEOUT, LIMITS_HIT_PREFACE_TIMEOUT, LIMITS_HIT_SETTINGS_ACK_TIMEOUT,
        LIMITS_HIT_HEADER_TIMEOUT};

    for (what = PREFACE; what <= HEADER_BLOCK; what++) {
        struct buf in = {0};

        serve_rig_init(&rig);
        rig.options.preface_timeout_ns = 5 * CLOCK_NS_PER_S;
        rig.options.settings_ack_timeout_ns = 10 * CLOCK_NS_PER_S;
        rig.options.header_timeout_ns = 20 * CLOCK_NS_PER_S;
        open_connection(true);
        h2_frame_append_preface(&in);
        if (what == HEADER_BLOCK) {
            h2_frame_append(&in, H2_FRAME_HEADERS, 0, 1, "\x83", 1);
        } else if (what == SETTINGS_ACK) {
            in.end -= 9;
        } else {
            in.end = what == PREFACE ? in.start : in.start + 10;
        }
        if (buf_size(&in) > 0) {
            serve_client_send(&client, &in);
            SERVE_UNTIL(&rig, &client, connection->has_received);
        }
        serve_rig_push_clock(&rig, 4 * CLOCK_NS_PER_S);
        loop_turn(&rig.loop);
        serve_client_pump(&client);
        ck_assert(!client.has_ended);
        serve_rig_push_clock(&rig, 16 * CLOCK_NS_PER_S);
        SERVE_UNTIL(&rig, &client, client.has_ended);
        ck_assert_uint_eq(goaway_error(), what == HEADER_BLOCK ? H2_ERROR_ENHANCE_YOUR_CALM
                                                               : H2_ERROR_SETTINGS_TIMEOUT);
        ck_assert_uint_eq(owner.stats.connections_failed, 1);
        ck_assert_uint_eq(rig.loop.reactor.limits_hit.counts[reasons[what]], 1);
        buf_deinit(&in);
        see_the_end();
    }
}

END_TEST

/* A body that stops moving ends its call, not the connection. */
START_TEST(connection_ends_a_call_that_stands_still)
{
    struct h2_peer_call slow;
    struct h2_peer_call quick;

    serve_rig_init(&rig);
    rig.options.body_progress_ns = 10 * CLOCK_NS_PER_S;
    open_connection(false);
    h2_peer_begin(&client.peer, &slow, "/t.T/Echo", NULL);
    SERVE_UNTIL(&rig, &client, owner.stats.calls_started == 1);
    serve_rig_push_clock(&rig, 15 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, slow.closed);
    ck_assert_str_eq(h2_peer_field(&slow, "grpc-status"), "4");
    h2_peer_call_unary(&client.peer, &quick, "/t.T/Echo", "", 0);
    SERVE_UNTIL(&rig, &client, quick.closed);
    ck_assert_str_eq(h2_peer_field(&quick, "grpc-status"), "0");
    h2_peer_call_deinit(&slow);
    h2_peer_call_deinit(&quick);
    leave();
}

END_TEST

/* A connection without calls is ended, in two steps, and one with a call is not. */
START_TEST(connection_ends_when_idle)
{
    struct h2_peer_call held;

    serve_rig_init(&rig);
    rig.options.idle_timeout_ns = 300 * CLOCK_NS_PER_S;
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    serve_rig_push_clock(&rig, 400 * CLOCK_NS_PER_S);
    loop_turn(&rig.loop);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    grpc_call_fail_text(rig.held, GRPC_STATUS_ABORTED, "TEST", "");
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, held.closed);
    h2_peer_call_deinit(&held);
    serve_rig_push_clock(&rig, 2000 * CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 1);
    serve_rig_push_clock(&rig, 9 * CLOCK_NS_PER_S); /* no call is on its way, and nghttp2 at rest */
    loop_turn(&rig.loop);                           /* answers no PING after the first GOAWAY */
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_ANNOUNCED);
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(serve_client_count(&client, H2_FRAME_GOAWAY), 2);
    ck_assert_uint_eq(goaway_error(), H2_ERROR_NO_ERROR);
    ck_assert_uint_eq(owner.stats.goaways[GRPC_GOAWAY_MAX_IDLE], 1);
    see_the_end();
}

END_TEST

/* A drain lets an open call finish with its real answer, then ends (P27, X2). */
START_TEST(connection_drains_after_its_calls)
{
    struct h2_peer_call held;
    const struct bytes reply = BYTES_LITERAL("done");

    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    grpc_connection_drain(connection);
    grpc_connection_drain(connection);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 2);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_ENDING);
    grpc_call_reply(rig.held, &reply, 1);
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, held.closed);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "0");
    ck_assert_uint_eq(owner.stats.goaways[GRPC_GOAWAY_SHUTDOWN], 1);
    h2_peer_call_deinit(&held);
    see_the_end();
}

END_TEST

/* How many bytes the server sent before the first frame of a type. */
static size_t place_of(unsigned type)
{
    struct bytes rest = buf_bytes(&client.seen);
    struct h2_frame frame;
    size_t place = 0;

    while (h2_frame_take(&rest, &frame) && frame.type != type) {
        place = buf_size(&client.seen) - rest.size;
    }
    return place;
}

/* Many clients acknowledge the PING before they send requests that are already on their way: these
 * are served, and the final GOAWAY knows them. */
START_TEST(connection_serves_what_comes_with_the_acknowledgement)
{
    struct buf in = {0};
    struct h2_frame frame;

    serve_rig_init(&rig);
    open_connection(true);
    h2_frame_append_preface(&in);
    serve_client_send(&client, &in);
    buf_clear(&in);
    SERVE_UNTIL(&rig, &client, connection->has_received);
    grpc_connection_drain(connection);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_PING) == 1);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&client.seen), H2_FRAME_GOAWAY, 0, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), 0x7fffffff);
    ck_assert_uint_lt(place_of(H2_FRAME_GOAWAY), place_of(H2_FRAME_PING)); /* P28 */
    (void)h2_frame_count(buf_bytes(&client.seen), H2_FRAME_PING, 0, &frame);
    h2_frame_append(&in, H2_FRAME_PING, H2_FLAG_ACK, 0, frame.payload.data, 8);
    for (int32_t i = 1; i <= 5; i += 2) {
        h2_frame_append_request(&in, i, 0, "/t.T/Echo", NULL);
        h2_frame_append(&in, H2_FRAME_DATA, H2_FLAG_END_STREAM, i, "\0\0\0\0\0", 5);
    }
    serve_client_send(&client, &in);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(owner.stats.calls_finished, 3);
    ck_assert_uint_eq(serve_client_count(&client, H2_FRAME_DATA), 3);
    ck_assert_uint_eq(serve_client_count(&client, H2_FRAME_RST_STREAM), 0);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&client.seen), H2_FRAME_GOAWAY, 0, &frame), 2);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), 5);
    buf_deinit(&in);
    see_the_end();
}

END_TEST

/* A peer that never answers the PING gets the final GOAWAY after a second. */
START_TEST(connection_drains_a_silent_peer)
{
    struct buf in = {0};

    serve_rig_init(&rig);
    open_connection(true);
    h2_frame_append_preface(&in);
    serve_client_send(&client, &in);
    SERVE_UNTIL(&rig, &client, connection->has_received);
    grpc_connection_drain(connection);
    SERVE_UNTIL(&rig, &client, serve_client_count(&client, H2_FRAME_GOAWAY) == 1);
    serve_rig_push_clock(&rig, CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(serve_client_count(&client, H2_FRAME_GOAWAY), 2);
    buf_deinit(&in);
    see_the_end();
}

END_TEST

/* Hurried, a call that runs on is answered UNAVAILABLE, and its handler hears. */
START_TEST(connection_hurries_with_a_clean_status)
{
    struct h2_peer_call held;

    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    grpc_connection_hurry(connection);
    ck_assert_uint_eq(rig.cancelled_count, 1);
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, held.closed);
    ck_assert_str_eq(h2_peer_field(&held, "grpc-status"), "14");
    h2_peer_call_deinit(&held);
    see_the_end();
}

END_TEST

/* Aborted, it is gone with the next turns, whatever was open. */
START_TEST(connection_aborts)
{
    struct h2_peer_call held;

    serve_rig_init(&rig);
    open_connection(false);
    h2_peer_call_unary(&client.peer, &held, "/t.T/Hold", "", 0);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    grpc_connection_abort(connection);
    SERVE_UNTIL(&rig, &client, rig.cancelled_count == 1);
    grpc_call_release(rig.held);
    SERVE_UNTIL(&rig, &client, connection == NULL);
    h2_peer_call_deinit(&held);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_connection", connection_serves_calls, connection_sends_large_answers,
          connection_stops_reading_from_who_does_not_read,
          connection_holds_requests_back_while_answers_wait, connection_limits_running_handlers,
          connection_outlived_by_a_handler, connection_flushes_late_answers,
          connection_tells_why_it_ends, connection_ends_for_foreign_protocols,
          connection_takes_a_probe_for_what_it_is, connection_has_no_patience_without_end,
          connection_ends_a_call_that_stands_still, connection_ends_when_idle,
          connection_drains_after_its_calls, connection_drains_a_silent_peer,
          connection_serves_what_comes_with_the_acknowledgement,
          connection_hurries_with_a_clean_status, connection_aborts)
