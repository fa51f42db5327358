/*
 * Requests and answers between the structs of client.h and their bytes. Nothing else of the
 * client knows protobuf-c.
 *
 * A request is packed right from the caller's texts. An answer is unpacked into the client's arena,
 * so that nothing of it is freed one by one.
 */
#include "client/userd_client_internal.h"
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

/* protobuf-c would read them. Returns 0, or -EINVAL with the last problem set. */
static int check_all(const char *const *texts, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (texts == NULL || texts[i] == NULL) {
            userd_set_last_problem("text %zu of the %zu in `%s` is NULL", i, count, name);
            return -EINVAL;
        }
    }
    return 0;
}

static int take_user(const struct userd_user *user, struct userd_user *ret_user)
{
    const int ret = userd_struct_take(ret_user, sizeof(*ret_user), user, "userd_user");

    return ret != 0 ? ret : check_all(ret_user->roles, ret_user->role_count, "roles");
}

static int pack(struct userd_client *client, const ProtobufCMessage *message)
{
    const size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *memory;

    if (!userd_is_mine(client)) {
        return -EPERM;
    }
    memory = buf_reserve(&client->packed, size + 1); /* none for nothing would be NULL */
    if (memory == NULL) {
        return -ENOMEM;
    }
    buf_commit(&client->packed, protobuf_c_message_pack(message, memory));
    return 0;
}

void userd_packed_wipe(struct userd_client *client)
{
    if (userd_is_mine(client) && client->packed.end > 0) {
        explicit_bzero(client->packed.data, client->packed.end);
        buf_clear(&client->packed);
    }
}

int userd_pack_health(struct userd_client *client, const char *service)
{
    if (service == NULL || service[0] == '\0') {
        return 0;
    }
    return proto_wire_append_bytes(&client->packed, 1, bytes_from_text(service));
}

int userd_pack_id(struct userd_client *client, const char *id)
{
    Users__V1__GetUserRequest request;

    users__v1__get_user_request__init(&request);
    lend(&request.id, id);
    return pack(client, &request.base);
}

int userd_pack_new_user(struct userd_client *client, const struct userd_new_user *new_user)
{
    struct userd_new_user known = USERD_NEW_USER_INIT;
    Users__V1__CreateUserRequest request;
    const int ret = userd_struct_take(&known, sizeof(known), new_user, "userd_new_user");

    if (ret != 0) {
        return ret;
    }
    users__v1__create_user_request__init(&request);
    lend(&request.username, known.username);
    lend(&request.email, known.email);
    lend(&request.password, known.password);
    lend(&request.request_id, known.request_id);
    return pack(client, &request.base);
}

/* A profile that was filled in and not announced is meant all the same: without it a mask that
 * names one of its texts would empty that. */
static bool has_profile(const struct userd_user *user)
{
    return user->has_profile || user->first_name != NULL || user->last_name != NULL ||
           user->avatar_url != NULL;
}

/* `profile` is used when the user has one. */
static void fill_user(const struct userd_user *user, Users__V1__User *message,
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
    if (has_profile(user)) {
        lend(&profile->first_name, user->first_name);
        lend(&profile->last_name, user->last_name);
        lend(&profile->avatar_url, user->avatar_url);
        message->profile = profile;
    }
}

/* The two structs of a change; without a user it is one with nothing set. */
static int take_change(const struct userd_change *change, struct userd_change *ret_change,
                       struct userd_user *ret_user)
{
    int ret = userd_struct_take(ret_change, sizeof(*ret_change), change, "userd_change");

    if (ret == 0) {
        ret = check_all(ret_change->mask, ret_change->mask_count, "mask");
    }
    if (ret == 0 && ret_change->user != NULL) {
        ret = take_user(ret_change->user, ret_user);
    }
    return ret;
}

int userd_pack_change(struct userd_client *client, const struct userd_change *change)
{
    struct userd_change known = USERD_CHANGE_INIT;
    struct userd_user known_user = USERD_USER_INIT;
    Users__V1__UpdateUserRequest request;
    Users__V1__User user;
    Users__V1__User__Profile profile;
    Google__Protobuf__FieldMask mask;
    const int ret = take_change(change, &known, &known_user);

    if (ret != 0) {
        return ret;
    }
    users__v1__update_user_request__init(&request);
    google__protobuf__field_mask__init(&mask);
    lend(&request.id, known.id);
    fill_user(&known_user, &user, &profile);
    request.user = &user;
    mask.paths = lend_all(known.mask);
    mask.n_paths = known.mask_count;
    if (mask.n_paths != 0) {
        request.update_mask = &mask;
    }
    return pack(client, &request.base);
}

int userd_pack_delete(struct userd_client *client, const char *id, const char *etag)
{
    Users__V1__DeleteUserRequest request;

    users__v1__delete_user_request__init(&request);
    lend(&request.id, id);
    lend(&request.etag, etag);
    return pack(client, &request.base);
}

int userd_pack_list(struct userd_client *client, const struct userd_list_request *list)
{
    struct userd_list_request known = USERD_LIST_REQUEST_INIT;
    Users__V1__ListUsersRequest request;
    const int ret = userd_struct_take(&known, sizeof(known), list, "userd_list_request");

    if (ret != 0) {
        return ret;
    }
    users__v1__list_users_request__init(&request);
    request.page_size = known.page_size;
    lend(&request.page_token, known.page_token);
    lend(&request.filter, known.filter);
    return pack(client, &request.base);
}

