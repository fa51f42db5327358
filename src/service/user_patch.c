#include "service/user_patch.h"

#define ALL_FIELDS                                                                                 \
    (USER_PATCH_USERNAME | USER_PATCH_EMAIL | USER_PATCH_ROLES | USER_PATCH_STATUS |               \
     USER_PATCH_PROFILE)

static const struct {
    const char *path;
    unsigned fields;
} paths[] = {
    {"username", USER_PATCH_USERNAME},
    {"email", USER_PATCH_EMAIL},
    {"roles", USER_PATCH_ROLES},
    {"status", USER_PATCH_STATUS},
    {"profile", USER_PATCH_PROFILE},
    {"profile.first_name", USER_PATCH_FIRST_NAME},
    {"profile.last_name", USER_PATCH_LAST_NAME},
    {"profile.avatar_url", USER_PATCH_AVATAR_URL},
    {"id", 0},
    {"created_at", 0},
    {"updated_at", 0},
    {"etag", 0},
};

int user_patch_add_path(struct user_patch *patch, struct bytes path)
{
    if (bytes_equal(path, BYTES_LITERAL("*"))) {
        patch->fields |= patch->user.status == USER_STATUS_UNSPECIFIED
                             ? ALL_FIELDS & ~USER_PATCH_STATUS
                             : ALL_FIELDS;
        return 0;
    }
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (bytes_equal(path, bytes_from_text(paths[i].path))) {
            patch->fields |= paths[i].fields;
            return 0;
        }
    }
    return USER_PATCH_E_UNKNOWN;
}

void user_patch_add_populated(struct user_patch *patch)
{
    const struct user *user = &patch->user;

    patch->fields |= user->username.size > 0 ? USER_PATCH_USERNAME : 0;
    patch->fields |= user->email.size > 0 ? USER_PATCH_EMAIL : 0;
    patch->fields |= user->role_count > 0 ? USER_PATCH_ROLES : 0;
    patch->fields |= user->status != USER_STATUS_UNSPECIFIED ? USER_PATCH_STATUS : 0;
    patch->fields |= user->first_name.size > 0 ? USER_PATCH_FIRST_NAME : 0;
    patch->fields |= user->last_name.size > 0 ? USER_PATCH_LAST_NAME : 0;
    patch->fields |= user->avatar_url.size > 0 ? USER_PATCH_AVATAR_URL : 0;
}

void user_patch_apply(const struct user_patch *patch, struct user *user)
{
    const struct user *from = &patch->user;

    if ((patch->fields & USER_PATCH_USERNAME) != 0) {
        user->username = from->username;
    }
    if ((patch->fields & USER_PATCH_EMAIL) != 0) {
        user->email = from->email;
    }
    if ((patch->fields & USER_PATCH_ROLES) != 0) {
        memcpy(user->roles, from->roles, sizeof(user->roles));
        user->role_count = from->role_count;
    }
    if ((patch->fields & USER_PATCH_STATUS) != 0) {
        user->status = from->status;
    }
    if ((patch->fields & USER_PATCH_FIRST_NAME) != 0) {
        user->first_name = from->first_name;
    }
    if ((patch->fields & USER_PATCH_LAST_NAME) != 0) {
        user->last_name = from->last_name;
    }
    if ((patch->fields & USER_PATCH_AVATAR_URL) != 0) {
        user->avatar_url = from->avatar_url;
    }
}
