#include "http2/grpc_server.h"

#include "core/clock.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "http2/grpc_connection.h"
#include "http2/h2_pool.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Who may come in, and how everybody leaves.
 *
 * In: an accepted socket is refused, by closing it, while the server drains or is short of memory,
 * and beyond the limits on connections and handshakes (grpc_admission.c).
 *
 * Out (drain):
 *   1. The listeners close. Connections in their handshake are dropped, the others get the first
 *      GOAWAY.
 *   2. Each connection sends its final GOAWAY after a second or when the peer has seen the
 *      first, lets its calls finish, and closes.
 *   3. Shortly before the grace ends, calls that still run are answered UNAVAILABLE: a clean
 *      status where a torn connection would be the alternative.
 *   4. When the grace ends the rest is aborted. `drained` runs when the last connection is gone.
 */

#define LISTENERS_MAX           8
#define SESSION_MEMORY_PER_CONN (128UL * 1024) /* bound of the shared pool, per connection */
#define HURRY_NS                CLOCK_NS_PER_S /* so long before the end of the grace, at most */

struct server_listener {
    struct grpc_server *server;
    struct tls_context *tls;
    struct listener *listener; /* NULL once closed */
};

struct grpc_server {
    struct grpc_connection_owner owner; /* what all connections share */
    struct h2_pool pool;
    struct server_listener listeners[LISTENERS_MAX];
    unsigned listener_count;
    unsigned listeners_open;
    struct list connections;
    struct grpc_admission admission;
    bool is_refusing; /* connections, for want of memory */
    bool is_draining;
    bool is_hurrying;
    uint64_t grace_end_ns;
    struct timer grace;
    struct reactor_task drained_task;
    void (*drained)(void *context);
    void *drained_context;
};

static struct grpc_server *server_of(struct grpc_connection_owner *owner)
{
    return CONTAINER_OF(owner, struct grpc_server, owner);
}

