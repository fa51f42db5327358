#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "http2/grpc_connection.h"
#include "http2/grpc_connection_internal.h"

/*
 * One timer watches over everything that may take too long: the peer's first SETTINGS, its
 * acknowledgement of ours, a header block, bodies and answers that do not move, an idle connection,
 * an old one, the pause between the two GOAWAYs, a peer that is not heard. It is set to the
 * earliest of these when it fires, and moved forward when something begins, never per request: the
 * conn notes when bytes come, and the timer looks.
 *
 * An old connection (K8) is drained like one of a server that ends: its clients come back at once,
 * maybe to another server, which is what the limit is for. How old differs by up to a tenth either
 * way, so that those that came together do not leave together; and it counts from the first call:
 * many clients turn away the calls that they have queued for a connection when its GOAWAY comes,
 * and make each of them once more, not twice. On the next connection they must find a place,
 * however long they took to get there. Calls that still run when the grace is over are answered
 * UNAVAILABLE, which clients may try again (K9, K11).
 *
 * A peer that was not heard for keepalive.time_s is sent a PING, with or without calls, and dropped
 * when not a byte comes after it (K1, K2). While we do not read, silence is not its fault: what it
 * does not take ends it then.
 */

#define AGE_STEPS 0xffff /* of the random part */

/* Between the GOAWAYs, unless the client has seen the first one earlier (P27). A client that is
 * slow may have sent requests that the final one would not know; nothing is in a hurry here. */
#define PAUSE_NS (10 * CLOCK_NS_PER_S)

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* `a` + `b`, or for ever. */
static uint64_t later_by(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
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

/* When a call must be looked at again: often enough that none overstays by more than half its time.
 */
static uint64_t next_progress_check_ns(const struct grpc_connection *connection)
{
    return connection->owner->reactor->now_ns + connection->owner->options.body_progress_ns / 2;
}

/* When the watch has to look again at the life of the connection. */
static uint64_t next_phase_ns(const struct grpc_connection *connection)
{
    uint64_t due_ns = connection->grace_end_ns;

    if (connection->phase == GRPC_CONNECTION_OPEN) {
        due_ns = earlier(due_ns, connection->aged_ns);
    }
    if (connection->phase == GRPC_CONNECTION_OPEN && connection->call_count == 0) {
        due_ns = earlier(due_ns, later_by(connection->idle_since_ns,
                                          connection->owner->options.idle_timeout_ns));
    }
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED) {
        due_ns = earlier(due_ns, connection->final_due_ns);
    }
    return due_ns;
}

/* When the silence of the peer is to be looked at: after a PING, too, it may be heard and fall
 * silent again, at any time. */
static uint64_t next_keepalive_ns(const struct grpc_connection *connection)
{
    const struct grpc_server_options *options = &connection->owner->options;

    if (options->keepalive_ns == 0) {
        return UINT64_MAX;
    }
    if (connection->pinged_ns == 0) {
        return conn_heard_ns(connection->conn) + options->keepalive_ns;
    }
    return earlier(connection->pinged_ns + options->keepalive_timeout_ns,
                   connection->owner->reactor->now_ns + options->keepalive_ns);
}

static uint64_t next_watch_ns(const struct grpc_connection *connection)
{
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t block_since_ns = h2_session_header_block_since_ns(connection->session);
    uint64_t due_ns = earlier(next_phase_ns(connection), next_keepalive_ns(connection));

    if (!h2_session_has_settings(connection->session)) {
        due_ns = earlier(due_ns, connection->opened_ns + options->preface_timeout_ns);
    }
    if (!h2_session_is_acknowledged(connection->session)) {
        due_ns = earlier(due_ns, connection->opened_ns + options->settings_ack_timeout_ns);
    }
    if (block_since_ns != 0) {
        due_ns = earlier(due_ns, block_since_ns + options->header_timeout_ns);
    }
    if (connection->call_count > 0) {
        due_ns = earlier(due_ns, next_progress_check_ns(connection));
    }
    return due_ns;
}

static void count(struct grpc_connection *connection, enum limits_hit_reason reason)
{
    limits_hit_add(&connection->owner->reactor->limits_hit, reason);
}

/* Looks for what ends the connection. Returns whether it did. */
static bool is_too_late(struct grpc_connection *connection, uint64_t now_ns)
{
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t block_since_ns = h2_session_header_block_since_ns(connection->session);

    if (!h2_session_has_settings(connection->session) &&
        now_ns - connection->opened_ns >= options->preface_timeout_ns) {
        count(connection, LIMITS_HIT_PREFACE_TIMEOUT);
        grpc_connection_finish_late(connection, H2_ERROR_SETTINGS_TIMEOUT,
                                    "no HTTP/2 preface in time");
        return true;
    }
    if (!h2_session_is_acknowledged(connection->session) &&
        now_ns - connection->opened_ns >= options->settings_ack_timeout_ns) {
        count(connection, LIMITS_HIT_SETTINGS_ACK_TIMEOUT);
        grpc_connection_finish_late(connection, H2_ERROR_SETTINGS_TIMEOUT,
                                    "SETTINGS not acknowledged in time");
        return true;
    }
    if (block_since_ns != 0 && now_ns - block_since_ns >= options->header_timeout_ns) {
        count(connection, LIMITS_HIT_HEADER_TIMEOUT);
        grpc_connection_finish_late(connection, H2_ERROR_ENHANCE_YOUR_CALM,
                                    "header block not complete in time");
        return true;
    }
    return false;
}

