#include "service/admin.h"

#include "core/http_admin.h"
#include "core/log.h"
#include "core/reactor.h"
#include "service/admin_sender.h"
#include "service/config_table.h"
#include "service/embedded.h"
#include "service/health.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A request is looked at in this order: may it come from where it comes from, is there such a path,
 * does it take the method, and then the route answers. The table of routes is all there is; GET
 * /help shows it.
 *
 * Nothing but a POST changes anything, and every POST leaves a line in the log.
 */

#define LINE_SIZE_MAX (HEALTH_REASON_SIZE + 128)

struct admin {
    struct admin_options options;
    struct admin_sender sender;
    struct http_admin *http;
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

/* ---- what is asked ---- */

typedef void (*answer_fn)(struct admin *admin, const struct http_admin_request *request,
                          struct http_admin_reply *reply);

static void answer_page(struct admin *admin, const struct http_admin_request *request,
                        struct http_admin_reply *reply)
{
    (void)admin;
    (void)request;
    reply->content_type = "text/html; charset=utf-8";
    reply->policy = embedded_status_page_policy;
    reply->page = embedded_status_page;
}

static void answer_alive(struct admin *admin, const struct http_admin_request *request,
                         struct http_admin_reply *reply)
{
    (void)admin;
    (void)request;
    add_line(reply, "alive");
}

static void answer_ready(struct admin *admin, const struct http_admin_request *request,
                         struct http_admin_reply *reply)
{
    const struct health *health = admin->options.health;
    const char *reason = health_reason(health);

    (void)request;
    if (health_is_ready(health)) {
        add_line(reply, "ready");
        return;
    }
    reply->status = 503;
    add_line(reply, "not ready: %s%s%s", health_state_name(health_state(health)),
             reason[0] == '\0' ? "" : ": ", reason);
}

/* What a function of the options has written; half of it is none. */
static void finish_text(struct http_admin_reply *reply, int result)
{
    if (result != 0) {
        buf_clear(&reply->body);
        reply->content_type = NULL;
        refuse(reply, 500, "out of memory");
    }
}

static void answer_metrics(struct admin *admin, const struct http_admin_request *request,
                           struct http_admin_reply *reply)
{
    const char *accept = http_admin_header(request, "Accept");
    /* Who knows this format at all prefers it, so their order and weights need no look. */
    bool is_open = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;

    reply->content_type = is_open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                  : "text/plain; version=0.0.4; charset=utf-8";
    finish_text(reply, admin->options.write_metrics(admin->options.context, is_open, &reply->body));
}

static void answer_config(struct admin *admin, const struct http_admin_request *request,
                          struct http_admin_reply *reply)
{
    (void)request;
    finish_text(reply, admin->options.write_config(admin->options.context, &reply->body));
}

/* ---- the log level ---- */

/* Their names, by enum log_level. */
static const char *const *level_names(void)
{
    return config_option_find("log", "level")->choices;
}

static void answer_level(struct admin *admin, const struct http_admin_request *request,
                         struct http_admin_reply *reply)
{
    (void)request;
    add_line(reply, "%s", level_names()[admin->options.log->level]);
}

/* This line is there whatever the level was and is: it says why more or fewer follow. */
static void log_level_change(struct admin *admin, const struct http_admin_request *request,
                             enum log_level level)
{
    struct log *log = admin->options.log;
    char peer[HTTP_ADMIN_PEER_SIZE];
    enum log_level old = log->level;

    http_admin_peer(request, peer);
    log->level = LEVEL_DEBUG;
    log_event(log, LEVEL_INFO, "log_level_set", FIELD_TEXT("peer", peer),
              FIELD_TEXT("level", level_names()[level]), FIELD_TEXT("before", level_names()[old]),
              FIELD_TEXT("until", "the next reload"));
    log->level = old;
}

static void set_level(struct admin *admin, const struct http_admin_request *request,
                      struct http_admin_reply *reply)
{
    const char *wanted = http_admin_argument(request, "level");
    const char *const *names = level_names();

    for (unsigned i = 0; wanted != NULL && names[i] != NULL; i++) {
        if (strcmp(wanted, names[i]) == 0) {
            log_level_change(admin, request, (enum log_level)i);
            admin->options.log->level = (enum log_level)i;
            add_line(reply, "%s, until the next reload", names[i]);
            return;
        }
    }
    refuse(reply, 400, "write POST /log?level=debug, or info, warn, error");
}

/* ---- what is told to begin ---- */

static void begin_snapshot(struct admin *admin, const struct http_admin_request *request,
                           struct http_admin_reply *reply)
{
    int result = admin->options.take_snapshot(admin->options.context);

