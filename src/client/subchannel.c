/*
 * A subchannel follows its newest transport and lets the older ones drain.
 *
 * The happy path: connect() makes a transport, CONNECTING; it tells `ready`; attempts go to it; it
 * tells `draining`, whatever the reason, and becomes one of those that drain; IDLE, and the owner
 * may connect again while the old calls go on.
 *
 * What can go wrong:
 * - no connection comes about: TRANSIENT_FAILURE until the backoff is over.
 * - a connection ends before the server answered anything on it, and sooner than the first backoff
 * lasts: the same, and the backoff goes on growing. A server that ends connections after it served
 * something is left and dialled anew at once.
 *
 * `changed` is told by a task of its own, at the end of the turn: so callers of these functions
 * need not expect it inside them.
 */
#include "client/subchannel.h"

#include "core/random.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBLEM_SIZE 768

#define TOO_MANY_TEXT                                                                              \
    "the server ends its connections, and more than 8 that it has ended still had calls on them: " \
    "the oldest was given up"
static_assert(SUBCHANNEL_DRAINING_MAX == 8, "TOO_MANY_TEXT names it");

/* One connection of a subchannel. */
struct way {
    struct list link; /* of those that drain; in none while it is the newest */
    struct subchannel *subchannel;
    struct transport *transport;
    bool is_aborted;
    bool is_lost; /* and counted */
};

struct subchannel {
    struct reactor *reactor;
    struct subchannel_options options;
    struct target_address address;
    const struct subchannel_events *events;
    void *owner;
    enum subchannel_state state;
    enum subchannel_state told;
    struct reactor_task task;
    struct timer timer; /* until the backoff is over */
    struct backoff backoff;
    struct way *newest; /* connects or is ready; NULL = none does */
    struct list draining;
    unsigned draining_count;
    uint64_t ready_ns; /* since when the newest is */
    struct subchannel_stats stats;
    enum call_cause cause;
    bool is_closing;
    char problem[PROBLEM_SIZE];
};

enum subchannel_state subchannel_state(const struct subchannel *subchannel)
{
    return subchannel->state;
}

const struct subchannel_stats *subchannel_stats(const struct subchannel *subchannel)
{
    return &subchannel->stats;
}

const char *subchannel_problem(const struct subchannel *subchannel, enum call_cause *ret_cause)
{
    *ret_cause = subchannel->cause;
    return subchannel->problem;
}

static void wake(struct subchannel *subchannel)
{
    reactor_defer(subchannel->reactor, &subchannel->task);
}

static void set_state(struct subchannel *subchannel, enum subchannel_state state)
{
    subchannel->state = state;
    wake(subchannel);
}

static void set_problem(struct subchannel *subchannel, enum call_cause cause, const char *problem)
{
    subchannel->cause = cause;
    (void)snprintf(subchannel->problem, sizeof(subchannel->problem), "%s", problem);
}

/* The newest connection is none any more: it did not come about, or ended too soon. */
static void wait_to_try_again(struct subchannel *subchannel)
{
    uint64_t random = 0;

    random_fill(random_system(), &random, sizeof(random));
    if (reactor_start_timer(
            subchannel->reactor, &subchannel->timer,
            backoff_next(&subchannel->backoff, &subchannel->options.backoff, random)) != 0) {
        set_state(subchannel, SUBCHANNEL_IDLE); /* without memory for a timer: no wait */
        return;
    }
    set_state(subchannel, SUBCHANNEL_TRANSIENT_FAILURE);
}

static void on_backoff_over(struct timer *timer)
{
    set_state(CONTAINER_OF(timer, struct subchannel, timer), SUBCHANNEL_IDLE);
}

static void on_ready(void *owner)
{
    struct way *way = owner;
    struct subchannel *subchannel = way->subchannel;

    if (subchannel->newest != way || subchannel->is_closing) {
        return;
    }
    subchannel->ready_ns = subchannel->reactor->now_ns;
    set_state(subchannel, SUBCHANNEL_READY);
}

/* One more than may drain ends the oldest, with what is still open on it. */
static void make_room(struct subchannel *subchannel)
{
    struct list *link;

    if (subchannel->draining_count < SUBCHANNEL_DRAINING_MAX) {
        return;
    }
    for (link = subchannel->draining.next; link != &subchannel->draining; link = link->next) {
        struct way *way = CONTAINER_OF(link, struct way, link);

        if (!way->is_aborted) {
            way->is_aborted = true;
            subchannel->draining_count--;
            transport_give_up(way->transport, TOO_MANY_TEXT);
            return;
        }
    }
}

static void let_drain(struct subchannel *subchannel, struct way *way)
{
    make_room(subchannel);
    subchannel->newest = NULL;
    list_push_back(&subchannel->draining, &way->link);
    subchannel->draining_count++;
}

/* Whether the connection was of use: only then is the next one made without a wait. */
static bool was_worth_it(const struct subchannel *subchannel, const struct way *way)
{
    return transport_has_served(way->transport) ||
           subchannel->reactor->now_ns - subchannel->ready_ns >=
               subchannel->options.backoff.initial_ns;
}

static void count_loss(struct way *way, enum call_cause cause)
{
    if (cause == CALL_CAUSE_LOST && !way->is_lost) {
        way->is_lost = true;
        way->subchannel->stats.losses++;
    }
}

static void on_draining(void *owner)
{
    struct way *way = owner;
    struct subchannel *subchannel = way->subchannel;
    enum call_cause cause;
    const char *problem = transport_problem(way->transport, &cause);

    subchannel->stats.goaways += cause == CALL_CAUSE_ANSWER;
    count_loss(way, cause);
    if (subchannel->newest != way) {
        return;
    }
    let_drain(subchannel, way);
    if (subchannel->is_closing) {
        return;
    }
    set_problem(subchannel, cause, problem);
    if (was_worth_it(subchannel, way)) {
        backoff_reset(&subchannel->backoff);
        set_state(subchannel, SUBCHANNEL_IDLE);
    } else {
        wait_to_try_again(subchannel);
    }
}

