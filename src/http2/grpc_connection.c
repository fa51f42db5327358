#include "http2/grpc_connection.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Bytes come up from the conn, go through the session in bites of 16 KiB, and what the session has
 * to say is drained into the conn's output after each. Answers that come later touch the conn,
 * which asks for them at the end of the turn.
 *
 * Back-pressure: while much waits to be sent, or many frames wait in the session, nothing is read.
 * The limits of the session hold only under this rule. Answers wait in their streams until the
 * client takes them; while there are too many bytes of these, requests are read but not handled, so
 * that a client which does not read its answers gets no more of them. (Reading itself must go on:
 * the window updates that let answers go come the same way.) That holds for methods with long
 * answers; the short ones of all others together are bounded by the number of streams, and nobody
 * waits for them.
 *
 * One timer watches over everything that may take too long: the peer's first SETTINGS, its
 * acknowledgement of ours, a header block, bodies and answers that do not move, an idle connection,
 * the pause between the two GOAWAYs. It is set to the earliest of these when it fires, and moved
 * forward when something begins, never per request.
 *
 * The end has several causes and one way: finish() drains what the session still has to say, frees
 * it (open calls end as CANCELLED), and closes the conn, which lingers until the peer has read
 * everything.
 *
 * What can go wrong:
 *   - The peer breaks the protocol or a budget: feed says so; one log line; finish().
 *   - The peer vanishes: the conn's `closed`; calls end as CANCELLED.
 *   - A handler still works for a call of a connection that is gone: the connection stays in
 *     memory until the call is let go of.
 */

#define FLUSH_BYTES_MAX 65536
#define PAUSE_BYTES     65536 /* unsent: read no further */
/* Between the GOAWAYs, if no PING comes back earlier (P27). */
#define ANNOUNCE_PAUSE_NS CLOCK_NS_PER_S
#define LOG_LINES_BURST   20
#define LOG_LINES_PER_S   2

static struct grpc_connection *connection_of(struct grpc_call_host *host)
{
    return CONTAINER_OF(host, struct grpc_connection, host);
}

void grpc_connection_log(struct grpc_connection_owner *owner, const char *event, const char *peer,
                         const char *reason)
{
    if (!h2_bucket_take(&owner->log_lines, owner->reactor->now_ns)) {
        owner->log_lines_dropped++;
        return;
    }
    log_event(owner->reactor->log, LEVEL_WARN, event, FIELD_TEXT("peer", peer),
              FIELD_TEXT("reason", reason), FIELD_NUMBER("not_logged", owner->log_lines_dropped));
    owner->log_lines_dropped = 0;
}

/* The peer's fault. */
static void log_failure(struct grpc_connection *connection, const char *reason)
{
    connection->owner->stats.connections_failed++;
    grpc_connection_log(connection->owner, "peer_failed", connection->peer, reason);
}

static bool has_session(const struct grpc_connection *connection)
{
    return connection->session != NULL;
}

/* See to it that the watch looks again at `due_ns` at the latest. */
static void watch_by(struct grpc_connection *connection, uint64_t due_ns)
{
    struct reactor *reactor = connection->owner->reactor;
    uint64_t now_ns = reactor->now_ns;

    if (timer_is_armed(&connection->watch) && connection->watch.deadline_ns <= due_ns) {
        return;
    }
    if (reactor_start_timer(reactor, &connection->watch, due_ns > now_ns ? due_ns - now_ns : 0) !=
        0) {
        conn_abort(connection->conn); /* out of memory: unwatched it could stay for ever */
    }
}

static void settle(struct grpc_connection *connection, enum grpc_connection_phase next)
{
    if (connection->phase == GRPC_CONNECTION_SHAKING) {
        connection->phase = next;
        connection->owner->settled(connection->owner, connection);
    }
    connection->phase = next;
}