static void write_peer(const struct sockaddr_storage *peer, char text[GRPC_PEER_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "?";
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (peer->ss_family == AF_INET) {
        memcpy(&in, peer, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        (void)snprintf(text, GRPC_PEER_TEXT_SIZE, "%s:%u", host, ntohs(in.sin_port));
    } else if (peer->ss_family == AF_INET6) {
        memcpy(&in6, peer, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, GRPC_PEER_TEXT_SIZE, "[%s]:%u", host, ntohs(in6.sin6_port));
    } else {
        (void)snprintf(text, GRPC_PEER_TEXT_SIZE, "unix");
    }
}

static void run_drained(struct reactor_task *task)
{
    struct grpc_server *server = CONTAINER_OF(task, struct grpc_server, drained_task);
    void (*drained)(void *context) = server->drained;

    server->drained = NULL;
    drained(server->drained_context); /* may free the server */
}

static void check_drained(struct grpc_server *server)
{
    if (server->is_draining && server->drained != NULL && server->listeners_open == 0 &&
        list_is_empty(&server->connections)) {
        reactor_stop_timer(server->owner.reactor, &server->grace);
        reactor_defer(server->owner.reactor, &server->drained_task);
    }
}

static const char *refuse_for(struct grpc_server *server, enum limits_hit_reason reason)
{
    limits_hit_add(&server->owner.reactor->limits_hit, reason);
    server->owner.stats.connections_refused_by[reason]++;
    return limits_hit_name(reason);
}

static const char *refuse_for_memory(struct grpc_server *server)
{
    server->owner.stats.connections_refused_memory++;
    return "out of memory";
}

/* Judges a peer and counts it in. Returns why it may not come in, or NULL. */
static const char *admit(struct server_listener *listener, const struct sockaddr_storage *peer,
                         struct grpc_guest *guest, struct grpc_guest **ret_evicted)
{
    struct grpc_server *server = listener->server;
    struct grpc_connection_owner *owner = &server->owner;
    struct grpc_admission_verdict verdict;
    int outcome;

    if (server->is_draining) {
        owner->stats.connections_refused_draining++;
        return "the server is shutting down";
    }
    if (server->is_refusing) {
        return refuse_for(server, LIMITS_HIT_MEMORY_SOFT);
    }
    outcome = grpc_admission_enter(&server->admission, peer, listener->tls != NULL,
                                   owner->reactor->now_ns, guest, &verdict);
    if (outcome < 0) {
        return refuse_for_memory(server);
    }
    if (outcome == GRPC_ADMISSION_E_REFUSED) {
        if (verdict.reason == LIMITS_HIT_CONNECTIONS) {
            verdict.reason = owner->options.max_connections_reason;
        }
        return refuse_for(server, verdict.reason);
    }
    *ret_evicted = verdict.evicted;
    return NULL;
}

/* Its handshake has made room for another. */
static void evict(struct grpc_server *server, struct grpc_guest *guest)
{
    struct grpc_connection *connection = CONTAINER_OF(guest, struct grpc_connection, guest);

    server->owner.stats.connections_refused++;
    grpc_connection_log(&server->owner, "connection_refused", connection->peer,
                        refuse_for(server, LIMITS_HIT_HANDSHAKES));
    grpc_connection_abort(connection);
}

static void seat(struct grpc_server *server, const struct grpc_guest *guest,
                 struct grpc_connection *connection)
{
    struct grpc_server_stats *stats = &server->owner.stats;

    connection->guest = *guest;
    grpc_admission_seat(&server->admission, &connection->guest);
    connection->host.peer_address = grpc_admission_address(&connection->guest);
    list_push_back(&server->connections, &connection->link);
    stats->handshakes = server->admission.handshake_count;
    stats->connections_accepted++;
    stats->connections_open++;
}

static void on_accepted(void *context, int fd, const struct sockaddr_storage *peer)
{
    struct server_listener *listener = context;
    struct grpc_server *server = listener->server;
    struct grpc_connection *connection;
    struct grpc_guest *evicted = NULL;
    struct grpc_guest guest;
    char peer_text[GRPC_PEER_TEXT_SIZE];
    const char *problem = admit(listener, peer, &guest, &evicted);

    write_peer(peer, peer_text);
    if (evicted != NULL) {
        evict(server, evicted);
    }
    if (problem != NULL) {
        (void)close(fd);
    } else if (grpc_connection_new(&server->owner, fd, listener->tls, peer_text, &connection) !=
               0) {
        grpc_admission_leave(&server->admission, &guest);
        problem = refuse_for_memory(server);
    }
    if (problem != NULL) {
        server->owner.stats.connections_refused++;
        grpc_connection_log(&server->owner, "connection_refused", peer_text, problem);
    } else {
        seat(server, &guest, connection);
    }
}

static void on_listener_closed(void *context)
{
    struct server_listener *listener = context;

    listener->listener = NULL;
    listener->server->listeners_open--;
    check_drained(listener->server);
}

static const struct listener_events listener_events = {
    .accepted = on_accepted,
    .closed = on_listener_closed,
};

static void on_settled(struct grpc_connection_owner *owner, struct grpc_connection *connection)
{
    struct grpc_server *server = server_of(owner);

    grpc_admission_settle(&server->admission, &connection->guest);
    owner->stats.handshakes = server->admission.handshake_count;
}

static void on_gone(struct grpc_connection_owner *owner, struct grpc_connection *connection)
{
    struct grpc_server *server = server_of(owner);

    list_remove(&connection->link);
    owner->stats.connections_open--;
    grpc_admission_leave(&server->admission, &connection->guest);
    check_drained(server);
}

/* Calls `each` for every connection. None is freed meanwhile: that happens in the conn's own turn.
 */
static void for_each_connection(struct grpc_server *server,
                                void (*each)(struct grpc_connection *connection))
{
    struct list *link;
    struct list *next;

    for (link = server->connections.next; link != &server->connections; link = next) {
        next = link->next;
        each(CONTAINER_OF(link, struct grpc_connection, link));
    }
}

static void arm_grace(struct grpc_server *server, uint64_t delay_ns)
{
    if (reactor_start_timer(server->owner.reactor, &server->grace, delay_ns) != 0) {
        for_each_connection(server, grpc_connection_abort); /* out of memory: a bound is a bound */
    }
}

static void on_grace(struct timer *timer)
{
    struct grpc_server *server = CONTAINER_OF(timer, struct grpc_server, grace);
    uint64_t now_ns = server->owner.reactor->now_ns;

    if (!server->is_hurrying && now_ns < server->grace_end_ns) {
        server->is_hurrying = true;
        for_each_connection(server, grpc_connection_hurry);
        arm_grace(server, server->grace_end_ns - now_ns);
    } else {
        for_each_connection(server, grpc_connection_abort);
    }
}

static struct grpc_admission_limits admission_limits(const struct grpc_server_options *options)
{
    return (struct grpc_admission_limits){
        .max_connections = options->max_connections,
        .max_connections_per_ip = options->max_connections_per_ip,
        .max_handshakes = options->max_handshakes,
        .max_handshakes_per_ip = options->max_handshakes_per_ip,
        .handshake_rate = options->handshake_rate,
    };
}

/* Of all sessions together, at most. */
static size_t session_memory(const struct grpc_server_options *options)
{
    return options->max_connections * SESSION_MEMORY_PER_CONN;
}

int grpc_server_new(struct reactor *reactor, const struct grpc_server_options *options,
                    const struct grpc_dispatch *dispatch, struct grpc_server **ret_server)
{
    const struct grpc_admission_limits limits = admission_limits(options);
    struct grpc_server *server = calloc(1, sizeof(*server));

    if (server == NULL) {
        return -ENOMEM;
    }
    grpc_admission_init(&server->admission, &limits, reactor->now_ns);
    h2_pool_init(&server->pool, session_memory(options));
    grpc_connection_owner_init(&server->owner, reactor, options, dispatch);
    server->owner.options.h2.pool = &server->pool;
    server->owner.settled = on_settled;
    server->owner.gone = on_gone;
    list_init(&server->connections);
    list_init(&server->drained_task.link);
    server->drained_task.run = run_drained;
    server->grace.fire = on_grace;
    *ret_server = server;
    return 0;
}

/* The place for one more listener; NULL, with the problem, when there is none. */
static struct server_listener *next_listener(struct grpc_server *server, struct tls_context *tls,
                                             const char *what, char *problem)
{
    struct server_listener *listener = &server->listeners[server->listener_count];

    if (server->listener_count == LISTENERS_MAX) {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "%s: more than %d addresses to listen on", what,
                       LISTENERS_MAX);
        return NULL;
    }
    listener->server = server;
    listener->tls = tls;
    return listener;
}

/* Counts it, when it listens. */
static int count_listener(struct grpc_server *server, int error)
{
    if (error == 0) {
        server->listener_count++;
        server->listeners_open++;
    }
    return error;
}

int grpc_server_listen(struct grpc_server *server, const char *address, struct tls_context *tls,
                       char *problem)
{
    struct server_listener *listener = next_listener(server, tls, address, problem);

    return listener == NULL ? -E2BIG
                            : count_listener(server, listener_open(server->owner.reactor, address,
                                                                   server->owner.options.backlog,
                                                                   &listener_events, listener,
                                                                   problem, &listener->listener));
}

int grpc_server_listen_on(struct grpc_server *server, int fd, struct tls_context *tls,
                          char *problem)
{
    struct server_listener *listener = next_listener(server, tls, "a passed socket", problem);

    if (listener == NULL) {
        (void)close(fd); /* nothing was written */
        return -E2BIG;
    }
    return count_listener(server, listener_adopt(server->owner.reactor, fd, &listener_events,
                                                 listener, problem, &listener->listener));
}

void grpc_server_set_tls(struct grpc_server *server, struct tls_context *tls)
{
    unsigned i;

    for (i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].tls != NULL) {
            server->listeners[i].tls = tls;
        }
    }
}

