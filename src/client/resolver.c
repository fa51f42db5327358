#include "client/resolver.h"

#include "client/backoff.h"
#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/workpool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * What happens next is always one of these:
 *
 *     task      at the end of this turn: the first question, or the end
 *     job       a question is under way
 *     timer     the next question has its time: the interval, the backoff of a failure, or the end
 *               of the shortest time between two; UINT64_MAX when there is none
 *
 * The timer stays armed, so that its place in the heap is there and arming it cannot fail.
 */

#define FAILURE_WAIT_MAX_NS (30 * CLOCK_NS_PER_S)

struct resolver {
    struct workpool_job job;
    struct reactor_task task;
    struct timer timer;
    struct reactor *reactor;
    struct workpool *pool;
    struct resolver_options options;
    const struct resolver_events *events;
    void *owner;
    struct backoff_options backoff_options;
    struct backoff backoff;
    uint64_t asked_ns; /* when the last question began */
    bool is_asking;    /* the job is under way: the answer below is its thread's */
    bool is_wanted;    /* while it is: another question is wanted behind it */
    bool is_failing;   /* the last answer was none: the timer has the backoff */
    bool is_closing;
    /* The answer. */
    int result;
    unsigned count;
    struct target_address addresses[TARGET_ADDRESSES_MAX];
    char problem[TARGET_PROBLEM_SIZE];
};

/* Nothing is ever asked: the target is the answer. */
static bool is_constant(const struct resolver *resolver)
{
    return resolver->options.resolve == NULL && target_is_numeric(resolver->options.target);
}

/* In `wait_ns` from now on. The timer is armed all the time: this cannot fail. */
static void ask_in(struct resolver *resolver, uint64_t wait_ns)
{
    (void)reactor_start_timer(resolver->reactor, &resolver->timer, wait_ns);
}

/* Not before the shortest time since the last question is over, nor before `wait_ns` is. */
static void ask_after(struct resolver *resolver, uint64_t wait_ns)
{
    uint64_t past_ns = reactor_now_ns(resolver->reactor) - resolver->asked_ns;
    uint64_t least_ns = past_ns < resolver->options.min_interval_ns
                            ? resolver->options.min_interval_ns - past_ns
                            : 0;

    ask_in(resolver, wait_ns > least_ns ? wait_ns : least_ns);
}

/* ---------------------------------------------------------------------------------- the answer */

static void plan_after_success(struct resolver *resolver)
{
    resolver->is_failing = false;
    backoff_reset(&resolver->backoff);
    if (is_constant(resolver)) {
        return;
    }
    if (resolver->is_wanted) {
        ask_after(resolver, 0);
    } else if (resolver->options.interval_ns > 0) {
        ask_after(resolver, resolver->options.interval_ns);
    }
}

static void plan_after_failure(struct resolver *resolver)
{
    uint64_t random = 0;

    random_fill(random_system(), &random, sizeof(random));
    resolver->is_failing = true;
    ask_after(resolver, backoff_next(&resolver->backoff, &resolver->backoff_options, random));
}

/* Plans first: what is told may close the resolver, or ask again. */
static void take_answer(struct resolver *resolver)
{
    if (resolver->result == 0) {
        plan_after_success(resolver);
        resolver->is_wanted = false;
        resolver->events->resolved(resolver->owner, resolver->addresses, resolver->count);
    } else {
        plan_after_failure(resolver);
        resolver->is_wanted = false;
        resolver->events->failed(resolver->owner, resolver->problem);
    }
}

/* ------------------------------------------------------------------------------- the question */

static void end(struct resolver *resolver)
{
    const struct resolver_events *events = resolver->events;
    void *owner = resolver->owner;

    reactor_stop_timer(resolver->reactor, &resolver->timer);
    reactor_undefer(&resolver->task);
    /* Its memory goes last: the owner may still compare pointers. */
    events->closed(owner);
    free(resolver);
}

