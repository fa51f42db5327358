/*
 * libmicrohttpd on our loop. It has no thread and no listening socket here: it keeps the
 * connections in an epoll set, and works when it is told to.
 *
 *   1. Our listener accepts and hands the socket to libmicrohttpd.
 *   2. The ring polls the descriptor of the epoll set. When something is ready, a task at the end
 *      of the turn has libmicrohttpd read, call on_request(), and write: at most two steps for each
 *      connection that is ready.
 *   3. When it has more to do without waiting it is run again in a later turn, else the poll begins
 *      anew.
 *
 * Every answer closes its connection. So the life of a connection is that of a request, and one
 * limit in time holds for all of it: a peer that sends a byte now and then gains nothing.
 *
 * What can go wrong:
 *
 *   - Too many connections: libmicrohttpd closes the new one.
 *   - A peer takes too long: its socket is shut down, which libmicrohttpd sees as its end.
 *   - The ring has no room for the poll: the timer tries again.
 */
#include "core/http_admin.h"

#include "core/clock.h"
#include "core/list.h"
#include "core/listener.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define BACKLOG      64
#define MEMORY_LIMIT ((size_t)8192) /* bytes per connection: the largest head of a request */
#define RETRY_NS     (100 * CLOCK_NS_PER_MS)

/* A place for a connection. */
struct slot {
    struct list link; /* in `free_slots`, or in `connections` */
    uint64_t opened_ns;
    int fd;
    bool is_shut; /* it was told to end */
};

struct http_admin {
    struct reactor *reactor;
    struct http_admin_options options;
    struct http_admin_stats stats;
    struct listener *listener; /* NULL once it is closed */
    struct MHD_Daemon *daemon; /* NULL once it is stopped */
    struct ring_op poll_op;
    struct reactor_task work;
    struct timer timer;      /* always armed, so that moving it needs no memory */
    struct list connections; /* of struct slot, the oldest first */
    struct list free_slots;
    bool closing;
    struct slot slots[]; /* max_connections */
};

static void on_ready(struct ring_op *op, const struct ring_event *event);

/* ---- turns ---- */

/* The oldest connection that was not told to end, or NULL. */
static struct slot *find_oldest(struct http_admin *http)
{
    struct list *link;

    for (link = http->connections.next; link != &http->connections; link = link->next) {
        struct slot *slot = CONTAINER_OF(link, struct slot, link);

        if (!slot->is_shut) {
            return slot;
        }
    }
    return NULL;
}

/* Moves the timer to when the oldest connection must be over, or to a new try of the poll. */
static void move_timer(struct http_admin *http)
{
    const struct slot *oldest = find_oldest(http);
    uint64_t now_ns = http->reactor->now_ns;
    uint64_t delay_ns = UINT64_MAX;

    if (oldest != NULL) {
        uint64_t end_ns = oldest->opened_ns + http->options.timeout_ns;

        delay_ns = end_ns > now_ns ? end_ns - now_ns : 0;
    }
    if (!http->poll_op.pending && delay_ns > RETRY_NS) {
        delay_ns = RETRY_NS;
    }
    (void)reactor_start_timer(http->reactor, &http->timer, delay_ns); /* only moved */
}

static void wait_for_work(struct http_admin *http)
{
    if (!http->poll_op.pending) {
        int fd = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

        http->poll_op.done = on_ready;
        (void)ring_poll(http->reactor->ring, &http->poll_op, fd, POLLIN); /* or the timer does */
    }
    move_timer(http);
}

static void run_work(struct reactor_task *task)
{
    struct http_admin *http = CONTAINER_OF(task, struct http_admin, work);
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;

    http->stats.runs++;
    (void)MHD_run(http->daemon);
    /* A connection that one run gives up, the next one closes: nothing else would ask for it. */
    (void)MHD_run(http->daemon);
    /* It knows of no time limits here, so it wants to go on now or not before something comes. */
    if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0) {
        reactor_defer_slow(http->reactor, task);
    }
    wait_for_work(http);
}

static void on_ready(struct ring_op *op, const struct ring_event *event)
{
    struct http_admin *http = CONTAINER_OF(op, struct http_admin, poll_op);

    (void)event; /* whatever woke us, running tells what is there */
    if (!http->closing) {
        reactor_defer_slow(http->reactor, &http->work);
    }
}

/* Shuts connections that have had their time. */
static void on_time(struct timer *timer)
{
    struct http_admin *http = CONTAINER_OF(timer, struct http_admin, timer);
    struct slot *slot;

    (void)reactor_start_timer(http->reactor, timer, UINT64_MAX); /* the place it had is free */
    while ((slot = find_oldest(http)) != NULL &&
           http->reactor->now_ns - slot->opened_ns >= http->options.timeout_ns) {
        slot->is_shut = true;
        http->stats.connections_timed_out++;
        (void)shutdown(slot->fd, SHUT_RDWR); /* libmicrohttpd finds out and closes */
    }
    reactor_defer_slow(http->reactor, &http->work);
}

