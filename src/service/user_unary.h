/*
 * GetUser, CreateUser, UpdateUser, DeleteUser: the handlers.
 *
 * Owns:    the changes that its calls have on their way.
 * Borrows: store and writer, for its life; the call of each change, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_UNARY_H
#define SERVICE_USER_UNARY_H

#include "core/bytes.h"
#include "service/user_validate.h"

#include <stdint.h>

struct grpc_call;
struct user_store;
struct user_writer;

/* Filled in by its owner. */
struct user_unary {
    struct user_store *store;
    struct user_writer *writer;
    uint32_t max_fields; /* limits.max_fields */
    struct user_password_rule password_rule;
};

/* `unary` is a struct user_unary. */
void user_unary_get(void *unary, struct grpc_call *call, struct bytes request);
void user_unary_create(void *unary, struct grpc_call *call, struct bytes request);
void user_unary_update(void *unary, struct grpc_call *call, struct bytes request);
void user_unary_delete(void *unary, struct grpc_call *call, struct bytes request);

#endif
