#include "userwal_user.h"

#include "service/user_record.h"

static const char *status_name(int32_t status)
{
    switch (status) {
    case USER_STATUS_ACTIVE:
        return "USER_STATUS_ACTIVE";
    case USER_STATUS_INACTIVE:
        return "USER_STATUS_INACTIVE";
    case USER_STATUS_SUSPENDED:
        return "USER_STATUS_SUSPENDED";
    case USER_STATUS_DELETED:
        return "USER_STATUS_DELETED";
    default:
        return NULL;
    }
}

const char *userwal_user_type_name(uint8_t type)
{
    switch (type) {
    case USER_RECORD_PUT:
        return "PUT";
    case USER_RECORD_DELETE:
        return "DELETE";
    case USER_RECORD_COUNTERS:
        return "COUNTERS";
    default:
        return NULL;
    }
}

static void text_member(struct userwal_json *json, const char *name, struct bytes text)
{
    if (text.size > 0) {
        userwal_json_text(json, name, text);
    }
}

static void int64_member(struct userwal_json *json, const char *name, int64_t number)
{
    if (number != 0) {
        userwal_json_int64(json, name, number);
    }
}

static void roles_member(struct userwal_json *json, const struct user *user)
{
    if (user->role_count == 0) {
        return;
    }
    userwal_json_open_list(json, "roles");
    for (size_t i = 0; i < user->role_count && i < USER_ROLES_MAX; i++) {
        userwal_json_text(json, NULL, user->roles[i]);
    }
    userwal_json_close_list(json);
}

static void status_member(struct userwal_json *json, int32_t status)
{
    const char *name = status_name(status);

    if (name != NULL) {
        userwal_json_words(json, "status", name);
    } else if (status > 0) {
        userwal_json_number(json, "status", (uint64_t)status);
    }
}

static void profile_member(struct userwal_json *json, const struct user *user)
{
    if (user->first_name.size + user->last_name.size + user->avatar_url.size == 0) {
        return;
    }
    userwal_json_open(json, "profile");
    text_member(json, "first_name", user->first_name);
    text_member(json, "last_name", user->last_name);
    text_member(json, "avatar_url", user->avatar_url);
    userwal_json_close(json);
}

void userwal_user_members(struct userwal_json *json, const struct user *user)
{
    text_member(json, "id", user->id);
    text_member(json, "username", user->username);
    text_member(json, "email", user->email);
    int64_member(json, "created_at", user->created_at);
    roles_member(json, user);
    status_member(json, user->status);
    profile_member(json, user);
    int64_member(json, "updated_at", user->updated_at);
    text_member(json, "etag", user->etag);
}

static bool counters_record(struct userwal_json *json, struct bytes body)
{
    struct user_counters counters;

    if (user_record_read_counters(body, &counters) != 0) {
        return false;
    }
    userwal_json_number(json, "change", counters.change);
    userwal_json_int64(json, "created_at", counters.created_at);
    return true;
}

bool userwal_user_record(struct userwal_json *json, uint8_t type, struct bytes body,
                         bool with_hashes)
{
    struct user_record record;

    if (type == USER_RECORD_COUNTERS) {
        return counters_record(json, body);
    }
    if (user_record_read(type, body, &record) != 0) {
        return false;
    }
    userwal_json_number(json, "change", record.change);
    if (record.sequence != 0) {
        userwal_json_number(json, "sequence", record.sequence);
    }
    userwal_json_open(json, "user");
    userwal_user_members(json, &record.user);
    userwal_json_close(json);
    if (record.password_hash.size > 0) {
        userwal_json_text(json, "password_hash",
                          with_hashes ? record.password_hash : BYTES_LITERAL("***"));
    }
    text_member(json, "request_id", record.request_id);
    return true;
}
