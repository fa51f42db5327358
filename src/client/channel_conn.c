/*
 * The way to the server: one address after the other until TCP connects, then a conn with TLS, then
 * a session on it. Whatever ends the connection leaves its reason in `problem`, which the calls
 * that it takes along show.
 */
#include "client/channel_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#define SEND_TIMEOUT_NS   (20 * 1000000000ULL)
#define LINGER_TIMEOUT_NS (1 * 1000000000ULL)

void channel_end_connection(struct channel *channel)
{
    channel_set_state(channel, CHANNEL_ENDING);
    if (channel->session != NULL) {
        h2_session_end(channel->session, H2_ERROR_NO_ERROR, NULL);
    }
    conn_close(channel->conn);
}

static void on_opened(void *owner)
{
    struct channel *channel = owner;

    if (channel->state != CHANNEL_HANDSHAKING) {
        return; /* it was asked to close meanwhile */
    }
    if (h2_session_new(H2_ROLE_CLIENT, &channel_session_options, &channel_session_events, channel,
                       channel->reactor->now_ns, &channel->session) != 0) {
        (void)snprintf(channel->problem, sizeof(channel->problem), "out of memory");
        channel_end_connection(channel);
        return;
    }
    channel_set_state(channel, CHANNEL_READY);
    conn_touch(channel->conn); /* the preface */
    channel_wake(channel);
}

/* What the session has already put into the output, a GOAWAY maybe, is still sent. */
static void session_failed(struct channel *channel)
{
    (void)snprintf(channel->problem, sizeof(channel->problem), "the HTTP/2 session failed: %s",
                   h2_session_problem(channel->session));
    channel_end_connection(channel);
}

static void on_received(void *owner, struct bytes bytes)
{
    struct channel *channel = owner;

    while (bytes.size != 0 && channel->session != NULL) {
        struct bytes part = {bytes.data, bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX};

        if (h2_session_feed(channel->session, part, channel->reactor->now_ns,
                            conn_output(channel->conn)) != 0) {
            session_failed(channel);
            return;
        }
        bytes.data += part.size;
        bytes.size -= part.size;
    }
    conn_touch(channel->conn);
}

static void on_ended(void *owner)
{
    struct channel *channel = owner;

    if (channel->state == CHANNEL_ENDING) {
        return;
    }
    if (channel->problem[0] == '\0') {
        (void)snprintf(channel->problem, sizeof(channel->problem),
                       "the server closed the connection");
    }
    channel_end_connection(channel);
}

static void on_drain(void *owner)
{
    struct channel *channel = owner;
    int ret = 0;

    if (channel->session != NULL) {
        ret =
            h2_session_drain(channel->session, conn_output(channel->conn), CHANNEL_FLUSH_SIZE_MAX);
    }
    if (ret != 0 && channel->state != CHANNEL_ENDING) {
        session_failed(channel);
    }
}

static void describe_end(struct channel *channel, enum conn_end end, const char *detail)
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

    if (channel->problem[0] == '\0') {
        (void)snprintf(channel->problem, sizeof(channel->problem), "%s: %s%s%.500s",
                       channel->authority, texts[end], has_detail ? ": " : "",
                       has_detail ? detail : "");
    }
}

static void on_closed(void *owner, enum conn_end end, const char *detail)
{
    struct channel *channel = owner;
    bool was_waited_for = channel->session == NULL;
    enum channel_cause cause = end == CONN_END_TLS ? CHANNEL_CAUSE_TLS : CHANNEL_CAUSE_LOST;

    channel->conn = NULL;
    describe_end(channel, end, detail);
    /* Before the session: it would end the streams with CANCEL. */
    channel_fail_all(&channel->open, GRPC_STATUS_UNAVAILABLE, cause, channel->problem);
    if (was_waited_for) {
        channel_fail_all(&channel->waiting, GRPC_STATUS_UNAVAILABLE, cause, channel->problem);
    }
    h2_session_free(channel->session);
    channel->session = NULL;
    channel_set_state(channel, CHANNEL_IDLE);
    channel_wake(channel);
}

