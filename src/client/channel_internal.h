/*
 * What the files of a channel share: its state, and the calls between them.
 *
 *     channel.c           making, the task, statistics, closing
 *     channel_backends.c  addresses become backends: connections, health, breakers; who may be used
 *     channel_connect.c   which backend to connect to, and when there is no hope of one
 *     channel_call.c      the life of a call
 *     channel_sending.c   what a call sends, kept for another attempt
 *     channel_retry.c     what to do with an attempt that failed
 *     channel_state.c     what it is, seen from outside
 *
 * Owns, borrows: as channel.h says.
 * Thread:  loop only.
 */
#ifndef CLIENT_CHANNEL_INTERNAL_H
#define CLIENT_CHANNEL_INTERNAL_H

#include "client/channel.h"
#include "client/health_watch.h"
#include "client/resolver.h"
#include "client/retry_throttle.h"
#include "client/service_config.h"
#include "core/reactor.h"

#define CHANNEL_PROBLEM_SIZE 768
#define CHANNEL_SPARES_MAX   128  /* buffers kept for the next calls */
#define CHANNEL_SPARE_SIZE   4096 /* larger ones are not */

#define CHANNEL_OUTCOME_SIZE   (2048 + CHANNEL_EARLIER_SIZE)
#define CHANNEL_TOO_LARGE_SIZE 128 /* of the text about a message that is */

/* See the head of channel_call.c. */
enum channel_call_state {
    CHANNEL_CALL_WAITING,
    CHANNEL_CALL_DELAYED,
    CHANNEL_CALL_OPEN,
    CHANNEL_CALL_FINISHED,
    CHANNEL_CALL_STATE_COUNT,
};

/* One address, and the way to it. */
struct channel_backend {
    struct list link; /* among those that are leaving */
    struct channel *channel;
    uint64_t number; /* never given again; from 1 */
    struct target_address address;
    struct subchannel *subchannel;
    struct health_watch *health; /* NULL = nobody asks */
    struct breaker breaker;
    enum subchannel_state state; /* as it was told last */
    bool is_ready;               /* and takes attempts, and is healthy */
    bool has_failed;             /* since the present round of connecting began, or was served */
    bool is_leaving;
    uint64_t calls;
    uint64_t failures;
    uint64_t loss_judged;    /* the lost connection that its breaker has counted last */
    uint64_t loss_throttled; /* likewise the throttle */
    unsigned open_calls;
    char name[TARGET_AUTHORITY_SIZE];      /* the address, for people */
    char authority[TARGET_AUTHORITY_SIZE]; /* borrowed by the subchannel */
};

/* What calls can hope for while no backend is usable. */
enum channel_prospect {
    CHANNEL_PROSPECT_WAIT,    /* one may become usable soon */
    CHANNEL_PROSPECT_DOWN,    /* each has failed: those that do not wait for ready fail */
    CHANNEL_PROSPECT_REFUSED, /* the same, and a breaker is among the reasons */
    CHANNEL_PROSPECT_BROKEN,  /* the same, and every breaker is open */
};

struct channel {
    struct reactor *reactor;
    struct channel_options options;
    struct target target;
    char *user_agent;
    void (*closed)(void *context);
    void *context;
    bool is_wanted; /* a connection was asked for */
    bool closing;
    bool aborting; /* and without a goodbye */
    bool is_shut;  /* closing has asked everybody to end */
    struct reactor_task task;
    struct reactor_task tell_task; /* outcomes, a turn apart: who starts a call in its `done` that
                                      fails at once does not hold the loop */
    /* Calls. */
    struct list waiting;    /* for a backend, first come first served */
    struct list delayed;    /* for the time of their next attempt */
    struct list open;       /* at an attempt */
    struct list finished;   /* to be told */
    unsigned waiting_count; /* of the first two */
    unsigned call_count;    /* in the lists, each counted once */
    struct retry_throttle throttle;
    struct buf health_authorization;
    struct buf spares[CHANNEL_SPARES_MAX]; /* empty and wiped */
    unsigned spare_count;
    /* Backends. */
    struct resolver *resolver;                              /* NULL = not made yet, or gone */
    bool has_unresolved;                                    /* the name is unknown at present */
    struct channel_backend *backends[CHANNEL_BACKENDS_MAX]; /* in the order of the addresses */
    unsigned backend_count;
    struct list leaving;
    uint64_t last_number;
    struct balancer balancer;
    uint64_t dialled;         /* pick_first: number of the backend that it connected last, */
    uint64_t dialled_ns;      /* and when */
    struct timer dial_timer;  /* when it is the turn of the next one */
    struct timer probe_timer; /* when a breaker lets the next call through */
    char problem[CHANNEL_PROBLEM_SIZE]; /* of the backend that failed last, or of the name */
    enum call_cause problem_cause;
    struct channel_stats stats;
};

