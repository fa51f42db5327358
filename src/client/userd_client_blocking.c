/*
 * Calls that wait: each starts its event, then turns the loop until that has ended.
 *
 * What is returned lies in the client until the next of them. A request may be made of the last
 * answer (a page's token), so that is forgotten only after the request was packed.
 *
 * Between two looks at `interrupted` a signal may come; so a wait that somebody may interrupt is
 * cut into slices.
 *
 * What is refused, because it was called inside a callback or in another thread, leaves no trace in
 * the client: a blocking call may be under way outside, and its outcome is the client's last.
 */
#include "client/userd_client_internal.h"

#include <errno.h>
#include <stdio.h>

#define IN_CALLBACK_TEXT "a blocking function was called inside a callback"

bool userd_may_wait(struct userd_client *client)
{
    if (!userd_is_mine(client)) {
        return false;
    }
    if (client->is_turning) {
        userd_set_last_problem("%s", IN_CALLBACK_TEXT);
        client->is_refused = true;
        return false;
    }
    userd_client_catch_up(client); /* a call must not go to a connection that has ended */
    return true;
}

#define REFUSAL(text)                                                                              \
    {                                                                                              \
        .size = sizeof(struct userd_error), .code = USERD_FAILED_PRECONDITION,                     \
        .cause = USERD_CAUSE_CALLER, .message = (text), .details = "", .backend = "", .index = -1, \
    }

const struct userd_error *userd_client_error(const struct userd_client *client)
{
    static const struct userd_error in_callback = REFUSAL(IN_CALLBACK_TEXT);
    static const struct userd_error in_thread = REFUSAL(USERD_NOT_MINE_TEXT);

    if (!userd_is_mine(client)) {
        return &in_thread;
    }
    return client->is_refused ? &in_callback : &client->last.error;
}

bool userd_loop_failed(struct userd_client *client, enum userd_cause cause)
{
    char problem[128];

    (void)snprintf(problem, sizeof(problem),
                   "the event loop has failed (%s); the client can only be freed",
                   strerror(-client->loop_error));
    userd_problem_clear(&client->last);
    userd_problem_say(&client->last, USERD_INTERNAL, cause, problem);
    return false;
}

enum userd_code userd_not_started(struct userd_client *client)
{
    userd_problem_clear(&client->last);
    switch (errno) {
    case ENOMEM:
        userd_problem_say(&client->last, USERD_RESOURCE_EXHAUSTED, USERD_CAUSE_MEMORY,
                          "out of memory");
        break;
    case EBUSY:
        userd_problem_say(&client->last, USERD_RESOURCE_EXHAUSTED, USERD_CAUSE_CALLER,
                          userd_last_problem());
        break;
    case EIO:
        (void)userd_loop_failed(client, USERD_CAUSE_CALLER);
        break;
    default:
        userd_problem_say(&client->last, USERD_INVALID_ARGUMENT, USERD_CAUSE_CALLER,
                          userd_last_problem());
        break;
    }
    return client->last.error.code;
}

/* The question is a callback like any other: it cannot turn the loop that waits for its answer. */
bool userd_is_interrupted(struct userd_client *client)
{
    bool is;

    if (client->interrupted == NULL) {
        return false;
    }
    client->is_turning = true;
    is = client->interrupted(client->interrupted_context);
    client->is_turning = false;
    client->is_refused = false;
    return is;
}

bool userd_wait_turn(struct userd_client *client, struct userd_call *call)
{
    const uint64_t timeout_ns = client->interrupted == NULL ? UINT64_MAX : USERD_SLICE_NS;

    if (call != NULL && userd_is_interrupted(client)) {
        (void)userd_call_cancel(call);
    }
    return userd_client_turn(client, timeout_ns) == 0 ||
           userd_loop_failed(client, USERD_CAUSE_LOST);
}

