/*
 * Any method, by bytes: a stream for all four shapes, and unary calls for who waits.
 */
#include "client/userd_client_internal.h"

#include <errno.h>

static void on_bytes(struct userd_call *call, struct userd_problem *problem,
                     const struct call_result *result)
{
    const bool is_there = problem->error.code == USERD_OK;

    call->tell.bytes(call->context, &problem->error, is_there ? result->reply : (struct bytes){0});
}

static const struct userd_call_type bytes_type = {.ended = on_bytes};

static void on_raw_message(struct userd_call *call, struct bytes message)
{
    if (call->tell.raw.message != NULL) {
        call->tell.raw.message(call->context, message.data, message.size);
    }
}

static void on_raw_ended(struct userd_call *call, struct userd_problem *problem,
                         const struct call_result *result)
{
    (void)result;
    call->tell.raw.ended(call->context, &problem->error);
}

static const struct userd_call_type raw_type = {.message = on_raw_message, .ended = on_raw_ended};

/* "/pkg.Service/Method": two parts of printable characters. */
static bool is_valid_path(const char *path)
{
    const char *slash;

    if (path == NULL || path[0] != '/') {
        return false;
    }
    for (const char *at = path; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return false;
        }
    }
    slash = strchr(path + 1, '/');
    return slash != NULL && slash > path + 1 && slash[1] != '\0';
}

/* Says what is wrong. */
static int check_path(const char *path)
{
    if (is_valid_path(path)) {
        return 0;
    }
    userd_set_last_problem("'%s' is no method; name it as in /users.v1.UserService/GetUser",
                           path == NULL ? "(null)" : path);
    return -EINVAL;
}

struct userd_call *userd_start_bytes(struct userd_client *client,
                                     const struct userd_call_options *options, const char *path,
                                     struct bytes request, userd_bytes_done_fn done, void *context)
{
    struct userd_call *call = NULL;

    if (check_path(path) == 0) {
        call = userd_call_new(client, options, &bytes_type, path, true, context);
    } else {
        errno = EINVAL;
    }
    if (call == NULL) {
        return NULL;
    }
    call->tell.bytes = done;
    return userd_call_start_bytes(call, request);
}

struct userd_call *userd_start_raw(struct userd_client *client,
                                   const struct userd_call_options *options, const char *path,
                                   const struct userd_raw_events *events, void *context)
{
    struct userd_raw_events known = USERD_RAW_EVENTS_INIT;
    struct userd_call *call;

    if (check_path(path) != 0 ||
        userd_struct_take(&known, sizeof(known), events, "userd_raw_events") != 0 ||
        !userd_call_has_end(known.ended)) {
        errno = EINVAL;
        return NULL;
    }
    call = userd_call_new(client, options, &raw_type, path, true, context);
    if (call == NULL) {
        return NULL;
    }
    call->tell.raw = known;
    userd_call_want_writable(call, known.writable);
    return userd_call_open(call);
}

int userd_raw_send(struct userd_call *call, const void *bytes, size_t size)
{
    if (call->type != &raw_type) {
        userd_set_last_problem("the call takes no messages by bytes");
        return -EINVAL;
    }
    return userd_call_send_bytes(call, (struct bytes){bytes, size});
}
