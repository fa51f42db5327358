#include "lib/unit.h"

#include "core/activation.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The sockets come from descriptor 3 on, where libcheck has its own: each start is that of a child
 * with the places filled, and what it found comes back in shared memory. */

#define FIRST_FD 3
#define SAFE_FD  40

struct found {
    int result;
    struct activation activation;
    char problem[ACTIVATION_PROBLEM_SIZE];
    bool is_clean;   /* nothing is left in the environment */
    bool is_private; /* no child would have the sockets */
    bool is_closed;  /* after activation_close() only what was taken is open */
};

static struct found *found;

static void setup(void)
{
    found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(found, MAP_FAILED);
}

/* A socket of that kind on the loopback address, out of the way. */
static int make_socket(int type, bool is_listening)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, type, 0);
    int safe;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (is_listening) {
        ck_assert_int_eq(listen(fd, 8), 0);
    }
    safe = fcntl(fd, F_DUPFD, SAFE_FD);
    ck_assert_int_ge(safe, 0);
    ck_assert_int_eq(close(fd), 0);
    return safe;
}

static void look(void)
{
    struct activation *activation = &found->activation;

    found->result = activation_open(activation, found->problem);
    found->is_clean = getenv("LISTEN_FDS") == NULL && getenv("LISTEN_PID") == NULL &&
                      getenv("LISTEN_FDNAMES") == NULL && getenv("LISTEN_PIDFDID") == NULL;
    found->is_private = true;
    for (unsigned i = 0; i < activation->count; i++) {
        found->is_private =
            found->is_private && fcntl(activation->sockets[i].fd, F_GETFD) == FD_CLOEXEC;
    }
    if (activation->count > 0) {
        const unsigned last = activation->count - 1;
        const int taken = activation_take(&activation->sockets[last]);

        activation_close(activation);
        activation_close(activation);
        found->is_closed = fcntl(taken, F_GETFD) >= 0;
        for (unsigned i = 0; i < last; i++) {
            found->is_closed =
                found->is_closed && fcntl((int)(FIRST_FD + i), F_GETFD) < 0 && errno == EBADF;
        }
    }
}

/* What a process with these sockets and this environment finds; NULL = not set. "" as `pid` is its
 * own. The sockets are closed here. */
static void open_with(const int *fds, int fd_count, const char *count, const char *names,
                      const char *pid)
{
    pid_t child;
    int status;

    memset(found, 0, sizeof(*found));
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char own[24];

        (void)snprintf(own, sizeof(own), "%ld", (long)getpid());
        for (int i = 0; i < ACTIVATION_SOCKETS_MAX; i++) {
            (void)close(FIRST_FD + i);
        }
        for (int i = 0; i < fd_count; i++) {
            (void)dup2(fds[i], FIRST_FD + i);
        }
        (void)setenv("LISTEN_PIDFDID", "1", 1);
        if (count != NULL) {
            (void)setenv("LISTEN_FDS", count, 1);
        }
        if (names != NULL) {
            (void)setenv("LISTEN_FDNAMES", names, 1);
        }
        if (pid != NULL) {
            (void)setenv("LISTEN_PID", pid[0] == '\0' ? own : pid, 1);
        }
        look();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert(found->is_clean);
    for (int i = 0; i < fd_count; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
}

static void expect_refused(const char *part, const char *remedy)
{
    ck_assert_int_eq(found->result, ACTIVATION_E_UNFIT);
    ck_assert_msg(strstr(found->problem, part) != NULL, "%s", found->problem);
    ck_assert_msg(strstr(found->problem, remedy) != NULL, "%s", found->problem);
    ck_assert_uint_eq(found->activation.count, 0);
}

/* Sockets come with names and addresses, are this process's alone, and those left are closed. */
START_TEST(activation_takes_sockets)
{
    int fds[2];
    char address[LISTENER_ADDRESS_SIZE];

    setup();
    fds[0] = make_socket(SOCK_STREAM, true);
    fds[1] = make_socket(SOCK_STREAM | SOCK_NONBLOCK, true);
    ck_assert_int_eq(listener_socket_describe(fds[1], address), 0);
    open_with(fds, 2, "2", "grpc:unknown", "");
    ck_assert_msg(found->result == 0, "%s", found->problem);
    ck_assert_uint_eq(found->activation.count, 2);
    ck_assert_str_eq(found->activation.sockets[0].name, "grpc");
    ck_assert_str_eq(found->activation.sockets[1].name, ""); /* what the manager calls unknown */
    ck_assert_str_eq(found->activation.sockets[1].address, address);
    ck_assert(found->is_private);
    ck_assert(found->is_closed);
}

END_TEST

/* Names may be missing, all of them. */
START_TEST(activation_needs_no_names)
{
    int fd;

    setup();
    fd = make_socket(SOCK_STREAM, true);
    open_with(&fd, 1, "1", NULL, "");
    ck_assert_int_eq(found->result, 0);
    ck_assert_str_eq(found->activation.sockets[0].name, "");
    fd = make_socket(SOCK_STREAM, true);
    open_with(&fd, 1, "1", "", "");
    ck_assert_int_eq(found->result, 0);
    ck_assert_str_eq(found->activation.sockets[0].name, "");
}

END_TEST

/* What is meant for another process, or for nobody, is let be. */
START_TEST(activation_is_for_one_process)
{
    static const char *const not_ours[][2] = {
        {NULL, NULL}, {"1", NULL}, {NULL, ""}, {"1", "1"}, {"0", ""},
    };

    setup();
    for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++) {
        open_with(NULL, 0, not_ours[i][0], "x:y", not_ours[i][1]);
        ck_assert_msg(found->result == 0, "%zu: %s", i, found->problem);
        ck_assert_uint_eq(found->activation.count, 0);
    }
}

