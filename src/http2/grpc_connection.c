#include "http2/grpc_connection.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"
#include "http2/grpc_connection_internal.h"

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
 * The end has several causes and one way: finish() drains what the session still has to say, frees
 * it (open calls end as CANCELLED), and closes the conn, which lingers until the peer has read
 * everything. A stage that ends the connection (end_connection) is inside an event of the session,
 * so that a task does it at the end of the turn; until then no call begins and nothing more is fed.
 *
 * What can go wrong:
 *   - The peer breaks the protocol or a budget: feed says so; one log line; finish().
 *   - The peer vanishes: the conn's `closed`; calls end as CANCELLED.
 *   - A handler still works for a call of a connection that is gone: the connection stays in
 *     memory until the call is let go of.
 */

#define FLUSH_BYTES_MAX 65536
#define PAUSE_BYTES     65536 /* unsent: read no further */
#define LOG_LINES_BURST 20
#define LOG_LINES_PER_S 2

/* Between the GOAWAYs of a server that ends (P27). */
#define SHUTDOWN_PAUSE_NS CLOCK_NS_PER_S

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

/* A GOAWAY goes out, the first one with a reason. */
static void count_goaway(struct grpc_connection *connection, enum grpc_goaway reason)
{
    if (!connection->was_told_to_end) {
        connection->was_told_to_end = true;
        connection->owner->stats.goaways[reason]++;
    }
}

/* The same at the end of a drain. */
static void count_drain(struct grpc_connection *connection)
{
    const char *reason = connection->drain_reason;
    bool is_old = reason != NULL && strcmp(reason, "max_age") == 0;

    count_goaway(connection, reason == NULL ? GRPC_GOAWAY_SHUTDOWN
                             : is_old       ? GRPC_GOAWAY_MAX_AGE
                                            : GRPC_GOAWAY_MAX_IDLE);
}

