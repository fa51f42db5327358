/*
 * A blocking front over a channel.
 *
 * A call packs its request, starts it and turns the loop until `done` was called. The answer is
 * unpacked into an arena that is emptied by the next call: nothing that a caller sees has to be
 * freed.
 *
 * What can go wrong: the call fails (a status, a text, details), the answer is not the message it
 * should be (INTERNAL), or the loop fails (negative errno: the client can only be freed then).
 */
#include "client/user_client.h"

#include "core/arena.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "core/tls.h"
#include "http2/grpc_error.h"

#include <users/v1/users.pb-c.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define CONNECT_TIMEOUT_NS (10 * CLOCK_NS_PER_S)
#define MESSAGE_SIZE_MAX   (4 * 1024 * 1024)
#define RING_ENTRIES       64
#define RING_BUFFERS       16
#define RING_BUFFER_SIZE   16384
#define SERVICE_PATH       "/users.v1.UserService/"
#define STATUS_PREFIX      "USER_STATUS_"

struct user_client {
    struct reactor reactor;
    struct tls_context *tls;
    struct channel *channel;
    struct channel_call call;
    const char *token;
    uint64_t timeout_ns;
    bool is_done;
    bool is_closed;
    struct buf reply;
    struct buf message; /* with its NUL */
    struct buf details; /* with its NUL */
    struct user_client_failure failure;
    struct arena arena;           /* the request being packed, then the answer */
    ProtobufCAllocator allocator; /* hands the arena to protobuf-c */
};

static void *allocate(void *context, size_t size)
{
    return arena_alloc(context, size);
}

static void keep(void *context, void *pointer)
{
    (void)context;
    (void)pointer; /* the arena frees everything at once */
}

static int set_failure(struct user_client *client, enum grpc_status status,
                       enum channel_cause cause, struct bytes message, struct bytes details)
{
    client->failure.status = status;
    client->failure.cause = cause;
    /* Without memory, or with details that are none, the texts are shorter; the status is what
     * counts. */
    (void)buf_append(&client->message, message.data, message.size);
    (void)grpc_error_describe(details, &client->details);
    client->failure.message = buf_append(&client->message, "", 1) == 0
                                  ? (const char *)buf_bytes(&client->message).data
                                  : "";
    client->failure.details = buf_append(&client->details, "", 1) == 0
                                  ? (const char *)buf_bytes(&client->details).data
                                  : "";
    return USER_CLIENT_E_FAILED;
}

static int fail(struct user_client *client, enum grpc_status status, const char *message)
{
    return set_failure(client, status, CHANNEL_CAUSE_ANSWER, bytes_from_text(message),
                       (struct bytes){0});
}

static void on_done(struct channel_call *call, const struct channel_result *result)
{
    struct user_client *client = CONTAINER_OF(call, struct user_client, call);

    client->is_done = true;
    if (result->status != GRPC_STATUS_OK) {
        (void)set_failure(client, result->status, result->cause, result->message, result->details);
    } else if (buf_append(&client->reply, result->reply.data, result->reply.size) != 0) {
        (void)fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    } else {
        client->failure.status = GRPC_STATUS_OK;
    }
}

static int wait_for_answer(struct user_client *client)
{
    int ret = 0;

    client->is_done = false;
    while (!client->is_done && ret == 0) {
        ret = reactor_turn(&client->reactor, UINT64_MAX);
    }
    return ret;
}

/* Forgets the last answer. */
static void begin(struct user_client *client)
{
    arena_reset(&client->arena);
    buf_clear(&client->reply);
    buf_clear(&client->message);
    buf_clear(&client->details);
    client->failure = (struct user_client_failure){.message = "", .details = ""};
}