bool userd_wait_until(struct userd_client *client, const bool *done, struct userd_call *const *call)
{
    while (!*done) {
        if (!userd_wait_turn(client, *call)) {
            return false;
        }
    }
    return true;
}

/* Waits for a call that was just started; NULL = it was not. */
static enum userd_code wait_for(struct userd_client *client, struct userd_call *call)
{
    if (call == NULL) {
        return userd_not_started(client);
    }
    arena_reset(&client->kept_answers);
    userd_problem_clear(&client->last);
    client->waiting = (struct userd_waiting){.call = call};
    call->arena = &client->kept_answers;
    (void)userd_wait_until(client, &client->waiting.is_done, &client->waiting.call);
    return client->last.error.code;
}

/* The end of the call that is waited for. */
static struct userd_waiting *end_wait(void *context)
{
    struct userd_client *client = context;

    userd_problem_copy(&client->last, &client->problem);
    client->waiting.is_done = true;
    client->waiting.call = NULL;
    return &client->waiting;
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    struct userd_waiting *waiting = end_wait(context);

    (void)error; /* the client has it */
    if (user != NULL) {
        waiting->user = *user;
    }
}

static void on_page(void *context, const struct userd_error *error, const struct userd_page *page)
{
    struct userd_waiting *waiting = end_wait(context);

    (void)error;
    if (page != NULL) {
        waiting->page = *page;
    }
}

static void on_deleted(void *context, const struct userd_error *error, bool success)
{
    (void)error;
    end_wait(context)->success = success;
}

static enum userd_code wait_for_user(struct userd_client *client, struct userd_call *call,
                                     const struct userd_user **ret_user)
{
    const enum userd_code code = wait_for(client, call);

    if (code == USERD_OK && ret_user != NULL) {
        *ret_user = &client->waiting.user;
    }
    return code;
}

/* Before anything can fail. */
static void forget_user(const struct userd_user **ret_user)
{
    if (ret_user != NULL) {
        *ret_user = NULL;
    }
}

enum userd_code userd_get_user(struct userd_client *client,
                               const struct userd_call_options *options, const char *id,
                               const struct userd_user **ret_user)
{
    forget_user(ret_user);
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    return wait_for_user(client, userd_start_get_user(client, options, id, on_user, client),
                         ret_user);
}

enum userd_code userd_create_user(struct userd_client *client,
                                  const struct userd_call_options *options,
                                  const struct userd_new_user *new_user,
                                  const struct userd_user **ret_user)
{
    forget_user(ret_user);
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    return wait_for_user(
        client, userd_start_create_user(client, options, new_user, on_user, client), ret_user);
}

enum userd_code userd_update_user(struct userd_client *client,
                                  const struct userd_call_options *options,
                                  const struct userd_change *change,
                                  const struct userd_user **ret_user)
{
    forget_user(ret_user);
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    return wait_for_user(client, userd_start_update_user(client, options, change, on_user, client),
                         ret_user);
}

enum userd_code userd_delete_user(struct userd_client *client,
                                  const struct userd_call_options *options, const char *id,
                                  const char *etag, bool *ret_success)
{
    enum userd_code code;

    if (ret_success != NULL) {
        *ret_success = false;
    }
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    code = wait_for(client, userd_start_delete_user(client, options, id, etag, on_deleted, client));
    if (code == USERD_OK && ret_success != NULL) {
        *ret_success = client->waiting.success;
    }
    return code;
}

enum userd_code userd_list_users(struct userd_client *client,
                                 const struct userd_call_options *options,
                                 const struct userd_list_request *request,
                                 const struct userd_page **ret_page)
{
    enum userd_code code;

    if (ret_page != NULL) {
        *ret_page = NULL;
    }
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    code = wait_for(client, userd_start_list_users(client, options, request, on_page, client));
    if (code == USERD_OK && ret_page != NULL) {
        *ret_page = &client->waiting.page;
    }
    return code;
}