static void be_patient(struct subchannel *subchannel)
{
    uint64_t *time_ns = &subchannel->options.transport.keepalive_time_ns;

    *time_ns = *time_ns < UINT64_MAX / 4 ? *time_ns * 2 : *time_ns;
}

static void on_closed(void *owner, enum call_cause cause, const char *problem,
                      bool server_asked_patience)
{
    struct way *way = owner;
    struct subchannel *subchannel = way->subchannel;

    if (server_asked_patience) {
        be_patient(subchannel);
    }
    count_loss(way, cause);
    if (subchannel->newest == way) { /* it never was READY */
        subchannel->newest = NULL;
        if (!subchannel->is_closing) {
            subchannel->stats.connect_failures++;
            set_problem(subchannel, cause, problem);
            wait_to_try_again(subchannel);
        }
    } else {
        list_remove(&way->link);
        subchannel->draining_count -= !way->is_aborted;
    }
    free(way);
    wake(subchannel);
}

static const struct transport_events transport_events = {
    .ready = on_ready,
    .draining = on_draining,
    .closed = on_closed,
};

static int make_way(struct subchannel *subchannel)
{
    struct way *way = calloc(1, sizeof(*way));
    int ret;

    if (way == NULL) {
        return -ENOMEM;
    }
    way->subchannel = subchannel;
    list_init(&way->link);
    ret = transport_new(subchannel->reactor, &subchannel->options.transport, &subchannel->address,
                        &transport_events, way, &way->transport);
    if (ret != 0) {
        free(way);
        return ret;
    }
    subchannel->newest = way;
    return 0;
}

void subchannel_connect(struct subchannel *subchannel)
{
    if (subchannel->state != SUBCHANNEL_IDLE || subchannel->is_closing) {
        return;
    }
    subchannel->stats.connects++;
    if (make_way(subchannel) != 0) {
        subchannel->stats.connect_failures++;
        set_problem(subchannel, CALL_CAUSE_MEMORY, "out of memory");
        wait_to_try_again(subchannel);
        return;
    }
    set_state(subchannel, SUBCHANNEL_CONNECTING);
}

void subchannel_give_up(struct subchannel *subchannel)
{
    struct way *way = subchannel->newest;

    if (subchannel->state != SUBCHANNEL_CONNECTING) {
        return;
    }
    subchannel->newest = NULL;
    way->is_aborted = true; /* nothing drains there: it takes nobody's place */
    list_push_back(&subchannel->draining, &way->link);
    transport_abort(way->transport);
    set_state(subchannel, SUBCHANNEL_IDLE);
}

void subchannel_reset_backoff(struct subchannel *subchannel)
{
    backoff_reset(&subchannel->backoff);
    if (subchannel->state == SUBCHANNEL_TRANSIENT_FAILURE) {
        reactor_stop_timer(subchannel->reactor, &subchannel->timer);
        set_state(subchannel, SUBCHANNEL_IDLE);
    }
}

int subchannel_start(struct subchannel *subchannel, struct call_attempt *attempt)
{
    if (subchannel->state != SUBCHANNEL_READY) {
        return TRANSPORT_E_NOT_READY;
    }
    return transport_start(subchannel->newest->transport, attempt);
}

static void free_subchannel(struct subchannel *subchannel)
{
    assert(!timer_is_armed(&subchannel->timer));
    subchannel->events->closed(subchannel->owner);
    reactor_undefer(&subchannel->task); /* late: `closed` may have asked for the end again */
    free(subchannel);
}

static void run(struct reactor_task *task)
{
    struct subchannel *subchannel = CONTAINER_OF(task, struct subchannel, task);

    if (subchannel->is_closing) {
        if (subchannel->newest == NULL && list_is_empty(&subchannel->draining)) {
            free_subchannel(subchannel);
        }
        return;
    }
    if (subchannel->told != subchannel->state) {
        subchannel->told = subchannel->state;
        subchannel->events->changed(subchannel->owner);
    }
}

int subchannel_new(struct reactor *reactor, const struct subchannel_options *options,
                   const struct target_address *address, const struct subchannel_events *events,
                   void *owner, struct subchannel **ret_subchannel)
{
    struct subchannel *subchannel = calloc(1, sizeof(*subchannel));

    if (subchannel == NULL) {
        return -ENOMEM;
    }
    subchannel->reactor = reactor;
    subchannel->options = *options;
    subchannel->address = *address;
    subchannel->events = events;
    subchannel->owner = owner;
    subchannel->timer.fire = on_backoff_over;
    list_init(&subchannel->task.link);
    subchannel->task.run = run;
    list_init(&subchannel->draining);
    *ret_subchannel = subchannel;
    return 0;
}

void subchannel_close(struct subchannel *subchannel)
{
    if (!subchannel->is_closing) {
        subchannel->is_closing = true;
        subchannel->state = SUBCHANNEL_IDLE;
        reactor_stop_timer(subchannel->reactor, &subchannel->timer);
        if (subchannel->newest != NULL) {
            transport_close(subchannel->newest->transport);
        }
    }
    wake(subchannel);
}

void subchannel_abort(struct subchannel *subchannel)
{
    struct list *link;

    subchannel_close(subchannel);
    for (link = subchannel->draining.next; link != &subchannel->draining; link = link->next) {
        transport_abort(CONTAINER_OF(link, struct way, link)->transport);
    }
    if (subchannel->newest != NULL) {
        transport_abort(subchannel->newest->transport);
    }
}
