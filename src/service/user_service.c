/*
 * The handlers of users.v1.UserService. A read is answered at once from the store. A change becomes
 * a user_write, which holds its call until it can be answered; when the client goes away meanwhile
 * the write is cancelled as far as it still can be, and its answer is dropped by the call.
 */
#include "service/user_service.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "http2/proto_wire.h"
#include "service/user_errors.h"
#include "service/user_patch.h"
#include "service/user_request.h"
#include "service/user_store.h"
#include "service/user_validate.h"
#include "service/user_write.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH(name) "/users.v1.UserService/" name

struct user_service {
    struct reactor *reactor;
    struct user_service_options options;
    struct user_store *store;
    struct user_writer writer;
    void (*state_changed)(void *context, enum commit_log_state state, const char *reason);
    void *state_context;
    uint64_t refused_revision; /* of the record at which recovery ended; 0 = none */
};

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

static void fail_request(struct grpc_call *call, int result)
{
    if (result == USER_REQUEST_E_TOO_MANY) {
        fail(call, USER_ERROR_TOO_MANY_FIELDS);
    } else if (result == USER_REQUEST_E_NUL) {
        fail(call, USER_ERROR_NUL);
    } else if (result == USER_REQUEST_E_TOO_LARGE) {
        fail(call, USER_ERROR_TOO_LARGE);
    } else {
        fail(call, result == -ENOMEM ? USER_ERROR_NO_MEMORY : USER_ERROR_MALFORMED);
    }
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

static void on_cancel(struct grpc_call *call, void *context)
{
    (void)call;
    user_write_cancel(context);
}

/* Answers the call of a write that has ended, and lets go of both. */
static void on_write_done(struct user_write *write, enum user_write_outcome outcome)
{
    struct grpc_call *call = write->owner;

    grpc_call_on_cancel(call, NULL, NULL);
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
        grpc_call_on_cancel(call, on_cancel, write);
    } else {
        on_write_done(write, outcome);
    }
}

/* NULL, with the call failed, when out of memory. */
static struct user_write *new_write(struct user_service *service, enum user_write_kind kind,
                                    struct grpc_call *call)
{
    struct user_write *write = user_write_new(&service->writer, kind, on_write_done, call);

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

static void get_user(void *context, struct grpc_call *call, struct bytes request)
{
    struct user_service *service = context;
    const struct user_entry *entry;
    struct bytes id;
    int result = user_request_read_get(request, service->options.max_fields, &id);

    if (result != 0) {
        fail_request(call, result);
        return;
    }
    entry = user_store_find(service->store, id);
    if (entry != NULL) {
        reply_user(call, entry);
    } else if (!is_bad_id(call, id)) {
        fail_not_found(call, id);
    }
}

/* Reads, trims and judges a CreateUserRequest. False with the call failed. */
static bool read_draft(struct user_service *service, struct grpc_call *call, struct bytes request,
                       struct user_draft *ret_draft)
{
    struct user_password_rule rule = {service->options.password_min_length,
                                      service->options.password_max_length};
    struct user_faults faults = {0};
    int result = user_request_read_create(request, service->options.max_fields, ret_draft);

