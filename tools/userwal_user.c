#include "userwal_user.h"

#include "service/user_record.h"

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

static void roles_member(struct common_json *json, const struct user *user)
{
    if (user->role_count == 0) {
        return;
    }
    common_json_open_list(json, "roles");
    for (size_t i = 0; i < user->role_count && i < USER_ROLES_MAX; i++) {
        common_json_text(json, NULL, user->roles[i]);
    }
    common_json_close_list(json);
}

static void profile_member(struct common_json *json, const struct user *user)
{
    if (user->first_name.size + user->last_name.size + user->avatar_url.size == 0) {
        return;
    }
    common_json_open(json, "profile");
    common_json_member(json, "first_name", user->first_name);
    common_json_member(json, "last_name", user->last_name);
    common_json_member(json, "avatar_url", user->avatar_url);
    common_json_close(json);
}

void userwal_user_members(struct common_json *json, const struct user *user)
{
    common_json_member(json, "id", user->id);
    common_json_member(json, "username", user->username);
    common_json_member(json, "email", user->email);
    common_json_int64_member(json, "created_at", user->created_at);
    roles_member(json, user);
    common_json_status(json, user->status);
    profile_member(json, user);
    common_json_int64_member(json, "updated_at", user->updated_at);
    common_json_member(json, "etag", user->etag);
}

static bool counters_record(struct common_json *json, struct bytes body)
{
    struct user_counters counters;

    if (user_record_read_counters(body, &counters) != 0) {
        return false;
    }
    common_json_number(json, "change", counters.change);
    common_json_int64(json, "created_at", counters.created_at);
    return true;
}

bool userwal_user_record(struct common_json *json, uint8_t type, struct bytes body,
                         bool with_hashes)
{
    struct user_record record;

    if (type == USER_RECORD_COUNTERS) {
        return counters_record(json, body);
    }
    if (user_record_read(type, body, &record) != 0) {
        return false;
    }
    common_json_number(json, "change", record.change);
    if (record.sequence != 0) {
        common_json_number(json, "sequence", record.sequence);
    }
    common_json_open(json, "user");
    userwal_user_members(json, &record.user);
    common_json_close(json);
    if (record.password_hash.size > 0) {
        common_json_text(json, "password_hash",
                         with_hashes ? record.password_hash : BYTES_LITERAL("***"));
    }
    common_json_member(json, "request_id", record.request_id);
    return true;
}
