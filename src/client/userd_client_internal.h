/*
 * What the files of the public face (include/userd/client.h) share.
 *
 *     userd_client.c                 options; making a client
 *     userd_client_free.c            freeing it
 *     userd_client_thread.c          which thread it belongs to
 *     userd_client_loop.c            turns of the loop, and what a loop around it needs
 *     userd_client_wake.c            a word from other threads to it
 *     userd_client_state.c           whether it is connected, and waiting for that
 *     userd_client_struct.c          structs of older and newer programs
 *     userd_client_call.c            one call: its memory, its options, its end
 *     userd_client_metadata.c        what goes out and comes back beside messages
 *     userd_client_error.c           how a call failed; why a client could not be made
 *     userd_client_message.c         requests and answers, to and from their bytes
 *     userd_client_names.c           names of statuses, codes; versions
 *     userd_client_unary.c           unary calls as events
 *     userd_client_stream.c          watch, batch and sync as events
 *     userd_client_raw.c             any method, by bytes; health
 *     userd_client_blocking.c        unary calls and watch that wait
 *     userd_client_blocking_stream.c batch and sync that wait
 *     userd_client_stats.c           statistics
 *
 * Owns, borrows: as client.h says.
 * Thread:  the one that made the client.
 */
#ifndef CLIENT_USERD_CLIENT_INTERNAL_H
#define CLIENT_USERD_CLIENT_INTERNAL_H

#include "client/channel.h"
#include "client/service_config.h"
#include "client/target.h"
#include "client/token_file.h"
#include "core/arena.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "userd/client.h"

#include <stdbool.h>
#include <stdint.h>

#define USERD_SERVICE           "/users.v1.UserService/"
#define USERD_CALL_METADATA_MAX 15
#define USERD_METADATA_SIZE_MAX 8192 /* names and values of a call */
#define USERD_AGENT_SIZE_MAX    256
#define USERD_LAST_PROBLEM_SIZE 1024
#define USERD_MESSAGE_MAX       (4 * 1024 * 1024) /* either way, when the options do not say */
#define USERD_ARENA_PER_MESSAGE 4                 /* an answer may take that much of its bytes */
#define USERD_CALLS_KEPT        64                /* ended calls whose memory waits for new ones */
#define USERD_SLICE_NS          (100 * CLOCK_NS_PER_MS) /* until a wait looks around again */

#define USERD_NOT_MINE_TEXT                                                                        \
    "a client belongs to the thread that made it, and was used in another; make one in each "      \
    "thread"

#define USERD_E_NO_USER 3 /* the answer holds no user */
#define USERD_E_ITEM    4 /* it holds the failure of one item */

/* An error with the memory of its texts. Zero-initialised is empty, but for its texts: clear it. */
struct userd_problem {
    struct userd_error error;
    struct buf message; /* with its NUL */
    struct buf details; /* with its NUL */
    struct buf raw_details;
    struct bytes fields; /* that the server sent; of a copy in the next one */
    struct buf kept_fields;
    char backend[TARGET_AUTHORITY_SIZE]; /* of a copy */
};

/* What a kind of call does with what comes back. */
struct userd_call_type {
    /* One message of a stream; NULL = unary. */
    void (*message)(struct userd_call *call, struct bytes message);
    /* The end; `problem` may still be changed. */
    void (*ended)(struct userd_call *call, struct userd_problem *problem,
                  const struct call_result *result);
};

typedef void (*userd_bytes_done_fn)(void *context, const struct userd_error *error,
                                    struct bytes reply);

struct userd_call {
    struct channel_call channel_call;
    struct userd_client *client;
    struct list link; /* among those under way, or those kept for later */
    const struct userd_call_type *type;

    union {
        userd_user_done user;
        userd_page_done page;
        userd_delete_done deleted;
        userd_bytes_done_fn bytes;
        struct userd_watch_events watch;
        struct userd_stream_events stream;
        struct userd_raw_events raw;
    } tell;

