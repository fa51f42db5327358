/*
 * libuserd-client: users.v1.UserService, and any gRPC method, from C and C++.
 *
 *     struct userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
 *     options.target = "dns:///users.example:50051";
 *     options.ca_file = "/etc/ssl/certs/users-ca.pem";
 *     options.token_file = "/run/secrets/users-token";
 *
 *     struct userd_client *client;
 *     if (userd_client_new(&options, &client) != 0)
 *         die(userd_last_problem());
 *     const struct userd_user *user;
 *     if (userd_get_user(client, NULL, "018f...", &user) != USERD_OK)
 *         fprintf(stderr, "%s\n", userd_client_error(client)->message);
 *     userd_client_free(client);
 *
 * A client is one event loop with one channel: name resolution, balancing, retries, circuit
 * breakers, keepalive and TLS are inside. No signal is touched or raised (SIGPIPE neither). Nothing
 * is printed, but for one line before abort() where the system gives no random numbers or the
 * library itself is broken. Of the process it touches only what the TLS and crypto libraries keep
 * in it, and it registers a pthread_atfork() handler, by which it knows a child.
 *
 * Two faces, which may be mixed on one client:
 *   blocking - userd_get_user() and its like run the loop until the answer is there;
 *   events   - userd_start_*() return at once; their callbacks run inside userd_client_run() and
 *              inside blocking calls (of the same client), and the last ones inside
 *              userd_client_free(). Never inside a userd_start_*(), a send or a cancel.
 *
 * Thread:  a client belongs to the thread that made it: that thread alone uses it and frees it,
 *          and callbacks run there. It cannot be handed over, under a lock neither; several threads
 *          take a client each. Elsewhere, in the child of a fork() too, functions change nothing
 *          and fail with -EPERM, or FAILED_PRECONDITION. userd_client_wake() alone is for all
 *          threads.
 * Callbacks may start, send, finish, pause, cancel and read statistics; they may not free the
 *          client. A blocking function fails inside them with FAILED_PRECONDITION, and
 *          userd_client_run() and userd_client_free() with -EBUSY. `interrupted` is one of them.
 * Owns:    the client owns every call and all that it returns. Nothing that is returned is freed by
 *          the caller; each function says for how long it is borrowed.
 * Borrows: arguments until the function returns: all that is needed later is copied. `context`
 *          pointers until the last callback of their call.
 * Texts    are UTF-8. In what is returned none is NULL, unless said; to be sent, NULL is "not
 *          set". Pointers for results (`ret_user` and so on) and callbacks may be NULL when nobody
 *          wants them; `ended` of a stream alone must be there.
 * Errors:  functions that make a call return enum userd_code (USERD_OK = 0, the gRPC status
 *          numbers); functions that make none 0 or a negative errno, as each says. A client whose
 *          loop has failed (userd_client_run() says so) can only be freed.
 *
 * Structs  begin with `size`, so that fields can be added at their end.
 *          What a program fills in is made by the struct's _INIT macro, or, options aside, has
 *          `size` set to its sizeof and the rest to 0. One that is shorter than the library's, of
 *          an older program, is taken with the defaults for what it lacks; a longer one as long as
 *          all that the library does not know is 0. One without a size is refused.
 *          What the library returns lies in its own memory: read it there, never copy it as a
 *          whole. USERD_HAS() says whether the library is new enough for a field that came later.
 * Stability: all of that holds for the life of libuserd-client.so.0. struct userd_metadata alone
 *          has no size and stays as it is. Enums may grow. Symbols are versioned (USERD_CLIENT_0).
 *
 * Licence: GPL-2.0-or-later, as the library is linked with wolfSSL, which is: a program that is
 * linked with it and given away has to be under terms that go with that.
 */
#ifndef USERD_CLIENT_H
#define USERD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define USERD_API __attribute__((visibility("default")))
#else
#define USERD_API
#endif

#define USERD_NO_TIMEOUT UINT64_MAX /* for every `timeout_ms` */

/* Whether the struct that a pointer stands for is long enough to have that field. */
#define USERD_HAS(pointer, field)                                                                  \
    ((size_t)((const char *)(&(pointer)->field + 1) - (const char *)(pointer)) <= (pointer)->size)

