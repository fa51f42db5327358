#include "core/clock.h"
#include "core/conn_internal.h"
#include "core/tls.h"

#include <assert.h>
#include <errno.h>

/*
 * The way out. One flush: ask the owner for more (`drain`), seal up to flush_bytes_max plain bytes
 * into TLS records, swap the gathered bytes with the empty send buffer, submit one send of all of
 * it. Until it completes nothing is sealed and nobody is asked: the owner's queue is the
 * back-pressure. Its completion makes the next flush due.
 *
 * The buffers keep their memory from flush to flush, up to what a flush needs. The timer that looks
 * after a stuck send is not moved by each one: it looks once a second, and when it finds no send in
 * flight it frees the memory and rests until the next send. So an idle conn holds no buffer.
 *
 * The handshake, and whatever else TLS has to say by itself, goes the same way without a drain.
 */

#define IDLE_NS CLOCK_NS_PER_S /* a conn that sent nothing for so long may be idle */

/* Frees an empty buffer that has grown beyond what a flush, sealed, needs. */
static void trim(const struct conn *conn, struct buf *buf)
{
    if (buf_size(buf) == 0 && buf->capacity / 2 > conn->settings->flush_bytes_max) {
        buf_deinit(buf);
    }
}

static void drain(struct conn *conn)
{
    conn->touched = false;
    if (!conn->opened_told || conn->tls_failed || conn->tls_end_put) {
        return;
    }
    conn->draining = true;
    conn->settings->events->drain(conn->owner);
    conn->draining = false;
}

static void swap(struct buf *a, struct buf *b)
{
    struct buf old = *a;

    *a = *b;
    *b = old;
}

/* Moves gathered bytes into the (empty) send buffer. Returns 0, -ENOMEM or -EPROTO. */
static int seal(struct conn *conn)
{
    bool tls_is_open = conn->tls != NULL && conn->opened_told && !conn->tls_failed;
    struct bytes plain;
    int result = 0;

    if (conn->tls != NULL && !tls_is_open && conn->phase == CONN_PHASE_FLUSHING) {
        buf_clear(&conn->output); /* there is no way left on which it could go */
    }
    plain = buf_bytes(&conn->output);
    if (plain.size > conn->settings->flush_bytes_max) {
        plain.size = conn->settings->flush_bytes_max;
    }
    if (conn->tls == NULL && plain.size == buf_size(&conn->output)) {
        swap(&conn->output, &conn->sending);
        return 0;
    }
    if (plain.size > 0 && (conn->tls == NULL || tls_is_open)) {
        result = conn->tls != NULL ? tls_write(conn->tls, plain)
                                   : buf_append(&conn->sending, plain.data, plain.size);
        if (result != 0) {
            return result;
        }
        buf_consume(&conn->output, plain.size);
        trim(conn, &conn->output);
    }
    if (conn->tls != NULL) {
        swap(&conn->cipher, &conn->sending);
    }
    return 0;
}

/* Looks again in `delay_ns`, or when the conn may have become idle. */
static int watch(struct conn *conn, uint64_t delay_ns)
{
    return reactor_start_timer(conn->settings->reactor, &conn->send_timer,
                               delay_ns < IDLE_NS ? delay_ns : IDLE_NS);
}

/* Sends what is in the send buffer. */
static void submit(struct conn *conn)
{
    struct reactor *reactor = conn->settings->reactor;
    struct bytes bytes = buf_bytes(&conn->sending);

    conn->send_began_ns = reactor->now_ns;
    if ((!timer_is_armed(&conn->send_timer) && watch(conn, conn->settings->send_timeout_ns) != 0) ||
        ring_send(reactor->ring, &conn->send_op, conn->fd, bytes.data, bytes.size) != 0) {
        conn_die(conn, CONN_END_ERROR, "no resources to send");
    }
}

void conn_flush(struct conn *conn)
{
    int result;

    if (conn->phase >= CONN_PHASE_LINGERING || conn->send_op.pending || conn->send_broken) {
        return;
    }
    if (conn->touched && conn->phase != CONN_PHASE_OPENING) {
        drain(conn);
        if (conn->phase == CONN_PHASE_DYING) {
            return;
        }
    }
    result = seal(conn);
    if (result != 0) {
        conn_die(conn, CONN_END_ERROR, result == -ENOMEM ? "out of memory" : "sealing failed");
        return;
    }
    if (buf_size(&conn->sending) > 0) {
        submit(conn);
    }
}

/* The peer takes no more. What it sent before it went may still be unread, an answer perhaps, or
 * the reason: it is read until its end shows, but not for long. */
static void break_off(struct conn *conn, int error)
{
    bool is_gone = error == EPIPE || error == ECONNRESET;
    struct reactor *reactor = conn->settings->reactor;

    conn_set_socket_error(conn, error);
    conn->send_broken = true;
    buf_deinit(&conn->output);
    buf_deinit(&conn->cipher);
    buf_deinit(&conn->sending);
    if (!is_gone || conn->phase != CONN_PHASE_OPEN || conn->paused || conn->eof ||
        reactor_start_timer(reactor, &conn->phase_timer, conn->settings->linger_timeout_ns) != 0) {
        conn_die(conn, CONN_END_ERROR, "");
    }
}

void conn_on_send(struct ring_op *op, const struct ring_event *event)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, send_op);

    if (conn->phase == CONN_PHASE_DYING) {
        conn_defer(conn);
        return;
    }
    if (event->result <= 0) {
        break_off(conn, event->result == 0 ? EPIPE : -event->result);
        conn_defer(conn);
        return;
    }
    buf_consume(&conn->sending, (size_t)event->result);
    if (buf_size(&conn->sending) > 0) {
        submit(conn); /* cut short, by a signal for instance */
        return;
    }
    trim(conn, &conn->sending);
    conn->touched = true;
    conn_defer(conn);
}

static void free_if_empty(struct buf *buf)
{
    if (buf_size(buf) == 0) {
        buf_deinit(buf);
    }
}

void conn_on_send_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, send_timer);

    uint64_t lasted_ns = conn->settings->reactor->now_ns - conn->send_began_ns;

    if (!conn->send_op.pending) {
        free_if_empty(&conn->output);
        free_if_empty(&conn->cipher);
        free_if_empty(&conn->sending);
    } else if (lasted_ns >= conn->settings->send_timeout_ns) {
        limits_hit_add(&conn->settings->reactor->limits_hit, LIMITS_HIT_SEND_TIMEOUT);
        conn_die(conn, CONN_END_TIMEOUT, "the peer does not read");
    } else {
        (void)watch(conn, conn->settings->send_timeout_ns - lasted_ns); /* its place is free */
    }
}