    void (*writable)(void *context); /* of a stream; NULL = nobody asks */
    void *context;
    struct arena *arena; /* for its answer */
    const char *refusal; /* what the server did wrong: the call ends as INTERNAL; a literal */
    uint64_t sent;       /* items of a batch or sync */
    uint64_t replies;
    struct bytes fields_got; /* while the end is told */
    struct call_field fields[USERD_CALL_METADATA_MAX + 1];
    struct buf texts;  /* of the options, copied; wiped at the end */
    bool is_abandoned; /* nobody is told */
    bool is_finished;  /* no item follows */
    bool is_full;      /* USERD_FULL was returned and `writable` not called since */
    bool is_over;
    bool is_short_of_memory; /* an answer found no room: ends as RESOURCE_EXHAUSTED */
};

/* The blocking call under way, and what it returns. */
struct userd_waiting {
    bool is_done;
    bool is_given_up; /* by a watch's own `state` */
    bool (*state)(void *context, const struct userd_user *user);
    void *context;
    struct userd_call *call; /* of a watch */
    struct userd_user user;
    struct userd_page page;
    struct bytes reply;
    bool success;
};

/* The blocking stream. */
struct userd_open_stream {
    bool is_open;
    struct userd_call *call; /* NULL = it has ended */
    void (*reply)(void *context, const struct userd_reply *reply);
    void *context;
    struct userd_problem outcome;
};

struct userd_client {
    struct reactor reactor;
    struct workpool *pool; /* NULL = the target needs no resolver */
    struct tls_context *tls;
    struct target target;
    struct service_config *service_config;
    struct token_file *token_file;
    struct channel *channel;
    char *server_name;
    char *user_agent;
    char *token; /* wiped */
    uint64_t timeout_ns;
    uint32_t max_message;
    uint32_t max_request;
    bool wait_for_ready;
    bool (*interrupted)(void *context);
    void *interrupted_context;
    struct list calls;   /* under way */
    struct list kept;    /* memory for the next ones */
    unsigned call_count; /* under way */
    unsigned kept_count;
    struct buf packed;            /* the request that goes out next; wiped after each */
    struct arena answers;         /* of events */
    struct arena kept_answers;    /* of blocking calls */
    struct userd_problem problem; /* of the call that ends */
    struct userd_problem item;    /* of one item of a stream */
    struct userd_problem last;    /* of the last blocking call */
    struct userd_waiting waiting;
    struct userd_open_stream stream;
    struct ring_op wake_op; /* the pending read of wake_fd */
    uint64_t wake_count;    /* where it puts the eventfd's counter */
    uint64_t thread;        /* that made it: userd_thread_number() */
    int wake_fd;            /* -1 = not made yet; constant afterwards */
    int loop_error;         /* negative errno: the loop failed for good */
    bool has_reactor;
    bool is_turning; /* a callback may be running */
    bool is_refused; /* a blocking function, inside the callback that is running */
    bool is_woken;   /* and no userd_client_run() has returned since */
    bool is_closing;
    bool is_closed; /* the channel */
};

/* Saturates: USERD_NO_TIMEOUT stays what it is. */
static inline uint64_t userd_ns_from_ms(uint64_t ms)
{
    return ms < UINT64_MAX / CLOCK_NS_PER_MS ? ms * CLOCK_NS_PER_MS : UINT64_MAX;
}

/* Threads (userd_client_thread.c). */

/* Of the calling thread; from 1, and never given again. */
uint64_t userd_thread_number(void);

/* Whether the calling thread made the client. If not, the last problem says so, and nothing of the
 * client may be touched. */
bool userd_is_mine(const struct userd_client *client);

/* Whether a call may be started: 0, -EPERM, -ECANCELED or -EIO with the last problem set. */
int userd_may_start(const struct userd_client *client);

/* Being woken (userd_client_wake.c). */

/* Returns 0 or negative errno with the last problem set. */
int userd_wake_open(struct userd_client *client);

/* Listens from the next submission on, unless it does already. Without room in the ring for that
 * the next turn tries again. */
void userd_wake_listen(struct userd_client *client);

/* Stops to listen; the loop has to turn for that. */
void userd_wake_stop(struct userd_client *client);

