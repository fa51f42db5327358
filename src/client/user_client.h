/*
 * users.v1.UserService for programs that may wait: typed calls that run a loop of their own until
 * the answer is there.
 *
 * Owns:    the loop, the channel, the last answer.
 * Borrows: the options' texts, for its life; what is passed to a call, until it returns; a stream's
 *          options, until it is finished.
 * Thread:  one at a time.
 */
#ifndef CLIENT_USER_CLIENT_H
#define CLIENT_USER_CLIENT_H

#include "client/channel.h"

#include <signal.h>
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
    /* Not NULL: once it is not zero the call under way is cancelled. A handler of signals that was
     * installed without SA_RESTART may set it. */
    const volatile sig_atomic_t *interrupted;
};

/* One user as the server sent it: no text is NULL. To be sent, a text may be. */
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

/* A change: the fields that the mask names are taken from `user`. */
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
    int64_t index; /* of the item of a stream that failed, from 0; -1 = the server names none */
};

/* Which users to list. */
struct user_client_list {
    int32_t page_size;      /* 0 = as many as the server finds right */
    const char *page_token; /* next_page_token of the page before; NULL = the first */
    const char *filter;     /* NULL = all */
};

/* No text is NULL. */
struct user_client_page {
    const struct user_client_user *users;
    size_t count;
    const char *next_page_token; /* "" on the last page */
    int32_t total_count;         /* of all pages */
    const char *plan;            /* how the server found them, when it says so */
};

enum user_client_stream_kind {
    USER_CLIENT_BATCH_CREATE,
    USER_CLIENT_SYNC,
};

/* The answer to one item of a stream, in the order of the items. */
struct user_client_reply {
    uint64_t index;                            /* from 0 */
    const struct user_client_user *user;       /* NULL = the item failed, and the stream goes on */
    const struct user_client_failure *failure; /* then: how */
};

struct user_client_stream_options {
    enum user_client_stream_kind kind;
    bool continue_on_error; /* batch: a failed item is answered and does not end the stream */
    /* Runs inside the calls below and may call nothing here; what it gets is borrowed until it
     * returns. */
    void (*reply)(void *context, const struct user_client_reply *reply);
    void *context;
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

int user_client_list(struct user_client *client, const struct user_client_list *list,
                     struct user_client_page *ret_page);

/* Calls `state` with the user as it is now, then after each change. Returns 0 once the server has
 * ended the watch (the user was deleted) or `state` has returned false; else as above. `state` may
 * call nothing here. */
int user_client_watch(struct user_client *client, const char *id,
                      bool (*state)(void *context, const struct user_client_user *user),
                      void *context);

/* A stream of changes, one at a time per client: open, send as many as there are, finish. No other
 * call is made until user_client_stream_finish() or _abort() has returned. Each returns as the
 * calls above; after a failure only finish or abort may follow.
 *
 * Sending waits while the server takes no more, and meanwhile tells replies. */
int user_client_stream_open(struct user_client *client,
                            const struct user_client_stream_options *options);
int user_client_stream_create(struct user_client *client, const struct user_client_create *create);
int user_client_stream_sync(struct user_client *client, const struct user_client_user *user);

/* Sends what waits and tells replies, for at most that long: for whoever has nothing to send. Also
 * between streams. */
int user_client_stream_turn(struct user_client *client, uint64_t timeout_ns);

/* Waits for the last reply and the end. A stream that failed fails here again. */
int user_client_stream_finish(struct user_client *client);

/* Gives the stream up; what the server did not answer may or may not have been done. */
void user_client_stream_abort(struct user_client *client);

/* How the last call failed; borrowed until the next call. */
const struct user_client_failure *user_client_failure(const struct user_client *client);

/* "USER_STATUS_ACTIVE"; NULL for a number without a name. */
const char *user_client_status_name(int status);

/* Takes "USER_STATUS_ACTIVE" and "active" alike; -1 when there is no such status. */
int user_client_status_from_name(const char *name);

#endif
