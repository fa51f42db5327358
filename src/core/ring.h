/*
 * io_uring: hands embedded operations to the kernel and runs their completions.
 *
 * Owns:    the ring, and the pool of receive buffers it lends to the kernel.
 * Borrows: every struct ring_op, from submit until its last completion.
 * Thread:  the one that called ring_new() (SINGLE_ISSUER).
 */
#ifndef CORE_RING_H
#define CORE_RING_H

#include "core/bytes.h"
#include "core/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ring;
struct ring_op;

/* What a completion says. */
struct ring_event {
    int result;           /* as the system call's: count or descriptor, or negative errno */
    bool more;            /* another completion of the same operation follows */
    const uint8_t *bytes; /* ring_recv only: `result` bytes, borrowed until `done` returns */
};

/* One operation in flight, embedded in the object that waits for it: the ring never allocates or
 * frees one. `done` runs from ring_run_completions() only, never inside the call that submitted it.
 */
struct ring_op {
    void (*done)(struct ring_op *op, const struct ring_event *event);
    struct list cancel_link; /* ring.c's own */
    bool pending;            /* lent to the kernel; false again before the last `done` runs */
};

struct ring_options {
    unsigned entries;           /* submission queue entries, e.g. 1024 */
    unsigned recv_buffer_count; /* power of two; 0 = no receive pool */
    unsigned recv_buffer_size;  /* bytes each; 16384 = http2.read_chunk */
    uint64_t busy_poll_ns;      /* see ring_wait(); 0 = never */
    bool is_pollable;           /* it has a ring_descriptor() */
};

/* Counts since it was made, for metrics. */
struct ring_stats {
    uint64_t submitted;         /* operations */
    uint64_t completed;         /* completions of these; a multishot has many */
    uint64_t queue_full;        /* times there was no room in the submission queue */
    uint64_t buffers_exhausted; /* receives that ended because every buffer was lent out */
};

/* Why a ring could not be made: text for people that names the cause (the sysctl
 * kernel.io_uring_disabled, a seccomp filter, the memlock limit, the kernel's age) and the remedy.
 */
#define RING_PROBLEM_SIZE 512

/* Makes a ring with SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN and CQ overflow safety, that the
 * kernel lets do nothing but the operations below. Returns 0; or -errno of the setup with `problem`
 * (RING_PROBLEM_SIZE bytes) filled in. */
int ring_new(const struct ring_options *options, char *problem, struct ring **ret_ring);

/* No operation may be pending. NULL is fine. */
void ring_free(struct ring *ring);

/* Submits what is queued and waits until a completion is there or `timeout_ns` have passed (0 =
 * only look; anything over a day is a day). Runs nothing, so that the caller can read the clock
 * between the sleep and the completions. May return early.
 *
 * The first wait after completions were run looks again and again for `busy_poll_ns` before it
 * sleeps: what follows soon then costs no sleep and no waking up.
 *
 * Returns 0, or negative errno when the ring itself fails. */
int ring_wait(struct ring *ring, uint64_t timeout_ns);

/* Whether something has happened since the last wait: the next one will not sleep. */
bool ring_is_ready(const struct ring *ring);

/* Something is queued that no ring_wait() or ring_submit() has given to the kernel yet. */
bool ring_has_queued(const struct ring *ring);

/* For a loop around this one: a descriptor to poll, and for nothing else, that becomes readable
 * when something has happened to what was given to the kernel. ring_wait() makes it unreadable
 * again, so what happened before the first call here is not told by it, but by ring_is_ready().
 * From then on each wait costs a system call more. */
int ring_descriptor(struct ring *ring);

/* Gives what is queued to the kernel at once, before a long piece of work. Where that does not go
 * (no memory, a full queue) the next ring_wait() tries again. */
void ring_submit(struct ring *ring);

/* Runs the `done` of every completion that is there, and returns their number. */
unsigned ring_run_completions(struct ring *ring);

/* Both of them. Returns the number of completions run, or negative errno. */
int ring_run(struct ring *ring, uint64_t timeout_ns);

/* Operations between submit and last completion. */
unsigned ring_pending_count(const struct ring *ring);

const struct ring_stats *ring_stats(const struct ring *ring);

/* The submit functions below queue one operation; it goes to the kernel with the next ring_run().
 * They return 0, or negative errno when nothing was queued (then `done` will not run). The op must
 * not be pending. Memory passed in stays the caller's and must live until the last completion. */

/* Waits until one of the poll(2) `events` is there; the result is the mask of those that are. */
int ring_poll(struct ring *ring, struct ring_op *op, int fd, unsigned events);

/* Multishot: one event per accepted socket (result = descriptor, close-on-exec) until !more. */
int ring_accept(struct ring *ring, struct ring_op *op, int fd);

/* Multishot receive into the ring's pool: one event per arrival, 0 = end of stream. A multishot may
 * end for reasons of the ring alone: after -ENOBUFS (every buffer was lent out) and after an event
 * with bytes and more == false, call it again; nothing is lost. The buffers go to who asks first,
 * so let those ask first who got none. */
int ring_recv(struct ring *ring, struct ring_op *op, int fd);

/* Sends all of it (MSG_WAITALL | MSG_NOSIGNAL); a smaller result means the send was cut short. */
int ring_send(struct ring *ring, struct ring_op *op, int fd, const void *bytes, size_t size);

/* The address is copied. */
int ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                 socklen_t size);

int ring_shutdown(struct ring *ring, struct ring_op *op, int fd, int how);

int ring_read(struct ring *ring, struct ring_op *op, int fd, void *bytes, size_t size,
              uint64_t offset);

int ring_write(struct ring *ring, struct ring_op *op, int fd, const void *bytes, size_t size,
               uint64_t offset);

/* A write that has only succeeded when its bytes, and what it takes to read them, are where a power
 * cut leaves them (RWF_DSYNC). It says nothing of what was written before. */
int ring_write_through(struct ring *ring, struct ring_op *op, int fd, struct bytes bytes,
                       uint64_t offset);

/* fdatasync. */
int ring_sync_data(struct ring *ring, struct ring_op *op, int fd);

/* A write and, soft-linked to it, an fdatasync: when the write fails or is short the kernel cancels
 * the sync (-ECANCELED). Never a hard link, which would sync after a failed write. Both entries go
 * in one submission. Two completions, one per op. */
int ring_write_synced(struct ring *ring, struct ring_op *write_op, struct ring_op *sync_op, int fd,
                      struct bytes bytes, uint64_t offset);

/* The strings must live until completion. */
int ring_rename(struct ring *ring, struct ring_op *op, int dir_fd, const char *old_name,
                const char *new_name);

/* The string must live until completion. */
int ring_unlink(struct ring *ring, struct ring_op *op, int dir_fd, const char *name);

/* fsync, for a directory. */
int ring_sync(struct ring *ring, struct ring_op *op, int fd);

/* Asks the kernel to end a pending operation early; its own `done` still tells the end (usually
 * -ECANCELED). Nothing else is reported, and calling it on an op that is not pending is harmless.
 * Cannot fail: a request that finds no room, or its operation in transit, is repeated. */
void ring_cancel(struct ring *ring, struct ring_op *op);

#endif