/* The status codes of gRPC. */
enum userd_code {
    USERD_OK = 0,
    USERD_CANCELLED = 1,
    USERD_UNKNOWN = 2,
    USERD_INVALID_ARGUMENT = 3,
    USERD_DEADLINE_EXCEEDED = 4,
    USERD_NOT_FOUND = 5,
    USERD_ALREADY_EXISTS = 6,
    USERD_PERMISSION_DENIED = 7,
    USERD_RESOURCE_EXHAUSTED = 8,
    USERD_FAILED_PRECONDITION = 9,
    USERD_ABORTED = 10,
    USERD_OUT_OF_RANGE = 11,
    USERD_UNIMPLEMENTED = 12,
    USERD_INTERNAL = 13,
    USERD_UNAVAILABLE = 14,
    USERD_DATA_LOSS = 15,
    USERD_UNAUTHENTICATED = 16
};

/* Who decided how a call ended. */
enum userd_cause {
    USERD_CAUSE_ANSWER,    /* the server, also by an answer that cannot be understood */
    USERD_CAUSE_CONNECT,   /* no backend could be reached: it was not done */
    USERD_CAUSE_TLS,       /* the handshake failed: it was not done */
    USERD_CAUSE_LOST,      /* the connection broke, or an earlier attempt came to nothing and there
                              was no other: it may or may not have been done */
    USERD_CAUSE_REFUSED,   /* the server has not looked at it: it was not done */
    USERD_CAUSE_DEADLINE,  /* the time was over: it may or may not have been done */
    USERD_CAUSE_CANCELLED, /* by the caller */
    USERD_CAUSE_BREAKER,   /* a circuit breaker is open, and no backend is left: it was not done */
    USERD_CAUSE_MEMORY,    /* out of memory here */
    USERD_CAUSE_CALLER     /* no call was made: its options are wrong, its message is too large, or
                              too many are under way. Of a stream: a later message was too large */
};

/* How a call ended. Of one that succeeded code is USERD_OK, and all texts but the backend are "".
 */
struct userd_error {
    size_t size;
    enum userd_code code;
    enum userd_cause cause;
    unsigned attempts;       /* that were made, but for those that no server has looked at and that
                                were made again for that; 0 = it never had a backend */
    const char *message;     /* the server's text, or ours */
    const char *details;     /* the google.rpc details as lines for people; "" = none */
    const char *backend;     /* "10.0.0.7:50051" of the last attempt; "" = there was none, or it is
                                no address of the target any more. Of an item of a stream: "" */
    const void *raw_details; /* google.rpc.Status as bytes; `raw_details_size` 0 = none came */
    size_t raw_details_size;
    int64_t index; /* of the item of a stream that failed, from 0; -1 = none is named */
};

/* ------------------------------------------------------------------------------------- the client
 */

struct userd_client;

enum userd_balancing {
    USERD_BALANCING_DEFAULT, /* round_robin for dns:/// and for several addresses, else pick_first
                              */
    USERD_PICK_FIRST, /* one connection: to the first address that answers. One that is silent for
                         250 ms is waited for no longer than it takes the next one */
    USERD_ROUND_ROBIN
};

/* Begin with USERD_CLIENT_OPTIONS_INIT, set `target` and either `ca_file` or `plaintext`. A number
 * that is 0 means its default, unless said. */
struct userd_client_options {
    size_t size;
    const char *target;  /* "host:port", "a:1,b:2", "dns:///name:port", "ipv4:1.2.3.4:5,..." */
    bool plaintext;      /* no TLS: for tests and trusted links only. Tokens go out in clear too */
    const char *ca_file; /* PEM: who may vouch for the server; required unless plaintext */
    const char *cert_file; /* PEM pair for mutual TLS; both or none */
    const char *key_file;
    const char *server_name;    /* that the certificate must have; NULL = the host of the target */
    const char *token;          /* bearer token; NULL, "" = none. The copy is wiped at the end */
    const char *token_file;     /* instead: read again when it changes; a pipe is read once */
    const char *user_agent;     /* put in front of ours, as "billing/2.1"; NULL = nothing */
    const char *service_config; /* JSON; NULL = userd_default_service_config() */
    enum userd_balancing balancing; /* unless the service config names a policy */
    bool wait_for_ready; /* calls wait until their deadline for a backend that is up and whose
                            breaker lets them through, rather than fail */
    uint64_t timeout_ms; /* 5,000; of each unary call, unless the service config has a timeout for
                            its method or the call says otherwise. Of streams: only those two */
    uint64_t connect_timeout_ms; /* 10,000 for TCP, and again for the handshake */
    uint64_t keepalive_time_ms;  /* PING after so long without a byte; 0 = never. Servers allow one
                                    in 5 minutes by default */
    uint64_t keepalive_timeout_ms; /* 20,000 without an answer to it: the connection is lost */
    bool keepalive_without_calls;
    uint64_t resolve_interval_ms; /* 30,000: names are asked for again; 0 = only on loss */
    uint32_t max_message;         /* 4 MiB; bytes in one message of an answer */
    uint32_t max_request;         /* 4 MiB; bytes in one message that is sent */
    /* A circuit breaker per backend: once at least `min_calls` were made within the window and
     * `failure_percent` of them failed (all that are lost with one connection count as one), it
     * gets no call until the cool-down is over or it is connected anew, then so many probes; when
     * all of these succeed, calls again. */
    bool breaker;                     /* on by default */
    uint64_t breaker_window_ms;       /* 10,000 */
    uint32_t breaker_min_calls;       /* 20 */
    uint32_t breaker_failure_percent; /* 50; at most 100 */
    uint64_t breaker_cooldown_ms;     /* 5,000 */
    uint32_t breaker_probes;          /* 3 */
    /* NULL, or asked ten times a second and more while a blocking function waits; true = its call
     * ends as CANCELLED. For signals: return the flag that the handler sets; one that also calls
     * userd_client_wake() has it asked at once. A callback as any other. */
    bool (*interrupted)(void *context);
    void *interrupted_context;
};

