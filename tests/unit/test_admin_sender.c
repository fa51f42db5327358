#include "lib/unit.h"

#include "core/clock.h"
#include "core/http_admin.h"
#include "http_fixture.h"
#include "service/admin_sender.h"

#include <stdio.h>

/* Fields of real requests, judged on addresses of every kind. */

#define HOST "Host: 127.0.0.1:9090\r\n"

static struct loop loop;
static struct http_admin *http;
static struct admin_sender sender;
static bool is_private;

static void handle(void *owner, const struct http_admin_request *request,
                   struct http_admin_reply *reply)
{
    (void)owner;
    reply->status = admin_sender_objection(&sender, request, is_private) == NULL ? 200 : 403;
}

static void start(const char *listen, const char *bound)
{
    const struct http_admin_options options = {
        .address = "127.0.0.1:0",
        .max_connections = 4,
        .timeout_ns = 30 * CLOCK_NS_PER_S,
        .handle = handle,
    };
    char problem[RING_PROBLEM_SIZE];

    is_private = false;
    loop_init(&loop);
    ck_assert_msg(http_admin_new(&loop.reactor, &options, problem, &http) == 0, "%s", problem);
    admin_sender_init(&sender, listen, bound);
}

static void finish(void)
{
    http_admin_close(http);
    LOOP_UNTIL(&loop, http_admin_is_closed(http));
    http_admin_free(http);
    loop_deinit(&loop);
}

/* Is a request with these fields let in? */
static bool passes(const char *method, const char *fields)
{
    char request[1024];
    const char *answer;

    (void)snprintf(request, sizeof(request), "%s / HTTP/1.1\r\n%s\r\n", method, fields);
    answer = http_ask(&loop, http_admin_address(http), request);
    if (strncmp(answer, "HTTP/1.1 200 ", 13) == 0) {
        return true;
    }
    ck_assert_msg(strncmp(answer, "HTTP/1.1 403 ", 13) == 0, "%s", answer);
    return false;
}

/* What a browser sends for a page of another site may change nothing; our own pages and tools may.
 */
START_TEST(admin_sender_knows_other_sites)
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

    start("127.0.0.1:9090", "127.0.0.1:9090");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!passes("POST", bad[i]), "%s", bad[i]);
        ck_assert_msg(!passes("DELETE", bad[i]), "%s", bad[i]);
        ck_assert_msg(passes("GET", bad[i]), "%s", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(passes("POST", good[i]), "%s", good[i]);
    }
    finish();
}

END_TEST

/* On a loopback address a name that is not ours is that of a page whose name points here. */
START_TEST(admin_sender_knows_foreign_names)
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

    start("[::1]:9090", "[::1]:9090");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!passes("GET", bad[i]), "%s", bad[i]);
        ck_assert_msg(!passes("POST", bad[i]), "%s", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(passes("GET", good[i]), "%s", good[i]);
        ck_assert_msg(passes("POST", good[i]), "%s", good[i]);
    }
    finish();
}

END_TEST

/* In a network counts are read by any name; what is private, and changes, take an address,
 * localhost or the name that the port was told to listen on. */
START_TEST(admin_sender_lets_names_read)
{
    start("userd.example:9090", "192.0.2.1:9090");
    ck_assert(passes("GET", "Host: other.example\r\n"));
    ck_assert(passes("HEAD", "Host: other.example\r\n"));
    ck_assert(!passes("POST", "Host: other.example\r\n"));
    ck_assert(passes("POST", "Host: USERD.example:9090\r\n"));
    is_private = true;
    ck_assert(!passes("GET", "Host: other.example\r\n"));
    ck_assert(passes("GET", "Host: userd.example\r\n"));
    ck_assert(passes("GET", "Host: 192.0.2.1\r\n"));
    finish();
}

END_TEST

/* On a path Host means nothing, and no browser gets there. */
START_TEST(admin_sender_trusts_a_path)
{
    start("unix:/run/userd/admin", "unix:/run/userd/admin");
    is_private = true;
    ck_assert(passes("POST", "Host: anything\r\n"));
    ck_assert(passes("GET", "Host: evil.example\r\n"));
    ck_assert(!passes("POST", "Host: anything\r\nOrigin: http://evil.example\r\n"));
    finish();
}

END_TEST

UNIT_MAIN("admin_sender", admin_sender_knows_other_sites, admin_sender_knows_foreign_names,
          admin_sender_lets_names_read, admin_sender_trusts_a_path)
