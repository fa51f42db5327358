/*
 * A heap with four children per entry: shallower than a binary one, and the children of an entry
 * lie in one cache line. Every timer knows its position, so that it can be moved and stopped in
 * place.
 *
 * Entries are ordered by deadline, then by the order of arming. That second key is also what keeps
 * a `fire` that arms itself again from going round for ever: a run fires only what was armed before
 * it began, and a deadline set during the run is never before its `now_ns`, so that the new entries
 * sort behind every old one that is due.
 */
#include "core/timer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CHILD_COUNT    4
#define CAPACITY_FIRST 64

void timer_set_deinit(struct timer_set *set)
{
    assert(set->count == 0);
    free(set->heap);
    *set = (struct timer_set){0};
}

static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->deadline_ns < b->deadline_ns ||
           (a->deadline_ns == b->deadline_ns && a->sequence < b->sequence);
}

static void place(struct timer_set *set, size_t index, struct timer *timer)
{
    set->heap[index] = timer;
    timer->position = index + 1;
}

static void move_up(struct timer_set *set, size_t index, struct timer *timer)
{
    size_t parent;

    while (index > 0) {
        parent = (index - 1) / CHILD_COUNT;
        if (!is_before(timer, set->heap[parent])) {
            break;
        }
        place(set, index, set->heap[parent]);
        index = parent;
    }
    place(set, index, timer);
}

static size_t earliest_child(const struct timer_set *set, size_t first)
{
    size_t best = first;

    for (size_t i = first + 1; i < set->count && i < first + CHILD_COUNT; i++) {
        if (is_before(set->heap[i], set->heap[best])) {
            best = i;
        }
    }
    return best;
}

static void move_down(struct timer_set *set, size_t index, struct timer *timer)
{
    size_t child;

    while (index * CHILD_COUNT + 1 < set->count) {
        child = earliest_child(set, index * CHILD_COUNT + 1);
        if (!is_before(set->heap[child], timer)) {
            break;
        }
        place(set, index, set->heap[child]);
        index = child;
    }
    place(set, index, timer);
}

/* Puts the timer where it belongs, beginning at `index`, whose former entry has moved away. */
static void settle(struct timer_set *set, size_t index, struct timer *timer)
{
    if (index > 0 && is_before(timer, set->heap[(index - 1) / CHILD_COUNT])) {
        move_up(set, index, timer);
    } else {
        move_down(set, index, timer);
    }
}

static int grow(struct timer_set *set)
{
    size_t capacity = set->capacity == 0 ? CAPACITY_FIRST : set->capacity * 2;
    struct timer **heap;

    if (capacity > SIZE_MAX / sizeof(struct timer *)) {
        return -ENOMEM;
    }
    heap = realloc(set->heap, capacity * sizeof(struct timer *));
    if (heap == NULL) {
        return -ENOMEM;
    }
    set->heap = heap;
    set->capacity = capacity;
    return 0;
}

int timer_set_start(struct timer_set *set, struct timer *timer, uint64_t deadline_ns)
{
    size_t index;

    if (!timer_is_armed(timer)) {
        if (set->count == set->capacity && grow(set) < 0) {
            return -ENOMEM;
        }
        set->count++;
        timer->position = set->count;
    }
    index = timer->position - 1;
    timer->deadline_ns = deadline_ns > set->running_ns ? deadline_ns : set->running_ns;
    timer->sequence = set->sequence++;
    settle(set, index, timer);
    return 0;
}

void timer_set_stop(struct timer_set *set, struct timer *timer)
{
    size_t index;
    struct timer *last;

    if (!timer_is_armed(timer)) {
        return;
    }
    index = timer->position - 1;
    assert(set->heap[index] == timer);
    timer->position = 0;
    set->count--;
    last = set->heap[set->count];
    if (last != timer) {
        settle(set, index, last);
    }
}

uint64_t timer_set_next_ns(const struct timer_set *set)
{
    return set->count == 0 ? UINT64_MAX : set->heap[0]->deadline_ns;
}

void timer_set_run(struct timer_set *set, uint64_t now_ns)
{
    uint64_t sequence_end = set->sequence;
    struct timer *timer;

    assert(set->running_ns == 0);
    set->running_ns = now_ns;
    while (set->count > 0) {
        timer = set->heap[0];
        if (timer->deadline_ns > now_ns || timer->sequence >= sequence_end) {
            break;
        }
        timer_set_stop(set, timer);
        timer->fire(timer);
    }
    set->running_ns = 0;
}
