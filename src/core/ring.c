/*
 * The ring: one io_uring, a pool of receive buffers, and nothing else.
 *
 * An operation is an entry in the submission queue whose user_data is the address of its ring_op.
 * The happy path:
 *
 *   1. ring_send() and its kin fill an entry and mark the op pending. No system call yet.
 *   2. ring_wait() hands all entries to the kernel and sleeps, in one system call. Under
 * DEFER_TASKRUN the kernel does its own part of the work in there too, and nowhere else; a flag in
 * shared memory (TASKRUN_FLAG) says that there is some, so that a busy poll need not ask.
 *   3. ring_run_completions() takes completions out one by one, gives the queue slot back, then
 * calls `done`, which may submit more. A receive buffer goes back to the pool after `done`
 * returned.
 *
 * A filter of system calls sees io_uring_enter() and not what is asked for through it. So the ring
 * itself is told once and for all which operations it takes: it is made disabled, then restricted
 * to those of this file, then enabled. Whoever got hold of it could still not open a file with it.
 *
 * What can go wrong:
 *
 *   - The submission queue is full: what is in it is submitted and the new entry follows. A linked
 * pair takes both entries from one submission, or the link would be lost between two.
 *   - The completion queue is full: the kernel keeps what does not fit (NODROP, checked at the
 * start) and hands it over at the next wait.
 *   - A multishot ends by itself (no buffers, overflow): the event says more == false, its owner
 * asks again. Buffers are back in the pool by then, because entries go to the kernel later than
 * that.
 *   - A cancel request does not find its operation, which is neither waiting nor finished but
 * between the two: then every unanswered cancel is sent once more. This is why cancelled ops stay
 * in a list until their last completion.
 */
#include "core/ring.h"

#include "core/clock.h"
#include "core/ring_problem.h"

#include <liburing.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define CQ_ENTRIES_PER_SQ_ENTRY 4
#define RECV_GROUP              0
#define CANCEL_RETRY_NS         1000000ULL /* longest sleep while a cancel request waits for room */
#define SLEEP_NS_MAX            86400000000000ULL /* a day; the kernel adds the time now to it */

struct ring {
    struct io_uring uring;
    struct sockaddr_storage *addresses; /* of connects, one per submission entry, until submitted */
    struct list cancels_wanted;         /* ops to cancel, request not queued yet */
    struct list cancels_asked;          /* ops to cancel, request queued, no last completion yet */
    struct io_uring_buf_ring *recv_ring; /* lends the buffers to the kernel; NULL = no pool */
    uint8_t *recv_buffers;
    size_t recv_ring_size;
    unsigned recv_buffer_count;
    unsigned recv_buffer_size;
    unsigned pending_count;
    struct ring_stats stats;
    uint64_t busy_poll_ns;
    int event_fd;       /* what an outer loop polls; -1 = there is none */
    bool has_poller;    /* somebody asked for it */
    bool busy_poll_due; /* completions have been run since the last one */
    bool is_set_up;     /* `uring` is to be torn down */
};

static uint8_t *recv_buffer(const struct ring *ring, unsigned index)
{
    return ring->recv_buffers + (size_t)index * ring->recv_buffer_size;
}

static void give_recv_buffer(struct ring *ring, unsigned index)
{
    io_uring_buf_ring_add(ring->recv_ring, recv_buffer(ring, index), ring->recv_buffer_size,
                          (unsigned short)index, io_uring_buf_ring_mask(ring->recv_buffer_count),
                          0);
    io_uring_buf_ring_advance(ring->recv_ring, 1);
}

/* Page-aligned and zeroed, or NULL. */
static void *map_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/* liburing 2.3 cannot make a buffer ring by itself: page-aligned memory, registered by hand. */
static int recv_pool_open(struct ring *ring, unsigned count, unsigned size)
{
    struct io_uring_buf_reg registration = {.ring_entries = count, .bgid = RECV_GROUP};
    int result;

    assert((count & (count - 1)) == 0);
    assert(size > 0);
    ring->recv_buffer_count = count;
    ring->recv_buffer_size = size;
    ring->recv_ring_size = count * sizeof(struct io_uring_buf);
    ring->recv_ring = map_memory(ring->recv_ring_size);
    ring->recv_buffers = map_memory((size_t)count * size);
    if (ring->recv_ring == NULL || ring->recv_buffers == NULL) {
        return -ENOMEM;
    }
    registration.ring_addr = (uintptr_t)ring->recv_ring;
    result = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (result < 0) {
        return result;
    }
    io_uring_buf_ring_init(ring->recv_ring);
    for (unsigned i = 0; i < count; i++) {
        give_recv_buffer(ring, i);
    }
    return 0;
}

