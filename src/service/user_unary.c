/*
 * A read is answered at once from the store. A change becomes a user_write, which holds its call
 * until it can be answered; when the client goes away meanwhile the write is cancelled as far as it
 * still can be, and its answer is dropped by the call.
 */
#include "service/user_unary.h"

#include "http2/grpc_call.h"
#include "http2/proto_wire.h"
#include "service/user_errors.h"
#include "service/user_patch.h"
#include "service/user_request.h"
#include "service/user_store.h"
#include "service/user_write.h"

#include <errno.h>

/* GetUserResponse, CreateUserResponse and UpdateUserResponse alike: field 1 is the user. */
static void reply_user(struct grpc_call *call, const struct user_entry *entry)
{
    struct bytes message = user_entry_message(entry);
    uint8_t prefix[1 + PROTO_WIRE_VARINT_MAX] = {1 << 3 | PROTO_WIRE_BYTES};
    size_t prefix_size = 1 + proto_wire_put_varint(prefix + 1, message.size);
    const struct bytes parts[] = {{prefix, prefix_size}, message};

    grpc_call_reply(call, parts, 2);
}

static void reply_deleted(struct grpc_call *call)
{
    static const uint8_t response[] = {1 << 3 | PROTO_WIRE_VARINT, 1}; /* success = true */
    const struct bytes part = {response, sizeof(response)};

    grpc_call_reply(call, &part, 1);
}

static void fail(struct grpc_call *call, enum user_error_kind kind)
{
    struct user_error error;

    user_error_set(&error, kind);
    grpc_call_fail(call, &error.grpc);
}

static void fail_request(struct grpc_call *call, int result, const struct user_faults *faults)
{
    struct user_error error;

    user_error_of_request(&error, result, faults);
    grpc_call_fail(call, &error.grpc);
}

static void fail_not_found(struct grpc_call *call, struct bytes id)
{
    struct user_error error;

    user_error_not_found(&error, id);
    grpc_call_fail(call, &error.grpc);
}

/* True, with the call failed, when the id cannot be that of a user. */
static bool is_bad_id(struct grpc_call *call, struct bytes id)
{
    if (id.size == 0) {
        fail(call, USER_ERROR_ID_MISSING);
        return true;
    }
    if (id.size > USER_ID_BYTES_MAX) {
        fail(call, USER_ERROR_ID_TOO_LONG);
        return true;
    }
    return false;
}

static void answer_write(struct grpc_call *call, const struct user_write *write,
                         enum user_write_outcome outcome)
{
    struct user_error error;

    if (outcome != USER_WRITE_DONE) {
        user_error_of_write(&error, write, outcome);
        grpc_call_fail(call, &error.grpc);
    } else if (write->kind == USER_WRITE_DELETE) {
        reply_deleted(call);
    } else {
        reply_user(call, write->entry);
    }
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    (void)call;
    user_write_cancel(context);
}

static const struct grpc_call_events write_events = {.cancelled = on_cancelled};

/* Answers the call of a write that has ended, and lets go of both. */
static void on_write_done(struct user_write *write, enum user_write_outcome outcome)
{
    struct grpc_call *call = write->owner;

    grpc_call_listen(call, NULL, NULL);
    answer_write(call, write, outcome);
    user_write_free(write);
    grpc_call_release(call);
}

/* Sends a write on its way. The call is held by it until the end. */
static void start_write(struct user_write *write)
{
    struct grpc_call *call = write->owner;
    enum user_write_outcome outcome;

    grpc_call_hold(call);
    outcome = user_write_start(write);
    if (outcome == USER_WRITE_ON_ITS_WAY) {
        grpc_call_listen(call, &write_events, write);
    } else {
        on_write_done(write, outcome);
    }
}

/* NULL, with the call failed, when out of memory. */
static struct user_write *new_write(struct user_unary *self, enum user_write_kind kind,
                                    struct grpc_call *call)
{
    struct user_write *write = user_write_new(self->writer, kind, on_write_done, call);

    if (write == NULL) {
        fail(call, USER_ERROR_NO_MEMORY);
    }
    return write;
}

/* Replaces a borrowed text by a copy in the arena of the call. Returns false when there is no
 * memory. */
static bool keep_text(struct grpc_call *call, struct bytes *text)
{
    const char *copy = arena_copy_text(&call->arena, *text);

    if (copy == NULL) {
        return false;
    }
    text->data = (const uint8_t *)copy;
    return true;
}

