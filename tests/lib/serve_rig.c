#include "lib/serve_rig.h"

#include <check.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t pushed_monotonic(struct clock_source *source)
{
    struct serve_rig *rig = CONTAINER_OF(source, struct serve_rig, clock);

    return clock_monotonic_ns(clock_system()) + rig->pushed_ns;
}

static uint64_t pushed_realtime(struct clock_source *source)
{
    struct serve_rig *rig = CONTAINER_OF(source, struct serve_rig, clock);

    return clock_realtime_ns(clock_system()) + rig->pushed_ns;
}

static void echo(void *service, struct grpc_call *call, struct bytes request)
{
    (void)service;
    grpc_call_reply(call, &request, 1);
}

static void on_cancel(struct grpc_call *call, void *context)
{
    struct serve_rig *rig = context;

    (void)call;
    rig->cancelled_count++;
}

static const struct grpc_call_events hold_events = {.cancelled = on_cancel};

static void hold(void *service, struct grpc_call *call, struct bytes request)
{
    struct serve_rig *rig = service;

    (void)request;
    grpc_call_hold(call);
    grpc_call_listen(call, &hold_events, rig);
    rig->held = call;
    rig->held_count++;
}

static void answer_large(void *service, struct grpc_call *call, struct bytes request)
{
    static uint8_t large[1000000];
    const struct bytes reply = {large, sizeof(large)};

    (void)service;
    (void)request;
    grpc_call_reply(call, &reply, 1);
}

void serve_rig_init(struct serve_rig *rig)
{
    const struct grpc_method rows[] = {
        {.path = "/t.T/Echo", .handler = echo, .service = rig},
        {.path = "/t.T/Hold", .handler = hold, .service = rig},
        {.path = "/t.T/Large", .handler = answer_large, .service = rig, .long_answers = true},
    };

    *rig = (struct serve_rig){
        .clock = {.monotonic_ns = pushed_monotonic, .realtime_ns = pushed_realtime},
        .options = {.h2 = {.max_concurrent_streams = 100,
                           .stream_window = 65536,
                           .connection_window = 1048576,
                           .max_frame_size = 16384,
                           .max_header_list = 16384,
                           .max_header_list_hard = 32768,
                           .max_headers = 128,
                           .max_continuations = 4,
                           .reset_burst = 200,
                           .reset_rate = 20,
                           .control_burst = 100,
                           .control_rate = 10,
                           .max_empty_frames = 8,
                           .max_outq = 256},
                    .max_connections = 1000,
                    .max_connections_per_ip = 1000,
                    .max_handshakes = 1000,
                    .max_message = 65536,
                    .max_running = 1000,
                    .max_unsent = 1048576,
                    .tls_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .preface_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .settings_ack_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .header_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .body_progress_ns = 3600 * CLOCK_NS_PER_S,
                    .idle_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .send_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .linger_timeout_ns = 3600 * CLOCK_NS_PER_S,
                    .backlog = 16},
    };
    loop_init(&rig->loop);
    rig->loop.reactor.clock = &rig->clock;
    ck_assert_int_eq(grpc_method_table_init(&rig->methods, rows, 3), 0);
    rig->dispatch.methods = &rig->methods;
}

void serve_rig_deinit(struct serve_rig *rig)
{
    grpc_method_table_deinit(&rig->methods);
    loop_deinit(&rig->loop);
}

void serve_rig_push_clock(struct serve_rig *rig, uint64_t ns)
{
    rig->pushed_ns += ns;
}

void serve_client_init(struct serve_client *client, int fd, bool is_raw)
{
    *client = (struct serve_client){.fd = fd, .reads = true, .is_raw = is_raw};
    if (!is_raw) {
        h2_peer_init(&client->peer, NULL);
    }
}

void serve_client_connect(struct serve_client *client, const char *address, bool is_raw)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    const char *colon = strrchr(address, ':');
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_nonnull(colon);
    in.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    serve_client_init(client, fd, is_raw);
}

void serve_client_deinit(struct serve_client *client)
{
    if (!client->is_raw) {
        h2_peer_deinit(&client->peer);
    }
    buf_deinit(&client->seen);
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
}

void serve_client_send(struct serve_client *client, const struct buf *bytes)
{
    struct bytes rest = buf_bytes(bytes);

    ck_assert_int_eq(send(client->fd, rest.data, rest.size, MSG_NOSIGNAL | MSG_DONTWAIT),
                     (ssize_t)rest.size);
}

static void pump_out(struct serve_client *client)
{
    struct buf *out = &client->peer.out;

    h2_peer_drain(&client->peer);
    while (buf_size(out) > 0) {
        ssize_t size =
            send(client->fd, buf_bytes(out).data, buf_size(out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (size <= 0) {
            break; /* full, or the server is gone, which reading will tell */
        }
        buf_consume(out, (size_t)size);
    }
}

void serve_client_pump(struct serve_client *client)
{
    uint8_t bytes[4096];
    ssize_t size;

    if (!client->is_raw && !client->has_ended) {
        pump_out(client);
    }
    while (client->reads && !client->has_ended) {
        size = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (size <= 0) {
            client->has_ended = true;
            client->was_reset = size < 0;
            break;
        }
        ck_assert_int_eq(buf_append(&client->seen, bytes, (size_t)size), 0);
        if (!client->is_raw) {
            h2_peer_feed(&client->peer, (struct bytes){bytes, (size_t)size});
        }
    }
    if (!client->is_raw && !client->has_ended) {
        pump_out(client);
    }
}

unsigned serve_client_count(const struct serve_client *client, unsigned type)
{
    return h2_frame_count(buf_bytes(&client->seen), type, -1, NULL);
}
