#include "service/health_port.h"

#include "core/ring.h"
#include "service/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A server of its own, so that its connections are counted apart: nobody who fills the main port
 * keeps a probe out, and it goes on answering while the main port drains. No call passes a stage,
 * as each is answered from memory.
 */

/* A request is a name, an answer a number. */
#define MESSAGE_MAX    4096
#define BUFFERED_MAX   65536
#define UNSENT_MAX     16384
#define RUNNING_MAX    1024
#define STREAMS_MAX    16
#define WINDOW_SIZE    65535
#define HEADER_MAX     8192
#define HEADER_MAX_ALL 16384

struct health_port {
    struct grpc_method_table methods;
    struct grpc_dispatch dispatch;
    struct grpc_server *server;
};

void health_port_limit(struct grpc_server_options *options, uint32_t max_connections)
{
    options->h2.max_concurrent_streams = STREAMS_MAX;
    options->h2.stream_window = WINDOW_SIZE;
    options->h2.connection_window = WINDOW_SIZE;
    options->h2.max_header_list = HEADER_MAX;
    options->h2.max_header_list_hard = HEADER_MAX_ALL;
    options->max_connections = max_connections;
    options->max_connections_reason = LIMITS_HIT_HEALTH_CONNECTIONS;
    options->max_connections_per_ip = 0; /* all probes come from one */
    options->max_buffered = BUFFERED_MAX;
    options->max_buffered_per_connection = BUFFERED_MAX;
    options->max_message = MESSAGE_MAX;
    options->max_running = RUNNING_MAX;
    options->max_unsent = UNSENT_MAX;
    options->compress_replies = false;
    options->max_age_ns = 0; /* it balances nothing */
}

static int build(struct health_port *port, struct reactor *reactor, struct health *health,
                 const struct health_port_options *options)
{
    struct grpc_method rows[HEALTH_METHOD_COUNT];

    health_methods(health, rows);
    if (grpc_method_table_init(&port->methods, rows, HEALTH_METHOD_COUNT) != 0) {
        return -ENOMEM;
    }
    port->dispatch.methods = &port->methods;
    return grpc_server_new(reactor, &options->server, &port->dispatch, &port->server);
}

int health_port_new(struct reactor *reactor, struct health *health,
                    const struct health_port_options *options, char *problem,
                    struct health_port **ret_port)
{
    struct health_port *port = calloc(1, sizeof(*port));
    int result = port == NULL ? -ENOMEM : build(port, reactor, health, options);

    if (result != 0) {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "%s", strerror(-result));
    } else if (options->passed_fd != 0) {
        result = grpc_server_listen_on(port->server, options->passed_fd, NULL, problem);
    } else {
        result = grpc_server_listen(port->server, options->listen, NULL, problem);
    }
    if (result != 0) {
        health_port_free(port);
        return result;
    }
    *ret_port = port;
    return 0;
}

const char *health_port_address(const struct health_port *port)
{
    return grpc_server_address(port->server, 0);
}

const struct grpc_server_stats *health_port_stats(const struct health_port *port)
{
    return grpc_server_stats(port->server);
}

void health_port_set_options(struct health_port *port, const struct grpc_server_options *options)
{
    grpc_server_set_options(port->server, options);
}

void health_port_drain(struct health_port *port, uint64_t grace_ns, void (*drained)(void *context),
                       void *context)
{
    grpc_server_drain(port->server, grace_ns, drained, context);
}

void health_port_free(struct health_port *port)
{
    if (port == NULL) {
        return;
    }
    grpc_server_free(port->server);
    grpc_method_table_deinit(&port->methods);
    free(port);
}
