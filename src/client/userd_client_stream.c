/*
 * Streams of users.v1 as events: a watch reads until it ends; batch and sync write and read at
 * once.
 *
 * What can go wrong besides the server's own failures: it answers with something else than it
 * should, with more than it was asked, or ends well with items unanswered. All of that is INTERNAL.
 */
#include "client/userd_client_internal.h"

#include <errno.h>

static const struct userd_call_type watch_type;
static const struct userd_call_type batch_type;
static const struct userd_call_type sync_type;

static void on_state(struct userd_call *call, struct bytes message)
{
    struct userd_user user;
    const int ret = userd_read_user(call->arena, message, &user);

    if (ret != 0) {
        userd_call_refuse_message(call, ret, "the server sent something else than a user");
        return;
    }
    if (call->tell.watch.state != NULL) {
        call->tell.watch.state(call->context, &user);
    }
}

static void on_watch_ended(struct userd_call *call, struct userd_problem *problem,
                           const struct call_result *result)
{
    (void)result;
    call->tell.watch.ended(call->context, &problem->error);
}

struct userd_call *userd_start_watch(struct userd_client *client,
                                     const struct userd_call_options *options, const char *id,
                                     const struct userd_watch_events *events, void *context)
{
    struct userd_watch_events known = USERD_WATCH_EVENTS_INIT;
    struct userd_call *call;
    const int ret = userd_struct_take(&known, sizeof(known), events, "userd_watch_events");

    if (ret != 0 || !userd_call_has_end(known.ended)) {
        errno = EINVAL;
        return NULL;
    }
    call = userd_call_new(client, options, &watch_type, USERD_SERVICE "WatchUser", false, context);
    if (call == NULL) {
        return NULL;
    }
    call->tell.watch = known;
    call = userd_call_open(call);
    if (call == NULL) {
        return NULL;
    }
    if (userd_call_send(call, userd_pack_id(client, id)) < 0 || userd_call_finish(call) < 0) {
        userd_call_abandon(call);
        userd_set_last_problem("out of memory");
        errno = ENOMEM;
        return NULL;
    }
    return call;
}

/* One of the two is NULL. */
static void tell_reply(struct userd_call *call, const struct userd_user *user,
                       const struct userd_error *error)
{
    const struct userd_reply reply = {
        .size = sizeof(reply), .index = call->replies, .user = user, .error = error};

    if (call->replies == call->sent) {
        userd_call_refuse(call, "the server answered more than it was asked");
        return;
    }
    call->replies++;
    if (call->tell.stream.reply != NULL) {
        call->tell.stream.reply(call->context, &reply);
    }
}

static void on_created(struct userd_call *call, struct bytes message)
{
    struct userd_problem *item = &call->client->item;
    struct userd_user user;
    const int ret = userd_read_item(call->arena, message, &user, item);

    if (ret == 0) {
        tell_reply(call, &user, NULL);
    } else if (ret == USERD_E_ITEM) {
        tell_reply(call, NULL, &item->error);
    } else {
        userd_call_refuse_message(call, ret,
                                  "the server sent something else than a user or an error");
    }
}

static void on_synced(struct userd_call *call, struct bytes message)
{
    struct userd_user user;
    const int ret = userd_read_user(call->arena, message, &user);

    if (ret == 0) {
        tell_reply(call, &user, NULL);
    } else {
        userd_call_refuse_message(call, ret, "the server sent something else than a user");
    }
}

/* An OK that leaves out items is none. */
static void on_stream_ended(struct userd_call *call, struct userd_problem *problem,
                            const struct call_result *result)
{
    (void)result;
    if (problem->error.code == USERD_OK && call->replies != call->sent) {
        userd_problem_say(problem, USERD_INTERNAL, USERD_CAUSE_ANSWER,
                          "the server left items without an answer");
    }
    call->tell.stream.ended(call->context, &problem->error);
}

static const struct userd_call_type watch_type = {.message = on_state, .ended = on_watch_ended};
static const struct userd_call_type batch_type = {.message = on_created, .ended = on_stream_ended};
static const struct userd_call_type sync_type = {.message = on_synced, .ended = on_stream_ended};

/* The call is not open yet. NULL with errno and the last problem set. */
static struct userd_call *new_stream(struct userd_client *client,
                                     const struct userd_call_options *options,
                                     const struct userd_call_type *type, const char *path,
                                     const struct userd_stream_events *events, void *context)
{
    struct userd_stream_events known = USERD_STREAM_EVENTS_INIT;
    struct userd_call *call;
    const int ret = userd_struct_take(&known, sizeof(known), events, "userd_stream_events");

    if (ret != 0 || !userd_call_has_end(known.ended)) {
        errno = EINVAL;
        return NULL;
    }
    call = userd_call_new(client, options, type, path, false, context);
    if (call == NULL) {
        return NULL;
    }
    call->tell.stream = known;
    userd_call_want_writable(call, known.writable);
    return call;
}

struct userd_call *userd_start_batch_create(struct userd_client *client,
                                            const struct userd_call_options *options,
                                            bool continue_on_error,
                                            const struct userd_stream_events *events, void *context)
{
    struct userd_call *call =
        new_stream(client, options, &batch_type, USERD_SERVICE "BatchCreateUsers", events, context);

    if (call == NULL) {
        return NULL;
    }
    if (continue_on_error) {
        userd_call_add_field(call, "users-continue-on-error", "true");
    }
    return userd_call_open(call);
}

struct userd_call *userd_start_sync(struct userd_client *client,
                                    const struct userd_call_options *options,
                                    const struct userd_stream_events *events, void *context)
{
    struct userd_call *call =
        new_stream(client, options, &sync_type, USERD_SERVICE "SyncUsers", events, context);

    return call == NULL ? NULL : userd_call_open(call);
}

bool userd_call_is_batch(const struct userd_call *call)
{
    return call->type == &batch_type;
}

static int refuse_item(void)
{
    userd_set_last_problem("the call takes other items than this one, or none");
    return -EINVAL;
}

int userd_batch_send(struct userd_call *call, const struct userd_new_user *new_user)
{
    if (call->type != &batch_type) {
        return refuse_item();
    }
    return userd_call_send(call, userd_pack_new_user(call->client, new_user));
}

int userd_sync_send(struct userd_call *call, const struct userd_user *user)
{
    if (call->type != &sync_type) {
        return refuse_item();
    }
    return userd_call_send(call, userd_pack_user(call->client, user));
}
