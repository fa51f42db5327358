/*
 * JSON lines to messages, by the JSON mapping of protobuf: both spellings of a field's name,
 * 64-bit numbers as strings or numbers, enums by name or number, null for a default.
 *
 * Owns:    the parsed line, which the message points into; wiped when it is freed, for it may hold a
 *          password.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_JSON_H
#define TOOLS_USERCTL_JSON_H

#include "client/user_client.h"
#include "core/bytes.h"

#define USERCTL_JSON_PROBLEM_SIZE 256

#define USERCTL_JSON_E_BAD 1 /* the problem says why; no value of the line is in it */

struct userctl_json;

/* Before the first line. */
void userctl_json_begin(void);

/* Takes a CreateUserRequest or a User apart. Returns 0; or USERCTL_JSON_E_BAD with `problem`
 * (USERCTL_JSON_PROBLEM_SIZE bytes) filled in. */
int userctl_json_create(struct bytes line, bool ignore_unknown, char *problem,
                        struct userctl_json **ret_json, struct user_client_create *ret_create);
int userctl_json_user(struct bytes line, bool ignore_unknown, char *problem,
                      struct userctl_json **ret_json, struct user_client_user *ret_user);

/* NULL is fine. */
void userctl_json_free(struct userctl_json *json);

#endif
