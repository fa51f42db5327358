#include "core/reactor.h"

#include "core/clock.h"

#include <assert.h>
#include <stddef.h>

#define SHORT_TURN_NS CLOCK_NS_PER_MS

int reactor_init(struct reactor *reactor, const struct ring_options *options,
                 struct clock_source *clock, struct log *log, char *problem)
{
    *reactor = (struct reactor){.clock = clock, .log = log, .delay_min_ns = UINT64_MAX};
    list_init(&reactor->tasks);
    list_init(&reactor->slow_tasks);
    reactor->now_ns = clock_monotonic_ns(clock);
    return ring_new(options, problem, &reactor->ring);
}

void reactor_deinit(struct reactor *reactor)
{
    assert(list_is_empty(&reactor->tasks));
    assert(list_is_empty(&reactor->slow_tasks));
    timer_set_deinit(&reactor->timers);
    ring_free(reactor->ring);
    reactor->ring = NULL;
}

static uint64_t sleep_ns(const struct reactor *reactor, uint64_t timeout_ns, uint64_t now_ns)
{
    uint64_t deadline_ns = timer_set_next_ns(&reactor->timers);

    if (!list_is_empty(&reactor->tasks) || !list_is_empty(&reactor->slow_tasks)) {
        return 0;
    }
    if (timeout_ns == 0 || deadline_ns == UINT64_MAX) {
        return timeout_ns;
    }
    if (deadline_ns <= now_ns) {
        return 0;
    }
    return deadline_ns - now_ns < timeout_ns ? deadline_ns - now_ns : timeout_ns;
}

uint64_t reactor_idle_ns(const struct reactor *reactor)
{
    if (ring_has_queued(reactor->ring) || ring_is_ready(reactor->ring)) {
        return 0;
    }
    return sleep_ns(reactor, UINT64_MAX, clock_monotonic_ns(reactor->clock));
}

/* Those deferred meanwhile are for later turns: one that defers itself gives way to the others. */
static void run_slow_tasks(struct reactor *reactor)
{
    struct list due;
    struct list *link;

    list_init(&due);
    list_splice_back(&due, &reactor->slow_tasks);
    for (unsigned i = 0; i < REACTOR_SLOW_TASKS_PER_TURN; i++) {
        struct reactor_task *task;

        link = list_pop_front(&due);
        if (link == NULL) {
            break;
        }
        task = CONTAINER_OF(link, struct reactor_task, link);
        task->run(task);
    }
    list_splice_back(&due, &reactor->slow_tasks);
    list_splice_back(&reactor->slow_tasks, &due);
}

static void run_tasks(struct reactor *reactor)
{
    struct list *link;
    struct reactor_task *task;

    while ((link = list_pop_front(&reactor->tasks)) != NULL) {
        task = CONTAINER_OF(link, struct reactor_task, link);
        task->run(task);
    }
}

/* How long the loop has been at work. While something else has the processor it has no more to do
 * than before, and turning calls away would help nobody. A test's clock says both. */
static uint64_t worked_ns(const struct reactor *reactor)
{
    return reactor->clock == clock_system() ? clock_thread_ns()
                                            : clock_monotonic_ns(reactor->clock);
}

static void note_delay(struct reactor *reactor, uint64_t delay_ns)
{
    if (delay_ns < reactor->delay_min_ns) {
        reactor->delay_min_ns = delay_ns;
    }
}

/* A new turn begins. What was ready before the wait has waited since the last one at most. Asking
 * for the work costs a system call, so it is done for long turns only; the first of them is not
 * measured, as nobody asked at its beginning. */
static void begin_turn(struct reactor *reactor, uint64_t now_ns, bool was_ready)
{
    const uint64_t turn_ns = now_ns - reactor->now_ns;
    const uint64_t before_ns = reactor->worked_ns;

    reactor->worked_ns = 0;
    if (!was_ready) {
        note_delay(reactor, 0);
    } else if (turn_ns < SHORT_TURN_NS) {
        note_delay(reactor, turn_ns);
    } else {
        reactor->worked_ns = worked_ns(reactor);
        if (before_ns != 0) {
            note_delay(reactor, reactor->worked_ns - before_ns - reactor->slow_ns);
        }
    }
    reactor->slow_ns = 0;
    reactor->now_ns = now_ns;
}

uint64_t reactor_take_delay(struct reactor *reactor)
{
    const uint64_t delay_ns = reactor->delay_min_ns == UINT64_MAX ? 0 : reactor->delay_min_ns;

    reactor->delay_min_ns = UINT64_MAX;
    return delay_ns;
}

/* Their number is limited already, and nobody is served sooner when there are fewer calls. */
static void run_slow_part(struct reactor *reactor)
{
    uint64_t start_ns;

    ring_submit(reactor->ring); /* answers that are ready do not wait for these */
    start_ns = worked_ns(reactor);
    run_slow_tasks(reactor);
    run_tasks(reactor);
    reactor->slow_ns = worked_ns(reactor) - start_ns;
}

int reactor_turn(struct reactor *reactor, uint64_t timeout_ns)
{
    const bool was_ready = ring_is_ready(reactor->ring);
    const uint64_t wait_ns = clock_monotonic_ns(reactor->clock);
    int result;

    assert(!reactor->turning);
    if (reactor->has_turned) {
        histogram_add(&reactor->turn_ns, wait_ns - reactor->now_ns);
    }
    reactor->has_turned = true;
    result = ring_wait(reactor->ring, sleep_ns(reactor, timeout_ns, wait_ns));
    if (result < 0) {
        return result;
    }
    reactor->turning = true;
    begin_turn(reactor, clock_monotonic_ns(reactor->clock), was_ready);
    (void)ring_run_completions(reactor->ring); /* how many is of no interest here */
    timer_set_run(&reactor->timers, reactor->now_ns);
    run_tasks(reactor);
    if (!list_is_empty(&reactor->slow_tasks)) {
        run_slow_part(reactor);
    }
    reactor->turning = false;
    return 0;
}

int reactor_run(struct reactor *reactor)
{
    int result = 0;

    while (!reactor->stopping && result == 0) {
        result = reactor_turn(reactor, UINT64_MAX);
    }
    reactor->stopping = false;
    return result;
}

void reactor_stop(struct reactor *reactor)
{
    reactor->stopping = true;
}

void reactor_defer(struct reactor *reactor, struct reactor_task *task)
{
    if (!list_is_linked(&task->link)) {
        list_push_back(&reactor->tasks, &task->link);
    }
}

void reactor_defer_slow(struct reactor *reactor, struct reactor_task *task)
{
    if (!list_is_linked(&task->link)) {
        list_push_back(&reactor->slow_tasks, &task->link);
    }
}

void reactor_undefer(struct reactor_task *task)
{
    list_remove(&task->link);
}

/* Between turns `now_ns` is as old as the caller's pause; a delay from there would end early. */
uint64_t reactor_now_ns(const struct reactor *reactor)
{
    return reactor->turning ? reactor->now_ns : clock_monotonic_ns(reactor->clock);
}

int reactor_start_timer(struct reactor *reactor, struct timer *timer, uint64_t delay_ns)
{
    uint64_t now_ns = reactor_now_ns(reactor);

    /* UINT64_MAX means "no deadline" to the timer set, so the furthest time is just before it. */
    return timer_set_start(&reactor->timers, timer,
                           delay_ns < UINT64_MAX - 1 - now_ns ? now_ns + delay_ns : UINT64_MAX - 1);
}

void reactor_stop_timer(struct reactor *reactor, struct timer *timer)
{
    timer_set_stop(&reactor->timers, timer);
}
