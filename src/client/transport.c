/*
 * A transport keeps its attempts in three lists: open (on a stream), finished (messages and outcome
 * have to be told) and held (likewise, but their owner has paused them).
 *
 * The happy path:
 * 1. transport_new() connects; a conn takes the socket, TLS is done, a session is made, the
 * server's SETTINGS come: READY.
 * 2. transport_start() puts an attempt on a stream of the session.
 * 3. Stream events fill the attempt's call_reply. When the server has ended its side the attempt
 * moves to `finished`.
 * 4. The task, at the end of the turn, tells states, messages, room and `done`. So no callback runs
 * inside a call to these files, nor inside the session, and callbacks may start, send, fail, close
 * and abort as they like.
 * 5. Once no new attempt is taken and the last open one is over, the connection is closed, with a
 * GOAWAY; when it is gone and everything was told, `closed` runs.
 *
 * What can go wrong:
 * - TCP, TLS or the server's first words fail: `closed` says which and why.
 * - the connection is lost, or the server is silent for too long: open attempts end with
 * UNAVAILABLE and the cause LOST; those that were not sent yet as REFUSED.
 * - GOAWAY: attempts above its id and those not sent yet end as REFUSED, the others go on.
 */
#include "client/transport_internal.h"
#include "core/clock.h"
#include "http2/grpc_status.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NEVER_NS (100ULL * 365 * 24 * 3600 * CLOCK_NS_PER_S)

#define MAY(state) (1u << (state))

/* From each state the ones it may move to. */
static const unsigned state_moves[TRANSPORT_STATE_COUNT] = {
    [TRANSPORT_CONNECTING] = MAY(TRANSPORT_HANDSHAKING) | MAY(TRANSPORT_CLOSED),
    [TRANSPORT_HANDSHAKING] = MAY(TRANSPORT_READY) | MAY(TRANSPORT_ENDING) | MAY(TRANSPORT_CLOSED),
    [TRANSPORT_READY] = MAY(TRANSPORT_DRAINING) | MAY(TRANSPORT_ENDING) | MAY(TRANSPORT_CLOSED),
    [TRANSPORT_DRAINING] = MAY(TRANSPORT_ENDING) | MAY(TRANSPORT_CLOSED),
    [TRANSPORT_ENDING] = MAY(TRANSPORT_CLOSED),
};

const char *transport_problem(const struct transport *transport, enum call_cause *ret_cause)
{
    *ret_cause = transport->is_failed ? transport->cause : CALL_CAUSE_CANCELLED;
    return transport->problem;
}

bool transport_has_served(const struct transport *transport)
{
    return transport->has_served;
}

void transport_wake(struct transport *transport)
{
    reactor_defer(transport->reactor, &transport->task);
}

void transport_set_state(struct transport *transport, enum transport_state state)
{
    assert((state_moves[transport->state] & MAY(state)) != 0);
    if (transport->state == TRANSPORT_READY) {
        transport->draining_due = true;
    }
    transport->ready_due = transport->ready_due || state == TRANSPORT_READY;
    transport->state = state;
    transport_wake(transport);
}

void transport_set_problem(struct transport *transport, enum call_cause cause, const char *format,
                           ...)
{
    va_list arguments;
    int size;

    if (transport->is_failed && !transport->is_mild) {
        return;
    }
    transport->is_failed = true;
    transport->is_mild = false;
    transport->cause = cause;
    size = snprintf(transport->problem, sizeof(transport->problem), "%s: ", transport->name);
    va_start(arguments, format);
    (void)vsnprintf(transport->problem + size, sizeof(transport->problem) - (size_t)size, format,
                    arguments);
    va_end(arguments);
    grpc_status_clean_text(transport->problem, strlen(transport->problem)); /* a peer's words */
}

void transport_end(struct transport *transport)
{
    if (transport->state >= TRANSPORT_ENDING) {
        return;
    }
    transport_fail_open(transport);
    transport_set_state(transport, TRANSPORT_ENDING);
    reactor_stop_timer(transport->reactor, &transport->timer);
    if (transport->session != NULL) {
        h2_session_end(transport->session, H2_ERROR_NO_ERROR, NULL);
    }
    conn_close(transport->conn);
}

void transport_cut(struct transport *transport)
{
    transport_end(transport);
    if (transport->conn != NULL) {
        conn_abort(transport->conn);
    }
}

void transport_closed(struct transport *transport)
{
    reactor_stop_timer(transport->reactor, &transport->timer);
    transport_fail_open(transport);
    h2_session_free(transport->session);
    transport->session = NULL;
    transport_set_state(transport, TRANSPORT_CLOSED);
}

