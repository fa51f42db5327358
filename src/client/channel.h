/*
 * A client's way to a service: resolves a target, keeps a subchannel to each of its backends,
 * spreads calls over those that are usable, repeats what may be repeated. Asynchronous: everything
 * is told from the loop.
 *
 * A call goes through these steps:
 * 1. It waits for a backend that is READY, healthy (health_watch.h) and whose breaker admits it.
 * While none is and one may become so, it waits; once every backend is in TRANSIENT_FAILURE it
 * fails with UNAVAILABLE and the reason of the last failure, with every breaker open likewise and
 * with the cause BREAKER. One that is wait_for_ready does not fail: it waits until its deadline,
 * also for the first probe of a breaker.
 * 2. An attempt runs there.
 * 3. When that fails:
 *    - transparently (gRFC A6, E5): the attempt was never sent, or the server has not looked at it
 *      (cause REFUSED): tried again at once, whatever the policy, as often as it was never sent and
 *      once when it was refused; not counted as another attempt.
 *    - by policy: the method has a retryPolicy, the status is one of its codes, no head or message
 * of an answer came, attempts are left, the throttle allows it, and `grpc-retry-pushback-ms` does
 * not forbid it (negative or malformed: not; n: after exactly n ms). What was sent is kept for
 * that: the message of a unary call, of a stream up to CHANNEL_REPLAY_MAX bytes; a stream that sent
 * more, and a call that was answered with a head or message, is committed to its attempt. A retry
 * avoids the backend that failed when there is another.
 * 4. `done` runs once, with the outcome of the last attempt, or of the wait for another one. A
 * cause that says "it was not done" (CONNECT, TLS, REFUSED, BREAKER) becomes LOST when an earlier
 * attempt may have been executed. The text of an outcome that no server decided tells how the first
 * attempt failed.
 *
 * A connection that is lost takes all its calls along, for one reason: that counts as one failure
 * for the breaker of its backend and for the throttle, however many they were.
 *
 * A user's write is never repeated after it may have been executed, unless the service config says
 * so for its method: the policy of user_methods.h allows that for reads only.
 *
 * Owns:    resolver, subchannels, health watches, breakers; what waiting calls have sent so far.
 * Borrows: reactor, pool, TLS context, service config, texts of the options; every struct
 *          channel_call from start until its `done`.
 * Thread:  loop only.
 */
#ifndef CLIENT_CHANNEL_H
#define CLIENT_CHANNEL_H

#include "client/balancer.h"
#include "client/breaker.h"
#include "client/call_attempt.h"
#include "client/subchannel.h"
#include "client/target.h"
#include "core/buf.h"
#include "core/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct channel;
struct channel_backend;
struct channel_call;
struct reactor;
struct service_config;
struct service_config_method;
struct tls_context;
struct token_file;
struct workpool;

#define CHANNEL_CALLS_MAX    10000 /* under way at once */
#define CHANNEL_BACKENDS_MAX TARGET_ADDRESSES_MAX
#define CHANNEL_REPLAY_MAX   65536 /* framed bytes of a stream kept for another attempt */
#define CHANNEL_EARLIER_SIZE 256   /* of the text about an attempt before the last */

#define CHANNEL_E_BUSY 1                /* CHANNEL_CALLS_MAX calls are under way */
#define CHANNEL_E_FULL TRANSPORT_E_FULL /* `writable` tells when to go on */
#define CHANNEL_E_OVER TRANSPORT_E_OVER /* the call ends, or its sending side has */

struct channel_options {
    const struct target *target;
    struct workpool *pool;   /* for the resolver; NULL when the target is numeric */
    struct tls_context *tls; /* NULL = plain text */
    const char *server_name; /* NULL = the host of each endpoint */
    const char *authority;   /* NULL = likewise */
    const char *user_agent;  /* put before "userd-client/VERSION"; NULL = nothing */
    uint64_t connect_timeout_ns;
    uint64_t keepalive_time_ns; /* 0 = never */
    uint64_t keepalive_timeout_ns;
    bool keepalive_without_calls;
    uint64_t resolve_interval_ns; /* 0 = only when a connection is lost */
    /* NULL = target_resolve(); a test's own otherwise: resolver.h. */
    int (*resolve)(const struct target *target, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem);
    uint32_t max_message; /* bytes in an answer, unless the service config says less */
    uint32_t max_request; /* likewise in a message that is sent; 0 = what a frame's head can say */
    bool has_policy;      /* else: pick_first for one endpoint that is no dns:///, round_robin
                             for the rest; the service config's wins over that */
    enum balancer_policy policy;
    const struct service_config *service_config; /* NULL = none */
    const char *health_token;                    /* for health watches, as that of a call */
    struct token_file *health_token_file;
    struct breaker_options breaker;
    struct backoff_options backoff;
};

/* One call, in its caller's memory. Zero-initialise, fill in what is needed of the first part,
 * start. */
