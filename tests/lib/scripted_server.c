#include "lib/scripted_server.h"

#include "core/listener.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "http2/grpc_frame.h"

#include <stdio.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ULL

static const struct h2_options options_default = {
    .max_concurrent_streams = 100,
    .stream_window = 65536,
    .connection_window = 1024 * 1024,
    .max_frame_size = 16384,
    .max_header_list = 16384,
    .max_header_list_hard = 32768,
    .max_headers = 64,
    .max_continuations = 4,
    .reset_burst = 1000,
    .reset_rate = 1000,
    .control_burst = 1000,
    .control_rate = 1000,
    .max_empty_frames = 8,
    .max_outq = 1000,
};

static void need(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "scripted_server: %s failed\n", what);
        abort();
    }
}

static void *on_stream_opened(void *owner, struct h2_stream *stream)
{
    struct scripted_request *request = calloc(1, sizeof(*request));

    need(request != NULL, "calloc");
    request->connection = owner;
    request->stream = stream;
    return request;
}

static void on_field(void *context, const struct h2_field *field)
{
    struct scripted_request *request = context;

    const struct {
        const char *name;
        char *out;
        size_t room;
    } kept[] = {
        {":path", request->path, sizeof(request->path)},
        {"grpc-timeout", request->timeout, sizeof(request->timeout)},
        {"authorization", request->authorization, sizeof(request->authorization)},
        {"content-type", request->content_type, sizeof(request->content_type)},
        {"te", request->te, sizeof(request->te)},
        {"grpc-accept-encoding", request->accept_encoding, sizeof(request->accept_encoding)},
        {"x-probe", request->probe, sizeof(request->probe)},
        {"x-probe-bin", request->probe, sizeof(request->probe)},
        {"users-continue-on-error", request->continue_on_error, sizeof(request->continue_on_error)},
        {"grpc-previous-rpc-attempts", request->previous_attempts,
         sizeof(request->previous_attempts)},
        {":authority", request->authority, sizeof(request->authority)},
        {"user-agent", request->user_agent, sizeof(request->user_agent)},
    };

    if (bytes_equal(field->name, BYTES_LITERAL("authorization"))) {
        request->is_secret = field->sensitive;
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        if (bytes_equal(field->name, bytes_from_text(kept[i].name))) {
            (void)snprintf(kept[i].out, kept[i].room, "%.*s", (int)field->value.size,
                           (const char *)field->value.data);
        }
    }
}

static void on_request_ended(void *context)
{
    struct scripted_request *request = context;
    struct scripted_server *server = request->connection->server;

    request->has_ended = true;
    server->answer(server, request);
}

static void on_fields_complete(void *context, bool trailers, bool ended)
{
    (void)trailers;
    if (ended) {
        on_request_ended(context);
    }
}

static void on_data(void *context, struct bytes bytes)
{
    struct scripted_request *request = context;

    struct scripted_server *server = request->connection->server;

    need(buf_append(&request->body, bytes.data, bytes.size) == 0, "buf_append");
    if (!server->holds_credit) {
        h2_stream_consume(request->stream, bytes.size);
    }
    if (server->received != NULL) {
        server->received(server, request);
    }
}

static void on_stream_closed(void *context, uint32_t error)
{
    struct scripted_request *request = context;

    if (error == H2_ERROR_CANCEL) {
        request->connection->server->resets++;
    }
    buf_deinit(&request->body);
    free(request);
}

static const struct h2_events session_events = {
    .stream_opened = on_stream_opened,
    .field = on_field,
    .fields_complete = on_fields_complete,
    .data = on_data,
    .ended = on_request_ended,
    .closed = on_stream_closed,
};

static void on_opened(void *owner)
{
    struct scripted_connection *connection = owner;

    need(h2_session_new(H2_ROLE_SERVER, &connection->server->options, &session_events, connection,
                        connection->server->reactor->now_ns, &connection->session) == 0,
         "h2_session_new");
    conn_touch(connection->conn);
}

static void on_received(void *owner, struct bytes bytes)
{
    struct scripted_connection *connection = owner;

    while (bytes.size != 0) {
        struct bytes part = {bytes.data, bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX};

        if (h2_session_feed(connection->session, part, connection->server->reactor->now_ns,
                            conn_output(connection->conn)) != 0) {
            conn_close(connection->conn);
            return;
        }
        bytes.data += part.size;
        bytes.size -= part.size;
    }
    conn_touch(connection->conn);
    if (h2_session_is_over(connection->session)) {
        conn_close(connection->conn);
    }
}

static void on_ended(void *owner)
{
    struct scripted_connection *connection = owner;

    conn_close(connection->conn);
}

static void on_drain(void *owner)
{
    struct scripted_connection *connection = owner;

    if (connection->session != NULL &&
        h2_session_drain(connection->session, conn_output(connection->conn), 65536) != 0) {
        conn_close(connection->conn);
    }
}

static void on_closed(void *owner, enum conn_end end, const char *detail)
{
    struct scripted_connection *connection = owner;

    (void)end;
    (void)detail;
    h2_session_free(connection->session);
    connection->session = NULL;
    connection->conn = NULL;
    connection->server->open_count--;
}

static const struct conn_events connection_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

/* The first ones in order; later ones where a connection has ended. */
static struct scripted_connection *find_place(struct scripted_server *server)
{
    unsigned place = server->accepted;

    if (place >= SCRIPTED_CONNECTIONS_MAX) {
        for (place = 0; place < SCRIPTED_CONNECTIONS_MAX; place++) {
            if (server->connections[place].conn == NULL) {
                break;
            }
        }
    }
    need(place < SCRIPTED_CONNECTIONS_MAX, "room for a connection");
    return &server->connections[place];
}

