/*
 * The way to the server: TCP, then a conn with TLS, then a session on it; READY when its SETTINGS
 * have come, for only then somebody is there who speaks HTTP/2. Whatever ends the connection leaves
 * its reason in `problem`, which the attempts that it takes along show.
 *
 * One time limit stands for TCP, and another of the same length for all that follows until READY.
 */
#include "client/transport_internal.h"
#include "core/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#define SEND_TIMEOUT_NS   (20 * CLOCK_NS_PER_S)
#define LINGER_TIMEOUT_NS (1 * CLOCK_NS_PER_S)

static bool was_ready(const struct transport *transport)
{
    return transport->state == TRANSPORT_READY || transport->state == TRANSPORT_DRAINING;
}

/* Who decided, when the connection breaks in the present state. */
static enum call_cause loss_cause(const struct transport *transport)
{
    return was_ready(transport) ? CALL_CAUSE_LOST : CALL_CAUSE_CONNECT;
}

/* What people forget most, when a server does not answer in HTTP/2. */
static const char *tls_question(const struct transport *transport)
{
    return was_ready(transport) || transport->options.tls != NULL ? ""
                                                                  : "; does the server want TLS?";
}

static void on_opened(void *owner)
{
    struct transport *transport = owner;

    if (transport->state != TRANSPORT_HANDSHAKING) {
        return; /* it was asked to close meanwhile */
    }
    if (h2_session_new(H2_ROLE_CLIENT, &transport_session_options, &transport_session_events,
                       transport, transport->reactor->now_ns, &transport->session) != 0) {
        transport_set_problem(transport, CALL_CAUSE_MEMORY, "out of memory");
        transport_end(transport);
        return;
    }
    conn_touch(transport->conn); /* the preface */
}

/* What the session has already put into the output, a GOAWAY maybe, is still sent. */
static void session_failed(struct transport *transport)
{
    transport_set_problem(transport, loss_cause(transport), "the HTTP/2 session failed: %s%s",
                          h2_session_problem(transport->session), tls_question(transport));
    transport_end(transport);
}

void transport_look_for_settings(struct transport *transport)
{
    if (transport->state == TRANSPORT_HANDSHAKING && h2_session_has_settings(transport->session)) {
        transport_set_state(transport, TRANSPORT_READY);
        transport_start_keepalive(transport);
    }
}

static void on_received(void *owner, struct bytes bytes)
{
    struct transport *transport = owner;

    while (bytes.size != 0 && transport->session != NULL) {
        struct bytes part = {bytes.data, bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX};

        if (h2_session_feed(transport->session, part, transport->reactor->now_ns,
                            conn_output(transport->conn)) != 0) {
            session_failed(transport);
            return;
        }
        transport_look_for_settings(transport);
        bytes.data += part.size;
        bytes.size -= part.size;
    }
    conn_touch(transport->conn);
}

static void on_ended(void *owner)
{
    struct transport *transport = owner;

    if (transport->state >= TRANSPORT_ENDING) {
        return;
    }
    transport_set_problem(transport, loss_cause(transport), "the server closed the connection%s%s",
                          was_ready(transport) ? "" : " before it said anything of HTTP/2",
                          tls_question(transport));
    transport_end(transport);
}

static void on_drain(void *owner)
{
    struct transport *transport = owner;
    int ret = 0;

    if (transport->session != NULL) {
        ret = h2_session_drain(transport->session, conn_output(transport->conn),
                               TRANSPORT_FLUSH_SIZE_MAX);
    }
    if (ret != 0 && transport->state < TRANSPORT_ENDING) {
        session_failed(transport);
    }
}

static void describe_end(struct transport *transport, enum conn_end end, const char *detail)
{
    static const char *const texts[] = {
        [CONN_END_LOCAL] = "the connection was closed",
        [CONN_END_PEER] = "the server closed the connection",
        [CONN_END_ERROR] = "the connection failed",
        [CONN_END_TLS] = "TLS failed",
        [CONN_END_TIMEOUT] = "the connection timed out",
        [CONN_END_ABORTED] = "the connection was aborted",
    };
    bool has_detail = detail != NULL && detail[0] != '\0';
    bool is_in_tls = transport->options.tls != NULL && transport->session == NULL;
    bool is_tls = end == CONN_END_TLS || (is_in_tls && end == CONN_END_PEER);

    transport_set_problem(transport, is_tls ? CALL_CAUSE_TLS : loss_cause(transport), "%s%s%.500s",
                          texts[end], has_detail ? ": " : "", has_detail ? detail : "");
}

