#include "core/conn.h"

#include "core/clock.h"
#include "core/conn_internal.h"
#include "core/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A conn has three operations at most (one receive that stays armed, one send, one shutdown), two
 * timers and one task. Calls from above only mark what they want and defer the task; completions
 * and timers do the same. So callbacks never run inside a call, and there is one place, the end of
 * the task, where the conn can go away.
 *
 * The way of a connection:
 *   1. conn_new() arms the receive. With TLS the handshake runs in slow tasks of the reactor, a few
 *      of all conns in one turn, and what it wants to send goes out at the end of the turn; then
 *      `opened`.
 *   2. Received bytes are opened and delivered from the completion, straight from the ring's
 * buffer.
 *   3. The owner appends to the output and touches; the task asks it for more (`drain`), seals
 *      and sends with one operation. The completion of a send asks again.
 *   4. conn_close(): drain until nothing comes, close_notify, shut the write side, then read and
 *      drop until the peer's end (closing a socket with unread input would send a reset, which
 *      takes from the peer what it has not read yet), then cancel, close, `closed`.
 *
 * What can go wrong:
 *   - The peer does not read: one send lasts longer than send_timeout, and the conn dies.
 *   - The peer's machine is gone: the kernel gives up what it does not acknowledge (user_timeout).
 *   - The peer does not close: linger_timeout.
 *   - The peer resets while we send: its last bytes may still be unread, so sending stops and
 *     receiving goes on until the end shows (conn_send.c).
 *   - The handshake fails: the alert is sent, then as in 4.
 *   - Memory or the ring's queue is exhausted: the conn dies with CONN_END_ERROR.
 *
 * Dying means: cancel everything, free when the last operation is complete.
 */

void conn_set_phase(struct conn *conn, enum conn_phase phase)
{
    assert(phase > conn->phase);
    conn->phase = phase;
}

void conn_defer(struct conn *conn)
{
    reactor_defer(conn->settings->reactor, &conn->task);
}

void conn_set_end(struct conn *conn, enum conn_end end, const char *detail)
{
    if (conn->end_known) {
        return;
    }
    conn->end_known = true;
    conn->end = end;
    (void)snprintf(conn->detail, sizeof(conn->detail), "%s", detail);
}

void conn_die(struct conn *conn, enum conn_end end, const char *detail)
{
    conn_set_end(conn, end, detail);
    if (conn->phase != CONN_PHASE_DYING) {
        conn_set_phase(conn, CONN_PHASE_DYING);
    }
    conn_defer(conn);
}

void conn_set_socket_error(struct conn *conn, int error)
{
    if (error == ETIMEDOUT && conn->settings->user_timeout_ns != 0) {
        if (!conn->end_known) {
            limits_hit_add(&conn->settings->reactor->limits_hit, LIMITS_HIT_KEEPALIVE);
        }
        conn_set_end(conn, CONN_END_ERROR, "nothing acknowledged for keepalive.timeout_s");
        return;
    }
    conn_set_end(conn, error == EPIPE || error == ECONNRESET ? CONN_END_PEER : CONN_END_ERROR,
                 strerror(error));
}

/* Nothing may be pending, armed or deferred. */
static void conn_free(struct conn *conn)
{
    assert(!conn->recv_op.pending);
    assert(!conn->send_op.pending);
    assert(!conn->shutdown_op.pending);
    assert(!timer_is_armed(&conn->phase_timer));
    assert(!timer_is_armed(&conn->send_timer));
    assert(!list_is_linked(&conn->task.link));
    assert(!list_is_linked(&conn->handshake_task.link));
    tls_free(conn->tls);
    buf_deinit(&conn->output);
    buf_deinit(&conn->cipher);
    buf_deinit(&conn->sending);
    buf_deinit(&conn->held);
    free(conn);
}

