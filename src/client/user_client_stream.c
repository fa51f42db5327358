/*
 * Streams: a watch reads until it ends; batch and sync write and read at once.
 *
 * The happy path of a batch:
 * 1. user_client_stream_open() opens a call; nothing is waited for.
 * 2. Each send queues one message. While the channel takes no more, because the server gives no
 * flow-control credit, the loop turns, and replies are told meanwhile. So neither side piles up
 * more than its windows.
 * 3. user_client_stream_finish() closes our side and turns until the server has closed its own.
 *
 * What can go wrong: the server ends the stream early (the next send, or finish, fails with its
 * status); it answers with something else than it should, or with less (INTERNAL).
 */
#include "client/user_client_internal.h"

#include <assert.h>
#include <errno.h>

static struct user_client *client_of(struct channel_call *call)
{
    return CONTAINER_OF(call, struct user_client, call);
}

static void on_done(struct channel_call *call, const struct channel_result *result)
{
    struct user_client *client = client_of(call);

    client->is_done = true;
    if (!client->stream.is_given_up) {
        user_client_set_problem(&client->problem, result->status, result->cause, result->message,
                                result->details);
    }
}

/* Ends the call from our side; what its failure is stands already. */
static void give_up(struct user_client *client)
{
    client->stream.is_given_up = true;
    channel_cancel(&client->call);
}

static void refuse(struct user_client *client, const char *message)
{
    (void)user_client_fail(client, GRPC_STATUS_INTERNAL, message);
    give_up(client);
}

static int open_call(struct user_client *client, const char *path,
                     const struct channel_stream_events *events)
{
    static const struct channel_field continue_on_error = {"users-continue-on-error", "true"};

    user_client_begin(client);
    client->call = (struct channel_call){
        .path = path,
        .token = client->token,
        .timeout_ns = client->timeout_ns,
        .done = on_done,
        .events = events,
    };
    if (client->stream.options.continue_on_error) {
        client->call.fields = &continue_on_error;
        client->call.field_count = 1;
    }
    if (channel_open(client->channel, &client->call) != 0) {
        return user_client_fail_memory(client);
    }
    client->is_done = false;
    return 0;
}

static int out_of_memory(struct user_client *client)
{
    (void)user_client_fail_memory(client);
    give_up(client);
    return user_client_wait(client);
}

/* Waits while the window is shut. */
static int send_packed(struct user_client *client, struct bytes packed)
{
    int ret;

    while ((ret = channel_send(&client->call, packed)) == CHANNEL_E_FULL) {
        ret = user_client_turn(client, UINT64_MAX);
        if (ret != 0) {
            return ret;
        }
    }
    if (ret < 0) {
        return out_of_memory(client);
    }
    if (ret == CHANNEL_E_OVER) {
        ret = user_client_wait(client); /* its last replies and its status come first */
        return ret != 0 ? ret
                        : user_client_fail(client, GRPC_STATUS_INTERNAL,
                                           "the server ended the stream before we did");
    }
    client->stream.sent++;
    return 0;
}

/* Frees the message. `packed_ret` is what packing it returned. */
static int send_message(struct user_client *client, int packed_ret,
                        struct user_client_packed *message)
{
    int ret;

    if (packed_ret != 0) {
        return out_of_memory(client);
    }
    ret = send_packed(client, message->bytes);
    user_client_packed_free(message);
    return ret;
}

/* What came cannot be used. */
static void refuse_message(struct user_client *client, int error, const char *message)
{
    if (error == -ENOMEM) {
        (void)user_client_fail_memory(client);
        give_up(client);
    } else {
        refuse(client, message);
    }
}

static void on_state(struct channel_call *call, struct bytes message)
{
    struct user_client *client = client_of(call);
    struct user_client_user user;
    int ret = user_client_read_user(client, message, &user);

    if (ret != 0) {
        refuse_message(client, ret, "the server sent something else than a user");
        return;
    }
    if (!client->stream.state(client->stream.context, &user)) {
        give_up(client);
    }
}