/* The end of the session, not from inside one of its events. */
static void finish(struct grpc_connection *connection)
{
    struct h2_session *session = connection->session;

    reactor_stop_timer(connection->owner->reactor, &connection->watch);
    settle(connection, GRPC_CONNECTION_CLOSING);
    connection->session = NULL;
    /* What does not fit is for streams that end here anyway. */
    (void)h2_session_drain(session, conn_output(connection->conn), FLUSH_BYTES_MAX);
    h2_session_free(session);
    conn_close(connection->conn);
}

static void finish_failed(struct grpc_connection *connection)
{
    log_failure(connection, h2_session_problem(connection->session));
    finish(connection);
}

/* Ends a connection for what its peer did not do in time. */
static void finish_late(struct grpc_connection *connection, enum h2_error error, const char *reason)
{
    h2_session_end(connection->session, error, reason);
    log_failure(connection, reason);
    finish(connection);
}

static void head_complete(struct grpc_call_host *host, struct grpc_call *call)
{
    grpc_dispatch_head(connection_of(host)->owner->dispatch, call);
}

static void request_complete(struct grpc_call_host *host, struct grpc_call *call,
                             struct bytes message)
{
    grpc_dispatch_request(connection_of(host)->owner->dispatch, call, message);
}

static void call_opened(struct grpc_call_host *host, struct grpc_call *call)
{
    grpc_dispatch_opened(connection_of(host)->owner->dispatch, call);
}

/* The longest answer does not count: one alone, however long, keeps nobody waiting (X17). */
static bool may_deliver(struct grpc_call_host *host)
{
    struct grpc_connection *connection = connection_of(host);
    size_t unsent_max = connection->owner->options.max_unsent;

    if (has_session(connection) && h2_session_unsent_size(connection->session) >= unsent_max &&
        h2_session_unsent_beside_longest(connection->session) >= unsent_max) {
        connection->has_waiting = true;
        return false;
    }
    return true;
}

/* Goes on with the requests that may_deliver() has held back: each asks it again when its task
 * runs. */
static void deliver_waiting(struct grpc_connection *connection)
{
    struct list *link;

    if (!may_deliver(&connection->host)) {
        return;
    }
    connection->has_waiting = false;
    for (link = connection->calls.next; link != &connection->calls; link = link->next) {
        grpc_call_deliver(CONTAINER_OF(link, struct grpc_call, link));
    }
}

static void call_finished(struct grpc_call_host *host, struct grpc_call *call)
{
    struct grpc_connection_owner *owner = connection_of(host)->owner;

    owner->stats.calls_finished++;
    grpc_dispatch_finished(owner->dispatch, call);
}

static void call_touched(struct grpc_call_host *host, struct grpc_call *call)
{
    (void)call;
    conn_touch(connection_of(host)->conn);
}

static void free_if_gone(struct grpc_connection *connection)
{
    if (connection->conn == NULL && connection->call_count == 0) {
        assert(!timer_is_armed(&connection->watch));
        assert(list_is_empty(&connection->calls));
        connection->owner->gone(connection->owner, connection);
        free(connection);
    }
}

static void call_freed(struct grpc_call_host *host)
{
    struct grpc_connection *connection = connection_of(host);

    connection->call_count--;
    connection->owner->stats.calls_running--;
    connection->idle_since_ns = host->reactor->now_ns;
    free_if_gone(connection);
}

static const struct grpc_call_host_ops host_ops = {
    .head_complete = head_complete,
    .opened = call_opened,
    .request_complete = request_complete,
    .may_deliver = may_deliver,
    .finished = call_finished,
    .touched = call_touched,
    .freed = call_freed,
};

/* When a call must be looked at again: often enough that none overstays by more than half its time.
 */
static uint64_t next_progress_check_ns(const struct grpc_connection *connection)
{
    return connection->owner->reactor->now_ns + connection->owner->options.body_progress_ns / 2;
}