static void count_failure(struct grpc_connection *connection)
{
    switch (h2_session_failure(connection->session)) {
    case H2_ERROR_ENHANCE_YOUR_CALM:
        count_goaway(connection, GRPC_GOAWAY_LIMIT);
        break;
    case H2_ERROR_NO_ERROR:
    case H2_ERROR_INTERNAL:
        count_goaway(connection, GRPC_GOAWAY_INTERNAL);
        break;
    default:
        count_goaway(connection, GRPC_GOAWAY_PROTOCOL);
        break;
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

/* A last time, past what waits already. */
static void drain_more(struct grpc_connection *connection, struct h2_session *session)
{
    struct buf *output = conn_output(connection->conn);

    (void)h2_session_drain(session, output, buf_size(output) + FLUSH_BYTES_MAX);
}

/* The end of the session, not from inside one of its events. */
static void finish(struct grpc_connection *connection)
{
    struct h2_session *session = connection->session;

    reactor_stop_timer(connection->owner->reactor, &connection->watch);
    reactor_undefer(&connection->end_task);
    settle(connection, GRPC_CONNECTION_CLOSING);
    connection->session = NULL;
    /* There is always room for a GOAWAY. What does not fit is for streams that end here anyway. */
    drain_more(connection, session);
    h2_session_free(session);
    conn_close(connection->conn);
}

static void finish_failed(struct grpc_connection *connection)
{
    log_failure(connection, h2_session_problem(connection->session));
    count_failure(connection);
    finish(connection);
}

void grpc_connection_finish_late(struct grpc_connection *connection, enum h2_error error,
                                 const char *reason)
{
    h2_session_end(connection->session, error, reason);
    count_goaway(connection, GRPC_GOAWAY_TIMEOUT);
    log_failure(connection, reason);
    finish(connection);
}

void grpc_connection_drop(struct grpc_connection *connection, const char *reason)
{
    log_failure(connection, reason);
    conn_abort(connection->conn);
}

/* Of a connection that end_connection() has doomed. */
static void run_end(struct reactor_task *task)
{
    struct grpc_connection *connection = CONTAINER_OF(task, struct grpc_connection, end_task);

    drain_more(connection, connection->session); /* answers first: this GOAWAY ends everything */
    h2_session_end(connection->session, H2_ERROR_ENHANCE_YOUR_CALM, connection->end_reason);
    count_goaway(connection, GRPC_GOAWAY_AUTH_FAILURES);
    log_failure(connection, connection->end_reason);
    finish(connection);
}

static void end_connection(struct grpc_call_host *host, const char *reason)
{
    struct grpc_connection *connection = connection_of(host);

    if (grpc_connection_has_session(connection) && connection->end_reason == NULL) {
        connection->end_reason = reason;
        reactor_defer(host->reactor, &connection->end_task);
    }
}

static void head_complete(struct grpc_call_host *host, struct grpc_call *call)
{
    grpc_dispatch_head(connection_of(host)->owner->dispatch, call);
}

static void proceed(struct grpc_call_host *host, struct grpc_call *call)
{
    grpc_dispatch_proceed(connection_of(host)->owner->dispatch, call);
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

    if (grpc_connection_has_session(connection) &&
        h2_session_unsent_size(connection->session) >= unsent_max &&
        h2_session_unsent_beside_longest(connection->session) >= unsent_max) {
        if (!connection->has_waiting) {
            limits_hit_add(&host->reactor->limits_hit, LIMITS_HIT_UNSENT);
        }
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
    struct grpc_call_host *host = &connection->host;

    if (connection->conn == NULL && connection->call_count == 0) {
        assert(!timer_is_armed(&connection->watch));
        assert(!list_is_linked(&connection->end_task.link));
        assert(list_is_empty(&connection->calls));
        assert(host->buffered == 0);
        if (host->memo != NULL) {
            host->memo_release(host->memo);
        }
        host->pool->host_count--;
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
    .proceed = proceed,
    .opened = call_opened,
    .request_complete = request_complete,
    .may_deliver = may_deliver,
    .finished = call_finished,
    .touched = call_touched,
    .end_connection = end_connection,
    .freed = call_freed,
};

static void *refuse_call(struct grpc_connection *connection, enum grpc_call_refusal reason)
{
    struct grpc_connection_owner *owner = connection->owner;

    if (reason == GRPC_CALL_REFUSAL_RUNNING) {
        limits_hit_add(&owner->reactor->limits_hit, LIMITS_HIT_RUNNING);
    } else if (reason == GRPC_CALL_REFUSAL_STREAMS) {
        limits_hit_add(&owner->reactor->limits_hit, LIMITS_HIT_STREAMS);
    }
    owner->stats.calls_refused++;
    owner->stats.calls_refused_by[reason]++;
    return NULL;
}

static void *stream_opened(void *context, struct h2_stream *stream)
{
    struct grpc_connection *connection = context;
    struct grpc_connection_owner *owner = connection->owner;
    struct grpc_call *call;

    /* Calls count until they are let go of, not until their stream is closed: a reset does not stop
     * a handler's work, and who resets may not start more of it (P31). */
    if (owner->stats.calls_running >= owner->options.max_running) {
        return refuse_call(connection, GRPC_CALL_REFUSAL_RUNNING);
    }
    if (connection->streams_max != 0 && connection->call_count >= connection->streams_max) {
        return refuse_call(connection, GRPC_CALL_REFUSAL_STREAMS);
    }
    if (connection->end_reason != NULL) {
        return refuse_call(connection, GRPC_CALL_REFUSAL_ENDING);
    }
    call = grpc_call_new(&connection->host, stream);
    if (call == NULL) {
        return refuse_call(connection, GRPC_CALL_REFUSAL_MEMORY);
    }
    list_push_back(&connection->calls, &call->link);
    connection->call_count++;
    owner->stats.calls_running++;
    owner->stats.calls_started++;
    grpc_connection_watch_call(connection);
    return call;
}

void grpc_connection_end_session(struct grpc_connection *connection)
{
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED) {
        connection->phase = GRPC_CONNECTION_ENDING;
        count_drain(connection);
        h2_session_end(connection->session, H2_ERROR_NO_ERROR, connection->drain_reason);
        conn_touch(connection->conn);
    }
}

/* Not from here: requests that the peer sent before it read the first GOAWAY may lie behind the
 * acknowledgement, since many clients write theirs first. At the end of the turn they have been
 * read. */
static void end_acknowledged(void *context)
{
    struct grpc_connection *connection = context;

    connection->is_end_due = true;
    conn_touch(connection->conn);
}

static void on_opened(void *context)
{
    struct grpc_connection *connection = context;
    struct grpc_connection_owner *owner = connection->owner;

    owner->stats.handshakes_done += connection->has_tls;
    if (h2_session_new(H2_ROLE_SERVER, &owner->options.h2, &owner->h2_events, connection,
                       owner->reactor->now_ns, &connection->session) != 0) {
        conn_abort(connection->conn);
        return;
    }
    connection->streams_max = owner->options.h2.max_concurrent_streams;
    settle(connection, GRPC_CONNECTION_OPEN);
    connection->host.peer_identity = conn_peer_identity(connection->conn);
    grpc_connection_start_watch(connection);
}

static bool is_congested(const struct grpc_connection *connection)
{
    const struct grpc_server_options *options = &connection->owner->options;

    return conn_unsent_size(connection->conn) >= PAUSE_BYTES ||
           (options->h2.max_outq != 0 &&
            h2_session_outq(connection->session) > options->h2.max_outq);
}

/* Nothing is received until on_drain() finds it better. */
static void pause_reading(struct grpc_connection *connection)
{
    if (!conn_is_paused(connection->conn)) {
        limits_hit_add(&connection->owner->reactor->limits_hit, LIMITS_HIT_OUTQ);
    }
    conn_pause(connection->conn);
}

static void on_received(void *context, struct bytes bytes)
{
    struct grpc_connection *connection = context;
    uint64_t now_ns = connection->owner->reactor->now_ns;

    connection->has_received = true;
    while (bytes.size > 0 && grpc_connection_has_session(connection) &&
           connection->end_reason == NULL) {
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
    if (!grpc_connection_has_session(connection)) {
        return;
    }
    conn_touch(connection->conn);
    if (is_congested(connection)) {
        pause_reading(connection);
    }
    grpc_connection_watch_block(connection);
}

static void on_ended(void *context)
{
    struct grpc_connection *connection = context;

    if (grpc_connection_has_session(connection)) {
        finish(connection);
    }
}

static void on_drain(void *context)
{
    struct grpc_connection *connection = context;

    if (!grpc_connection_has_session(connection)) {
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
    if (connection->is_end_due) {
        connection->is_end_due = false;
        grpc_connection_end_session(connection);
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

    connection->owner->stats.connections_closed[end]++;
    if (connection->has_tls && connection->phase == GRPC_CONNECTION_SHAKING) {
        connection->owner->stats.handshakes_failed[end]++;
    }
    log_end(connection, end, detail);
    reactor_stop_timer(connection->owner->reactor, &connection->watch);
    settle(connection, GRPC_CONNECTION_CLOSING);
    connection->session = NULL;
    h2_session_free(session); /* ends the calls, which still touch the conn */
    reactor_undefer(&connection->end_task);
    connection->host.peer_identity = NULL;
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

void grpc_connection_owner_set_options(struct grpc_connection_owner *owner,
                                       const struct grpc_server_options *options)
{
    struct h2_pool *pool = owner->options.h2.pool;

    owner->options = *options;
    owner->options.h2.pool = pool;
    owner->options.h2.hits = &owner->reactor->limits_hit;
    owner->options.h2.stats = &owner->stats.h2;
    owner->options.h2.pings = (struct h2_ping_limits){
        .min_ns = options->min_ping_ns,
        .max_strikes = options->max_ping_strikes,
        .without_calls = options->pings_without_calls,
    };
    owner->calls.max_buffered = options->max_buffered;
    owner->calls.max_buffered_per_connection = options->max_buffered_per_connection;
    owner->conn_settings.handshake_timeout_ns = options->tls_timeout_ns;
    owner->conn_settings.send_timeout_ns = options->send_timeout_ns;
    owner->conn_settings.linger_timeout_ns = options->linger_timeout_ns;
    owner->conn_settings.user_timeout_ns =
        options->keepalive_ns != 0 ? options->keepalive_timeout_ns : 0;
}

void grpc_connection_owner_init(struct grpc_connection_owner *owner, struct reactor *reactor,
                                const struct grpc_server_options *options,
                                const struct grpc_dispatch *dispatch)
{
    *owner = (struct grpc_connection_owner){
        .reactor = reactor,
        .dispatch = dispatch,
        .conn_settings = {.reactor = reactor,
                          .events = &conn_events,
                          .flush_bytes_max = FLUSH_BYTES_MAX},
        .h2_events = grpc_call_stream_events,
    };
    owner->h2_events.stream_opened = stream_opened;
    owner->h2_events.end_acknowledged = end_acknowledged;
    grpc_call_pool_init(&owner->calls);
    grpc_connection_owner_set_options(owner, options);
    h2_bucket_init(&owner->log_lines, LOG_LINES_BURST, LOG_LINES_PER_S, reactor->now_ns);
}

void grpc_connection_owner_deinit(struct grpc_connection_owner *owner)
{
    assert(owner->calls.buffered == 0);
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
    list_init(&connection->guest.link);
    list_init(&connection->end_task.link);
    connection->end_task.run = run_end;
    connection->owner = owner;
    connection->has_tls = tls != NULL;
    connection->aged_ns = UINT64_MAX;
    connection->grace_end_ns = UINT64_MAX;
    connection->watch.fire = grpc_connection_on_watch;
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
    owner->calls.host_count++;
    *ret_connection = connection;
    return 0;
}

void grpc_connection_begin_drain(struct grpc_connection *connection, const char *reason,
                                 uint64_t pause_ns)
{
    connection->phase = GRPC_CONNECTION_ANNOUNCED;
    connection->drain_reason = reason;
    connection->final_due_ns = connection->owner->reactor->now_ns + pause_ns;
    h2_session_announce_end(connection->session);
    conn_touch(connection->conn);
}

void grpc_connection_drain(struct grpc_connection *connection)
{
    if (connection->phase == GRPC_CONNECTION_SHAKING) {
        conn_abort(connection->conn);
    } else if (connection->phase == GRPC_CONNECTION_OPEN) {
        grpc_connection_begin_drain(connection, NULL, SHUTDOWN_PAUSE_NS);
        grpc_connection_reconsider(connection);
    } else if (connection->phase == GRPC_CONNECTION_ANNOUNCED) {
        grpc_connection_hasten(connection, SHUTDOWN_PAUSE_NS);
    }
}

void grpc_connection_cut(struct grpc_connection *connection, const char *reason,
                         const char *message)
{
    struct list *link;

    if (!grpc_connection_has_session(connection)) {
        return;
    }
    for (link = connection->calls.next; link != &connection->calls; link = link->next) {
        grpc_call_cancel(CONTAINER_OF(link, struct grpc_call, link), GRPC_STATUS_UNAVAILABLE,
                         reason, message);
    }
    h2_session_end(connection->session, H2_ERROR_NO_ERROR, connection->drain_reason);
    count_drain(connection);
    finish(connection);
}

void grpc_connection_hurry(struct grpc_connection *connection)
{
    grpc_connection_cut(connection, "SERVER_SHUTDOWN", "the server is shutting down");
}

void grpc_connection_abort(struct grpc_connection *connection)
{
    if (connection->conn != NULL) {
        conn_abort(connection->conn);
    }
}
