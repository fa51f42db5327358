/*
 * A gRPC server's surroundings for tests: a loop whose clock can be pushed forward, a few methods,
 * and clients on plain sockets.
 *
 * Owns:    the loop, the method table; a client its socket and session.
 * Thread:  one.
 */
#ifndef TESTS_LIB_SERVE_RIG_H
#define TESTS_LIB_SERVE_RIG_H

#include "lib/h2_peer.h"
#include "lib/party.h"

#include "core/clock.h"
#include "http2/grpc_dispatch.h"
#include "http2/grpc_server.h"

#include <stdbool.h>

/* Methods: /t.T/Echo answers with the request; /t.T/Hold holds the call in `held` and answers when the test
 * does; /t.T/Large answers with a megabyte. */
struct serve_rig {
    struct loop loop;
    struct clock_source clock;
    uint64_t pushed_ns; /* how far the clock is ahead */
    struct grpc_method_table methods;
    struct grpc_dispatch dispatch;
    struct grpc_server_options options; /* generous; change before making a server */
    struct grpc_call *held;             /* the newest call to Hold */
    unsigned held_count;
    unsigned cancelled_count; /* of held calls: told, and not let go of by that */
};

void serve_rig_init(struct serve_rig *rig);
void serve_rig_deinit(struct serve_rig *rig);

/* Lets time pass: timers that are due run in the next turn. */
void serve_rig_push_clock(struct serve_rig *rig, uint64_t ns);

struct serve_client {
    int fd;
    struct h2_peer peer;
    struct buf seen; /* all bytes received, as frames */
    bool reads;      /* false: leaves everything in the socket */
    bool is_raw;     /* no session: bytes are sent by serve_client_send() */
    bool has_ended;  /* the server closed */
    bool was_reset;  /* without a proper end */
};

/* Takes a connected socket. */
void serve_client_init(struct serve_client *client, int fd, bool is_raw);

/* A client connected to "127.0.0.1:port". */
void serve_client_connect(struct serve_client *client, const char *address, bool is_raw);
void serve_client_deinit(struct serve_client *client);

/* Sends as much as the socket takes. */
void serve_client_send(struct serve_client *client, const struct buf *bytes);

/* Moves bytes both ways, as much as can be moved now. */
void serve_client_pump(struct serve_client *client);

/* Turns the loop, the client with it, until the condition holds. */
#define SERVE_UNTIL(rig_, client_, condition_)                                                     \
    do {                                                                                           \
        serve_client_pump(client_);                                                                \
        while (!(condition_)) {                                                                    \
            loop_turn(&(rig_)->loop);                                                              \
            serve_client_pump(client_);                                                            \
        }                                                                                          \
    } while (0)

/* Frames of a type among all that were seen. */
unsigned serve_client_count(const struct serve_client *client, unsigned type);

#endif
