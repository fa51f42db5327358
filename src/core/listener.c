/*
 * One listening socket with a multishot accept on the ring.
 *
 *   1. listener_open() parses the address, binds, listens and asks the ring to accept.
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
 *   - listener_close() is called from `accepted`: freeing is left to a task at the end of the turn.
 */
#include "core/listener.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Bytes of one connection that the kernel keeps and has not sent: what lies there nothing can
 * overtake, and by itself it grows to megabytes. */
#define NOT_SENT_MAX 131072

#define REST_NS          (100 * CLOCK_NS_PER_MS)
#define REST_TOLD_NS     (10 * CLOCK_NS_PER_S) /* between two lines about it */
#define ADDRESS_SIZE     (NI_MAXHOST + 16)     /* brackets, colon, port */
#define UNIX_PREFIX      "unix:"
#define UNIX_PREFIX_SIZE (sizeof(UNIX_PREFIX) - 1)

struct listener {
    struct reactor *reactor;
    const struct listener_events *events;
    void *owner;
    struct ring_op accept_op;
    struct timer rest_timer; /* always armed, so that moving it needs no memory */
    struct reactor_task closed_task;
    int fd;
    int spare_fd;          /* given up to shed a peer; -1 when it could not be taken back */
    uint64_t rest_told_ns; /* when the log last heard of a rest; 0 = never */
    uint64_t rests_untold;
    bool resting;
    bool paused;
    bool closing;
    bool has_path;
    struct stat path_stat; /* of the socket in the file system, to remove no other one */
    char address[ADDRESS_SIZE];
};

static const char *hint(int error)
{
    switch (error) {
    case EADDRINUSE:
        return " (another userd? take another port)";
    case EADDRNOTAVAIL:
        return " (no interface here has this address)";
    case EACCES:
        return " (a port below 1024 needs CAP_NET_BIND_SERVICE, a path needs a writable directory)";
    default:
        return "";
    }
}

static int refuse(const char *address, int error, const char *reason, char *problem)
{
    (void)snprintf(problem, RING_PROBLEM_SIZE, "cannot listen on %s: %s", address, reason);
    return error;
}

/* Binds and listens. Returns the descriptor or negative errno. */
static int bind_socket(const struct sockaddr *address, socklen_t size, bool dual_stack, int backlog)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    int unsent_max = NOT_SENT_MAX;
    int v6_only = dual_stack ? 0 : 1;
    int error = 0;

    if (fd < 0) {
        return -errno;
    }
    if (address->sa_family != AF_UNIX &&
        (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
         setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0 ||
         setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max, sizeof(unsent_max)) < 0)) {
        error = errno; /* accepted sockets inherit these */
    } else if (address->sa_family == AF_INET6 &&
               setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) < 0) {
        error = errno;
    } else if (bind(fd, address, size) < 0 || listen(fd, backlog) < 0) {
        error = errno;
    }
    if (error != 0) {
        (void)close(fd); /* nothing was written */
        return -error;
    }
    return fd;
}

/* True when a socket lies at the path and no process listens on it any more. */
static bool is_stale(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale;

    if (fd < 0) {
        return false;
    }
    stale = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
            errno == ECONNREFUSED;
    (void)close(fd); /* nothing was written */
    return stale;
}

static int open_unix(struct listener *listener, const char *address, int backlog, char *problem)
{
    const char *path = address + UNIX_PREFIX_SIZE;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(name.sun_path)) {
        return refuse(address, -EINVAL, "a path must have 1 to 107 bytes", problem);
    }
    memcpy(name.sun_path, path, size);
    listener->fd = bind_socket((const struct sockaddr *)&name, sizeof(name), false, backlog);
    if (listener->fd == -EADDRINUSE && is_stale(&name) && unlink(path) == 0) {
        listener->fd = bind_socket((const struct sockaddr *)&name, sizeof(name), false, backlog);
    }
    if (listener->fd < 0) {
        return listener->fd;
    }
    listener->has_path = lstat(path, &listener->path_stat) == 0;
    (void)snprintf(listener->address, sizeof(listener->address), "%s", address);
    return 0;
}

/* Cuts "host:port" in two, in place. Returns NULL, or what is wrong with it. */
static const char *split_address(char *text, char **ret_host, char **ret_port)
{
    char *colon = strrchr(text, ':');
    size_t host_size;

    if (colon == NULL) {
        return "no port (write host:port, [v6]:port, :port or unix:/path)";
    }
    *colon = '\0';
    if (colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 5 || strtol(colon + 1, NULL, 10) > UINT16_MAX) {
        return "the port must be a number from 0 to 65535";
    }
    host_size = (size_t)(colon - text);
    if (text[0] == '[') {
        if (host_size < 3 || text[host_size - 1] != ']') {
            return "the bracket around the IPv6 address is not closed";
        }
        text[host_size - 1] = '\0';
        text++;
    } else if (strchr(text, ':') != NULL) {
        return "an IPv6 address needs brackets: [v6]:port";
    }
    *ret_host = text;
    *ret_port = colon + 1;
    return NULL;
}

/* Binds the first address of the host that can be. Returns 0, negative errno, or a positive EAI_*
 * turned round (they are negative in netdb.h). */