#define USERD_CLIENT_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(struct userd_client_options), NULL, false, NULL, NULL, NULL, NULL, NULL, NULL,      \
            NULL, NULL, USERD_BALANCING_DEFAULT, false, 5000, 10000, 0, 20000, false, 30000,       \
            4194304, 4194304, true, 10000, 20, 50, 5000, 3, NULL, NULL                             \
    }

/* Makes a client; nothing is sent before the first call or userd_client_connect(). It has a thread
 * of its own only when the target has a name that must be resolved; all signals are blocked there.
 *
 * Returns 0, -EINVAL (a malformed target, an unusable file, a wrong option), -ENOMEM, or another
 * negative errno (-EPERM or -ENOSYS where io_uring is forbidden); userd_last_problem() then says
 * what, where and what to do. Freed by userd_client_free(). */
USERD_API int userd_client_new(const struct userd_client_options *options,
                               struct userd_client **ret_client);

/* Cancels what is under way (its last callbacks run, and can start nothing), ends the connections,
 * frees. Waits for servers for a second at most, and for a question to the resolver that is under
 * way, which cannot be taken back. NULL is fine.
 *
 * Returns 0; -EPERM in another thread and -EBUSY inside a callback, and then nothing was done; or
 * another negative errno when the loop has failed. Then the last callbacks have run, with INTERNAL
 * and the cause LOST, secrets are wiped, and what the kernel may still use (buffers, connections,
 * the thread of the resolver) is left behind for good. */
USERD_API int userd_client_free(struct userd_client *client);

/* Why a function that returns 0 or an errno, or a call or NULL, failed last in this thread, for
 * people. Never NULL, "" at first; borrowed until the next failure of one. */
USERD_API const char *userd_last_problem(void);

/* How the last blocking call ended; inside a callback in which one was refused: that. Borrowed
 * until the next blocking call. */
USERD_API const struct userd_error *userd_client_error(const struct userd_client *client);

/* --------------------------------------------------------------------------------- the event loop
 */

/* One turn of the loop: waits until something happens, at most `timeout_ms` milliseconds (0 = does
 * not wait, USERD_NO_TIMEOUT = as long as it takes), then does what is due and runs the callbacks.
 * May return without having run one:
 *
 *     while (userd_client_pending(client) > 0 && userd_client_run(client, USERD_NO_TIMEOUT) == 0) {
 *     }
 *
 * What the callbacks began is given to the kernel before it returns. Returns 0, -EBUSY inside a
 * callback, -EPERM in another thread, or another negative errno when the loop itself failed: the
 * client can only be freed then. */
USERD_API int userd_client_run(struct userd_client *client, uint64_t timeout_ms);

/* For an event loop of the program's own: call userd_client_run(client, 0) when this descriptor is
 * readable, and when userd_client_next_ms() milliseconds are over. Ask for the latter right before
 * each wait, for whatever is started or cancelled makes it 0:
 *
 *     struct pollfd poller = {userd_client_fd(client), POLLIN, 0};
 *     for (;;) {
 *         uint64_t ms = userd_client_next_ms(client);
 *         poll(&poller, 1, ms > INT_MAX ? -1 : (int)ms);
 *         if (userd_client_run(client, 0) != 0)
 *             break;
 *     }
 *
 * To poll (also by epoll, level- or edge-triggered) and for nothing else. The same for the client's
 * life, and closed with it. A client whose descriptor was never asked for saves a system call per
 * turn. -EPERM in another thread. */
USERD_API int userd_client_fd(const struct userd_client *client);

