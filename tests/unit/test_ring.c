#include "lib/unit.h"

#include "core/clock.h"
#include "core/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ring *ring;
static uint64_t busy_poll_ns; /* of the next ring */
static bool submitting;       /* no `done` may run while true */

/* An operation that notes what it was told. */
struct probe {
    struct ring_op op;
    unsigned events;
    unsigned last_events; /* events with more == false */
    int result;           /* of the last event */
    void (*then)(struct probe *probe, const struct ring_event *event);
    int fd;
    uint8_t *bytes; /* where received bytes go */
    size_t size;
    unsigned starved; /* -ENOBUFS seen */
    bool ended;
};

static void on_done(struct ring_op *op, const struct ring_event *event)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);

    ck_assert(!submitting);
    ck_assert_int_eq(op->pending, event->more);
    probe->events++;
    probe->last_events += event->more ? 0 : 1;
    probe->result = event->result;
    if (probe->then != NULL) {
        probe->then(probe, event);
    }
}

static struct probe *fresh(struct probe *probe)
{
    *probe = (struct probe){.op.done = on_done};
    return probe;
}

static void open_ring(unsigned entries, unsigned buffer_count, unsigned buffer_size)
{
    struct ring_options options = {
        .entries = entries,
        .recv_buffer_count = buffer_count,
        .recv_buffer_size = buffer_size,
        .busy_poll_ns = busy_poll_ns,
    };
    char problem[RING_PROBLEM_SIZE] = "";

    ck_assert_msg(ring_new(&options, problem, &ring) == 0, "%s", problem);
}

static void run_until_idle(void)
{
    while (ring_pending_count(ring) > 0) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
}

/* Runs what is ready, and cancel requests too, without waiting for anything else. */
static void look(void)
{
    while (ring_run(ring, 0) > 0) {
    }
}

static int make_file(void)
{
    char path[] = "/tmp/test_ring.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(path), 0);
    return fd;
}

/* A socket that listens on a free port of the loopback, and its address. */
static int make_listener(int backlog, struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof(*ret_address);

    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret_address, size), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

/* With nothing queued a look, and a short wait, end without a completion. */
START_TEST(ring_idle_returns)
{
    open_ring(8, 0, 0);
    ck_assert_int_eq(ring_run(ring, 0), 0);
    ck_assert_int_eq(ring_run(ring, 1000), 0);
    ck_assert_uint_eq(ring_pending_count(ring), 0);
    ring_free(ring);
    ring_free(NULL);
}

END_TEST