/* The kernel's hold on it went with the ring. */
static void recv_pool_close(struct ring *ring)
{
    if (ring->recv_buffers != NULL) {
        (void)munmap(ring->recv_buffers, (size_t)ring->recv_buffer_count * ring->recv_buffer_size);
    }
    if (ring->recv_ring != NULL) {
        (void)munmap(ring->recv_ring, ring->recv_ring_size);
    }
}

/* What may be asked of the ring from now on: what the submit functions below ask for, no more.
 * liburing 2.3 has functions for this and for the enabling, but does not export them. */
static int restrict_ring(struct ring *ring)
{
    static const uint8_t operations[] = {
        IORING_OP_POLL_ADD, IORING_OP_ACCEPT,   IORING_OP_RECV,     IORING_OP_SEND,
        IORING_OP_CONNECT,  IORING_OP_SHUTDOWN, IORING_OP_READ,     IORING_OP_WRITE,
        IORING_OP_FSYNC,    IORING_OP_RENAMEAT, IORING_OP_UNLINKAT, IORING_OP_ASYNC_CANCEL,
    };
    struct io_uring_restriction rules[sizeof(operations) + 2];
    unsigned count = 0;

    memset(rules, 0, sizeof(rules)); /* the kernel wants the rest of them to be zero */
    for (; count < sizeof(operations); count++) {
        rules[count].opcode = IORING_RESTRICTION_SQE_OP;
        rules[count].sqe_op = operations[count];
    }
    rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[count++].sqe_flags = IOSQE_IO_LINK | IOSQE_BUFFER_SELECT;
    /* For the end; else the descriptor that was registered keeps the ring alive. */
    rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
    rules[count++].register_op = IORING_UNREGISTER_RING_FDS;
    return io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
                             count);
}

/* The ring's own descriptor will not do: under DEFER_TASKRUN the kernel posts no completion while
 * nobody asks for one, and wakes nobody who polls that. It does tell an eventfd. Until somebody
 * wants to hear of it that stays silent. */
static int event_fd_open(struct ring *ring)
{
    int result;

    ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->event_fd < 0) {
        return -errno;
    }
    result = io_uring_register_eventfd(&ring->uring, ring->event_fd);
    return result < 0 ? result : io_uring_cq_eventfd_toggle(&ring->uring, false);
}

/* Makes it, disabled, with all that has to be registered. */
static int set_up(struct ring *ring, const struct ring_options *options)
{
    /* SUBMIT_ALL: one bad entry must not leave the ones behind it for a later submission, which
     * would tear a linked pair apart. R_DISABLED: who enables it later becomes the single issuer.
     */
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
        .cq_entries = options->entries * CQ_ENTRIES_PER_SQ_ENTRY,
    };
    int result = io_uring_queue_init_params(options->entries, &ring->uring, &params);

    if (result < 0) {
        return result;
    }
    ring->is_set_up = true;
    if ((params.features & IORING_FEAT_NODROP) == 0 ||
        (params.features & IORING_FEAT_EXT_ARG) == 0) {
        return -EINVAL;
    }
    ring->addresses = calloc(params.sq_entries, sizeof(*ring->addresses));
    if (ring->addresses == NULL) {
        return -ENOMEM;
    }
    (void)io_uring_register_ring_fd(&ring->uring); /* only makes system calls cheaper */
    if (options->is_pollable) {
        result = event_fd_open(ring);
        if (result < 0) {
            return result;
        }
    }
    if (options->recv_buffer_count > 0) {
        return recv_pool_open(ring, options->recv_buffer_count, options->recv_buffer_size);
    }
    return 0;
}

