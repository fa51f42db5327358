/*
 * Deadlines: a heap of embedded entries that says how long the loop may sleep.
 *
 * Owns:    the heap array.
 * Borrows: every armed struct timer, until it fires or is stopped.
 * Thread:  loop only.
 */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in the object that waits. Initialise `fire` and leave the rest zero. */
struct timer {
    void (*fire)(struct timer *timer);
    uint64_t deadline_ns; /* monotonic */
    uint64_t sequence;    /* timer.c's own: equal deadlines fire in the order of arming */
    size_t position;      /* index in the heap plus one; 0 = not armed */
};

/* Zero-initialised is a valid empty set. */
struct timer_set {
    struct timer **heap;
    size_t count;
    size_t capacity;
    uint64_t sequence;   /* of the next arming */
    uint64_t running_ns; /* `now_ns` while timer_set_run() runs, else 0 */
};

/* No timer may be armed. Safe to repeat. */
void timer_set_deinit(struct timer_set *set);

/* Arms the timer, or moves it when it is armed. O(log n).
 *
 * Returns 0, or -ENOMEM (only when it was not armed before). */
int timer_set_start(struct timer_set *set, struct timer *timer, uint64_t deadline_ns);

/* Disarms. Safe on a timer that is not armed. O(log n). */
void timer_set_stop(struct timer_set *set, struct timer *timer);

static inline bool timer_is_armed(const struct timer *timer)
{
    return timer->position != 0;
}

/* The earliest deadline, or UINT64_MAX. */
uint64_t timer_set_next_ns(const struct timer_set *set);

/* Fires every timer due at `now_ns`, each disarmed before its `fire` runs. A timer armed by a
 * `fire` for a time not after `now_ns` fires in the next call, not in this one. */
void timer_set_run(struct timer_set *set, uint64_t now_ns);

#endif
