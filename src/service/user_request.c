#include "service/user_request.h"

#include "http2/proto_wire.h"

#include <protobuf-c/protobuf-c.h>
#include <users/v1/users.pb-c.h>

#include <errno.h>

/* Most that one message may unpack into. */
#define UNPACKED_BYTES_MAX (256 * 1024)

#define FIELD(number) (1ULL << (number))

static const struct proto_wire_shape profile_shape = {
    .number_max = 3,
    .strings = FIELD(1) | FIELD(2) | FIELD(3),
};

static const struct proto_wire_shape user_shape = {
    .number_max = 9,
    .strings = FIELD(1) | FIELD(2) | FIELD(3) | FIELD(5) | FIELD(9),
    .messages[7] = &profile_shape,
};

static const struct proto_wire_shape mask_shape = {
    .number_max = 1,
    .strings = FIELD(1),
};

static const struct proto_wire_shape get_shape = {
    .number_max = 1,
    .strings = FIELD(1),
};

static const struct proto_wire_shape create_shape = {
    .number_max = 4,
    .strings = FIELD(1) | FIELD(2) | FIELD(3) | FIELD(4),
};

static const struct proto_wire_shape update_shape = {
    .number_max = 3,
    .strings = FIELD(1),
    .messages[2] = &user_shape,
    .messages[3] = &mask_shape,
};

static const struct proto_wire_shape delete_shape = {
    .number_max = 2,
    .strings = FIELD(1) | FIELD(2),
};

/* protobuf-c's allocator over the arena of the call. */
struct unpacker {
    ProtobufCAllocator allocator;
    struct arena *arena;
    size_t bytes_left;
    int refusal; /* why it gave no memory; 0 = it always did */
};

static void *unpacker_alloc(void *context, size_t size)
{
    struct unpacker *unpacker = context;
    void *memory;

    if (size > unpacker->bytes_left) {
        unpacker->refusal = USER_REQUEST_E_TOO_LARGE;
        return NULL;
    }
    memory = arena_alloc(unpacker->arena, size);
    if (memory == NULL) {
        unpacker->refusal = -ENOMEM;
        return NULL;
    }
    unpacker->bytes_left -= size;
    return memory;
}

static void unpacker_free(void *context, void *memory)
{
    (void)context; /* the arena goes as a whole */
    (void)memory;
}

/* Where the texts of a message stand in its request, by field number. */
struct text_names {
    const char *texts[10];
    const struct text_names *messages[8];
};

static const struct text_names create_names = {
    .texts = {[1] = "username", [2] = "email", [3] = "password", [4] = "request_id"},
};

static const struct text_names sync_profile_names = {
    .texts = {[1] = "profile.first_name", [2] = "profile.last_name", [3] = "profile.avatar_url"},
};

static const struct text_names sync_names = {
    .texts = {[1] = "id", [2] = "username", [3] = "email", [5] = "roles", [9] = "etag"},
    .messages[7] = &sync_profile_names,
};

static const struct text_names update_profile_names = {
    .texts = {[1] = "user.profile.first_name",
              [2] = "user.profile.last_name",
              [3] = "user.profile.avatar_url"},
};

static const struct text_names update_user_names = {
    .texts = {[1] = "user.id",
              [2] = "user.username",
              [3] = "user.email",
              [5] = "user.roles",
              [9] = "user.etag"},
    .messages[7] = &update_profile_names,
};

static const struct text_names mask_names = {.texts = {[1] = "update_mask"}};

static const struct text_names update_names = {
    .texts = {[1] = "id"},
    .messages = {[2] = &update_user_names, [3] = &mask_names},
};

static const struct text_names delete_names = {.texts = {[1] = "id", [2] = "etag"}};

static bool has_nul(struct bytes text)
{
    return text.size > 0 && memchr(text.data, 0, text.size) != NULL;
}

/* Adds every text field, however deep, that holds a NUL. The message was scanned: it is well
 * formed, and as deep as its shape, whose strings and messages `names` has all. */
static void find_nuls(struct bytes message, const struct proto_wire_shape *shape,
                      const struct text_names *names, struct user_faults *faults)
{
    struct {
        struct bytes rest;
        const struct proto_wire_shape *shape;
        const struct text_names *names;
    } levels[3] = {{message, shape, names}}; /* request, user, profile */

    size_t depth = 1;

    while (depth > 0) {
        const struct proto_wire_shape *here = levels[depth - 1].shape;
        const struct text_names *names_here = levels[depth - 1].names;
        struct proto_wire_field field;

        if (proto_wire_next(&levels[depth - 1].rest, &field) != 0) {
            depth--;
        } else if (field.type != PROTO_WIRE_BYTES || field.number > here->number_max) {
            continue;
        } else if ((here->strings & FIELD(field.number)) != 0) {
            if (has_nul(field.bytes)) {
                user_faults_add_nul(faults, names_here->texts[field.number]);
            }
        } else if (here->messages[field.number] != NULL) {
            levels[depth].rest = field.bytes;
            levels[depth].shape = here->messages[field.number];
            levels[depth].names = names_here->messages[field.number];
            depth++;
        }
    }
}

