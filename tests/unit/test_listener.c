#include "lib/unit.h"

#include "core/clock.h"
#include "core/listener.h"
#include "core/reactor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTED_MAX 64

/* A clock that moves only when it is told to. */
struct fake_clock {
    struct clock_source source;
    uint64_t now_ns;
};

static uint64_t fake_now_ns(struct clock_source *source)
{
    return CONTAINER_OF(source, struct fake_clock, source)->now_ns;
}

static struct fake_clock clock = {{fake_now_ns, fake_now_ns}, 1000};
static struct reactor reactor;
static struct listener *listener;
static bool calling; /* no event may come while true */

struct owner {
    int fds[ACCEPTED_MAX];
    unsigned accepted;
    unsigned closed;
    struct sockaddr_storage peer;
    bool close_at_once;
};

static struct owner owner;

static void on_accepted(void *context, int fd, const struct sockaddr_storage *peer)
{
    ck_assert(!calling);
    ck_assert_ptr_eq(context, &owner);
    ck_assert_uint_lt(owner.accepted, ACCEPTED_MAX);
    owner.fds[owner.accepted++] = fd;
    owner.peer = *peer;
    if (owner.close_at_once) {
        calling = true;
        listener_close(listener);
        calling = false;
    }
}

static void on_closed(void *context)
{
    ck_assert(!calling);
    ((struct owner *)context)->closed++;
}

static const struct listener_events events = {on_accepted, on_closed};

static int open_at(const char *address, char *problem)
{
    int result;

    calling = true;
    result = listener_open(&reactor, address, 64, &events, &owner, problem, &listener);
    calling = false;
    return result;
}

static void open_reactor(void)
{
    struct ring_options options = {.entries = 16};
    char problem[RING_PROBLEM_SIZE] = "";

    memset(&owner, 0, sizeof(owner));
    ck_assert_msg(reactor_init(&reactor, &options, &clock.source, NULL, problem) == 0, "%s",
                  problem);
}

static void open_listener(const char *address)
{
    char problem[RING_PROBLEM_SIZE] = "";

    open_reactor();
    ck_assert_msg(open_at(address, problem) == 0, "%s", problem);
}

static void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static void close_listener(void)
{
    calling = true;
    listener_close(listener);
    listener_close(listener);
    calling = false;
    while (owner.closed == 0) {
        turn();
    }
    ck_assert_uint_eq(owner.closed, 1);
    ck_assert_uint_eq(ring_pending_count(reactor.ring), 0);
    reactor_deinit(&reactor);
    for (unsigned i = 0; i < owner.accepted; i++) {
        ck_assert_int_eq(close(owner.fds[i]), 0);
    }
}

/* A client's socket, connected to the listener's address "a.b.c.d:port". */
static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *text = listener_address(listener);
    const char *colon = strrchr(text, ':');
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    ck_assert_int_eq(inet_pton(AF_INET, host, &address.sin_addr), 1);
    address.sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void wait_for(unsigned count)
{
    while (owner.accepted < count) {
        turn();
    }
    ck_assert_uint_eq(owner.accepted, count);
}

/* Connections are handed over with their peer's address, TCP_NODELAY set and close-on-exec. */
START_TEST(listener_accepts)
{
    struct sockaddr_in name;
    socklen_t size = sizeof(name);
    int no_delay = 0;
    socklen_t no_delay_size = sizeof(no_delay);
    int fds[3];

    open_listener("127.0.0.1:0");
    ck_assert(strncmp(listener_address(listener), "127.0.0.1:", 10) == 0);
    ck_assert_int_gt(strtol(listener_address(listener) + 10, NULL, 10), 0);
    for (unsigned i = 0; i < 3; i++) {
        fds[i] = dial();
        wait_for(i + 1);
        ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&name, &size), 0);
        ck_assert_int_eq(((struct sockaddr_in *)&owner.peer)->sin_port, name.sin_port);
    }
    ck_assert_int_eq(getsockopt(owner.fds[0], IPPROTO_TCP, TCP_NODELAY, &no_delay, &no_delay_size),
                     0);
    ck_assert_int_ne(no_delay, 0);
    ck_assert_int_eq(fcntl(owner.fds[0], F_GETFD), FD_CLOEXEC);
    close_listener();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
}

END_TEST

