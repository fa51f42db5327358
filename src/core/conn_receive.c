#include "core/conn_internal.h"
#include "core/tls.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * The way in. Bytes come in a buffer of the ring that is lent for one completion: they are
 * delivered from there without a copy. Only when the owner pauses halfway is the rest copied into
 * `held`; the receive is cancelled then, and what completes meanwhile is appended. After
 * conn_resume() the task delivers `held` before anything newer.
 *
 * The buffers are few and belong to all. A conn that found none left asks again from the
 * completion, one that got some from its task, so later in the queue: else the same few conns with
 * much to receive would take every buffer in every turn, and the others never get one.
 *
 * A handshake costs a hundred times what a request does. Its bytes wait in `held` for the handshake
 * task, of which the reactor runs only a few per turn.
 *
 * TLS is opened in pieces of PLAIN_SIZE on the stack. When the owner pauses in the middle of a
 * record the rest of it stays inside the TLS library, and its end comes first after the pause.
 */

#define PLAIN_SIZE 4096

/* TLS needs to read on in the handshake, whatever the owner says. */
static bool is_reading(const struct conn *conn)
{
    if (conn->tls_ended || conn->phase > CONN_PHASE_OPEN) {
        return false;
    }
    return conn->phase == CONN_PHASE_OPENING || !conn->paused;
}

static void tell_opened(struct conn *conn)
{
    reactor_stop_timer(conn->settings->reactor, &conn->phase_timer);
    conn_set_phase(conn, CONN_PHASE_OPEN);
    conn->opened_told = true;
    conn->touched = true;
    conn_defer(conn);
    conn->settings->events->opened(conn->owner);
}

/* The alert goes out, if there is one, and the conn ends as after conn_close(). */
static void fail_tls(struct conn *conn, const char *detail)
{
    conn_set_end(conn, CONN_END_TLS, detail);
    conn->tls_failed = true;
    reactor_stop_timer(conn->settings->reactor, &conn->phase_timer);
    buf_deinit(&conn->output);
    if (conn_unsent_size(conn) == 0) {
        conn_die(conn, CONN_END_TLS, detail);
    } else {
        conn_set_phase(conn, CONN_PHASE_FLUSHING);
    }
}

/* Returns true when there may be more to read. */
static bool handle_tls_result(struct conn *conn, int result)
{
    if (result < 0) {
        if (tls_is_attacked(conn->tls)) {
            limits_hit_add(&conn->settings->reactor->limits_hit, LIMITS_HIT_TLS_RECORDS);
        }
        fail_tls(conn, tls_problem(conn->tls));
    } else if (result == TLS_E_ENDED) {
        conn->tls_ended = true;
    }
    return result == 0;
}

static bool shake_hands(struct conn *conn)
{
    if (!handle_tls_result(conn, tls_handshake(conn->tls))) {
        return false;
    }
    if (tls_alpn_is_h2(conn->tls)) {
        tell_opened(conn);
    } else {
        tls_end(conn->tls);
        fail_tls(conn, "no ALPN h2");
    }
    return true;
}

static bool read_record(struct conn *conn)
{
    uint8_t plain[PLAIN_SIZE];
    size_t size = 0;

    if (!handle_tls_result(conn, tls_read(conn->tls, plain, sizeof(plain), &size))) {
        return false;
    }
    conn->settings->events->received(conn->owner, (struct bytes){plain, size});
    explicit_bzero(plain, size); /* it may have held a password */
    return true;
}

/* In pieces, so that the owner can stop in between: what was held during a pause may be much. */
static size_t deliver_plain(struct conn *conn, struct bytes bytes)
{
    size_t used = 0;

    while (used < bytes.size && is_reading(conn)) {
        size_t size = bytes.size - used < TLS_PLAIN_MAX ? bytes.size - used : TLS_PLAIN_MAX;

        conn->settings->events->received(conn->owner, (struct bytes){bytes.data + used, size});
        used += size;
    }
    return used;
}

/* Opens and delivers; returns how many of the bytes were used. */
static size_t deliver(struct conn *conn, struct bytes bytes)
{
    bool more = true;

    if (conn->tls == NULL) {
        return deliver_plain(conn, bytes);
    }
    tls_feed(conn->tls, bytes, conn->settings->reactor->now_ns);
    while (more && is_reading(conn)) {
        more = conn->phase == CONN_PHASE_OPENING ? shake_hands(conn) : read_record(conn);
    }
    return bytes.size - tls_take_unread(conn->tls).size;
}

