#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "http2/grpc_connection.h"

#include <sys/socket.h>

/* A client that is not heard is sent a PING, and given up when it stays silent (K1, K2). */

#define TIME_NS    (100 * CLOCK_NS_PER_S)
#define TIMEOUT_NS (20 * CLOCK_NS_PER_S)

static struct serve_rig rig;
static struct grpc_connection_owner owner;
static struct grpc_connection *connection; /* NULL once gone */
static struct serve_client client;
static unsigned finished_with[GRPC_STATUS_UNAUTHENTICATED + 1];

static void on_settled(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    (void)who;
    (void)which;
}

static void on_gone(struct grpc_connection_owner *who, struct grpc_connection *which)
{
    ck_assert_ptr_eq(who, &owner);
    ck_assert_ptr_eq(which, connection);
    connection = NULL;
}

static void note_end(void *context, struct grpc_call *call)
{
    (void)context;
    finished_with[call->status]++;
}

static bool let_in(void *context, struct grpc_call *call)
{
    (void)context;
    (void)call;
    return true;
}

static const struct grpc_stage noting_stage = {.begin = let_in, .end = note_end};

static void begin(void)
{
    memset(finished_with, 0, sizeof(finished_with));
    serve_rig_init(&rig);
    rig.dispatch.stages = &noting_stage;
    rig.dispatch.stage_count = 1;
    rig.options.keepalive_ns = TIME_NS;
    rig.options.keepalive_timeout_ns = TIMEOUT_NS;
    rig.options.idle_timeout_ns = 1000 * TIME_NS;
}

/* A connection over a pair of sockets, whose client speaks by hand, and has sent its preface. */
static void open_connection(void)
{
    struct buf in = {0};
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    grpc_connection_owner_init(&owner, &rig.loop.reactor, &rig.options, &rig.dispatch);
    owner.settled = on_settled;
    owner.gone = on_gone;
    ck_assert_int_eq(grpc_connection_new(&owner, fds[0], NULL, "test", &connection), 0);
    serve_client_init(&client, fds[1], true);
    h2_frame_append_preface(&in);
    serve_client_send(&client, &in);
    buf_deinit(&in);
    SERVE_UNTIL(&rig, &client, connection->has_received);
}

static void clean_up(void)
{
    SERVE_UNTIL(&rig, &client, connection == NULL);
    ck_assert_uint_eq(owner.stats.calls_running, 0);
    serve_client_deinit(&client);
    grpc_connection_owner_deinit(&owner);
    serve_rig_deinit(&rig);
}

static void leave(void)
{
    ck_assert_int_eq(shutdown(client.fd, SHUT_WR), 0);
    clean_up();
}

static uint64_t hits(void)
{
    return rig.loop.reactor.limits_hit.counts[LIMITS_HIT_KEEPALIVE];
}

static unsigned pings(void)
{
    return serve_client_count(&client, H2_FRAME_PING);
}

/* Lets time pass, and everything happen that is due. */
static void pass(uint64_t ns)
{
    serve_rig_push_clock(&rig, ns);
    loop_turn(&rig.loop);
    serve_client_pump(&client);
    loop_turn(&rig.loop);
    serve_client_pump(&client);
}

/* Sends bytes, and waits until they have come. */
static void say(struct buf *in)
{
    uint64_t heard_ns = conn_heard_ns(connection->conn);

    serve_client_send(&client, in);
    buf_deinit(in);
    SERVE_UNTIL(&rig, &client, conn_heard_ns(connection->conn) > heard_ns);
}

static void say_byte(void)
{
    struct buf in = {0};

    ck_assert_int_eq(buf_append(&in, "", 1), 0); /* of the head of a frame */
    say(&in);
}

static void append_request(struct buf *in, int32_t stream_id, const char *path)
{
    h2_frame_append_request(in, stream_id, 0, path, NULL);
    h2_frame_append(in, H2_FRAME_DATA, H2_FLAG_END_STREAM, stream_id, "\0\0\0\0\0", 5);
}

