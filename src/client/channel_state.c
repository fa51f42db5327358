/*
 * What a channel is, seen from outside: whether a call that began now would find a backend, and if
 * not, why.
 */
#include "client/channel_internal.h"

#include <stdio.h>

static bool is_usable(const struct channel *channel, const struct channel_backend *backend)
{
    return backend->is_ready && (backend->breaker.state == BREAKER_CLOSED ||
                                 breaker_would_admit(&backend->breaker, &channel->options.breaker,
                                                     reactor_now_ns(channel->reactor)));
}

/* Somebody or something is on the way to a connection. */
static bool is_connecting(const struct channel *channel)
{
    if (channel->resolver == NULL) {
        return false;
    }
    if (channel->backend_count == 0 || channel->is_wanted || !list_is_empty(&channel->waiting) ||
        channel->balancer.policy == BALANCER_ROUND_ROBIN) {
        return true;
    }
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (channel->backends[i]->state == SUBCHANNEL_CONNECTING ||
            channel->backends[i]->state == SUBCHANNEL_READY) {
            return true;
        }
    }
    return false;
}

enum subchannel_state channel_state(const struct channel *channel)
{
    for (unsigned i = 0; i < channel->backend_count; i++) {
        if (is_usable(channel, channel->backends[i])) {
            return SUBCHANNEL_READY;
        }
    }
    if (channel_prospect(channel) != CHANNEL_PROSPECT_WAIT) {
        return SUBCHANNEL_TRANSIENT_FAILURE;
    }
    return is_connecting(channel) ? SUBCHANNEL_CONNECTING : SUBCHANNEL_IDLE;
}

void channel_describe(const struct channel *channel, char *out, size_t room)
{
    const enum channel_prospect prospect = channel_prospect(channel);
    char reason[CHANNEL_PROBLEM_SIZE];

    if (prospect == CHANNEL_PROSPECT_WAIT) {
        (void)snprintf(out, room, "%s", channel_describe_wait(channel, reason, sizeof(reason)));
    } else {
        channel_describe_prospect(channel, prospect, out, room);
    }
}
