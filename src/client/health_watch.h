/*
 * Watches one backend's health by grpc.health.v1.Health/Watch (gRFC A17, client-side health
 * checking): the backend is used only while it says SERVING.
 *
 * A server without the service (UNIMPLEMENTED) counts as healthy, and nobody is told. Any other end
 * of the stream is repeated with backoff, and the backend is not used meanwhile; a stream on which
 * nothing is said within a limit is ended for that.
 *
 * Owns:    its attempt of a call, its timer.
 * Borrows: reactor, subchannel, its owner.
 * Thread:  loop only.
 */
#ifndef CLIENT_HEALTH_WATCH_H
#define CLIENT_HEALTH_WATCH_H

#include "client/subchannel.h"

enum health_watch_state {
    HEALTH_WATCH_UNKNOWN, /* no word yet since the start */
    HEALTH_WATCH_SERVING,
    HEALTH_WATCH_NOT_SERVING, /* or it cannot be known */
    HEALTH_WATCH_UNSUPPORTED, /* counts as SERVING */
};

struct health_watch;

struct health_watch_events {
    void (*changed)(void *owner); /* from the loop, never inside a call here */
    /* The whole value of the authorization field, or NULL. Asked for each stream; borrowed until
     * the call that asks returns. NULL = never any. */
    const char *(*authorization)(void *owner);
};

struct health_watch_options {
    const char *service;        /* "" = the server as a whole; borrowed until it was made */
    uint64_t answer_timeout_ns; /* for the first word on a stream; 0 = no limit */
};

/* Nothing is watched before health_watch_start(). Returns 0 or -ENOMEM. */
int health_watch_new(struct reactor *reactor, struct subchannel *subchannel,
                     const struct health_watch_options *options,
                     const struct health_watch_events *events, void *owner,
                     struct health_watch **ret_watch);

/* The subchannel has become READY (UNKNOWN, and asks), or is no longer. */
void health_watch_start(struct health_watch *watch);
void health_watch_stop(struct health_watch *watch);

enum health_watch_state health_watch_state(const struct health_watch *watch);

/* Why it is NOT_SERVING, for people. */
const char *health_watch_problem(const struct health_watch *watch);

/* Ends; freed once its attempt is done. Nothing is told any more. NULL is fine. */
void health_watch_free(struct health_watch *watch);

#endif
