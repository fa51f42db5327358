/*
 * Threads for the few things that take longer than a turn may, such as hashing a password.
 *
 *   1. workpool_submit() puts the job in `waiting` and wakes a thread.
 *   2. The thread takes it out, runs `work` without the lock, puts it in `done`, and writes to an
 *      eventfd when `done` was empty.
 *   3. The loop has a read of that eventfd pending on the ring. It completes; every job in `done`
 * is taken over and finished; the read is submitted again.
 *
 * What can go wrong:
 *
 *   - A job is cancelled while it waits: it leaves `waiting` and finishes from a deferred task, so
 *     that no callback runs inside the call.
 *   - The ring has no room for the read: a timer asks again, the jobs stay in `done` meanwhile.
 *   - The pool is closed from a `finish`, so by a function below us in the stack: then that
 * function frees it at its end. Otherwise the last completion of the read does.
 *
 * The lock guards what the block "shared" of the structure holds, and the state of jobs.
 */
#include "core/workpool.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_NS (10 * CLOCK_NS_PER_MS)

enum job_state {
    JOB_STATE_WAITING = 1,
    JOB_STATE_WORKING,
    JOB_STATE_DONE,
    JOB_STATE_CANCELLED,
};

struct workpool {
    struct reactor *reactor;
    struct ring_op wake_op;          /* the pending read of event_fd */
    struct timer retry_timer;        /* always armed, so that moving it needs no memory */
    struct reactor_task cancel_task; /* finishes what is in `cancelled` */
    struct list cancelled;
    unsigned unfinished_count; /* jobs submitted whose `finish` was not called yet */
    unsigned waiting_max;
    bool finishing; /* finish_all() is on the stack */
    bool closing;
    int event_fd;
    uint64_t event_count; /* where the read puts the eventfd's counter */
    struct histogram times;
    uint64_t refused_count;

    /* Shared with the threads. */
    pthread_mutex_t lock;
    pthread_cond_t has_work;
    struct list waiting;
    struct list done;
    unsigned waiting_count;
    unsigned working_count;
    bool stopping;

    unsigned thread_count;
    pthread_t threads[];
};

static void lock(struct workpool *pool)
{
    int result = pthread_mutex_lock(&pool->lock);

    assert(result == 0);
}

static void unlock(struct workpool *pool)
{
    int result = pthread_mutex_unlock(&pool->lock);

    assert(result == 0);
}

static struct workpool_job *job_of(struct list *link)
{
    return CONTAINER_OF(link, struct workpool_job, link);
}

/* The lock is held. */
static void put_done(struct workpool *pool, struct workpool_job *job)
{
    static const uint64_t one = 1;
    bool was_empty = list_is_empty(&pool->done);
    ssize_t written;

    job->state = JOB_STATE_DONE;
    list_push_back(&pool->done, &job->link);
    if (was_empty) {
        written = write(pool->event_fd, &one, sizeof(one));
        assert(written == (ssize_t)sizeof(one)); /* the counter holds 2^64 - 2 of them */
    }
}

static void *run_thread(void *argument)
{
    struct workpool *pool = argument;
    struct clock_source *clock = clock_system();
    struct workpool_job *job;
    uint64_t start_ns;

    lock(pool);
    while (!pool->stopping) {
        if (list_is_empty(&pool->waiting)) {
            (void)pthread_cond_wait(&pool->has_work, &pool->lock); /* cannot fail on our own lock */
            continue;
        }
        job = job_of(pool->waiting.next);
        list_remove(&job->link);
        pool->waiting_count--;
        pool->working_count++;
        job->state = JOB_STATE_WORKING;
        unlock(pool);
        start_ns = clock_monotonic_ns(clock);
        job->work(job);
        job->worked_ns = clock_monotonic_ns(clock) - start_ns;
        lock(pool);
        pool->working_count--;
        put_done(pool, job);
    }
    unlock(pool);
    return NULL;
}

static void finish_all(struct workpool *pool, struct list *jobs, bool cancelled)
{
    struct list *link;
    struct workpool_job *job;

    assert(!pool->finishing);
    pool->finishing = true;
    while ((link = list_pop_front(jobs)) != NULL) {
        assert(pool->unfinished_count > 0);
        pool->unfinished_count--;
        job = job_of(link);
        if (!cancelled) {
            histogram_add(&pool->times, job->worked_ns);
        }
        job->finish(job, cancelled);
    }
    pool->finishing = false;
}

static void free_pool(struct workpool *pool)
{
    assert(list_is_empty(&pool->cancelled));
    assert(list_is_empty(&pool->done));
    assert(!pool->wake_op.pending);
    reactor_stop_timer(pool->reactor, &pool->retry_timer);
    reactor_undefer(&pool->cancel_task);
    (void)pthread_cond_destroy(&pool->has_work); /* fail only while in use, and nobody is left */
    (void)pthread_mutex_destroy(&pool->lock);
    (void)close(pool->event_fd); /* holds nothing that could be lost */
    free(pool);
}

static void free_if_idle(struct workpool *pool)
{
    if (pool->closing && !pool->finishing && !pool->wake_op.pending) {
        free_pool(pool);
    }
}

static void on_wake(struct ring_op *op, const struct ring_event *event);