/* ---- connections ---- */

/* libmicrohttpd has begun or ended a connection. There are as many slots as it takes connections.
 */
static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_admin *http = context;
    struct slot *slot = *socket_context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct list *link = list_pop_front(&http->free_slots);

        assert(link != NULL);
        slot = CONTAINER_OF(link, struct slot, link);
        slot->opened_ns = http->reactor->now_ns;
        slot->fd =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        slot->is_shut = false;
        list_push_back(&http->connections, link);
        http->stats.connections_open++;
        *socket_context = slot;
    } else {
        list_remove(&slot->link);
        list_push_back(&http->free_slots, &slot->link);
        http->stats.connections_open--;
    }
}

static socklen_t size_of(const struct sockaddr_storage *address)
{
    switch (address->ss_family) {
    case AF_INET:
        return sizeof(struct sockaddr_in);
    case AF_INET6:
        return sizeof(struct sockaddr_in6);
    default:
        return sizeof(struct sockaddr_un);
    }
}

static void on_accepted(void *owner, int fd, const struct sockaddr_storage *peer)
{
    struct http_admin *http = owner;

    /* It closes the socket too when it does not take it. */
    if (MHD_add_connection(http->daemon, fd, (const struct sockaddr *)peer, size_of(peer)) ==
        MHD_YES) {
        http->stats.connections_accepted++;
        reactor_defer_slow(http->reactor, &http->work);
    } else {
        http->stats.connections_refused++;
        limits_hit_add(&http->reactor->limits_hit, LIMITS_HIT_ADMIN_CONNECTIONS);
    }
}

static void on_listener_closed(void *owner)
{
    struct http_admin *http = owner;

    http->listener = NULL;
}

static const struct listener_events listener_events = {
    .accepted = on_accepted,
    .closed = on_listener_closed,
};

/* ---- requests ---- */

const char *http_admin_header(const struct http_admin_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_admin_argument(const struct http_admin_request *request, const char *name)
{
    const char *value = NULL;

    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, NULL) != MHD_YES) {
        return NULL;
    }
    return value != NULL ? value : "";
}

void http_admin_peer(const struct http_admin_request *request, char out[HTTP_ADMIN_PEER_SIZE])
{
    const struct sockaddr *address =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
            ->client_addr;
    bool is_v6 = address->sa_family == AF_INET6;
    char host[HTTP_ADMIN_PEER_SIZE - 16];
    char port[8];

    if (address->sa_family == AF_UNIX) {
        (void)snprintf(out, HTTP_ADMIN_PEER_SIZE, "unix");
    } else if (getnameinfo(
                   address, is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), host,
                   sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        (void)snprintf(out, HTTP_ADMIN_PEER_SIZE, is_v6 ? "[%s]:%s" : "%s:%s", host, port);
    } else {
        (void)snprintf(out, HTTP_ADMIN_PEER_SIZE, "?");
    }
}

static bool announces_body(const struct http_admin_request *request)
{
    const char *size = http_admin_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (size != NULL && strcmp(size, "0") != 0) ||
           http_admin_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
}

static bool add_fields(struct MHD_Response *response, const struct http_admin_reply *reply)
{
    static const char no_rights[] = "default-src 'none'; frame-ancestors 'none'";
    const char *type = reply->content_type;
    const char *const fields[][2] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, type != NULL ? type : "text/plain; charset=utf-8"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy", reply->policy != NULL ? reply->policy : no_rights},
        {"Referrer-Policy", "no-referrer"},
        {MHD_HTTP_HEADER_CONNECTION, "close"},
        {MHD_HTTP_HEADER_ALLOW, reply->allow},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i][1] != NULL &&
            MHD_add_response_header(response, fields[i][0], fields[i][1]) != MHD_YES) {
            return false;
        }
    }
    return true;
}

/* A constant is borrowed, whatever the parameter's type says; a body is given away, since it may be
 * large. */
static struct MHD_Response *make_response(struct http_admin_reply *reply)
{
    struct bytes borrowed = reply->page;
    struct MHD_Response *response;

    if (borrowed.data != NULL || buf_size(&reply->body) == 0) {
        return MHD_create_response_from_buffer(borrowed.size, (void *)(uintptr_t)borrowed.data,
                                               MHD_RESPMEM_PERSISTENT);
    }
    assert(reply->body.start == 0); /* nobody has read from it */
    response = MHD_create_response_from_buffer(buf_size(&reply->body), reply->body.data,
                                               MHD_RESPMEM_MUST_FREE);
    if (response != NULL) {
        reply->body = (struct buf){0};
    }
    return response;
}

/* Without memory the connection is closed. */
static enum MHD_Result answer(struct MHD_Connection *connection, struct http_admin_reply *reply)
{
    struct MHD_Response *response = make_response(reply);
    enum MHD_Result result = MHD_NO;

