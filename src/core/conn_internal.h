/*
 * One conn as its three files see it: conn.c (life), conn_receive.c (in), conn_send.c (out).
 * Nobody else includes this.
 *
 * Owns, borrows, thread: as conn.h says.
 */
#ifndef CORE_CONN_INTERNAL_H
#define CORE_CONN_INTERNAL_H

#include "core/buf.h"
#include "core/bytes.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "core/timer.h"

#include <stdbool.h>

#define CONN_DETAIL_SIZE 128

struct tls;

/* Only ever grows. */
enum conn_phase {
    CONN_PHASE_OPENING,   /* in the handshake, or `opened` was not told yet */
    CONN_PHASE_OPEN,      /* bytes flow */
    CONN_PHASE_FLUSHING,  /* closing: what waits is still sent */
    CONN_PHASE_LINGERING, /* our side is shut, the peer's end is awaited */
    CONN_PHASE_DYING,     /* all operations are cancelled; freed when they are complete */
};

struct conn {
    const struct conn_settings *settings;
    void *owner;
    struct tls *tls; /* NULL = plain text */
    int fd;
    enum conn_phase phase;

    struct ring_op recv_op;
    struct ring_op send_op;
    struct ring_op shutdown_op;
    struct timer phase_timer; /* of the handshake, later of lingering */
    struct timer send_timer;  /* looks after the send in flight, later after idle buffers */
    uint64_t send_began_ns;   /* the send in flight */
    uint64_t heard_ns;        /* when bytes last came, or were let in again */
    struct reactor_task task; /* everything that is not the answer to a completion happens in it */
    struct reactor_task handshake_task; /* moves the handshake on with what is in `held` */

    struct buf output;  /* plain bytes gathering */
    struct buf cipher;  /* sealed bytes gathering; unused without TLS */
    struct buf sending; /* lent to the kernel: never appended to */
    struct buf held;    /* received and not delivered: cipher bytes with TLS, else plain ones */

    bool touched;        /* `drain` is due */
    bool draining;       /* inside `drain` */
    bool paused;         /* by the owner */
    bool delivery_due;   /* `held`, or what TLS still has inside, is to be delivered */
    bool opened_told;    /* to the owner */
    bool ended_told;     /* to the owner */
    bool eof;            /* the peer shut its side */
    bool tls_ended;      /* the peer sent close_notify */
    bool tls_failed;     /* only an alert may still be sent */
    bool tls_end_put;    /* our close_notify is in `cipher`, or was */
    bool send_broken;    /* the peer takes no more; what it sent is still read */
    bool all_sent;       /* of what could be sent; output appended later does not count */
    bool recv_cancelled; /* asked; the last completion is awaited */
    bool dying_begun;    /* all operations were asked to end */

    bool end_known; /* the first reason is the one that is told */
    enum conn_end end;
    enum conn_end close_end; /* the reason when closing goes well */
    char detail[CONN_DETAIL_SIZE];
};

void conn_set_phase(struct conn *conn, enum conn_phase phase);

/* Runs the conn's task at the end of this turn. */
void conn_defer(struct conn *conn);

/* Remembers why it ends, unless that is known. */
void conn_set_end(struct conn *conn, enum conn_end end, const char *detail);

/* Ends without sending anything more; the task does the work. */
void conn_die(struct conn *conn, enum conn_end end, const char *detail);

/* Remembers that a socket operation failed with this errno, and why. */
void conn_set_socket_error(struct conn *conn, int error);

/* conn_receive.c */

void conn_on_recv(struct ring_op *op, const struct ring_event *event);

void conn_on_handshake_turn(struct reactor_task *task);

/* Delivers what was held, tells `opened` (plain text) and `ended` when they are due. */
void conn_catch_up(struct conn *conn);

/* Arms or cancels the receive, whichever the state asks for. */
void conn_update_recv(struct conn *conn);

/* conn_send.c */

void conn_on_send(struct ring_op *op, const struct ring_event *event);
void conn_on_send_timer(struct timer *timer);

/* Gathers, seals and sends what waits, unless a send is in flight. */
void conn_flush(struct conn *conn);

#endif