/* The owner wants it to end: what is open goes on, unless it wants it at once. */
static void step_closing(struct transport *transport)
{
    if (transport->state == TRANSPORT_CONNECTING) {
        ring_cancel(transport->reactor->ring, &transport->connect_op);
    } else if (transport->state == TRANSPORT_HANDSHAKING) {
        transport_cut(transport);
    } else if (transport->state == TRANSPORT_READY) {
        transport_set_state(transport, TRANSPORT_DRAINING);
    }
}

static void fail_all(const struct transport *transport, struct list *attempts)
{
    const char *reason = transport->give_up_reason;

    while (!list_is_empty(attempts)) {
        struct call_attempt *attempt = CONTAINER_OF(attempts->next, struct call_attempt, link);

        if (reason == NULL) {
            call_attempt_fail(attempt, GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED, "Cancelled");
        } else {
            call_attempt_fail(attempt, GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST, reason);
        }
    }
}

static void step_aborting(struct transport *transport)
{
    fail_all(transport, &transport->open);
    fail_all(transport, &transport->held);
    if (transport->conn != NULL) {
        transport_cut(transport);
    }
}

/* Before the outcomes that follow from them, so that who tries again knows. */
static void tell_states(struct transport *transport)
{
    if (transport->ready_due) {
        transport->ready_due = false;
        transport->events->ready(transport->owner);
    }
    if (transport->draining_due) {
        transport->draining_due = false;
        transport->events->draining(transport->owner);
    }
}

static void free_transport(struct transport *transport)
{
    enum call_cause cause;
    const char *problem = transport_problem(transport, &cause);

    assert(!transport->connect_op.pending && transport->conn == NULL);
    assert(!timer_is_armed(&transport->timer));
    transport->events->closed(transport->owner, cause, problem, transport->server_asked_patience);
    transport_free_buffers(transport);
    reactor_undefer(&transport->task); /* late: `closed` may have asked for the end again */
    free(transport);
}

static void run(struct reactor_task *task)
{
    struct transport *transport = CONTAINER_OF(task, struct transport, task);

    if (transport->is_closing) {
        step_closing(transport);
    }
    if (transport->is_aborting) {
        step_aborting(transport);
    }
    tell_states(transport);
    transport_deliver(transport);
    if (transport->state == TRANSPORT_DRAINING && transport->open_count == 0) {
        transport_end(transport);
    }
    if (transport->state == TRANSPORT_CLOSED && transport->attempt_count == 0 &&
        !transport->draining_due) {
        free_transport(transport);
    }
}

/* "name:50051 (127.0.0.1:50051)", or once when both are the same. */
static void make_name(struct transport *transport)
{
    char address[TARGET_AUTHORITY_SIZE];
    const char *authority = transport->options.authority;

    target_format_address(&transport->address, address, sizeof(address));
    if (authority == NULL || strcmp(address, authority) == 0) {
        (void)snprintf(transport->name, sizeof(transport->name), "%s", address);
    } else {
        (void)snprintf(transport->name, sizeof(transport->name), "%.*s (%s)", TARGET_AUTHORITY_SIZE,
                       authority, address);
    }
}

/* Times are added to the clock, also those of a caller who means "never": the sum is one. */
static void limit_times(struct transport_options *options)
{
    if (options->keepalive_time_ns >= NEVER_NS) {
        options->keepalive_time_ns = 0;
    }
    if (options->keepalive_timeout_ns > NEVER_NS) {
        options->keepalive_timeout_ns = NEVER_NS;
    }
}

int transport_new(struct reactor *reactor, const struct transport_options *options,
                  const struct target_address *address, const struct transport_events *events,
                  void *owner, struct transport **ret_transport)
{
    struct transport *transport = calloc(1, sizeof(*transport));

    if (transport == NULL) {
        return -ENOMEM;
    }
    transport->reactor = reactor;
    transport->options = *options;
    limit_times(&transport->options);
    transport->address = *address;
    transport->events = events;
    transport->owner = owner;
    transport->fd = -1;
    list_init(&transport->task.link);
    transport->task.run = run;
    list_init(&transport->open);
    list_init(&transport->finished);
    list_init(&transport->held);
    list_init(&transport->ready);
    make_name(transport);
    transport_init_head(transport);
    transport_init_connection(transport);
    transport_connect(transport);
    *ret_transport = transport;
    return 0;
}

void transport_close(struct transport *transport)
{
    transport->is_closing = true;
    transport_wake(transport);
}

void transport_abort(struct transport *transport)
{
    transport->is_aborting = true;
    transport_close(transport);
}

void transport_give_up(struct transport *transport, const char *reason)
{
    transport->give_up_reason = reason;
    transport_abort(transport);
}
