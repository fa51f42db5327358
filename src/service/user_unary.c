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
#include <stdio.h>

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

static void fail_with(struct grpc_call *call, const struct user_error *error)
{
    user_error_count(error, &call->host->reactor->limits_hit);
    grpc_call_fail(call, &error->grpc);
}

static void fail(struct grpc_call *call, enum user_error_kind kind)
{
    struct user_error error;

    user_error_set(&error, kind);
    fail_with(call, &error);
}

static void fail_request(struct grpc_call *call, int result, const struct user_faults *faults)
{
    struct user_error error;

    user_error_of_request(&error, result, faults);
    fail_with(call, &error);
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
        fail_with(call, &error);
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

    if (user_durability_add(&write->writer->durability, call) != 0) {
        user_write_free(write);
        fail(call, USER_ERROR_NO_MEMORY);
        return;
    }
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

/* A path longer than this is not quoted; the longest that names something has 18 bytes. */
#define PATH_QUOTED_MAX 64

/* Says which path of the mask names nothing; the text lies in the arena. Returns 0 or -ENOMEM. */
static int add_unknown_path(struct arena *arena, struct bytes path, struct user_faults *faults)
{
    static const char format[] = "must not name `%.*s`, which is no field that may be set";
    const size_t size = sizeof(format) + PATH_QUOTED_MAX;
    char *problem;

    if (path.size > PATH_QUOTED_MAX) {
        user_faults_add_path(faults, path, "must name fields of a user that may be set, or *");
        return 0;
    }
    problem = arena_alloc(arena, size);
    if (problem == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(problem, size, format, (int)path.size, (const char *)path.data);
    user_faults_add_path(faults, path, problem);
    return 0;
}

/* Takes the fields that the mask names, and adds what it names in vain. Returns 0 or -ENOMEM. */
static int read_mask(struct arena *arena, const struct user_update_request *request,
                     struct user_patch *patch, struct user_faults *faults)
{
    int result = 0;

    if (request->path_count == 0) {
        user_patch_add_populated(patch);
    }
    for (size_t i = 0; i < request->path_count && result == 0; i++) {
        if (user_patch_add_path(patch, request->paths[i]) != 0 && faults->count < USER_FAULTS_MAX) {
            result = add_unknown_path(arena, request->paths[i], faults);
        }
    }
    return result;
}

/* Adds all that is wrong with the request to the faults. Returns 0, USER_REQUEST_E_FAULTS or
 * -ENOMEM. */
static int read_patch(struct arena *arena, const struct user_update_request *request,
                      struct user_patch *patch, struct user_faults *faults)
{
    int result;

    *patch = (struct user_patch){.user = request->user};
    user_validate_id(request->id, faults);
    result = read_mask(arena, request, patch, faults);
    if (result != 0) {
        return result;
    }
    /* After the mask: a name of blanks alone was set, and is refused. */
    patch->user.username = user_validate_trim(request->user.username);
    patch->user.email = user_validate_trim(request->user.email);
    user_validate_patch(patch, faults);
    return faults->count > 0 ? USER_REQUEST_E_FAULTS : 0;
}

/* Reads, trims and judges an UpdateUserRequest. NULL with the call failed. The patch lies in the
 * arena, like all its texts. */
static struct user_patch *new_patch(struct user_unary *self, struct grpc_call *call,
                                    struct bytes message, struct bytes *ret_id)
{
    struct user_patch *patch = arena_alloc(&call->arena, sizeof(*patch));
    struct user_update_request request;
    struct user_faults faults;
    int result = -ENOMEM;

    if (patch != NULL) {
        result =
            user_request_read_update(message, self->max_fields, &call->arena, &request, &faults);
    }
    if (result == 0) {
        result = read_patch(&call->arena, &request, patch, &faults);
    }
    if (result != 0) {
        fail_request(call, result, &faults);
        return NULL;
    }
    *ret_id = request.id;
    return patch;
}

void user_unary_update(void *unary, struct grpc_call *call, struct bytes request)
{
    struct user_unary *self = unary;
    struct bytes id;
    const struct user_patch *patch = new_patch(self, call, request, &id);
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

void user_unary_delete(void *unary, struct grpc_call *call, struct bytes request)
{
    struct user_unary *self = unary;
    struct user_delete_request wanted;
    struct user_faults faults;
    struct user_write *write;
    int result =
        user_request_read_delete(request, self->max_fields, &call->arena, &wanted, &faults);

    if (result == 0) {
        user_validate_id(wanted.id, &faults);
        result = faults.count > 0 ? USER_REQUEST_E_FAULTS : 0;
    }
    if (result != 0) {
        fail_request(call, result, &faults);
        return;
    }
    write = new_write(self, USER_WRITE_DELETE, call);
    if (write != NULL) {
        write->id = wanted.id;
        write->etag = wanted.etag;
        start_write(write);
    }
}
