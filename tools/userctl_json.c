#include "userctl_json.h"

#include <stdio.h>
#include <stdlib.h>

/* NULL when it is not given. */
static const char *text_of(struct bytes text)
{
    return (const char *)text.data;
}

static int read_line(struct bytes line, unsigned fields, bool ignore_unknown, char *problem,
                     struct userctl_json *ret_json)
{
    *ret_json = (struct userctl_json){0};
    return common_read_line(line, fields | (ignore_unknown ? COMMON_READ_IGNORE_UNKNOWN : 0),
                            problem, &ret_json->read) == 0
               ? 0
               : USERCTL_JSON_E_BAD;
}

int userctl_json_create(struct bytes line, bool ignore_unknown, char *problem,
                        struct userctl_json *ret_json, struct userd_new_user *ret_create)
{
    const struct common_read *read = &ret_json->read;

    if (read_line(line, COMMON_READ_CREATE, ignore_unknown, problem, ret_json) != 0) {
        return USERCTL_JSON_E_BAD;
    }
    *ret_create = (struct userd_new_user){
        .size = sizeof(*ret_create),
        .username = text_of(read->username),
        .email = text_of(read->email),
        .password = text_of(read->password),
        .request_id = text_of(read->request_id),
    };
    return 0;
}

static int list_roles(struct userctl_json *json, char *problem)
{
    const struct common_read *read = &json->read;

    json->roles = calloc(read->role_count + 1, sizeof(*json->roles));
    if (json->roles == NULL) {
        (void)snprintf(problem, USERCTL_JSON_PROBLEM_SIZE, "out of memory");
        return USERCTL_JSON_E_BAD;
    }
    for (size_t i = 0; i < read->role_count; i++) {
        json->roles[i] = text_of(read->roles[i]);
    }
    return 0;
}

int userctl_json_user(struct bytes line, bool ignore_unknown, char *problem,
                      struct userctl_json *ret_json, struct userd_user *ret_user)
{
    const struct common_read *read = &ret_json->read;

    if (read_line(line, COMMON_READ_USER, ignore_unknown, problem, ret_json) != 0 ||
        list_roles(ret_json, problem) != 0) {
        return USERCTL_JSON_E_BAD;
    }
    *ret_user = (struct userd_user){
        .size = sizeof(*ret_user),
        .id = text_of(read->id),
        .username = text_of(read->username),
        .email = text_of(read->email),
        .created_at_ms = read->created_at,
        .roles = ret_json->roles,
        .role_count = read->role_count,
        .status = read->status,
        .has_profile = read->has_profile,
        .first_name = text_of(read->first_name),
        .last_name = text_of(read->last_name),
        .avatar_url = text_of(read->avatar_url),
        .updated_at_ms = read->updated_at,
        .etag = text_of(read->etag),
    };
    return 0;
}

void userctl_json_deinit(struct userctl_json *json)
{
    common_read_deinit(&json->read);
    free(json->roles);
    json->roles = NULL;
}
