#include "lib/certs.h"
#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "client/channel.h"
#include "core/clock.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/tls.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#define CALLS_MAX 300

/* A call and what came of it. */
struct attempt {
    struct channel_call call;
    bool is_done;
    enum grpc_status status;
    enum channel_cause cause;
    char message[512];
    char reply[256];
    void (*then)(void);
};

static struct certs certs;
static struct reactor reactor;
static struct scripted_server peer;
static struct channel *channel;
static struct attempt attempts[CALLS_MAX];
static unsigned closed_count;
static struct tls_context *client_tls;
static struct tls_context *server_tls;

static void show_heads(struct scripted_request *request)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "%.20s|%s|%s|%s", request->authorization,
                   request->content_type, request->te,
                   request->timeout[0] == '\0' ? "no timeout" : "timeout");
    scripted_request_reply(request, bytes_from_text(text));
}

/* What the peer does with a request stands in its path. */
static void answer(struct scripted_server *the_peer, struct scripted_request *request)
{
    struct bytes body = buf_bytes(&request->body);

    (void)the_peer;
    if (strcmp(request->path, "/echo") == 0) {
        scripted_request_reply(request, (struct bytes){body.data + 5, body.size - 5});
    } else if (strcmp(request->path, "/heads") == 0) {
        show_heads(request);
    } else if (strcmp(request->path, "/error") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "5", "not%20here");
    } else if (strcmp(request->path, "/html") == 0) {
        scripted_request_refuse(request, "503", "text/html", NULL, NULL);
    } else if (strcmp(request->path, "/reset") == 0) {
        h2_stream_reset(request->stream, H2_ERROR_ENHANCE_YOUR_CALM);
        conn_touch(request->connection->conn);
    } else if (strcmp(request->path, "/refuse") == 0) {
        h2_stream_reset(request->stream, H2_ERROR_REFUSED_STREAM);
        conn_touch(request->connection->conn);
    } else if (strcmp(request->path, "/drop") == 0) {
        conn_abort(request->connection->conn);
    } else if (strcmp(request->path, "/goaway") == 0) {
        scripted_request_reply(request, BYTES_LITERAL("last"));
        h2_session_end(request->connection->session, H2_ERROR_NO_ERROR, "bye");
    }
    /* "/silent": nothing. */
}

static void on_done(struct channel_call *call, const struct channel_result *result)
{
    struct attempt *attempt = CONTAINER_OF(call, struct attempt, call);

    ck_assert(!attempt->is_done);
    attempt->is_done = true;
    attempt->status = result->status;
    attempt->cause = result->cause;
    (void)snprintf(attempt->message, sizeof(attempt->message), "%.*s", (int)result->message.size,
                   (const char *)result->message.data);
    (void)snprintf(attempt->reply, sizeof(attempt->reply), "%.*s", (int)result->reply.size,
                   (const char *)result->reply.data);
    if (attempt->then != NULL) {
        attempt->then();
    }
}

static void on_closed(void *context)
{
    (void)context;
    closed_count++;
}

static void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static void begin_reactor(void)
{
    const struct ring_options options = {
        .entries = 256, .recv_buffer_count = 64, .recv_buffer_size = 16384};
    char problem[RING_PROBLEM_SIZE];

    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
}

static void begin_channel(const char *target, struct tls_context *tls)
{
    struct channel_options options = {
        .tls = tls,
        .connect_timeout_ns = 30 * CLOCK_NS_PER_S,
        .max_message = 65536,
    };
    char problem[TARGET_PROBLEM_SIZE];

    ck_assert_int_eq(target_parse(target, problem, &options.target), 0);
    ck_assert_int_eq(target_resolve(&options.target, problem), 0);
    ck_assert_int_eq(channel_new(&reactor, &options, on_closed, NULL, &channel), 0);
}

static void begin(struct tls_context *of_server, struct tls_context *of_client)
{
    char target[32];

    begin_reactor();
    scripted_server_open(&peer, &reactor, of_server, answer);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%s", peer.port);
    begin_channel(target, of_client);
}

static void begin_plain(void)
{
    begin(NULL, NULL);
}

static void close_channel(void)
{
    channel_close(channel);
    while (closed_count == 0) {
        turn();
    }
    ck_assert_uint_eq(closed_count, 1);
}

static void end(void)
{
    if (closed_count == 0) {
        close_channel();
    }
    if (peer.listener != NULL) {
        scripted_server_close(&peer);
    }
    reactor_deinit(&reactor);
    tls_context_unref(client_tls);
    tls_context_unref(server_tls);
}

