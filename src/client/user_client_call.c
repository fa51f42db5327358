/*
 * The unary calls: pack the request, start it, turn the loop until `done` was called, unpack the
 * answer into the arena.
 */
#include "client/user_client_internal.h"

#include <errno.h>

static void on_done(struct channel_call *call, const struct channel_result *result)
{
    struct user_client *client = CONTAINER_OF(call, struct user_client, call);

    client->is_done = true;
    user_client_set_problem(&client->problem, result->status, result->cause, result->message,
                            result->details);
    if (buf_append(&client->reply, result->reply.data, result->reply.size) != 0 ||
        buf_append(&client->fields, result->fields.data, result->fields.size) != 0) {
        (void)user_client_fail_memory(client);
    }
}

/* Sends the request, which is freed, and waits. `packed_ret` is what packing it returned. */
static int call(struct user_client *client, const char *path, int packed_ret,
                struct user_client_packed *request)
{
    int ret;

    user_client_begin(client);
    if (packed_ret != 0) {
        return user_client_fail_memory(client);
    }
    client->call = (struct channel_call){
        .path = path,
        .token = client->token,
        .timeout_ns = client->timeout_ns,
        .done = on_done,
    };
    ret = channel_start(client->channel, &client->call, request->bytes);
    user_client_packed_free(request);
    if (ret != 0) {
        return user_client_fail_memory(client);
    }
    client->is_done = false;
    return user_client_wait(client);
}

/* `ret` is what reading the answer returned. */
static int judge(struct user_client *client, int ret)
{
    if (ret == -ENOMEM) {
        return user_client_fail_memory(client);
    }
    if (ret == USER_CLIENT_E_NO_USER) {
        return user_client_fail(client, GRPC_STATUS_INTERNAL, "the answer holds no user");
    }
    if (ret != 0) {
        return user_client_fail(client, GRPC_STATUS_INTERNAL,
                                "the answer is not the message it should be");
    }
    return 0;
}

static int read_user(struct user_client *client, struct user_client_user *ret_user)
{
    return judge(client, user_client_read_answer(client, buf_bytes(&client->reply), ret_user));
}

int user_client_get(struct user_client *client, const char *id, struct user_client_user *ret_user)
{
    struct user_client_packed request;
    int ret = user_client_pack_get(id, &request);

    ret = call(client, USER_CLIENT_SERVICE "GetUser", ret, &request);
    return ret != 0 ? ret : read_user(client, ret_user);
}

int user_client_create(struct user_client *client, const struct user_client_create *create,
                       struct user_client_user *ret_user)
{
    struct user_client_packed request;
    int ret = user_client_pack_create(create, &request);

    ret = call(client, USER_CLIENT_SERVICE "CreateUser", ret, &request);
    return ret != 0 ? ret : read_user(client, ret_user);
}

int user_client_update(struct user_client *client, const struct user_client_update *update,
                       struct user_client_user *ret_user)
{
    struct user_client_packed request;
    int ret = user_client_pack_update(update, &request);

    ret = call(client, USER_CLIENT_SERVICE "UpdateUser", ret, &request);
    return ret != 0 ? ret : read_user(client, ret_user);
}

int user_client_delete(struct user_client *client, const char *id, const char *etag,
                       bool *ret_success)
{
    struct user_client_packed request;
    int ret = user_client_pack_delete(id, etag, &request);

    ret = call(client, USER_CLIENT_SERVICE "DeleteUser", ret, &request);
    if (ret != 0) {
        return ret;
    }
    return judge(client, user_client_read_deleted(client, buf_bytes(&client->reply), ret_success));
}

int user_client_list(struct user_client *client, const struct user_client_list *list,
                     struct user_client_page *ret_page)
{
    struct user_client_packed request;
    int ret = user_client_pack_list(list, &request); /* the token may be of the last answer */
    struct bytes plan;

    ret = call(client, USER_CLIENT_SERVICE "ListUsers", ret, &request);
    if (ret == 0) {
        ret = judge(client, user_client_read_page(client, buf_bytes(&client->reply), ret_page));
    }
    if (ret != 0) {
        return ret;
    }
    plan = call_reply_find(buf_bytes(&client->fields), "users-list-plan");
    ret_page->plan = plan.size == 0 ? "" : (const char *)plan.data;
    return 0;
}