static void *stream_opened(void *context, struct h2_stream *stream)
{
    struct grpc_connection *connection = context;
    struct grpc_connection_owner *owner = connection->owner;
    uint32_t streams_max = owner->options.h2.max_concurrent_streams;
    struct grpc_call *call = NULL;

    /* Calls count until they are let go of, not until their stream is closed: a reset does not stop
     * a handler's work, and who resets may not start more of it (P31). */
    if (owner->stats.calls_running < owner->options.max_running &&
        (streams_max == 0 || connection->call_count < streams_max)) {
        call = grpc_call_new(&connection->host, stream);
    }
    if (call == NULL) {
        owner->stats.calls_refused++;
        return NULL;
    }
    list_push_back(&connection->calls, &call->link);
    connection->call_count++;
    owner->stats.calls_running++;
    owner->stats.calls_started++;
    watch_by(connection, next_progress_check_ns(connection));
    return call;
}

static void end_session(struct grpc_connection *connection)
{
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED) {
        connection->phase = GRPC_CONNECTION_ENDING;
        h2_session_end(connection->session, H2_ERROR_NO_ERROR, NULL);
        conn_touch(connection->conn);
    }
}

static void end_acknowledged(void *context)
{
    end_session(context);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the watch has to look again. */
static uint64_t next_watch_ns(const struct grpc_connection *connection)
{
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t block_since_ns = h2_session_header_block_since_ns(connection->session);
    uint64_t due_ns = UINT64_MAX;

    if (!h2_session_has_settings(connection->session)) {
        due_ns = connection->opened_ns + options->preface_timeout_ns;
    }
    if (!h2_session_is_acknowledged(connection->session)) {
        due_ns = earlier(due_ns, connection->opened_ns + options->settings_ack_timeout_ns);
    }
    if (block_since_ns != 0) {
        due_ns = earlier(due_ns, block_since_ns + options->header_timeout_ns);
    }
    if (connection->call_count > 0) {
        due_ns = earlier(due_ns, next_progress_check_ns(connection));
    } else if (connection->phase == GRPC_CONNECTION_OPEN) {
        due_ns = earlier(due_ns, connection->idle_since_ns + options->idle_timeout_ns);
    }
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED) {
        due_ns = earlier(due_ns, connection->announced_ns + ANNOUNCE_PAUSE_NS);
    }
    return due_ns;
}

/* Looks for what ends the connection. Returns whether it did. */
static bool is_too_late(struct grpc_connection *connection, uint64_t now_ns)
{
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t block_since_ns = h2_session_header_block_since_ns(connection->session);

    if (!h2_session_has_settings(connection->session) &&
        now_ns - connection->opened_ns >= options->preface_timeout_ns) {
        finish_late(connection, H2_ERROR_SETTINGS_TIMEOUT, "no HTTP/2 preface in time");
        return true;
    }
    if (!h2_session_is_acknowledged(connection->session) &&
        now_ns - connection->opened_ns >= options->settings_ack_timeout_ns) {
        finish_late(connection, H2_ERROR_SETTINGS_TIMEOUT, "SETTINGS not acknowledged in time");
        return true;
    }
    if (block_since_ns != 0 && now_ns - block_since_ns >= options->header_timeout_ns) {
        finish_late(connection, H2_ERROR_ENHANCE_YOUR_CALM, "header block not complete in time");
        return true;
    }
    return false;
}

static void on_watch(struct timer *timer)
{
    struct grpc_connection *connection = CONTAINER_OF(timer, struct grpc_connection, watch);
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t now_ns = connection->owner->reactor->now_ns;
    struct list *link;
    struct list *next;

    if (is_too_late(connection, now_ns)) {
        return;
    }
    for (link = connection->calls.next; link != &connection->calls; link = next) {
        next = link->next;
        grpc_call_check_progress(CONTAINER_OF(link, struct grpc_call, link),
                                 options->body_progress_ns);
    }
    if (connection->phase == GRPC_CONNECTION_OPEN && connection->call_count == 0 &&
        now_ns - connection->idle_since_ns >= options->idle_timeout_ns) {
        grpc_connection_drain(connection);
    }
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED &&
        now_ns - connection->announced_ns >= ANNOUNCE_PAUSE_NS) {
        end_session(connection);
    }
    if (next_watch_ns(connection) != UINT64_MAX) {
        watch_by(connection, next_watch_ns(connection));
    }
}

