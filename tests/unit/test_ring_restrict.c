/* What the kernel lets the ring do. Asked of the kernel itself, behind the ring's back: its
 * functions only ask for what is allowed. */
#include "lib/unit.h"

#include "core/ring.h"

#include <liburing.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

static struct io_uring *uring; /* of the ring made last */
static struct ring *ring;

/* Stands before the library's, to see which one it is. */
int io_uring_queue_init_params(unsigned entries, struct io_uring *made,
                               struct io_uring_params *params)
{
    int (*next)(unsigned entries, struct io_uring *made, struct io_uring_params *params);
    void *symbol = dlsym(RTLD_NEXT, "io_uring_queue_init_params");

    ck_assert_ptr_nonnull(symbol);
    memcpy(&next, &symbol, sizeof(next));
    uring = made;
    return next(entries, made, params);
}

static void open_ring(void)
{
    const struct ring_options options = {
        .entries = 8, .recv_buffer_count = 2, .recv_buffer_size = 4096};
    char problem[RING_PROBLEM_SIZE] = "";

    ck_assert_msg(ring_new(&options, problem, &ring) == 0, "%s", problem);
}

/* What the kernel answers to an entry; waits for the answer. */
static int answer_to(const struct io_uring_sqe *wanted)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(uring);
    struct io_uring_cqe *completion;
    int result;

    ck_assert_ptr_nonnull(entry);
    *entry = *wanted;
    ck_assert_int_eq(io_uring_submit_and_wait(uring, 1), 1);
    ck_assert_int_eq(io_uring_peek_cqe(uring, &completion), 0);
    result = completion->res;
    io_uring_cqe_seen(uring, completion);
    return result;
}

static int last_result;

static void on_done(struct ring_op *op, const struct ring_event *event)
{
    (void)op;
    last_result = event->result;
}

static bool is_in_use(unsigned operation)
{
    static const uint8_t in_use[] = {
        IORING_OP_POLL_ADD, IORING_OP_ACCEPT,   IORING_OP_RECV,     IORING_OP_SEND,
        IORING_OP_CONNECT,  IORING_OP_SHUTDOWN, IORING_OP_READ,     IORING_OP_WRITE,
        IORING_OP_FSYNC,    IORING_OP_RENAMEAT, IORING_OP_UNLINKAT, IORING_OP_ASYNC_CANCEL,
    };

    return memchr(in_use, (int)operation, sizeof(in_use)) != NULL;
}

/* Every operation is refused but those that the ring's functions ask for; these get as far as the
 * descriptor, which is none. */
START_TEST(ring_refuses_operations)
{
    open_ring();
    for (unsigned operation = 0; operation < IORING_OP_LAST; operation++) {
        const struct io_uring_sqe entry = {.opcode = (uint8_t)operation, .fd = -1};

        if (is_in_use(operation)) {
            ck_assert_int_ne(answer_to(&entry), -EACCES);
        } else {
            ck_assert_int_eq(answer_to(&entry), -EACCES);
        }
    }
    ring_free(ring);
}

END_TEST

/* No file can be opened, nor closed, however well the request is made. */
START_TEST(ring_refuses_to_open_files)
{
    struct io_uring_sqe entry = {0};
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    open_ring();
    ck_assert_int_ge(fd, 0);
    io_uring_prep_openat(&entry, AT_FDCWD, "/dev/null", O_RDONLY, 0);
    ck_assert_int_eq(answer_to(&entry), -EACCES);
    entry = (struct io_uring_sqe){0};
    io_uring_prep_close(&entry, fd);
    ck_assert_int_eq(answer_to(&entry), -EACCES);
    ck_assert_int_eq(close(fd), 0);
    ring_free(ring);
}

END_TEST

/* A write that is to be durable asks the kernel for just that, and nothing else differs. */
START_TEST(ring_writes_through)
{
    static uint8_t bytes[4096];
    const struct io_uring_sqe *entry;
    struct ring_op op = {.done = on_done};
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    open_ring();
    ck_assert_int_ge(fd, 0);
    entry = &uring->sq.sqes[uring->sq.sqe_tail & *uring->sq.kring_mask];
    ck_assert_int_eq(ring_write_through(ring, &op, fd, (struct bytes){bytes, sizeof(bytes)}, 0), 0);
    ck_assert_uint_eq(entry->opcode, IORING_OP_WRITE);
    ck_assert_int_eq(entry->rw_flags, RWF_DSYNC);
    ck_assert_uint_eq(entry->flags, 0);
    while (op.pending) {
        ck_assert_int_ge(ring_run(ring, UINT64_MAX), 0);
    }
    ck_assert_int_eq(last_result, sizeof(bytes));
    ck_assert_int_eq(close(fd), 0);
    ring_free(ring);
}

END_TEST

/* Flags that no function sets are refused too, on operations that are allowed. */
START_TEST(ring_refuses_flags)
{
    static const uint8_t refused[] = {IOSQE_FIXED_FILE, IOSQE_IO_DRAIN, IOSQE_IO_HARDLINK,
                                      IOSQE_ASYNC, IOSQE_CQE_SKIP_SUCCESS};
    struct io_uring_sqe entry = {.opcode = IORING_OP_FSYNC, .fd = -1};

    open_ring();
    ck_assert_int_eq(answer_to(&entry), -EBADF);
    for (size_t i = 0; i < sizeof(refused); i++) {
        entry.flags = refused[i];
        ck_assert_int_eq(answer_to(&entry), -EACCES);
    }
    ring_free(ring);
}

END_TEST

/* Nothing can be registered any more, and no second set of restrictions. */
START_TEST(ring_refuses_registrations)
{
    struct io_uring_restriction rule = {.opcode = IORING_RESTRICTION_SQE_OP};
    int fd = 0;

    open_ring();
    ck_assert_int_eq(io_uring_register_files(uring, &fd, 1), -EACCES);
    ck_assert_int_eq(io_uring_register_eventfd(uring, fd), -EACCES);
    ck_assert_int_lt(
        io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_RESTRICTIONS, &rule, 1), 0);
    ck_assert_int_lt(
        io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0), 0);
    ring_free(ring);
}

END_TEST

/* A ring that is freed lets go of its registered descriptor: a process has room for 16 of these. */
START_TEST(ring_free_gives_its_descriptor_back)
{
    for (unsigned i = 0; i < 20; i++) {
        open_ring();
        ck_assert_uint_ne(uring->int_flags, 0); /* it is registered: each time there was room */
        ring_free(ring);
    }
}

END_TEST

UNIT_MAIN("ring_restrict", ring_refuses_operations, ring_refuses_to_open_files, ring_refuses_flags,
          ring_writes_through, ring_refuses_registrations, ring_free_gives_its_descriptor_back)
