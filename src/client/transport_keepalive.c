/*
 * A server that is not heard for keepalive_time is sent a PING; when not a byte comes within
 * keepalive_timeout after it, the connection is lost. What was sent and is not even acknowledged by
 * the server's kernel ends it by itself after the same time (TCP_USER_TIMEOUT).
 *
 * Without calls nobody is asked, unless the options say so: servers take PINGs without calls for an
 * attack (K4). The timer then rests until the next call, and counts from there: a PING would
 * overtake that call's head, and come to a server that knows of no call.
 */
#include "client/transport_internal.h"
#include "core/clock.h"

static bool is_wanted(const struct transport *transport)
{
    return transport->open_count != 0 || transport->options.keepalive_without_calls;
}

/* Looks again at `due_ns`. */
static void watch_at(struct transport *transport, uint64_t due_ns)
{
    uint64_t now_ns = reactor_now_ns(transport->reactor);

    if (reactor_start_timer(transport->reactor, &transport->timer,
                            due_ns > now_ns ? due_ns - now_ns : 0) != 0) {
        transport_set_problem(transport, CALL_CAUSE_MEMORY, "out of memory");
        transport_cut(transport); /* unwatched it could hang for ever */
    }
}

void transport_start_keepalive(struct transport *transport)
{
    reactor_stop_timer(transport->reactor, &transport->timer);
    if (transport->options.keepalive_time_ns != 0 && is_wanted(transport)) {
        watch_at(transport,
                 reactor_now_ns(transport->reactor) + transport->options.keepalive_time_ns);
    }
}

void transport_watch_attempt(struct transport *transport)
{
    if (transport->options.keepalive_time_ns != 0 && !timer_is_armed(&transport->timer)) {
        transport->awake_ns = reactor_now_ns(transport->reactor);
        watch_at(transport, transport->awake_ns + transport->options.keepalive_time_ns);
    }
}

static uint64_t heard_ns(const struct transport *transport)
{
    uint64_t ns = conn_heard_ns(transport->conn);

    return ns > transport->awake_ns ? ns : transport->awake_ns;
}

static void give_up(struct transport *transport)
{
    transport_set_problem(
        transport, CALL_CAUSE_LOST,
        "the connection is dead: no answer to a keepalive PING within %llu ms",
        (unsigned long long)(transport->options.keepalive_timeout_ns / CLOCK_NS_PER_MS));
    transport_cut(transport);
}

/* When to look again: after a PING, too, it may be heard and fall silent once more at any time. */
static uint64_t next_look_ns(const struct transport *transport)
{
    const struct transport_options *options = &transport->options;
    uint64_t late_ns = transport->pinged_ns + options->keepalive_timeout_ns;
    uint64_t silent_ns = reactor_now_ns(transport->reactor) + options->keepalive_time_ns;

    if (transport->pinged_ns == 0) {
        return heard_ns(transport) + options->keepalive_time_ns;
    }
    return late_ns < silent_ns ? late_ns : silent_ns;
}

void transport_check_silence(struct transport *transport)
{
    const struct transport_options *options = &transport->options;
    uint64_t now_ns = reactor_now_ns(transport->reactor);

    if (conn_heard_ns(transport->conn) > transport->pinged_ns) {
        transport->pinged_ns = 0;
    }
    if (transport->pinged_ns != 0 &&
        now_ns - transport->pinged_ns >= options->keepalive_timeout_ns) {
        give_up(transport);
        return;
    }
    if (transport->pinged_ns == 0 && !is_wanted(transport)) {
        return;
    }
    if (transport->pinged_ns == 0 && now_ns - heard_ns(transport) >= options->keepalive_time_ns) {
        transport->pinged_ns = now_ns;
        h2_session_ping(transport->session);
        conn_touch(transport->conn);
    }
    watch_at(transport, next_look_ns(transport));
}