/* Bytes written to a file come back, each operation completes once, and never inside the call. */
START_TEST(ring_writes_and_reads)
{
    struct probe probe;
    char bytes[6] = "";
    int fd = make_file();

    open_ring(8, 0, 0);
    submitting = true;
    ck_assert_int_eq(ring_write(ring, &fresh(&probe)->op, fd, "hello", 5, 3), 0);
    submitting = false;
    ck_assert(probe.op.pending);
    ck_assert_uint_eq(ring_pending_count(ring), 1);
    run_until_idle();
    ck_assert_int_eq(probe.result, 5);
    ck_assert_uint_eq(probe.events, 1);
    ck_assert_int_eq(ring_sync_data(ring, &fresh(&probe)->op, fd), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, 0);
    ck_assert_int_eq(ring_read(ring, &fresh(&probe)->op, fd, bytes, 5, 3), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, 5);
    ck_assert_str_eq(bytes, "hello");
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* A rename, the directory's sync and a removal work, and a missing name is the kernel's error. */
START_TEST(ring_renames)
{
    struct probe probe;
    char path[] = "/tmp/test_ring.XXXXXX";
    int dir_fd;
    struct stat stat;

    ck_assert_ptr_nonnull(mkdtemp(path));
    dir_fd = open(path, O_RDONLY | O_DIRECTORY);
    ck_assert_int_ge(dir_fd, 0);
    ck_assert_int_eq(close(openat(dir_fd, "old", O_CREAT | O_WRONLY, 0600)), 0);
    open_ring(8, 0, 0);
    ck_assert_int_eq(ring_rename(ring, &fresh(&probe)->op, dir_fd, "old", "new"), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, 0);
    ck_assert_int_eq(fstatat(dir_fd, "new", &stat, 0), 0);
    ck_assert_int_eq(ring_sync(ring, &fresh(&probe)->op, dir_fd), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, 0);
    ck_assert_int_eq(ring_rename(ring, &fresh(&probe)->op, dir_fd, "old", "new"), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, -ENOENT);
    ck_assert_int_eq(ring_unlink(ring, &fresh(&probe)->op, dir_fd, "new"), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, 0);
    ck_assert_int_eq(fstatat(dir_fd, "new", &stat, 0), -1);
    ck_assert_int_eq(ring_unlink(ring, &fresh(&probe)->op, dir_fd, "new"), 0);
    run_until_idle();
    ck_assert_int_eq(probe.result, -ENOENT);
    ring_free(ring);
    ck_assert_int_eq(close(dir_fd), 0);
    ck_assert_int_eq(rmdir(path), 0);
}

END_TEST

/* More operations than the submission queue has entries all go through in one turn. */
START_TEST(ring_takes_more_than_its_queue)
{
    enum {
        COUNT = 100
    };
    static struct probe probes[COUNT];
    char bytes[COUNT];
    int fd = make_file();

    open_ring(4, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(
            ring_write(ring, &fresh(&probes[i])->op, fd, &"0123456789"[i % 10], 1, (uint64_t)i), 0);
    }
    ck_assert_uint_eq(ring_pending_count(ring), COUNT);
    run_until_idle();
    ck_assert_int_eq(pread(fd, bytes, COUNT, 0), COUNT);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(probes[i].result, 1);
        ck_assert_uint_eq(probes[i].events, 1);
        ck_assert_int_eq(bytes[i], '0' + i % 10);
    }
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* connect() works on a copy of the address; accept, send, receive, shutdown and end of stream
 * follow. */
START_TEST(ring_talks_over_tcp)
{
    struct probe accept_probe;
    struct probe probe;
    struct probe recv_probe;
    struct sockaddr_in address;
    int listen_fd = make_listener(8, &address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int peer_fd;

    open_ring(8, 4, 4096);
    ck_assert_int_eq(ring_accept(ring, &fresh(&accept_probe)->op, listen_fd), 0);
    ck_assert_int_eq(
        ring_connect(ring, &fresh(&probe)->op, fd, (struct sockaddr *)&address, sizeof(address)),
        0);
    memset(&address, 0, sizeof(address));
    while (probe.op.pending || accept_probe.events == 0) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ck_assert_int_eq(probe.result, 0);
    peer_fd = accept_probe.result;
    ck_assert_int_ge(peer_fd, 0);
    ck_assert_int_eq(fcntl(peer_fd, F_GETFD), FD_CLOEXEC);
    ck_assert(accept_probe.op.pending);

    ck_assert_int_eq(ring_recv(ring, &fresh(&recv_probe)->op, peer_fd), 0);
    ck_assert_int_eq(ring_send(ring, &fresh(&probe)->op, fd, "hello", 5), 0);
    while (recv_probe.events == 0) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ck_assert_int_eq(probe.result, 5);
    ck_assert_int_eq(recv_probe.result, 5);
    ck_assert(recv_probe.op.pending);
    ck_assert_int_eq(ring_shutdown(ring, &fresh(&probe)->op, fd, SHUT_WR), 0);
    while (recv_probe.op.pending) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ck_assert_int_eq(recv_probe.result, 0);
    ring_cancel(ring, &accept_probe.op);
    run_until_idle();
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(close(peer_fd), 0);
    ck_assert_int_eq(close(listen_fd), 0);
}

END_TEST

static void keep_bytes(struct probe *probe, const struct ring_event *event)
{
    if (event->result > 0) {
        memcpy(probe->bytes + probe->size, event->bytes, (size_t)event->result);
        probe->size += (size_t)event->result;
    }
    probe->starved += event->result == -ENOBUFS ? 1 : 0;
    probe->ended = probe->ended || event->result == 0;
    if (!event->more && (event->result > 0 || event->result == -ENOBUFS)) {
        ck_assert_int_eq(ring_recv(ring, &probe->op, probe->fd), 0);
    }
}

/* Eight megabytes through a pool of four small buffers: the pool runs dry again and again, and
 * every byte arrives, in order. */
START_TEST(ring_recv_survives_a_dry_pool)
{
    enum {
        SIZE = 8 * 1024 * 1024
    };

    uint8_t *sent = malloc(SIZE);
    uint8_t *received = malloc(SIZE);
    struct probe send_probe;
    struct probe recv_probe;
    uint32_t state = 1;
    int fds[2];

    ck_assert_ptr_nonnull(sent);
    ck_assert_ptr_nonnull(received);
    for (int i = 0; i < SIZE; i++) {
        state = state * 1664525U + 1013904223U;
        sent[i] = (uint8_t)(state >> 24);
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    open_ring(8, 4, 4096);
    fresh(&recv_probe)->fd = fds[1];
    recv_probe.bytes = received;
    recv_probe.then = keep_bytes;
    ck_assert_int_eq(ring_send(ring, &fresh(&send_probe)->op, fds[0], sent, SIZE), 0);
    ck_assert_int_eq(ring_recv(ring, &recv_probe.op, fds[1]), 0);
    while (send_probe.op.pending) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ck_assert_int_eq(send_probe.result, SIZE);
    ck_assert_int_eq(shutdown(fds[0], SHUT_WR), 0);
    run_until_idle();
    ck_assert(recv_probe.ended);
    ck_assert_uint_gt(recv_probe.starved, 0);
    ck_assert_uint_eq(recv_probe.size, SIZE);
    ck_assert(memcmp(sent, received, SIZE) == 0);
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
    free(sent);
    free(received);
}

END_TEST

static void close_accepted(struct probe *probe, const struct ring_event *event)
{
    if (event->result >= 0) {
        probe->size++;
        ck_assert_int_eq(close(event->result), 0);
        if (!event->more) {
            ck_assert_int_eq(ring_accept(ring, &probe->op, probe->fd), 0);
        }
    }
}

/* One look accepts many more connections than the completion queue can hold, and loses none. */
START_TEST(ring_accept_overflows_without_loss)
{
    enum {
        COUNT = 200
    };
    struct probe probe;
    struct sockaddr_in address;
    int listen_fd = make_listener(COUNT, &address);
    int fds[COUNT];

    for (int i = 0; i < COUNT; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_ge(fds[i], 0);
        ck_assert_int_eq(connect(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
    }
    open_ring(4, 0, 0);
    fresh(&probe)->fd = listen_fd;
    probe.then = close_accepted;
    ck_assert_int_eq(ring_accept(ring, &probe.op, listen_fd), 0);
    while (probe.size < COUNT) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ring_cancel(ring, &probe.op);
    run_until_idle();
    ck_assert_uint_eq(probe.size, COUNT);
    ck_assert_int_eq(probe.result, -ECANCELED);
    ring_free(ring);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
    ck_assert_int_eq(close(listen_fd), 0);
}

END_TEST

/* A pipe that takes no more. */
static void make_full_pipe(int fds[2])
{
    static const char bytes[4096];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(fcntl(fds[1], F_SETPIPE_SZ, 4096), 4096);
    ck_assert_int_eq(write(fds[1], bytes, 4096), 4096);
}

/* Every operation that can wait ends when it is cancelled, once, with -ECANCELED, even when the
 * descriptor was closed meanwhile; a second cancel, and one afterwards, do nothing. */
START_TEST(ring_cancels_whatever_waits)
{
    enum {
        POLL,
        READ,
        WRITE,
        SEND,
        RECV,
        ACCEPT,
        CONNECT,
        COUNT
    };
    struct probe probes[COUNT];
    static char large[4 * 1024 * 1024];
    struct sockaddr_in address;
    struct sockaddr_in full_address;
    int listen_fd = make_listener(1, &address);
    int full_fd = make_listener(0, &full_address);
    int queued_fd = socket(AF_INET, SOCK_STREAM, 0);
    int connect_fd = socket(AF_INET, SOCK_STREAM, 0);
    int empty_pipe[2];
    int full_pipe[2];
    int pair[2];
    char byte;

    ck_assert_int_eq(pipe(empty_pipe), 0);
    make_full_pipe(full_pipe);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    /* A backlog of none takes one connection; the next one's SYN stays without an answer. */
    ck_assert_int_eq(connect(queued_fd, (struct sockaddr *)&full_address, sizeof(full_address)), 0);
    open_ring(16, 4, 4096);
    for (int i = 0; i < COUNT; i++) {
        (void)fresh(&probes[i]);
    }
    ck_assert_int_eq(ring_poll(ring, &probes[POLL].op, empty_pipe[0], POLLIN), 0);
    ck_assert_int_eq(ring_read(ring, &probes[READ].op, empty_pipe[0], &byte, 1, 0), 0);
    ck_assert_int_eq(ring_write(ring, &probes[WRITE].op, full_pipe[1], large, 1, 0), 0);
    ck_assert_int_eq(ring_send(ring, &probes[SEND].op, pair[0], large, sizeof(large)), 0);
    ck_assert_int_eq(ring_recv(ring, &probes[RECV].op, pair[0]), 0);
    ck_assert_int_eq(ring_accept(ring, &probes[ACCEPT].op, listen_fd), 0);
    ck_assert_int_eq(ring_connect(ring, &probes[CONNECT].op, connect_fd,
                                  (struct sockaddr *)&full_address, sizeof(full_address)),
                     0);
    look();
    ck_assert_uint_eq(ring_pending_count(ring), COUNT);
    ck_assert_int_eq(close(pair[0]), 0);
    ck_assert_int_eq(close(listen_fd), 0);
    ck_assert_int_eq(close(connect_fd), 0);
    for (int i = 0; i < COUNT; i++) {
        ring_cancel(ring, &probes[i].op);
        ring_cancel(ring, &probes[i].op);
        ck_assert_uint_eq(probes[i].events, 0);
    }
    run_until_idle();
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(probes[i].events, 1);
        ck_assert_uint_eq(probes[i].last_events, 1);
        if (i == SEND) { /* what the socket took was sent */
            ck_assert_int_lt(probes[i].result, (int)sizeof(large));
        } else {
            ck_assert_int_eq(probes[i].result, -ECANCELED);
        }
        ring_cancel(ring, &probes[i].op);
    }
    ring_free(ring);
    ck_assert_int_eq(close(pair[1]), 0);
    ck_assert_int_eq(close(full_fd), 0);
    ck_assert_int_eq(close(queued_fd), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(close(empty_pipe[i]), 0);
        ck_assert_int_eq(close(full_pipe[i]), 0);
    }
}

END_TEST

/* Operations by the hundred are cancelled in one turn of a ring with four entries, some of them
 * before the kernel has seen them. */
START_TEST(ring_cancels_more_than_its_queue)
{
    enum {
        COUNT = 300
    };
    static struct probe probes[COUNT];
    static char bytes[COUNT];
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    open_ring(4, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(ring_read(ring, &fresh(&probes[i])->op, fds[0], &bytes[i], 1, 0), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        ring_cancel(ring, &probes[i].op);
    }
    run_until_idle();
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(probes[i].events, 1);
        ck_assert_int_eq(probes[i].result, -ECANCELED);
    }
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

static void cancel_self(struct probe *probe, const struct ring_event *event)
{
    (void)event;
    ring_cancel(ring, &probe->op);
}

/* A receive that is cancelled while more bytes wait than it takes at a time ends too. */
START_TEST(ring_cancels_a_busy_receive)
{
    enum {
        BUFFER_SIZE = 64,
        BUFFER_COUNT = 1024
    };

    static char bytes[BUFFER_SIZE * BUFFER_COUNT];
    struct probe probe;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    open_ring(8, BUFFER_COUNT, BUFFER_SIZE);
    for (int round = 0; round < 10; round++) {
        ck_assert_int_gt(send(fds[0], bytes, sizeof(bytes), MSG_DONTWAIT), 0);
        ck_assert_int_eq(ring_recv(ring, &fresh(&probe)->op, fds[1]), 0);
        probe.then = cancel_self;
        run_until_idle();
        ck_assert_uint_eq(probe.last_events, 1);
        while (recv(fds[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
        }
    }
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

static struct probe *other_probe;

static void cancel_other(struct probe *probe, const struct ring_event *event)
{
    (void)probe;
    (void)event;
    ring_cancel(ring, &other_probe->op);
}

/* A cancel asked for while the operation's completion is already in the same batch is forgotten,
 * and does not hit the next operation that lives at the same address. */
START_TEST(ring_cancel_does_not_outlive_its_operation)
{
    struct probe first;
    struct probe second;
    int fds[2];
    char byte;

    ck_assert_int_eq(pipe(fds), 0);
    open_ring(8, 0, 0);
    ck_assert_int_eq(ring_poll(ring, &fresh(&first)->op, fds[1], POLLOUT), 0);
    ck_assert_int_eq(ring_poll(ring, &fresh(&second)->op, fds[1], POLLOUT), 0);
    first.then = cancel_other;
    other_probe = &second;
    run_until_idle();
    ck_assert_int_eq(second.result, POLLOUT);
    ck_assert_int_eq(ring_read(ring, &fresh(&second)->op, fds[0], &byte, 1, 0), 0);
    look();
    ck_assert(second.op.pending);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    run_until_idle();
    ck_assert_int_eq(second.result, 1);
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

static void submit_synced(struct probe *write_probe, struct probe *sync_probe, int fd, size_t size)
{
    static uint8_t bytes[8192];

    ck_assert_int_eq(ring_write_synced(ring, &fresh(write_probe)->op, &fresh(sync_probe)->op, fd,
                                       (struct bytes){bytes, size}, 0),
                     0);
}

/* A good write is followed by a good sync: two completions. */
START_TEST(ring_write_synced_reports_both)
{
    struct probe write_probe;
    struct probe sync_probe;
    int fd = make_file();

    open_ring(2, 0, 0);
    submit_synced(&write_probe, &sync_probe, fd, 8192);
    ck_assert_uint_eq(ring_pending_count(ring), 2);
    run_until_idle();
    ck_assert_int_eq(write_probe.result, 8192);
    ck_assert_int_eq(sync_probe.result, 0);
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* When the write fails the sync is cancelled, wherever in the submission queue the pair begins and
 * whatever bad entry stands before it. */
START_TEST(ring_write_synced_stays_linked)
{
    enum {
        ENTRIES = 4
    };
    struct probe write_probe;
    struct probe sync_probe;
    struct probe others[ENTRIES];
    int fd = open("/dev/null", O_RDONLY);

    ck_assert_int_ge(fd, 0);
    open_ring(ENTRIES, 0, 0);
    for (int before = 0; before <= ENTRIES; before++) {
        for (int i = 0; i < before; i++) {
            /* The kernel refuses this one when it takes it: there is no name at NULL. */
            ck_assert_int_eq(ring_rename(ring, &fresh(&others[i])->op, AT_FDCWD, NULL, NULL), 0);
        }
        submit_synced(&write_probe, &sync_probe, fd, 4096);
        run_until_idle();
        ck_assert_int_eq(write_probe.result, -EBADF);
        ck_assert_int_eq(sync_probe.result, -ECANCELED);
        for (int i = 0; i < before; i++) {
            ck_assert_int_eq(others[i].result, -EFAULT);
        }
    }
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* When the write is cut short the sync is cancelled too. */
START_TEST(ring_short_write_is_not_synced)
{
    struct probe write_probe;
    struct probe sync_probe;
    struct rlimit before;
    struct rlimit limit;
    int fd = make_file();

    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    open_ring(4, 0, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    submit_synced(&write_probe, &sync_probe, fd, 8192);
    run_until_idle();
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_int_eq(write_probe.result, 4096);
    ck_assert_int_eq(sync_probe.result, -ECANCELED);
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

static void submit_again(struct probe *probe, const struct ring_event *event)
{
    ck_assert_int_eq(event->result, POLLOUT);
    if (probe->events < 100) {
        submitting = true;
        ck_assert_int_eq(ring_poll(ring, &probe->op, probe->fd, POLLOUT), 0);
        submitting = false;
    }
}

/* A `done` may use its own operation again, and the ring counts what is pending meanwhile. */
START_TEST(ring_done_may_submit)
{
    struct probe probe;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    open_ring(2, 0, 0);
    fresh(&probe)->fd = fds[1];
    probe.then = submit_again;
    ck_assert_int_eq(ring_poll(ring, &probe.op, fds[1], POLLOUT), 0);
    run_until_idle();
    ck_assert_uint_eq(probe.events, 100);
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* How often this thread has slept. */
static long sleep_count(void)
{
    struct rusage usage;

    ck_assert_int_eq(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_nvcsw;
}

/* With a busy poll longer than any test: after a completion, what the kernel's threads do is waited
 * for without sleeping. */
START_TEST(ring_busy_poll_does_not_sleep)
{
    struct probe probe;
    int fd = make_file();
    long before;

    busy_poll_ns = 3600 * CLOCK_NS_PER_S;
    open_ring(8, 0, 0);
    for (int i = 0; i < 10; i++) {
        before = sleep_count();
        ck_assert_int_eq(ring_sync_data(ring, &fresh(&probe)->op, fd), 0);
        run_until_idle();
        ck_assert_int_eq(probe.result, 0);
        ck_assert(i == 0 || sleep_count() == before); /* there was none before the first */
    }
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

/* Has a completion run, so that the next wait is one with a busy poll. */
static void run_completion_of(int writable_fd)
{
    struct probe probe;

    ck_assert_int_eq(ring_poll(ring, &fresh(&probe)->op, writable_fd, POLLOUT), 0);
    while (probe.events == 0) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
}

/* A busy poll never goes past the timeout, and a wait that follows it without a completion between
 * them sleeps (repeated, for a thread that was kept from running finds its millisecond over). */
START_TEST(ring_busy_poll_ends_with_the_timeout)
{
    int fds[2];
    long before;

    ck_assert_int_eq(pipe(fds), 0);
    busy_poll_ns = 3600 * CLOCK_NS_PER_S;
    open_ring(8, 0, 0);
    run_completion_of(fds[1]);
    before = sleep_count();
    ck_assert_int_eq(ring_wait(ring, CLOCK_NS_PER_MS), 0);
    ck_assert_int_eq(sleep_count(), before);
    while (sleep_count() == before) {
        ck_assert_int_eq(ring_wait(ring, CLOCK_NS_PER_MS), 0);
    }
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* A busy poll that is over before the timeout gives way to sleep (repeated, as above). */
START_TEST(ring_busy_poll_ends_by_itself)
{
    int fds[2];
    long before;

    ck_assert_int_eq(pipe(fds), 0);
    busy_poll_ns = CLOCK_NS_PER_US;
    open_ring(8, 0, 0);
    do {
        run_completion_of(fds[1]);
        before = sleep_count();
        ck_assert_int_eq(ring_wait(ring, CLOCK_NS_PER_MS), 0);
    } while (sleep_count() == before);
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* The ring knows without a wait that something is there, and that nothing is. */
START_TEST(ring_knows_when_it_is_ready)
{
    struct probe probe;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    open_ring(8, 0, 0);
    ck_assert_int_eq(ring_poll(ring, &fresh(&probe)->op, fds[0], POLLIN), 0);
    ck_assert_int_eq(ring_run(ring, 0), 0);
    ck_assert(!ring_is_ready(ring));
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert(ring_is_ready(ring));
    run_until_idle();
    ck_assert(!ring_is_ready(ring));
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

UNIT_MAIN("ring", ring_idle_returns, ring_writes_and_reads, ring_renames,
          ring_takes_more_than_its_queue, ring_talks_over_tcp, ring_recv_survives_a_dry_pool,
          ring_accept_overflows_without_loss, ring_cancels_whatever_waits,
          ring_cancels_more_than_its_queue, ring_cancels_a_busy_receive,
          ring_cancel_does_not_outlive_its_operation, ring_write_synced_reports_both,
          ring_write_synced_stays_linked, ring_short_write_is_not_synced, ring_done_may_submit,
          ring_busy_poll_does_not_sleep, ring_busy_poll_ends_with_the_timeout,
          ring_busy_poll_ends_by_itself, ring_knows_when_it_is_ready)
