/*
 * What an UpdateUser asks to change: values, and which of them count (field mask, A3). Pure.
 *
 * Owns:    nothing.
 * Borrows: the texts of its values.
 * Thread:  any.
 */
#ifndef SERVICE_USER_PATCH_H
#define SERVICE_USER_PATCH_H

#include "service/user_record.h"

/* Fields that may be set, as bits. A profile is its three texts. */
#define USER_PATCH_USERNAME   0x01U
#define USER_PATCH_EMAIL      0x02U
#define USER_PATCH_ROLES      0x04U
#define USER_PATCH_STATUS     0x08U
#define USER_PATCH_FIRST_NAME 0x10U
#define USER_PATCH_LAST_NAME  0x20U
#define USER_PATCH_AVATAR_URL 0x40U
#define USER_PATCH_PROFILE    (USER_PATCH_FIRST_NAME | USER_PATCH_LAST_NAME | USER_PATCH_AVATAR_URL)

struct user_patch {
    struct user user; /* the new values; a non-empty etag is a precondition */
    unsigned fields;  /* USER_PATCH_*: those that count */
};

#define USER_PATCH_E_UNKNOWN 1

/* Adds the fields that one path of a mask names. `*` names all of them, except a status that is
 * unspecified, which stays as it is. What only the server sets (id, created_at, updated_at, etag)
 * names nothing.
 *
 * Returns 0, or USER_PATCH_E_UNKNOWN for any other path, an index into roles included. */
int user_patch_add_path(struct user_patch *patch, struct bytes path);

/* Without a mask: adds the fields that hold something. */
void user_patch_add_populated(struct user_patch *patch);

/* Sets the fields that count in `user`, which borrows their texts from then on. */
void user_patch_apply(const struct user_patch *patch, struct user *user);

#endif