static int open_host(struct listener *listener, const char *host, const char *port, bool dual_stack,
                     int backlog)
{
    struct addrinfo wanted = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *found;
    int result = getaddrinfo(host, port, &wanted, &found);

    if (result != 0) {
        return result == EAI_SYSTEM ? -errno : -result;
    }
    listener->fd = -EADDRNOTAVAIL;
    for (struct addrinfo *entry = found; entry != NULL && listener->fd < 0;
         entry = entry->ai_next) {
        listener->fd = bind_socket(entry->ai_addr, entry->ai_addrlen, dual_stack, backlog);
    }
    freeaddrinfo(found);
    return listener->fd < 0 ? listener->fd : 0;
}

/* Writes down what was bound, which with port 0 is more than was asked for. */
static int note_address(struct listener *listener)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    char host[NI_MAXHOST];
    char port[8];

    if (getsockname(listener->fd, (struct sockaddr *)&name, &size) < 0) {
        return -errno;
    }
    if (getnameinfo((struct sockaddr *)&name, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -EINVAL;
    }
    (void)snprintf(listener->address, sizeof(listener->address),
                   name.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return 0;
}

static int open_tcp(struct listener *listener, const char *address, int backlog, char *problem)
{
    char text[ADDRESS_SIZE];
    char *host;
    char *port;
    const char *mistake;
    int result;

    if (strlen(address) >= sizeof(text)) {
        return refuse("an address", -EINVAL, "it is too long", problem);
    }
    memcpy(text, address, strlen(address) + 1);
    mistake = split_address(text, &host, &port);
    if (mistake != NULL) {
        return refuse(address, -EINVAL, mistake, problem);
    }
    if (host[0] == '\0') {
        result = open_host(listener, "::", port, true, backlog);
        if (result == -EAFNOSUPPORT || result == -EADDRNOTAVAIL) { /* a host without IPv6 */
            result = open_host(listener, "0.0.0.0", port, false, backlog);
        }
    } else {
        result = open_host(listener, host, port, false, backlog);
    }
    if (result > 0) {
        return refuse(address, -EADDRNOTAVAIL, gai_strerror(-result), problem);
    }
    return result == 0 ? note_address(listener) : result;
}

static void start_accepting(struct listener *listener);
static void on_rested(struct timer *timer);
static void on_closed(struct reactor_task *task);

static void free_listener(struct listener *listener)
{
    struct stat now;
    const char *path = listener->address + UNIX_PREFIX_SIZE;

    reactor_stop_timer(listener->reactor, &listener->rest_timer);
    if (listener->has_path && lstat(path, &now) == 0 && now.st_ino == listener->path_stat.st_ino &&
        now.st_dev == listener->path_stat.st_dev) {
        (void)unlink(path); /* a leftover is harmless: the next start replaces it */
    }
    if (listener->fd >= 0) {
        (void)close(listener->fd); /* nothing was written */
    }
    if (listener->spare_fd >= 0) {
        (void)close(listener->spare_fd); /* nothing was written */
    }
    free(listener);
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int open_socket(struct listener *listener, const char *address, int backlog, char *problem)
{
    int result;

    problem[0] = '\0';
    result = strncmp(address, UNIX_PREFIX, UNIX_PREFIX_SIZE) == 0
                 ? open_unix(listener, address, backlog, problem)
                 : open_tcp(listener, address, backlog, problem);
    if (result < 0 && problem[0] == '\0') {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "cannot listen on %s: %s%s", address,
                       strerror(-result), hint(-result));
    }
    return result;
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, of which no two belong together */
int listener_open(struct reactor *reactor, const char *address, int backlog,
                  const struct listener_events *events, void *owner, char *problem,
                  struct listener **ret_listener)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    int result;

    if (listener == NULL) {
        return refuse(address, -ENOMEM, strerror(ENOMEM), problem);
    }
    listener->reactor = reactor;
    listener->events = events;
    listener->owner = owner;
    listener->rest_timer.fire = on_rested;
    listener->closed_task.run = on_closed;
    list_init(&listener->closed_task.link);
    listener->fd = -1;
    listener->spare_fd = open_spare();
    result = reactor_start_timer(reactor, &listener->rest_timer, UINT64_MAX);
    if (result < 0) {
        (void)refuse(address, result, strerror(-result), problem);
    } else {
        result = open_socket(listener, address, backlog, problem);
    }
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
    return listener->address;
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
              FIELD_TEXT("address", listener->address), FIELD_TEXT("error", strerror(error)),
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
    int flags = fcntl(listener->fd, F_GETFL);
    int fd;

    if (listener->spare_fd < 0) {
        listener->spare_fd = open_spare();
        return;
    }
    (void)close(listener->spare_fd); /* nothing was written */
    /* Non-blocking for this call alone: the ring would answer -EAGAIN on a non-blocking listener.
     */
    (void)fcntl(listener->fd, F_SETFL, flags | O_NONBLOCK);
    fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    (void)fcntl(listener->fd, F_SETFL, flags);
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
    result = ring_accept(listener->reactor->ring, &listener->accept_op, listener->fd);
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
