/*
 * The admin port: what probes and administrators may ask and tell a running server, over HTTP. In a
 * browser it is a page that shows how the server does.
 *
 * Owns:    its HTTP server.
 * Borrows: the reactor, the health, the log and what the options name, for its life.
 * Thread:  loop only.
 */
#ifndef SERVICE_ADMIN_H
#define SERVICE_ADMIN_H

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct admin;
struct health;
struct log;
struct reactor;

/* The functions may not close the admin port. */
struct admin_options {
    const char *listen;       /* admin.listen, not ""; or where the passed socket is */
    int passed_fd;            /* as listener_adopt() takes it; 0 = none */
    uint32_t max_connections; /* admin.max_connections */
    uint64_t timeout_ns;      /* admin.timeout_s */
    const struct health *health;
    struct log *log; /* GET and POST /log; each POST has a line in it, which says who and what */
    /* POST /snapshot. Returns as commit_log_ops.checkpoint does: 0 = it has begun, -EBUSY = one is
     * under way, or another negative errno, which is told. */
    int (*take_snapshot)(void *context);
    /* POST /reload: as SIGHUP. Returns 0 = it has begun, or will once the one that runs has ended;
     * or a negative errno, which is told. */
    int (*reload)(void *context);
    /* GET /config: appends the configuration in force, without secrets. Returns 0 or -ENOMEM. */
    int (*write_config)(void *context, struct buf *out);
    /* GET /metrics: appends text for Prometheus, of OpenMetrics 1.0.0 or else 0.0.4. Returns 0 or
     * -ENOMEM. */
    int (*write_metrics)(void *context, bool is_open_metrics, struct buf *out);
    void *context;
};

/* Listens. Returns 0; or negative errno with `problem` (RING_PROBLEM_SIZE bytes) filled in. */
int admin_new(struct reactor *reactor, const struct admin_options *options, char *problem,
              struct admin **ret_admin);

/* The bound address as text, valid until it is closed. */
const char *admin_address(const struct admin *admin);

/* Closes port and connections. The loop must turn until it is closed. Safe to repeat. */
void admin_close(struct admin *admin);
bool admin_is_closed(const struct admin *admin);

/* After it is closed. NULL is fine. */
void admin_free(struct admin *admin);

#endif