/* How many milliseconds from now userd_client_run(client, 0) has something to do at the latest; 0 =
 * at once, USERD_NO_TIMEOUT = nothing is due. */
USERD_API uint64_t userd_client_next_ms(const struct userd_client *client);

/* Calls that are under way: whose last callback has not run. */
USERD_API unsigned userd_client_pending(const struct userd_client *client);

/* The userd_client_run() that waits returns, or else the next one does at once; so a program that
 * looks at its own flags before each of them misses nothing. userd_client_fd() becomes readable,
 * and a blocking function asks `interrupted`. Several before one turn are as one. Any thread, and
 * signal handlers: errno stays. It must not run while the client is being freed, or later. */
USERD_API void userd_client_wake(struct userd_client *client);

/* ------------------------------------------------------------------------------- the connections
 */

/* Of one backend, and of the client as a whole: then of the best of them. */
enum userd_backend_state {
    USERD_BACKEND_IDLE,             /* nobody has asked for a connection */
    USERD_BACKEND_CONNECTING,       /* calls wait for it */
    USERD_BACKEND_READY,            /* calls are sent at once */
    USERD_BACKEND_TRANSIENT_FAILURE /* calls fail, or wait for ready; tried again after a while */
};

/* Begins to resolve and connect in advance, as a call would; userd_client_run() goes on with it.
 * Returns 0; or -EPERM (in another thread), -ECANCELED (it is being freed) or -EIO (its loop has
 * failed) with userd_last_problem() set. */
USERD_API int userd_client_connect(struct userd_client *client);

/* Where that stands. READY means a backend that is connected, healthy and not refused by its
 * breaker. To follow it, ask after each userd_client_run(). */
USERD_API enum userd_backend_state userd_client_state(const struct userd_client *client);

/* Connects and waits until the state is READY, through failures too, at most `timeout_ms` (0 = does
 * not wait). Blocking: returns as userd_get_user(), with DEADLINE_EXCEEDED and the reason when the
 * time is over, and CANCELLED when `interrupted` says so. */
USERD_API enum userd_code userd_client_wait_ready(struct userd_client *client, uint64_t timeout_ms);

/* The network has changed: tries at once where a wait after failures (1 s, growing to 2 minutes) is
 * not over, and the next failure is the first again. Returns as userd_client_connect(). */
USERD_API int userd_client_reset_backoff(struct userd_client *client);

/* ---------------------------------------------------------------------------- options of one call
 */

/* One field. Of a name that ends with "-bin" the value is bytes: `value_size` of them, which travel
 * as base64; or with 0 a text that is base64 already. Of all others it is printable ASCII. */
struct userd_metadata {
    const char *name; /* a-z 0-9 _ - . and none of gRPC's own; "authorization" without a token */
    const char *value;
    size_t value_size; /* 0 = up to its NUL */
};

/* Begin with USERD_CALL_OPTIONS_INIT. NULL in place of it = all defaults. Borrowed until the
 * function it is given to returns. */
struct userd_call_options {
    size_t size;
    uint64_t timeout_ms; /* 0 = the service config's for the method, else the client's default (of
                            streams, of all that userd_start_raw() begins too: none);
                            USERD_NO_TIMEOUT = the service config's, or none; else the lesser of
                            this and the service config's */
    int wait_for_ready;  /* -1 = the client's, else the service config's; 0; 1 */
    const char *token;   /* in place of the client's; "" = none. Wiped when the call has ended */
    const struct userd_metadata *metadata;
    size_t metadata_count; /* at most 15, with 8 KiB of names and values */
};

#define USERD_CALL_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct userd_call_options), 0, -1, NULL, NULL, 0                                    \
    }

/* ------------------------------------------------------------------------------------------ users
 */

enum userd_user_status {
    USERD_STATUS_UNSPECIFIED = 0,
    USERD_STATUS_ACTIVE = 1,
    USERD_STATUS_INACTIVE = 2,
    USERD_STATUS_SUSPENDED = 3,
    USERD_STATUS_DELETED = 4 /* sent by a watch only */
};

/* From the server no text is NULL. To be sent a text may be: then it is not set. */
struct userd_user {
    size_t size;
    const char *id;
    const char *username;
    const char *email;
    int64_t created_at_ms; /* since 1970 */
    const char *const *roles;
    size_t role_count;
    int status;       /* enum userd_user_status; a number that is not in it, of a newer server */
    bool has_profile; /* what is sent has one also when one of the next three is set */
    const char *first_name;
    const char *last_name;
    const char *avatar_url;
    int64_t updated_at_ms;
    const char *etag;
};

