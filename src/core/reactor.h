/*
 * One event loop: a ring, its timers, and the work left for the end of the turn. All state of a
 * server hangs on one of these; nothing is global, so that later there can be several.
 *
 * A turn: wait (no longer than the next timer) -> run completions -> run due timers -> run the
 * tasks deferred meanwhile, in the order they were deferred -> if there are slow tasks: submit, run
 * a few of them, run the tasks that these deferred -> submit with the next wait.
 *
 * Owns:    the ring, the timer set, the lists of deferred tasks.
 * Borrows: the clock, the log; tasks and timers while armed.
 * Thread:  one; the same for its whole life.
 */
#ifndef CORE_REACTOR_H
#define CORE_REACTOR_H

#include "core/histogram.h"
#include "core/limits_hit.h"
#include "core/list.h"
#include "core/ring.h"
#include "core/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct clock_source;
struct log;

#define REACTOR_SLOW_TASKS_PER_TURN 8 /* a handshake's step takes 0.1 to 0.9 ms */

/* Work for the end of this turn, embedded in its owner. list_init() the link, set `run`. */
struct reactor_task {
    struct list link;
    void (*run)(struct reactor_task *task);
};

struct reactor {
    struct ring *ring;
    struct timer_set timers;
    struct list tasks;      /* of struct reactor_task */
    struct list slow_tasks; /* likewise */
    struct clock_source *clock;
    struct log *log;
    struct limits_hit limits_hit; /* by everything that hangs on this loop */
    uint64_t now_ns;              /* monotonic time, read once per turn after the wait */
    uint64_t worked_ns; /* by the thread until this turn began, if the last one was long; else 0 */
    uint64_t slow_ns;   /* of its work since then, on slow tasks */
    uint64_t delay_min_ns;    /* see reactor_take_delay() */
    struct histogram turn_ns; /* what turns took, from after the wait until before the next one */
    bool has_turned;          /* once at least */
    bool turning;             /* within a turn, after the wait: `now_ns` is fresh */
    bool stopping;
};

/* Returns 0, or ring_new()'s error with `problem` filled in. */
int reactor_init(struct reactor *reactor, const struct ring_options *options,
                 struct clock_source *clock, struct log *log, char *problem);

/* Nothing may be pending, armed or deferred. Safe after a reactor_init() that failed. */
void reactor_deinit(struct reactor *reactor);

/* Runs turns until reactor_stop(). Returns 0, or negative errno when the ring fails. */
int reactor_run(struct reactor *reactor);

/* One turn; waits at most `timeout_ns` (UINT64_MAX = as long as needed). For tests and blocking
 * clients. Returns 0 or negative errno. */
int reactor_turn(struct reactor *reactor, uint64_t timeout_ns);

/* For a loop around this one: how long it may wait before the next reactor_turn(0), unless the
 * ring's descriptor becomes readable; 0 when a turn has something to do now, UINT64_MAX when
 * nothing is due. */
uint64_t reactor_idle_ns(const struct reactor *reactor);

/* Ends reactor_run() after the present turn. */
void reactor_stop(struct reactor *reactor);

/* Runs the task once at the end of this turn; once only, however often it is deferred. A task
 * deferred by a task runs in the same turn, after the others. */
void reactor_defer(struct reactor *reactor, struct reactor_task *task);

/* The same for a task that costs much, such as a step of a handshake: at most
 * REACTOR_SLOW_TASKS_PER_TURN of all these run in one turn, oldest first, so that a burst of them
 * does not hold up everybody else. One deferred by a task runs in a later turn. */
void reactor_defer_slow(struct reactor *reactor, struct reactor_task *task);

/* Takes a deferred task of either kind back. Safe when it is not deferred. */
void reactor_undefer(struct reactor_task *task);

/* How much work what is ready has had to wait for, at least, since this was asked last: the least
 * that the loop worked from one turn to the next when something was ready before it waited, without
 * slow tasks; 0 when once nothing was, so that it had time to spare, or when there was no turn. A
 * server that keeps up has a short turn among the others; one that does not has none. */
uint64_t reactor_take_delay(struct reactor *reactor);

/* The time: that of the turn within one, and between turns, when `now_ns` may be old, what the
 * clock says. */
uint64_t reactor_now_ns(const struct reactor *reactor);

/* Arms (or re-arms) a timer `delay_ns` from now. Returns 0 or -ENOMEM. */
int reactor_start_timer(struct reactor *reactor, struct timer *timer, uint64_t delay_ns);

void reactor_stop_timer(struct reactor *reactor, struct timer *timer);

#endif
