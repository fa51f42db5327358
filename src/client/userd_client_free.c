/*
 * Freeing a client.
 *
 * 1. Every call is cancelled and tells; connections say goodbye, for a second at most; the loop
 * turns until nothing of the client is with the kernel any more.
 * 2. What it owns is freed, secrets are wiped.
 *
 * When the loop has failed nobody can take back what the kernel holds, so buffers and connections
 * are left behind. What the program is waiting for is told all the same, and secrets are wiped.
 */
#include "client/userd_client_internal.h"
#include "core/ring.h"
#include "core/tls.h"
#include "core/workpool.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* How long connections may take to end: a server that reads nothing must not hold the program. */
#define GOODBYE_NS (1 * CLOCK_NS_PER_S)

/* Every call ends here, and tells. Returns 0 or negative errno. */
static int close_channel(struct userd_client *client)
{
    const uint64_t end_ns = clock_monotonic_ns(clock_system()) + GOODBYE_NS;
    int ret = 0;

    channel_close(client->channel);
    while (ret == 0 && !client->is_closed) {
        const uint64_t now_ns = clock_monotonic_ns(clock_system());

        if (now_ns >= end_ns) {
            channel_abort(client->channel);
        }
        ret = userd_client_turn(client, now_ns < end_ns ? end_ns - now_ns : UINT64_MAX);
    }
    return ret;
}

/* Ends what hangs on the loop. Returns 0 or negative errno. */
static int close_loop(struct userd_client *client)
{
    int ret = 0;

    if (client->channel != NULL) {
        ret = close_channel(client);
    }
    if (ret != 0) {
        return ret;
    }
    workpool_close(client->pool);
    userd_wake_stop(client);
    while (ret == 0 && ring_pending_count(client->reactor.ring) > 0) {
        ret = userd_client_turn(client, UINT64_MAX);
    }
    return ret;
}

/* No turn will come in which the calls could end. */
static void tell_lost_calls(struct userd_client *client)
{
    const struct call_result result = {
        .status = GRPC_STATUS_INTERNAL,
        .cause = CALL_CAUSE_LOST,
        .message = BYTES_LITERAL("the event loop has failed"),
    };
    struct list *link;

    /* All of them first: no callback may ask the channel for anything now. */
    for (link = client->calls.next; link != &client->calls; link = link->next) {
        struct userd_call *call = CONTAINER_OF(link, struct userd_call, link);

        call->is_over = true;
        channel_lose_call(&call->channel_call);
    }
    client->is_turning = true;
    while (!list_is_empty(&client->calls)) {
        struct channel_call *channel_call =
            &CONTAINER_OF(client->calls.next, struct userd_call, link)->channel_call;

        channel_call->done(channel_call, &result);
    }
    client->is_turning = false;
}

static void drop_secrets(struct userd_client *client)
{
    userd_packed_wipe(client);
    token_file_free(client->token_file);
    client->token_file = NULL;
    tls_context_unref(client->tls);
    client->tls = NULL;
    if (client->token != NULL) {
        explicit_bzero(client->token, strlen(client->token));
    }
    free(client->token);
    client->token = NULL;
}

static void free_kept_calls(struct userd_client *client)
{
    struct list *link;

    while ((link = list_pop_front(&client->kept)) != NULL) {
        struct userd_call *call = CONTAINER_OF(link, struct userd_call, link);

        buf_deinit(&call->texts);
        free(call);
    }
}

static void free_rest(struct userd_client *client)
{
    free_kept_calls(client);
    if (client->wake_fd >= 0) {
        (void)close(client->wake_fd); /* holds nothing that could be lost */
    }
    service_config_free(client->service_config);
    free(client->server_name);
    free(client->user_agent);
    buf_deinit(&client->packed);
    userd_problem_deinit(&client->problem);
    userd_problem_deinit(&client->item);
    userd_problem_deinit(&client->last);
    userd_problem_deinit(&client->stream.outcome);
    arena_deinit(&client->answers);
    arena_deinit(&client->kept_answers);
    free(client);
}

int userd_client_free(struct userd_client *client)
{
    int ret = 0;

    if (client == NULL) {
        return 0;
    }
    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    if (client->is_turning) {
        userd_set_last_problem("a client cannot be freed inside a callback");
        return -EBUSY;
    }
    client->is_closing = true;
    if (client->has_reactor) {
        ret = close_loop(client);
    }
    if (ret != 0) {
        tell_lost_calls(client);
        if (client->channel != NULL && !client->is_closed) {
            channel_lose(client->channel);
        }
        drop_secrets(client);
        userd_set_last_problem("the event loop has failed (%s): what the kernel holds of the "
                               "client is left behind",
                               strerror(-ret));
        return ret;
    }
    if (client->has_reactor) {
        reactor_deinit(&client->reactor);
    }
    drop_secrets(client);
    free_rest(client);
    return 0;
}
