/*
 * Which backend to connect to, which to use, and when there is no hope of one.
 *
 * round_robin keeps a connection to every backend: whichever is IDLE is connected, from the first
 * call on.
 *
 * pick_first has one: when calls wait and none is usable, the first backend in the order that has
 * not failed in this round is connected. When it fails the next one is; when it is neither there
 * nor fails for DIAL_INTERVAL_NS the next one is tried beside it (RFC 8305, section 5), for a dead
 * address may cost the whole connect timeout. Once one is usable the others give up. While one
 * tells its health nobody else is connected. It is left for another only when it fails; a lost
 * connection is made anew by the next call.
 *
 * A round ends when every backend has failed since it began: then the calls that waited fail, and
 * what comes later begins another. For pick_first it also ends with a success. A backend that waits
 * for its backoff counts as failed in each.
 */
#include "client/channel_internal.h"
#include "core/clock.h"

#include <stdio.h>

#define DIAL_INTERVAL_NS (250 * CLOCK_NS_PER_MS)

enum standing {
    STANDING_USABLE,
    STANDING_PENDING, /* may become usable soon */
    STANDING_BROKEN,  /* its breaker refuses */
    STANDING_DOWN,
};

/* Its breaker lets a call through. A closed one needs no look at the clock. */
static bool is_admitting(const struct channel *channel, const struct channel_backend *backend)
{
    return backend->breaker.state == BREAKER_CLOSED ||
           breaker_would_admit(&backend->breaker, &channel->options.breaker,
                               reactor_now_ns(channel->reactor));
}

static enum standing standing_of(const struct channel_backend *backend)
{
    const struct channel *channel = backend->channel;

    if (backend->is_ready) {
        return is_admitting(channel, backend) ? STANDING_USABLE : STANDING_BROKEN;
    }
    if (backend->state == SUBCHANNEL_READY) {
        /* A watch that was lost with its connection says nothing: what became of that is told
         * within this turn. */
        return backend->health != NULL &&
                       health_watch_state(backend->health) == HEALTH_WATCH_NOT_SERVING &&
                       subchannel_state(backend->subchannel) == SUBCHANNEL_READY
                   ? STANDING_DOWN
                   : STANDING_PENDING;
    }
    return backend->has_failed || backend->state == SUBCHANNEL_TRANSIENT_FAILURE ? STANDING_DOWN
                                                                                 : STANDING_PENDING;
}

static bool is_usable(const void *context, size_t index)
{
    const struct channel *channel = context;
    const struct channel_backend *backend = channel->backends[index];

    return backend->is_ready && is_admitting(channel, backend);
}

size_t channel_backend_index(const struct channel *channel, size_t index, uint64_t number)
{
    if (number == 0) {
        return BALANCER_NONE;
    }
    if (index < channel->backend_count && channel->backends[index]->number == number) {
        return index;
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (channel->backends[i]->number == number) {
            return i;
        }
    }
    return BALANCER_NONE;
}

struct channel_backend *channel_pick(struct channel *channel, struct channel_call *call)
{
    size_t avoid = channel_backend_index(channel, call->backend, call->avoid);
    size_t index =
        balancer_pick(&channel->balancer, channel->backend_count, is_usable, channel, avoid);
    struct channel_backend *backend;

    if (index == BALANCER_NONE) {
        return NULL;
    }
    backend = channel->backends[index];
    call->backend = index;
    (void)breaker_admit(&backend->breaker, &channel->options.breaker,
                        reactor_now_ns(channel->reactor),
                        &call->breaker_ticket); /* it would, it was asked */
    return backend;
}

enum channel_prospect channel_prospect(const struct channel *channel)
{
    unsigned broken = 0;

    if (channel->backend_count == 0) {
        return channel->has_unresolved ? CHANNEL_PROSPECT_DOWN : CHANNEL_PROSPECT_WAIT;
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        enum standing standing = standing_of(channel->backends[i]);

        if (standing == STANDING_USABLE || standing == STANDING_PENDING) {
            return CHANNEL_PROSPECT_WAIT;
        }
        broken += standing == STANDING_BROKEN;
    }
    if (broken == channel->backend_count) {
        return CHANNEL_PROSPECT_BROKEN;
    }
    return broken != 0 ? CHANNEL_PROSPECT_REFUSED : CHANNEL_PROSPECT_DOWN;
}

void channel_begin_round(struct channel *channel)
{
    for (unsigned i = 0; i < channel->backend_count; i++) {
        channel->backends[i]->has_failed = false;
    }
}

