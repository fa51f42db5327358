/*
 * One listening socket with a multishot accept on the ring.
 *
 *   1. listener_open() binds and listens (listener_socket.c) and asks the ring to accept.
 *   2. Every completion with a descriptor is a connection, handed to the owner with its peer's
 * address.
 *   3. When the multishot ends (by itself, or because of a pause) it is asked for again, unless the
 *      listener is paused, resting or closing.
 *
 * What can go wrong:
 *
 *   - No descriptors are left. A connection that cannot be accepted would stay in the backlog and
 * its peer would wait for ever. So a spare descriptor is given up, one peer accepted with it and
 * hung up on, the spare taken back, and the listener rests for 100 ms: whoever frees descriptors
 * needs the time.
 *   - A connection broke before it was accepted: that is its own matter, accepting goes on at once.
 *   - The socket is somebody else's, who goes on with it (listener_adopt()): what belongs to the
 *     socket, and not to our descriptor of it, is left as it is where that can be.
 *   - listener_close() is called from `accepted`: freeing is left to a task at the end of the turn.
 */
#include "core/listener.h"

#include "core/clock.h"
#include "core/listener_socket.h"
#include "core/log.h"
#include "core/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REST_NS      (100 * CLOCK_NS_PER_MS)
#define REST_TOLD_NS (10 * CLOCK_NS_PER_S) /* between two lines about it */

struct listener {
    struct reactor *reactor;
    const struct listener_events *events;
    void *owner;
    struct ring_op accept_op;
    struct timer rest_timer; /* always armed, so that moving it needs no memory */
    struct reactor_task closed_task;
    struct listener_socket socket;
    int spare_fd;          /* given up to shed a peer; -1 when it could not be taken back */
    uint64_t rest_told_ns; /* when the log last heard of a rest; 0 = never */
    uint64_t rests_untold;
    bool resting;
    bool paused;
    bool closing;
};

static void start_accepting(struct listener *listener);
static void on_rested(struct timer *timer);
static void on_closed(struct reactor_task *task);

static void free_listener(struct listener *listener)
{
    reactor_stop_timer(listener->reactor, &listener->rest_timer);
    listener_socket_close(&listener->socket);
    if (listener->spare_fd >= 0) {
        (void)close(listener->spare_fd); /* nothing was written */
    }
    free(listener);
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Makes one without a socket. NULL = out of memory. */
static struct listener *make_listener(struct reactor *reactor, const struct listener_events *events,
                                      void *owner)
{
    struct listener *listener = calloc(1, sizeof(*listener));

    if (listener == NULL) {
        return NULL;
    }
    listener->reactor = reactor;
    listener->events = events;
    listener->owner = owner;
    listener->rest_timer.fire = on_rested;
    listener->closed_task.run = on_closed;
    list_init(&listener->closed_task.link);
    listener->socket.fd = -1;
    listener->spare_fd = open_spare();
    if (reactor_start_timer(reactor, &listener->rest_timer, UINT64_MAX) < 0) {
        free_listener(listener);
        return NULL;
    }
    return listener;
}

static int out_of_memory(const char *what, char *problem)
{
    (void)snprintf(problem, RING_PROBLEM_SIZE, "cannot listen on %s: %s", what, strerror(ENOMEM));
    return -ENOMEM;
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, of which no two belong together */
int listener_open(struct reactor *reactor, const char *address, int backlog,
                  const struct listener_events *events, void *owner, char *problem,
                  struct listener **ret_listener)
{
    struct listener *listener = make_listener(reactor, events, owner);
    int result;

    if (listener == NULL) {
        return out_of_memory(address, problem);
    }
    result = listener_socket_open(&listener->socket, address, backlog, problem);
    if (result < 0) {
        free_listener(listener);
        return result;
    }
    start_accepting(listener);
    *ret_listener = listener;
    return 0;
}

int listener_adopt(struct reactor *reactor, int fd, const struct listener_events *events,
                   void *owner, char *problem, struct listener **ret_listener)
{
    struct listener *listener = make_listener(reactor, events, owner);
    int result;

    if (listener == NULL) {
        (void)close(fd); /* nothing was written */
        return out_of_memory("a passed socket", problem);
    }
    result = listener_socket_adopt(&listener->socket, fd, problem);
    if (result < 0) {
        free_listener(listener);
        return result;
    }
    start_accepting(listener);
    *ret_listener = listener;
    return 0;
}

const char *listener_address(const struct listener *listener)
{
    return listener->socket.address;
}

/* A shortage lasts: one line in a while tells enough. */
static void tell_of_rest(struct listener *listener, int error)
{
    uint64_t now_ns = listener->reactor->now_ns;

    if (listener->rest_told_ns != 0 && now_ns - listener->rest_told_ns < REST_TOLD_NS) {
        listener->rests_untold++;
        return;
    }
    log_event(listener->reactor->log, LEVEL_WARN, "accept_paused",
              FIELD_TEXT("address", listener->socket.address), FIELD_TEXT("error", strerror(error)),
              FIELD_NUMBER("pause_ms", REST_NS / CLOCK_NS_PER_MS),
              FIELD_NUMBER("not_logged", listener->rests_untold));
    listener->rest_told_ns = now_ns;
    listener->rests_untold = 0;
}

static void rest(struct listener *listener, int error)
{
    limits_hit_add(&listener->reactor->limits_hit, LIMITS_HIT_FILES);
    tell_of_rest(listener, error);
    listener->resting = true;
    (void)reactor_start_timer(listener->reactor, &listener->rest_timer, REST_NS); /* only moved */
}

/* Accepts one peer with the spare descriptor's place and hangs up, so that it need not wait. */
static void shed_one(struct listener *listener)
{
    int flags = fcntl(listener->socket.fd, F_GETFL);
    int fd;

    if (listener->spare_fd < 0) {
        listener->spare_fd = open_spare();
        return;
    }
    (void)close(listener->spare_fd); /* nothing was written */
    /* Non-blocking for this call alone: the ring would answer -EAGAIN on a non-blocking listener.
     */
    (void)fcntl(listener->socket.fd, F_SETFL, flags | O_NONBLOCK);
    fd = accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC);
    (void)fcntl(listener->socket.fd, F_SETFL, flags);
    if (fd >= 0) {
        (void)close(fd); /* nothing was written */
    }
    listener->spare_fd = open_spare();
}

static void take_socket(struct listener *listener, int fd)
{
    struct sockaddr_storage peer = {0};
    socklen_t size = sizeof(peer);

    if (listener->closing || getpeername(fd, (struct sockaddr *)&peer, &size) < 0) {
        (void)close(fd); /* the peer is gone already, or we are going */
        return;
    }
    listener->events->accepted(listener->owner, fd, &peer);
}

/* True when the error is that of one connection, which broke before it was accepted (accept(2)). */
static bool is_of_one_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EPERM: /* a firewall rule */
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EINTR:
    case EAGAIN:
        return true;
    default:
        return false;
    }
}

