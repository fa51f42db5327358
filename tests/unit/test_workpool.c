/*
 * To check it with ThreadSanitizer, which does not go together with ASan:
 *     gcc -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=thread -Isrc -Itests tests/unit/test_workpool.c
 * \
 *         src/core/{workpool,reactor,ring,ring_problem,timer,clock}.c -pthread -luring \
 *         $(pkg-config --libs check) -o /tmp/test_workpool_tsan && /tmp/test_workpool_tsan
 */
#include "lib/unit.h"

#include "core/clock.h"
#include "core/reactor.h"
#include "core/workpool.h"

#include <signal.h>
#include <unistd.h>

static struct reactor reactor;
static struct workpool *pool;
static bool submitting; /* no `finish` may run while true */

struct job {
    struct workpool_job job;
    int gate_fd;  /* `work` waits for a byte from here, unless it is 0 */
    int ready_fd; /* and says first that it is there, unless it is 0 */
    int worked;
    int finished;
    bool cancelled;
    bool signals_blocked;
    bool closes_pool;     /* in its `finish`, once idle */
    struct job *followed; /* submitted in its `finish` */
};

static void work(struct workpool_job *base)
{
    struct job *job = CONTAINER_OF(base, struct job, job);
    sigset_t mask;
    char byte = 'r';

    if (job->ready_fd != 0) {
        job->worked += write(job->ready_fd, &byte, 1) == 1 ? 0 : 100;
    }
    if (job->gate_fd != 0) {
        job->worked += read(job->gate_fd, &byte, 1) == 1 ? 0 : 100;
    }
    job->signals_blocked = sigprocmask(SIG_BLOCK, NULL, &mask) == 0 &&
                           sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
    job->worked++;
}

static void finish(struct workpool_job *base, bool cancelled)
{
    struct job *job = CONTAINER_OF(base, struct job, job);

    ck_assert(!submitting);
    job->finished++;
    job->cancelled = cancelled;
    if (job->followed != NULL) {
        ck_assert_int_eq(workpool_submit(pool, &job->followed->job), 0);
    }
    if (job->closes_pool && workpool_is_idle(pool)) {
        workpool_close(pool);
    }
}

static void submit(struct job *job)
{
    job->job.work = work;
    job->job.finish = finish;
    submitting = true;
    ck_assert_int_eq(workpool_submit(pool, &job->job), 0);
    submitting = false;
}

static void cancel(struct job *job)
{
    submitting = true;
    workpool_cancel(pool, &job->job);
    submitting = false;
}

static void open_pool(unsigned thread_count, unsigned queue_max)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
    ck_assert_int_eq(workpool_new(&reactor, thread_count, queue_max, &pool), 0);
}

static void turn(void)
{
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static void run_until_gone(void)
{
    while (ring_pending_count(reactor.ring) > 0) {
        turn();
    }
    reactor_deinit(&reactor);
}

static void close_pool(void)
{
    while (!workpool_is_idle(pool)) {
        turn();
    }
    workpool_close(pool);
    run_until_gone();
}

/* A pool nobody used goes away, and so does none at all. */
START_TEST(workpool_closes_unused)
{
    workpool_close(NULL);
    open_pool(2, 10);
    ck_assert(workpool_is_idle(pool));
    close_pool();
}

END_TEST

/* Every job is worked once, with signals blocked, and finishes once on the loop, not cancelled. */
START_TEST(workpool_runs_jobs)
{
    enum {
        COUNT = 2000
    };
    static struct job jobs[COUNT];

    memset(jobs, 0, sizeof(jobs));
    open_pool(4, COUNT);
    for (int i = 0; i < COUNT; i++) {
        submit(&jobs[i]);
    }
    close_pool();
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(jobs[i].worked, 1);
        ck_assert_int_eq(jobs[i].finished, 1);
        ck_assert(!jobs[i].cancelled);
        ck_assert(jobs[i].signals_blocked);
    }
}

END_TEST

/* A `finish` may submit the next job, even its own. */
START_TEST(workpool_finish_may_submit)
{
    struct job second = {0};
    struct job first = {.followed = &second};

    open_pool(1, 1);
    second.job.work = work;
    second.job.finish = finish;
    submit(&first);
    close_pool();
    ck_assert_int_eq(first.finished, 1);
    ck_assert_int_eq(second.worked, 1);
    ck_assert_int_eq(second.finished, 1);
}

END_TEST

/* A thread that is held up at a gate, and the queue behind it. */
struct gate {
    int gate[2];
    int ready[2];
};

