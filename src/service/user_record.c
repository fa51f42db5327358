#include "service/user_record.h"

#include "http2/proto_wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * The stored form of a user is the wire form: the packed users.v1.User lies unchanged inside the
 * record, and inside the store, and GetUser copies it out. So reading happens in place, and packing
 * once per change. The record around it is a userd.storage.v1.StoredUser, which old and new
 * versions both can read: unknown fields are passed over.
 *
 * The etag of a user is the number of the change that wrote it, in hexadecimal between quotes. The
 * numbers count all changes of the store, so the greatest one in the log is where counting goes on.
 * A snapshot holds no deletes and keeps it in a record of its own.
 */

enum {
    FIELD_ID = 1,
    FIELD_USERNAME = 2,
    FIELD_EMAIL = 3,
    FIELD_CREATED_AT = 4,
    FIELD_ROLES = 5,
    FIELD_STATUS = 6,
    FIELD_PROFILE = 7,
    FIELD_UPDATED_AT = 8,
    FIELD_ETAG = 9,
    PROFILE_FIRST_NAME = 1,
    PROFILE_LAST_NAME = 2,
    PROFILE_AVATAR_URL = 3,
    STORED_USER = 1,
    STORED_PASSWORD_HASH = 2,
    STORED_REQUEST_ID = 3,
    STORED_SEQUENCE = 4,
    COUNTERS_CHANGE = 1,
    COUNTERS_CREATED_AT = 2,
};