/* Turns (userd_client_loop.c). */

/* One turn. Returns 0 or negative errno. */
int userd_client_turn(struct userd_client *client, uint64_t timeout_ns);

/* Does what has become due while nobody turned the loop, without waiting: a connection may have
 * ended, a wait for the next try be over. Between calls in quick succession it does nothing. A loop
 * that fails is told by the next call. */
void userd_client_catch_up(struct userd_client *client);

/* Errors (userd_client_error.c). */

/* Sets what userd_last_problem() returns. */
__attribute__((format(printf, 1, 2))) void userd_set_last_problem(const char *format, ...);

/* Structs (userd_client_struct.c). */

/* Copies what a program gave over `copy`, which holds the defaults. Returns 0, or -EINVAL with the
 * last problem set. `name` is that of the struct. */
int userd_struct_take(void *copy, size_t copy_size, const void *given, const char *name);

/* Copies as much as the program's struct `out` holds. Returns as userd_struct_take(). */
int userd_struct_give(void *out, const void *filled, size_t filled_size, const char *name);

/* Metadata (userd_client_metadata.c). */

/* Whether a text may be a field's value, may be a bearer token. */
bool userd_is_field_value(const char *text);
bool userd_is_token(const char *text);

/* Returns 0 and the bytes that copies of all of it take, or -EINVAL with the last problem set. */
int userd_metadata_check(const struct userd_call_options *options, bool has_token,
                         size_t *ret_size);

/* Copies a field that was checked into `texts`, where there is room for it. */
void userd_metadata_copy(struct buf *texts, const struct userd_metadata *field,
                         struct call_field *ret_field);

/* No error; keeps the memory. */
void userd_problem_clear(struct userd_problem *problem);
void userd_problem_deinit(struct userd_problem *problem);

/* Sets code, cause and texts, which are copied, and leaves backend and attempts as they are. */
void userd_problem_set(struct userd_problem *problem, enum userd_code code, enum userd_cause cause,
                       struct bytes message, struct bytes details);

/* The same for one of ours without details. */
void userd_problem_say(struct userd_problem *problem, enum userd_code code, enum userd_cause cause,
                       const char *message);

/* Puts a remark behind the message, in brackets. */
void userd_problem_add(struct userd_problem *problem, const char *text);

void userd_problem_copy(struct userd_problem *problem, const struct userd_problem *from);

/* Calls (userd_client_call.c). */

/* Makes a call of that type, not started. `path` is borrowed for the life of the process, or copied
 * when `copy_path`. Returns NULL with errno and the last problem set. */
struct userd_call *userd_call_new(struct userd_client *client,
                                  const struct userd_call_options *options,
                                  const struct userd_call_type *type, const char *path,
                                  bool copy_path, void *context);

/* Adds a field to the metadata; the texts are literals. There is room for one. */
void userd_call_add_field(struct userd_call *call, const char *name, const char *value);

/* Start it with what is in the client's `packed`, which is wiped; or frees it when `packed_ret`
 * is not 0, or when it cannot be started. Returns the call, or NULL with errno set. */
struct userd_call *userd_call_start(struct userd_call *call, int packed_ret);

/* The same with a request that lies elsewhere. */
struct userd_call *userd_call_start_bytes(struct userd_call *call, struct bytes request);

/* The same for a stream; nothing is sent. */
struct userd_call *userd_call_open(struct userd_call *call);

/* Sends what is in the client's `packed`, which is wiped. Returns 0, USERD_FULL, USERD_OVER or
 * -ENOMEM, -EPERM or -EINVAL (these three also as `packed_ret`). */
int userd_call_send(struct userd_call *call, int packed_ret);

/* The same with a message that lies elsewhere. */
int userd_call_send_bytes(struct userd_call *call, struct bytes message);

/* Whether somebody is told of a stream's end; if not, the last problem says so. */
bool userd_call_has_end(void (*ended)(void *context, const struct userd_error *error));

