/*
 * Turns of a client's loop, and what a loop of the program's own needs to know about it.
 *
 * A loop around this one waits for the ring's descriptor and for the next timer, then makes a turn
 * that does not wait. What a turn of the program's queues is given to the kernel at its end, since
 * the next turn may be far; what is queued between turns makes userd_client_next_ms() 0.
 */
#include "client/userd_client_internal.h"
#include "core/clock.h"
#include "core/ring.h"

#include <errno.h>

#define PAUSE_NS           CLOCK_NS_PER_MS
#define CATCH_UP_TURNS_MAX 8

int userd_client_turn(struct userd_client *client, uint64_t timeout_ns)
{
    int ret;

    if (client->loop_error != 0) {
        return client->loop_error;
    }
    userd_wake_listen(client);
    client->is_turning = true;
    ret = reactor_turn(&client->reactor, timeout_ns);
    client->is_turning = false;
    client->is_refused = false;
    client->loop_error = ret;
    return ret;
}

void userd_client_catch_up(struct userd_client *client)
{
    const struct reactor *reactor = &client->reactor;
    unsigned turns = 0;

    if (!ring_is_ready(reactor->ring) && reactor_now_ns(reactor) - reactor->now_ns < PAUSE_NS) {
        return;
    }
    /* What a turn finds may need another: the end of a connection is a few steps. */
    while (userd_client_turn(client, 0) == 0 && ring_is_ready(reactor->ring) &&
           turns < CATCH_UP_TURNS_MAX) {
        turns++;
    }
}

int userd_client_run(struct userd_client *client, uint64_t timeout_ms)
{
    int ret;

    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    if (client->is_turning) {
        userd_set_last_problem("the loop was turned inside a callback");
        return -EBUSY;
    }
    ret = userd_client_turn(client, client->is_woken ? 0 : userd_ns_from_ms(timeout_ms));
    if (ret != 0) {
        userd_set_last_problem("the event loop has failed: %s", strerror(-ret));
        return ret;
    }
    client->is_woken = false;
    if (ring_has_queued(client->reactor.ring)) {
        ring_submit(client->reactor.ring);
    }
    return 0;
}

int userd_client_fd(const struct userd_client *client)
{
    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    return ring_descriptor(client->reactor.ring);
}

uint64_t userd_client_next_ms(const struct userd_client *client)
{
    const uint64_t idle_ns = reactor_idle_ns(&client->reactor);

    if (client->loop_error != 0 || client->is_woken) {
        return 0; /* userd_client_run() has something to tell */
    }
    if (idle_ns == UINT64_MAX) {
        return USERD_NO_TIMEOUT;
    }
    return (idle_ns + CLOCK_NS_PER_MS - 1) /
           CLOCK_NS_PER_MS; /* never early: it would turn in vain */
}

unsigned userd_client_pending(const struct userd_client *client)
{
    return client->call_count;
}