/* A client that answers is kept, for ever, and asked no more often than it is silent. */
START_TEST(keepalive_asks_who_is_silent)
{
    struct h2_frame frame;
    unsigned i;

    begin();
    open_connection();
    for (i = 1; i <= 10; i++) {
        struct buf in = {0};

        pass(TIME_NS - CLOCK_NS_PER_S);
        ck_assert_uint_eq(pings(), i - 1);
        pass(CLOCK_NS_PER_S);
        SERVE_UNTIL(&rig, &client, pings() == i);
        (void)h2_frame_count(buf_bytes(&client.seen), H2_FRAME_PING, 0, &frame);
        ck_assert_uint_eq(frame.flags, 0);
        pass(TIMEOUT_NS - CLOCK_NS_PER_S);
        h2_frame_append(&in, H2_FRAME_PING, H2_FLAG_ACK, 0, frame.payload.data, 8);
        say(&in);
    }
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    ck_assert_uint_eq(hits(), 0);
    leave();
}

END_TEST

/* One that does not is given up: its calls end as CANCELLED, and it is counted. Should it only have
 * slept, it finds a GOAWAY, and knows that a call it begins now was not seen. */
START_TEST(keepalive_gives_up_who_stays_silent)
{
    struct buf in = {0};
    struct h2_frame frame;

    begin();
    open_connection();
    append_request(&in, 1, "/t.T/Hold");
    say(&in);
    SERVE_UNTIL(&rig, &client, rig.held_count == 1);
    pass(TIME_NS);
    SERVE_UNTIL(&rig, &client, pings() == 1);
    pass(TIMEOUT_NS - CLOCK_NS_PER_S);
    ck_assert_uint_eq(rig.cancelled_count, 0);
    ck_assert_uint_eq(hits(), 0);
    pass(CLOCK_NS_PER_S);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(rig.cancelled_count, 1);
    ck_assert_uint_eq(finished_with[GRPC_STATUS_CANCELLED], 1);
    grpc_call_release(rig.held);
    ck_assert_uint_eq(pings(), 1);
    ck_assert_uint_eq(h2_frame_count(buf_bytes(&client.seen), H2_FRAME_GOAWAY, 0, &frame), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 0), 1);
    ck_assert_uint_eq(h2_frame_number(&frame, 4), H2_ERROR_NO_ERROR);
    ck_assert_uint_eq(hits(), 1);
    ck_assert_uint_eq(owner.stats.connections_failed, 1);
    leave();
}

END_TEST

/* Any byte is a sign of life, before the PING and after it. */
START_TEST(keepalive_takes_any_byte)
{
    unsigned i;

    begin();
    open_connection();
    for (i = 0; i < 8; i++) { /* one head of a frame is not whole yet */
        pass(TIME_NS - CLOCK_NS_PER_S);
        say_byte();
    }
    ck_assert_uint_eq(pings(), 0);
    leave();

    begin();
    open_connection();
    for (i = 1; i <= 8; i++) {
        pass(TIME_NS);
        SERVE_UNTIL(&rig, &client, pings() == i);
        pass(TIMEOUT_NS - CLOCK_NS_PER_S);
        say_byte();
        pass(CLOCK_NS_PER_S);
    }
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    ck_assert_uint_eq(hits(), 0);
    leave();
}

END_TEST

/* A patience longer than the time between PINGs changes neither. */
START_TEST(keepalive_with_a_long_patience)
{
    unsigned i;

    begin();
    rig.options.keepalive_timeout_ns = 10 * TIME_NS;
    open_connection();
    for (i = 1; i <= 8; i++) {
        pass(TIME_NS);
        SERVE_UNTIL(&rig, &client, pings() == i);
        say_byte();
    }
    pass(TIME_NS);
    SERVE_UNTIL(&rig, &client, pings() == 9);
    for (i = 1; i < 10; i++) {
        pass(TIME_NS);
    }
    ck_assert_uint_eq(pings(), 9);
    ck_assert_uint_eq(hits(), 0);
    pass(TIME_NS);
    SERVE_UNTIL(&rig, &client, client.has_ended);
    ck_assert_uint_eq(hits(), 1);
    leave();
}

