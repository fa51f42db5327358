#include "lib/unit.h"

#include "core/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT 100

static struct ring *ring;

static void open_ring(unsigned entries, unsigned recv_buffer_count)
{
    const struct ring_options options = {
        .entries = entries, .recv_buffer_count = recv_buffer_count, .recv_buffer_size = 64};
    char problem[RING_PROBLEM_SIZE];

    ck_assert_msg(ring_new(&options, problem, &ring) == 0, "%s", problem);
}

static void run_until_idle(void)
{
    while (ring_pending_count(ring) > 0) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
}

static void ignore(struct ring_op *op, const struct ring_event *event)
{
    (void)op;
    (void)event;
}

/* Operations, their completions, and how often the queue was full on the way. */
START_TEST(operations_are_counted)
{
    struct ring_op ops[COUNT];
    char byte = 'x';
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    open_ring(4, 0);
    for (int i = 0; i < COUNT; i++) {
        ops[i] = (struct ring_op){.done = ignore};
        ck_assert_int_eq(ring_write(ring, &ops[i], fd, &byte, 1, 0), 0);
    }
    ck_assert_uint_eq(ring_stats(ring)->submitted, COUNT);
    ck_assert_uint_eq(ring_stats(ring)->queue_full, COUNT / 4 - 1);
    run_until_idle();
    ck_assert_uint_eq(ring_stats(ring)->completed, COUNT);
    ck_assert_uint_eq(ring_stats(ring)->buffers_exhausted, 0);
    ring_free(ring);
    ck_assert_int_eq(close(fd), 0);
}

END_TEST

static unsigned starved;

static void count_starved(struct ring_op *op, const struct ring_event *event)
{
    (void)op;
    starved += event->result == -ENOBUFS;
}

/* More arrives than there are buffers for: a receive that got none is counted. */
START_TEST(receives_without_a_buffer_are_counted)
{
    static const char bytes[64 * 8];
    struct ring_op op = {.done = count_starved};
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ck_assert_int_eq(write(fds[0], bytes, sizeof(bytes)), sizeof(bytes));
    open_ring(4, 2);
    ck_assert_int_eq(ring_recv(ring, &op, fds[1]), 0);
    run_until_idle(); /* the multishot has ended for want of a buffer */
    ck_assert_uint_eq(starved, 1);
    ck_assert_uint_eq(ring_stats(ring)->buffers_exhausted, 1);
    ck_assert_uint_eq(ring_stats(ring)->submitted, 1);
    ck_assert_uint_eq(ring_stats(ring)->completed, 3);
    ring_free(ring);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

UNIT_MAIN("ring_stats", operations_are_counted, receives_without_a_buffer_are_counted)