static void hold(struct conn *conn, struct bytes bytes)
{
    if (buf_append(&conn->held, bytes.data, bytes.size) != 0) {
        conn_die(conn, CONN_END_ERROR, "out of memory");
    }
}

static void receive(struct conn *conn, struct bytes bytes)
{
    size_t used = 0;

    if (conn->phase > CONN_PHASE_OPEN || conn->tls_ended) {
        return;
    }
    if (conn->phase == CONN_PHASE_OPENING && conn->tls != NULL) {
        reactor_defer_slow(conn->settings->reactor, &conn->handshake_task);
    } else if (is_reading(conn) && !conn->delivery_due && conn->opened_told) {
        used = deliver(conn, bytes);
    }
    if (used < bytes.size && conn->phase <= CONN_PHASE_OPEN && !conn->tls_ended) {
        hold(conn, (struct bytes){bytes.data + used, bytes.size - used});
    }
}

void conn_on_recv(struct ring_op *op, const struct ring_event *event)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, recv_op);
    bool was_served = list_is_linked(&conn->task.link); /* something of it completed this turn */

    if (!event->more) {
        conn->recv_cancelled = false;
    }
    if (event->result == -ENOBUFS && !was_served) {
        conn_update_recv(conn); /* before those that took the buffers; see above */
    }
    if (event->result > 0) {
        conn->heard_ns = conn->settings->reactor->now_ns;
        receive(conn, (struct bytes){event->bytes, (size_t)event->result});
    } else if (event->result == 0 ||
               (event->result == -ECONNRESET && conn->phase == CONN_PHASE_LINGERING)) {
        conn->eof = true;
    } else if (event->result == -ECONNRESET) {
        conn_die(conn, CONN_END_PEER, "connection reset");
    } else if (event->result != -ECANCELED && event->result != -ENOBUFS) {
        conn_set_socket_error(conn, -event->result);
        conn_die(conn, CONN_END_ERROR, "");
    }
    conn_defer(conn);
}

/* Delivers what was held and what TLS kept inside. */
static void deliver_held(struct conn *conn)
{
    size_t used;

    conn->delivery_due = false;
    used = deliver(conn, buf_bytes(&conn->held));
    buf_consume(&conn->held, used);
    if (buf_size(&conn->held) == 0) {
        buf_deinit(&conn->held);
    }
}

void conn_on_handshake_turn(struct reactor_task *task)
{
    struct conn *conn = CONTAINER_OF(task, struct conn, handshake_task);

    if (conn->phase == CONN_PHASE_OPENING) {
        deliver_held(conn);
    }
    conn_defer(conn);
}

void conn_catch_up(struct conn *conn)
{
    bool peer_ended = conn->eof || conn->tls_ended;

    if (conn->phase == CONN_PHASE_OPENING && conn->tls == NULL) {
        conn->delivery_due = true;
        tell_opened(conn);
    }
    if (conn->phase == CONN_PHASE_OPENING && peer_ended &&
        !list_is_linked(&conn->handshake_task.link)) {
        conn_die(conn, CONN_END_PEER, "before the end of the handshake");
    }
    if (conn->phase == CONN_PHASE_OPEN && conn->delivery_due && !conn->paused) {
        deliver_held(conn);
    }
    if (conn->phase > CONN_PHASE_OPEN || conn->tls_ended) {
        buf_deinit(&conn->held); /* nobody will ask for it */
    }
    peer_ended = conn->eof || conn->tls_ended;
    if (conn->phase == CONN_PHASE_OPEN && peer_ended && !conn->ended_told && !conn->paused &&
        !conn->delivery_due) {
        conn->ended_told = true;
        conn->settings->events->ended(conn->owner);
    }
}

void conn_update_recv(struct conn *conn)
{
    struct ring *ring = conn->settings->reactor->ring;
    bool wanted = conn->phase != CONN_PHASE_DYING && !conn->eof &&
                  !(conn->phase == CONN_PHASE_OPEN && conn->paused) &&
                  !list_is_linked(&conn->handshake_task.link);

    if (wanted && !conn->recv_op.pending) {
        if (ring_recv(ring, &conn->recv_op, conn->fd) != 0) {
            conn_die(conn, CONN_END_ERROR, "no room in the ring");
        }
    } else if (!wanted && conn->recv_op.pending && !conn->recv_cancelled) {
        conn->recv_cancelled = true;
        ring_cancel(ring, &conn->recv_op);
    }
}