static void hold(struct gate *gate, struct job *job)
{
    char byte;

    ck_assert_int_eq(pipe(gate->gate), 0);
    ck_assert_int_eq(pipe(gate->ready), 0);
    job->gate_fd = gate->gate[0];
    job->ready_fd = gate->ready[1];
    submit(job);
    ck_assert_int_eq(read(gate->ready[0], &byte, 1), 1); /* now it is at work */
}

static void let_go(struct gate *gate)
{
    ck_assert_int_eq(write(gate->gate[1], "g", 1), 1);
}

static void close_gate(struct gate *gate)
{
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(close(gate->gate[i]), 0);
        ck_assert_int_eq(close(gate->ready[i]), 0);
    }
}

/* As many jobs wait as may; the next is refused and nothing happens to it; then there is room
 * again. */
START_TEST(workpool_refuses_when_full)
{
    struct gate gate;
    struct job held = {0};
    struct job waiting[2] = {0};
    struct job refused = {.job.work = work, .job.finish = finish};

    open_pool(1, 2);
    hold(&gate, &held);
    submit(&waiting[0]);
    submit(&waiting[1]);
    ck_assert_int_eq(workpool_submit(pool, &refused.job), WORKPOOL_E_FULL);
    ck_assert_uint_eq(workpool_stats(pool).waiting, 2);
    ck_assert_uint_eq(workpool_stats(pool).working, 1);
    ck_assert_uint_eq(workpool_stats(pool).refused, 1);
    ck_assert_uint_eq(histogram_count(workpool_times(pool)), 0);
    let_go(&gate);
    while (waiting[1].finished == 0) {
        turn();
    }
    ck_assert_int_eq(refused.worked, 0);
    ck_assert_int_eq(refused.finished, 0);
    ck_assert_uint_eq(workpool_stats(pool).waiting, 0);
    ck_assert_uint_eq(workpool_stats(pool).working, 0);
    ck_assert_uint_eq(histogram_count(workpool_times(pool)), 3);
    ck_assert_uint_gt(workpool_times(pool)->sum, 0);
    submit(&refused);
    close_pool();
    ck_assert_int_eq(refused.finished, 1);
    close_gate(&gate);
}

END_TEST

/* A waiting job that is cancelled finishes as cancelled in this turn, without having been worked
 * and making room; one at work finishes as usual; a second cancel does nothing. */
START_TEST(workpool_cancels)
{
    struct gate gate;
    struct job held = {0};
    struct job waiting = {0};
    struct job next = {0};

    open_pool(1, 1);
    hold(&gate, &held);
    submit(&waiting);
    cancel(&waiting);
    cancel(&waiting);
    cancel(&held);
    ck_assert_int_eq(waiting.finished, 0);
    ck_assert(!workpool_is_idle(pool));
    submit(&next);
    turn();
    ck_assert_int_eq(waiting.finished, 1);
    ck_assert(waiting.cancelled);
    ck_assert_int_eq(held.finished, 0);
    let_go(&gate);
    close_pool();
    ck_assert_int_eq(waiting.worked, 0);
    ck_assert_int_eq(waiting.finished, 1);
    ck_assert_int_eq(held.worked, 1);
    ck_assert_int_eq(held.finished, 1);
    ck_assert(!held.cancelled);
    ck_assert_int_eq(next.finished, 1);
    ck_assert(!next.cancelled);
    close_gate(&gate);
}

END_TEST

/* The last job's `finish` may close the pool, whether the job was worked ... */
START_TEST(workpool_closes_from_finish)
{
    struct job job = {.closes_pool = true};

    open_pool(2, 4);
    submit(&job);
    run_until_gone();
    ck_assert_int_eq(job.finished, 1);
}

END_TEST

/* ... or cancelled. */
START_TEST(workpool_closes_from_cancelled_finish)
{
    struct gate gate;
    struct job held = {0};
    struct job waiting = {.closes_pool = true};

    open_pool(1, 1);
    hold(&gate, &held);
    submit(&waiting);
    let_go(&gate);
    while (held.finished == 0) {
        turn();
    }
    close_gate(&gate);
    /* The thread may have taken it by now: then it closes the pool in the other way. */
    if (waiting.finished == 0) {
        cancel(&waiting);
    }
    run_until_gone();
    ck_assert_int_eq(waiting.finished, 1);
    ck_assert_int_eq(waiting.worked, waiting.cancelled ? 0 : 1);
}

END_TEST

UNIT_MAIN("workpool", workpool_closes_unused, workpool_runs_jobs, workpool_finish_may_submit,
          workpool_refuses_when_full, workpool_cancels, workpool_closes_from_finish,
          workpool_closes_from_cancelled_finish)
