#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "http_fixture.h"
#include "service/admin.h"
#include "service/embedded.h"
#include "service/health.h"

#include <stdio.h>
#include <sys/un.h>

/* The routes and what they do, over real sockets. */

static struct loop loop;
static struct health *health;
static struct admin *admin;
static struct log log_lines;
static int log_pipe[2];
static unsigned snapshots;
static int snapshot_result;
static unsigned reloads;
static int reload_result;

static int take_snapshot(void *context)
{
    ck_assert_ptr_eq(context, &snapshots);
    snapshots++;
    return snapshot_result;
}

static int reload(void *context)
{
    ck_assert_ptr_eq(context, &snapshots);
    reloads++;
    return reload_result;
}

static int write_result;

static int write_metrics(void *context, bool is_open_metrics, struct buf *out)
{
    ck_assert_ptr_eq(context, &snapshots);
    ck_assert_int_eq(buf_append(out, is_open_metrics ? "up 2\n" : "up 1\n", 5), 0);
    return write_result;
}

static int write_config(void *context, struct buf *out)
{
    ck_assert_ptr_eq(context, &snapshots);
    ck_assert_int_eq(buf_append(out, "a = b\n", 6), 0);
    return write_result;
}

static void start(const char *address)
{
    const struct health_options health_options = {.max_watchers = 1};
    struct admin_options options = {
        .listen = address,
        .max_connections = 4,
        .timeout_ns = 30 * CLOCK_NS_PER_S,
        .log = &log_lines,
        .take_snapshot = take_snapshot,
        .reload = reload,
        .write_config = write_config,
        .write_metrics = write_metrics,
        .context = &snapshots,
    };
    char problem[RING_PROBLEM_SIZE];

    loop_init(&loop);
    log_init(&log_lines, clock_system());
    ck_assert_int_eq(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_lines.fd = log_pipe[1];
    ck_assert_int_eq(health_new(&loop.reactor, &health_options, &health), 0);
    options.health = health;
    ck_assert_msg(admin_new(&loop.reactor, &options, problem, &admin) == 0, "%s", problem);
}

static void finish(void)
{
    admin_close(admin);
    LOOP_UNTIL(&loop, admin_is_closed(admin));
    admin_free(admin);
    health_free(health);
    loop_deinit(&loop);
    (void)close(log_pipe[0]);
    (void)close(log_pipe[1]);
}

/* What was logged since the last call, as text. */
static const char *logged(void)
{
    static char text[8192];
    ssize_t size = read(log_pipe[0], text, sizeof(text) - 1);

    text[size > 0 ? size : 0] = '\0';
    return text;
}

/* Asks with such fields, each with its line end; the status. */
static int ask(const char *method, const char *path, const char *fields, const char **ret_answer)
{
    char request[1024];
    const char *answer;

    (void)snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\n%s\r\n", method, path, fields);
    answer = http_ask(&loop, admin_address(admin), request);
    ck_assert_msg(strncmp(answer, "HTTP/1.1 ", 9) == 0, "%s", answer);
    if (ret_answer != NULL) {
        *ret_answer = answer;
    }
    return (int)strtol(answer + 9, NULL, 10);
}

#define HOST "Host: 127.0.0.1:9090\r\n"

static void check_body(const char *answer, const char *body)
{
    const char *found = strstr(answer, "\r\n\r\n");

    ck_assert_ptr_nonnull(found);
    ck_assert_str_eq(found + 4, body);
}

/* Alive is who answers. Ready is who may be sent calls, and who is not says why. */
START_TEST(admin_answers_probes)
{
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/healthz", HOST, &answer), 200);
    check_body(answer, "alive\n");
    ck_assert_int_eq(ask("GET", "/readyz", HOST, &answer), 503);
    check_body(answer, "not ready: starting\n");
    health_set(health, HEALTH_SERVING, "");
    ck_assert_int_eq(ask("GET", "/readyz", HOST, &answer), 200);
    check_body(answer, "ready\n");
    health_set(health, HEALTH_READ_ONLY, "no room for a further log segment");
    ck_assert_int_eq(ask("GET", "/readyz", HOST, &answer), 503);
    check_body(answer, "not ready: read only: no room for a further log segment\n");
    health_set(health, HEALTH_FAILED, "fdatasync: Input/output error");
    ck_assert_int_eq(ask("HEAD", "/readyz?verbose", HOST, &answer), 503);
    check_body(answer, "");
    ck_assert_int_eq(ask("GET", "/healthz", HOST, NULL), 200);
    finish();
}

END_TEST

/* A snapshot is asked for by POST, and the answer says whether one has begun. */
START_TEST(admin_takes_snapshots)
{
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("POST", "/snapshot", HOST, &answer), 202);
    ck_assert_int_eq(ask("POST", "/snapshot", HOST "Content-Length: 0\r\n", NULL), 202);
    snapshot_result = -EBUSY;
    ck_assert_int_eq(ask("POST", "/snapshot", HOST, &answer), 409);
    snapshot_result = -EIO;
    ck_assert_int_eq(ask("POST", "/snapshot", HOST, &answer), 503);
    check_body(answer, "no snapshot: the log has failed or is closed\n");
    snapshot_result = -ENOTSUP;
    ck_assert_int_eq(ask("POST", "/snapshot", HOST, &answer), 503);
    check_body(answer, "no snapshot: Operation not supported\n");
    ck_assert_uint_eq(snapshots, 5);
    finish();
}

