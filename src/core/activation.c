#include "core/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The sockets are the descriptors from 3 on. What can go wrong is how the manager was set up, so
 * each problem names what to change there.
 */

#define FIRST_FD 3

/* What the manager says of a descriptor of which it knows no name. */
#define NAME_UNKNOWN "unknown"

__attribute__((format(printf, 2, 3))) static int unfit(char *problem, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(problem, ACTIVATION_PROBLEM_SIZE, format, arguments); /* may be cut */
    va_end(arguments);
    return ACTIVATION_E_UNFIT;
}

/* False when it is no number, or too large for what is counted with one. */
static bool read_number(const char *text, long *ret_number)
{
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    *ret_number = strtol(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* How many there are for us: 0 also when they are meant for another process. */
static int read_count(char *problem, unsigned *ret_count)
{
    const char *pid_text = getenv("LISTEN_PID");
    const char *count_text = getenv("LISTEN_FDS");
    long pid;
    long count;

    *ret_count = 0;
    if (pid_text == NULL || count_text == NULL) {
        return 0;
    }
    if (!read_number(pid_text, &pid)) {
        return unfit(problem,
                     "LISTEN_PID: \"%.64s\" is no process: whoever passes sockets must set "
                     "it to the process that userd runs as",
                     pid_text);
    }
    if (pid != (long)getpid()) {
        return 0;
    }
    if (!read_number(count_text, &count) || count > ACTIVATION_SOCKETS_MAX) {
        return unfit(problem,
                     "LISTEN_FDS: \"%.64s\" is not a number of sockets from 0 to %d: pass "
                     "one socket for each address",
                     count_text, ACTIVATION_SOCKETS_MAX);
    }
    *ret_count = (unsigned)count;
    return 0;
}

static int count_names(const char *names)
{
    int count = 1;

    for (; *names != '\0'; names++) {
        count += *names == ':';
    }
    return count;
}

/* Cuts the list into the sockets' names. */
static int read_names(struct activation *activation, char *problem)
{
    const char *rest = getenv("LISTEN_FDNAMES");

    if (rest == NULL || activation->count == 0) {
        return 0;
    }
    if (count_names(rest) != (int)activation->count) {
        return unfit(problem,
                     "LISTEN_FDNAMES: \"%.256s\" has %d names for %u sockets: pass one name, "
                     "with colons between them, for each socket of LISTEN_FDS",
                     rest, count_names(rest), activation->count);
    }
    for (unsigned i = 0; i < activation->count; i++) {
        char *name = activation->sockets[i].name;
        const size_t size = strcspn(rest, ":");

        if (size >= ACTIVATION_NAME_SIZE) {
            return unfit(problem, "LISTEN_FDNAMES: a name has more than %d bytes",
                         ACTIVATION_NAME_SIZE - 1);
        }
        memcpy(name, rest, size);
        name[size] = '\0';
        if (strcmp(name, NAME_UNKNOWN) == 0) {
            name[0] = '\0';
        }
        rest += size + (rest[size] == ':');
    }
    return 0;
}

/* How a socket is called in a problem. */
static void describe(const struct activation *activation, unsigned index, char text[], size_t size)
{
    const struct activation_socket *socket = &activation->sockets[index];

    (void)snprintf(text, size, "passed socket %u of %u (descriptor %u%s%.64s)", index + 1,
                   activation->count, FIRST_FD + index, socket->name[0] == '\0' ? "" : ", ",
                   socket->name);
}

static int get_option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -errno;
}

static bool is_family_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

static int check_socket(struct activation *activation, unsigned index, char *problem)
{
    struct activation_socket *socket = &activation->sockets[index];
    const int type = get_option(socket->fd, SO_TYPE);
    char which[160];

    describe(activation, index, which, sizeof(which));
    if (type == -EBADF) {
        return unfit(problem,
                     "LISTEN_FDS: %s is not open: whoever passes sockets must leave them "
                     "open from descriptor %d on",
                     which, FIRST_FD);
    }
    if (type < 0) {
        return unfit(problem,
                     "LISTEN_FDS: %s is no socket: a socket unit must have ListenStream= "
                     "alone",
                     which);
    }
    if (type != SOCK_STREAM || !is_family_known(get_option(socket->fd, SO_DOMAIN))) {
        return unfit(problem,
                     "LISTEN_FDS: %s is no stream socket over TCP or in the file system: a "
                     "socket unit must have ListenStream= in place of ListenDatagram= and "
                     "the like",
                     which);
    }
    if (get_option(socket->fd, SO_ACCEPTCONN) != 1) {
        return unfit(problem,
                     "LISTEN_FDS: %s does not listen: a socket unit must have Accept=no, "
                     "which is the default",
                     which);
    }
    if (listener_socket_describe(socket->fd, socket->address) != 0) {
        return unfit(problem, "LISTEN_FDS: %s has no address", which);
    }
    return 0;
}

static int open_from(struct activation *activation, char *problem)
{
    int result = read_count(problem, &activation->count);

    for (unsigned i = 0; i < activation->count; i++) {
        activation->sockets[i].fd = (int)(FIRST_FD + i);
    }
    if (result == 0) {
        result = read_names(activation, problem);
    }
    for (unsigned i = 0; i < activation->count && result == 0; i++) {
        result = check_socket(activation, i, problem);
        if (result == 0 && fcntl(activation->sockets[i].fd, F_SETFD, FD_CLOEXEC) != 0) {
            result = unfit(problem, "LISTEN_FDS: %s", strerror(errno));
        }
    }
    return result;
}

int activation_open(struct activation *activation, char *problem)
{
    int result;

    *activation = (struct activation){.count = 0};
    result = open_from(activation, problem);
    if (result != 0) {
        activation->count = 0; /* who knows what these descriptors are */
    }
    (void)unsetenv("LISTEN_FDS"); /* these names are good, so it cannot fail */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_PIDFDID");
    (void)unsetenv("LISTEN_FDNAMES");
    return result;
}

int activation_take(struct activation_socket *socket)
{
    const int fd = socket->fd;

    socket->fd = -1;
    return fd;
}

void activation_close(struct activation *activation)
{
    for (unsigned i = 0; i < activation->count; i++) {
        if (activation->sockets[i].fd >= 0) {
            (void)close(activation_take(&activation->sockets[i])); /* nothing was written */
        }
    }
}