    if (response == NULL) {
        return MHD_NO;
    }
    if (add_fields(response, reply)) {
        result = MHD_queue_response(connection, reply->status, response);
    }
    MHD_destroy_response(response);
    return result;
}

/* libmicrohttpd has the head of a request: answered here and now, it comes but once. */
/* NOLINTNEXTLINE(readability-function-size): eight parameters, libmicrohttpd's */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_size, void **request_context)
{
    static const char no_bodies[] = "a request has no body here\n";
    struct http_admin *http = context;
    const struct http_admin_request request = {method, path, connection};
    struct http_admin_reply reply = {.status = MHD_HTTP_OK};
    enum MHD_Result result = MHD_YES;

    (void)version;
    (void)upload;
    (void)request_context;
    *upload_size = 0; /* what is there is not wanted */
    if (announces_body(&request)) {
        reply.status = MHD_HTTP_CONTENT_TOO_LARGE;
        result = buf_append(&reply.body, no_bodies, sizeof(no_bodies) - 1) == 0 ? MHD_YES : MHD_NO;
    } else {
        http->options.handle(http->options.owner, &request, &reply);
    }
    if (result == MHD_YES) {
        result = answer(connection, &reply);
    }
    http->stats.requests += result == MHD_YES;
    buf_deinit(&reply.body);
    return result;
}

/* Decodes a path, or a name or value of the query, in place. What hides a NUL stays as it is, so
 * that nothing behind it is overlooked. */
static size_t decode(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strstr(text, "%00") != NULL ? strlen(text) : MHD_http_unescape(text);
}

/* ---- life ---- */

static struct MHD_Daemon *start_daemon(struct http_admin *http)
{
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request,
                            http, MHD_OPTION_CONNECTION_LIMIT, http->options.max_connections,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_LIMIT,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, decode,
                            NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_END);
}

static struct http_admin *allocate(struct reactor *reactor,
                                   const struct http_admin_options *options)
{
    unsigned count = options->max_connections;
    struct http_admin *http = calloc(1, sizeof(*http) + count * sizeof(http->slots[0]));

    if (http == NULL) {
        return NULL;
    }
    http->reactor = reactor;
    http->options = *options;
    list_init(&http->work.link);
    http->work.run = run_work;
    http->timer.fire = on_time;
    list_init(&http->connections);
    list_init(&http->free_slots);
    for (unsigned i = 0; i < count; i++) {
        list_init(&http->slots[i].link);
        list_push_back(&http->free_slots, &http->slots[i].link);
    }
    return http;
}

int http_admin_new(struct reactor *reactor, const struct http_admin_options *options, char *problem,
                   struct http_admin **ret_http)
{
    struct http_admin *http = allocate(reactor, options);
    int result;

    (void)snprintf(problem, RING_PROBLEM_SIZE, "%s", strerror(ENOMEM));
    if (http == NULL) {
        return -ENOMEM;
    }
    result = reactor_start_timer(reactor, &http->timer, UINT64_MAX);
    if (result != 0) {
        goto fail;
    }
    http->daemon = start_daemon(http);
    if (http->daemon == NULL) {
        result = errno != 0 ? -errno : -ENOMEM;
        (void)snprintf(problem, RING_PROBLEM_SIZE, "libmicrohttpd does not start: %s",
                       strerror(-result));
        goto fail;
    }
    result = options->passed_fd != 0
                 ? listener_adopt(reactor, options->passed_fd, &listener_events, http, problem,
                                  &http->listener)
                 : listener_open(reactor, options->address, BACKLOG, &listener_events, http,
                                 problem, &http->listener);
    if (result != 0) {
        goto fail;
    }
    wait_for_work(http);
    *ret_http = http;
    return 0;

fail:
    reactor_stop_timer(reactor, &http->timer);
    if (http->daemon != NULL) {
        MHD_stop_daemon(http->daemon);
    }
    free(http);
    return result;
}

const char *http_admin_address(const struct http_admin *http)
{
    return listener_address(http->listener);
}

const struct http_admin_stats *http_admin_stats(const struct http_admin *http)
{
    return &http->stats;
}

void http_admin_close(struct http_admin *http)
{
    if (http->closing) {
        return;
    }
    http->closing = true;
    reactor_undefer(&http->work);
    reactor_stop_timer(http->reactor, &http->timer);
    ring_cancel(http->reactor->ring, &http->poll_op);
    MHD_stop_daemon(http->daemon);
    http->daemon = NULL;
    listener_close(http->listener);
}

bool http_admin_is_closed(const struct http_admin *http)
{
    return http->closing && http->listener == NULL && !http->poll_op.pending;
}

void http_admin_free(struct http_admin *http)
{
    if (http == NULL) {
        return;
    }
    assert(http_admin_is_closed(http));
    free(http);
}
