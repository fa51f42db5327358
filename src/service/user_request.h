/*
 * Requests of users.v1 from bytes to fields: counted and checked before protobuf-c unpacks them
 * (reliability: a hostile message unpacks into twenty times its size).
 *
 * Owns:    nothing.
 * Borrows: the arena, which holds what was unpacked; texts point into it, or into the message.
 * Thread:  any.
 */
#ifndef SERVICE_USER_REQUEST_H
#define SERVICE_USER_REQUEST_H

#include "core/arena.h"
#include "core/bytes.h"
#include "service/user_record.h"
#include "service/user_validate.h"

#include <stdint.h>

/* Besides these every reader returns 0, -EBADMSG for what is no such message (bad UTF-8 included),
 * or -ENOMEM. */
#define USER_REQUEST_E_TOO_MANY  1 /* fields in all, or unknown ones */
#define USER_REQUEST_E_NUL       2 /* from the reader of a get: a NUL inside the id */
#define USER_REQUEST_E_TOO_LARGE 3 /* larger, unpacked, than any valid request */
#define USER_REQUEST_E_FAULTS    4 /* from the judging ones: fields are wrong, see `faults` */

#define USER_REQUEST_UNKNOWN_MAX 16 /* unknown fields in one message */

struct user_update_request {
    struct bytes id;
    struct user user;
    struct bytes *paths; /* of the mask */
    size_t path_count;
};

struct user_delete_request {
    struct bytes id;
    struct bytes etag;
};

/* Reads the id of a GetUserRequest in place, without unpacking. */
int user_request_read_get(struct bytes message, uint32_t max_fields, struct bytes *ret_id);

/* Reads a CreateUserRequest in place too, so that the password is not copied about; trims its names
 * and judges its fields. `ret_faults` is filled in with USER_REQUEST_E_FAULTS, `ret_draft` is not.
 */
int user_request_read_create(struct bytes message, uint32_t max_fields,
                             const struct user_password_rule *rule, struct user_draft *ret_draft,
                             struct user_faults *ret_faults);

/* The same for a User of SyncUsers. */
int user_request_read_sync(struct bytes message, uint32_t max_fields, struct user *ret_user,
                           struct user_faults *ret_faults);

/* These two look for NULs alone and leave the rest to judge, so that all can be told at once: they
 * return 0 also when texts with a NUL, which are cut there, were put into `ret_faults`. */
int user_request_read_update(struct bytes message, uint32_t max_fields, struct arena *arena,
                             struct user_update_request *ret_request,
                             struct user_faults *ret_faults);
int user_request_read_delete(struct bytes message, uint32_t max_fields, struct arena *arena,
                             struct user_delete_request *ret_request,
                             struct user_faults *ret_faults);

#endif
