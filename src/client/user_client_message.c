/*
 * Requests and answers between the structs of user_client.h and their bytes. Nothing else of the
 * client knows protobuf-c.
 *
 * A request is packed right from the caller's texts. An answer is unpacked into the client's arena,
 * so that nothing of it is freed one by one.
 */
#include "client/user_client_internal.h"
#include "http2/proto_wire.h"

#include <users/v1/users.pb-c.h>

#include <errno.h>
#include <stdlib.h>

#define ERROR_INFO_TYPE  "type.googleapis.com/google.rpc.ErrorInfo"
#define INDEX_DIGITS_MAX 18

/* protobuf-c has texts that it could change, and does not when it packs. */
static void lend(char **field, const char *text)
{
    if (text != NULL) {
        *field = (char *)(uintptr_t)text; /* else the default stays */
    }
}

static char **lend_all(const char *const *texts)
{
    return (char **)(uintptr_t)texts;
}

static int pack(const ProtobufCMessage *message, struct user_client_packed *ret_packed)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *memory = malloc(size + 1);

    if (memory == NULL) {
        return -ENOMEM;
    }
    (void)protobuf_c_message_pack(message, memory); /* returns the size we know */
    *ret_packed = (struct user_client_packed){.memory = memory, .bytes = {memory, size}};
    return 0;
}

void user_client_packed_free(struct user_client_packed *packed)
{
    explicit_bzero(packed->memory, packed->bytes.size);
    free(packed->memory);
}

int user_client_pack_get(const char *id, struct user_client_packed *ret_packed)
{
    Users__V1__GetUserRequest request;

    users__v1__get_user_request__init(&request);
    lend(&request.id, id);
    return pack(&request.base, ret_packed);
}

int user_client_pack_create(const struct user_client_create *create,
                            struct user_client_packed *ret_packed)
{
    Users__V1__CreateUserRequest request;

    users__v1__create_user_request__init(&request);
    lend(&request.username, create->username);
    lend(&request.email, create->email);
    lend(&request.password, create->password);
    lend(&request.request_id, create->request_id);
    return pack(&request.base, ret_packed);
}

/* `profile` is used when the user has one. */
static void fill_user(const struct user_client_user *user, Users__V1__User *message,
                      Users__V1__User__Profile *profile)
{
    users__v1__user__init(message);
    users__v1__user__profile__init(profile);
    lend(&message->id, user->id);
    lend(&message->username, user->username);
    lend(&message->email, user->email);
    lend(&message->etag, user->etag);
    message->created_at = user->created_at_ms;
    message->updated_at = user->updated_at_ms;
    message->status = (Users__V1__UserStatus)user->status;
    message->roles = lend_all(user->roles);
    message->n_roles = user->role_count;
    if (user->has_profile) {
        lend(&profile->first_name, user->first_name);
        lend(&profile->last_name, user->last_name);
        lend(&profile->avatar_url, user->avatar_url);
        message->profile = profile;
    }
}

int user_client_pack_update(const struct user_client_update *update,
                            struct user_client_packed *ret_packed)
{
    Users__V1__UpdateUserRequest request;
    Users__V1__User user;
    Users__V1__User__Profile profile;
    Google__Protobuf__FieldMask mask;

    users__v1__update_user_request__init(&request);
    google__protobuf__field_mask__init(&mask);
    lend(&request.id, update->id);
    fill_user(&update->user, &user, &profile);
    request.user = &user;
    mask.paths = lend_all(update->mask);
    mask.n_paths = update->mask_count;
    if (mask.n_paths != 0) {
        request.update_mask = &mask;
    }
    return pack(&request.base, ret_packed);
}

int user_client_pack_delete(const char *id, const char *etag, struct user_client_packed *ret_packed)
{
    Users__V1__DeleteUserRequest request;

    users__v1__delete_user_request__init(&request);
    lend(&request.id, id);
    lend(&request.etag, etag);
    return pack(&request.base, ret_packed);
}

int user_client_pack_list(const struct user_client_list *list,
                          struct user_client_packed *ret_packed)
{
    Users__V1__ListUsersRequest request;

    users__v1__list_users_request__init(&request);
    request.page_size = list->page_size;
    lend(&request.page_token, list->page_token);
    lend(&request.filter, list->filter);
    return pack(&request.base, ret_packed);
}

int user_client_pack_user(const struct user_client_user *user,
                          struct user_client_packed *ret_packed)
{
    Users__V1__User message;
    Users__V1__User__Profile profile;

    fill_user(user, &message, &profile);
    return pack(&message.base, ret_packed);
}

static void *allocate(void *context, size_t size)
{
    return arena_alloc(context, size);
}

static void keep(void *context, void *pointer)
{
    (void)context;
    (void)pointer; /* the arena frees everything at once */
}

/* NULL when it is not that message. */
static void *unpack(struct user_client *client, const ProtobufCMessageDescriptor *descriptor,
                    struct bytes packed)
{
    ProtobufCAllocator allocator = {
        .alloc = allocate,
        .free = keep,
        .allocator_data = &client->arena,
    };