int user_client_watch(struct user_client *client, const char *id,
                      bool (*state)(void *context, const struct user_client_user *user),
                      void *context)
{
    static const struct channel_stream_events events = {.message = on_state};
    struct user_client_packed request;
    int ret;

    client->stream = (struct user_client_stream){.state = state, .context = context};
    ret = open_call(client, USER_CLIENT_SERVICE "WatchUser", &events);
    if (ret != 0) {
        return ret;
    }
    ret = user_client_pack_get(id, &request);
    ret = send_message(client, ret, &request);
    if (ret == 0 && channel_half_close(&client->call) < 0) {
        ret = out_of_memory(client);
    }
    return ret != 0 ? ret : user_client_wait(client);
}

/* One of the two is NULL. */
static void tell_reply(struct user_client *client, const struct user_client_user *user,
                       const struct user_client_failure *failure)
{
    const struct user_client_reply reply = {
        .index = client->stream.replies,
        .user = user,
        .failure = failure,
    };

    if (client->stream.replies == client->stream.sent) {
        refuse(client, "the server answered more than it was asked");
        return;
    }
    client->stream.replies++;
    client->stream.options.reply(client->stream.options.context, &reply);
}

static void on_created(struct channel_call *call, struct bytes message)
{
    struct user_client *client = client_of(call);
    struct user_client_user user;
    int ret = user_client_read_item(client, message, &user);

    if (ret == 0) {
        tell_reply(client, &user, NULL);
    } else if (ret == USER_CLIENT_E_ITEM) {
        tell_reply(client, NULL, &client->item.failure);
    } else {
        refuse_message(client, ret, "the server sent something else than a user or an error");
    }
}

static void on_synced(struct channel_call *call, struct bytes message)
{
    struct user_client *client = client_of(call);
    struct user_client_user user;
    int ret = user_client_read_user(client, message, &user);

    if (ret == 0) {
        tell_reply(client, &user, NULL);
    } else {
        refuse_message(client, ret, "the server sent something else than a user");
    }
}

int user_client_stream_open(struct user_client *client,
                            const struct user_client_stream_options *options)
{
    static const struct channel_stream_events batch_events = {.message = on_created};
    static const struct channel_stream_events sync_events = {.message = on_synced};

    assert(client->is_done);
    client->stream = (struct user_client_stream){.options = *options};
    return options->kind == USER_CLIENT_SYNC
               ? open_call(client, USER_CLIENT_SERVICE "SyncUsers", &sync_events)
               : open_call(client, USER_CLIENT_SERVICE "BatchCreateUsers", &batch_events);
}

int user_client_stream_create(struct user_client *client, const struct user_client_create *create)
{
    struct user_client_packed message;
    int ret = user_client_pack_create(create, &message);

    return send_message(client, ret, &message);
}

int user_client_stream_sync(struct user_client *client, const struct user_client_user *user)
{
    struct user_client_packed message;
    int ret = user_client_pack_user(user, &message);

    return send_message(client, ret, &message);
}

int user_client_stream_turn(struct user_client *client, uint64_t timeout_ns)
{
    if (client->is_done && client->problem.failure.status != GRPC_STATUS_OK) {
        return USER_CLIENT_E_FAILED;
    }
    return user_client_turn(client, timeout_ns);
}

int user_client_stream_finish(struct user_client *client)
{
    int ret;

    if (channel_half_close(&client->call) < 0) {
        return out_of_memory(client);
    }
    ret = user_client_wait(client);
    if (ret == 0 && client->stream.replies != client->stream.sent) {
        ret = user_client_fail(client, GRPC_STATUS_INTERNAL,
                               "the server left items without an answer");
    }
    return ret;
}

void user_client_stream_abort(struct user_client *client)
{
    give_up(client);
    (void)user_client_wait(client); /* a loop that fails here fails the next call too */
}