void grpc_server_set_options(struct grpc_server *server, const struct grpc_server_options *options)
{
    const struct grpc_admission_limits limits = admission_limits(options);

    grpc_connection_owner_set_options(&server->owner, options);
    grpc_admission_set_limits(&server->admission, &limits, server->owner.reactor->now_ns);
    if (server->pool.used_max < session_memory(options)) {
        server->pool.used_max = session_memory(options); /* never less: it may be in use */
    }
    for_each_connection(server, grpc_connection_reconsider);
}

void grpc_server_refuse_connections(struct grpc_server *server, bool refuse)
{
    server->is_refusing = refuse;
}

const char *grpc_server_address(const struct grpc_server *server, unsigned index)
{
    if (index >= server->listener_count || server->listeners[index].listener == NULL) {
        return NULL;
    }
    return listener_address(server->listeners[index].listener);
}

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server)
{
    return &server->owner.stats;
}

struct grpc_server_gauges grpc_server_gauges(const struct grpc_server *server)
{
    return (struct grpc_server_gauges){
        .streams = server->pool.stream_count,
        .buffered_bytes = server->owner.calls.buffered,
        .unsent_bytes = server->pool.unsent_bytes,
        .session_bytes = server->pool.used_bytes,
        .session_bytes_cached = server->pool.cached_bytes,
    };
}