    (void)request;
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

static void begin_reload(struct admin *admin, const struct http_admin_request *request,
                         struct http_admin_reply *reply)
{
    int result = admin->options.reload(admin->options.context);

    (void)request;
    if (result == 0) {
        reply->status = 202;
        add_line(reply, "a reload has begun; the log of userd tells how it ends");
    } else {
        reply->status = 503;
        add_line(reply, "no reload: %s", strerror(-result));
    }
}

/* ---- routes ---- */

static void answer_help(struct admin *admin, const struct http_admin_request *request,
                        struct http_admin_reply *reply);

struct route {
    const char *path;
    answer_fn get;   /* and HEAD; NULL = neither */
    answer_fn post;  /* NULL = none */
    bool is_private; /* see admin_sender.h */
    const char *help;
};

static const struct route routes[] = {
    {"/", answer_page, NULL, false, "how the server does, for a browser"},
    {"/help", answer_help, NULL, false, "this list"},
    {"/healthz", answer_alive, NULL, false, "200 while the process is alive"},
    {"/readyz", answer_ready, NULL, false, "200 when it is ready to serve, or 503 and why not"},
    {"/metrics", answer_metrics, NULL, false, "counts and gauges for Prometheus"},
    {"/config", answer_config, NULL, true, "the configuration in force, without secrets"},
    {"/log", answer_level, set_level, false,
     "the log level; ?level=debug and so on sets it until the next reload"},
    {"/reload", NULL, begin_reload, false, "read configuration and files again, as SIGHUP does"},
    {"/snapshot", NULL, begin_snapshot, false,
     "take a snapshot now: 202, or 409 while one is taken"},
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

/* The methods that a route takes, for Allow. */
static const char *methods_of(const struct route *route)
{
    if (route->get == NULL) {
        return "POST";
    }
    return route->post == NULL ? "GET, HEAD" : "GET, HEAD, POST";
}

static void answer_help(struct admin *admin, const struct http_admin_request *request,
                        struct http_admin_reply *reply)
{
    (void)admin;
    (void)request;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        add_line(reply, "%-15s  %-10s  %s", methods_of(&routes[i]), routes[i].path, routes[i].help);
    }
}

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (strcmp(routes[i].path, path) == 0) {
            return &routes[i];
        }
    }
    return NULL;
}

static void log_post(struct admin *admin, const struct http_admin_request *request,
                     const struct http_admin_reply *reply)
{
    char peer[HTTP_ADMIN_PEER_SIZE];

    http_admin_peer(request, peer);
    log_event(admin->options.log, reply->status < 400 ? LEVEL_INFO : LEVEL_WARN, "admin_request",
              FIELD_TEXT("peer", peer), FIELD_TEXT("method", request->method),
              FIELD_TEXT("path", request->path), FIELD_NUMBER("status", reply->status));
}

static void answer(struct admin *admin, const struct route *route,
                   const struct http_admin_request *request, struct http_admin_reply *reply)
{
    bool is_read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    bool is_post = strcmp(request->method, "POST") == 0;
    answer_fn function = is_read ? route->get : is_post ? route->post : NULL;

    if (function == NULL) {
        reply->allow = methods_of(route);
        refuse(reply, 405, "it takes other methods: GET /help tells which");
    } else {
        function(admin, request, reply);
    }
}

static void handle(void *owner, const struct http_admin_request *request,
                   struct http_admin_reply *reply)
{
    struct admin *admin = owner;
    const struct route *route = find_route(request->path);
    const char *objection =
        admin_sender_objection(&admin->sender, request, route != NULL && route->is_private);

    if (objection != NULL) {
        refuse(reply, 403, objection);
    } else if (route == NULL) {
        refuse(reply, 404, "there is no such page: GET /help lists what there is");
    } else {
        answer(admin, route, request, reply);
    }
    if (route != NULL && route->post != NULL && strcmp(request->method, "POST") == 0) {
        log_post(admin, request, reply);
    }
}

/* ---- life ---- */

int admin_new(struct reactor *reactor, const struct admin_options *options, char *problem,
              struct admin **ret_admin)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    const struct http_admin_options http = {
        .address = options->listen,
        .passed_fd = options->passed_fd,
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
    admin_sender_init(&admin->sender, options->listen, http_admin_address(admin->http));
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