void user_unary_get(void *unary, struct grpc_call *call, struct bytes request)
{
    struct user_unary *self = unary;
    const struct user_entry *entry;
    struct bytes id;
    int result = user_request_read_get(request, self->max_fields, &id);

    if (result != 0) {
        fail_request(call, result, NULL);
        return;
    }
    entry = user_store_find(self->store, id);
    if (entry != NULL) {
        reply_user(call, entry);
    } else if (!is_bad_id(call, id)) {
        fail_not_found(call, id);
    }
}

void user_unary_create(void *unary, struct grpc_call *call, struct bytes request)
{
    struct user_unary *self = unary;
    struct user_write *write;
    struct user_draft draft;
    struct user_faults faults;
    int result =
        user_request_read_create(request, self->max_fields, &self->password_rule, &draft, &faults);

    if (result != 0) {
        fail_request(call, result, &faults);
        return;
    }
    write = new_write(self, USER_WRITE_CREATE, call);
    if (write == NULL) {
        return;
    }
    if (!keep_text(call, &draft.username) || !keep_text(call, &draft.email) ||
        !keep_text(call, &draft.request_id) || user_write_set_draft(write, &draft) != 0) {
        user_write_free(write);
        fail(call, USER_ERROR_NO_MEMORY);
        return;
    }
    start_write(write);
}

/* Takes the fields that the mask names. False with the call failed. */
static bool read_mask(struct grpc_call *call, const struct user_update_request *request,
                      struct user_patch *patch)
{
    if (request->path_count == 0) {
        user_patch_add_populated(patch);
    }
    for (size_t i = 0; i < request->path_count; i++) {
        if (user_patch_add_path(patch, request->paths[i]) != 0) {
            struct user_error error;

            user_error_mask(&error, request->paths[i]);
            grpc_call_fail(call, &error.grpc);
            return false;
        }
    }
    return true;
}

/* Reads, trims and judges an UpdateUserRequest. NULL with the call failed. The patch lies in the
 * arena, like all its texts. */
static struct user_patch *read_patch(struct user_unary *self, struct grpc_call *call,
                                     struct bytes message, struct bytes *ret_id)
{
    struct user_patch *patch = arena_alloc(&call->arena, sizeof(*patch));
    struct user_faults faults = {0};
    struct user_update_request request;
    int result = -ENOMEM;

    if (patch != NULL) {
        result = user_request_read_update(message, self->max_fields, &call->arena, &request);
    }
    if (result != 0) {
        fail_request(call, result, NULL);
        return NULL;
    }
    if (is_bad_id(call, request.id)) {
        return NULL;
    }
    *patch = (struct user_patch){.user = request.user};
    if (!read_mask(call, &request, patch)) {
        return NULL;
    }
    /* After the mask: a name of blanks alone was set, and is refused. */
    patch->user.username = user_validate_trim(request.user.username);
    patch->user.email = user_validate_trim(request.user.email);
    user_validate_patch(patch, &faults);
    if (faults.count > 0) {
        struct user_error error;

        user_error_fields(&error, &faults);
        grpc_call_fail(call, &error.grpc);
        return NULL;
    }
    *ret_id = request.id;
    return patch;
}

void user_unary_update(void *unary, struct grpc_call *call, struct bytes request)
{
    struct user_unary *self = unary;
    struct bytes id;
    const struct user_patch *patch = read_patch(self, call, request, &id);
    struct user_write *write;

    if (patch == NULL) {
        return;
    }
    write = new_write(self, USER_WRITE_UPDATE, call);
    if (write != NULL) {
        write->id = id;
        write->etag = patch->user.etag;
        write->patch = patch;
        start_write(write);
    }
}

void user_unary_delete(void *unary, struct grpc_call *call, struct bytes message)
{
    struct user_unary *self = unary;
    struct user_delete_request request;
    struct user_write *write;
    int result = user_request_read_delete(message, self->max_fields, &call->arena, &request);

    if (result != 0) {
        fail_request(call, result, NULL);
        return;
    }
    if (is_bad_id(call, request.id)) {
        return;
    }
    write = new_write(self, USER_WRITE_DELETE, call);
    if (write != NULL) {
        write->id = request.id;
        write->etag = request.etag;
        start_write(write);
    }
}
