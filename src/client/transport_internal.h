/*
 * What the files of a transport share: its state, and the attempts on it.
 *
 *     transport.c            life: states, the task, the end
 *     transport_connect.c    the way to the server: TCP, the connection and its events
 *     transport_keepalive.c  a server that is silent
 *     transport_stream.c     an attempt on its HTTP/2 stream
 *     transport_deliver.c    telling owners: messages, room, the outcome
 *
 * Owns, borrows: as transport.h says.
 * Thread:  loop only.
 */
#ifndef CLIENT_TRANSPORT_INTERNAL_H
#define CLIENT_TRANSPORT_INTERNAL_H

#include "client/transport.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "core/ring.h"

#include <stdbool.h>

#define TRANSPORT_FLUSH_SIZE_MAX 65536
#define TRANSPORT_PROBLEM_SIZE   768
#define TRANSPORT_SPARES_MAX     64   /* buffers kept for the next answers */
#define TRANSPORT_SPARE_SIZE_MAX 2048 /* larger ones are not */
#define TRANSPORT_HEAD_FIELDS    7    /* that are the same in each request */

enum transport_state {
    TRANSPORT_CONNECTING,  /* TCP */
    TRANSPORT_HANDSHAKING, /* TLS, and until the server's SETTINGS come */
    TRANSPORT_READY,       /* the session takes attempts */
    TRANSPORT_DRAINING,    /* it takes no new ones and serves those that are open */
    TRANSPORT_ENDING,      /* the connection was asked to close; no attempt is open */
    TRANSPORT_CLOSED,      /* it is gone; some attempts may still have to be told */
    TRANSPORT_STATE_COUNT,
};

struct transport {
    struct reactor *reactor;
    struct transport_options options;
    struct target_address address;
    struct conn_settings settings;
    const struct transport_events *events;
    void *owner;
    enum transport_state state;
    struct reactor_task task;
    /* Attempts, each in one of the first three. */
    struct list open;       /* on a stream */
    struct list finished;   /* nothing more comes: messages and the outcome have to be told */
    struct list held;       /* the same, but their owner has paused them */
    struct list ready;      /* of open ones, by ready_link: there is something to tell */
    unsigned attempt_count; /* in the first three */
    unsigned open_count;
    struct buf spares[TRANSPORT_SPARES_MAX]; /* empty, of answers that are over */
    unsigned spare_count;
    /* The connection. */
    struct ring_op connect_op;
    struct timer timer; /* for connecting, then keepalive */
    int fd;             /* while connecting, else -1 */
    struct conn *conn;
    struct h2_session *session;
    uint64_t pinged_ns; /* when the PING went out that is not answered yet; 0 = none did */
    uint64_t awake_ns;  /* when the first call after a silence that nobody watched began */
    /* What is the same in each request; the path goes in between. */
    struct h2_field head[TRANSPORT_HEAD_FIELDS];
    uint64_t timeout_ns; /* of the last request that had one, */
    char timeout[10];    /* and how it was written: most have the same */
    /* The end. */
    enum call_cause cause;      /* valid when `is_failed` */
    bool is_failed;             /* the cause stands */
    bool is_mild;               /* so far there is only a GOAWAY without an error */
    const char *give_up_reason; /* of aborting; NULL = its owner wants it */
    bool is_aborting;
    bool is_closing; /* its owner wants it to end */
    bool ready_due;  /* to be told */
    bool draining_due;
    bool server_asked_patience;
    bool has_served;
    char name[2 * TARGET_AUTHORITY_SIZE + 4]; /* of the server, for people */
    char problem[TRANSPORT_PROBLEM_SIZE];
};

extern const struct h2_events transport_session_events;
extern const struct h2_options transport_session_options;

/* Checks the move against the table; leaving READY is told. */
void transport_set_state(struct transport *transport, enum transport_state state);

/* Runs the transport's task at the end of this turn. */
void transport_wake(struct transport *transport);

/* Why it ends, after the server's name. The first word stands, unless it was a GOAWAY without an
 * error. */
void transport_set_problem(struct transport *transport, enum call_cause cause, const char *format,
                           ...) __attribute__((format(printf, 3, 4)));

/* The connection is of no use any more: fails what is open and asks it to close, with what the
 * session still has to say. */
void transport_end(struct transport *transport);

/* The same without a word to the server. */
void transport_cut(struct transport *transport);

/* The connection is gone, or there never was one. */
void transport_closed(struct transport *transport);

/* Starts to connect; a failure leaves it CLOSED. */
void transport_connect(struct transport *transport);

/* Takes the connection callbacks. */
void transport_init_connection(struct transport *transport);

/* READY once the server's SETTINGS are here. */
void transport_look_for_settings(struct transport *transport);

/* Begins to watch for silence, READY; and when the first attempt is there after there was none. */
void transport_start_keepalive(struct transport *transport);
void transport_watch_attempt(struct transport *transport);

/* Its timer, READY and DRAINING. */
void transport_check_silence(struct transport *transport);

/* The constant part of the head. */
void transport_init_head(struct transport *transport);

/* Nothing more comes of this attempt: the task will run `done`. A stream that has not ended on both
 * sides is reset. */
void transport_finish(struct call_attempt *attempt, bool peer_ended);

/* Ends the open attempts: as never sent, or lost. */
void transport_fail_open(struct transport *transport);

/* The server will not look at this one. */
void transport_refuse(struct call_attempt *attempt);

/* There is something to tell about an open stream. */
void transport_make_ready(struct call_attempt *attempt);

/* A finished attempt whose owner has changed its mind is looked at again. */
void transport_finish_again(struct call_attempt *attempt);

/* The buffers of an answer: those of one that is over, when there are any. */
void transport_lend_buffers(struct transport *transport, struct call_reply *reply);
void transport_free_buffers(struct transport *transport);

/* Tells what there is to tell, outcomes last. From the task only. */
void transport_deliver(struct transport *transport);

#endif