static void on_bytes(void *context, const struct userd_error *error, struct bytes reply)
{
    struct userd_client *client = context;
    struct userd_waiting *waiting = end_wait(client);
    uint8_t *copy;

    if (error->code != USERD_OK) {
        return;
    }
    copy = arena_alloc(&client->kept_answers, reply.size + 1); /* never NULL for an empty one */
    if (copy == NULL) {
        (void)userd_call_judge(&client->last, -ENOMEM);
        return;
    }
    if (reply.size > 0) {
        memcpy(copy, reply.data, reply.size);
    }
    copy[reply.size] = '\0';
    waiting->reply = (struct bytes){copy, reply.size};
}

/* NOLINTNEXTLINE(readability-function-size): seven parameters, two pairs of bytes among them */
enum userd_code userd_call_raw(struct userd_client *client,
                               const struct userd_call_options *options, const char *path,
                               const void *request, size_t request_size, const void **ret_reply,
                               size_t *ret_reply_size)
{
    const struct bytes bytes = {request, request_size};
    struct bytes reply = {0};
    enum userd_code code = USERD_FAILED_PRECONDITION;

    if (userd_may_wait(client)) {
        code = wait_for(client, userd_start_bytes(client, options, path, bytes, on_bytes, client));
    }
    if (code == USERD_OK) {
        reply = client->waiting.reply;
    }
    if (ret_reply != NULL) {
        *ret_reply = reply.data;
    }
    if (ret_reply_size != NULL) {
        *ret_reply_size = reply.size;
    }
    return code;
}

enum userd_code userd_check_health(struct userd_client *client,
                                   const struct userd_call_options *options, const char *service,
                                   int *ret_status)
{
    struct userd_call *call = NULL;
    enum userd_code code;
    int status = 0;
    int ret;

    if (ret_status != NULL) {
        *ret_status = 0;
    }
    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    ret = userd_pack_health(client, service);
    if (ret == 0) {
        call = userd_start_bytes(client, options, "/grpc.health.v1.Health/Check",
                                 buf_bytes(&client->packed), on_bytes, client);
    } else {
        errno = -ret;
    }
    userd_packed_wipe(client); /* errno stays */
    code = wait_for(client, call);
    if (code == USERD_OK) {
        ret = userd_read_health(client->waiting.reply, &status);
        if (userd_call_judge(&client->last, ret) && ret_status != NULL) {
            *ret_status = status;
        }
    }
    return client->last.error.code;
}

static void on_state(void *context, const struct userd_user *user)
{
    struct userd_client *client = context;
    struct userd_waiting *waiting = &client->waiting;

    if (!waiting->is_given_up && waiting->state != NULL &&
        !waiting->state(waiting->context, user)) {
        waiting->is_given_up = true;
        (void)userd_call_cancel(waiting->call);
    }
}

static void on_watch_ended(void *context, const struct userd_error *error)
{
    struct userd_client *client = context;
    const struct userd_waiting *waiting = end_wait(client);

    (void)error;
    if (waiting->is_given_up) {
        userd_problem_clear(&client->last);
    }
}

enum userd_code userd_watch_user(struct userd_client *client,
                                 const struct userd_call_options *options, const char *id,
                                 bool (*state)(void *context, const struct userd_user *user),
                                 void *context)
{
    static const struct userd_watch_events events = {
        .size = sizeof(events), .state = on_state, .ended = on_watch_ended};
    struct userd_call *call;

    if (!userd_may_wait(client)) {
        return USERD_FAILED_PRECONDITION;
    }
    call = userd_start_watch(client, options, id, &events, client);
    if (call == NULL) {
        return userd_not_started(client);
    }
    userd_problem_clear(&client->last);
    client->waiting = (struct userd_waiting){.call = call, .state = state, .context = context};
    (void)userd_wait_until(client, &client->waiting.is_done, &client->waiting.call);
    return client->last.error.code;
}