#define USERD_USER_INIT                                                                            \
    {                                                                                              \
        sizeof(struct userd_user), NULL, NULL, NULL, 0, NULL, 0, USERD_STATUS_UNSPECIFIED, false,  \
            NULL, NULL, NULL, 0, NULL                                                              \
    }

/* A new user. Our copies of the password are wiped; what the HTTP/2 library sent last stays with it
 * until the next frame, or until the connection ends. */
struct userd_new_user {
    size_t size;
    const char *username;
    const char *email;
    const char *password;
    const char *request_id; /* the same one again gives the first answer; NULL = none */
};

#define USERD_NEW_USER_INIT                                                                        \
    {                                                                                              \
        sizeof(struct userd_new_user), NULL, NULL, NULL, NULL                                      \
    }

/* A change: the fields that `mask` names are taken from `user`. */
struct userd_change {
    size_t size;
    const char *id;
    const struct userd_user *user; /* `etag`: only when the stored one is still this */
    const char *const *mask; /* paths, as "email" or "profile.first_name"; none = what is set */
    size_t mask_count;
};

#define USERD_CHANGE_INIT                                                                          \
    {                                                                                              \
        sizeof(struct userd_change), NULL, NULL, NULL, 0                                           \
    }

struct userd_list_request {
    size_t size;
    int32_t page_size;      /* 0 = as many as the server finds right */
    const char *page_token; /* next_page_token of the page before; NULL = the first */
    const char *filter;     /* as "status = ACTIVE AND email:example.com"; NULL = all */
};

#define USERD_LIST_REQUEST_INIT                                                                    \
    {                                                                                              \
        sizeof(struct userd_list_request), 0, NULL, NULL                                           \
    }

struct userd_page {
    size_t size;
    const struct userd_user *const *users;
    size_t count;
    const char *next_page_token; /* "" on the last page */
    int32_t total_count;         /* of all pages */
    const char *plan;            /* how the server found them, when it says so */
};

/* "USER_STATUS_ACTIVE"; NULL for a number without a name. A constant. Any thread. */
USERD_API const char *userd_user_status_name(int status);
/* Takes "USER_STATUS_ACTIVE" and "active" alike, in any case; -1 when there is no such status. Any
 * thread. */
USERD_API int userd_user_status_from_name(const char *name);
/* "NOT_FOUND", a constant; "CODE_99" for a number without a name, borrowed until this thread asks
 * for another one. Any thread. */
USERD_API const char *userd_code_name(int code);

/* ------------------------------------------------------------------------------- blocking: calls
 */

/* Each runs the loop, and with it the callbacks of other calls, until the answer is there. Returns
 * USERD_OK, or the code of the failure, which userd_client_error() has.
 *
 * What is returned lies in the client, borrowed until the next blocking call, to which it may be
 * given: a page's token, a user's etag. After a failure it is NULL, 0 or false. With the cause
 * USERD_CAUSE_CALLER no call was made: INVALID_ARGUMENT (the options or another struct, see the
 * message), RESOURCE_EXHAUSTED (10,000 calls are under way, or max_request is less than this one),
 * INTERNAL (the loop has failed), FAILED_PRECONDITION (inside a callback or in another
 * thread; what an outer blocking call returns stays as it is). */

/* The user of that id; NOT_FOUND when there is none. */
USERD_API enum userd_code userd_get_user(struct userd_client *client,
                                         const struct userd_call_options *options, const char *id,
                                         const struct userd_user **ret_user);
/* Creates one, and returns it as stored. Never tried again by itself: `request_id` makes it safe to
 * do that. ALREADY_EXISTS when username or e-mail address is taken. */
USERD_API enum userd_code userd_create_user(struct userd_client *client,
                                            const struct userd_call_options *options,
                                            const struct userd_new_user *new_user,
                                            const struct userd_user **ret_user);
/* Changes one, and returns it as stored. ABORTED when an etag was given and is not the stored one.
 */
USERD_API enum userd_code userd_update_user(struct userd_client *client,
                                            const struct userd_call_options *options,
                                            const struct userd_change *change,
                                            const struct userd_user **ret_user);
/* Deletes one for good. `etag` may be NULL: whatever its state. `*ret_success` is what the server
 * says. */
USERD_API enum userd_code userd_delete_user(struct userd_client *client,
                                            const struct userd_call_options *options,
                                            const char *id, const char *etag, bool *ret_success);
/* One page of users in the order of their creation. */
USERD_API enum userd_code userd_list_users(struct userd_client *client,
                                           const struct userd_call_options *options,
                                           const struct userd_list_request *request,
                                           const struct userd_page **ret_page);

/* ------------------------------------------------------------------------------------ calls as
 * events */