struct channel_call {
    const char *path;              /* "/users.v1.UserService/GetUser"; borrowed until `done` */
    const char *token;             /* sent as bearer token; NULL = none; borrowed until `done` */
    struct token_file *token_file; /* instead: asked at each attempt */
    uint64_t timeout_ns;     /* from the start on; CALL_NO_DEADLINE = none. The service config's
                                counts as well, when it is less */
    bool timeout_is_default; /* the service config's takes its place, when it has one */
    bool has_wait_for_ready; /* else the service config's, or not */
    bool wait_for_ready;
    const struct call_field *fields; /* metadata; borrowed until `done` */
    size_t field_count;
    /* Of a stream; NULL = unary. All run from the loop, none inside a call to the channel. */
    void (*message)(struct channel_call *call, struct bytes message);
    void (*writable)(struct channel_call *call); /* NULL = not wanted */
    /* Runs once, last. The result is borrowed until it returns; the call is the caller's again when
     * it begins. */
    void (*done)(struct channel_call *call, const struct call_result *result);
    /* The rest is the channel's own. */
    struct list link;
    struct channel *channel; /* NULL = not started, or done */
    struct call_attempt attempt;
    struct timer timer;      /* the deadline */
    struct timer wait_timer; /* until the next attempt */
    uint64_t deadline_ns;
    struct buf replay; /* framed, everything sent so far, until the call is committed */
    const struct service_config_method *method;
    struct buf authorization;
    struct channel_backend *on; /* where its attempt is under way; NULL = nowhere */
    uint64_t connection;        /* that attempt's, of those to its backend */
    uint64_t avoid;             /* number of the backend of the last attempt; 0 = there was none */
    size_t backend; /* in `done`: index of the backend of the last attempt, or BALANCER_NONE */
    uint32_t breaker_ticket;
    unsigned attempts;     /* begun; those that were repeated transparently count once */
    unsigned backoff_step; /* which retry's wait comes next */
    int state;             /* channel_call.c's own */
    enum call_cause cause; /* of an outcome that the channel decided */
    enum grpc_status status;
    char *problem; /* its text */
    char *earlier; /* how the first attempt failed, when that was not the end; NULL = it did not */
    bool is_stream;
    bool is_half_closed;
    bool is_paused;
    bool is_committed;
    bool is_judged;   /* this attempt: its breaker has been told */
    bool is_ending;   /* by deadline, cancel or close: its attempt is the last */
    bool was_refused; /* once, transparently repeated */
    bool is_counted;  /* the attempt that is under way, or comes next, is among `attempts` */
    bool may_be_done; /* by an attempt that has ended */
};

struct channel_backend_stats {
    char address[TARGET_AUTHORITY_SIZE];
    enum subchannel_state state;
    bool is_healthy;
    enum breaker_state breaker;
    uint64_t breaker_opened; /* times */
    uint64_t calls;          /* attempts begun */
    uint64_t failures;       /* of those, the ones that failed by a fault of the backend */
    unsigned open_calls;
    struct subchannel_stats connections;
    const char *problem; /* of its last failure; borrowed until the next turn of the loop */
};

struct channel_stats {
    uint64_t calls;   /* started */
    uint64_t retries; /* attempts after the first, by policy */
    uint64_t transparent_retries;
    uint64_t throttled;        /* retries that the throttle forbade */
    uint64_t breaker_refusals; /* calls that failed because a breaker was open */
    unsigned waiting;          /* calls without an attempt, now */
    unsigned backend_count;
};

/* Makes a channel; it resolves and connects at once when `connect` says so, else with the first
 * call. `closed` runs once, after channel_close(). Returns 0 or -ENOMEM. */
int channel_new(struct reactor *reactor, const struct channel_options *options,
                void (*closed)(void *context), void *context, struct channel **ret_channel);

/* Resolves and connects without a call to do it for. */
void channel_connect(struct channel *channel);

/* Whoever knows that the network has changed: connects at once where a backoff keeps it waiting,
 * and the next failure is the first again. */
void channel_reset_backoff(struct channel *channel);

/* Starts a unary call; the request is copied. Returns 0, CHANNEL_E_BUSY or -ENOMEM; only after 0
 * `done` runs, never inside this call. */
int channel_start(struct channel *channel, struct channel_call *call, struct bytes request);

/* The same for a stream, with nothing sent but its head; `message` is set. */
int channel_open(struct channel *channel, struct channel_call *call);

/* Queues one message on a stream; it is copied. Returns 0, CHANNEL_E_FULL or CHANNEL_E_OVER with
 * nothing taken, or -ENOMEM. */
int channel_send(struct channel_call *call, struct bytes message);

/* No message follows. Returns 0, CHANNEL_E_OVER or -ENOMEM. */
int channel_half_close(struct channel_call *call);

/* Stops and restarts the telling of messages. Meanwhile the server may send what one flow-control
 * window holds, and `done` waits for the messages before it. */
void channel_pause(struct channel_call *call);
void channel_resume(struct channel_call *call);

/* Ends a call that is under way with CANCELLED, unless its outcome stands already; `done` tells.
 * Messages that were not told are dropped. */
void channel_cancel(struct channel_call *call);

/* READY: a call that began now would find a backend. CONNECTING: it would wait for one.
 * TRANSIENT_FAILURE: it would fail, unless it waits for ready. IDLE: it would begin to connect. */
enum subchannel_state channel_state(const struct channel *channel);

/* Why it is not READY, for people; "" = nobody can say. */
void channel_describe(const struct channel *channel, char *out, size_t room);

struct channel_stats channel_stats(const struct channel *channel);

/* The address of backend `index`, below backend_count; borrowed until the next turn of the loop. */
const char *channel_backend_name(const struct channel *channel, unsigned index);

/* Of backend `index`, below backend_count. */
struct channel_backend_stats channel_backend_stats(const struct channel *channel, unsigned index);

/* Cancels every call, ends the connections, frees the channel; `closed` is the last word. Safe to
 * repeat until then. */
void channel_close(struct channel *channel);

/* The same without goodbyes: what still had to be sent is lost. Also after channel_close(). */
void channel_abort(struct channel *channel);

/* No turn of the loop will come any more: wipes the secrets that the channel keeps for itself. It
 * stays as it is, and `closed` does not run. */
void channel_lose(struct channel *channel);

/* Likewise for a call that is under way: it is its owner's again, with `backend` as in `done`,
 * which does not run. */
void channel_lose_call(struct channel_call *call);

#endif
