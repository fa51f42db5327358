/*
 * Calls of userd in large numbers: connections, calls under way, and their
 * times.
 *
 * Owns:    the loop, the connections, the token.
 * Borrows: the options' texts; every struct userbench_call, from start until
 * its `done`. Thread:  one.
 */
#ifndef USERBENCH_CLIENT_H
#define USERBENCH_CLIENT_H

#include "client/channel.h"
#include "core/buf.h"
#include "core/reactor.h"

#include <stdbool.h>
#include <stdint.h>

struct userbench_options;
struct workpool;

#define USERBENCH_CONNECTIONS_MAX 64

struct userbench_client {
    struct reactor reactor;
    struct tls_context *tls;
    struct workpool *pool; /* NULL = no name has to be asked for */
    struct target *target;
    struct channel *channels[USERBENCH_CONNECTIONS_MAX];
    unsigned channel_count;
    unsigned next_channel;
    unsigned closed_count;
    char *token; /* NULL = none */
    size_t token_size;
    struct buf request;
    struct buf user;
    struct buf profile;
    uint64_t change; /* makes every update another one */
    bool sleeps;
};

struct userbench_call {
    struct channel_call call;
    /* From the loop, once per start. A call that failed ends the program before
     * it. */
    void (*done)(struct userbench_call *call, uint64_t now_ns);
    uint64_t start_ns; /* or when it should have started: the caller's to set */
    uint64_t user;
    bool is_update;
};

/* Connects nothing yet; a problem ends the program, here and below. */
void userbench_client_init(struct userbench_client *client,
                           const struct userbench_options *options);
void userbench_client_deinit(struct userbench_client *client);

/* GetUser, or an UpdateUser that gives another first name, on the next
 * connection in turn. */
void userbench_client_start(struct userbench_client *client, struct userbench_call *call);

/* One turn of the loop. With `sleeps` it waits for at most that long, otherwise
 * not at all. */
void userbench_client_turn(struct userbench_client *client, uint64_t timeout_ns);

#endif