static void conn_close_socket(struct conn *conn)
{
    if (!conn->all_sent && conn_unsent_size(conn) > 0) {
        /* Output is lost: a reset says so, and the kernel keeps none of it for a stuck peer. */
        struct linger reset = {.l_onoff = 1, .l_linger = 0};

        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    (void)close(conn->fd); /* its errors concern data that nobody waits for any more */
    conn->fd = -1;
}

/* Asks all operations to end, once; when none is left, tells the owner and frees. */
static void conn_die_step(struct conn *conn)
{
    struct reactor *reactor = conn->settings->reactor;

    if (!conn->dying_begun) {
        conn->dying_begun = true;
        reactor_stop_timer(reactor, &conn->phase_timer);
        reactor_stop_timer(reactor, &conn->send_timer);
        ring_cancel(reactor->ring, &conn->recv_op);
        ring_cancel(reactor->ring, &conn->send_op);
        ring_cancel(reactor->ring, &conn->shutdown_op);
    }
    if (conn->recv_op.pending || conn->send_op.pending || conn->shutdown_op.pending) {
        return;
    }
    conn_close_socket(conn);
    conn->settings->events->closed(conn->owner, conn->end, conn->detail);
    reactor_undefer(&conn->task); /* late: the owner may still have touched it in `closed` */
    reactor_undefer(&conn->handshake_task);
    conn_free(conn);
}

static void conn_on_shutdown(struct ring_op *op, const struct ring_event *event)
{
    /* When it failed the peer is gone, which the receive tells as well. */
    (void)event;
    conn_defer(CONTAINER_OF(op, struct conn, shutdown_op));
}

static void conn_start_lingering(struct conn *conn)
{
    struct reactor *reactor = conn->settings->reactor;

    conn_set_phase(conn, CONN_PHASE_LINGERING);
    conn->all_sent = true;
    if (reactor_start_timer(reactor, &conn->phase_timer, conn->settings->linger_timeout_ns) != 0 ||
        ring_shutdown(reactor->ring, &conn->shutdown_op, conn->fd, SHUT_WR) != 0) {
        conn_die(conn, CONN_END_ERROR, "no resources to close gracefully");
    }
}

/* Moves a closing conn on, as far as it can go now. */
static void conn_close_step(struct conn *conn)
{
    bool is_flushed = !conn->touched && !conn->send_op.pending && conn_unsent_size(conn) == 0;

    if (conn->send_broken && (conn->phase == CONN_PHASE_FLUSHING || conn->ended_told)) {
        conn_die(conn, CONN_END_PEER, ""); /* neither way leads anywhere */
    } else if (conn->phase == CONN_PHASE_FLUSHING && is_flushed) {
        if (conn->tls != NULL && !conn->tls_end_put && !conn->tls_failed) {
            conn->tls_end_put = true;
            tls_end(conn->tls);
            conn_flush(conn);
        }
        if (!conn->send_op.pending && conn->phase == CONN_PHASE_FLUSHING) {
            conn_start_lingering(conn);
        }
    } else if (conn->phase == CONN_PHASE_LINGERING && conn->eof && !conn->shutdown_op.pending) {
        conn_die(conn, conn->close_end, "");
    }
}

static void conn_on_turn(struct reactor_task *task)
{
    struct conn *conn = CONTAINER_OF(task, struct conn, task);

    conn_catch_up(conn);
    conn_flush(conn);
    conn_close_step(conn);
    conn_update_recv(conn);
    if (conn->phase == CONN_PHASE_DYING) {
        conn_die_step(conn); /* the conn may be gone after this */
    }
}

static void conn_on_phase_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, phase_timer);

    if (conn->phase == CONN_PHASE_OPENING) {
        limits_hit_add(&conn->settings->reactor->limits_hit, LIMITS_HIT_TLS_TIMEOUT);
        conn_die(conn, CONN_END_TIMEOUT, "the handshake took too long");
    } else {
        conn_die(conn, CONN_END_TIMEOUT, "the peer did not close");
    }
}