int ring_new(const struct ring_options *options, char *problem, struct ring **ret_ring)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    int result;

    assert(options->entries >= 2); /* a linked pair must fit */
    if (ring == NULL) {
        return ring_problem_explain(-ENOMEM, problem);
    }
    ring->busy_poll_ns = options->busy_poll_ns;
    ring->event_fd = -1;
    list_init(&ring->cancels_wanted);
    list_init(&ring->cancels_asked);
    result = set_up(ring, options);
    if (result >= 0) {
        result = restrict_ring(ring);
    }
    if (result >= 0) {
        result =
            io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    }
    if (result >= 0) {
        /* A filter may allow all this and forbid the rest: better said now than in the first turn.
         */
        result = io_uring_get_events(&ring->uring);
    }
    if (result < 0) {
        ring_free(ring);
        return ring_problem_explain(result, problem);
    }
    *ret_ring = ring;
    return 0;
}

void ring_free(struct ring *ring)
{
    if (ring == NULL) {
        return;
    }
    assert(ring->pending_count == 0);
    assert(list_is_empty(&ring->cancels_wanted));
    assert(list_is_empty(&ring->cancels_asked));
    if (ring->is_set_up) {
        io_uring_queue_exit(&ring->uring);
    }
    if (ring->event_fd >= 0) {
        (void)close(ring->event_fd);
    }
    recv_pool_close(ring);
    free(ring->addresses);
    free(ring);
}

unsigned ring_pending_count(const struct ring *ring)
{
    return ring->pending_count;
}

const struct ring_stats *ring_stats(const struct ring *ring)
{
    return &ring->stats;
}

/* Makes sure that the next `count` entries can be taken and belong to one submission. */
static int make_room(struct ring *ring, unsigned count)
{
    int result;

    if (io_uring_sq_space_left(&ring->uring) >= count) {
        return 0;
    }
    ring->stats.queue_full++;
    result = io_uring_submit(&ring->uring);
    if (result < 0) {
        return result;
    }
    return io_uring_sq_space_left(&ring->uring) >= count ? 0 : -EAGAIN;
}

/* Takes an entry for the op; there must be room. The preparation that follows leaves user_data. */
static struct io_uring_sqe *take_entry(struct ring *ring, struct ring_op *op)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);

    assert(entry != NULL);
    assert(!op->pending);
    io_uring_sqe_set_data(entry, op);
    list_init(&op->cancel_link);
    op->pending = true;
    ring->pending_count++;
    ring->stats.submitted++;
    return entry;
}

static int begin(struct ring *ring, struct ring_op *op, struct io_uring_sqe **ret_entry)
{
    int result = make_room(ring, 1);

    if (result < 0) {
        return result;
    }
    *ret_entry = take_entry(ring, op);
    return 0;
}

/* The kernel counts bytes of one operation in 32 bits, and its result is an int. */
static unsigned entry_size(size_t size)
{
    assert(size <= INT32_MAX);
    return (unsigned)size;
}

int ring_poll(struct ring *ring, struct ring_op *op, int fd, unsigned events)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_poll_add(entry, fd, events);
    }
    return result;
}

int ring_accept(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_multishot_accept(entry, fd, NULL, NULL, SOCK_CLOEXEC);
    }
    return result;
}

int ring_recv(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    assert(ring->recv_ring != NULL);
    if (result == 0) {
        io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
        io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
        entry->buf_group = RECV_GROUP;
    }
    return result;
}

int ring_send(struct ring *ring, struct ring_op *op, int fd, const void *bytes, size_t size)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_send(entry, fd, bytes, entry_size(size), MSG_WAITALL | MSG_NOSIGNAL);
    }
    return result;
}

int ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                 socklen_t size)
{
    struct sockaddr_storage *copy;
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    assert(size <= sizeof(*copy));
    if (result == 0) {
        /* The kernel reads the address when it takes the entry; only then is the entry used anew.
         */
        copy = &ring->addresses[entry - ring->uring.sq.sqes];
        memcpy(copy, address, size);
        io_uring_prep_connect(entry, fd, (const struct sockaddr *)copy, size);
    }
    return result;
}

int ring_shutdown(struct ring *ring, struct ring_op *op, int fd, int how)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_shutdown(entry, fd, how);
    }
    return result;
}

int ring_read(struct ring *ring, struct ring_op *op, int fd, void *bytes, size_t size,
              uint64_t offset)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_read(entry, fd, bytes, entry_size(size), offset);
    }
    return result;
}