static const struct conn_events connection_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

/* The present address did not work; the next one is up. */
static void address_failed(struct channel *channel, int error)
{
    char address[TARGET_HOST_SIZE + TARGET_PORT_SIZE + 3];

    target_format_address(&channel->options.target, channel->address_index, address,
                          sizeof(address));
    if (strcmp(address, channel->authority) == 0) {
        (void)snprintf(channel->problem, sizeof(channel->problem), "cannot connect to %s: %s",
                       address, strerror(error));
    } else {
        (void)snprintf(channel->problem, sizeof(channel->problem), "cannot connect to %s (%s): %s",
                       channel->authority, address, strerror(error));
    }
    channel->address_index++;
}

static int connect_address(struct channel *channel)
{
    const struct target *target = &channel->options.target;
    const struct sockaddr *address =
        (const struct sockaddr *)&target->addresses[channel->address_index];
    const int on = 1;
    int fd;
    int ret;

    fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* a matter of speed only */
    ret = ring_connect(channel->reactor->ring, &channel->connect_op, fd, address,
                       target->sizes[channel->address_index]);
    if (ret != 0) {
        (void)close(fd); /* nothing was written to it */
        return ret;
    }
    channel->fd = fd;
    /* Without memory for the timer the kernel's own limit has to do. */
    (void)reactor_start_timer(channel->reactor, &channel->connect_timer,
                              channel->options.connect_timeout_ns);
    return 0;
}

/* Tries addresses from the present one on; with none left, whoever waits is told. */
static void connect_next(struct channel *channel)
{
    while (!channel->closing && channel->address_index < channel->options.target.count) {
        int ret = connect_address(channel);

        if (ret == 0) {
            return;
        }
        address_failed(channel, -ret);
    }
    channel_fail_all(&channel->waiting, GRPC_STATUS_UNAVAILABLE, CHANNEL_CAUSE_CONNECT,
                     channel->problem);
    channel_set_state(channel, CHANNEL_IDLE);
    channel_wake(channel);
}

static void on_connect_timeout(struct timer *timer)
{
    struct channel *channel = CONTAINER_OF(timer, struct channel, connect_timer);

    ring_cancel(channel->reactor->ring, &channel->connect_op);
}

static void on_connected(struct ring_op *op, const struct ring_event *event)
{
    struct channel *channel = CONTAINER_OF(op, struct channel, connect_op);
    int fd = channel->fd;
    int ret;

    reactor_stop_timer(channel->reactor, &channel->connect_timer);
    channel->fd = -1;
    if (event->result < 0) {
        (void)close(fd); /* nothing was written to it */
        address_failed(channel, event->result == -ECANCELED ? ETIMEDOUT : -event->result);
        connect_next(channel);
        return;
    }
    ret = conn_new(&channel->settings, fd, channel->options.tls, channel->options.target.host,
                   channel, &channel->conn);
    if (ret != 0) {
        address_failed(channel, -ret);
        connect_next(channel);
        return;
    }
    channel->problem[0] = '\0';
    channel_set_state(channel, CHANNEL_HANDSHAKING);
    channel_wake(channel); /* for a channel_close() that came while connecting */
}

void channel_connect(struct channel *channel)
{
    channel_set_state(channel, CHANNEL_CONNECTING);
    channel->address_index = 0;
    channel->problem[0] = '\0';
    connect_next(channel);
}

void channel_init_settings(struct channel *channel)
{
    channel->connect_op.done = on_connected;
    channel->connect_timer.fire = on_connect_timeout;
    channel->settings = (struct conn_settings){
        .reactor = channel->reactor,
        .events = &connection_events,
        .handshake_timeout_ns = channel->options.connect_timeout_ns,
        .send_timeout_ns = SEND_TIMEOUT_NS,
        .linger_timeout_ns = LINGER_TIMEOUT_NS,
        .flush_bytes_max = CHANNEL_FLUSH_SIZE_MAX,
    };
}