/* Makes the loop listen for results. When the ring has no room, a timer asks again. */
static void listen_for_results(struct workpool *pool)
{
    pool->wake_op.done = on_wake;
    if (ring_read(pool->reactor->ring, &pool->wake_op, pool->event_fd, &pool->event_count,
                  sizeof(pool->event_count), 0) < 0) {
        (void)reactor_start_timer(pool->reactor, &pool->retry_timer, RETRY_NS); /* only moved */
    }
}

static void on_wake(struct ring_op *op, const struct ring_event *event)
{
    struct workpool *pool = CONTAINER_OF(op, struct workpool, wake_op);
    struct list done;

    (void)event; /* even after an error the list tells what is there */
    list_init(&done);
    lock(pool);
    list_splice_back(&done, &pool->done);
    unlock(pool);
    finish_all(pool, &done, false);
    if (pool->closing) {
        free_if_idle(pool);
    } else {
        listen_for_results(pool);
    }
}

static void on_retry(struct timer *timer)
{
    struct workpool *pool = CONTAINER_OF(timer, struct workpool, retry_timer);

    (void)reactor_start_timer(pool->reactor, timer, UINT64_MAX); /* the place it had is free */
    listen_for_results(pool);
}

static void run_cancelled(struct reactor_task *task)
{
    struct workpool *pool = CONTAINER_OF(task, struct workpool, cancel_task);

    finish_all(pool, &pool->cancelled, true);
    free_if_idle(pool);
}

static void stop_threads(struct workpool *pool)
{
    int result;

    lock(pool);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->has_work); /* cannot fail */
    unlock(pool);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        result = pthread_join(pool->threads[i], NULL);
        assert(result == 0);
    }
    pool->thread_count = 0;
}

/* Signals belong to the loop, so the threads inherit a mask that blocks all of them. */
static int start_threads(struct workpool *pool, unsigned count)
{
    sigset_t all;
    sigset_t before;
    int error = 0;

    sigfillset(&all);
    error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error != 0) {
        return -error;
    }
    while (error == 0 && pool->thread_count < count) {
        error = pthread_create(&pool->threads[pool->thread_count], NULL, run_thread, pool);
        if (error == 0) {
            pool->thread_count++;
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL); /* the mask it gave us is valid */
    return -error;
}

int workpool_new(struct reactor *reactor, unsigned thread_count, unsigned queue_max,
                 struct workpool **ret_pool)
{
    struct workpool *pool = calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    int result;

    assert(thread_count > 0);
    if (pool == NULL) {
        return -ENOMEM;
    }
    pool->reactor = reactor;
    pool->waiting_max = queue_max;
    pool->retry_timer.fire = on_retry;
    pool->cancel_task.run = run_cancelled;
    list_init(&pool->cancel_task.link);
    list_init(&pool->cancelled);
    list_init(&pool->waiting);
    list_init(&pool->done);
    (void)pthread_mutex_init(&pool->lock, NULL); /* with default attributes neither can fail */
    (void)pthread_cond_init(&pool->has_work, NULL);
    /* Blocking on purpose: on a non-blocking one the ring would answer -EAGAIN instead of waiting.
     */
    pool->event_fd = eventfd(0, EFD_CLOEXEC);
    if (pool->event_fd < 0) {
        result = -errno;
        goto fail;
    }
    result = reactor_start_timer(reactor, &pool->retry_timer, UINT64_MAX);
    if (result == 0) {
        result = start_threads(pool, thread_count);
    }
    if (result < 0) {
        goto fail;
    }
    listen_for_results(pool);
    *ret_pool = pool;
    return 0;

fail:
    stop_threads(pool);
    free_pool(pool);
    return result;
}

void workpool_close(struct workpool *pool)
{
    if (pool == NULL || pool->closing) {
        return;
    }
    assert(workpool_is_idle(pool));
    pool->closing = true;
    stop_threads(pool);
    ring_cancel(pool->reactor->ring, &pool->wake_op);
    free_if_idle(pool);
}

bool workpool_is_idle(const struct workpool *pool)
{
    return pool->unfinished_count == 0;
}

struct workpool_stats workpool_stats(struct workpool *pool)
{
    struct workpool_stats stats = {.refused = pool->refused_count};

    lock(pool);
    stats.waiting = pool->waiting_count;
    stats.working = pool->working_count;
    unlock(pool);
    return stats;
}

const struct histogram *workpool_times(const struct workpool *pool)
{
    return &pool->times;
}

int workpool_submit(struct workpool *pool, struct workpool_job *job)
{
    assert(!pool->closing);
    lock(pool);
    if (pool->waiting_count >= pool->waiting_max) {
        unlock(pool);
        pool->refused_count++;
        return WORKPOOL_E_FULL;
    }
    list_init(&job->link);
    list_push_back(&pool->waiting, &job->link);
    pool->waiting_count++;
    job->state = JOB_STATE_WAITING;
    (void)pthread_cond_signal(&pool->has_work); /* cannot fail */
    unlock(pool);
    pool->unfinished_count++;
    return 0;
}

void workpool_cancel(struct workpool *pool, struct workpool_job *job)
{
    bool taken_out = false;

    lock(pool);
    if (job->state == JOB_STATE_WAITING) {
        list_remove(&job->link);
        pool->waiting_count--;
        job->state = JOB_STATE_CANCELLED;
        taken_out = true;
    }
    unlock(pool);
    if (taken_out) {
        list_push_back(&pool->cancelled, &job->link);
        reactor_defer(pool->reactor, &pool->cancel_task);
    }
}