const char *grpc_goaway_name(enum grpc_goaway reason)
{
    static const char *const names[GRPC_GOAWAY_COUNT] = {
        [GRPC_GOAWAY_SHUTDOWN] = "shutdown",           [GRPC_GOAWAY_MAX_AGE] = "max_age",
        [GRPC_GOAWAY_MAX_IDLE] = "max_idle",           [GRPC_GOAWAY_TIMEOUT] = "timeout",
        [GRPC_GOAWAY_AUTH_FAILURES] = "auth_failures", [GRPC_GOAWAY_LIMIT] = "limit",
        [GRPC_GOAWAY_PROTOCOL] = "protocol",           [GRPC_GOAWAY_INTERNAL] = "internal",
    };

    return names[reason];
}

const char *grpc_call_refusal_name(enum grpc_call_refusal reason)
{
    static const char *const names[GRPC_CALL_REFUSAL_COUNT] = {
        [GRPC_CALL_REFUSAL_RUNNING] = "limits.max_running",
        [GRPC_CALL_REFUSAL_STREAMS] = "http2.max_concurrent_streams",
        [GRPC_CALL_REFUSAL_ENDING] = "ending",
        [GRPC_CALL_REFUSAL_MEMORY] = "out_of_memory",
    };

    return names[reason];
}

uint64_t grpc_server_buffered_size(const struct grpc_server *server)
{
    return server->owner.calls.buffered;
}

static void begin_drain(struct grpc_server *server)
{
    unsigned i;

    server->is_draining = true;
    for (i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].listener != NULL) {
            listener_close(server->listeners[i].listener);
        }
    }
    for_each_connection(server, grpc_connection_drain);
}

void grpc_server_drain(struct grpc_server *server, uint64_t grace_ns,
                       void (*drained)(void *context), void *context)
{
    uint64_t now_ns = server->owner.reactor->now_ns;
    uint64_t hurry_ns = grace_ns / 4 < HURRY_NS ? grace_ns / 4 : HURRY_NS;
    uint64_t end_ns = grace_ns < UINT64_MAX - now_ns ? now_ns + grace_ns : UINT64_MAX;

    if (!server->is_draining) {
        server->drained = drained;
        server->drained_context = context;
        server->grace_end_ns = UINT64_MAX;
        begin_drain(server);
        check_drained(server);
    }
    if (server->drained != NULL && end_ns <= server->grace_end_ns &&
        !list_is_linked(&server->drained_task.link)) {
        server->grace_end_ns = end_ns;
        arm_grace(server, grace_ns - hurry_ns);
    }
}

void grpc_server_free(struct grpc_server *server)
{
    if (server == NULL) {
        return;
    }
    assert(list_is_empty(&server->connections));
    assert(server->listeners_open == 0);
    assert(!timer_is_armed(&server->grace));
    grpc_connection_owner_deinit(&server->owner);
    h2_pool_deinit(&server->pool);
    grpc_admission_deinit(&server->admission);
    free(server);
}
