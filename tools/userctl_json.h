/*
 * JSON lines to the messages of the client; see common_read.h.
 *
 * Owns:    the parsed line, which the message points into.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_JSON_H
#define TOOLS_USERCTL_JSON_H

#include "common_read.h"

#include <userd/client.h>

#define USERCTL_JSON_PROBLEM_SIZE COMMON_READ_PROBLEM_SIZE
#define USERCTL_JSON_E_BAD        1 /* the problem says why; no value of the line is in it */

struct userctl_json {
    struct common_read read;
    const char **roles;
};

/* Takes a CreateUserRequest or a User apart. Returns 0; or USERCTL_JSON_E_BAD with `problem`
 * (USERCTL_JSON_PROBLEM_SIZE bytes) filled in. userctl_json_deinit() is needed in any case. */
int userctl_json_create(struct bytes line, bool ignore_unknown, char *problem,
                        struct userctl_json *ret_json, struct userd_new_user *ret_create);
int userctl_json_user(struct bytes line, bool ignore_unknown, char *problem,
                      struct userctl_json *ret_json, struct userd_user *ret_user);
void userctl_json_deinit(struct userctl_json *json);

#endif
