#include "lib/serve_rig.h"
#include "lib/unit.h"

#include "http2/grpc_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sockets that somebody else opened, and what a limit on connections is called. */

#define ADDRESSES_MAX 8

static struct serve_rig rig;
static struct grpc_server *server;
static unsigned drained;
static char problem[RING_PROBLEM_SIZE];

static void begin(void)
{
    drained = 0;
    ck_assert_int_eq(grpc_server_new(&rig.loop.reactor, &rig.options, &rig.dispatch, &server), 0);
}

static void on_drained(void *context)
{
    ck_assert_ptr_eq(context, &rig);
    drained++;
}

static void end(void)
{
    grpc_server_drain(server, 0, on_drained, &rig);
    LOOP_UNTIL(&rig.loop, drained == 1);
    grpc_server_free(server);
    serve_rig_deinit(&rig);
}

static void connect_client(struct serve_client *client)
{
    serve_client_connect(client, grpc_server_address(server, 0), false);
}

static void connect_and_settle(struct serve_client *client)
{
    connect_client(client);
    SERVE_UNTIL(&rig, client, serve_client_count(client, H2_FRAME_SETTINGS) > 0);
}

static int make_listening(void)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    return fd;
}

static int listen_on_copy(int fd)
{
    return grpc_server_listen_on(server, fcntl(fd, F_DUPFD_CLOEXEC, 0), NULL, problem);
}

/* A server serves on a socket that somebody passed, who keeps it when the server has gone. */
START_TEST(server_listens_on_a_passed_socket)
{
    const int theirs = make_listening();
    struct serve_client client;

    for (unsigned i = 0; i < 2; i++) {
        serve_rig_init(&rig);
        begin();
        ck_assert_int_eq(listen_on_copy(theirs), 0);
        connect_and_settle(&client);
        end();
        serve_client_deinit(&client);
    }
    ck_assert_int_eq(close(theirs), 0);
}

END_TEST

/* What cannot be listened on is refused, and named; and so is the ninth. */
START_TEST(server_refuses_passed_sockets)
{
    const int theirs = make_listening();

    serve_rig_init(&rig);
    begin();
    ck_assert_int_lt(grpc_server_listen_on(server, 12345, NULL, problem), 0);
    ck_assert_ptr_nonnull(strstr(problem, "a passed socket"));
    for (unsigned i = 0; i < ADDRESSES_MAX; i++) {
        ck_assert_int_eq(listen_on_copy(theirs), 0);
    }
    ck_assert_int_lt(listen_on_copy(theirs), 0);
    ck_assert_ptr_nonnull(strstr(problem, "more than 8 addresses"));
    end();
    ck_assert_int_eq(close(theirs), 0);
}

END_TEST

/* The limit on connections may be another option than that of the main port. */
START_TEST(server_names_its_limit)
{
    const uint64_t *hits = rig.loop.reactor.limits_hit.counts;
    struct serve_client first;
    struct serve_client second;

    serve_rig_init(&rig);
    rig.options.max_connections = 1;
    rig.options.max_connections_reason = LIMITS_HIT_HEALTH_CONNECTIONS;
    begin();
    ck_assert_int_eq(grpc_server_listen(server, "127.0.0.1:0", NULL, problem), 0);
    connect_and_settle(&first);
    connect_client(&second);
    SERVE_UNTIL(&rig, &second, second.has_ended);
    ck_assert_uint_eq(hits[LIMITS_HIT_HEALTH_CONNECTIONS], 1);
    ck_assert_uint_eq(hits[LIMITS_HIT_CONNECTIONS], 0);
    end();
    serve_client_deinit(&first);
    serve_client_deinit(&second);
}

END_TEST

UNIT_MAIN("grpc_server_listen", server_listens_on_a_passed_socket, server_refuses_passed_sockets,
          server_names_its_limit)