static void on_opened(void *context)
{
    struct grpc_connection *connection = context;
    struct grpc_connection_owner *owner = connection->owner;

    if (h2_session_new(H2_ROLE_SERVER, &owner->options.h2, &owner->h2_events, connection,
                       owner->reactor->now_ns, &connection->session) != 0) {
        conn_abort(connection->conn);
        return;
    }
    settle(connection, GRPC_CONNECTION_OPEN);
    connection->opened_ns = owner->reactor->now_ns;
    connection->idle_since_ns = connection->opened_ns;
    watch_by(connection, next_watch_ns(connection));
}

static bool is_congested(const struct grpc_connection *connection)
{
    const struct grpc_server_options *options = &connection->owner->options;

    return conn_unsent_size(connection->conn) >= PAUSE_BYTES ||
           (options->h2.max_outq != 0 &&
            h2_session_outq(connection->session) > options->h2.max_outq);
}

static void on_received(void *context, struct bytes bytes)
{
    struct grpc_connection *connection = context;
    uint64_t now_ns = connection->owner->reactor->now_ns;

    connection->has_received = true;
    while (bytes.size > 0 && has_session(connection)) {
        size_t size = bytes.size < H2_FEED_MAX ? bytes.size : H2_FEED_MAX;
        int error = h2_session_feed(connection->session, (struct bytes){bytes.data, size}, now_ns,
                                    conn_output(connection->conn));

        bytes = (struct bytes){bytes.data + size, bytes.size - size};
        if (error != 0) {
            finish_failed(connection);
        } else if (h2_session_is_over(connection->session)) {
            finish(connection);
        }
    }
    if (!has_session(connection)) {
        return;
    }
    conn_touch(connection->conn);
    if (is_congested(connection)) {
        conn_pause(connection->conn); /* until on_drain() finds it better */
    }
    if (h2_session_header_block_since_ns(connection->session) != 0) {
        watch_by(connection, next_watch_ns(connection));
    }
}

static void on_ended(void *context)
{
    struct grpc_connection *connection = context;

    if (has_session(connection)) {
        finish(connection);
    }
}

static void on_drain(void *context)
{
    struct grpc_connection *connection = context;

    if (!has_session(connection)) {
        return;
    }
    /* Looked at before more is added: else a long answer would keep out the very window updates
     * that it waits for. */
    if (conn_is_paused(connection->conn) && !is_congested(connection)) {
        conn_resume(connection->conn);
    }
    if (connection->has_waiting) {
        deliver_waiting(connection);
    }
    if (h2_session_drain(connection->session, conn_output(connection->conn), FLUSH_BYTES_MAX) !=
        0) {
        finish_failed(connection);
    } else if (h2_session_is_over(connection->session)) {
        finish(connection);
    }
}

/* Who went, and whether anybody need know. */
static void log_end(struct grpc_connection *connection, enum conn_end end, const char *detail)
{
    bool was_closing = connection->phase == GRPC_CONNECTION_CLOSING;

    if (end == CONN_END_TLS || (end == CONN_END_TIMEOUT && !was_closing) ||
        (end == CONN_END_ERROR && !was_closing)) {
        log_failure(connection, detail);
        return;
    }
    log_event(connection->owner->reactor->log, LEVEL_DEBUG,
              connection->has_received ? "connection_closed" : "connection_probed",
              FIELD_TEXT("peer", connection->peer), FIELD_TEXT("detail", detail));
}