/* A call under way; freed by the client after its last callback (`done`, `ended`) has returned: not
 * to be touched from then on. */
struct userd_call;

/* The last callback of a unary call. `error->code` is USERD_OK when it succeeded. All is borrowed
 * until the callback returns. */
typedef void (*userd_user_done)(void *context, const struct userd_error *error,
                                const struct userd_user *user /* NULL = failed */);
typedef void (*userd_page_done)(void *context, const struct userd_error *error,
                                const struct userd_page *page /* NULL = failed */);
typedef void (*userd_delete_done)(void *context, const struct userd_error *error, bool success);

/* Each does as the blocking function of its name, and returns the call; or NULL with errno and
 * userd_last_problem() set, and then `done` does not run: EINVAL (the options or another struct),
 * EBUSY (10,000 are under way), ENOMEM, EPERM (in another thread), ECANCELED (the client is being
 * freed), EIO (its loop has failed). After any other outcome `done` runs exactly once, never inside
 * these. */
USERD_API struct userd_call *userd_start_get_user(struct userd_client *client,
                                                  const struct userd_call_options *options,
                                                  const char *id, userd_user_done done,
                                                  void *context);
USERD_API struct userd_call *userd_start_create_user(struct userd_client *client,
                                                     const struct userd_call_options *options,
                                                     const struct userd_new_user *new_user,
                                                     userd_user_done done, void *context);
USERD_API struct userd_call *userd_start_update_user(struct userd_client *client,
                                                     const struct userd_call_options *options,
                                                     const struct userd_change *change,
                                                     userd_user_done done, void *context);
USERD_API struct userd_call *userd_start_delete_user(struct userd_client *client,
                                                     const struct userd_call_options *options,
                                                     const char *id, const char *etag,
                                                     userd_delete_done done, void *context);
USERD_API struct userd_call *userd_start_list_users(struct userd_client *client,
                                                    const struct userd_call_options *options,
                                                    const struct userd_list_request *request,
                                                    userd_page_done done, void *context);

/* Ends a call of any kind with USERD_CANCELLED, unless its outcome stands already; its last
 * callback tells. What it asked for may have been done all the same. Safe to repeat until then.
 * Returns 0, or -EPERM in another thread. */
USERD_API int userd_call_cancel(struct userd_call *call);

/* What the server sent beside messages, in the head and after them: value `index`, from 0, of the
 * fields of that name (in lower case; of a "-bin" name still base64). NULL when there is none, for
 * gRPC's own fields, and of what goes beyond 16 KiB. Inside the callbacks of that call, and
 * borrowed until they return. */
USERD_API const char *userd_call_metadata(const struct userd_call *call, const char *name,
                                          size_t index);
/* The same of the last blocking call; borrowed until the next one. */
USERD_API const char *userd_client_metadata(const struct userd_client *client, const char *name,
                                            size_t index);

/* ---------------------------------------------------------------------------------------- streams
 */

/* Of a watch; `ended` runs exactly once, last. What they get is borrowed until they return. */
struct userd_watch_events {
    size_t size;
    void (*state)(void *context, const struct userd_user *user);
    void (*ended)(void *context, const struct userd_error *error);
};

#define USERD_WATCH_EVENTS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct userd_watch_events), NULL, NULL                                              \
    }

/* WatchUser: the user as it is now, then after each change; after a last one with
 * USERD_STATUS_DELETED the stream ends with USERD_OK. It is not begun anew when its connection is
 * lost: `ended` tells. A server that ends its connections lets the streams on them go on; when
 * there are more than 8 such connections to one backend, those on the oldest end with
 * USERD_CAUSE_LOST. Returns as userd_start_get_user(). */
USERD_API struct userd_call *
userd_start_watch(struct userd_client *client, const struct userd_call_options *options,
                  const char *id, const struct userd_watch_events *events, void *context);

/* The same, blocking: until the watch has ended or `state` returns false (then USERD_OK). `state`
 * is a callback as any other. Returns as userd_get_user(). */
USERD_API enum userd_code
userd_watch_user(struct userd_client *client, const struct userd_call_options *options,
                 const char *id, bool (*state)(void *context, const struct userd_user *user),
                 void *context);

/* The answer to one item of a stream, in the order of the items. */
struct userd_reply {
    size_t size;
    uint64_t index;                  /* from 0 */
    const struct userd_user *user;   /* NULL = the item failed, and the stream goes on */
    const struct userd_error *error; /* then: how */
};

/* Of a batch or sync; `ended` runs exactly once, last. What they get is borrowed until they
 * return. */