/* When it was our end there is no problem to tell, only who wanted it. */
static void on_closed(void *owner, enum conn_end end, const char *detail)
{
    struct transport *transport = owner;

    transport->conn = NULL;
    if (transport->state != TRANSPORT_ENDING) {
        describe_end(transport, end, detail);
    }
    transport_closed(transport);
}

static const struct conn_events connection_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

static void connect_failed(struct transport *transport, int error)
{
    if (!transport->is_closing) {
        transport->is_failed = true;
        transport->cause = CALL_CAUSE_CONNECT;
        (void)snprintf(transport->problem, sizeof(transport->problem), "cannot connect to %s: %s",
                       transport->name, strerror(error));
    }
    transport_closed(transport);
}

static void on_connected(struct ring_op *op, const struct ring_event *event)
{
    struct transport *transport = CONTAINER_OF(op, struct transport, connect_op);
    int fd = transport->fd;
    int ret;

    reactor_stop_timer(transport->reactor, &transport->timer);
    transport->fd = -1;
    if (event->result < 0) {
        (void)close(fd); /* nothing was written to it */
        connect_failed(transport, event->result == -ECANCELED ? ETIMEDOUT : -event->result);
        return;
    }
    ret = conn_new(&transport->settings, fd, transport->options.tls,
                   transport->options.server_name == NULL ? "" : transport->options.server_name,
                   transport, &transport->conn);
    if (ret != 0) {
        connect_failed(transport, -ret);
        return;
    }
    transport_set_state(transport, TRANSPORT_HANDSHAKING);
    if (reactor_start_timer(transport->reactor, &transport->timer,
                            transport->options.connect_timeout_ns) != 0) {
        transport_set_problem(transport, CALL_CAUSE_MEMORY, "out of memory");
        transport_cut(transport);
    }
}

static void on_timer(struct timer *timer)
{
    struct transport *transport = CONTAINER_OF(timer, struct transport, timer);

    if (transport->state == TRANSPORT_CONNECTING) {
        ring_cancel(transport->reactor->ring, &transport->connect_op);
    } else if (transport->state == TRANSPORT_HANDSHAKING) {
        transport_set_problem(
            transport, CALL_CAUSE_CONNECT, "the server did not answer in %s within %llu ms",
            transport->options.tls != NULL && transport->session == NULL ? "TLS" : "HTTP/2",
            (unsigned long long)(transport->options.connect_timeout_ns / CLOCK_NS_PER_MS));
        transport_cut(transport);
    } else {
        transport_check_silence(transport);
    }
}

static int start_connecting(struct transport *transport)
{
    const struct sockaddr *address = (const struct sockaddr *)&transport->address.address;
    struct reactor *reactor = transport->reactor;
    const int on = 1;
    int fd;
    int ret;

    fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* a matter of speed only */
    ret = reactor_start_timer(reactor, &transport->timer, transport->options.connect_timeout_ns);
    if (ret == 0) {
        ret = ring_connect(reactor->ring, &transport->connect_op, fd, address,
                           transport->address.size);
    }
    if (ret != 0) {
        (void)close(fd); /* nothing was written to it */
        return ret;
    }
    transport->fd = fd;
    return 0;
}

void transport_connect(struct transport *transport)
{
    int ret = start_connecting(transport);

    if (ret != 0) {
        connect_failed(transport, -ret);
    }
}

void transport_init_connection(struct transport *transport)
{
    const struct transport_options *options = &transport->options;

    transport->connect_op.done = on_connected;
    transport->timer.fire = on_timer;
    transport->settings = (struct conn_settings){
        .reactor = transport->reactor,
        .events = &connection_events,
        .handshake_timeout_ns = options->connect_timeout_ns,
        .send_timeout_ns = SEND_TIMEOUT_NS,
        .linger_timeout_ns = LINGER_TIMEOUT_NS,
        .user_timeout_ns = options->keepalive_time_ns == 0 ? 0 : options->keepalive_timeout_ns,
        .flush_bytes_max = TRANSPORT_FLUSH_SIZE_MAX,
        .is_output_secret = true, /* tokens and passwords */
    };
}