static int check(struct bytes message, const struct proto_wire_shape *shape, uint32_t max_fields)
{
    struct proto_wire_limits limits = {max_fields, USER_REQUEST_UNKNOWN_MAX};
    int result = proto_wire_scan(message, shape, &limits);

    if (result == PROTO_WIRE_E_TOO_MANY) {
        return USER_REQUEST_E_TOO_MANY;
    }
    return result != 0 ? -EBADMSG : 0;
}

/* The same, and begins the faults with every NUL in it. */
static int check_texts(struct bytes message, const struct proto_wire_shape *shape,
                       uint32_t max_fields, const struct text_names *names,
                       struct user_faults *ret_faults)
{
    int result = check(message, shape, max_fields);

    if (result != 0) {
        return result;
    }
    *ret_faults = (struct user_faults){0};
    if (has_nul(message)) { /* hardly any message has a zero at all */
        find_nuls(message, shape, names, ret_faults);
    }
    return 0;
}

/* Returns 0, -EBADMSG, USER_REQUEST_E_TOO_LARGE or -ENOMEM. */
static int unpack(struct bytes message, const ProtobufCMessageDescriptor *descriptor,
                  struct arena *arena, ProtobufCMessage **ret_unpacked)
{
    struct unpacker unpacker = {
        .arena = arena,
        .bytes_left = UNPACKED_BYTES_MAX,
    };
    ProtobufCMessage *unpacked;

    unpacker.allocator = (ProtobufCAllocator){unpacker_alloc, unpacker_free, &unpacker};
    unpacked =
        protobuf_c_message_unpack(descriptor, &unpacker.allocator, message.size, message.data);
    if (unpacked == NULL) {
        return unpacker.refusal != 0 ? unpacker.refusal : -EBADMSG;
    }
    *ret_unpacked = unpacked;
    return 0;
}

/* Reads the texts of a checked message that has nothing else: field i+1 into *texts[i]. */
static int read_texts(struct bytes message, const struct proto_wire_shape *shape,
                      struct bytes *const *texts)
{
    struct proto_wire_field field;

    while (proto_wire_next(&message, &field) == 0) {
        if (field.number > shape->number_max) {
            continue;
        }
        if (field.type != PROTO_WIRE_BYTES) {
            return -EBADMSG; /* as protobuf-c judges it in the other messages */
        }
        *texts[field.number - 1] = field.bytes;
    }
    return 0;
}

/* The message that libraries write: field 1 with a short text, and nothing else. */
static bool is_one_text(struct bytes message, struct bytes *ret_text)
{
    const uint8_t key = 1 << 3 | PROTO_WIRE_BYTES;

    if (message.size < 2 || message.size - 2 >= 0x80 || message.data[0] != key ||
        message.data[1] != message.size - 2) {
        return false;
    }
    *ret_text = (struct bytes){message.data + 2, message.size - 2};
    return proto_wire_is_utf8(*ret_text);
}

/* Any other, which may still be good. */
static int read_any_get(struct bytes message, uint32_t max_fields, struct bytes *ret_id)
{
    int result = check(message, &get_shape, max_fields);

    return result != 0 ? result : read_texts(message, &get_shape, (struct bytes *[]){ret_id});
}

int user_request_read_get(struct bytes message, uint32_t max_fields, struct bytes *ret_id)
{
    struct bytes id = {0};
    int result = 0;

    if (!is_one_text(message, &id)) {
        id = (struct bytes){0};
        result = read_any_get(message, max_fields, &id);
    }
    if (result != 0) {
        return result;
    }
    if (has_nul(id)) {
        return USER_REQUEST_E_NUL;
    }
    *ret_id = id;
    return 0;
}

int user_request_read_create(struct bytes message, uint32_t max_fields,
                             const struct user_password_rule *rule, struct user_draft *ret_draft,
                             struct user_faults *ret_faults)
{
    struct user_draft draft = {0};
    struct bytes *texts[] = {&draft.username, &draft.email, &draft.password, &draft.request_id};
    int result = check_texts(message, &create_shape, max_fields, &create_names, ret_faults);