/* channel.c */

/* Runs the channel's task at the end of this turn. */
void channel_wake(struct channel *channel);

/* channel_backends.c */

/* Begins to resolve, unless it did or the channel is closing. Returns 0 or -ENOMEM. */
int channel_resolve(struct channel *channel);

/* Asks for the addresses again: something is wrong with those we have. */
void channel_ask_again(struct channel *channel);

/* It says SERVING, or nobody asks. */
bool channel_backend_is_healthy(const struct channel_backend *backend);

/* Takes one away; frees it when its connections have ended. */
void channel_backend_leave(struct channel_backend *backend);

/* channel_connect.c */

/* Connects where the policy wants it. */
void channel_connect_backends(struct channel *channel);

/* The backend for the next attempt of a call, or NULL. Its breaker has admitted it: the outcome is
 * to be reported, with the call's ticket. */
struct channel_backend *channel_pick(struct channel *channel, struct channel_call *call);

/* Where the backend of that number stands now, after it stood at `index`; or BALANCER_NONE. */
size_t channel_backend_index(const struct channel *channel, size_t index, uint64_t number);

/* Asked when channel_pick() found none. */
enum channel_prospect channel_prospect(const struct channel *channel);

/* The calls that were waiting have failed: what comes now is worth another round of connecting. */
void channel_begin_round(struct channel *channel);

/* Says why there is no hope, for people. */
void channel_describe_prospect(const struct channel *channel, enum channel_prospect prospect,
                               char *out, size_t room);

/* What calls are waiting for, for people; "" = nobody can say. It is `out`, or lies in the
 * channel. */
const char *channel_describe_wait(const struct channel *channel, char *out, size_t room);

/* Wakes the channel when a breaker will let a call through, if calls wait for that. */
void channel_arm_probe(struct channel *channel);

/* channel_call.c */

/* Starts the calls that wait, as far as there are backends, and fails those without hope. */
void channel_serve_waiting(struct channel *channel);

/* Runs `done` of the calls that are finished. */
void channel_tell_finished(struct channel *channel);

/* Ends every call with CANCELLED. */
void channel_cancel_all(struct channel *channel);

/* Ends a call that is under way from our side, unless its outcome stands. */
void channel_call_fail(struct channel_call *call, enum grpc_status status, enum call_cause cause,
                       const char *problem);

/* channel_sending.c */

/* Makes "Bearer TOKEN" out of what there is of the two, with its NUL; nothing out of neither. `out`
 * is empty. Returns 0 or -ENOMEM. */
int channel_authorize(struct channel *channel, const char *token, struct token_file *token_file,
                      struct buf *out);

/* Whether a message of that size may not be sent, and then the text for it (CHANNEL_TOO_LARGE_SIZE
 * bytes). */
bool channel_is_too_large(const struct channel_call *call, size_t size, char *ret_text);

/* Takes the message with its frame head: all of it or nothing. Returns 0 or -ENOMEM. */
int channel_keep_message(struct channel_call *call, struct bytes message);

/* No other attempt follows this one: what was kept for it goes. */
void channel_commit(struct channel_call *call);

/* An empty buffer, perhaps with memory; and its return. What was in it is wiped. */
struct buf channel_take_spare(struct channel *channel);
void channel_give_spare(struct channel *channel, struct buf *buf);

/* Empties it, and leaves nothing to be found in its memory. */
void channel_wipe(struct buf *buf);

/* channel_retry.c */

enum channel_retry {
    CHANNEL_RETRY_NONE, /* this is the outcome */
    CHANNEL_RETRY_NOW,
    CHANNEL_RETRY_LATER, /* after `*ret_delay_ns` */
};

/* Decides, and moves the throttle. The attempt ran on `backend`. */
enum channel_retry channel_decide_retry(struct channel_call *call, struct channel_backend *backend,
                                        const struct call_result *result, uint64_t *ret_delay_ns);

/* Tell the breaker of the backend that the attempt ran on, and count. A stream may live for hours:
 * as a probe it has done its part with the first message. Otherwise its end counts, since a stream
 * may fail after any number of messages. */
void channel_judge_early(struct channel_call *call);
void channel_judge_end(struct channel_call *call, const struct call_result *result);

/* Keeps what the outcome will have to say about an attempt that is not the last. */
void channel_note_attempt(struct channel_call *call, const struct call_result *result);

/* The outcome as it is told: with what is known of the attempts before. Its text lies in `room`
 * (CHANNEL_OUTCOME_SIZE bytes) or where it lay. */
struct call_result channel_outcome(const struct channel_call *call,
                                   const struct call_result *result, char *room);

#endif
