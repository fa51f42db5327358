/*
 * What the tests of a client's connections share: a reactor, a scripted server on it whose answers
 * stand in the path of the request, attempts and what came of them. Include it in one file of a
 * test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_TRANSPORT_FIXTURE_H
#define UNIT_TRANSPORT_FIXTURE_H

#include "lib/scripted_server.h"
#include "lib/unit.h"

#include "client/transport.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_frame.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#define MESSAGE_MAX 65536

/* An attempt and what came of it. */
struct trial {
    struct call_attempt attempt;
    bool is_done;
    unsigned order; /* among those that are done; from 1 */
    enum grpc_status status;
    enum call_cause cause;
    bool has_head;
    bool is_unsent;
    char message[512];
    char reply[256];
    void (*then)(struct trial *trial);
};

static struct reactor reactor;
static struct scripted_server peer;
static struct scripted_request *silent_request; /* the last one to "/silent" */
static unsigned done_count;

static inline void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static uint64_t clock_offset_ns;

static inline uint64_t shifted_ns(struct clock_source *source)
{
    (void)source;
    return clock_monotonic_ns(clock_system()) + clock_offset_ns;
}

static inline uint64_t real_ns(struct clock_source *source)
{
    (void)source;
    return clock_realtime_ns(clock_system());
}

/* The system's clock, and in front of it by as much as a test likes: for long times, beside which
 * what the test takes to run plays no part. */
static inline struct clock_source *shifted_clock(void)
{
    static struct clock_source clock = {.monotonic_ns = shifted_ns, .realtime_ns = real_ns};

    clock_offset_ns = 0;
    return &clock;
}

static inline void begin_reactor_on(struct clock_source *clock)
{
    const struct ring_options options = {
        .entries = 256, .recv_buffer_count = 64, .recv_buffer_size = 16384};
    char problem[RING_PROBLEM_SIZE];

    ck_assert_msg(reactor_init(&reactor, &options, clock, NULL, problem) == 0, "%s", problem);
}

static inline void begin_reactor(void)
{
    begin_reactor_on(clock_system());
}

static inline void show_heads(struct scripted_request *request)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "%.20s|%s|%s|%s|%s|%s|%s|%s", request->authorization,
                   request->content_type, request->te,
                   request->timeout[0] == '\0' ? "no timeout" : "timeout",
                   request->previous_attempts, request->continue_on_error, request->authority,
                   request->user_agent);
    scripted_request_reply(request, bytes_from_text(text));
}

/* What the peer does with a request stands in its path. */
static inline void answer(struct scripted_server *server, struct scripted_request *request)
{
    struct bytes body = buf_bytes(&request->body);

    (void)server;
    if (strcmp(request->path, "/echo") == 0) {
        scripted_request_reply(request, (struct bytes){body.data + 5, body.size - 5});
    } else if (strcmp(request->path, "/heads") == 0) {
        show_heads(request);
    } else if (strcmp(request->path, "/timeout") == 0) {
        scripted_request_reply(request, bytes_from_text(request->timeout));
    } else if (strcmp(request->path, "/error") == 0) {
        scripted_request_refuse(request, "200", "application/grpc", "5", "not%20here");
    } else if (strcmp(request->path, "/late") == 0) {
        scripted_request_finish(request, "5", NULL, NULL);
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
    } else if (strcmp(request->path, "/calm") == 0) {
        h2_session_end(request->connection->session, H2_ERROR_ENHANCE_YOUR_CALM, "too_many_pings");
        conn_touch(request->connection->conn);
        conn_close(request->connection->conn);
    } else {
        silent_request = request; /* nothing */
    }
}

static inline void begin_peer(struct tls_context *tls)
{
    silent_request = NULL;
    scripted_server_open(&peer, &reactor, tls, answer);
}

static inline struct target_address loopback_address(int port)
{
    struct target_address address = {.size = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address.address;

    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons((uint16_t)port);
    return address;
}

static inline struct target_address peer_address(void)
{
    return loopback_address((int)strtol(peer.port, NULL, 10));
}

/* A socket on a free port of 127.0.0.1 that nobody accepts from; listens with `backlog` >= 0. */
static inline int open_socket(int backlog, int *ret_port)
{
    struct target_address address = loopback_address(0);
    struct sockaddr_in bound = {0};
    socklen_t size = sizeof(bound);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address.address, address.size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&bound, &size), 0);
    if (backlog >= 0) {
        ck_assert_int_eq(listen(fd, backlog), 0);
    }
    *ret_port = ntohs(bound.sin_port);
    return fd;
}

/* A port where nobody listens: one that was free a moment ago. */
static inline struct target_address dead_address(void)
{
    int port;
    int fd = open_socket(-1, &port);

    (void)close(fd);
    return loopback_address(port);
}

static inline struct transport_options plain_options(void)
{
    return (struct transport_options){.authority = "users.example:50051",
                                      .user_agent = "test/1",
                                      .server_name = "localhost",
                                      .connect_timeout_ns = 30 * CLOCK_NS_PER_S};
}

static inline void on_done(struct call_attempt *attempt, const struct call_result *result)
{
    struct trial *trial = CONTAINER_OF(attempt, struct trial, attempt);

    ck_assert(!trial->is_done);
    trial->is_done = true;
    trial->order = ++done_count;
    trial->status = result->status;
    trial->cause = result->cause;
    trial->has_head = result->has_head;
    trial->is_unsent = result->is_unsent;
    (void)snprintf(trial->message, sizeof(trial->message), "%.*s", (int)result->message.size,
                   (const char *)result->message.data);
    (void)snprintf(trial->reply, sizeof(trial->reply), "%.*s", (int)result->reply.size,
                   (const char *)result->reply.data);
    if (trial->then != NULL) {
        trial->then(trial);
    }
}

static const struct call_attempt_events unary_events = {.done = on_done};

/* Makes a unary attempt out of a text; the frame is borrowed from `frame` until it was started. */
static inline void make_unary(struct trial *trial, const char *path, const char *text,
                              uint8_t frame[GRPC_FRAME_HEAD_SIZE + 256])
{
    size_t size = strlen(text);

    ck_assert_uint_le(size, 256);
    grpc_frame_encode_head(frame, false, (uint32_t)size);
    memcpy(frame + GRPC_FRAME_HEAD_SIZE, text, size);
    *trial = (struct trial){
        .attempt = {.events = &unary_events,
                    .path = path,
                    .deadline_ns = CALL_NO_DEADLINE,
                    .request = {frame, GRPC_FRAME_HEAD_SIZE + size},
                    .half_closed = true,
                    .max_message = MESSAGE_MAX},
        .then = trial->then,
    };
}

static inline void wait_for(const struct trial *trial)
{
    while (!trial->is_done) {
        turn();
    }
}

static inline void expect(const struct trial *trial, enum grpc_status status, enum call_cause cause)
{
    wait_for(trial);
    ck_assert_msg(trial->status == status, "status %d: %s", (int)trial->status, trial->message);
    ck_assert_msg(trial->cause == cause, "cause %d: %s", (int)trial->cause, trial->message);
}

#endif