    if (result != 0) {
        fail_request(call, result);
        return false;
    }
    ret_draft->username = user_validate_trim(ret_draft->username);
    ret_draft->email = user_validate_trim(ret_draft->email);
    user_validate_draft(ret_draft, &rule, &faults);
    if (faults.count > 0) {
        struct user_error error;

        user_error_fields(&error, &faults);
        grpc_call_fail(call, &error.grpc);
        return false;
    }
    return true;
}

static void create_user(void *context, struct grpc_call *call, struct bytes request)
{
    struct user_service *service = context;
    struct user_write *write;
    struct user_draft draft;

    if (!read_draft(service, call, request, &draft)) {
        return;
    }
    write = new_write(service, USER_WRITE_CREATE, call);
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
static struct user_patch *read_patch(struct user_service *service, struct grpc_call *call,
                                     struct bytes message, struct bytes *ret_id)
{
    struct user_patch *patch = arena_alloc(&call->arena, sizeof(*patch));
    struct user_faults faults = {0};
    struct user_update_request request;
    int result = -ENOMEM;

    if (patch != NULL) {
        result =
            user_request_read_update(message, service->options.max_fields, &call->arena, &request);
    }
    if (result != 0) {
        fail_request(call, result);
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

static void update_user(void *context, struct grpc_call *call, struct bytes request)
{
    struct user_service *service = context;
    struct bytes id;
    const struct user_patch *patch = read_patch(service, call, request, &id);
    struct user_write *write;

    if (patch == NULL) {
        return;
    }
    write = new_write(service, USER_WRITE_UPDATE, call);
    if (write != NULL) {
        write->id = id;
        write->etag = patch->user.etag;
        write->patch = patch;
        start_write(write);
    }
}

static void delete_user(void *context, struct grpc_call *call, struct bytes message)
{
    struct user_service *service = context;
    struct user_delete_request request;
    struct user_write *write;
    int result =
        user_request_read_delete(message, service->options.max_fields, &call->arena, &request);

    if (result != 0) {
        fail_request(call, result);
        return;
    }
    if (is_bad_id(call, request.id)) {
        return;
    }
    write = new_write(service, USER_WRITE_DELETE, call);
    if (write != NULL) {
        write->id = request.id;
        write->etag = request.etag;
        start_write(write);
    }
}

void user_service_methods(struct user_service *service, struct grpc_method *ret_methods)
{
    static const struct grpc_method methods[USER_SERVICE_METHOD_COUNT] = {
        {.path = PATH("GetUser"), .kind = GRPC_METHOD_UNARY, .unary = get_user},
        {.path = PATH("CreateUser"),
         .kind = GRPC_METHOD_UNARY,
         .unary = create_user,
         .secret = true},
        {.path = PATH("UpdateUser"), .kind = GRPC_METHOD_UNARY, .unary = update_user},
        {.path = PATH("DeleteUser"), .kind = GRPC_METHOD_UNARY, .unary = delete_user},
        {.path = PATH("ListUsers"), .kind = GRPC_METHOD_UNARY},
        {.path = PATH("WatchUser"), .kind = GRPC_METHOD_SERVER_STREAM},
        {.path = PATH("BatchCreateUsers"), .kind = GRPC_METHOD_BIDI_STREAM, .secret = true},
        {.path = PATH("SyncUsers"), .kind = GRPC_METHOD_BIDI_STREAM},
    };

    for (size_t i = 0; i < USER_SERVICE_METHOD_COUNT; i++) {
        ret_methods[i] = methods[i];
        ret_methods[i].service = service;
    }
}

static void on_reset_begin(void *context)
{
    struct user_service *service = context;

    user_store_clear(service->store);
}

static int on_reset_record(void *context, const struct commit_event *event)
{
    struct user_service *service = context;
    int result = user_store_apply(service->store, event);

    if (result != 0) {
        service->refused_revision = event->revision;
    }
    return result;
}

/* The program around us tells how many users there are. */
static void on_reset_end(void *context, uint64_t revision)
{
    (void)context;
    (void)revision;
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct user_service *service = context;

    for (size_t i = 0; i < count; i++) {
        int result = user_store_apply(service->store, &events[i]);

        /* Every record was planned here, and checked then. Going on with a store that does not hold
         * what the log holds would be worse than ending. */
        assert(result == 0);
    }
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    struct user_service *service = context;

    if (state == COMMIT_LOG_FAILED || state == COMMIT_LOG_CLOSED) {
        service->writer.log_failed = true;
    }
    if (service->state_changed != NULL) {
        service->state_changed(service->state_context, state, reason);
    }
}

static const struct commit_log_callbacks log_callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .events = on_events,
    .state = on_state,
};

int user_service_new(struct reactor *reactor, struct random_source *random, struct workpool *pool,
                     const struct user_service_options *options, struct user_service **ret_service)
{
    struct user_service *service = calloc(1, sizeof(*service));
    struct hash_seed seed;

    if (service == NULL) {
        return -ENOMEM;
    }
    random_fill(random, &seed, sizeof(seed));
    if (user_store_new(options->max_users, seed, &service->store) != 0) {
        free(service);
        return -ENOMEM;
    }
    service->reactor = reactor;
    service->options = *options;
    service->writer = (struct user_writer){
        .store = service->store,
        .pool = pool,
        .clock = reactor->clock,
        .ids = {.random = random},
        .cost = {options->password_memory_kib, options->password_iterations},
    };
    *ret_service = service;
    return 0;
}

int user_service_start(struct user_service *service, struct commit_log *log,
                       void (*state_changed)(void *context, enum commit_log_state state,
                                             const char *reason),
                       void *context, char *problem)
{
    int result;

    service->state_changed = state_changed;
    service->state_context = context;
    service->writer.log = log;
    result = log->ops->start(log, &log_callbacks, service, problem);
    if (result == -EBADMSG && service->refused_revision != 0) {
        /* The log itself is whole, but what it says about users is not. */
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "record %llu of the log does not fit the records before it",
                       (unsigned long long)service->refused_revision);
        return WAL_E_DAMAGED;
    }
    return result;
}

uint64_t user_service_user_count(const struct user_service *service)
{
    return user_store_count(service->store);
}

void user_service_free(struct user_service *service)
{
    if (service == NULL) {
        return;
    }
    user_writer_deinit(&service->writer);
    user_store_free(service->store);
    free(service);
}
