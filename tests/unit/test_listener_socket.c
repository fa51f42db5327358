#include "lib/unit.h"

#include "core/listener_socket.h"
#include "core/ring.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char problem[RING_PROBLEM_SIZE];

/* A socket of the UNIX kind that is bound to `size` bytes of a name. */
static int bound_unix(const char *name, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(address.sun_path, name, size);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
    return fd;
}

static void expect_description(int fd, const char *expected)
{
    char text[LISTENER_ADDRESS_SIZE];

    ck_assert_int_eq(listener_socket_describe(fd, text), 0);
    ck_assert_str_eq(text, expected);
    ck_assert_int_eq(close(fd), 0);
}

/* Every kind of address is told as it would be written. */
START_TEST(socket_describes_addresses)
{
    struct listener_socket socket;
    char folder[] = "/tmp/test_socket.XXXXXX";
    char path[128];
    char expected[140];
    char longest[sizeof(((struct sockaddr_un *)0)->sun_path)];

    ck_assert_int_eq(listener_socket_open(&socket, "127.0.0.1:0", 8, problem), 0);
    ck_assert_int_eq(strncmp(socket.address, "127.0.0.1:", 10), 0);
    ck_assert_str_ne(socket.address, "127.0.0.1:0");
    listener_socket_close(&socket);
    if (listener_socket_open(&socket, "[::1]:0", 8, problem) == 0) { /* where there is IPv6 */
        ck_assert_int_eq(strncmp(socket.address, "[::1]:", 6), 0);
        listener_socket_close(&socket);
    }
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/s", folder);
    (void)snprintf(expected, sizeof(expected), "unix:%s", path);
    expect_description(bound_unix(path, strlen(path)), expected);
    ck_assert_int_eq(unlink(path), 0);
    expect_description(bound_unix("\0name", 5), "unix:@name");
    /* The longest path leaves no room for a NUL. */
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, path, strlen(path));
    (void)snprintf(expected, sizeof(expected), "unix:%.*s", (int)sizeof(longest), longest);
    expect_description(bound_unix(longest, sizeof(longest)), expected);
    (void)snprintf(expected, sizeof(expected), "rm -r %s", folder);
    ck_assert_int_eq(system(expected), 0);
}

END_TEST

/* What an address of the configuration means, against what a socket is bound to. */
START_TEST(socket_knows_its_address)
{
    static const char *const same[][2] = {
        {"127.0.0.1:1", "127.0.0.1:1"}, {":1", "[::]:1"},           {":1", "0.0.0.0:1"},
        {"localhost:1", "127.0.0.1:1"}, {"localhost:1", "[::1]:1"}, {"unix:/a", "unix:/a"},
    };
    static const char *const other[][2] = {
        {"127.0.0.1:1", "127.0.0.1:11"},
        {":1", "[::]:11"},
        {":1", "[::1]:1"},
        {":1", "127.0.0.1:1"},
        {"localhost:1", "0.0.0.0:1"},
        {"example.com:1", "127.0.0.1:1"},
        {"unix:/a", "unix:/ab"},
        {"", "127.0.0.1:1"},
        {"", "unix:"},
    };

    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        ck_assert_msg(listener_socket_is_at(same[i][0], same[i][1]), "%s", same[i][0]);
    }
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        ck_assert_msg(!listener_socket_is_at(other[i][0], other[i][1]), "%s", other[i][0]);
    }
}

END_TEST

/* What cannot be listened on leaves no socket, and says why. */
START_TEST(socket_refuses_addresses)
{
    static const char *const bad[] = {"nowhere", "127.0.0.1:99999", "unix:", "unix:/no/such/place"};
    struct listener_socket socket;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_lt(listener_socket_open(&socket, bad[i], 8, problem), 0);
        ck_assert_int_eq(socket.fd, -1);
        ck_assert_ptr_nonnull(strstr(problem, bad[i]));
        listener_socket_close(&socket);
    }
    ck_assert_int_lt(listener_socket_adopt(&socket, 12345, problem), 0);
    ck_assert_int_eq(socket.fd, -1);
    ck_assert_ptr_nonnull(strstr(problem, "a passed socket: Bad file descriptor"));
}

END_TEST

/* One that is taken over becomes as ours are, and its path stays when it is closed. */
START_TEST(socket_is_adopted)
{
    struct listener_socket socket;
    struct listener_socket made;
    char folder[] = "/tmp/test_socket.XXXXXX";
    char address[64];
    const char *path = address + strlen("unix:");
    int value = 0;
    socklen_t size = sizeof(value);
    int fd;

    ck_assert_int_eq(listener_socket_open(&made, "127.0.0.1:0", 8, problem), 0);
    fd = fcntl(made.fd, F_DUPFD, 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)), 0);
    ck_assert_int_eq(listener_socket_adopt(&socket, fd, problem), 0);
    ck_assert_str_eq(socket.address, made.address);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    ck_assert_int_ne(value, 0);
    listener_socket_close(&socket);
    listener_socket_close(&socket);
    listener_socket_close(&made);

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(address, sizeof(address), "unix:%s/s", folder);
    ck_assert_int_eq(listener_socket_open(&made, address, 8, problem), 0);
    ck_assert_int_eq(listener_socket_adopt(&socket, fcntl(made.fd, F_DUPFD, 0), problem), 0);
    listener_socket_close(&socket);
    ck_assert_int_eq(access(path, F_OK), 0);
    listener_socket_close(&made);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}

END_TEST

UNIT_MAIN("listener_socket", socket_describes_addresses, socket_knows_its_address,
          socket_refuses_addresses, socket_is_adopted)
