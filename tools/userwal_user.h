/*
 * Records as JSON: users by the JSON mapping of protobuf, with the names of the proto file.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERWAL_USER_H
#define TOOLS_USERWAL_USER_H

#include "common_json.h"

#include <stdbool.h>
#include <stdint.h>

struct user;

/* "PUT", "DELETE", "COUNTERS", or NULL for a type that is none. */
const char *userwal_user_type_name(uint8_t type);

/* The members of a User, in the order of their numbers; what has its default is left out. */
void userwal_user_members(struct common_json *json, const struct user *user);

/* What a record says, as members. A password hash is shown as *** unless `with_hashes`. False when
 * it cannot be read. */
bool userwal_user_record(struct common_json *json, uint8_t type, struct bytes body,
                         bool with_hashes);

#endif
