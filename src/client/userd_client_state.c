/*
 * Whether a client is connected, and waiting for that.
 *
 * Nothing is told of a change but by turns of the loop, in which all of them happen; only that a
 * breaker lets calls through again comes by time alone. So whoever waits looks after each turn, and
 * turns now and then.
 */
#include "client/userd_client_internal.h"

#include <stdio.h>

#define REASON_SIZE 1024

int userd_client_connect(struct userd_client *client)
{
    const int ret = userd_may_start(client);

    if (ret == 0) {
        channel_connect(client->channel);
    }
    return ret;
}

int userd_client_reset_backoff(struct userd_client *client)
{
    const int ret = userd_may_start(client);

    if (ret == 0) {
        channel_reset_backoff(client->channel);
    }
    return ret;
}

enum userd_backend_state userd_client_state(const struct userd_client *client)
{
    return (enum userd_backend_state)channel_state(client->channel);
}

static enum userd_code out_of_time(struct userd_client *client)
{
    char reason[REASON_SIZE];
    char problem[REASON_SIZE + 64];

    channel_describe(client->channel, reason, sizeof(reason));
    (void)snprintf(problem, sizeof(problem), "no backend is ready%s%s",
                   reason[0] == '\0' ? "" : ": ", reason);
    userd_problem_say(&client->last, USERD_DEADLINE_EXCEEDED, USERD_CAUSE_DEADLINE, problem);
    return USERD_DEADLINE_EXCEEDED;
}

/* The wait itself, until that time. */
static enum userd_code wait_until(struct userd_client *client, uint64_t end_ns)
{
    while (userd_client_state(client) != USERD_BACKEND_READY) {
        const uint64_t now_ns = clock_monotonic_ns(clock_system());
        const uint64_t left_ns = end_ns > now_ns ? end_ns - now_ns : 0;

        if (userd_client_state(client) == USERD_BACKEND_IDLE) {
            channel_connect(client->channel);
        }
        if (left_ns == 0) {
            return out_of_time(client);
        }
        if (userd_is_interrupted(client)) {
            userd_problem_say(&client->last, USERD_CANCELLED, USERD_CAUSE_CANCELLED, "Cancelled");
            return USERD_CANCELLED;
        }
        if (userd_client_turn(client, left_ns < USERD_SLICE_NS ? left_ns : USERD_SLICE_NS) != 0) {
            (void)userd_loop_failed(client, USERD_CAUSE_CALLER);
            return USERD_INTERNAL;
        }
    }
    return USERD_OK;
}

enum userd_code userd_client_wait_ready(struct userd_client *client, uint64_t timeout_ms)
{
    const uint64_t timeout_ns = userd_ns_from_ms(timeout_ms);
    uint64_t now_ns;

    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    if (client->loop_error != 0) {
        (void)userd_loop_failed(client, USERD_CAUSE_CALLER);
        return USERD_INTERNAL;
    }
    userd_problem_clear(&client->last);
    now_ns = clock_monotonic_ns(clock_system());
    return wait_until(client, timeout_ns < UINT64_MAX - now_ns ? now_ns + timeout_ns : UINT64_MAX);
}
