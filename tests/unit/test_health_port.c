#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "core/ring.h"
#include "service/health.h"
#include "service/health_port.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct serve_rig rig;
static struct health *health;
static struct health_port *port;
static unsigned drained;

static int open_at(const char *address, int passed_fd, char *problem)
{
    struct health_port_options options = {
        .listen = address,
        .passed_fd = passed_fd,
        .server = rig.options,
    };

    health_port_limit(&options.server, 2);
    return health_port_new(&rig.loop.reactor, health, &options, problem, &port);
}

static void begin(void)
{
    const struct health_options options = {.max_watchers = 2};

    drained = 0;
    serve_rig_init(&rig);
    ck_assert_int_eq(health_new(&rig.loop.reactor, &options, &health), 0);
}

static void start(void)
{
    char problem[RING_PROBLEM_SIZE] = "";

    begin();
    ck_assert_msg(open_at("127.0.0.1:0", 0, problem) == 0, "%s", problem);
}

static void on_drained(void *context)
{
    ck_assert_ptr_eq(context, &rig);
    drained++;
}

static void finish(void)
{
    health_port_drain(port, 0, on_drained, &rig);
    LOOP_UNTIL(&rig.loop, drained == 1);
    health_port_free(port);
    health_free(health);
    serve_rig_deinit(&rig);
}

static void connect_client(struct serve_client *client)
{
    serve_client_connect(client, health_port_address(port), false);
    SERVE_UNTIL(&rig, client, serve_client_count(client, H2_FRAME_SETTINGS) > 0);
}

/* The status of a call with that message. */
static const char *ask(struct serve_client *client, const char *path, const void *message,
                       size_t size, struct h2_peer_call *call)
{
    h2_peer_call_unary(&client->peer, call, path, message, size);
    SERVE_UNTIL(&rig, client, call->closed);
    return h2_peer_field(call, "grpc-status");
}

/* Health is answered, without a token, and nothing else is. */
START_TEST(port_serves_health)
{
    struct serve_client client;
    struct h2_peer_call call;

    start();
    health_set(health, HEALTH_SERVING, "");
    connect_client(&client);
    ck_assert_str_eq(ask(&client, "/grpc.health.v1.Health/Check", "", 0, &call), "0");
    ck_assert(bytes_equal(buf_bytes(&call.body), BYTES_LITERAL("\0\0\0\0\2\x08\1")));
    h2_peer_call_deinit(&call);
    ck_assert_str_eq(ask(&client, "/users.v1.UserService/GetUser", "", 0, &call), "12");
    h2_peer_call_deinit(&call);
    ck_assert_str_eq(ask(&client, "/t.T/Echo", "", 0, &call), "12");
    h2_peer_call_deinit(&call);
    ck_assert_uint_eq(health_stats(health)->checks, 1);
    ck_assert_uint_eq(health_port_stats(port)->connections_open, 1);
    finish();
    serve_client_deinit(&client);
}

END_TEST

/* A request is a name: what is longer than any is refused. */
START_TEST(port_takes_short_requests)
{
    static const uint8_t longest[8192];
    struct serve_client client;
    struct h2_peer_call call;

    start();
    connect_client(&client);
    ck_assert_str_eq(ask(&client, "/grpc.health.v1.Health/Check", longest, sizeof(longest), &call),
                     "8");
    h2_peer_call_deinit(&call);
    finish();
    serve_client_deinit(&client);
}

END_TEST

/* It has its own limit on connections, which may be changed. */
START_TEST(port_limits_connections)
{
    struct grpc_server_options options;
    struct serve_client clients[4];

    start();
    connect_client(&clients[0]);
    connect_client(&clients[1]);
    serve_client_connect(&clients[2], health_port_address(port), false);
    SERVE_UNTIL(&rig, &clients[2], clients[2].has_ended);
    ck_assert_uint_eq(rig.loop.reactor.limits_hit.counts[LIMITS_HIT_HEALTH_CONNECTIONS], 1);
    options = rig.options;
    health_port_limit(&options, 3);
    health_port_set_options(port, &options);
    connect_client(&clients[3]);
    finish();
    for (unsigned i = 0; i < 4; i++) {
        serve_client_deinit(&clients[i]);
    }
}

END_TEST

/* It listens where it is told, on a passed socket too, and says what is wrong with an address. */
START_TEST(port_listens_where_told)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int theirs = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char problem[RING_PROBLEM_SIZE] = "";
    struct serve_client client;

    ck_assert_int_eq(bind(theirs, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(theirs, 8), 0);
    begin();
    ck_assert_int_lt(open_at("nowhere", 0, problem), 0);
    ck_assert_ptr_nonnull(strstr(problem, "nowhere"));
    ck_assert_int_eq(open_at("nowhere", fcntl(theirs, F_DUPFD_CLOEXEC, 0), problem), 0);
    connect_client(&client);
    finish();
    serve_client_deinit(&client);
    ck_assert_int_eq(close(theirs), 0);
}

END_TEST

UNIT_MAIN("health_port", port_serves_health, port_takes_short_requests, port_limits_connections,
          port_listens_where_told)
