#include "lib/unit.h"

#include "core/clock.h"
#include "http_fixture.h"
#include "service/admin.h"
#include "service/health.h"

#include <stdio.h>
#include <sys/un.h>

/* The routes and who may ask, over real sockets. */

static struct loop loop;
static struct health *health;
static struct admin *admin;
static unsigned snapshots;
static int snapshot_result;

static int take_snapshot(void *context)
{
    ck_assert_ptr_eq(context, &snapshots);
    snapshots++;
    return snapshot_result;
}

static int metrics_result;

static int write_metrics(void *context, struct buf *out)
{
    ck_assert_ptr_eq(context, &snapshots);
    ck_assert_int_eq(buf_append(out, "up 1\n", 5), 0);
    return metrics_result;
}

static void start(const char *address)
{
    const struct health_options health_options = {.max_watchers = 1};
    struct admin_options options = {
        .listen = address,
        .max_connections = 4,
        .timeout_ns = 30 * CLOCK_NS_PER_S,
        .take_snapshot = take_snapshot,
        .write_metrics = write_metrics,
        .context = &snapshots,
    };
    char problem[RING_PROBLEM_SIZE];

    loop_init(&loop);
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

/* GET / names every route. */
START_TEST(admin_lists_its_routes)
{
    const char *answer;

    start("127.0.0.1:0");
    ck_assert_int_eq(ask("GET", "/", HOST, &answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "\nGET  /healthz "));
    ck_assert_ptr_nonnull(strstr(answer, "\nGET  /readyz "));
    ck_assert_ptr_nonnull(strstr(answer, "\nPOST /snapshot "));
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
    ck_assert_uint_eq(snapshots, 0);
    finish();
}

END_TEST

/* What a browser sends for a page of another site changes nothing; our own pages and tools may. */
START_TEST(admin_refuses_other_sites)
{
    static const char *const bad[] = {
        HOST "Origin: http://evil.example\r\n",
        HOST "Origin: null\r\n",
        HOST "Origin:\r\n",
        HOST "Origin: https://127.0.0.1:9090\r\n",
        HOST "Origin: http://127.0.0.1:9091\r\n",
        HOST "Origin: http://127.0.0.1:9090.evil.example\r\n",
        HOST "Sec-Fetch-Site: cross-site\r\n",
        HOST "Sec-Fetch-Site: same-site\r\n",
        HOST "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example\r\n",
        HOST "Sec-Fetch-Site: cross-site\r\nOrigin: http://127.0.0.1:9090\r\n",
    };
    static const char *const good[] = {
        HOST,
        HOST "Origin: http://127.0.0.1:9090\r\n",
        HOST "Sec-Fetch-Site: none\r\n",
        HOST "Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1:9090\r\n",
    };

    start("127.0.0.1:0");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(ask("POST", "/snapshot", bad[i], NULL) == 403, "%s", bad[i]);
    }
    ck_assert_uint_eq(snapshots, 0);
    ck_assert_int_eq(ask("GET", "/healthz", bad[0], NULL), 200);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(ask("POST", "/snapshot", good[i], NULL) == 202, "%s", good[i]);
    }
    finish();
}

END_TEST

/* On a loopback address a name that is not ours is that of a page whose name points here. */
START_TEST(admin_refuses_foreign_names)
{
    static const char *const bad[] = {
        "Host: evil.example\r\n",
        "Host: evil.example:9090\r\n",
        "Host: localhost.evil\r\n",
        "Host: 127.0.0.1.evil\r\n",
        "Host: [::1\r\n",
        "Host: [::1]evil\r\n",
        "Host: \r\n",
        "Host: 127.0.0.1@evil\r\n",
        "Host: 0x7f000001\r\n",
    };
    static const char *const good[] = {
        "Host: localhost\r\n",  "Host: LOCALHOST:1\r\n",   "Host: 127.0.0.1\r\n",
        "Host: [::1]:9090\r\n", "Host: 10.0.0.7:9090\r\n",
    };

    start("127.0.0.1:0");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(ask("GET", "/healthz", bad[i], NULL) == 403, "%s", bad[i]);
        ck_assert_msg(ask("POST", "/snapshot", bad[i], NULL) == 403, "%s", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(ask("GET", "/healthz", good[i], NULL) == 200, "%s", good[i]);
    }
    ck_assert_uint_eq(snapshots, 0);
    finish();
}

END_TEST

/* In a network a monitor may read by whatever name the server has; changing things takes an
 * address. */
START_TEST(admin_lets_monitors_read_by_name)
{
    start("0.0.0.0:0");
    ck_assert_int_eq(ask("GET", "/readyz", "Host: userd.internal:9090\r\n", NULL), 503);
    ck_assert_int_eq(ask("POST", "/snapshot", "Host: userd.internal:9090\r\n", NULL), 403);
    ck_assert_int_eq(ask("POST", "/snapshot", "Host: 192.0.2.1:9090\r\n", NULL), 202);
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
    metrics_result = -ENOMEM;
    ck_assert_int_eq(ask("GET", "/metrics", HOST, &answer), 500);
    check_body(answer, "out of memory\n");
    finish();
}

END_TEST

UNIT_MAIN("admin", admin_answers_probes, admin_gives_metrics, admin_takes_snapshots,
          admin_lists_its_routes, admin_refuses_what_it_does_not_know, admin_refuses_other_sites,
          admin_refuses_foreign_names, admin_lets_monitors_read_by_name, admin_serves_on_a_path)
