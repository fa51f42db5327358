/*
 * grpc.health.v1.Health: whether this server, its service and its probes are to be used, as the
 * composition tells it by one state, and whether memory is short.
 *
 * Owns:    the watchers.
 * Borrows: the reactor, for its life; the call of each watcher, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_HEALTH_H
#define SERVICE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct grpc_method;
struct health;
struct reactor;

/* From bad to good to worse. */
enum health_state {
    HEALTH_STARTING,
    HEALTH_SERVING,
    HEALTH_READ_ONLY, /* changes are refused for now, reads go on: the disk is full */
    HEALTH_DRAINING,  /* going down; from here on it only gets worse */
    HEALTH_FAILED,    /* the log failed: the process is about to end */
};

struct health_options {
    uint32_t max_watchers; /* watch.max_health: over it RESOURCE_EXHAUSTED */
};

/* Counts since start, for metrics and tests. */
struct health_stats {
    uint64_t watchers; /* now */
    uint64_t sent;     /* messages to them */
    uint64_t skipped;  /* states that a slow reader did not see */
    uint64_t refused;  /* watchers over a limit */
    uint64_t checks;   /* calls of Check and List */
};

#define HEALTH_WATCHERS_PER_CONNECTION 8
#define HEALTH_REASON_SIZE             256

/* Makes it in the state STARTING. Returns 0 or -ENOMEM. */
int health_new(struct reactor *reactor, const struct health_options *options,
               struct health **ret_health);

#define HEALTH_METHOD_COUNT 3

/* Fills in the HEALTH_METHOD_COUNT rows of the method table. */
void health_methods(struct health *health, struct grpc_method *ret_methods);

/* The state has changed, for that reason (copied; "" = none to tell). From DRAINING on only a worse
 * state is taken, and anything else does nothing. Watchers hear of it from the loop. */
void health_set(struct health *health, enum health_state state, const char *reason);

/* Calls are refused, for want of memory, or no longer are. That is nothing of the server's life: it
 * comes and goes in any state, and only the name "readiness" is told. */
void health_set_short(struct health *health, bool is_short);

enum health_state health_state(const struct health *health);

/* "" or why the state is what it is, or why a server that serves is not ready. */
const char *health_reason(const struct health *health);

/* What the name "readiness" is told. */
bool health_is_ready(const struct health *health);

/* "serving" and so on, for people. */
const char *health_state_name(enum health_state state);

/* Tells every watcher the present status and ends it with UNAVAILABLE, from the loop, and those
 * that come later at once: they would never end by themselves. */
void health_end_watches(struct health *health);

const struct health_stats *health_stats(const struct health *health);

/* No watcher may be left. NULL is fine. */
void health_free(struct health *health);

#endif