END_TEST

/* A reload is told to begin; how it ends stands in the log, with who asked. */
START_TEST(admin_reloads)
{
    const char *answer;
    const char *line;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("POST", "/reload", HOST, &answer), 202);
    check_body(answer, "a reload has begun; the log of userd tells how it ends\n");
    line = logged();
    ck_assert_ptr_nonnull(strstr(line, " admin_request peer=127.0.0.1:"));
    ck_assert_ptr_nonnull(strstr(line, " path=/reload "));
    ck_assert_ptr_nonnull(strstr(line, " status=202\n"));
    reload_result = -ESHUTDOWN;
    ck_assert_int_eq(ask("POST", "/reload", HOST, &answer), 503);
    check_body(answer, "no reload: Cannot send after transport endpoint shutdown\n");
    ck_assert_int_eq(ask("GET", "/reload", HOST, NULL), 405);
    ck_assert_uint_eq(reloads, 2);
    finish();
}

END_TEST

/* The level is shown, and set by a POST that names one; the log says who did it, at every level. */
START_TEST(admin_sets_the_log_level)
{
    static const char *const bad[] = {
        "/log",         "/log?level", "/log?level=",         "/log?level=DEBUG",
        "/log?level=4", "/log?debug", "/log?level=debug%00", "/log?level=debugs"};
    const char *answer;
    const char *line;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/log?level=debug", HOST, &answer), 200);
    check_body(answer, "info\n");
    ck_assert_int_eq(ask("POST", "/log?level=error", HOST, &answer), 200);
    check_body(answer, "error, until the next reload\n");
    ck_assert_int_eq(log_lines.level, LEVEL_ERROR);
    line = logged();
    ck_assert_ptr_nonnull(strstr(line, " log_level_set peer=127.0.0.1:"));
    ck_assert_ptr_nonnull(strstr(line, " level=error before=info "));
    ck_assert_int_eq(ask("POST", "/log?x=1&level=debug&level=warn", HOST, NULL), 200);
    ck_assert_int_eq(log_lines.level, LEVEL_DEBUG);
    ck_assert_ptr_nonnull(strstr(logged(), " level=debug before=error "));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(ask("POST", bad[i], HOST, &answer) == 400, "%s", bad[i]);
        check_body(answer, "write POST /log?level=debug, or info, warn, error\n");
        ck_assert_ptr_null(strstr(logged(), "log_level_set"));
    }
    ck_assert_int_eq(ask("PUT", "/log?level=info", HOST, &answer), 405);
    ck_assert_ptr_nonnull(strstr(answer, "\r\nAllow: GET, HEAD, POST\r\n"));
    ck_assert_int_eq(log_lines.level, LEVEL_DEBUG);
    finish();
}