static void on_accepted(void *owner, int fd, const struct sockaddr_storage *address)
{
    struct scripted_server *server = owner;
    struct scripted_connection *connection = find_place(server);

    (void)address;
    server->accepted++;
    connection->server = server;
    need(conn_new(&server->settings, fd, server->tls, NULL, connection, &connection->conn) == 0,
         "conn_new");
    server->open_count++;
}

static void on_listener_closed(void *owner)
{
    struct scripted_server *server = owner;

    server->listener_closed = true;
}

static const struct listener_events accept_events = {
    .accepted = on_accepted,
    .closed = on_listener_closed,
};

void scripted_server_open(struct scripted_server *server, struct reactor *reactor,
                          struct tls_context *tls,
                          void (*answer)(struct scripted_server *server,
                                         struct scripted_request *request))
{
    char problem[RING_PROBLEM_SIZE];

    *server = (struct scripted_server){
        .reactor = reactor, .tls = tls, .answer = answer, .options = options_default};
    server->options.stats = &server->stats;
    server->settings = (struct conn_settings){
        .reactor = reactor,
        .events = &connection_events,
        .handshake_timeout_ns = 30 * SECOND_NS,
        .send_timeout_ns = 30 * SECOND_NS,
        .linger_timeout_ns = SECOND_NS,
        .flush_bytes_max = 65536,
    };
    need(listener_open(reactor, "127.0.0.1:0", 16, &accept_events, server, problem,
                       &server->listener) == 0,
         problem);
    (void)snprintf(server->port, sizeof(server->port), "%s",
                   strrchr(listener_address(server->listener), ':') + 1);
}

void scripted_server_reopen(struct scripted_server *server)
{
    char problem[RING_PROBLEM_SIZE];
    char address[32];

    (void)snprintf(address, sizeof(address), "127.0.0.1:%s", server->port);
    server->listener_closed = false;
    need(listener_open(server->reactor, address, 16, &accept_events, server, problem,
                       &server->listener) == 0,
         problem);
}

void scripted_server_close(struct scripted_server *server)
{
    if (!server->listener_closed) {
        listener_close(server->listener);
    }
    for (unsigned i = 0; i < SCRIPTED_CONNECTIONS_MAX; i++) {
        if (server->connections[i].conn != NULL) {
            conn_abort(server->connections[i].conn);
        }
    }
    while (!server->listener_closed || server->open_count != 0) {
        need(reactor_turn(server->reactor, UINT64_MAX) == 0, "reactor_turn");
    }
}

static struct h2_field field(const char *name, const char *value)
{
    return (struct h2_field){.name = bytes_from_text(name), .value = bytes_from_text(value)};
}

bool scripted_request_take(struct scripted_request *request, struct bytes *ret_message)
{
    struct bytes body = buf_bytes(&request->body);
    size_t size;

    if (body.size < GRPC_FRAME_HEAD_SIZE) {
        return false;
    }
    size = (size_t)body.data[1] << 24 | (size_t)body.data[2] << 16 | (size_t)body.data[3] << 8 |
           (size_t)body.data[4];
    if (body.size - GRPC_FRAME_HEAD_SIZE < size) {
        return false;
    }
    *ret_message = (struct bytes){body.data + GRPC_FRAME_HEAD_SIZE, size};
    buf_consume(&request->body, GRPC_FRAME_HEAD_SIZE + size);
    request->taken++;
    return true;
}

static void send_head(struct scripted_request *request)
{
    const struct h2_field head[] = {field(":status", "200"),
                                    field("content-type", "application/grpc")};

    if (!request->has_head) {
        request->has_head = true;
        need(h2_stream_respond(request->stream, head, 2, false) == 0, "h2_stream_respond");
    }
}

void scripted_request_send(struct scripted_request *request, struct bytes message)
{
    uint8_t frame[GRPC_FRAME_HEAD_SIZE];
    const struct bytes parts[] = {{frame, sizeof(frame)}, message};

    send_head(request);
    grpc_frame_encode_head(frame, false, (uint32_t)message.size);
    need(h2_stream_write(request->stream, parts, 2) == 0, "h2_stream_write");
    conn_touch(request->connection->conn);
}

void scripted_request_finish(struct scripted_request *request, const char *grpc_status,
                             const char *name, const char *value)
{
    const struct h2_field trailers[] = {
        field("grpc-status", grpc_status),
        field(name == NULL ? "" : name, value == NULL ? "" : value)};

    send_head(request);
    request->has_trailers = true;
    need(h2_stream_end(request->stream, trailers, name == NULL ? 1 : 2) == 0, "h2_stream_end");
    conn_touch(request->connection->conn);
}

void scripted_request_reply(struct scripted_request *request, struct bytes message)
{
    scripted_request_send(request, message);
    scripted_request_finish(request, "0", NULL, NULL);
}

void scripted_request_refuse(struct scripted_request *request, const char *http_status,
                             const char *type, const char *grpc_status, const char *grpc_message)
{
    struct h2_field head[4];
    size_t count = 0;

    head[count++] = field(":status", http_status);
    head[count++] = field("content-type", type);
    if (grpc_status != NULL) {
        head[count++] = field("grpc-status", grpc_status);
    }
    if (grpc_message != NULL) {
        head[count++] = field("grpc-message", grpc_message);
    }
    need(h2_stream_respond(request->stream, head, count, true) == 0, "h2_stream_respond");
    conn_touch(request->connection->conn);
}
