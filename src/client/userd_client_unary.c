/*
 * The unary calls of users.v1 as events: pack the request, start it, unpack the answer when it is
 * there.
 */
#include "client/userd_client_internal.h"

#include <errno.h>

/* An answer that cannot be used makes the call a failure. */
static void on_user(struct userd_call *call, struct userd_problem *problem,
                    const struct call_result *result)
{
    struct userd_user user;
    const bool is_there =
        problem->error.code == USERD_OK &&
        userd_call_judge(problem, userd_read_answer(call->arena, result->reply, &user));

    if (call->tell.user != NULL) {
        call->tell.user(call->context, &problem->error, is_there ? &user : NULL);
    }
}

/* Text of a field of the answer, kept as long as the answer itself. */
static int read_plan(struct arena *arena, struct bytes fields, const char **ret_plan)
{
    const struct bytes plan = call_reply_find(fields, "users-list-plan");

    if (plan.size > 0) {
        *ret_plan = arena_copy_text(arena, plan);
    }
    return *ret_plan == NULL ? -ENOMEM : 0;
}

static int read_page(struct userd_call *call, const struct call_result *result,
                     struct userd_page *ret_page)
{
    const int ret = userd_read_page(call->arena, result->reply, ret_page);

    return ret != 0 ? ret : read_plan(call->arena, result->fields, &ret_page->plan);
}

static void on_page(struct userd_call *call, struct userd_problem *problem,
                    const struct call_result *result)
{
    struct userd_page page;
    const bool is_there = problem->error.code == USERD_OK &&
                          userd_call_judge(problem, read_page(call, result, &page));

    if (call->tell.page != NULL) {
        call->tell.page(call->context, &problem->error, is_there ? &page : NULL);
    }
}

static void on_deleted(struct userd_call *call, struct userd_problem *problem,
                       const struct call_result *result)
{
    bool success = false;

    if (problem->error.code == USERD_OK) {
        (void)userd_call_judge(problem, userd_read_deleted(call->arena, result->reply, &success));
    }
    if (call->tell.deleted != NULL) {
        call->tell.deleted(call->context, &problem->error, success);
    }
}

static const struct userd_call_type user_type = {.ended = on_user};
static const struct userd_call_type page_type = {.ended = on_page};
static const struct userd_call_type delete_type = {.ended = on_deleted};

/* `packed_ret` is what packing the request returned; it is wiped whatever happens. */
static struct userd_call *start_user(struct userd_client *client,
                                     const struct userd_call_options *options, const char *path,
                                     int packed_ret, userd_user_done done, void *context)
{
    struct userd_call *call = userd_call_new(client, options, &user_type, path, false, context);

    if (call == NULL) {
        userd_packed_wipe(client);
        return NULL;
    }
    call->tell.user = done;
    return userd_call_start(call, packed_ret);
}

struct userd_call *userd_start_get_user(struct userd_client *client,
                                        const struct userd_call_options *options, const char *id,
                                        userd_user_done done, void *context)
{
    const int ret = userd_pack_id(client, id);

    return start_user(client, options, USERD_SERVICE "GetUser", ret, done, context);
}

struct userd_call *userd_start_create_user(struct userd_client *client,
                                           const struct userd_call_options *options,
                                           const struct userd_new_user *new_user,
                                           userd_user_done done, void *context)
{
    const int ret = userd_pack_new_user(client, new_user);

    return start_user(client, options, USERD_SERVICE "CreateUser", ret, done, context);
}

struct userd_call *userd_start_update_user(struct userd_client *client,
                                           const struct userd_call_options *options,
                                           const struct userd_change *change, userd_user_done done,
                                           void *context)
{
    const int ret = userd_pack_change(client, change);

    return start_user(client, options, USERD_SERVICE "UpdateUser", ret, done, context);
}

struct userd_call *userd_start_delete_user(struct userd_client *client,
                                           const struct userd_call_options *options, const char *id,
                                           const char *etag, userd_delete_done done, void *context)
{
    struct userd_call *call =
        userd_call_new(client, options, &delete_type, USERD_SERVICE "DeleteUser", false, context);

    if (call == NULL) {
        return NULL;
    }
    call->tell.deleted = done;
    return userd_call_start(call, userd_pack_delete(client, id, etag));
}

struct userd_call *userd_start_list_users(struct userd_client *client,
                                          const struct userd_call_options *options,
                                          const struct userd_list_request *request,
                                          userd_page_done done, void *context)
{
    struct userd_call *call =
        userd_call_new(client, options, &page_type, USERD_SERVICE "ListUsers", false, context);

    if (call == NULL) {
        return NULL;
    }
    call->tell.page = done;
    return userd_call_start(call, userd_pack_list(client, request));
}