/* Tells a stream's sender that was told USERD_FULL when there is room again; NULL = nobody asks. */
void userd_call_want_writable(struct userd_call *call, void (*writable)(void *context));

/* Whether it takes the items of a batch (userd_client_stream.c). */
bool userd_call_is_batch(const struct userd_call *call);

/* Gives up a call before anybody knows of it: nobody is told. */
void userd_call_abandon(struct userd_call *call);

/* The server has done something wrong: the call ends as INTERNAL with that literal. */
void userd_call_refuse(struct userd_call *call, const char *message);

/* The same for what reading a message returned: -ENOMEM ends as RESOURCE_EXHAUSTED. */
void userd_call_refuse_message(struct userd_call *call, int error, const char *message);

/* Whether an answer could be read (`ret` is what reading it returned); sets the problem if not. */
bool userd_call_judge(struct userd_problem *problem, int ret);

/* Messages (userd_client_message.c). */

/* Pack into the client's `packed`. Return 0, -ENOMEM; or with the last problem set -EPERM in
 * another thread, -EINVAL for a struct that cannot be taken. */
int userd_pack_id(struct userd_client *client, const char *id);
int userd_pack_new_user(struct userd_client *client, const struct userd_new_user *new_user);
int userd_pack_change(struct userd_client *client, const struct userd_change *change);
int userd_pack_delete(struct userd_client *client, const char *id, const char *etag);
int userd_pack_list(struct userd_client *client, const struct userd_list_request *list);
int userd_pack_user(struct userd_client *client, const struct userd_user *user);
int userd_pack_health(struct userd_client *client, const char *service);

/* Empties `packed`, and no byte of it stays in memory. */
void userd_packed_wipe(struct userd_client *client);

/* Unpack into the arena, which is emptied first. Return 0, -EBADMSG when it is not that message,
 * -ENOMEM, or what is named below. */
int userd_read_user(struct arena *arena, struct bytes packed, struct userd_user *ret_user);
/* GetUserResponse, CreateUserResponse, UpdateUserResponse; or USERD_E_NO_USER. */
int userd_read_answer(struct arena *arena, struct bytes packed, struct userd_user *ret_user);
/* CreateUserResponse within a batch; or USERD_E_ITEM with `item` filled in. */
int userd_read_item(struct arena *arena, struct bytes packed, struct userd_user *ret_user,
                    struct userd_problem *item);
int userd_read_deleted(struct arena *arena, struct bytes packed, bool *ret_success);
/* All but `plan`, which is no part of the message. */
int userd_read_page(struct arena *arena, struct bytes packed, struct userd_page *ret_page);
/* HealthCheckResponse. */
int userd_read_health(struct bytes packed, int *ret_status);

/* The index in the ErrorInfo of a google.rpc.Status; -1 when there is none. */
int64_t userd_error_index(struct bytes details);

/* Unary calls by bytes (userd_client_raw.c). */
struct userd_call *userd_start_bytes(struct userd_client *client,
                                     const struct userd_call_options *options, const char *path,
                                     struct bytes request, userd_bytes_done_fn done, void *context);

/* Waiting (userd_client_blocking.c). */

/* Whether a blocking function may run now; if not, it is FAILED_PRECONDITION, and the client is as
 * it was. What happened since the last one is known when it returns. */
bool userd_may_wait(struct userd_client *client);

/* Asks the program. */
bool userd_is_interrupted(struct userd_client *client);

/* Says in `last` that the loop has failed: CAUSE_LOST when a call was under way, else CAUSE_CALLER.
 * Returns false. */
bool userd_loop_failed(struct userd_client *client, enum userd_cause cause);

/* Says in `last` why a call could not be started, by errno. Returns its code. */
enum userd_code userd_not_started(struct userd_client *client);

/* Turns until `*done`; `*call` (NULL = has ended) is cancelled when the program is interrupted.
 * Returns false when the loop failed: `last` says so. */
bool userd_wait_until(struct userd_client *client, const bool *done,
                      struct userd_call *const *call);

/* One turn of such a wait. */
bool userd_wait_turn(struct userd_client *client, struct userd_call *call);

#endif