END_TEST

/* Numbers that are none. */
START_TEST(activation_reads_numbers)
{
    static const char *const bad[] = {"", "x", "-1", "1x", "17", "99999999999999999999"};

    setup();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        open_with(NULL, 0, bad[i], NULL, "");
        expect_refused("LISTEN_FDS: \"", "pass one socket for each address");
    }
    open_with(NULL, 0, "1", NULL, "self");
    expect_refused("LISTEN_PID: \"self\"", "must set it to the process");
}

END_TEST

/* As many names as sockets, and none too long. */
START_TEST(activation_counts_names)
{
    char longest[ACTIVATION_NAME_SIZE + 1];
    int fd;

    setup();
    fd = make_socket(SOCK_STREAM, true);
    open_with(&fd, 1, "1", "grpc:admin", "");
    expect_refused("has 2 names for 1 sockets", "pass one name");
    memset(longest, 'x', sizeof(longest));
    longest[ACTIVATION_NAME_SIZE] = '\0';
    fd = make_socket(SOCK_STREAM, true);
    open_with(&fd, 1, "1", longest, "");
    expect_refused("a name has more than 255 bytes", "LISTEN_FDNAMES");
    longest[ACTIVATION_NAME_SIZE - 1] = '\0';
    fd = make_socket(SOCK_STREAM, true);
    open_with(&fd, 1, "1", longest, "");
    ck_assert_int_eq(found->result, 0);
}

END_TEST

/* Only stream sockets that listen. */
START_TEST(activation_looks_at_sockets)
{
    int fds[2];

    setup();
    fds[0] = make_socket(SOCK_DGRAM, false);
    open_with(fds, 1, "1", "grpc", "");
    expect_refused("passed socket 1 of 1 (descriptor 3, grpc) is no stream socket",
                   "ListenStream=");
    fds[0] = make_socket(SOCK_STREAM, true);
    fds[1] = make_socket(SOCK_STREAM, false);
    open_with(fds, 2, "2", NULL, "");
    expect_refused("passed socket 2 of 2 (descriptor 4) does not listen", "Accept=no");
    fds[0] = fcntl(STDERR_FILENO, F_DUPFD, SAFE_FD);
    open_with(fds, 1, "1", NULL, "");
    expect_refused("descriptor 3) is no socket", "ListenStream=");
    fds[0] = make_socket(SOCK_STREAM, true);
    open_with(fds, 1, "2", NULL, "");
    expect_refused("descriptor 4) is not open", "leave them open");
}

END_TEST

UNIT_MAIN("activation", activation_takes_sockets, activation_needs_no_names,
          activation_is_for_one_process, activation_reads_numbers, activation_counts_names,
          activation_looks_at_sockets)
