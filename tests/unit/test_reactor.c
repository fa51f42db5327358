#include "lib/unit.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <poll.h>
#include <unistd.h>

/* A clock that stands still unless it is told, and may jump whenever it is read. */
struct fake_clock {
    struct clock_source source;
    uint64_t now_ns;
    uint64_t jump_ns;
};

static uint64_t fake_now_ns(struct clock_source *source)
{
    struct fake_clock *clock = CONTAINER_OF(source, struct fake_clock, source);

    clock->now_ns += clock->jump_ns;
    return clock->now_ns;
}

static struct fake_clock clock = {{fake_now_ns, fake_now_ns}, 1000, 0};
static struct reactor reactor;
static char history[64]; /* one letter per thing that ran */

static void note(char letter)
{
    size_t size = strlen(history);

    ck_assert_uint_lt(size, sizeof(history) - 1);
    history[size] = letter;
}

static void open_reactor(struct clock_source *source)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    ck_assert_msg(reactor_init(&reactor, &options, source, NULL, problem) == 0, "%s", problem);
    memset(history, 0, sizeof(history));
}

struct lettered_task {
    struct reactor_task task;
    char letter;
    struct lettered_task *next; /* deferred by this one */
};

static void run_lettered(struct reactor_task *task)
{
    struct lettered_task *lettered = CONTAINER_OF(task, struct lettered_task, task);

    note(lettered->letter);
    if (lettered->next != NULL) {
        reactor_defer(&reactor, &lettered->next->task);
    }
}

static void init_task(struct lettered_task *lettered, char letter)
{
    *lettered = (struct lettered_task){.task.run = run_lettered, .letter = letter};
    list_init(&lettered->task.link);
}

/* Tasks run in the order in which they were deferred, each once, without a wait; one deferred by a
 * task comes after the others in the same turn; one taken back does not run. */
START_TEST(reactor_runs_tasks_in_order)
{
    struct lettered_task tasks[4];

    open_reactor(&clock.source);
    for (int i = 0; i < 4; i++) {
        init_task(&tasks[i], (char)('a' + i));
    }
    tasks[0].next = &tasks[2];
    reactor_defer(&reactor, &tasks[0].task);
    reactor_defer(&reactor, &tasks[3].task);
    reactor_defer(&reactor, &tasks[1].task);
    reactor_defer(&reactor, &tasks[0].task);
    reactor_undefer(&tasks[3].task);
    reactor_undefer(&tasks[3].task);
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_str_eq(history, "abc");
    reactor_deinit(&reactor);
}

END_TEST

/* Of slow tasks only a few run in a turn, oldest first and behind the others; the rest need no
 * event to run in the next turns. One taken back does not run. */
START_TEST(reactor_limits_slow_tasks)
{
    struct lettered_task slow[REACTOR_SLOW_TASKS_PER_TURN + 2]; /* ten */
    struct lettered_task quick;

    open_reactor(&clock.source);
    init_task(&quick, 'z');
    reactor_defer(&reactor, &quick.task);
    for (int i = 0; i < REACTOR_SLOW_TASKS_PER_TURN + 2; i++) {
        init_task(&slow[i], (char)('a' + i));
        reactor_defer_slow(&reactor, &slow[i].task);
        reactor_defer_slow(&reactor, &slow[i].task);
    }
    reactor_undefer(&slow[1].task);
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_str_eq(history, "zacdefghi");
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_str_eq(history, "zacdefghij");
    reactor_deinit(&reactor);
}

END_TEST

struct patient_task {
    struct reactor_task task;
    unsigned runs;
};

static void run_patiently(struct reactor_task *task)
{
    struct patient_task *patient = CONTAINER_OF(task, struct patient_task, task);

    note('p');
    patient->runs++;
    reactor_defer_slow(&reactor, task);
}

/* A slow task that defers itself runs once in a turn, however few others there are. */
START_TEST(reactor_runs_a_slow_task_once_a_turn)
{
    struct patient_task patient = {.task.run = run_patiently};

    open_reactor(&clock.source);
    list_init(&patient.task.link);
    reactor_defer_slow(&reactor, &patient.task);
    for (unsigned turns = 1; turns <= 5; turns++) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
        ck_assert_uint_eq(patient.runs, turns);
    }
    reactor_undefer(&patient.task);
    reactor_deinit(&reactor);
}

END_TEST