    arena_reset(&client->arena);
    return protobuf_c_message_unpack(descriptor, &allocator, packed.size, packed.data);
}

static void show(const Users__V1__User *user, struct user_client_user *ret_user)
{
    const Users__V1__User__Profile *profile = user->profile;

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
}

int user_client_read_user(struct user_client *client, struct bytes packed,
                          struct user_client_user *ret_user)
{
    const Users__V1__User *user = unpack(client, &users__v1__user__descriptor, packed);

    if (user == NULL) {
        return -EBADMSG;
    }
    show(user, ret_user);
    return 0;
}

/* The three answers hold the user in the same field, so one descriptor serves them all. */
int user_client_read_answer(struct user_client *client, struct bytes packed,
                            struct user_client_user *ret_user)
{
    const Users__V1__GetUserResponse *answer =
        unpack(client, &users__v1__get_user_response__descriptor, packed);

    if (answer == NULL) {
        return -EBADMSG;
    }
    if (answer->user == NULL) {
        return USER_CLIENT_E_NO_USER;
    }
    show(answer->user, ret_user);
    return 0;
}

static int read_item_error(struct user_client *client, const Google__Rpc__Status *error)
{
    struct user_client_packed details;

    if (error->code <= 0 || error->code >= GRPC_STATUS_COUNT) {
        return -EBADMSG;
    }
    if (pack(&error->base, &details) != 0) {
        return -ENOMEM;
    }
    user_client_set_problem(&client->item, (enum grpc_status)error->code, CHANNEL_CAUSE_ANSWER,
                            bytes_from_text(error->message), details.bytes);
    user_client_packed_free(&details);
    return USER_CLIENT_E_ITEM;
}

int user_client_read_item(struct user_client *client, struct bytes packed,
                          struct user_client_user *ret_user)
{
    const Users__V1__CreateUserResponse *answer =
        unpack(client, &users__v1__create_user_response__descriptor, packed);

    if (answer == NULL || (answer->user == NULL) == (answer->error == NULL)) {
        return -EBADMSG;
    }
    if (answer->error != NULL) {
        return read_item_error(client, answer->error);
    }
    show(answer->user, ret_user);
    return 0;
}

int user_client_read_deleted(struct user_client *client, struct bytes packed, bool *ret_success)
{
    const Users__V1__DeleteUserResponse *answer =
        unpack(client, &users__v1__delete_user_response__descriptor, packed);

    if (answer == NULL) {
        return -EBADMSG;
    }
    *ret_success = answer->success != 0;
    return 0;
}

int user_client_read_page(struct user_client *client, struct bytes packed,
                          struct user_client_page *ret_page)
{
    const Users__V1__ListUsersResponse *answer =
        unpack(client, &users__v1__list_users_response__descriptor, packed);
    struct user_client_user *users;

    if (answer == NULL) {
        return -EBADMSG;
    }
    users = arena_alloc(&client->arena, answer->n_users * sizeof(*users));
    if (users == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < answer->n_users; i++) {
        show(answer->users[i], &users[i]);
    }
    *ret_page = (struct user_client_page){
        .users = users,
        .count = answer->n_users,
        .next_page_token = answer->next_page_token,
        .total_count = answer->total_count,
        .plan = "",
    };
    return 0;
}

/* Takes the next field of that number that holds bytes; false when none is left, or no message. */
static bool next_bytes(struct bytes *message, uint32_t number, struct bytes *ret_bytes)
{
    struct proto_wire_field field;

    while (proto_wire_read(message, &field) == 0) {
        if (field.number == number && field.type == PROTO_WIRE_BYTES) {
            *ret_bytes = field.bytes;
            return true;
        }
    }
    return false;
}

/* The first field of that number; empty when there is none. */
static struct bytes first_bytes(struct bytes message, uint32_t number)
{
    struct bytes found = {0};

    (void)next_bytes(&message, number, &found);
    return found;
}

static int64_t parse_index(struct bytes text)
{
    int64_t index = 0;

    if (text.size == 0 || text.size > INDEX_DIGITS_MAX) {
        return -1;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        index = index * 10 + (text.data[i] - '0');
    }
    return index;
}

/* ErrorInfo { metadata = 3 { key = 1; value = 2 } } */
static int64_t index_of_info(struct bytes info)
{
    struct bytes entry;

    while (next_bytes(&info, 3, &entry)) {
        if (bytes_equal(first_bytes(entry, 1), BYTES_LITERAL("index"))) {
            return parse_index(first_bytes(entry, 2));
        }
    }
    return -1;
}

/* Status { details = 3 (Any { type_url = 1; value = 2 }) } */
int64_t user_client_error_index(struct bytes details)
{
    struct bytes any;

    while (next_bytes(&details, 3, &any)) {
        if (bytes_equal(first_bytes(any, 1), BYTES_LITERAL(ERROR_INFO_TYPE))) {
            return index_of_info(first_bytes(any, 2));
        }
    }
    return -1;
}
