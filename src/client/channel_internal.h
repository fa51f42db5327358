/*
 * What the files of a channel share: its state, and the calls between them.
 *
 *     channel.c          calls and their outcomes, the task
 *     channel_deliver.c  telling owners: messages, room, the outcome
 *     channel_stream.c   a call on its HTTP/2 stream
 *     channel_conn.c     the way to the server: connecting, the connection, its end
 *
 * Owns, borrows: as channel.h says.
 * Thread:  loop only.
 */
#ifndef CLIENT_CHANNEL_INTERNAL_H
#define CLIENT_CHANNEL_INTERNAL_H

#include "client/channel.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "core/ring.h"

#include <stdbool.h>

#define CHANNEL_FLUSH_SIZE_MAX 65536
#define CHANNEL_PROBLEM_SIZE   768

enum channel_state {
    CHANNEL_IDLE,        /* no connection */
    CHANNEL_CONNECTING,  /* TCP */
    CHANNEL_HANDSHAKING, /* TLS */
    CHANNEL_READY,       /* the session takes calls */
    CHANNEL_DRAINING,    /* the session takes no new calls and serves the open ones */
    CHANNEL_ENDING,      /* the connection was asked to close */
    CHANNEL_STATE_COUNT,
};

struct channel {
    struct reactor *reactor;
    struct channel_options options;
    struct conn_settings settings;
    void (*closed)(void *context);
    void *context;
    enum channel_state state;
    bool closing;
    bool aborting; /* and without a goodbye */
    struct reactor_task task;
    struct list waiting;
    struct list open;
    struct list finished;
    struct list held;    /* finished, with messages that their paused owner has not taken */
    struct list ready;   /* of open calls, by ready_link */
    unsigned call_count; /* in the lists, each counted once */
    /* Of the present attempt and connection. */
    struct ring_op connect_op;
    struct timer connect_timer;
    unsigned address_index;
    int fd; /* while connecting, else -1 */
    struct conn *conn;
    struct h2_session *session;
    char problem[CHANNEL_PROBLEM_SIZE]; /* why the connection ended, for the calls that it takes
                                           along */
    char authority[TARGET_HOST_SIZE + TARGET_PORT_SIZE + 3];
};

extern const struct h2_events channel_session_events;
extern const struct h2_options channel_session_options;

/* Checks the move against the table. */
void channel_set_state(struct channel *channel, enum channel_state state);

/* Runs the channel's task at the end of this turn. */
void channel_wake(struct channel *channel);

/* Nothing more comes of this call: the task will run `done`. A stream the peer has not ended is
 * reset. */
void channel_finish(struct channel_call *call, bool peer_ended);

/* There is something to tell about a stream. */
void channel_make_ready(struct channel_call *call);

/* Frees what was not sent; it may hold a password. */
void channel_wipe_request(struct channel_call *call);

/* Tells what there is to tell, outcomes last. From the task only. */
void channel_deliver(struct channel *channel);

/* Decides the outcome, then channel_finish(). */
void channel_fail(struct channel_call *call, enum grpc_status status, enum channel_cause cause,
                  const char *message);
void channel_fail_all(struct list *calls, enum grpc_status status, enum channel_cause cause,
                      const char *message);

/* Turns waiting calls into streams. READY only; DRAINING after it when the session takes no more.
 */
void channel_send_waiting(struct channel *channel);

/* Takes the connection callbacks of the settings. */
void channel_init_settings(struct channel *channel);

/* From IDLE: starts with the first address. */
void channel_connect(struct channel *channel);

/* Asks the connection to close, with what the session still has to say before it. */
void channel_end_connection(struct channel *channel);

#endif
