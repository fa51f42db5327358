/*
 * What the files of a user_client share.
 *
 *     user_client.c          making and freeing one; how a call failed; the loop
 *     user_client_message.c  requests and answers, to and from their bytes
 *     user_client_call.c     the unary calls
 *     user_client_stream.c   watch, batch and sync
 *
 * Owns, borrows: as user_client.h says.
 * Thread:  one at a time.
 */
#ifndef CLIENT_USER_CLIENT_INTERNAL_H
#define CLIENT_USER_CLIENT_INTERNAL_H

#include "client/user_client.h"
#include "core/arena.h"
#include "core/reactor.h"

#define USER_CLIENT_MESSAGE_MAX (4 * 1024 * 1024)
#define USER_CLIENT_SERVICE     "/users.v1.UserService/"

#define USER_CLIENT_E_NO_USER 4 /* the answer holds no user */
#define USER_CLIENT_E_ITEM    5 /* it holds the failure of one item */

/* A failure with the memory of its texts. */
struct user_client_problem {
    struct user_client_failure failure;
    struct buf message; /* with its NUL */
    struct buf details; /* with its NUL */
};

/* The stream under way. */
struct user_client_stream {
    struct user_client_stream_options options;
    bool (*state)(void *context, const struct user_client_user *user); /* of a watch */
    void *context;
    uint64_t sent;
    uint64_t replies;
    bool is_given_up; /* by our own side: the CANCELLED that follows is no failure */
};

struct user_client {
    struct reactor reactor;
    struct tls_context *tls;
    struct channel *channel;
    struct channel_call call;
    const char *token;
    uint64_t timeout_ns;
    const volatile sig_atomic_t *interrupted;
    bool is_done; /* no call is under way */
    bool is_closed;
    struct buf reply;
    struct buf fields;
    struct user_client_problem problem; /* of the last call */
    struct user_client_problem item;    /* of one item of a stream */
    struct user_client_stream stream;
    struct arena arena; /* the answer, unpacked */
};

/* Forgets the last answer. */
void user_client_begin(struct user_client *client);

/* Sets a failure; the texts are copied. */
void user_client_set_problem(struct user_client_problem *problem, enum grpc_status status,
                             enum channel_cause cause, struct bytes message, struct bytes details);

/* Sets that of the call. Return USER_CLIENT_E_FAILED. */
int user_client_fail(struct user_client *client, enum grpc_status status, const char *message);
int user_client_fail_memory(struct user_client *client);

/* One turn of the loop; cancels the call when the program was interrupted. Returns 0 or negative
 * errno. */
int user_client_turn(struct user_client *client, uint64_t timeout_ns);

/* Turns until the call is done. Returns 0, USER_CLIENT_E_FAILED or negative errno. */
int user_client_wait(struct user_client *client);

/* A request as it goes out; wiped when it is freed, for it may hold a password. */
struct user_client_packed {
    uint8_t *memory;
    struct bytes bytes;
};

/* Pack a GetUserRequest, CreateUserRequest and so on, and a User. Return 0 or -ENOMEM. */
int user_client_pack_get(const char *id, struct user_client_packed *ret_packed);
int user_client_pack_create(const struct user_client_create *create,
                            struct user_client_packed *ret_packed);
int user_client_pack_update(const struct user_client_update *update,
                            struct user_client_packed *ret_packed);
int user_client_pack_delete(const char *id, const char *etag,
                            struct user_client_packed *ret_packed);
int user_client_pack_list(const struct user_client_list *list,
                          struct user_client_packed *ret_packed);
int user_client_pack_user(const struct user_client_user *user,
                          struct user_client_packed *ret_packed);
void user_client_packed_free(struct user_client_packed *packed);

/* Unpack answers into the arena, which is emptied first. Return 0, -EBADMSG when it is not that
 * message, -ENOMEM, or what is named below. */
int user_client_read_user(struct user_client *client, struct bytes packed,
                          struct user_client_user *ret_user);
/* GetUserResponse, CreateUserResponse, UpdateUserResponse; or USER_CLIENT_E_NO_USER. */
int user_client_read_answer(struct user_client *client, struct bytes packed,
                            struct user_client_user *ret_user);
/* CreateUserResponse within a batch; or USER_CLIENT_E_ITEM with the client's `item` filled in. */
int user_client_read_item(struct user_client *client, struct bytes packed,
                          struct user_client_user *ret_user);
int user_client_read_deleted(struct user_client *client, struct bytes packed, bool *ret_success);
/* All but `plan`, which is no part of the message. */
int user_client_read_page(struct user_client *client, struct bytes packed,
                          struct user_client_page *ret_page);

/* The index in the ErrorInfo of a google.rpc.Status; -1 when there is none. */
int64_t user_client_error_index(struct bytes details);

#endif
