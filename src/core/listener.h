/*
 * Binds and listens, or takes a socket that listens already; accepts, and hands each connection to
 * its owner.
 *
 * Owns:    the listening socket and its multishot accept; accepted sockets until handed over.
 * Thread:  loop only.
 */
#ifndef CORE_LISTENER_H
#define CORE_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct reactor;
struct listener;

/* Both run from the loop, never inside a call to listener_*. */
struct listener_events {
    /* A connection; the callee owns `fd`. `peer` is its address. */
    void (*accepted)(void *owner, int fd, const struct sockaddr_storage *peer);
    /* The listener is gone; last call. */
    void (*closed)(void *owner);
};

/* Listens on "host:port", "[v6]:port", ":port" (every address, IPv6 and IPv4) or "unix:/path". The
 * host may be a name, of which the first address that can be bound is taken; port 0 = any.
 * TCP_NODELAY and SO_REUSEADDR are set; a path left behind by a dead process is replaced. EMFILE,
 * ENFILE and ENOBUFS at accept pause it for 100 ms, with a log line, after a spare descriptor was
 * used to accept and close one peer.
 *
 * Returns 0; or negative errno, with `problem` (RING_PROBLEM_SIZE bytes) naming address and cause.
 */
int listener_open(struct reactor *reactor, const char *address, int backlog,
                  const struct listener_events *events, void *owner, char *problem,
                  struct listener **ret_listener);

/* Accepts on a socket that somebody else has bound and made listen, over TCP or AF_UNIX: takes the
 * descriptor over, also when it fails. Others may have it open too: they go on listening when this
 * listener is closed, with what waits in the backlog, and a path stays.
 *
 * Returns as listener_open(). */
int listener_adopt(struct reactor *reactor, int fd, const struct listener_events *events,
                   void *owner, char *problem, struct listener **ret_listener);

/* The bound address as text ("127.0.0.1:41234"), valid while the listener is. */
const char *listener_address(const struct listener *listener);

/* Stops and restarts accepting; the kernel's backlog waits meanwhile. Connections that the kernel
 * had accepted before it heard of the pause are still handed over. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Asks; `closed` tells. Safe to repeat. */
void listener_close(struct listener *listener);

#endif