static void ask_on_thread(struct workpool_job *job)
{
    struct resolver *resolver = CONTAINER_OF(job, struct resolver, job);
    int (*resolve)(const struct target *, struct target_address *, unsigned *, char *) =
        resolver->options.resolve == NULL ? target_resolve : resolver->options.resolve;

    resolver->result =
        resolve(resolver->options.target, resolver->addresses, &resolver->count, resolver->problem);
}

static void on_answer(struct workpool_job *job, bool cancelled)
{
    struct resolver *resolver = CONTAINER_OF(job, struct resolver, job);

    resolver->is_asking = false;
    if (resolver->is_closing) {
        end(resolver);
        return;
    }
    assert(!cancelled); /* only resolver_close() does */
    (void)cancelled;
    take_answer(resolver);
}

static void ask(struct resolver *resolver)
{
    resolver->asked_ns = reactor_now_ns(resolver->reactor);
    ask_in(resolver, UINT64_MAX);
    if (is_constant(resolver)) {
        resolver->result = target_resolve(resolver->options.target, resolver->addresses,
                                          &resolver->count, resolver->problem);
        take_answer(resolver);
        return;
    }
    resolver->job.work = ask_on_thread;
    resolver->job.finish = on_answer;
    if (workpool_submit(resolver->pool, &resolver->job) == 0) {
        resolver->is_asking = true;
        return;
    }
    resolver->result = TARGET_E_UNRESOLVED;
    (void)snprintf(resolver->problem, sizeof(resolver->problem),
                   "cannot resolve '%s' now: too much other work waits",
                   resolver->options.target->endpoints[0].host);
    take_answer(resolver);
}

static void on_task(struct reactor_task *task)
{
    struct resolver *resolver = CONTAINER_OF(task, struct resolver, task);

    if (resolver->is_closing) {
        end(resolver);
    } else {
        ask(resolver);
    }
}

static void on_timer(struct timer *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, timer);

    ask(resolver);
}

/* --------------------------------------------------------------------------------- for its owner
 */

int resolver_new(struct reactor *reactor, struct workpool *pool,
                 const struct resolver_options *options, const struct resolver_events *events,
                 void *owner, struct resolver **ret_resolver)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));

    if (resolver == NULL) {
        return -ENOMEM;
    }
    resolver->reactor = reactor;
    resolver->pool = pool;
    resolver->options = *options;
    resolver->events = events;
    resolver->owner = owner;
    resolver->backoff_options = backoff_defaults;
    resolver->backoff_options.max_ns = FAILURE_WAIT_MAX_NS;
    if (options->min_interval_ns > 0) {
        resolver->backoff_options.initial_ns = options->min_interval_ns;
    }
    resolver->timer.fire = on_timer;
    resolver->task.run = on_task;
    list_init(&resolver->task.link);
    assert(pool != NULL || is_constant(resolver));
    if (reactor_start_timer(reactor, &resolver->timer, UINT64_MAX) != 0) {
        free(resolver);
        return -ENOMEM;
    }
    reactor_defer(reactor, &resolver->task);
    *ret_resolver = resolver;
    return 0;
}

void resolver_ask_again(struct resolver *resolver)
{
    if (resolver->is_closing || list_is_linked(&resolver->task.link) || is_constant(resolver)) {
        return;
    }
    if (resolver->is_asking) {
        /* The answer may be older than the loss. */
        resolver->is_wanted = true;
    } else if (!resolver->is_failing) {
        ask_after(resolver, 0);
    }
}

void resolver_close(struct resolver *resolver)
{
    if (resolver->is_closing) {
        return;
    }
    resolver->is_closing = true;
    ask_in(resolver, UINT64_MAX);
    if (resolver->is_asking) {
        workpool_cancel(resolver->pool, &resolver->job);
    } else {
        reactor_defer(resolver->reactor, &resolver->task);
    }
}
