#include "core/listener_socket.h"

#include "core/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Bytes of one connection that the kernel keeps and has not sent: what lies there nothing can
 * overtake, and by itself it grows to megabytes. */
#define NOT_SENT_MAX 131072

#define UNIX_PREFIX      "unix:"
#define UNIX_PREFIX_SIZE (sizeof(UNIX_PREFIX) - 1)

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

/* What accepted sockets inherit. */
static int set_options(int fd)
{
    int yes = 1;
    int unsent_max = NOT_SENT_MAX;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max, sizeof(unsent_max)) < 0) {
        return -errno;
    }
    return 0;
}

/* Binds and listens. Returns the descriptor or negative errno. */
static int bind_socket(const struct sockaddr *address, socklen_t size, bool dual_stack, int backlog)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    int v6_only = dual_stack ? 0 : 1;
    int error = 0;

    if (fd < 0) {
        return -errno;
    }
    if (address->sa_family != AF_UNIX) {
        error = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ? -errno
                                                                                : set_options(fd);
    }
    if (error == 0 && address->sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) < 0) {
        error = -errno;
    }
    if (error == 0 && (bind(fd, address, size) < 0 || listen(fd, backlog) < 0)) {
        error = -errno;
    }
    if (error != 0) {
        (void)close(fd); /* nothing was written */
        return error;
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

static int open_unix(struct listener_socket *self, const char *address, int backlog, char *problem)
{
    const char *path = address + UNIX_PREFIX_SIZE;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(name.sun_path)) {
        return refuse(address, -EINVAL, "a path must have 1 to 107 bytes", problem);
    }
    memcpy(name.sun_path, path, size);
    self->fd = bind_socket((const struct sockaddr *)&name, sizeof(name), false, backlog);
    if (self->fd == -EADDRINUSE && is_stale(&name) && unlink(path) == 0) {
        self->fd = bind_socket((const struct sockaddr *)&name, sizeof(name), false, backlog);
    }
    if (self->fd < 0) {
        return self->fd;
    }
    self->has_path = lstat(path, &self->path_stat) == 0;
    (void)snprintf(self->address, sizeof(self->address), "%s", address);
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
static int open_host(struct listener_socket *self, const char *host, const char *port,
                     bool dual_stack, int backlog)
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
    self->fd = -EADDRNOTAVAIL;
    for (struct addrinfo *entry = found; entry != NULL && self->fd < 0; entry = entry->ai_next) {
        self->fd = bind_socket(entry->ai_addr, entry->ai_addrlen, dual_stack, backlog);
    }
    freeaddrinfo(found);
    return self->fd < 0 ? self->fd : 0;
}

/* "unix:/path" or "unix:@name"; the size tells where a name ends. */
static void describe_unix(const struct sockaddr_storage *name, socklen_t size, char *text)
{
    const size_t head = offsetof(struct sockaddr_un, sun_path);
    struct sockaddr_un address;
    size_t path_size = size > head ? size - head : 0;

    memcpy(&address, name, sizeof(address));
    if (path_size > sizeof(address.sun_path)) {
        path_size = sizeof(address.sun_path); /* the longest path has no NUL, but is counted one */
    }
    if (path_size > 0 && address.sun_path[0] == '\0') {
        address.sun_path[0] = '@';
    }
    (void)snprintf(text, LISTENER_ADDRESS_SIZE, UNIX_PREFIX "%.*s", (int)path_size,
                   address.sun_path);
}

int listener_socket_describe(int fd, char *text)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    char host[NI_MAXHOST];
    char port[8];

    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0) {
        return -errno;
    }
    if (name.ss_family == AF_UNIX) {
        describe_unix(&name, size, text);
        return 0;
    }
    if (getnameinfo((struct sockaddr *)&name, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -EINVAL;
    }
    (void)snprintf(text, LISTENER_ADDRESS_SIZE, name.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
                   host, port);
    return 0;
}

bool listener_socket_is_at(const char *address, const char *description)
{
    static const char *const hosts[][2] = {
        {":", "[::]:"},
        {":", "0.0.0.0:"},
        {"localhost:", "127.0.0.1:"},
        {"localhost:", "[::1]:"},
    };

    if (strcmp(address, description) == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        const size_t written = strlen(hosts[i][0]);
        const size_t bound = strlen(hosts[i][1]);

        if (strncmp(address, hosts[i][0], written) == 0 &&
            strncmp(description, hosts[i][1], bound) == 0 &&
            strcmp(address + written, description + bound) == 0) {
            return true;
        }
    }
    return false;
}

static int open_tcp(struct listener_socket *self, const char *address, int backlog, char *problem)
{
    char text[LISTENER_ADDRESS_SIZE];
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
        result = open_host(self, "::", port, true, backlog);
        if (result == -EAFNOSUPPORT || result == -EADDRNOTAVAIL) { /* a host without IPv6 */
            result = open_host(self, "0.0.0.0", port, false, backlog);
        }
    } else {
        result = open_host(self, host, port, false, backlog);
    }
    if (result > 0) {
        return refuse(address, -EADDRNOTAVAIL, gai_strerror(-result), problem);
    }
    /* With port 0 what was bound is more than what was asked for. */
    return result == 0 ? listener_socket_describe(self->fd, self->address) : result;
}

/* Makes a socket of somebody else's as ours are. For those with O_NONBLOCK the ring does not wait
 * on older kernels: it answers -EAGAIN at once. */
static int fit_socket(int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        getsockname(fd, (struct sockaddr *)&name, &size) < 0) {
        return -errno;
    }
    return name.ss_family == AF_UNIX ? 0 : set_options(fd);
}

int listener_socket_open(struct listener_socket *self, const char *address, int backlog,
                         char *problem)
{
    int result;

    *self = (struct listener_socket){.fd = -1};
    problem[0] = '\0';
    result = strncmp(address, UNIX_PREFIX, UNIX_PREFIX_SIZE) == 0
                 ? open_unix(self, address, backlog, problem)
                 : open_tcp(self, address, backlog, problem);
    if (result < 0 && problem[0] == '\0') {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "cannot listen on %s: %s%s", address,
                       strerror(-result), hint(-result));
    }
    if (result < 0) {
        listener_socket_close(self);
        self->fd = -1;
    }
    return result;
}

int listener_socket_adopt(struct listener_socket *self, int fd, char *problem)
{
    int result = fit_socket(fd);

    *self = (struct listener_socket){.fd = fd};
    if (result == 0) {
        result = listener_socket_describe(fd, self->address);
    }
    if (result < 0) {
        listener_socket_close(self);
        return refuse("a passed socket", result, strerror(-result), problem);
    }
    return 0;
}

void listener_socket_close(struct listener_socket *self)
{
    struct stat now;
    const char *path = self->address + UNIX_PREFIX_SIZE;

    if (self->has_path && lstat(path, &now) == 0 && now.st_ino == self->path_stat.st_ino &&
        now.st_dev == self->path_stat.st_dev) {
        (void)unlink(path); /* a leftover is harmless: the next start replaces it */
    }
    self->has_path = false;
    if (self->fd >= 0) {
        (void)close(self->fd); /* nothing was written */
        self->fd = -1;
    }
}