int ring_write(struct ring *ring, struct ring_op *op, int fd, const void *bytes, size_t size,
               uint64_t offset)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_write(entry, fd, bytes, entry_size(size), offset);
    }
    return result;
}

int ring_write_through(struct ring *ring, struct ring_op *op, int fd, struct bytes bytes,
                       uint64_t offset)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_write(entry, fd, bytes.data, entry_size(bytes.size), offset);
        entry->rw_flags = RWF_DSYNC;
    }
    return result;
}

int ring_sync_data(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
    }
    return result;
}

int ring_write_synced(struct ring *ring, struct ring_op *write_op, struct ring_op *sync_op, int fd,
                      struct bytes bytes, uint64_t offset)
{
    struct io_uring_sqe *entry;
    int result = make_room(ring, 2);

    if (result < 0) {
        return result;
    }
    entry = take_entry(ring, write_op);
    io_uring_prep_write(entry, fd, bytes.data, entry_size(bytes.size), offset);
    io_uring_sqe_set_flags(entry, IOSQE_IO_LINK);
    entry = take_entry(ring, sync_op);
    io_uring_prep_fsync(entry, fd, IORING_FSYNC_DATASYNC);
    return 0;
}

int ring_rename(struct ring *ring, struct ring_op *op, int dir_fd, const char *old_name,
                const char *new_name)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_renameat(entry, dir_fd, old_name, dir_fd, new_name, 0);
    }
    return result;
}

int ring_unlink(struct ring *ring, struct ring_op *op, int dir_fd, const char *name)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_unlinkat(entry, dir_fd, name, 0);
    }
    return result;
}

int ring_sync(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *entry;
    int result = begin(ring, op, &entry);

    if (result == 0) {
        io_uring_prep_fsync(entry, fd, 0);
    }
    return result;
}

void ring_cancel(struct ring *ring, struct ring_op *op)
{
    if (op->pending && !list_is_linked(&op->cancel_link)) {
        list_push_back(&ring->cancels_wanted, &op->cancel_link);
    }
}

/* Queues the requests that were asked for. Ops that ended since have left the list. */
static void queue_cancels(struct ring *ring)
{
    struct list *link;
    struct io_uring_sqe *entry;

    while (!list_is_empty(&ring->cancels_wanted) && make_room(ring, 1) == 0) {
        link = ring->cancels_wanted.next;
        list_remove(link);
        list_push_back(&ring->cancels_asked, link);
        entry = io_uring_get_sqe(&ring->uring);
        assert(entry != NULL);
        io_uring_prep_cancel64(entry, (uintptr_t)CONTAINER_OF(link, struct ring_op, cancel_link),
                               0);
        io_uring_sqe_set_data64(entry, 0); /* its own completion belongs to no op */
    }
}

/* What ring_wait() says of the kernel's answer. */
static int waited(int result)
{
    switch (result) {
    case -ETIME:
    case -EINTR:
        return 0;
    case -EAGAIN: /* no memory for more operations right now, or the completion queue has to be */
    case -EBUSY:  /* emptied first: what was not taken stays queued for the next turn */
        return 0;
    default:
        return result < 0 ? result : 0;
    }
}

static int submit_and_sleep(struct ring *ring, uint64_t timeout_ns)
{
    const uint64_t sleep_ns = timeout_ns < SLEEP_NS_MAX ? timeout_ns : SLEEP_NS_MAX;
    struct __kernel_timespec limit = {
        .tv_sec = (int64_t)(sleep_ns / CLOCK_NS_PER_S),
        .tv_nsec = (long long)(sleep_ns % CLOCK_NS_PER_S),
    };
    struct io_uring_cqe *completion;

    return io_uring_submit_and_wait_timeout(&ring->uring, &completion, 1, &limit, NULL);
}

/* Looks until a completion is there, or for as long as that is worth it. Returns what is left of
 * `timeout_ns`; 0 when there is no reason to sleep. */
