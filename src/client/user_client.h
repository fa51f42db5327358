/*
 * users.v1.UserService for programs that may wait: typed calls that run a loop of their own until
 * the answer is there.
 *
 * Owns:    the loop, the channel, the last answer.
 * Borrows: the options' texts, for its life; what is passed to a call, until it returns.
 * Thread:  one at a time.
 */
#ifndef CLIENT_USER_CLIENT_H
#define CLIENT_USER_CLIENT_H

#include "client/channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct user_client;

#define USER_CLIENT_PROBLEM_SIZE 1024

#define USER_CLIENT_E_OPTIONS                                                                      \
    1 /* the target is malformed, or a file of the TLS options is unusable */
#define USER_CLIENT_E_UNRESOLVED 2 /* nobody knows the host of the target */
#define USER_CLIENT_E_FAILED     3 /* the call failed: user_client_failure() tells how */

struct user_client_options {
    const char *target;    /* "host:port" */
    const char *ca_file;   /* PEM; who may vouch for the server. NULL = plain text */
    const char *cert_file; /* PEM pair for mutual TLS; both or none */
    const char *key_file;
    const char *token;   /* NULL = none */
    uint64_t timeout_ns; /* of each call; CHANNEL_NO_DEADLINE = none */
};

/* One user as the server sent it. No text is NULL. */
struct user_client_user {
    const char *id;
    const char *username;
    const char *email;
    int64_t created_at_ms;
    const char *const *roles;
    size_t role_count;
    int status; /* a number of users.v1.UserStatus */
    bool has_profile;
    const char *first_name;
    const char *last_name;
    const char *avatar_url;
    int64_t updated_at_ms;
    const char *etag;
};

/* What a new user is made of. NULL = not given. */
struct user_client_create {
    const char *username;
    const char *email;
    const char *password;
    const char *request_id;
};

/* A change: the fields that the mask names are taken from `user`, whose texts may be NULL here. */
struct user_client_update {
    const char *id;
    struct user_client_user user;
    const char *const *mask; /* paths; none = the fields that are set */
    size_t mask_count;
};

struct user_client_failure {
    enum grpc_status status;
    enum channel_cause cause;
    const char *message;
    const char *details; /* the google.rpc details as lines for people; maybe "" */
};

/* Makes a client; nothing is sent before the first call. Returns 0, USER_CLIENT_E_OPTIONS,
 * USER_CLIENT_E_UNRESOLVED, or negative errno; `problem` (USER_CLIENT_PROBLEM_SIZE bytes) then says
 * what and where. */
int user_client_new(const struct user_client_options *options, char *problem,
                    struct user_client **ret_client);

/* Ends the connection and frees. NULL is fine. */
void user_client_free(struct user_client *client);

/* The calls. Each returns 0, USER_CLIENT_E_FAILED, or negative errno when the loop itself fails.
 * What they return points into the client and is borrowed until the next call. */
int user_client_get(struct user_client *client, const char *id, struct user_client_user *ret_user);
int user_client_create(struct user_client *client, const struct user_client_create *create,
                       struct user_client_user *ret_user);
int user_client_update(struct user_client *client, const struct user_client_update *update,
                       struct user_client_user *ret_user);
int user_client_delete(struct user_client *client, const char *id, const char *etag,
                       bool *ret_success);

/* How the last call failed; borrowed until the next call. */
const struct user_client_failure *user_client_failure(const struct user_client *client);

/* "USER_STATUS_ACTIVE"; NULL for a number without a name. */
const char *user_client_status_name(int status);

/* Takes "USER_STATUS_ACTIVE" and "active" alike; -1 when there is no such status. */
int user_client_status_from_name(const char *name);

#endif