/* A host name works, IPv6 in brackets too, and an empty host takes IPv4 connections. */
START_TEST(listener_understands_addresses)
{
    int fd;
    char problem[RING_PROBLEM_SIZE];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    open_listener("localhost:0");
    close_listener();
    open_reactor();
    if (open_at("[::1]:0", problem) == 0) {
        ck_assert(strncmp(listener_address(listener), "[::1]:", 6) == 0);
        close_listener();
    } else {
        reactor_deinit(&reactor);
    }
    open_listener(":0");
    address.sin_port =
        htons((uint16_t)strtol(strrchr(listener_address(listener), ':') + 1, NULL, 10));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    wait_for(1);
    close_listener();
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* What is no address is refused with a text that names it. */
START_TEST(listener_refuses_bad_addresses)
{
    static const char *const addresses[] = {
        "",
        "50051",
        "host:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:1x",
        "127.0.0.1:",
        "::1:50051",
        "[::1:50051",
        "[]:50051",
        "unix:",
        "127.0.0.256:0",
        "127.0.0.1:000001",
    };
    char problem[RING_PROBLEM_SIZE];
    char long_path[256] = "unix:/";
    char expected[300];

    open_reactor();
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        (void)snprintf(expected, sizeof(expected), "cannot listen on %s: ", addresses[i]);
        ck_assert_int_lt(open_at(addresses[i], problem), 0);
        ck_assert_msg(strstr(problem, expected) == problem, "%s", problem);
        ck_assert_uint_gt(strlen(problem), strlen(expected));
    }
    memset(long_path + 6, 'x', sizeof(long_path) - 7);
    ck_assert_int_lt(open_at(long_path, problem), 0);
    ck_assert_int_lt(open_at("192.0.2.1:0", problem), 0);
    ck_assert_ptr_nonnull(strstr(problem, "no interface"));
    reactor_deinit(&reactor);
}

END_TEST

/* An address in use is refused, and the text says what to do. */
START_TEST(listener_refuses_a_taken_address)
{
    char problem[RING_PROBLEM_SIZE];
    char expected[RING_PROBLEM_SIZE];
    struct listener *first;

    open_listener("127.0.0.1:0");
    first = listener;
    (void)snprintf(expected, sizeof(expected),
                   "cannot listen on %s: Address already in use (another userd? take another port)",
                   listener_address(first));
    ck_assert_int_eq(open_at(listener_address(first), problem), -EADDRINUSE);
    ck_assert_str_eq(problem, expected);
    listener = first;
    close_listener();
}

END_TEST

/* While paused nothing is accepted; what came meanwhile is accepted after the resumption. */
START_TEST(listener_pauses)
{
    int fds[2];

    open_listener("127.0.0.1:0");
    fds[0] = dial();
    wait_for(1);
    listener_pause(listener);
    while (ring_pending_count(reactor.ring) > 0) {
        turn();
    }
    fds[1] = dial();
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    }
    ck_assert_uint_eq(owner.accepted, 1);
    calling = true;
    listener_resume(listener);
    calling = false;
    wait_for(2);
    /* A pause taken back at once, before the kernel heard of it. */
    listener_pause(listener);
    listener_resume(listener);
    ck_assert_int_eq(close(fds[0]), 0);
    fds[0] = dial();
    wait_for(3);
    listener_pause(listener);
    close_listener();
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* It may be closed at once, before a single turn, and paused. */
START_TEST(listener_closes_early)
{
    open_listener("127.0.0.1:0");
    close_listener();
    open_listener("127.0.0.1:0");
    listener_pause(listener);
    while (ring_pending_count(reactor.ring) > 0) {
        turn();
    }
    close_listener();
}

END_TEST

/* It may be closed from `accepted`; then nothing more is handed over, and others are hung up on. */
START_TEST(listener_closes_when_accepted)
{
    int fds[4];
    char byte;

    open_listener("127.0.0.1:0");
    owner.close_at_once = true;
    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
    }
    while (owner.closed == 0) {
        turn();
    }
    ck_assert_uint_eq(owner.accepted, 1);
    ck_assert_uint_eq(owner.closed, 1);
    ck_assert_uint_eq(ring_pending_count(reactor.ring), 0);
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(owner.fds[0]), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_le(read(fds[i], &byte, 1), 0);
        ck_assert_int_eq(close(fds[i]), 0);
    }
}