END_TEST

/* GET /help names every route with its methods. */
START_TEST(admin_lists_its_routes)
{
    static const char *const lines[] = {
        "GET, HEAD        /           ", "GET, HEAD        /healthz    ",
        "GET, HEAD        /config     ", "GET, HEAD, POST  /log        ",
        "POST             /snapshot   ",
    };
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/help", HOST, &answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        ck_assert_msg(strstr(answer, lines[i]) != NULL, "%s", answer);
    }
    finish();
}

END_TEST

/* The page that browsers get may run its own script and nothing else. */
START_TEST(admin_shows_a_page)
{
    const char *answer;
    const char *body;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/", HOST, &answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Security-Policy: default-src 'none'; "
                                         "script-src 'sha256-"));
    ck_assert_ptr_nonnull(strstr(answer, "frame-ancestors 'none'\r\n"));
    ck_assert_ptr_null(strstr(answer, "unsafe"));
    body = strstr(answer, "\r\n\r\n") + 4;
    ck_assert(bytes_equal(embedded_status_page, bytes_from_text(body)));
    ck_assert_ptr_null(strstr(body, "include:"));
    ck_assert_int_eq(ask("HEAD", "/", HOST, &answer), 200);
    check_body(answer, "");
    finish();
}

END_TEST

/* Other paths are not found, however near; other methods are refused with those that are right; and
 * no GET changes anything. */
START_TEST(admin_refuses_what_it_does_not_know)
{
    static const char *const paths[] = {"/health", "/healthz/", "//healthz", "/HEALTHZ",
                                        "/..",     "*",         "/snapshot/"};
    static const char *const writes[] = {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"};
    static const char *const no_posts[] = {"GET", "HEAD", "PUT", "DELETE", "post"};
    const char *answer;

    start("127.0.0.1:0");
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ck_assert_msg(ask("GET", paths[i], HOST, NULL) == 404, "%s", paths[i]);
    }
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        ck_assert_msg(ask(writes[i], "/readyz", HOST, &answer) == 405, "%s", writes[i]);
        ck_assert_ptr_nonnull(strstr(answer, "\r\nAllow: GET, HEAD\r\n"));
    }
    for (size_t i = 0; i < sizeof(no_posts) / sizeof(no_posts[0]); i++) {
        ck_assert_msg(ask(no_posts[i], "/snapshot", HOST, &answer) == 405, "%s", no_posts[i]);
        ck_assert_ptr_nonnull(strstr(answer, "\r\nAllow: POST\r\n"));
    }
    ck_assert_int_eq(ask("POST", "/snapshot", HOST "Content-Length: 1\r\n", NULL), 413);
    ck_assert_int_eq(ask("POST", "/", HOST, NULL), 405);
    ck_assert_int_eq(ask("POST", "/nothing", HOST, NULL), 404);
    ck_assert_str_eq(logged(), "");
    ck_assert_uint_eq(snapshots, 0);
    finish();
}

END_TEST

/* What a browser sends for a page of another site changes nothing, whatever is to be changed, and
 * the log tells; its reading the answer to a GET is the browser's to prevent. */
