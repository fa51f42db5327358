#include "service/admin.h"

#include "core/http_admin.h"
#include "core/reactor.h"
#include "service/health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * A request is looked at in this order: may it come from where it comes from, is there such a path,
 * does it take the method, and then the route answers. The table of routes is all there is; GET /
 * shows it.
 *
 * There are no passwords here, because the port is for who can reach it. A web page in a browser on
 * such a machine can reach it too, though it must not:
 *
 *   - A page of another site may send a POST without asking. The browser says where it comes from,
 *     in Origin and Sec-Fetch-Site, and then it is refused. Nothing but a POST changes anything,
 *     and the answer to a GET such a page does not get to see.
 *   - A page may have its own name point to our address (DNS rebinding), and is then our own site
 *     for the browser; but Host has its name. Names are therefore refused, but for localhost and
 *     the one in admin.listen, where a browser is likely: on loopback addresses, and for a POST
 *     anywhere. A GET of a monitor that knows a server in the network by name passes.
 */

#define UNIX_PREFIX "unix:"

#define LINE_SIZE_MAX (HEALTH_REASON_SIZE + 128)

struct admin {
    struct admin_options options;
    struct http_admin *http;
    char host[NI_MAXHOST]; /* of admin.listen; "" = it has none */
    bool is_unix;
    bool is_loopback;
};

/* ---- replies ---- */

/* Adds a line to the body. Without memory the line is missing. */
__attribute__((format(printf, 2, 3))) static void add_line(struct http_admin_reply *reply,
                                                           const char *format, ...)
{
    char line[LINE_SIZE_MAX];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (size < 0) {
        return;
    }
    if ((size_t)size > sizeof(line) - 2) {
        size = (int)sizeof(line) - 2;
    }
    line[size] = '\n';
    (void)buf_append(&reply->body, line, (size_t)size + 1);
}

static void refuse(struct http_admin_reply *reply, unsigned status, const char *cause)
{
    reply->status = status;
    add_line(reply, "%s", cause);
}

/* ---- routes ---- */

static void answer_alive(struct admin *admin, struct http_admin_reply *reply)
{
    (void)admin;
    add_line(reply, "alive");
}

static void answer_ready(struct admin *admin, struct http_admin_reply *reply)
{
    const struct health *health = admin->options.health;
    const char *reason = health_reason(health);

    if (health_is_ready(health)) {
        add_line(reply, "ready");
        return;
    }
    reply->status = 503;
    add_line(reply, "not ready: %s%s%s", health_state_name(health_state(health)),
             reason[0] == '\0' ? "" : ": ", reason);
}

static void answer_snapshot(struct admin *admin, struct http_admin_reply *reply)
{
    int result = admin->options.take_snapshot(admin->options.context);

    if (result == 0) {
        reply->status = 202;
        add_line(reply, "a snapshot has begun; the log of userd tells how it ends");
    } else if (result == -EBUSY) {
        refuse(reply, 409, "a snapshot is being taken already");
    } else {
        reply->status = 503;
        add_line(reply, "no snapshot: %s",
                 result == -EIO ? "the log has failed or is closed" : strerror(-result));
    }
}

static void answer_metrics(struct admin *admin, struct http_admin_reply *reply)
{
    if (admin->options.write_metrics(admin->options.context, &reply->body) != 0) {
        buf_clear(&reply->body);
        refuse(reply, 500, "out of memory");
        return;
    }
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
}

static void answer_index(struct admin *admin, struct http_admin_reply *reply);

struct route {
    const char *path;
    bool is_post; /* and else GET and HEAD */
    void (*answer)(struct admin *admin, struct http_admin_reply *reply);
    const char *help;
};

static const struct route routes[] = {
    {"/", false, answer_index, "this list"},
    {"/healthz", false, answer_alive, "200 while the process is alive"},
    {"/readyz", false, answer_ready, "200 when it is ready to serve, or 503 and why it is not"},
    {"/metrics", false, answer_metrics, "counts and gauges for Prometheus"},
    {"/snapshot", true, answer_snapshot, "take a snapshot now: 202, or 409 while one is taken"},
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

static void answer_index(struct admin *admin, struct http_admin_reply *reply)
{
    (void)admin;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        add_line(reply, "%-4s %-12s %s", routes[i].is_post ? "POST" : "GET", routes[i].path,
                 routes[i].help);
    }
}

/* ---- who asks ---- */

/* Takes the host out of "host", "host:port" or "[v6]:port". False when that is none of them, or the
 * host is too long. */
