/*
 * What a channel does happens in three places: at the start of a call that finds a backend, in the
 * `done` of an attempt, and for all that cannot go on at once in the channel's task, at the end of
 * the turn:
 * 1. Calls that wait get the backends that have become usable; those without hope fail.
 * 2. Backends that are wanted are connected.
 * 3. If calls wait for a breaker, a timer is set for it.
 *
 * Whatever changes (an answer of the resolver, the state of a connection, health, a time) is noted
 * where it is told, and wakes the task. Nothing calls back into a caller from inside a call to the
 * channel.
 *
 * Closing: every call is cancelled, every backend leaves, the resolver is closed; when the last of
 * them has said that it is gone, the channel is freed.
 */
#include "client/channel.h"

#include "client/channel_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void channel_wake(struct channel *channel)
{
    reactor_defer(channel->reactor, &channel->task);
}

static void free_channel(struct channel *channel)
{
    void (*closed)(void *context) = channel->closed;
    void *context = channel->context;

    reactor_undefer(&channel->task);
    reactor_undefer(&channel->tell_task);
    reactor_stop_timer(channel->reactor, &channel->probe_timer);
    reactor_stop_timer(channel->reactor, &channel->dial_timer);
    for (unsigned i = 0; i < channel->spare_count; i++) {
        buf_deinit(&channel->spares[i]);
    }
    channel_wipe(&channel->health_authorization);
    buf_deinit(&channel->health_authorization);
    free(channel->user_agent);
    free(channel);
    closed(context);
}

static void shut(struct channel *channel)
{
    channel->is_shut = true;
    channel_cancel_all(channel);
    for (unsigned i = 0; i < channel->backend_count; i++) {
        channel_backend_leave(channel->backends[i]);
    }
    channel->backend_count = 0;
    if (channel->resolver != NULL) {
        resolver_close(channel->resolver);
    }
}

static void step_closing(struct channel *channel)
{
    if (!channel->is_shut) {
        shut(channel);
    }
    if (channel->aborting) {
        for (struct list *link = channel->leaving.next; link != &channel->leaving;
             link = link->next) {
            subchannel_abort(CONTAINER_OF(link, struct channel_backend, link)->subchannel);
        }
    }
    if (channel->call_count == 0 && list_is_empty(&channel->leaving) && channel->resolver == NULL) {
        free_channel(channel);
    }
}

static void run(struct reactor_task *task)
{
    struct channel *channel = CONTAINER_OF(task, struct channel, task);

    if (channel->closing) {
        step_closing(channel);
        return;
    }
    channel_serve_waiting(channel);
    channel_connect_backends(channel);
    channel_arm_probe(channel);
}

static void run_tell(struct reactor_task *task)
{
    channel_tell_finished(CONTAINER_OF(task, struct channel, tell_task));
}

static void on_probe_time(struct timer *timer)
{
    channel_wake(CONTAINER_OF(timer, struct channel, probe_timer));
}

static void on_dial_time(struct timer *timer)
{
    channel_wake(CONTAINER_OF(timer, struct channel, dial_timer));
}

static enum balancer_policy choose_policy(const struct channel_options *options)
{
    switch (service_config_balancing(options->service_config)) {
    case SERVICE_CONFIG_PICK_FIRST:
        return BALANCER_PICK_FIRST;
    case SERVICE_CONFIG_ROUND_ROBIN:
        return BALANCER_ROUND_ROBIN;
    case SERVICE_CONFIG_BALANCING_UNSET:
        break;
    }
    if (options->has_policy) {
        return options->policy;
    }
    return options->target->count == 1 && !options->target->is_dns ? BALANCER_PICK_FIRST
                                                                   : BALANCER_ROUND_ROBIN;
}

static void init(struct channel *channel)
{
    uint32_t throttle_max;
    uint32_t throttle_ratio;

    service_config_throttling(channel->options.service_config, &throttle_max, &throttle_ratio);
    retry_throttle_init(&channel->throttle, throttle_max, throttle_ratio);
    balancer_init(&channel->balancer, choose_policy(&channel->options), 0);
    list_init(&channel->task.link);
    channel->task.run = run;
    list_init(&channel->tell_task.link);
    channel->tell_task.run = run_tell;
    channel->probe_timer.fire = on_probe_time;
    channel->dial_timer.fire = on_dial_time;
    list_init(&channel->waiting);
    list_init(&channel->delayed);
    list_init(&channel->open);
    list_init(&channel->finished);
    list_init(&channel->leaving);
    channel->problem_cause = CALL_CAUSE_CONNECT;
}

/* Returns 0 or -ENOMEM. */
static int make_user_agent(struct channel *channel)
{
    const char *first = channel->options.user_agent;

    if (first == NULL) {
        return 0; /* the transport has one */
    }
    return asprintf(&channel->user_agent, "%s " TRANSPORT_USER_AGENT, first) < 0 ? -ENOMEM : 0;
}

int channel_new(struct reactor *reactor, const struct channel_options *options,
                void (*closed)(void *context), void *context, struct channel **ret_channel)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (channel == NULL) {
        return -ENOMEM;
    }
    channel->reactor = reactor;
    channel->options = *options;
    channel->target = *options->target;
    channel->closed = closed;
    channel->context = context;
    if (make_user_agent(channel) != 0) {
        free(channel);
        return -ENOMEM;
    }
    init(channel);
    *ret_channel = channel;
    return 0;
}

void channel_connect(struct channel *channel)
{
    if (channel->closing) {
        return;
    }
    channel->is_wanted = true;
    /* Without memory the first call tries again. */
    (void)channel_resolve(channel);
    channel_wake(channel);
}

struct channel_stats channel_stats(const struct channel *channel)
{
    struct channel_stats stats = channel->stats;

    stats.waiting = channel->waiting_count;
    stats.backend_count = channel->backend_count;
    return stats;
}

const char *channel_backend_name(const struct channel *channel, unsigned index)
{
    assert(index < channel->backend_count);
    return channel->backends[index]->name;
}

struct channel_backend_stats channel_backend_stats(const struct channel *channel, unsigned index)
{
    const struct channel_backend *backend;
    struct channel_backend_stats stats;
    enum call_cause cause;

    assert(index < channel->backend_count);
    backend = channel->backends[index];
    stats = (struct channel_backend_stats){
        .state = subchannel_state(backend->subchannel),
        .is_healthy = channel_backend_is_healthy(backend),
        .breaker = backend->breaker.state,
        .breaker_opened = backend->breaker.times_opened,
        .calls = backend->calls,
        .failures = backend->failures,
        .open_calls = backend->open_calls,
        .connections = *subchannel_stats(backend->subchannel),
        .problem = subchannel_problem(backend->subchannel, &cause),
    };
    (void)snprintf(stats.address, sizeof(stats.address), "%s", backend->name); /* fits */
    return stats;
}

void channel_close(struct channel *channel)
{
    channel->closing = true;
    channel_wake(channel);
}

void channel_abort(struct channel *channel)
{
    channel->aborting = true;
    channel_close(channel);
}

void channel_lose(struct channel *channel)
{
    channel_wipe(&channel->health_authorization);
}