/* Everything that can fail, in an order that leaves only memory and a timer to undo. */
static int conn_start(struct conn *conn, struct tls_context *context, const char *server_name)
{
    struct reactor *reactor = conn->settings->reactor;
    int result;

    if (context != NULL) {
        result = tls_new(context, &conn->cipher, server_name, &conn->tls);
        if (result == 0) {
            result = tls_start(conn->tls);
        }
        if (result == 0) {
            result = reactor_start_timer(reactor, &conn->phase_timer,
                                         conn->settings->handshake_timeout_ns);
        }
        if (result != 0) {
            return result;
        }
    }
    result = ring_recv(reactor->ring, &conn->recv_op, conn->fd);
    if (result != 0) {
        reactor_stop_timer(reactor, &conn->phase_timer);
    }
    return result;
}

/* Of the kernel's own, once per connection. Sockets that are not TCP have none. */
static void limit_silence(const struct conn *conn)
{
    uint64_t timeout_ms = conn->settings->user_timeout_ns / CLOCK_NS_PER_MS;
    unsigned value = timeout_ms < INT_MAX ? (unsigned)timeout_ms : INT_MAX;

    if (value != 0) {
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof(value));
    }
}

int conn_new(const struct conn_settings *settings, int fd, struct tls_context *tls,
             const char *server_name, void *owner, struct conn **ret_conn)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    int result = -ENOMEM;

    if (conn == NULL) {
        goto fail;
    }
    conn->settings = settings;
    conn->owner = owner;
    conn->fd = fd;
    conn->heard_ns = settings->reactor->now_ns;
    conn->output.is_secret = settings->is_output_secret;
    conn->sending.is_secret = settings->is_output_secret && tls == NULL; /* they swap */
    conn->recv_op.done = conn_on_recv;
    conn->send_op.done = conn_on_send;
    conn->shutdown_op.done = conn_on_shutdown;
    conn->phase_timer.fire = conn_on_phase_timer;
    conn->send_timer.fire = conn_on_send_timer;
    list_init(&conn->task.link);
    conn->task.run = conn_on_turn;
    list_init(&conn->handshake_task.link);
    conn->handshake_task.run = conn_on_handshake_turn;
    result = conn_start(conn, tls, server_name);
    if (result != 0) {
        conn_free(conn);
        goto fail;
    }
    limit_silence(conn);
    conn_defer(conn);
    *ret_conn = conn;
    return 0;

fail:
    (void)close(fd); /* nothing was written to it */
    return result;
}

struct buf *conn_output(struct conn *conn)
{
    return &conn->output;
}

bool conn_has_room(const struct conn *conn)
{
    return buf_size(&conn->output) < conn->settings->flush_bytes_max;
}

size_t conn_unsent_size(const struct conn *conn)
{
    return buf_size(&conn->output) + buf_size(&conn->cipher) + buf_size(&conn->sending);
}

const char *conn_peer_identity(const struct conn *conn)
{
    return conn->tls == NULL ? NULL : tls_peer_identity(conn->tls);
}

void conn_touch(struct conn *conn)
{
    if (conn->draining) {
        return; /* what it appends is sent next anyway */
    }
    conn->touched = true;
    if (!conn->send_op.pending) {
        conn_defer(conn); /* else the completion of the send does */
    }
}

void conn_pause(struct conn *conn)
{
    conn->paused = true;
    conn_defer(conn);
}

void conn_resume(struct conn *conn)
{
    if (!conn->paused) {
        return;
    }
    conn->paused = false;
    conn->heard_ns = conn->settings->reactor->now_ns;
    conn->delivery_due = conn->phase == CONN_PHASE_OPEN;
    conn_defer(conn);
}

uint64_t conn_heard_ns(const struct conn *conn)
{
    return conn->paused ? conn->settings->reactor->now_ns : conn->heard_ns;
}

bool conn_is_paused(const struct conn *conn)
{
    return conn->paused;
}

void conn_close(struct conn *conn)
{
    if (conn->phase >= CONN_PHASE_FLUSHING) {
        return;
    }
    conn->close_end = conn->eof || conn->tls_ended ? CONN_END_PEER : CONN_END_LOCAL;
    reactor_stop_timer(conn->settings->reactor, &conn->phase_timer);
    conn_set_phase(conn, CONN_PHASE_FLUSHING);
    conn->touched = true;
    conn_defer(conn);
}

void conn_abort(struct conn *conn)
{
    conn_die(conn, CONN_END_ABORTED, "");
}