static bool split_host(const char *text, char *out, size_t room)
{
    bool is_bracketed = text[0] == '[';
    const char *start = is_bracketed ? text + 1 : text;
    size_t size = strcspn(start, is_bracketed ? "]" : ":");
    const char *rest = start + size;

    if (is_bracketed) {
        if (*rest != ']') {
            return false;
        }
        rest++;
    }
    if ((*rest != '\0' && *rest != ':') || size >= room) {
        return false;
    }
    memcpy(out, start, size);
    out[size] = '\0';
    return true;
}

static bool is_address(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* Could a page that is not ours have made a browser send this name? */
static bool host_is_foreign(const struct admin *admin, const char *value)
{
    char host[NI_MAXHOST];

    if (value == NULL || admin->is_unix) {
        return false; /* no browser leaves it out, or connects to a path */
    }
    if (!split_host(value, host, sizeof(host))) {
        return true;
    }
    return !is_address(host) && strcasecmp(host, "localhost") != 0 &&
           (admin->host[0] == '\0' || strcasecmp(host, admin->host) != 0);
}

/* Does a browser say that a page of another site sends this? */
static bool is_cross_site(const struct http_admin_request *request)
{
    static const char scheme[] = "http://";
    const char *site = http_admin_header(request, "Sec-Fetch-Site");
    const char *origin = http_admin_header(request, "Origin");
    const char *host = http_admin_header(request, "Host");

    if (site != NULL && strcasecmp(site, "none") != 0 && strcasecmp(site, "same-origin") != 0) {
        return true;
    }
    return origin != NULL &&
           (host == NULL || strncasecmp(origin, scheme, sizeof(scheme) - 1) != 0 ||
            strcasecmp(origin + sizeof(scheme) - 1, host) != 0);
}

/* False, with the reply made, when the request is not to be answered otherwise. */
static bool check_sender(const struct admin *admin, const struct http_admin_request *request,
                         bool is_read, struct http_admin_reply *reply)
{
    if ((admin->is_loopback || !is_read) &&
        host_is_foreign(admin, http_admin_header(request, "Host"))) {
        refuse(reply, 403,
               "the field Host must be an address, localhost or the host of admin.listen");
        return false;
    }
    if (!is_read && is_cross_site(request)) {
        refuse(reply, 403, "this comes from a page of another site");
        return false;
    }
    return true;
}

static void handle(void *owner, const struct http_admin_request *request,
                   struct http_admin_reply *reply)
{
    struct admin *admin = owner;
    bool is_read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    const struct route *route = routes;

    if (!check_sender(admin, request, is_read, reply)) {
        return;
    }
    while (route < routes + ROUTE_COUNT && strcmp(route->path, request->path) != 0) {
        route++;
    }
    if (route == routes + ROUTE_COUNT) {
        refuse(reply, 404, "there is no such page; GET / lists what there is");
    } else if (route->is_post ? strcmp(request->method, "POST") == 0 : is_read) {
        route->answer(admin, reply);
    } else {
        reply->allow = route->is_post ? "POST" : "GET, HEAD";
        refuse(reply, 405, route->is_post ? "this takes a POST" : "this takes a GET");
    }
}

/* ---- life ---- */

/* What the bound address means for who may ask. */
static void note_address(struct admin *admin)
{
    char bound[NI_MAXHOST];

    admin->is_unix = strncmp(admin->options.listen, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0;
    if (admin->is_unix) {
        return;
    }
    if (!split_host(admin->options.listen, admin->host, sizeof(admin->host))) {
        admin->host[0] = '\0';
    }
    admin->is_loopback = split_host(http_admin_address(admin->http), bound, sizeof(bound)) &&
                         (strncmp(bound, "127.", 4) == 0 || strcmp(bound, "::1") == 0);
}

int admin_new(struct reactor *reactor, const struct admin_options *options, char *problem,
              struct admin **ret_admin)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    const struct http_admin_options http = {
        .address = options->listen,
        .max_connections = options->max_connections,
        .timeout_ns = options->timeout_ns,
        .handle = handle,
        .owner = admin,
    };
    int result;

    if (admin == NULL) {
        (void)snprintf(problem, RING_PROBLEM_SIZE, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    admin->options = *options;
    result = http_admin_new(reactor, &http, problem, &admin->http);
    if (result != 0) {
        free(admin);
        return result;
    }
    note_address(admin);
    *ret_admin = admin;
    return 0;
}

const char *admin_address(const struct admin *admin)
{
    return http_admin_address(admin->http);
}

void admin_close(struct admin *admin)
{
    http_admin_close(admin->http);
}

bool admin_is_closed(const struct admin *admin)
{
    return http_admin_is_closed(admin->http);
}

void admin_free(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    http_admin_free(admin->http);
    free(admin);
}