static void on_closed(void *context, enum conn_end end, const char *detail)
{
    struct grpc_connection *connection = context;
    struct h2_session *session = connection->session;

    log_end(connection, end, detail);
    reactor_stop_timer(connection->owner->reactor, &connection->watch);
    settle(connection, GRPC_CONNECTION_CLOSING);
    connection->session = NULL;
    h2_session_free(session); /* ends the calls, which still touch the conn */
    connection->conn = NULL;
    free_if_gone(connection);
}

static const struct conn_events conn_events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

void grpc_connection_owner_init(struct grpc_connection_owner *owner, struct reactor *reactor,
                                const struct grpc_server_options *options,
                                const struct grpc_dispatch *dispatch)
{
    *owner = (struct grpc_connection_owner){
        .reactor = reactor,
        .options = *options,
        .dispatch = dispatch,
        .conn_settings = {.reactor = reactor,
                          .events = &conn_events,
                          .handshake_timeout_ns = options->tls_timeout_ns,
                          .send_timeout_ns = options->send_timeout_ns,
                          .linger_timeout_ns = options->linger_timeout_ns,
                          .flush_bytes_max = FLUSH_BYTES_MAX},
        .h2_events = grpc_call_stream_events,
    };
    owner->h2_events.stream_opened = stream_opened;
    owner->h2_events.end_acknowledged = end_acknowledged;
    grpc_call_pool_init(&owner->calls);
    h2_bucket_init(&owner->log_lines, LOG_LINES_BURST, LOG_LINES_PER_S, reactor->now_ns);
}

void grpc_connection_owner_deinit(struct grpc_connection_owner *owner)
{
    grpc_call_pool_deinit(&owner->calls);
}

int grpc_connection_new(struct grpc_connection_owner *owner, int fd, struct tls_context *tls,
                        const char *peer, struct grpc_connection **ret_connection)
{
    struct grpc_connection *connection = calloc(1, sizeof(*connection));
    int error;

    if (connection == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    list_init(&connection->link);
    list_init(&connection->calls);
    connection->owner = owner;
    connection->watch.fire = on_watch;
    connection->host = (struct grpc_call_host){
        .ops = &host_ops,
        .reactor = owner->reactor,
        .pool = &owner->calls,
        .peer = connection->peer,
        .max_message = owner->options.max_message,
        .default_deadline_ns = owner->options.default_deadline_ns,
        .max_deadline_ns = owner->options.max_deadline_ns,
        .compress_replies = owner->options.compress_replies,
        .compress_min = owner->options.compress_min,
        .compress_max = owner->options.compress_max,
    };
    (void)snprintf(connection->peer, sizeof(connection->peer), "%s", peer);
    error = conn_new(&owner->conn_settings, fd, tls, NULL, connection, &connection->conn);
    if (error != 0) {
        free(connection);
        return error;
    }
    *ret_connection = connection;
    return 0;
}

void grpc_connection_drain(struct grpc_connection *connection)
{
    if (connection->phase == GRPC_CONNECTION_SHAKING) {
        conn_abort(connection->conn);
    } else if (connection->phase == GRPC_CONNECTION_OPEN) {
        connection->phase = GRPC_CONNECTION_ANNOUNCED;
        connection->announced_ns = connection->owner->reactor->now_ns;
        h2_session_announce_end(connection->session);
        watch_by(connection, connection->announced_ns + ANNOUNCE_PAUSE_NS);
        conn_touch(connection->conn);
    }
}

void grpc_connection_hurry(struct grpc_connection *connection)
{
    struct list *link;

    if (!has_session(connection)) {
        return;
    }
    for (link = connection->calls.next; link != &connection->calls; link = link->next) {
        grpc_call_cancel(CONTAINER_OF(link, struct grpc_call, link), GRPC_STATUS_UNAVAILABLE,
                         "SERVER_SHUTDOWN", "the server is shutting down");
    }
    h2_session_end(connection->session, H2_ERROR_NO_ERROR, NULL);
    finish(connection);
}

void grpc_connection_abort(struct grpc_connection *connection)
{
    if (connection->conn != NULL) {
        conn_abort(connection->conn);
    }
}