END_TEST

/* With no descriptor left one waiting peer is hung up on, accepting rests, and goes on after 100
 * ms. */
START_TEST(listener_survives_without_descriptors)
{
    struct rlimit before;
    struct rlimit limit;
    int first;
    int second;
    int third;
    char byte;

    open_listener("127.0.0.1:0");
    first = dial();
    second = dial();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)second + 1; /* every lower number is taken */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    turn();
    while (ring_pending_count(reactor.ring) > 0) {
        turn();
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_FILES], 1);
    ck_assert_uint_eq(owner.accepted, 0);
    ck_assert_int_eq(read(first, &byte, 1), 0); /* hung up on */
    third = dial();
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_eq(owner.accepted, 0); /* resting */
    clock.now_ns += 100 * CLOCK_NS_PER_MS;
    wait_for(2);
    close_listener();
    ck_assert_int_eq(close(first), 0);
    ck_assert_int_eq(close(second), 0);
    ck_assert_int_eq(close(third), 0);
}

END_TEST

static int dial_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    ck_assert_int_ge(fd, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* A socket in the file system takes connections, replaces one whose process is gone but not one
 * that is in use, and is removed at the end. */
START_TEST(listener_serves_a_path)
{
    char directory[] = "/tmp/test_listener.XXXXXX";
    char address[64];
    const char *path = address + 5;
    char problem[RING_PROBLEM_SIZE];
    struct listener *first;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int stale_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(address, sizeof(address), "unix:%s/socket", directory);
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    ck_assert_int_eq(bind(stale_fd, (struct sockaddr *)&name, sizeof(name)), 0);
    ck_assert_int_eq(close(stale_fd), 0);
    open_listener(address);
    ck_assert_str_eq(listener_address(listener), address);
    fd = dial_path(path);
    wait_for(1);
    ck_assert_int_eq(owner.peer.ss_family, AF_UNIX);
    first = listener;
    ck_assert_int_eq(open_at(address, problem), -EADDRINUSE);
    listener = first;
    close_listener();
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(rmdir(directory), 0);
}

END_TEST

/* Takes a socket over that somebody else keeps. */
static void adopt(int fd)
{
    char problem[RING_PROBLEM_SIZE] = "";

    open_reactor();
    calling = true;
    ck_assert_msg(listener_adopt(&reactor, fcntl(fd, F_DUPFD_CLOEXEC, 0), &events, &owner, problem,
                                 &listener) == 0,
                  "%s", problem);
    calling = false;
}

/* It accepts on a socket of somebody else's, who would not wait on it; who connects when it is
 * closed waits for the next one. */
START_TEST(listener_adopts_a_socket)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char problem[RING_PROBLEM_SIZE];
    char bound[64];
    int theirs = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int fds[3];

    ck_assert_int_eq(bind(theirs, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(theirs, 8), 0);
    adopt(theirs);
    (void)snprintf(bound, sizeof(bound), "%s", listener_address(listener));
    fds[0] = dial();
    wait_for(1);
    fds[1] = dial();
    wait_for(2);
    address.sin_port = htons((uint16_t)strtol(strrchr(bound, ':') + 1, NULL, 10));
    close_listener();
    fds[2] = socket(AF_INET, SOCK_STREAM, 0); /* while nobody accepts */
    ck_assert_int_eq(connect(fds[2], (const struct sockaddr *)&address, sizeof(address)), 0);
    adopt(theirs);
    ck_assert_str_eq(listener_address(listener), bound);
    wait_for(1);
    close_listener();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
    ck_assert_int_eq(close(theirs), 0);
    open_reactor();
    ck_assert_int_eq(listener_adopt(&reactor, 12345, &events, &owner, problem, &listener), -EBADF);
    ck_assert_ptr_nonnull(strstr(problem, "cannot listen on a passed socket"));
    reactor_deinit(&reactor);
}

END_TEST

UNIT_MAIN("listener", listener_accepts, listener_understands_addresses,
          listener_refuses_bad_addresses, listener_refuses_a_taken_address, listener_pauses,
          listener_closes_early, listener_closes_when_accepted,
          listener_survives_without_descriptors, listener_serves_a_path, listener_adopts_a_socket)