START_TEST(admin_refuses_other_sites)
{
    static const char *const changes[] = {"/snapshot", "/reload", "/log?level=debug"};
    static const char other[] = HOST "Origin: http://evil.example\r\n";

    start("127.0.0.1:0");
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        ck_assert_msg(ask("POST", changes[i], other, NULL) == 403, "%s", changes[i]);
        ck_assert_ptr_nonnull(strstr(logged(), " warn admin_request peer=127.0.0.1:"));
        ck_assert_int_eq(ask("POST", changes[i], "Host: evil.example\r\n", NULL), 403);
    }
    ck_assert_uint_eq(snapshots, 0);
    ck_assert_uint_eq(reloads, 0);
    ck_assert_int_eq(log_lines.level, LEVEL_INFO);
    ck_assert_int_eq(ask("GET", "/healthz", other, NULL), 200);
    ck_assert_int_eq(ask("POST", "/snapshot", HOST "Sec-Fetch-Site: same-origin\r\n", NULL), 202);
    finish();
}

END_TEST

/* In a network a monitor may read by whatever name the server has; changing things and reading the
 * configuration take an address. */
START_TEST(admin_lets_monitors_read_by_name)
{
    static const char by_name[] = "Host: userd.internal:9090\r\n";
    static const char by_address[] = "Host: 192.0.2.1:9090\r\n";

    start("0.0.0.0:0");
    ck_assert_int_eq(ask("GET", "/readyz", by_name, NULL), 503);
    ck_assert_int_eq(ask("GET", "/metrics", by_name, NULL), 200);
    ck_assert_int_eq(ask("GET", "/nothing", by_name, NULL), 404);
    ck_assert_int_eq(ask("GET", "/config", by_name, NULL), 403);
    ck_assert_int_eq(ask("POST", "/snapshot", by_name, NULL), 403);
    ck_assert_int_eq(ask("GET", "/config", by_address, NULL), 200);
    ck_assert_int_eq(ask("POST", "/snapshot", by_address, NULL), 202);
    finish();
}

END_TEST

/* On a path Host means nothing, and no browser gets there. */
START_TEST(admin_serves_on_a_path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/test-admin-XXXXXX";
    char address[64];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(address, sizeof(address), "unix:%s/s", folder);
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s/s", folder);
    start(address);
    ck_assert_str_eq(admin_address(admin), address);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    http_say(fd, "POST /snapshot HTTP/1.1\r\nHost: anything\r\n\r\n");
    ck_assert_int_eq(strncmp(http_listen(&loop, fd), "HTTP/1.1 202 ", 13), 0);
    finish();
    ck_assert_int_eq(rmdir(folder), 0);
}

END_TEST

/* What the owner writes is the answer; half of it is none. */
START_TEST(admin_gives_metrics)
{
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/metrics", HOST, &answer), 200);
    check_body(answer, "up 1\n");
    ck_assert_ptr_nonnull(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    ck_assert_int_eq(ask("GET", "/metrics",
                         HOST "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*\r\n",
                         &answer),
                     200);
    check_body(answer, "up 2\n");
    ck_assert_ptr_nonnull(strstr(answer, "Content-Type: application/openmetrics-text; version=1"));
    write_result = -ENOMEM;
    ck_assert_int_eq(ask("GET", "/metrics", HOST, &answer), 500);
    check_body(answer, "out of memory\n");
    finish();
}

END_TEST

START_TEST(admin_shows_the_configuration)
{
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/config", HOST, &answer), 200);
    check_body(answer, "a = b\n");
    ck_assert_ptr_nonnull(strstr(answer, "Content-Type: text/plain; charset=utf-8"));
    ck_assert_int_eq(ask("POST", "/config", HOST, NULL), 405);
    write_result = -ENOMEM;
    ck_assert_int_eq(ask("GET", "/config", HOST, &answer), 500);
    check_body(answer, "out of memory\n");
    finish();
}

END_TEST

UNIT_MAIN("admin", admin_answers_probes, admin_gives_metrics, admin_shows_the_configuration,
          admin_takes_snapshots, admin_reloads, admin_sets_the_log_level, admin_lists_its_routes,
          admin_shows_a_page, admin_refuses_what_it_does_not_know, admin_refuses_other_sites,
          admin_lets_monitors_read_by_name, admin_serves_on_a_path)