struct poll_op {
    struct ring_op op;
    struct timer *to_start; /* 10 ns from then */
    struct reactor_task *to_defer;
};

static void on_poll(struct ring_op *op, const struct ring_event *event)
{
    struct poll_op *poll = CONTAINER_OF(op, struct poll_op, op);

    (void)event;
    note('c');
    if (poll->to_defer != NULL) {
        reactor_defer(&reactor, poll->to_defer);
    }
    if (poll->to_start != NULL) {
        ck_assert_int_eq(reactor_start_timer(&reactor, poll->to_start, 10), 0);
    }
}

static void on_timer(struct timer *timer)
{
    (void)timer;
    note('t');
}

/* A turn runs completions, then due timers, then tasks. */
START_TEST(reactor_turn_has_an_order)
{
    struct lettered_task task;
    struct timer timer = {.fire = on_timer};
    struct poll_op poll = {.op.done = on_poll, .to_defer = &task.task};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    open_reactor(&clock.source);
    init_task(&task, 'd');
    ck_assert_int_eq(ring_poll(reactor.ring, &poll.op, fds[1], POLLOUT), 0);
    ck_assert_int_eq(reactor_start_timer(&reactor, &timer, 0), 0);
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_str_eq(history, "ctd");
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* A delay counts from now: from the end of the sleep inside a turn, from the call between turns. */
START_TEST(reactor_delays_count_from_now)
{
    struct timer early = {.fire = on_timer};
    struct timer late = {.fire = on_timer};
    struct poll_op poll = {.op.done = on_poll, .to_start = &late};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    open_reactor(&clock.source);
    clock.now_ns += 1000;
    ck_assert_int_eq(reactor_start_timer(&reactor, &early, 10), 0);
    ck_assert_uint_eq(early.deadline_ns, clock.now_ns + 10);
    reactor_stop_timer(&reactor, &early);
    ck_assert_int_eq(ring_poll(reactor.ring, &poll.op, fds[1], POLLOUT), 0);
    clock.now_ns += 5000; /* the sleep */
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_uint_eq(late.deadline_ns, clock.now_ns + 10);
    ck_assert_str_eq(history, "c");
    clock.now_ns += 10;
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    ck_assert_str_eq(history, "ct");
    ck_assert_int_eq(reactor_start_timer(&reactor, &late, UINT64_MAX), 0);
    ck_assert_uint_eq(late.deadline_ns, UINT64_MAX - 1);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_str_eq(history, "ct");
    reactor_stop_timer(&reactor, &late);
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* The loop sleeps until the next timer, however long the caller would wait, and a timer never fires
 * before its time. */
START_TEST(reactor_wakes_for_a_timer)
{
    struct timer timer = {.fire = on_timer};
    uint64_t start_ns;

    open_reactor(clock_system());
    start_ns = clock_monotonic_ns(clock_system());
    ck_assert_int_eq(reactor_start_timer(&reactor, &timer, 2 * CLOCK_NS_PER_MS), 0);
    while (timer_is_armed(&timer)) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    ck_assert_uint_ge(clock_monotonic_ns(clock_system()) - start_ns, 2 * CLOCK_NS_PER_MS);
    reactor_deinit(&reactor);
}

END_TEST

static uint64_t work_ns; /* that the next completion takes */
static int ready_fd;     /* that is always ready: */
static bool is_busy;     /* then there is a next completion at once */
static struct poll_op busy;

static void on_work(struct ring_op *op, const struct ring_event *event)
{
    (void)event;
    clock.now_ns += work_ns;
    if (is_busy) {
        ck_assert_int_eq(ring_poll(reactor.ring, op, ready_fd, POLLOUT), 0);
        ring_submit(reactor.ring); /* so that it is there before the wait */
    }
}

static void start_work(void)
{
    open_reactor(&clock.source);
    busy = (struct poll_op){.op.done = on_work};
    is_busy = true;
    ck_assert_int_eq(ring_poll(reactor.ring, &busy.op, ready_fd, POLLOUT), 0);
    ring_submit(reactor.ring);
}

static void turn_with_work(uint64_t ns)
{
    work_ns = ns;
    ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
}

static void run_slowly(struct reactor_task *task)
{
    (void)task;
    clock.now_ns += 1000000;
}

#define MS CLOCK_NS_PER_MS

/* The delay is that of the shortest turn since it was asked last, a turn being over when the next
 * one begins; the first long one is not measured. Slow tasks do not count. Once nothing was ready
 * before the wait, there is none. */
START_TEST(reactor_measures_its_delay)
{
    struct reactor_task slow = {.run = run_slowly};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ready_fd = fds[1];
    list_init(&slow.link);
    start_work();
    ck_assert_uint_eq(reactor_take_delay(&reactor), 0); /* no turn */
    turn_with_work(500);
    (void)reactor_take_delay(&reactor);
    turn_with_work(300);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 500);
    turn_with_work(4 * MS);
    turn_with_work(7 * MS);
    turn_with_work(9 * MS);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 300);
    turn_with_work(7 * MS);
    turn_with_work(8 * MS);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 7 * MS);
    reactor_defer_slow(&reactor, &slow);
    turn_with_work(5 * MS);
    (void)reactor_take_delay(&reactor);
    turn_with_work(9 * MS);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 5 * MS);
    /* Slow tasks are work of their turn all the same; the last turn is not over yet. */
    ck_assert_uint_eq(histogram_count(&reactor.turn_ns), 8);
    ck_assert_uint_eq(reactor.turn_ns.sum, 800 + (4 + 7 + 9 + 7 + 8 + 5 + 1) * MS);
    is_busy = false;
    turn_with_work(9 * MS);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 9 * MS);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_eq(reactor_take_delay(&reactor), 0);
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

