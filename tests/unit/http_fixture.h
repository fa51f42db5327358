/*
 * A client of an HTTP server that runs on a loop in the same thread: plain sockets, no parsing.
 *
 * Thread: one.
 */
#ifndef UNIT_HTTP_FIXTURE_H
#define UNIT_HTTP_FIXTURE_H

#include "lib/party.h"
#include "lib/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects to "127.0.0.1:port". */
static inline int http_connect(const char *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_port = htons((uint16_t)strtoul(strrchr(server, ':') + 1, NULL, 10));
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline void http_say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything the server sends until it closes, as text, good until the next call. Closes too. */
static inline const char *http_listen(struct loop *loop, int fd)
{
    static char text[131072];
    size_t size = 0;

    for (;;) {
        ssize_t got = recv(fd, text + size, sizeof(text) - 1 - size, MSG_DONTWAIT);

        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            break;
        }
        if (got > 0) {
            size += (size_t)got;
            ck_assert_uint_lt(size, sizeof(text) - 1);
        }
        loop_turn(loop);
    }
    text[size] = '\0';
    (void)close(fd);
    return text;
}

/* The whole answer to a whole request. */
static inline const char *http_ask(struct loop *loop, const char *server, const char *request)
{
    int fd = http_connect(server);

    http_say(fd, request);
    return http_listen(loop, fd);
}

#endif