END_TEST

/* 0 is never; and what a reload says counts at once. */
START_TEST(keepalive_may_be_switched)
{
    begin();
    rig.options.keepalive_ns = 0;
    open_connection();
    ck_assert_uint_eq(owner.conn_settings.user_timeout_ns, 0);
    pass(30 * TIME_NS);
    ck_assert_uint_eq(pings(), 0);
    rig.options.keepalive_ns = TIME_NS;
    grpc_connection_owner_set_options(&owner, &rig.options);
    ck_assert_uint_eq(owner.conn_settings.user_timeout_ns, TIMEOUT_NS); /* of sockets to come */
    grpc_connection_reconsider(connection);
    SERVE_UNTIL(&rig, &client, pings() == 1);
    rig.options.keepalive_ns = 0;
    grpc_connection_owner_set_options(&owner, &rig.options);
    grpc_connection_reconsider(connection);
    pass(30 * TIME_NS);
    ck_assert_uint_eq(pings(), 1);
    ck_assert_uint_eq(hits(), 0);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    leave();
}

END_TEST

/* An answer that the client does not take, in its socket and in ours. */
static void get_stuck(void)
{
    struct buf in = {0};

    rig.options.body_progress_ns = 100 * TIME_NS;
    rig.options.send_timeout_ns = 100 * TIME_NS;
    open_connection();
    client.reads = false;
    h2_frame_append_number(&in, H2_FRAME_WINDOW_UPDATE, 0, 1U << 30);
    append_request(&in, 1, "/t.T/Large");
    h2_frame_append_number(&in, H2_FRAME_WINDOW_UPDATE, 1, 1U << 30);
    say(&in);
    for (unsigned i = 0; i < 20; i++) { /* until the socket is full */
        loop_turn(&rig.loop);
    }
    ck_assert_uint_gt(conn_unsent_size(connection->conn), 0);
}

/* To one that takes nothing either a GOAWAY is not sent, and it is gone at once. */
START_TEST(keepalive_drops_what_is_stuck)
{
    begin();
    get_stuck();
    pass(TIME_NS);
    ck_assert_ptr_nonnull(connection);
    pass(TIMEOUT_NS);
    SERVE_UNTIL(&rig, &client, connection == NULL);
    ck_assert_uint_eq(hits(), 1);
    ck_assert_uint_eq(finished_with[GRPC_STATUS_OK], 1);
    clean_up();
}

END_TEST

/* A client whose bytes we leave in the kernel is not silent: it is another limit that ends it. */
START_TEST(keepalive_spares_who_is_not_read)
{
    struct buf in = {0};
    unsigned i;

    begin();
    get_stuck();
    h2_frame_append(&in, H2_FRAME_PING, 0, 0, "01234567", 8);
    serve_client_send(&client, &in);
    buf_deinit(&in);
    SERVE_UNTIL(&rig, &client, conn_is_paused(connection->conn));
    for (i = 0; i < 10; i++) {
        pass(TIME_NS);
    }
    ck_assert(conn_is_paused(connection->conn));
    ck_assert_uint_eq(hits(), 0);
    client.reads = true;
    SERVE_UNTIL(&rig, &client, owner.stats.calls_running == 0);
    ck_assert_int_eq(connection->phase, GRPC_CONNECTION_OPEN);
    ck_assert_uint_eq(pings(), 1); /* the acknowledgement of its own */
    leave();
}

END_TEST

UNIT_MAIN("grpc_connection_keepalive", keepalive_asks_who_is_silent,
          keepalive_gives_up_who_stays_silent, keepalive_drops_what_is_stuck,
          keepalive_takes_any_byte, keepalive_with_a_long_patience, keepalive_may_be_switched,
          keepalive_spares_who_is_not_read)