/* By the system's clock only work counts: a loop that was kept from running is not late for it. */
START_TEST(reactor_measures_work)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ready_fd = fds[1];
    open_reactor(clock_system());
    busy = (struct poll_op){.op.done = on_work};
    is_busy = true;
    ck_assert_int_eq(ring_poll(reactor.ring, &busy.op, ready_fd, POLLOUT), 0);
    ring_submit(reactor.ring);
    turn_with_work(0);
    for (unsigned i = 0; i < 3; i++) {
        (void)reactor_take_delay(&reactor);
        ck_assert_int_eq(poll(NULL, 0, 50), 0);
        turn_with_work(0);
    }
    ck_assert_uint_lt(reactor_take_delay(&reactor), 50 * MS);
    is_busy = false;
    turn_with_work(0);
    reactor_deinit(&reactor);
    ck_assert_int_eq(close(fds[0]), 0);
    ck_assert_int_eq(close(fds[1]), 0);
}

END_TEST

static void on_stop(struct timer *timer)
{
    note('s');
    if (strlen(history) == 3) {
        reactor_stop(&reactor);
    }
    ck_assert_int_eq(reactor_start_timer(&reactor, timer, 0), 0);
}

/* reactor_run() goes on until it is told to stop, and can be run again. */
START_TEST(reactor_runs_until_stopped)
{
    struct timer timer = {.fire = on_stop};

    clock.jump_ns = 1;
    open_reactor(&clock.source);
    ck_assert_int_eq(reactor_start_timer(&reactor, &timer, 0), 0);
    ck_assert_int_eq(reactor_run(&reactor), 0);
    ck_assert_str_eq(history, "sss");
    memset(history, 0, sizeof(history));
    ck_assert_int_eq(reactor_run(&reactor), 0);
    ck_assert_str_eq(history, "sss");
    reactor_stop_timer(&reactor, &timer);
    reactor_deinit(&reactor);
    clock.jump_ns = 0;
}

END_TEST

static uint64_t seen_ns;

static void look_at_the_time(struct reactor_task *task)
{
    (void)task;
    clock.now_ns += 500;
    seen_ns = reactor_now_ns(&reactor);
}

/* Within a turn it stands still; between turns it is not that of the last turn. */
START_TEST(reactor_knows_the_time_between_turns)
{
    struct reactor_task task = {.run = look_at_the_time};

    clock.jump_ns = 0;
    open_reactor(&clock.source);
    list_init(&task.link);
    reactor_defer(&reactor, &task);
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    ck_assert_uint_eq(seen_ns, reactor.now_ns);
    ck_assert_uint_eq(reactor_now_ns(&reactor), reactor.now_ns + 500);
    reactor_deinit(&reactor);
}

END_TEST

UNIT_MAIN("reactor", reactor_runs_tasks_in_order, reactor_limits_slow_tasks,
          reactor_runs_a_slow_task_once_a_turn, reactor_turn_has_an_order,
          reactor_delays_count_from_now, reactor_wakes_for_a_timer, reactor_runs_until_stopped,
          reactor_measures_its_delay, reactor_measures_work, reactor_knows_the_time_between_turns)