/* A client may only be asleep: some read nothing while they have no call. With a GOAWAY in its
 * socket it knows of a call that it begins later that nobody has seen it, and makes it elsewhere.
 * Behind what is stuck already it would only be in the way of the end. */
static void give_up(struct grpc_connection *connection)
{
    static const char reason[] = "no answer to a PING within keepalive.timeout_s";

    count(connection, LIMITS_HIT_KEEPALIVE);
    if (conn_unsent_size(connection->conn) > 0) {
        grpc_connection_drop(connection, reason);
    } else {
        grpc_connection_finish_late(connection, H2_ERROR_NO_ERROR, reason);
    }
}

/* Sends a PING to a peer that was not heard, and drops it when that did not help. Returns whether
 * it did. */
static bool is_silent(struct grpc_connection *connection, uint64_t now_ns)
{
    const struct grpc_server_options *options = &connection->owner->options;
    uint64_t heard_ns = conn_heard_ns(connection->conn);

    if (options->keepalive_ns == 0 || heard_ns > connection->pinged_ns) {
        connection->pinged_ns = 0;
    }
    if (options->keepalive_ns == 0) {
        return false;
    }
    if (connection->pinged_ns != 0 &&
        now_ns - connection->pinged_ns >= options->keepalive_timeout_ns) {
        give_up(connection);
        return true;
    }
    if (connection->pinged_ns == 0 && now_ns - heard_ns >= options->keepalive_ns) {
        connection->pinged_ns = now_ns;
        h2_session_ping(connection->session);
        conn_touch(connection->conn);
    }
    return false;
}

static void check_calls(struct grpc_connection *connection)
{
    struct list *link;
    struct list *next;

    for (link = connection->calls.next; link != &connection->calls; link = next) {
        next = link->next;
        grpc_call_check_progress(CONTAINER_OF(link, struct grpc_call, link),
                                 connection->owner->options.body_progress_ns);
    }
}

/* Begins the end of a connection that is old, or has nothing to do. */
static void check_life(struct grpc_connection *connection, uint64_t now_ns)
{
    const struct grpc_server_options *options = &connection->owner->options;

    if (connection->phase != GRPC_CONNECTION_OPEN) {
        return;
    }
    if (now_ns >= connection->aged_ns) {
        count(connection, LIMITS_HIT_AGE);
        connection->grace_end_ns = later_by(now_ns, options->max_age_grace_ns);
        grpc_connection_begin_drain(connection, "max_age", PAUSE_NS);
    } else if (connection->call_count == 0 &&
               now_ns - connection->idle_since_ns >= options->idle_timeout_ns) {
        count(connection, LIMITS_HIT_IDLE_TIMEOUT);
        grpc_connection_begin_drain(connection, "max_idle", PAUSE_NS);
    }
}

void grpc_connection_on_watch(struct timer *timer)
{
    struct grpc_connection *connection = CONTAINER_OF(timer, struct grpc_connection, watch);
    uint64_t now_ns = connection->owner->reactor->now_ns;

    if (is_too_late(connection, now_ns) || is_silent(connection, now_ns)) {
        return;
    }
    check_calls(connection);
    check_life(connection, now_ns);
    if (now_ns >= connection->grace_end_ns) {
        grpc_connection_cut(connection, "CONNECTION_AGED",
                            "the connection is older than limits.max_age_s allows");
        return;
    }
    if (connection->phase == GRPC_CONNECTION_ANNOUNCED && now_ns >= connection->final_due_ns) {
        grpc_connection_end_session(connection);
    }
    if (next_watch_ns(connection) != UINT64_MAX) {
        watch_by(connection, next_watch_ns(connection));
    }
}

/* From nine tenths of it to eleven. */
static uint64_t choose_age_ns(uint64_t max_age_ns)
{
    uint16_t random = 0;

    random_fill(random_system(), &random, sizeof(random));
    return max_age_ns / 10 * 9 + max_age_ns / 5 / AGE_STEPS * random;
}

void grpc_connection_start_watch(struct grpc_connection *connection)
{
    connection->opened_ns = connection->owner->reactor->now_ns;
    connection->idle_since_ns = connection->opened_ns;
    watch_by(connection, next_watch_ns(connection));
}

static void begin_age(struct grpc_connection *connection)
{
    const struct grpc_connection_owner *owner = connection->owner;

    connection->is_used = true;
    if (owner->options.max_age_ns != 0) {
        connection->aged_ns =
            later_by(owner->reactor->now_ns, choose_age_ns(owner->options.max_age_ns));
        watch_by(connection, connection->aged_ns);
    }
}

void grpc_connection_watch_call(struct grpc_connection *connection)
{
    if (!connection->is_used) {
        begin_age(connection);
    }
    watch_by(connection, next_progress_check_ns(connection));
}

void grpc_connection_watch_block(struct grpc_connection *connection)
{
    if (h2_session_header_block_since_ns(connection->session) != 0) {
        watch_by(connection, next_watch_ns(connection));
    }
}

void grpc_connection_hasten(struct grpc_connection *connection, uint64_t pause_ns)
{
    connection->final_due_ns =
        earlier(connection->final_due_ns, connection->owner->reactor->now_ns + pause_ns);
    grpc_connection_reconsider(connection);
}

void grpc_connection_reconsider(struct grpc_connection *connection)
{
    if (grpc_connection_has_session(connection)) {
        watch_by(connection, next_watch_ns(connection));
    }
}
