/*
 * The health port: grpc.health.v1 and nothing else, over HTTP/2 without TLS and without tokens, for
 * probes that know neither.
 *
 * Owns:    its server and method table.
 * Borrows: the reactor and the health, for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_HEALTH_PORT_H
#define SERVICE_HEALTH_PORT_H

#include "http2/grpc_server.h"

#include <stdint.h>

struct health;
struct health_port;
struct reactor;

struct health_port_options {
    const char *listen;                /* health.listen, not "" */
    int passed_fd;                     /* in its place, as listener_adopt() takes it; 0 = none */
    struct grpc_server_options server; /* health_port_limit() has been at them */
};

/* Takes from options of the main port what probes do not need. `max_connections` is
 * health.max_connections. */
void health_port_limit(struct grpc_server_options *options, uint32_t max_connections);

/* Listens. Returns 0; or negative errno with `problem` (RING_PROBLEM_SIZE bytes) filled in. */
int health_port_new(struct reactor *reactor, struct health *health,
                    const struct health_port_options *options, char *problem,
                    struct health_port **ret_port);

/* The bound address as text, valid until it is drained. */
const char *health_port_address(const struct health_port *port);

const struct grpc_server_stats *health_port_stats(const struct health_port *port);

/* As grpc_server_set_options(). */
void health_port_set_options(struct health_port *port, const struct grpc_server_options *options);

/* As grpc_server_drain(). */
void health_port_drain(struct health_port *port, uint64_t grace_ns, void (*drained)(void *context),
                       void *context);

/* After `drained`. NULL is fine. */
void health_port_free(struct health_port *port);

#endif