/* Later profiles of one message are merged into the earlier ones, as protobuf asks. */
static int read_profile(struct bytes message, struct user *user)
{
    struct proto_wire_field field;
    int result;

    while ((result = proto_wire_next(&message, &field)) == 0) {
        if (field.type != PROTO_WIRE_BYTES) {
            continue;
        }
        if (field.number == PROFILE_FIRST_NAME) {
            user->first_name = field.bytes;
        } else if (field.number == PROFILE_LAST_NAME) {
            user->last_name = field.bytes;
        } else if (field.number == PROFILE_AVATAR_URL) {
            user->avatar_url = field.bytes;
        }
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

static void read_number(const struct proto_wire_field *field, struct user *user)
{
    if (field->number == FIELD_CREATED_AT) {
        user->created_at = (int64_t)field->value;
    } else if (field->number == FIELD_STATUS) {
        user->status = (int32_t)(uint32_t)field->value;
    } else if (field->number == FIELD_UPDATED_AT) {
        user->updated_at = (int64_t)field->value;
    }
}

static int read_text(const struct proto_wire_field *field, struct user *user)
{
    switch (field->number) {
    case FIELD_ID:
        user->id = field->bytes;
        break;
    case FIELD_USERNAME:
        user->username = field->bytes;
        break;
    case FIELD_EMAIL:
        user->email = field->bytes;
        break;
    case FIELD_ROLES:
        if (user->role_count < USER_ROLES_MAX) {
            user->roles[user->role_count] = field->bytes;
        }
        user->role_count++;
        break;
    case FIELD_PROFILE:
        return read_profile(field->bytes, user);
    case FIELD_ETAG:
        user->etag = field->bytes;
        break;
    default:
        break;
    }
    return 0;
}

/* Into a user that is zero but for its roles. Returns 0 or -EBADMSG. */
static int read_user(struct bytes message, struct user *user)
{
    struct proto_wire_field field;
    int result;

    while ((result = proto_wire_next(&message, &field)) == 0) {
        if (field.type == PROTO_WIRE_BYTES) {
            result = read_text(&field, user);
            if (result != 0) {
                return result;
            }
        } else if (field.type == PROTO_WIRE_VARINT) {
            read_number(&field, user);
        }
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

size_t user_used_size(const struct user *user)
{
    size_t count = user->role_count < USER_ROLES_MAX ? user->role_count : USER_ROLES_MAX;

    return offsetof(struct user, roles) + count * sizeof(user->roles[0]);
}

int user_record_read_user(struct bytes message, struct user *ret_user)
{
    struct user user;
    int result;

    memset(&user, 0, offsetof(struct user, roles));
    result = read_user(message, &user);
    if (result == 0) {
        memcpy(ret_user, &user, user_used_size(&user));
    }
    return result;
}

/* proto3 leaves out what has its default value. */
static int append_text(struct buf *out, uint32_t number, struct bytes text)
{
    return text.size == 0 ? 0 : proto_wire_append_bytes(out, number, text);
}

static int append_number(struct buf *out, uint32_t number, uint64_t value)
{
    return value == 0 ? 0 : proto_wire_append_varint(out, number, value);
}

static int append_roles(struct buf *out, const struct user *user)
{
    for (size_t i = 0; i < user->role_count && i < USER_ROLES_MAX; i++) {
        if (proto_wire_append_bytes(out, FIELD_ROLES, user->roles[i]) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* Of a field with a number of one digit, as append_text() writes it. */
static size_t packed_size(struct bytes text)
{
    uint8_t head[PROTO_WIRE_VARINT_MAX];

    return text.size == 0 ? 0 : 1 + proto_wire_put_varint(head, text.size) + text.size;
}

static int append_profile(struct buf *out, const struct user *user)
{
    size_t size = packed_size(user->first_name) + packed_size(user->last_name) +
                  packed_size(user->avatar_url);

    if (size == 0) {
        return 0;
    }
    if (proto_wire_append_head(out, FIELD_PROFILE, size) != 0 ||
        append_text(out, PROFILE_FIRST_NAME, user->first_name) != 0 ||
        append_text(out, PROFILE_LAST_NAME, user->last_name) != 0 ||
        append_text(out, PROFILE_AVATAR_URL, user->avatar_url) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int user_record_append_user(const struct user *user, struct buf *out)
{
    if (append_text(out, FIELD_ID, user->id) != 0 ||
        append_text(out, FIELD_USERNAME, user->username) != 0 ||
        append_text(out, FIELD_EMAIL, user->email) != 0 ||
        append_number(out, FIELD_CREATED_AT, (uint64_t)user->created_at) != 0 ||
        append_roles(out, user) != 0 ||
        append_number(out, FIELD_STATUS, (uint64_t)(int64_t)user->status) != 0 ||
        append_profile(out, user) != 0 ||
        append_number(out, FIELD_UPDATED_AT, (uint64_t)user->updated_at) != 0 ||
        append_text(out, FIELD_ETAG, user->etag) != 0) {
        return -ENOMEM;
    }
    return 0;
}

/* The reverse of user_record_format_etag(). Returns 0 or -EBADMSG. */
static int parse_etag(struct bytes etag, uint64_t *ret_change)
{
    uint64_t change = 0;

    if (etag.size < 3 || etag.size >= USER_ETAG_SIZE || etag.data[0] != '"' ||
        etag.data[etag.size - 1] != '"') {
        return -EBADMSG;
    }
    for (size_t i = 1; i < etag.size - 1; i++) {
        uint8_t c = etag.data[i];

        if (c >= '0' && c <= '9') {
            change = change << 4 | (uint64_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            change = change << 4 | (uint64_t)(c - 'a' + 10);
        } else {
            return -EBADMSG;
        }
    }
    *ret_change = change;
    return 0;
}

static int read_stored(struct bytes body, struct user_record *record)
{
    struct proto_wire_field field;
    int result;

    while ((result = proto_wire_next(&body, &field)) == 0) {
        if (field.type == PROTO_WIRE_VARINT && field.number == STORED_SEQUENCE) {
            record->sequence = field.value;
        } else if (field.type != PROTO_WIRE_BYTES) {
            continue;
        } else if (field.number == STORED_USER) {
            record->message = field.bytes;
        } else if (field.number == STORED_PASSWORD_HASH) {
            record->password_hash = field.bytes;
        } else if (field.number == STORED_REQUEST_ID) {
            record->request_id = field.bytes;
        }
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

static bool is_complete(uint8_t type, const struct user_record *record)
{
    const struct user *user = &record->user;

    if (user->id.size == 0 || record->change == 0) {
        return false;
    }
    return type == USER_RECORD_DELETE ||
           (user->username.size > 0 && user->email.size > 0 && user->role_count <= USER_ROLES_MAX &&
            record->sequence > 0);
}

int user_record_read(uint8_t type, struct bytes body, struct user_record *ret_record)
{
    static_assert(offsetof(struct user_record, user) + sizeof(struct user) ==
                      sizeof(struct user_record),
                  "the user comes last");
    struct user_record record;

    memset(&record, 0, offsetof(struct user_record, user) + offsetof(struct user, roles));
    if ((type != USER_RECORD_PUT && type != USER_RECORD_DELETE) ||
        read_stored(body, &record) != 0 || read_user(record.message, &record.user) != 0 ||
        parse_etag(record.user.etag, &record.change) != 0 || !is_complete(type, &record)) {
        return -EBADMSG;
    }
    memcpy(ret_record, &record, offsetof(struct user_record, user) + user_used_size(&record.user));
    return 0;
}

int user_record_append(const struct user_record *record, struct buf *out)
{
    if (append_text(out, STORED_USER, record->message) != 0 ||
        append_text(out, STORED_PASSWORD_HASH, record->password_hash) != 0 ||
        append_text(out, STORED_REQUEST_ID, record->request_id) != 0 ||
        append_number(out, STORED_SEQUENCE, record->sequence) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int user_record_read_counters(struct bytes body, struct user_counters *ret_counters)
{
    struct user_counters counters = {0};
    struct proto_wire_field field;
    int result;

    while ((result = proto_wire_next(&body, &field)) == 0) {
        if (field.type == PROTO_WIRE_VARINT && field.number == COUNTERS_CHANGE) {
            counters.change = field.value;
        } else if (field.type == PROTO_WIRE_VARINT && field.number == COUNTERS_CREATED_AT) {
            counters.created_at = (int64_t)field.value;
        }
    }
    if (result != PROTO_WIRE_E_END) {
        return result;
    }
    *ret_counters = counters;
    return 0;
}

int user_record_append_counters(const struct user_counters *counters, struct buf *out)
{
    if (append_number(out, COUNTERS_CHANGE, counters->change) != 0 ||
        append_number(out, COUNTERS_CREATED_AT, (uint64_t)counters->created_at) != 0) {
        return -ENOMEM;
    }
    return 0;
}

size_t user_record_format_etag(uint64_t change, char out[USER_ETAG_SIZE])
{
    size_t size = 0;
    int shift = 60;

    while (shift > 0 && change >> shift == 0) {
        shift -= 4;
    }
    out[size++] = '"';
    for (; shift >= 0; shift -= 4) {
        out[size++] = "0123456789abcdef"[change >> shift & 0xf];
    }
    out[size++] = '"';
    out[size] = '\0';
    return size;
}