/* Sends one message and waits. The packed request is wiped: it may hold a password. */
static int call(struct user_client *client, const char *path, const ProtobufCMessage *request)
{
    size_t size = protobuf_c_message_get_packed_size(request);
    uint8_t *packed = malloc(size + 1);
    int ret;

    if (packed == NULL) {
        return fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    (void)protobuf_c_message_pack(request, packed); /* returns the size we know */
    client->call = (struct channel_call){
        .path = path,
        .token = client->token,
        .timeout_ns = client->timeout_ns,
        .done = on_done,
    };
    ret = channel_start(client->channel, &client->call, (struct bytes){packed, size});
    explicit_bzero(packed, size);
    free(packed);
    if (ret != 0) {
        return fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    ret = wait_for_answer(client);
    if (ret != 0) {
        return ret;
    }
    return client->failure.status == GRPC_STATUS_OK ? 0 : USER_CLIENT_E_FAILED;
}

/* Unpacks the answer into the arena; NULL with the failure set when it is not that message. */
static ProtobufCMessage *unpack(struct user_client *client,
                                const ProtobufCMessageDescriptor *descriptor)
{
    struct bytes reply = buf_bytes(&client->reply);
    ProtobufCMessage *message;

    arena_reset(&client->arena);
    message = protobuf_c_message_unpack(descriptor, &client->allocator, reply.size, reply.data);
    if (message == NULL) {
        (void)fail(client, GRPC_STATUS_INTERNAL, "the answer is not the message it should be");
    }
    return message;
}

static int show_user(struct user_client *client, const Users__V1__User *user,
                     struct user_client_user *ret_user)
{
    const Users__V1__User__Profile *profile;

    if (user == NULL) {
        return fail(client, GRPC_STATUS_INTERNAL, "the answer holds no user");
    }
    profile = user->profile;
    *ret_user = (struct user_client_user){
        .id = user->id,
        .username = user->username,
        .email = user->email,
        .created_at_ms = user->created_at,
        .roles = (const char *const *)user->roles,
        .role_count = user->n_roles,
        .status = (int)user->status,
        .has_profile = profile != NULL,
        .first_name = profile == NULL ? "" : profile->first_name,
        .last_name = profile == NULL ? "" : profile->last_name,
        .avatar_url = profile == NULL ? "" : profile->avatar_url,
        .updated_at_ms = user->updated_at,
        .etag = user->etag,
    };
    return 0;
}

/* protobuf-c wants texts it could change, so each is copied. A text that is not given stays at its
 * default; so does one without memory, which the caller finds by `*ok`. */
static void set_text(struct user_client *client, char **field, const char *text, bool *ok)
{
    char *copy;

    if (text == NULL) {
        return;
    }
    copy = arena_copy_text(&client->arena, bytes_from_text(text));
    if (copy == NULL) {
        *ok = false;
    } else {
        *field = copy;
    }
}

static char **copy_texts(struct user_client *client, const char *const *texts, size_t count,
                         bool *ok)
{
    char **copies;

    if (count == 0) {
        return NULL;
    }
    copies = arena_alloc(&client->arena, count * sizeof(*copies));
    if (copies == NULL) {
        *ok = false;
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        copies[i] = NULL;
        set_text(client, &copies[i], texts[i], ok);
    }
    return copies;
}

int user_client_get(struct user_client *client, const char *id, struct user_client_user *ret_user)
{
    Users__V1__GetUserRequest request;
    Users__V1__GetUserResponse *response;
    bool ok = true;
    int ret;

    begin(client);
    users__v1__get_user_request__init(&request);
    set_text(client, &request.id, id, &ok);
    if (!ok) {
        return fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    ret = call(client, SERVICE_PATH "GetUser", &request.base);
    if (ret != 0) {
        return ret;
    }
    response = (void *)unpack(client, &users__v1__get_user_response__descriptor);
    return response == NULL ? USER_CLIENT_E_FAILED : show_user(client, response->user, ret_user);
}

int user_client_create(struct user_client *client, const struct user_client_create *create,
                       struct user_client_user *ret_user)
{
    Users__V1__CreateUserRequest request;
    Users__V1__CreateUserResponse *response;
    bool ok = true;
    int ret;

    begin(client);
    users__v1__create_user_request__init(&request);
    set_text(client, &request.username, create->username, &ok);
    set_text(client, &request.email, create->email, &ok);
    set_text(client, &request.password, create->password, &ok);
    set_text(client, &request.request_id, create->request_id, &ok);
    ret = ok ? call(client, SERVICE_PATH "CreateUser", &request.base)
             : fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    explicit_bzero(request.password, strlen(request.password));
    if (ret != 0) {
        return ret;
    }
    response = (void *)unpack(client, &users__v1__create_user_response__descriptor);
    return response == NULL ? USER_CLIENT_E_FAILED : show_user(client, response->user, ret_user);
}

static void fill_user(struct user_client *client, const struct user_client_user *user,
                      Users__V1__User *message, Users__V1__User__Profile *profile, bool *ok)
{
    set_text(client, &message->username, user->username, ok);
    set_text(client, &message->email, user->email, ok);
    set_text(client, &message->etag, user->etag, ok);
    message->status = (Users__V1__UserStatus)user->status;
    message->roles = copy_texts(client, user->roles, user->role_count, ok);
    message->n_roles = message->roles == NULL ? 0 : user->role_count;
    if (user->has_profile) {
        set_text(client, &profile->first_name, user->first_name, ok);
        set_text(client, &profile->last_name, user->last_name, ok);
        set_text(client, &profile->avatar_url, user->avatar_url, ok);
        message->profile = profile;
    }
}

int user_client_update(struct user_client *client, const struct user_client_update *update,
                       struct user_client_user *ret_user)
{
    Users__V1__UpdateUserRequest request;
    Users__V1__User user;
    Users__V1__User__Profile profile;
    Google__Protobuf__FieldMask mask;
    Users__V1__UpdateUserResponse *response;
    bool ok = true;
    int ret;

    begin(client);
    users__v1__update_user_request__init(&request);
    users__v1__user__init(&user);
    users__v1__user__profile__init(&profile);
    google__protobuf__field_mask__init(&mask);
    set_text(client, &request.id, update->id, &ok);
    fill_user(client, &update->user, &user, &profile, &ok);
    request.user = &user;
    mask.paths = copy_texts(client, update->mask, update->mask_count, &ok);
    mask.n_paths = mask.paths == NULL ? 0 : update->mask_count;
    if (mask.n_paths != 0) {
        request.update_mask = &mask;
    }
    if (!ok) {
        return fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    ret = call(client, SERVICE_PATH "UpdateUser", &request.base);
    if (ret != 0) {
        return ret;
    }
    response = (void *)unpack(client, &users__v1__update_user_response__descriptor);
    return response == NULL ? USER_CLIENT_E_FAILED : show_user(client, response->user, ret_user);
}

int user_client_delete(struct user_client *client, const char *id, const char *etag,
                       bool *ret_success)
{
    Users__V1__DeleteUserRequest request;
    Users__V1__DeleteUserResponse *response;
    bool ok = true;
    int ret;

    begin(client);
    users__v1__delete_user_request__init(&request);
    set_text(client, &request.id, id, &ok);
    set_text(client, &request.etag, etag, &ok);
    if (!ok) {
        return fail(client, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
    ret = call(client, SERVICE_PATH "DeleteUser", &request.base);
    if (ret != 0) {
        return ret;
    }
    response = (void *)unpack(client, &users__v1__delete_user_response__descriptor);
    if (response == NULL) {
        return USER_CLIENT_E_FAILED;
    }
    *ret_success = response->success != 0;
    return 0;
}

const struct user_client_failure *user_client_failure(const struct user_client *client)
{
    return &client->failure;
}

const char *user_client_status_name(int status)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&users__v1__user_status__descriptor, status);

    return value == NULL ? NULL : value->name;
}

int user_client_status_from_name(const char *name)
{
    const ProtobufCEnumDescriptor *statuses = &users__v1__user_status__descriptor;

    for (unsigned i = 0; i < statuses->n_values; i++) {
        const char *full = statuses->values[i].name;

        if (strcasecmp(name, full) == 0 || strcasecmp(name, full + strlen(STATUS_PREFIX)) == 0) {
            return statuses->values[i].value;
        }
    }
    return -1;
}

static void on_closed(void *context)
{
    struct user_client *client = context;

    client->is_closed = true;
}

static int open_tls(struct user_client *client, const struct user_client_options *options,
                    char *problem)
{
    const struct tls_client_options tls_options = {
        .ca_file = options->ca_file,
        .cert_file = options->cert_file,
        .key_file = options->key_file,
    };

    if (options->ca_file == NULL) {
        return 0;
    }
    if ((options->cert_file == NULL) != (options->key_file == NULL)) {
        (void)snprintf(problem, USER_CLIENT_PROBLEM_SIZE,
                       "a certificate and its key are given together or not at all");
        return USER_CLIENT_E_OPTIONS;
    }
    return tls_context_new_client(&tls_options, problem, &client->tls) == 0 ? 0
                                                                            : USER_CLIENT_E_OPTIONS;
}

static int open_channel(struct user_client *client, const struct user_client_options *options,
                        char *problem)
{
    struct channel_options channel_options = {
        .connect_timeout_ns = CONNECT_TIMEOUT_NS,
        .max_message = MESSAGE_SIZE_MAX,
    };

    if (target_parse(options->target, problem, &channel_options.target) != 0) {
        return USER_CLIENT_E_OPTIONS;
    }
    if (target_resolve(&channel_options.target, problem) != 0) {
        return USER_CLIENT_E_UNRESOLVED;
    }
    channel_options.tls = client->tls;
    return channel_new(&client->reactor, &channel_options, on_closed, client, &client->channel);
}

int user_client_new(const struct user_client_options *options, char *problem,
                    struct user_client **ret_client)
{
    const struct ring_options ring_options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    struct user_client *client = calloc(1, sizeof(*client));
    int ret;

    (void)snprintf(problem, USER_CLIENT_PROBLEM_SIZE, "out of memory");
    if (client == NULL) {
        return -ENOMEM;
    }
    client->token = options->token;
    client->timeout_ns = options->timeout_ns;
    client->arena.size_max = 4 * MESSAGE_SIZE_MAX;
    client->allocator = (ProtobufCAllocator){
        .alloc = allocate,
        .free = keep,
        .allocator_data = &client->arena,
    };
    ret = reactor_init(&client->reactor, &ring_options, clock_system(), NULL, problem);
    if (ret != 0) {
        free(client);
        return ret;
    }
    ret = open_tls(client, options, problem);
    if (ret == 0) {
        ret = open_channel(client, options, problem);
    }
    if (ret != 0) {
        user_client_free(client);
        return ret;
    }
    *ret_client = client;
    return 0;
}

void user_client_free(struct user_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->channel != NULL) {
        channel_close(client->channel);
        while (!client->is_closed) {
            if (reactor_turn(&client->reactor, UINT64_MAX) != 0) {
                return; /* Not tested: the kernel still holds our memory, so it is left behind. */
            }
        }
    }
    reactor_deinit(&client->reactor);
    tls_context_unref(client->tls);
    buf_deinit(&client->reply);
    buf_deinit(&client->message);
    buf_deinit(&client->details);
    arena_deinit(&client->arena);
    free(client);
}
