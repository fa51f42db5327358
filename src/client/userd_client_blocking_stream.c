/*
 * Batch and sync that wait: one stream per client.
 *
 *     closed --open--> open --the server ends it, or cancel--> over --finish, cancel--> closed
 *
 * 1. Opening waits for nothing.
 * 2. Sending turns the loop while the stream takes no more, because the server gives no
 * flow-control credit; replies are told meanwhile. So neither side piles up more than its windows.
 * 3. Finishing closes our side and turns until the server has closed its own.
 */
#include "client/userd_client_internal.h"

#include <errno.h>

static void on_reply(void *context, const struct userd_reply *reply)
{
    struct userd_client *client = context;

    if (client->stream.reply != NULL) {
        client->stream.reply(client->stream.context, reply);
    }
}

static void on_ended(void *context, const struct userd_error *error)
{
    struct userd_client *client = context;

    (void)error; /* the client has it */
    client->stream.call = NULL;
    userd_problem_copy(&client->stream.outcome, &client->problem);
}

static const struct userd_stream_events stream_events = {
    .size = sizeof(stream_events), .reply = on_reply, .ended = on_ended};

static enum userd_code say(struct userd_client *client, enum userd_code code, const char *message)
{
    userd_problem_clear(&client->last);
    userd_problem_say(&client->last, code,
                      code == USERD_INTERNAL ? USERD_CAUSE_ANSWER : USERD_CAUSE_CALLER, message);
    return code;
}

/* Whether one may be opened; if not, it is FAILED_PRECONDITION. */
static bool may_open(struct userd_client *client)
{
    if (!userd_may_wait(client)) {
        return false;
    }
    if (client->stream.is_open) {
        (void)say(client, USERD_FAILED_PRECONDITION, "a stream of this client is open already");
        return false;
    }
    return true;
}

static enum userd_code opened(struct userd_client *client, struct userd_call *call,
                              void (*reply)(void *context, const struct userd_reply *reply),
                              void *context)
{
    if (call == NULL) {
        return userd_not_started(client);
    }
    client->stream.is_open = true;
    client->stream.call = call;
    client->stream.reply = reply;
    client->stream.context = context;
    userd_problem_clear(&client->stream.outcome);
    userd_problem_clear(&client->last);
    return USERD_OK;
}

enum userd_code userd_batch_open(struct userd_client *client,
                                 const struct userd_call_options *options, bool continue_on_error,
                                 void (*reply)(void *context, const struct userd_reply *reply),
                                 void *context)
{
    if (!may_open(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    return opened(
        client,
        userd_start_batch_create(client, options, continue_on_error, &stream_events, client), reply,
        context);
}

enum userd_code userd_sync_open(struct userd_client *client,
                                const struct userd_call_options *options,
                                void (*reply)(void *context, const struct userd_reply *reply),
                                void *context)
{
    if (!may_open(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    return opened(client, userd_start_sync(client, options, &stream_events, client), reply,
                  context);
}

/* How the stream ended, which it has. */
static enum userd_code tell_outcome(struct userd_client *client)
{
    userd_problem_copy(&client->last, &client->stream.outcome);
    return client->last.error.code;
}

/* Turns until the stream has ended. Returns false when the loop failed. */
static bool wait_for_end(struct userd_client *client)
{
    while (client->stream.call != NULL) {
        if (!userd_wait_turn(client, client->stream.call)) {
            return false;
        }
    }
    return true;
}

/* The item was not taken; the stream's last replies and its status come first. */
static enum userd_code end_early(struct userd_client *client)
{
    if (!wait_for_end(client)) {
        return client->last.error.code;
    }
    if (tell_outcome(client) == USERD_OK) {
        (void)say(client, USERD_INTERNAL, "the server ended the stream before we did");
    }
    return client->last.error.code;
}

static enum userd_code out_of_memory(struct userd_client *client)
{
    if (client->stream.call != NULL) {
        (void)userd_call_cancel(client->stream.call);
        if (!wait_for_end(client)) {
            return client->last.error.code;
        }
    }
    userd_problem_say(&client->stream.outcome, USERD_RESOURCE_EXHAUSTED, USERD_CAUSE_MEMORY,
                      "out of memory");
    return tell_outcome(client);
}

/* Whether there is a stream to send on; if not, it is FAILED_PRECONDITION. */
static bool may_send(struct userd_client *client)
{
    if (!userd_may_wait(client)) {
        return false;
    }
    if (!client->stream.is_open) {
        (void)say(client, USERD_FAILED_PRECONDITION, "no stream of this client is open");
        return false;
    }
    return true;
}

/* One of the two is NULL. */
static int send_item(struct userd_client *client, const struct userd_new_user *new_user,
                     const struct userd_user *user)
{
    struct userd_call *call = client->stream.call;

    if (call == NULL) {
        return USERD_OVER;
    }
    return new_user != NULL ? userd_batch_send(call, new_user) : userd_sync_send(call, user);
}

static enum userd_code item(struct userd_client *client, const struct userd_new_user *new_user,
                            const struct userd_user *user)
{
    int ret;

    if (!may_send(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    if (client->stream.call != NULL && client->loop_error != 0) {
        (void)userd_loop_failed(client, USERD_CAUSE_LOST);
        return USERD_INTERNAL;
    }
    while ((ret = send_item(client, new_user, user)) == USERD_FULL) {
        if (!userd_wait_turn(client, client->stream.call)) {
            return client->last.error.code;
        }
    }
    switch (ret) {
    case 0:
        userd_problem_clear(&client->last);
        return USERD_OK;
    case USERD_OVER:
        return end_early(client);
    case -ENOMEM:
        return out_of_memory(client);
    default:
        return say(client,
                   userd_call_is_batch(client->stream.call) == (new_user != NULL)
                       ? USERD_INVALID_ARGUMENT
                       : USERD_FAILED_PRECONDITION,
                   userd_last_problem());
    }
}

enum userd_code userd_batch_item(struct userd_client *client, const struct userd_new_user *new_user)
{
    return item(client, new_user, NULL);
}

enum userd_code userd_sync_item(struct userd_client *client, const struct userd_user *user)
{
    return item(client, NULL, user);
}

enum userd_code userd_stream_finish(struct userd_client *client)
{
    if (!may_send(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    if (client->stream.call != NULL && userd_call_finish(client->stream.call) == -ENOMEM) {
        (void)out_of_memory(client);
    }
    if (!wait_for_end(client)) {
        return client->last.error.code;
    }
    client->stream.is_open = false;
    return tell_outcome(client);
}

enum userd_code userd_stream_cancel(struct userd_client *client)
{
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    if (!client->stream.is_open) {
        return USERD_OK;
    }
    if (client->stream.call != NULL) {
        (void)userd_call_cancel(client->stream.call);
        if (!wait_for_end(client)) {
            return client->last.error.code;
        }
    }
    client->stream.is_open = false;
    userd_problem_clear(&client->last);
    return USERD_OK;
}