static uint64_t busy_poll(struct ring *ring, uint64_t timeout_ns)
{
    const uint64_t start_ns = clock_monotonic_ns(clock_system());
    struct io_uring_cqe *completion;
    uint64_t spent_ns;

    ring->busy_poll_due = false;
    while (io_uring_peek_cqe(&ring->uring, &completion) != 0) {
        spent_ns = clock_monotonic_ns(clock_system()) - start_ns;
        if (spent_ns >= timeout_ns) {
            return 0;
        }
        if (spent_ns >= ring->busy_poll_ns) {
            return timeout_ns - spent_ns;
        }
    }
    return 0;
}

bool ring_is_ready(const struct ring *ring)
{
    const unsigned flags = IO_URING_READ_ONCE(*ring->uring.sq.kflags);

    return io_uring_cq_ready(&ring->uring) > 0 ||
           (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

bool ring_has_queued(const struct ring *ring)
{
    return io_uring_sq_ready(&ring->uring) > 0 || !list_is_empty(&ring->cancels_wanted);
}

int ring_descriptor(struct ring *ring)
{
    assert(ring->event_fd >= 0);
    if (!ring->has_poller) {
        ring->has_poller = true;
        /* It could be switched off, so it can be switched on. */
        (void)io_uring_cq_eventfd_toggle(&ring->uring, true);
    }
    return ring->event_fd;
}

int ring_wait(struct ring *ring, uint64_t timeout_ns)
{
    eventfd_t count;
    int result;

    if (ring->has_poller) {
        /* Before the look, so that what comes after it is told again; empty is fine. */
        (void)eventfd_read(ring->event_fd, &count);
    }
    queue_cancels(ring);
    if (!list_is_empty(&ring->cancels_wanted) && timeout_ns > CANCEL_RETRY_NS) {
        timeout_ns = CANCEL_RETRY_NS;
    }
    if (timeout_ns == 0 || ring->busy_poll_due) {
        result = waited(io_uring_submit_and_get_events(&ring->uring));
        if (result == 0 && timeout_ns > 0) {
            timeout_ns = busy_poll(ring, timeout_ns);
        }
        if (result < 0 || timeout_ns == 0) {
            return result;
        }
    }
    return waited(submit_and_sleep(ring, timeout_ns));
}

void ring_submit(struct ring *ring)
{
    (void)io_uring_submit(&ring->uring); /* a lasting failure is ring_wait()'s to tell */
}

static void run_completion(struct ring *ring, const struct io_uring_cqe *completion)
{
    struct ring_op *op = io_uring_cqe_get_data(completion);
    struct ring_event event = {
        .result = completion->res,
        .more = (completion->flags & IORING_CQE_F_MORE) != 0,
    };
    bool has_buffer = (completion->flags & IORING_CQE_F_BUFFER) != 0;
    unsigned buffer_index = completion->flags >> IORING_CQE_BUFFER_SHIFT;

    if (op == NULL) {
        /* Not tested: no way was found to meet the kernel in that moment. */
        if (event.result == -ENOENT) {
            list_splice_back(&ring->cancels_wanted, &ring->cancels_asked);
        }
        return;
    }
    assert(op->pending);
    ring->stats.completed++;
    ring->stats.buffers_exhausted += event.result == -ENOBUFS;
    if (!event.more) {
        op->pending = false;
        ring->pending_count--;
        list_remove(&op->cancel_link);
    }
    if (has_buffer) {
        event.bytes = recv_buffer(ring, buffer_index);
    }
    op->done(op, &event); /* the op may be gone after this */
    if (has_buffer) {
        give_recv_buffer(ring, buffer_index);
    }
}

unsigned ring_run_completions(struct ring *ring)
{
    struct io_uring_cqe *slot;
    struct io_uring_cqe completion;
    unsigned count = io_uring_cq_ready(&ring->uring);

    ring->busy_poll_due = ring->busy_poll_due || (count > 0 && ring->busy_poll_ns > 0);
    for (unsigned i = 0; i < count; i++) {
        /* Copied, and the slot given back first: a `done` that submits may cause new completions.
         */
        if (io_uring_peek_cqe(&ring->uring, &slot) != 0) {
            return i;
        }
        completion = *slot;
        io_uring_cqe_seen(&ring->uring, slot);
        run_completion(ring, &completion);
    }
    return count;
}

int ring_run(struct ring *ring, uint64_t timeout_ns)
{
    int result = ring_wait(ring, timeout_ns);

    return result < 0 ? result : (int)ring_run_completions(ring);
}