    if (result == 0) {
        result = read_texts(message, &create_shape, texts);
    }
    if (result != 0) {
        return result;
    }
    draft.username = user_validate_trim(draft.username);
    draft.email = user_validate_trim(draft.email);
    user_validate_draft(&draft, rule, ret_faults);
    if (ret_faults->count > 0) {
        return USER_REQUEST_E_FAULTS;
    }
    *ret_draft = draft;
    return 0;
}

/* Fields of another type than theirs are no such message, as protobuf-c judges it. */
static bool has_user_types(struct bytes message)
{
    const uint64_t numbers = FIELD(4) | FIELD(6) | FIELD(8);
    struct proto_wire_field field;

    while (proto_wire_next(&message, &field) == 0) {
        bool is_number =
            field.number <= user_shape.number_max && (numbers >> field.number & 1) != 0;

        if (field.number <= user_shape.number_max &&
            field.type != (is_number ? PROTO_WIRE_VARINT : PROTO_WIRE_BYTES)) {
            return false;
        }
    }
    return true;
}

int user_request_read_sync(struct bytes message, uint32_t max_fields, struct user *ret_user,
                           struct user_faults *ret_faults)
{
    int result = check_texts(message, &user_shape, max_fields, &sync_names, ret_faults);

    if (result != 0) {
        return result;
    }
    if (!has_user_types(message) || user_record_read_user(message, ret_user) != 0) {
        return -EBADMSG;
    }
    ret_user->username = user_validate_trim(ret_user->username);
    ret_user->email = user_validate_trim(ret_user->email);
    user_validate_sync(ret_user, ret_faults);
    return ret_faults->count > 0 ? USER_REQUEST_E_FAULTS : 0;
}

static void copy_user(const Users__V1__User *from, struct user *user)
{
    *user = (struct user){
        .id = bytes_from_text(from->id),
        .username = bytes_from_text(from->username),
        .email = bytes_from_text(from->email),
        .created_at = from->created_at,
        .role_count = from->n_roles,
        .status = (int32_t)from->status,
        .updated_at = from->updated_at,
        .etag = bytes_from_text(from->etag),
    };
    for (size_t i = 0; i < from->n_roles && i < USER_ROLES_MAX; i++) {
        user->roles[i] = bytes_from_text(from->roles[i]);
    }
    if (from->profile != NULL) {
        user->first_name = bytes_from_text(from->profile->first_name);
        user->last_name = bytes_from_text(from->profile->last_name);
        user->avatar_url = bytes_from_text(from->profile->avatar_url);
    }
}

int user_request_read_update(struct bytes message, uint32_t max_fields, struct arena *arena,
                             struct user_update_request *ret_request,
                             struct user_faults *ret_faults)
{
    const Users__V1__UpdateUserRequest *request;
    ProtobufCMessage *unpacked;
    struct bytes *paths = NULL;
    size_t path_count = 0;
    int result = check_texts(message, &update_shape, max_fields, &update_names, ret_faults);

    if (result == 0) {
        result = unpack(message, &users__v1__update_user_request__descriptor, arena, &unpacked);
    }
    if (result != 0) {
        return result;
    }
    request = (const Users__V1__UpdateUserRequest *)(void *)unpacked;
    if (request->update_mask != NULL) {
        path_count = request->update_mask->n_paths;
        paths = arena_alloc(arena, path_count * sizeof(*paths));
        if (paths == NULL) {
            return -ENOMEM;
        }
        for (size_t i = 0; i < path_count; i++) {
            paths[i] = bytes_from_text(request->update_mask->paths[i]);
        }
    }
    *ret_request = (struct user_update_request){
        .id = bytes_from_text(request->id),
        .paths = paths,
        .path_count = path_count,
    };
    if (request->user != NULL) {
        copy_user(request->user, &ret_request->user);
    }
    return 0;
}

int user_request_read_delete(struct bytes message, uint32_t max_fields, struct arena *arena,
                             struct user_delete_request *ret_request,
                             struct user_faults *ret_faults)
{
    const Users__V1__DeleteUserRequest *request;
    ProtobufCMessage *unpacked;
    int result = check_texts(message, &delete_shape, max_fields, &delete_names, ret_faults);

    if (result == 0) {
        result = unpack(message, &users__v1__delete_user_request__descriptor, arena, &unpacked);
    }
    if (result != 0) {
        return result;
    }
    request = (const Users__V1__DeleteUserRequest *)(void *)unpacked;
    *ret_request = (struct user_delete_request){
        .id = bytes_from_text(request->id),
        .etag = bytes_from_text(request->etag),
    };
    return 0;
}