int userd_pack_user(struct userd_client *client, const struct userd_user *user)
{
    struct userd_user known = USERD_USER_INIT;
    Users__V1__User message;
    Users__V1__User__Profile profile;
    const int ret = take_user(user, &known);

    if (ret != 0) {
        return ret;
    }
    fill_user(&known, &message, &profile);
    return pack(client, &message.base);
}

/* protobuf-c returns NULL for a broken message and for no memory alike. */
struct unpacking {
    struct arena *arena;
    bool is_short_of_memory;
};

static void *allocate(void *context, size_t size)
{
    struct unpacking *unpacking = context;
    void *memory = arena_alloc(unpacking->arena, size);

    unpacking->is_short_of_memory = unpacking->is_short_of_memory || memory == NULL;
    return memory;
}

static void keep(void *context, void *pointer)
{
    (void)context;
    (void)pointer; /* the arena frees everything at once */
}

/* NULL with `*ret_error` -EBADMSG when it is not that message, or -ENOMEM. */
static void *unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
                    struct bytes packed, int *ret_error)
{
    struct unpacking unpacking = {.arena = arena};
    ProtobufCAllocator allocator = {
        .alloc = allocate,
        .free = keep,
        .allocator_data = &unpacking,
    };
    void *message;

    arena_reset(arena);
    message = protobuf_c_message_unpack(descriptor, &allocator, packed.size, packed.data);
    *ret_error = unpacking.is_short_of_memory ? -ENOMEM : -EBADMSG;
    return message;
}

static void show(const Users__V1__User *user, struct userd_user *ret_user)
{
    const Users__V1__User__Profile *profile = user->profile;

    *ret_user = (struct userd_user){
        .size = sizeof(*ret_user),
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

int userd_read_user(struct arena *arena, struct bytes packed, struct userd_user *ret_user)
{
    int error;
    const Users__V1__User *user = unpack(arena, &users__v1__user__descriptor, packed, &error);

    if (user == NULL) {
        return error;
    }
    show(user, ret_user);
    return 0;
}

/* The three answers hold the user in the same field, so one descriptor serves them all. */
int userd_read_answer(struct arena *arena, struct bytes packed, struct userd_user *ret_user)
{
    int error;
    const Users__V1__GetUserResponse *answer =
        unpack(arena, &users__v1__get_user_response__descriptor, packed, &error);

    if (answer == NULL) {
        return error;
    }
    if (answer->user == NULL) {
        return USERD_E_NO_USER;
    }
    show(answer->user, ret_user);
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

/* What is in a batch's answer in place of the user: its bytes are the details as they stand. */
static int read_item_error(const Google__Rpc__Status *error, struct bytes details,
                           struct userd_problem *item)
{
    if (error->code <= 0 || error->code >= GRPC_STATUS_COUNT) {
        return -EBADMSG;
    }
    userd_problem_clear(item);
    userd_problem_set(item, (enum userd_code)error->code, USERD_CAUSE_ANSWER,
                      bytes_from_text(error->message), details);
    return USERD_E_ITEM;
}

int userd_read_item(struct arena *arena, struct bytes packed, struct userd_user *ret_user,
                    struct userd_problem *item)
{
    int error;
    const Users__V1__CreateUserResponse *answer =
        unpack(arena, &users__v1__create_user_response__descriptor, packed, &error);

    if (answer == NULL) {
        return error;
    }
    if ((answer->user == NULL) == (answer->error == NULL)) {
        return -EBADMSG;
    }
    if (answer->error != NULL) {
        return read_item_error(answer->error, first_bytes(packed, 2), item);
    }
    show(answer->user, ret_user);
    return 0;
}

int userd_read_deleted(struct arena *arena, struct bytes packed, bool *ret_success)
{
    int error;
    const Users__V1__DeleteUserResponse *answer =
        unpack(arena, &users__v1__delete_user_response__descriptor, packed, &error);

    if (answer == NULL) {
        return error;
    }
    *ret_success = answer->success != 0;
    return 0;
}

int userd_read_page(struct arena *arena, struct bytes packed, struct userd_page *ret_page)
{
    int error;
    const Users__V1__ListUsersResponse *answer =
        unpack(arena, &users__v1__list_users_response__descriptor, packed, &error);
    const struct userd_user **all;
    struct userd_user *users;

    if (answer == NULL) {
        return error;
    }
    users = arena_alloc(arena, answer->n_users * sizeof(*users));
    all = arena_alloc(arena, answer->n_users * sizeof(void *));
    if (users == NULL || all == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < answer->n_users; i++) {
        show(answer->users[i], &users[i]);
        all[i] = &users[i];
    }
    *ret_page = (struct userd_page){
        .size = sizeof(*ret_page),
        .users = all,
        .count = answer->n_users,
        .next_page_token = answer->next_page_token,
        .total_count = answer->total_count,
        .plan = "",
    };
    return 0;
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
int64_t userd_error_index(struct bytes details)
{
    struct bytes any;

    while (next_bytes(&details, 3, &any)) {
        if (bytes_equal(first_bytes(any, 1), BYTES_LITERAL(ERROR_INFO_TYPE))) {
            return index_of_info(first_bytes(any, 2));
        }
    }
    return -1;
}

int userd_read_health(struct bytes packed, int *ret_status)
{
    struct proto_wire_field field;
    int ret;

    *ret_status = 0;
    while ((ret = proto_wire_read(&packed, &field)) == 0) {
        if (field.number == 1 && field.type == PROTO_WIRE_VARINT && field.value <= INT32_MAX) {
            *ret_status = (int)field.value;
        }
    }
    return ret == PROTO_WIRE_E_END ? 0 : -EBADMSG;
}