static struct attempt *start(unsigned index, const char *path, const char *text)
{
    struct attempt *attempt = &attempts[index];

    *attempt = (struct attempt){
        .call = {.path = path, .timeout_ns = CHANNEL_NO_DEADLINE, .done = on_done},
        .then = attempt->then,
    };
    ck_assert_int_eq(channel_start(channel, &attempt->call, bytes_from_text(text)), 0);
    ck_assert(!attempt->is_done);
    return attempt;
}

static void wait_for(const struct attempt *attempt)
{
    while (!attempt->is_done) {
        turn();
    }
}

static void expect(const struct attempt *attempt, enum grpc_status status, enum channel_cause cause)
{
    wait_for(attempt);
    ck_assert_msg(attempt->status == status, "status %d: %s", (int)attempt->status,
                  attempt->message);
    ck_assert_int_eq(attempt->cause, cause);
}

static void expect_echo(unsigned index)
{
    struct attempt *attempt = start(index, "/echo", "hello");

    expect(attempt, GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    ck_assert_str_eq(attempt->reply, "hello");
}

/* A call gets its answer; the next one uses the same connection. */
START_TEST(channel_calls_over_one_connection)
{
    begin_plain();
    ck_assert_str_eq(channel_state_name(channel), "IDLE");
    expect_echo(0);
    ck_assert_str_eq(channel_state_name(channel), "READY");
    expect_echo(1);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* More calls than the server takes streams are all answered, each with its own message. */
START_TEST(channel_carries_many_calls)
{
    char text[16];

    begin_plain();
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        (void)start(i, "/echo", text);
    }
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        (void)snprintf(text, sizeof(text), "call %u", i);
        expect(&attempts[i], GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
        ck_assert_str_eq(attempts[i].reply, text);
    }
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* The head says gRPC, carries the token, and names a timeout exactly when there is a deadline. */
START_TEST(channel_sends_the_head)
{
    begin_plain();
    expect(start(0, "/heads", ""), GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    ck_assert_str_eq(attempts[0].reply, "|application/grpc|trailers|no timeout");

    attempts[1].call = (struct channel_call){
        .path = "/heads", .token = "secret", .timeout_ns = 60 * CLOCK_NS_PER_S, .done = on_done};
    ck_assert_int_eq(channel_start(channel, &attempts[1].call, (struct bytes){0}), 0);
    expect(&attempts[1], GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    ck_assert_str_eq(attempts[1].reply, "Bearer secret|application/grpc|trailers|timeout");
    end();
}

END_TEST

/* Errors, foreign answers and resets arrive as the status they stand for. */
START_TEST(channel_passes_errors_on)
{
    begin_plain();
    expect(start(0, "/error", ""), GRPC_STATUS_NOT_FOUND, CHANNEL_CAUSE_ANSWER);
    ck_assert_str_eq(attempts[0].message, "not here");
    expect(start(1, "/html", ""), GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_ANSWER);
    expect(start(2, "/reset", ""), GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_ANSWER);
    expect(start(3, "/refuse", ""), GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_REFUSED);
    expect_echo(4);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* A deadline ends a call that nobody answers and resets its stream; its neighbour goes on. */
START_TEST(channel_keeps_deadlines)
{
    begin_plain();
    expect_echo(0);
    attempts[1].call = (struct channel_call){
        .path = "/silent", .timeout_ns = 5 * CLOCK_NS_PER_MS, .done = on_done};
    ck_assert_int_eq(channel_start(channel, &attempts[1].call, (struct bytes){0}), 0);
    expect(&attempts[1], GRPC_STATUS_DEADLINE_EXCEEDED, CHANNEL_CAUSE_DEADLINE);
    while (peer.resets == 0) {
        turn();
    }
    expect_echo(2);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* A deadline that passes before there is a connection ends the call too. */
START_TEST(channel_keeps_deadlines_before_the_connection)
{
    begin_plain();
    attempts[0].call = (struct channel_call){.path = "/echo", .timeout_ns = 0, .done = on_done};
    ck_assert_int_eq(channel_start(channel, &attempts[0].call, (struct bytes){0}), 0);
    expect(&attempts[0], GRPC_STATUS_DEADLINE_EXCEEDED, CHANNEL_CAUSE_DEADLINE);
    end();
}

END_TEST

/* A cancelled call ends with CANCELLED and resets its stream; cancelling it again does nothing. */
START_TEST(channel_cancels)
{
    begin_plain();
    expect_echo(0);
    (void)start(1, "/silent", "");
    turn();
    channel_cancel(&attempts[1].call);
    channel_cancel(&attempts[1].call);
    ck_assert(!attempts[1].is_done);
    expect(&attempts[1], GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED);
    channel_cancel(&attempts[1].call);
    while (peer.resets == 0) {
        turn();
    }
    end();
}

END_TEST

/* A lost connection fails the calls on it, and the next call connects anew. */
START_TEST(channel_survives_a_lost_connection)
{
    begin_plain();
    (void)start(0, "/silent", "");
    (void)start(1, "/drop", "");
    expect(&attempts[0], GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_LOST);
    expect(&attempts[1], GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_LOST);
    ck_assert_str_ne(attempts[1].message, "");
    expect_echo(2);
    ck_assert_uint_eq(peer.accepted, 2);
    end();
}

END_TEST

/* After GOAWAY the call that the server took is answered; later ones get a connection of their own.
 */
START_TEST(channel_moves_on_after_goaway)
{
    begin_plain();
    expect(start(0, "/goaway", ""), GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    ck_assert_str_eq(attempts[0].reply, "last");
    expect_echo(1);
    expect_echo(2);
    ck_assert_uint_eq(peer.accepted, 2);
    end();
}

END_TEST

/* A port where nobody listens: 127.0.0.1 with a port that was free a moment ago. */
static void find_dead_target(char *target, size_t room)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    (void)snprintf(target, room, "127.0.0.1:%d", ntohs(address.sin_port));
}

/* A refused connection fails what waits for it, at once and with the reason; the channel can be
 * used again. */
START_TEST(channel_reports_refused_connections)
{
    char target[32];

    begin_reactor();
    find_dead_target(target, sizeof(target));
    begin_channel(target, NULL);
    for (unsigned i = 0; i < 2; i++) {
        expect(start(i, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_CONNECT);
        ck_assert_ptr_nonnull(strstr(attempts[i].message, target));
        ck_assert_ptr_nonnull(strstr(attempts[i].message, "Connection refused"));
    }
    end();
}

END_TEST

/* With two addresses the second one is used when the first refuses. */
START_TEST(channel_tries_every_address)
{
    struct channel_options options = {.connect_timeout_ns = CLOCK_NS_PER_S, .max_message = 65536};
    char problem[TARGET_PROBLEM_SIZE];
    char target[32];

    begin_reactor();
    scripted_server_open(&peer, &reactor, NULL, answer);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%s", peer.port);
    ck_assert_int_eq(target_parse(target, problem, &options.target), 0);
    ck_assert_int_eq(target_resolve(&options.target, problem), 0);
    options.target.addresses[1] = options.target.addresses[0];
    options.target.sizes[1] = options.target.sizes[0];
    options.target.count = 2;
    /* Port 0 takes no connection. */
    ((struct sockaddr_in *)(void *)&options.target.addresses[0])->sin_port = 0;
    ck_assert_int_eq(channel_new(&reactor, &options, on_closed, NULL, &channel), 0);
    expect_echo(0);
    end();
}

END_TEST

/* channel_close() with nothing done yet. */
START_TEST(channel_closes_when_idle)
{
    begin_plain();
    end();
}

END_TEST

static void make_tls(const char *ca_file)
{
    const struct tls_server_options server = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = TLS_VERSION_1_3};
    const struct tls_client_options client = {.ca_file = ca_file};
    char problem[TLS_PROBLEM_SIZE];

    ck_assert_msg(tls_context_new_server(&server, problem, &server_tls) == 0, "%s", problem);
    ck_assert_msg(tls_context_new_client(&client, problem, &client_tls) == 0, "%s", problem);
}

static void close_in_state(const char *state, void (*ask)(struct channel *channel))
{
    closed_count = 0;
    make_tls(certs.ca);
    begin(server_tls, client_tls);
    (void)start(0, "/silent", "");
    while (strcmp(channel_state_name(channel), state) != 0) {
        turn();
    }
    ask(channel);
    while (closed_count == 0) {
        turn();
    }
    ck_assert(attempts[0].is_done);
    expect(&attempts[0], GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED);
    end();
}

static void close_then_abort(struct channel *of)
{
    channel_close(of);
    turn();
    if (closed_count == 0) {
        channel_abort(of);
    }
}

/* Closing before connecting, while connecting, in the handshake and with a call open: the call ends
 * with CANCELLED, once, and nothing is left; the same without a goodbye. */
START_TEST(channel_closes_in_every_state)
{
    void (*const ways[])(struct channel *) = {channel_close, channel_abort, close_then_abort};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        close_in_state("IDLE", ways[i]);
        close_in_state("CONNECTING", ways[i]);
        close_in_state("HANDSHAKING", ways[i]);
        close_in_state("READY", ways[i]);
    }
}

END_TEST

/* Closing a connection that the server is ending already, with a call that waits for the next one.
 */
START_TEST(channel_closes_while_draining)
{
    begin_plain();
    (void)start(0, "/silent", "");
    (void)start(1, "/goaway", "");
    while (strcmp(channel_state_name(channel), "DRAINING") != 0) {
        turn();
    }
    (void)start(2, "/echo", "");
    close_channel();
    expect(&attempts[0], GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED);
    expect(&attempts[1], GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    expect(&attempts[2], GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED);
    end();
}

END_TEST

static void start_and_close(void)
{
    (void)start(1, "/echo", "");
    channel_close(channel);
    channel_close(channel);
}

/* A callback may start a call and close the channel. */
START_TEST(channel_closes_from_a_callback)
{
    begin_plain();
    attempts[0].then = start_and_close;
    expect(start(0, "/echo", ""), GRPC_STATUS_OK, CHANNEL_CAUSE_ANSWER);
    expect(&attempts[1], GRPC_STATUS_CANCELLED, CHANNEL_CAUSE_CANCELLED);
    close_channel();
    end();
}

END_TEST

/* The table of calls has an end, and refusing one leaves nothing behind. */
START_TEST(channel_limits_its_calls)
{
    struct attempt *many = calloc(CHANNEL_CALLS_MAX + 1, sizeof(*many));

    ck_assert_ptr_nonnull(many);
    begin_plain();
    for (unsigned i = 0; i <= CHANNEL_CALLS_MAX; i++) {
        many[i].call = (struct channel_call){
            .path = "/silent", .timeout_ns = CHANNEL_NO_DEADLINE, .done = on_done};
        ck_assert_int_eq(channel_start(channel, &many[i].call, (struct bytes){0}),
                         i < CHANNEL_CALLS_MAX ? 0 : CHANNEL_E_BUSY);
    }
    close_channel();
    for (unsigned i = 0; i < CHANNEL_CALLS_MAX; i++) {
        ck_assert(many[i].is_done);
    }
    ck_assert(!many[CHANNEL_CALLS_MAX].is_done);
    free(many);
    end();
}

END_TEST

/* The same over TLS, with the certificate checked. */
START_TEST(channel_calls_over_tls)
{
    make_tls(certs.ca);
    begin(server_tls, client_tls);
    expect_echo(0);
    expect_echo(1);
    ck_assert_uint_eq(peer.accepted, 1);
    end();
}

END_TEST

/* A certificate that nobody we trust has signed is a failure of TLS, told in words. */
START_TEST(channel_refuses_a_foreign_certificate)
{
    make_tls(certs.other_ca);
    begin(server_tls, client_tls);
    expect(start(0, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_TLS);
    ck_assert_ptr_nonnull(strstr(attempts[0].message, "TLS"));
    end();
}

END_TEST

/* A server that does not speak TLS is one too. */
START_TEST(channel_refuses_a_server_without_tls)
{
    make_tls(certs.ca);
    begin(NULL, client_tls);
    wait_for(start(0, "/echo", ""));
    ck_assert_int_eq(attempts[0].status, GRPC_STATUS_UNAVAILABLE);
    end();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {
        channel_calls_over_one_connection,
        channel_carries_many_calls,
        channel_sends_the_head,
        channel_passes_errors_on,
        channel_keeps_deadlines,
        channel_keeps_deadlines_before_the_connection,
        channel_cancels,
        channel_survives_a_lost_connection,
        channel_moves_on_after_goaway,
        channel_reports_refused_connections,
        channel_tries_every_address,
        channel_closes_when_idle,
        channel_closes_in_every_state,
        channel_closes_while_draining,
        channel_closes_from_a_callback,
        channel_limits_its_calls,
        channel_calls_over_tls,
        channel_refuses_a_foreign_certificate,
        channel_refuses_a_server_without_tls,
        NULL,
    };
    int result;

    certs_make(&certs);
    result = unit_run("channel", tests);
    certs_remove(&certs);
    return result;
}
