/*
 * One TCP connection: receives, sends in order, ends gracefully. Plain bytes above, TLS inside.
 *
 * Output gathers in a plain buffer during the turn; at its end the conn asks its owner for more
 * (`drain`), seals everything into TLS records and sends it with one operation. While that send is
 * in flight nothing is sealed; the owner's queue is the back-pressure.
 *
 * Owns:    the socket, its operations, the TLS state, the buffers (none when idle for seconds).
 * Borrows: the owner's context and the shared settings, until `closed`.
 * Thread:  loop only.
 */
#ifndef CORE_CONN_H
#define CORE_CONN_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct reactor;
struct tls_context;

enum conn_end {
    CONN_END_LOCAL,   /* we closed it and all was sent */
    CONN_END_PEER,    /* the peer closed it */
    CONN_END_ERROR,   /* a socket error */
    CONN_END_TLS,     /* TLS failure, garbage instead of TLS, no ALPN h2 */
    CONN_END_TIMEOUT, /* handshake, stuck send or lingering took too long */
    CONN_END_ABORTED, /* conn_abort() */
};

/* Every callback runs from the loop, never inside a call to conn_*. */
struct conn_events {
    /* Plain bytes can flow (TLS is done and ALPN is h2; at once without TLS). */
    void (*opened)(void *owner);
    /* Plain bytes, borrowed. conn_close(), conn_abort() and conn_pause() may be called inside;
     * after the first two nothing more is delivered. */
    void (*received)(void *owner, struct bytes bytes);
    /* The peer ended its side; nothing more will be received. Normally answered by conn_close(). */
    void (*ended)(void *owner);
    /* The end of a turn in which the conn was touched (or was opened, or a send completed), and no
     * send is in flight: append to conn_output() what waits, until conn_has_room() says no.
     * Touching inside is not needed. After conn_close() it is called until it appends nothing. */
    void (*drain)(void *owner);
    /* The last call; all operations are complete. The conn frees itself when it returns; until then
     * it may be called, to no effect. `detail` is text for the log, maybe "". */
    void (*closed)(void *owner, enum conn_end end, const char *detail);
};

/* Shared by all connections of one server or client; must outlive them. */
struct conn_settings {
    struct reactor *reactor;
    const struct conn_events *events;
    uint64_t handshake_timeout_ns; /* from creation to `opened` */
    uint64_t send_timeout_ns;      /* one send may take this long */
    uint64_t linger_timeout_ns;    /* after close: wait for the peer's end this long (P29) */
    uint64_t user_timeout_ns;      /* TCP_USER_TIMEOUT of new ones: what was sent may stay
                                      unacknowledged this long (K10); 0 = as the system has it */
    uint32_t flush_bytes_max;      /* plain bytes sealed and sent at once, e.g. 65536 */
    bool is_output_secret;         /* plain bytes are wiped once they are sealed or sent */
};

/* Takes the socket. `tls` NULL = plain text. `server_name` NULL = server role, else the name a
 * client checks. Starts receiving. Returns 0, or negative errno with the socket closed. */
int conn_new(const struct conn_settings *settings, int fd, struct tls_context *tls,
             const char *server_name, void *owner, struct conn **ret_conn);

/* Where plain output gathers. After appending call conn_touch(). */
struct buf *conn_output(struct conn *conn);

/* True while less than flush_bytes_max waits in the output buffer. */
bool conn_has_room(const struct conn *conn);

/* Plain bytes waiting plus sealed bytes in flight. */
size_t conn_unsent_size(const struct conn *conn);

/* Flush at the end of this turn (calls `drain` first). Cheap to repeat. */
void conn_touch(struct conn *conn);

/* The name in the peer's certificate (tls_peer_identity()); NULL = none. Known when `opened` runs;
 * valid until `closed` returns. */
const char *conn_peer_identity(const struct conn *conn);

/* When the peer was last heard: any byte of it, of TLS too, but for those that only the kernel has.
 * While nothing is received because of conn_pause() that is now. */
uint64_t conn_heard_ns(const struct conn *conn);

/* Stop and restart delivery of received bytes. What the ring had received by then is kept: at most
 * its whole pool of buffers. The rest waits in the kernel, and then at the peer. */
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);
bool conn_is_paused(const struct conn *conn);

/* Ends gracefully: what is in the output is sent, then close_notify, then the write side shuts,
 * then the peer's end is awaited for linger_timeout. Nothing more is delivered. Safe to repeat. */
void conn_close(struct conn *conn);

/* Ends now; what was not sent is lost. Safe to repeat. */
void conn_abort(struct conn *conn);

#endif