static void accept_failed(struct listener *listener, int error)
{
    if (error == ECANCELED || is_of_one_connection(error) || listener->closing) {
        return;
    }
    if (error == EMFILE || error == ENFILE) {
        shed_one(listener);
    }
    rest(listener, error);
}

static void on_accept(struct ring_op *op, const struct ring_event *event)
{
    struct listener *listener = CONTAINER_OF(op, struct listener, accept_op);

    if (event->result >= 0) {
        take_socket(listener, event->result);
    } else {
        accept_failed(listener, -event->result);
    }
    if (event->more) {
        return;
    }
    if (listener->closing) {
        reactor_defer(listener->reactor, &listener->closed_task);
    } else {
        start_accepting(listener);
    }
}

/* Asks the ring for connections, unless that is under way or not wanted now. */
static void start_accepting(struct listener *listener)
{
    int result;

    if (listener->accept_op.pending || listener->resting || listener->paused || listener->closing) {
        return;
    }
    listener->accept_op.done = on_accept;
    result = ring_accept(listener->reactor->ring, &listener->accept_op, listener->socket.fd);
    if (result < 0) {
        rest(listener, -result);
    }
}

static void on_rested(struct timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, rest_timer);

    (void)reactor_start_timer(listener->reactor, timer, UINT64_MAX); /* the place it had is free */
    listener->resting = false;
    start_accepting(listener);
}

void listener_pause(struct listener *listener)
{
    listener->paused = true;
    ring_cancel(listener->reactor->ring, &listener->accept_op);
}

void listener_resume(struct listener *listener)
{
    listener->paused = false;
    start_accepting(listener);
}

static void on_closed(struct reactor_task *task)
{
    struct listener *listener = CONTAINER_OF(task, struct listener, closed_task);
    const struct listener_events *events = listener->events;
    void *owner = listener->owner;

    free_listener(listener);
    events->closed(owner);
}

void listener_close(struct listener *listener)
{
    if (listener->closing) {
        return;
    }
    listener->closing = true;
    if (listener->accept_op.pending) {
        ring_cancel(listener->reactor->ring, &listener->accept_op);
    } else {
        reactor_defer(listener->reactor, &listener->closed_task);
    }
}