struct userd_stream_events {
    size_t size;
    void (*reply)(void *context, const struct userd_reply *reply);
    void (*writable)(void *context); /* after USERD_FULL: there is room again */
    void (*ended)(void *context, const struct userd_error *error);
};

#define USERD_STREAM_EVENTS_INIT                                                                   \
    {                                                                                              \
        sizeof(struct userd_stream_events), NULL, NULL, NULL                                       \
    }

/* BatchCreateUsers: creates users, by userd_batch_send(). With `continue_on_error` a failed item is
 * answered and the stream goes on; else it ends with the item's failure, and `index` names it.
 * Returns as userd_start_get_user(). */
USERD_API struct userd_call *userd_start_batch_create(struct userd_client *client,
                                                      const struct userd_call_options *options,
                                                      bool continue_on_error,
                                                      const struct userd_stream_events *events,
                                                      void *context);

/* SyncUsers: creates or replaces users by id, by userd_sync_send(). Likewise. */
USERD_API struct userd_call *userd_start_sync(struct userd_client *client,
                                              const struct userd_call_options *options,
                                              const struct userd_stream_events *events,
                                              void *context);

#define USERD_FULL 1 /* nothing was taken: `writable` tells when to go on */
#define USERD_OVER 2 /* nothing was taken: the stream ends, `ended` tells or has told */

/* Queue one item of a batch, of a sync. Return 0, USERD_FULL, USERD_OVER, -ENOMEM (nothing was
 * taken), -EPERM (in another thread), or -EINVAL for a call of another kind or a struct without a
 * size: userd_last_problem() says which. */
USERD_API int userd_batch_send(struct userd_call *call, const struct userd_new_user *new_user);
USERD_API int userd_sync_send(struct userd_call *call, const struct userd_user *user);

/* No item or message follows; the call ends when the server has answered. Returns 0, USERD_OVER (it
 * ends already, or is no stream), -ENOMEM, or -EPERM in another thread. */
USERD_API int userd_call_finish(struct userd_call *call);

/* Stop and restart the callbacks of a stream. While it is paused, `ended` waits until the messages
 * before it were told; the server is held back by flow control once a window is full. Without
 * effect on unary calls. Return 0, or -EPERM in another thread. */
USERD_API int userd_call_pause(struct userd_call *call);
USERD_API int userd_call_resume(struct userd_call *call);

/* The same, blocking: one stream at a time per client. Open, send as many as there are, finish (or
 * cancel). Sending waits while the server takes no more. `reply` is a callback as any other: it
 * runs inside these and all other blocking calls, and inside userd_client_run(), which is for
 * whoever has nothing to send for a while. After a failure only finish or cancel may follow. Each
 * returns as userd_get_user(), and FAILED_PRECONDITION also when a stream is open already, or none
 * is, or one for other items. */

/* Opens a batch; waits for nothing. */
USERD_API enum userd_code
userd_batch_open(struct userd_client *client, const struct userd_call_options *options,
                 bool continue_on_error,
                 void (*reply)(void *context, const struct userd_reply *reply), void *context);
/* Opens a sync; waits for nothing. */
USERD_API enum userd_code
userd_sync_open(struct userd_client *client, const struct userd_call_options *options,
                void (*reply)(void *context, const struct userd_reply *reply), void *context);
/* Send one item. A stream that the server has ended fails here with its status. */
USERD_API enum userd_code userd_batch_item(struct userd_client *client,
                                           const struct userd_new_user *new_user);
USERD_API enum userd_code userd_sync_item(struct userd_client *client,
                                          const struct userd_user *user);
/* Waits for the last reply and the end, and closes the stream. One that failed fails here again. */
USERD_API enum userd_code userd_stream_finish(struct userd_client *client);
/* Gives it up and closes it: what the server did not answer may or may not have been done. Without
 * an open stream nothing happens. Returns USERD_OK, or FAILED_PRECONDITION or INTERNAL as others.
 */
USERD_API enum userd_code userd_stream_cancel(struct userd_client *client);

/* ---------------------------------------------------------------------------- any method, by bytes
 */

/* Of a raw call; `ended` runs exactly once, last. What they get is borrowed until they return. */
struct userd_raw_events {
    size_t size;
    void (*message)(void *context, const void *bytes, size_t size);
    void (*writable)(void *context); /* after USERD_FULL: there is room again */
    void (*ended)(void *context, const struct userd_error *error);
};

#define USERD_RAW_EVENTS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct userd_raw_events), NULL, NULL, NULL                                          \
    }

/* A method of a service without a typed face, in any of the four shapes: send any number of
 * messages (one where the method takes one), userd_call_finish(), get any number. Returns as
 * userd_start_get_user(); EINVAL also for a path that is none. */
