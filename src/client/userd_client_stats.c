/*
 * What a client counts, for its program.
 */
#include "client/userd_client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static_assert((int)SUBCHANNEL_IDLE == (int)USERD_BACKEND_IDLE, "");
static_assert((int)SUBCHANNEL_CONNECTING == (int)USERD_BACKEND_CONNECTING, "");
static_assert((int)SUBCHANNEL_READY == (int)USERD_BACKEND_READY, "");
static_assert((int)SUBCHANNEL_TRANSIENT_FAILURE == (int)USERD_BACKEND_TRANSIENT_FAILURE, "");
static_assert((int)BREAKER_CLOSED == (int)USERD_BREAKER_CLOSED, "");
static_assert((int)BREAKER_OPEN == (int)USERD_BREAKER_OPEN, "");
static_assert((int)BREAKER_HALF_OPEN == (int)USERD_BREAKER_HALF_OPEN, "");
static_assert(sizeof(((struct userd_backend *)NULL)->address) >= TARGET_AUTHORITY_SIZE, "");

int userd_client_stats(const struct userd_client *client, struct userd_stats *stats)
{
    struct channel_stats counts;
    struct userd_stats all;

    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    counts = channel_stats(client->channel);
    all = (struct userd_stats){
        .size = sizeof(all),
        .calls = counts.calls,
        .retries = counts.retries,
        .transparent_retries = counts.transparent_retries,
        .throttled = counts.throttled,
        .breaker_refusals = counts.breaker_refusals,
        .waiting = counts.waiting,
        .backend_count = counts.backend_count,
    };

    return userd_struct_give(stats, &all, sizeof(all), "userd_stats");
}

int userd_client_backend(const struct userd_client *client, unsigned index,
                         struct userd_backend *backend)
{
    struct channel_backend_stats counts;
    struct userd_backend all;

    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    if (index >= channel_stats(client->channel).backend_count) {
        userd_set_last_problem("the client has no backend %u", index);
        return -ENOENT;
    }
    counts = channel_backend_stats(client->channel, index);
    all = (struct userd_backend){
        .size = sizeof(all),
        .state = (enum userd_backend_state)counts.state,
        .healthy = counts.is_healthy,
        .breaker = (enum userd_breaker_state)counts.breaker,
        .breaker_opened = counts.breaker_opened,
        .calls = counts.calls,
        .failures = counts.failures,
        .open_calls = counts.open_calls,
        .connects = counts.connections.connects,
        .connect_failures = counts.connections.connect_failures,
        .problem = counts.problem == NULL ? "" : counts.problem,
    };
    (void)snprintf(all.address, sizeof(all.address), "%s", counts.address);
    return userd_struct_give(backend, &all, sizeof(all), "userd_backend");
}