void channel_describe_prospect(const struct channel *channel, enum channel_prospect prospect,
                               char *out, size_t room)
{
    const char *plural = channel->backend_count == 1 ? "" : "s";

    if (prospect == CHANNEL_PROSPECT_DOWN) {
        (void)snprintf(out, room, "%s", channel->problem);
    } else if (prospect == CHANNEL_PROSPECT_BROKEN) {
        (void)snprintf(out, room, "the circuit breaker is open: calls of %u backend%s kept failing",
                       channel->backend_count, plural);
    } else {
        (void)snprintf(out, room,
                       "the circuit breaker is open for those of %u backend%s that are connected; "
                       "of the others: %s",
                       channel->backend_count, plural, channel->problem);
    }
}

const char *channel_describe_wait(const struct channel *channel, char *out, size_t room)
{
    for (unsigned i = 0; i < channel->backend_count; i++) {
        const struct channel_backend *backend = channel->backends[i];

        if (backend->state == SUBCHANNEL_READY && backend->health != NULL &&
            health_watch_state(backend->health) == HEALTH_WATCH_UNKNOWN) {
            (void)snprintf(out, room, "%s: connected, but it has not told its health yet",
                           backend->name);
            return out;
        }
    }
    if (channel_prospect(channel) == CHANNEL_PROSPECT_BROKEN) {
        channel_describe_prospect(channel, CHANNEL_PROSPECT_BROKEN, out, room);
        return out;
    }
    return channel->problem;
}

/* When it is the turn of the next one, the last that was tried may still be connecting. */
static bool is_its_turn(struct channel *channel, bool is_dialling)
{
    uint64_t past_ns = reactor_now_ns(channel->reactor) - channel->dialled_ns;

    if (!is_dialling || past_ns >= DIAL_INTERVAL_NS) {
        reactor_stop_timer(channel->reactor, &channel->dial_timer);
        return true;
    }
    /* Without memory it waits for the other's failure. */
    (void)reactor_start_timer(channel->reactor, &channel->dial_timer, DIAL_INTERVAL_NS - past_ns);
    return false;
}

/* The first that is worth it, unless one is usable, or may be in a moment. */
static void connect_first(struct channel *channel)
{
    struct channel_backend *next = NULL;
    bool is_dialling = false;

    for (unsigned i = 0; i < channel->backend_count; i++) {
        struct channel_backend *backend = channel->backends[i];
        enum standing standing = standing_of(backend);

        if (standing == STANDING_USABLE ||
            (standing == STANDING_PENDING && backend->state == SUBCHANNEL_READY)) {
            channel->is_wanted = channel->is_wanted && standing != STANDING_USABLE;
            return;
        }
        if (backend->state == SUBCHANNEL_CONNECTING) {
            is_dialling = is_dialling || backend->number == channel->dialled;
        } else if (next == NULL && standing == STANDING_PENDING) {
            next = backend;
        }
    }
    if (next != NULL && is_its_turn(channel, is_dialling)) {
        channel->dialled = next->number;
        channel->dialled_ns = reactor_now_ns(channel->reactor);
        subchannel_connect(next->subchannel);
    }
}

/* The one that pick_first stays with is there. */
static bool is_settled(const struct channel *channel)
{
    for (unsigned i = 0; i < channel->backend_count; i++) {
        const struct channel_backend *backend = channel->backends[i];

        if (backend->is_ready && backend->breaker.state == BREAKER_CLOSED) {
            return true;
        }
    }
    return false;
}

static void settle(struct channel *channel)
{
    channel->is_wanted = false;
    reactor_stop_timer(channel->reactor, &channel->dial_timer);
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (channel->backends[i]->state == SUBCHANNEL_CONNECTING) {
            subchannel_give_up(channel->backends[i]->subchannel);
        }
    }
}

void channel_connect_backends(struct channel *channel)
{
    if (channel->balancer.policy == BALANCER_PICK_FIRST) {
        if (is_settled(channel)) {
            settle(channel);
        } else if (channel->is_wanted || !list_is_empty(&channel->waiting)) {
            connect_first(channel);
        }
        return;
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (channel->backends[i]->state == SUBCHANNEL_IDLE) {
            subchannel_connect(channel->backends[i]->subchannel);
        }
    }
}

void channel_arm_probe(struct channel *channel)
{
    uint64_t now_ns = reactor_now_ns(channel->reactor);
    uint64_t first_ns = UINT64_MAX;

    for (unsigned i = 0; i < channel->backend_count; i++) {
        const struct channel_backend *backend = channel->backends[i];
        uint64_t at_ns = backend->is_ready
                             ? breaker_probe_at_ns(&backend->breaker, &channel->options.breaker)
                             : UINT64_MAX;

        first_ns = at_ns < first_ns ? at_ns : first_ns;
    }
    if (first_ns == UINT64_MAX || list_is_empty(&channel->waiting)) {
        reactor_stop_timer(channel->reactor, &channel->probe_timer);
        return;
    }
    /* Without memory the calls wait for the next thing that happens. */
    (void)reactor_start_timer(channel->reactor, &channel->probe_timer,
                              first_ns > now_ns ? first_ns - now_ns : 0);
}