USERD_API struct userd_call *userd_start_raw(struct userd_client *client,
                                             const struct userd_call_options *options,
                                             const char *path /* "/pkg.Service/Method" */,
                                             const struct userd_raw_events *events, void *context);

/* Queues one message (NULL and 0 = an empty one). Returns as userd_batch_send(). */
USERD_API int userd_raw_send(struct userd_call *call, const void *bytes, size_t size);

/* A unary method, blocking. The reply is borrowed until the next blocking call, and not NULL when
 * the call succeeded.
 * Returns as userd_get_user(). */
USERD_API enum userd_code userd_call_raw(struct userd_client *client,
                                         const struct userd_call_options *options, const char *path,
                                         const void *request, size_t request_size,
                                         const void **ret_reply, size_t *ret_reply_size);

/* grpc.health.v1: asks one backend. 0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN.
 * `service` "" or NULL = the whole server; NOT_FOUND when it knows no such service. Blocking;
 * returns as userd_get_user(). */
USERD_API enum userd_code userd_check_health(struct userd_client *client,
                                             const struct userd_call_options *options,
                                             const char *service, int *ret_status);

/* -------------------------------------------------------------------------------------- statistics
 */

enum userd_breaker_state {
    USERD_BREAKER_CLOSED,
    USERD_BREAKER_OPEN,
    USERD_BREAKER_HALF_OPEN
};

/* What is known of one address of the target. */
struct userd_backend {
    size_t size;
    char address[272]; /* "10.0.0.7:50051" */
    enum userd_backend_state state;
    bool healthy; /* by its health service; true when nobody asks */
    enum userd_breaker_state breaker;
    uint64_t breaker_opened; /* times */
    uint64_t calls;          /* attempts */
    uint64_t failures;       /* of those, the ones that failed by a fault of the backend */
    unsigned open_calls;
    uint64_t connects; /* attempts to connect */
    uint64_t connect_failures;
    const char *problem; /* of its last connection, "" = none; borrowed until the client is used
                            again */
};

#define USERD_BACKEND_INIT                                                                         \
    {                                                                                              \
        sizeof(struct userd_backend), {0}, USERD_BACKEND_IDLE, false, USERD_BREAKER_CLOSED, 0, 0,  \
            0, 0, 0, 0, NULL                                                                       \
    }

struct userd_stats {
    size_t size;
    uint64_t calls;               /* started */
    uint64_t retries;             /* attempts after the first, by the service config */
    uint64_t transparent_retries; /* of what no server had looked at */
    uint64_t throttled;           /* retries that retryThrottling forbade */
    uint64_t breaker_refusals;    /* calls that failed because a breaker was open */
    unsigned waiting;             /* calls without a backend, now */
    unsigned backend_count;
};

#define USERD_STATS_INIT                                                                           \
    {                                                                                              \
        sizeof(struct userd_stats), 0, 0, 0, 0, 0, 0, 0                                            \
    }

/* These two fill in as much as `size` holds, set to 0 what the library does not know, and `size` to
 * what it knows. Counts are since the client was made. */

/* Returns 0, or -EINVAL when it was not made by USERD_STATS_INIT, or -EPERM in another thread. */
USERD_API int userd_client_stats(const struct userd_client *client, struct userd_stats *stats);
/* What is known of backend `index`, from 0 in the order of the addresses. Returns 0, -ENOENT when
 * there is none of that index, -EINVAL when it was not made by USERD_BACKEND_INIT, or -EPERM in
 * another thread. */
USERD_API int userd_client_backend(const struct userd_client *client, unsigned index,
                                   struct userd_backend *backend);

/* The service config that is used when none is given, as JSON: GetUser and ListUsers are tried up
 * to three times when they fail with UNAVAILABLE, 50 ms to 1 s apart, as long as not too much fails
 * (retryThrottling with 1000 tokens, of which a lost connection takes one); writes are not. No
 * timeouts, and health is not watched: userd says goodbye to its clients before it stops, and a
 * watch would hold a stream on every connection. To watch it, add "healthCheckConfig":
 * {"serviceName": "users.v1.UserService"}. A constant. Any thread. */
USERD_API const char *userd_default_service_config(void);

/* Of this library: "0.1.0". A constant. Any thread. */
USERD_API const char *userd_client_version(void);

/* Of the TLS library underneath: "wolfSSL 5.7.2 (accelerated ...)". A constant. Any thread. */
USERD_API const char *userd_client_tls_library(void);

#ifdef __cplusplus
}
#endif

#endif
