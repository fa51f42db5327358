#include "http2/grpc_server.h"

#include "core/clock.h"
#include "core/listener.h"
#include "core/map.h"
#include "core/random.h"
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
 * In: an accepted socket is refused, by closing it, while the server drains and beyond the limits
 * on connections in all, per address, and in their handshakes. An IPv6 address counts by its first
 * 64 bits: that is what one customer gets. Unix sockets have no address and no limit of their own.
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
#define ADDRESS_KEY_SIZE        8

/* How many connections one address has. */
struct address_entry {
    uint8_t key[ADDRESS_KEY_SIZE + 1]; /* of an IPv4 address the first four, then its length */
    unsigned count;
};

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
    struct map addresses; /* of struct address_entry */
    uint32_t handshakes;
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

static struct bytes address_key(const void *value)
{
    const struct address_entry *entry = value;

    return (struct bytes){entry->key, sizeof(entry->key)};
}

/* Fills the key. False for peers without an address. */
static bool read_address(const struct sockaddr_storage *peer, uint8_t key[ADDRESS_KEY_SIZE + 1])
{
    static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    memset(key, 0, ADDRESS_KEY_SIZE + 1);
    if (peer->ss_family == AF_INET) {
        memcpy(&in, peer, sizeof(in));
        memcpy(key, &in.sin_addr, 4);
        key[ADDRESS_KEY_SIZE] = 4;
        return true;
    }
    if (peer->ss_family != AF_INET6) {
        return false;
    }
    memcpy(&in6, peer, sizeof(in6));
    if (memcmp(&in6.sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        memcpy(key, in6.sin6_addr.s6_addr + sizeof(mapped_prefix), 4);
        key[ADDRESS_KEY_SIZE] = 4;
    } else {
        memcpy(key, &in6.sin6_addr, ADDRESS_KEY_SIZE);
        key[ADDRESS_KEY_SIZE] = 16;
    }
    return true;
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

/* Counts one connection more from the peer's address. Returns why it may not come in, or NULL. */
static const char *count_address(struct grpc_server *server, const struct sockaddr_storage *peer,
                                 struct address_entry **ret_entry)
{
    uint8_t key[ADDRESS_KEY_SIZE + 1];
    struct address_entry *entry;

    *ret_entry = NULL;
    if (!read_address(peer, key)) {
        return NULL;
    }
    entry = map_find(&server->addresses, (struct bytes){key, sizeof(key)});
    if (entry == NULL) {
        entry = calloc(1, sizeof(*entry));
        if (entry == NULL) {
            return "out of memory";
        }
        memcpy(entry->key, key, sizeof(key));
        if (map_insert(&server->addresses, entry) != 0) {
            free(entry);
            return "out of memory";
        }
    } else if (entry->count >= server->owner.options.max_connections_per_ip) {
        return "limits.max_connections_per_ip";
    }
    entry->count++;
    *ret_entry = entry;
    return NULL;
}

static void uncount_address(struct grpc_server *server, struct address_entry *entry)
{
    if (entry != NULL && --entry->count == 0) {
        (void)map_remove(&server->addresses, address_key(entry));
        free(entry);
    }
}

static const char *admit(struct grpc_server *server, const struct sockaddr_storage *peer,
                         struct address_entry **ret_entry)
{
    const struct grpc_server_options *options = &server->owner.options;

    if (server->is_draining) {
        return "the server is shutting down";
    }
    if (server->owner.stats.connections_open >= options->max_connections) {
        return "limits.max_connections";
    }
    if (server->handshakes >= options->max_handshakes) {
        return "limits.max_handshakes";
    }
    return count_address(server, peer, ret_entry);
}

static void on_accepted(void *context, int fd, const struct sockaddr_storage *peer)
{
    struct server_listener *listener = context;
    struct grpc_server *server = listener->server;
    struct address_entry *entry = NULL;
    struct grpc_connection *connection;
    char peer_text[GRPC_PEER_TEXT_SIZE];
    const char *problem = admit(server, peer, &entry);

    write_peer(peer, peer_text);
    if (problem != NULL) {
        (void)close(fd);
    } else if (grpc_connection_new(&server->owner, fd, listener->tls, peer_text, &connection) !=
               0) {
        uncount_address(server, entry);
        problem = "out of memory";
    }
    if (problem != NULL) {
        server->owner.stats.connections_refused++;
        grpc_connection_log(&server->owner, "connection_refused", peer_text, problem);
        return;
    }
    connection->address_entry = entry;
    list_push_back(&server->connections, &connection->link);
    server->handshakes++;
    server->owner.stats.connections_accepted++;
    server->owner.stats.connections_open++;
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
    (void)connection;
    server_of(owner)->handshakes--;
}

static void on_gone(struct grpc_connection_owner *owner, struct grpc_connection *connection)
{
    struct grpc_server *server = server_of(owner);

    list_remove(&connection->link);
    owner->stats.connections_open--;
    uncount_address(server, connection->address_entry);
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

int grpc_server_new(struct reactor *reactor, const struct grpc_server_options *options,
                    const struct grpc_dispatch *dispatch, struct grpc_server **ret_server)
{
    struct grpc_server *server = calloc(1, sizeof(*server));
    struct hash_seed seed;

    if (server == NULL) {
        return -ENOMEM;
    }
    random_fill(random_system(), &seed, sizeof(seed));
    map_init(&server->addresses, address_key, seed);
    h2_pool_init(&server->pool, options->max_connections * SESSION_MEMORY_PER_CONN);
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

int grpc_server_listen(struct grpc_server *server, const char *address, struct tls_context *tls,
                       char *problem)
{
    struct server_listener *listener = &server->listeners[server->listener_count];
    int error;

    if (server->listener_count == LISTENERS_MAX) {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "%s: more than %d addresses to listen on",
                       address, LISTENERS_MAX);
        return -E2BIG;
    }
    listener->server = server;
    listener->tls = tls;
    error = listener_open(server->owner.reactor, address, server->owner.options.backlog,
                          &listener_events, listener, problem, &listener->listener);
    if (error == 0) {
        server->listener_count++;
        server->listeners_open++;
    }
    return error;
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
    map_deinit(&server->addresses);
    free(server);
}
