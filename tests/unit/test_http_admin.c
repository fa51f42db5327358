#include "lib/unit.h"

#include "core/clock.h"
#include "core/http_admin.h"
#include "http_fixture.h"

#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

/* Real sockets on the loopback address, and a clock that the test pushes forward. */

#define CONNECTIONS_MAX 4
#define TIMEOUT_NS      (10 * CLOCK_NS_PER_S)

static struct loop loop;
static struct clock_source clock;
static uint64_t pushed_ns;
static struct http_admin *http;
static const struct http_admin_stats *stats;
static unsigned handled;
static char seen[1024];   /* "METHOD path Host;" of each request */
static char argument[64]; /* `a` of the last one's query; "-" = there is none */
static char peer[HTTP_ADMIN_PEER_SIZE];
static size_t body_size; /* of the answers; 0 = "hello\n" */

static uint64_t pushed_clock_ns(struct clock_source *source)
{
    (void)source;
    return clock_monotonic_ns(clock_system()) + pushed_ns;
}

static void handle(void *owner, const struct http_admin_request *request,
                   struct http_admin_reply *reply)
{
    const char *host = http_admin_header(request, "host");
    const char *value = http_admin_argument(request, "a");
    size_t used = strlen(seen);

    ck_assert_ptr_eq(owner, &handled);
    ck_assert_uint_eq(reply->status, 200);
    handled++;
    (void)snprintf(seen + used, sizeof(seen) - used, "%s %s %s;", request->method, request->path,
                   host == NULL ? "-" : host);
    (void)snprintf(argument, sizeof(argument), "%s", value == NULL ? "-" : value);
    http_admin_peer(request, peer);
    if (body_size == 0) {
        ck_assert_int_eq(buf_append(&reply->body, "hello\n", 6), 0);
    } else {
        uint8_t *room = buf_reserve(&reply->body, body_size);

        ck_assert_ptr_nonnull(room);
        memset(room, 'x', body_size);
        buf_commit(&reply->body, body_size);
    }
    if (strcmp(request->path, "/empty") == 0) {
        buf_clear(&reply->body);
        reply->status = 405;
        reply->allow = "POST";
        reply->content_type = "text/strange";
    }
    if (strcmp(request->path, "/page") == 0) {
        reply->page = BYTES_LITERAL("a page");
        reply->policy = "script-src 'self'";
    }
}

static int open_at(const char *address, char *problem)
{
    const struct http_admin_options options = {
        .address = address,
        .max_connections = CONNECTIONS_MAX,
        .timeout_ns = TIMEOUT_NS,
        .handle = handle,
        .owner = &handled,
    };

    return http_admin_new(&loop.reactor, &options, problem, &http);
}

static void start(void)
{
    char problem[RING_PROBLEM_SIZE];

    loop_init(&loop);
    clock = (struct clock_source){pushed_clock_ns, pushed_clock_ns};
    loop.reactor.clock = &clock;
    ck_assert_msg(open_at("127.0.0.1:0", problem) == 0, "%s", problem);
    stats = http_admin_stats(http);
}

static void finish(void)
{
    http_admin_close(http);
    http_admin_close(http);
    LOOP_UNTIL(&loop, http_admin_is_closed(http));
    http_admin_free(http);
    loop_deinit(&loop);
}

static int connect_client(void)
{
    return http_connect(http_admin_address(http));
}

static const char *ask(const char *request)
{
    return http_ask(&loop, http_admin_address(http), request);
}

#define GET(path_) "GET " path_ " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

/* A request gets its answer, with the fields that every answer has, and the connection ends. */
START_TEST(http_admin_answers)
{
    const char *answer;

    start();
    answer = ask(GET("/a%20b?c=d"));
    ck_assert_int_eq(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    ck_assert_ptr_nonnull(strstr(answer, "\r\nConnection: close\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nCache-Control: no-store\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nX-Content-Type-Options: nosniff\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\nhello\n"));
    ck_assert_ptr_null(strstr(answer, "Allow"));
    ck_assert_str_eq(seen, "GET /a b 127.0.0.1;");
    ck_assert_uint_eq(stats->requests, 1);
    ck_assert_uint_eq(stats->connections_accepted, 1);
    LOOP_UNTIL(&loop, stats->connections_open == 0);
    finish();
}

END_TEST

/* Status, type and Allow are the handler's; a body may be empty; HEAD has none. */
START_TEST(http_admin_takes_what_the_handler_says)
{
    const char *answer;

    start();
    answer = ask("POST /empty HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    ck_assert_int_eq(strncmp(answer, "HTTP/1.1 405 ", 13), 0);
    ck_assert_ptr_nonnull(strstr(answer, "\r\nAllow: POST\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Type: text/strange\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Length: 0\r\n"));
    answer = ask("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Length: 6\r\n"));
    ck_assert_str_eq(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    ck_assert_str_eq(seen, "POST /empty x;HEAD / x;");
    finish();
}

END_TEST

/* A constant page goes out in place of the body, with the rights that it names; others have none.
 */
START_TEST(http_admin_sends_pages)
{
    const char *answer;

    start();
    answer = ask(GET("/page"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Security-Policy: script-src 'self'\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\na page"));
    answer = ask("HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Length: 6\r\n"));
    ck_assert_str_eq(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    answer = ask(GET("/"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nContent-Security-Policy: default-src 'none'; "
                                         "frame-ancestors 'none'\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\nReferrer-Policy: no-referrer\r\n"));
    finish();
}

END_TEST

/* What stands in the query is found by its name, decoded. */
START_TEST(http_admin_reads_arguments)
{
    static const char *const cases[][2] = {
        {GET("/"), "-"},
        {GET("/?"), "-"},
        {GET("/?a"), ""},
        {GET("/?b=a&aa=c"), "-"},
        {GET("/?a="), ""},
        {GET("/?a=b"), "b"},
        {GET("/?A=b"), "b"},
        {GET("/?x=1&a=b%20c&y"), "b c"},
        {GET("/?a=b=c"), "b=c"},
        {GET("/?a=1&a=2"), "1"},
        {GET("/?%61=b"), "b"},
        {GET("/?a=%zz"), "%zz"},
        {GET("/?a=b%00c"), "b%00c"},
        {GET("/?a%00=b"), "-"},
        {GET("/?&&=&a=d"), "d"},
    };

    start();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(strncmp(ask(cases[i][0]), "HTTP/1.1 200 ", 13), 0);
        ck_assert_msg(strcmp(argument, cases[i][1]) == 0, "%s: %s", cases[i][0], argument);
    }
    finish();
}

END_TEST

/* A path is decoded before it is looked up, but one with a NUL in it is not its first half. */
START_TEST(http_admin_decodes_paths)
{
    start();
    (void)ask(GET("/%61%2Fb%25?%00"));
    ck_assert_str_eq(seen, "GET /a/b% 127.0.0.1;");
    seen[0] = '\0';
    (void)ask(GET("/%61%00b"));
    ck_assert_str_eq(seen, "GET /%61%00b 127.0.0.1;");
    finish();
}

END_TEST

/* What takes more than there is for a request ends at once, not when its time is over. */
START_TEST(http_admin_ends_what_it_has_no_room_for)
{
    char request[2048] = "GET /?";
    int fd;

    start();
    memset(request + strlen(request), '&', 1000);
    for (size_t i = strlen("GET /?"); i < 1000; i += 2) {
        request[i] = 'a';
    }
    (void)snprintf(request + strlen(request), 64, " HTTP/1.1\r\nHost: x\r\n\r\n");
    fd = connect_client();
    LOOP_UNTIL(&loop, stats->connections_open == 1 && list_is_empty(&loop.reactor.slow_tasks));
    http_say(fd, request); /* it comes alone, and wakes the loop once */
    (void)http_listen(&loop, fd);
    LOOP_UNTIL(&loop, stats->connections_open == 0);
    ck_assert_uint_eq(stats->connections_timed_out, 0);
    ck_assert_uint_eq(handled, 0);
    finish();
}

END_TEST

/* Who asks is told by address and port. */
START_TEST(http_admin_tells_the_peer)
{
    struct sockaddr_in name;
    socklen_t size = sizeof(name);
    char expected[32];
    int fd;

    start();
    fd = connect_client();
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    http_say(fd, GET("/"));
    (void)http_listen(&loop, fd);
    (void)snprintf(expected, sizeof(expected), "127.0.0.1:%u", ntohs(name.sin_port));
    ck_assert_str_eq(peer, expected);
    finish();
}

END_TEST

/* An answer of the size of all metrics arrives whole, however little of it the client takes at a
 * time; others are answered meanwhile. */
START_TEST(http_admin_sends_large_answers)
{
    const int little = 32768;
    size_t received = 0;
    int fd;

    start();
    body_size = 150000;
    fd = connect_client();
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)), 0);
    http_say(fd, GET("/"));
    LOOP_UNTIL(&loop, handled == 1);
    body_size = 0;
    ck_assert_ptr_nonnull(strstr(ask(GET("/")), "\r\n\r\nhello\n"));
    for (;;) {
        char piece[1000];
        ssize_t got = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

        if (got == 0) {
            break;
        }
        received += got > 0 ? (size_t)got : 0;
        loop_turn(&loop);
    }
    ck_assert_uint_gt(received, 150000);
    ck_assert_uint_lt(received, 150000 + 1000);
    (void)close(fd);
    finish();
}

END_TEST

/* A request that comes byte by byte is a request. */
START_TEST(http_admin_takes_requests_in_pieces)
{
    static const char request[] = GET("/slow");
    int fd;

    start();
    fd = connect_client();
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        ck_assert_uint_eq(handled, 0);
        ck_assert_int_eq(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
        loop_turn(&loop);
    }
    ck_assert_int_eq(strncmp(http_listen(&loop, fd), "HTTP/1.1 200 ", 13), 0);
    ck_assert_uint_eq(handled, 1);
    finish();
}

END_TEST

/* A body is refused, however it is announced, and the handler hears nothing of it. */
START_TEST(http_admin_refuses_bodies)
{
    static const char *const requests[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    };

    start();
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        const char *answer = ask(requests[i]);

        ck_assert_msg(strncmp(answer, "HTTP/1.1 413 ", 13) == 0, "%zu: %s", i, answer);
        ck_assert_ptr_nonnull(strstr(answer, "no body"));
    }
    ck_assert_uint_eq(handled, 0);
    finish();
}

END_TEST

/* What is no HTTP, is too large, or lacks what HTTP asks for ends there, and the server goes on. */
START_TEST(http_admin_survives_nonsense)
{
    static char large[20000];
    const char *answer;

    start();
    (void)ask("\r\n\r\n\r\nrubbish\r\n\r\n");
    (void)ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    (void)ask("\x16\x03\x01\x02\x01\xfc\x03\x03\n\n");
    answer = ask("GET / HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(strncmp(answer, "HTTP/1.1 400 ", 13), 0);
    memset(large, 'a', sizeof(large) - 1);
    memcpy(large, "GET /", 5);
    (void)ask(large);
    (void)snprintf(large, sizeof(large), "GET / HTTP/1.1\r\nHost: x\r\nX: %010000d\r\n\r\n", 7);
    (void)ask(large);
    handled = 0;
    ck_assert_int_eq(strncmp(ask(GET("/")), "HTTP/1.1 200 ", 13), 0);
    ck_assert_uint_eq(handled, 1);
    finish();
}

END_TEST

/* More connections than allowed are closed at once, and one that ends makes room. */
START_TEST(http_admin_bounds_connections)
{
    int fds[CONNECTIONS_MAX];

    start();
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        fds[i] = connect_client();
        LOOP_UNTIL(&loop, stats->connections_open == i + 1);
    }
    ck_assert_str_eq(http_listen(&loop, connect_client()), "");
    ck_assert_uint_eq(stats->connections_refused, 1);
    ck_assert_uint_eq(loop.reactor.limits_hit.counts[LIMITS_HIT_ADMIN_CONNECTIONS], 1);
    ck_assert_uint_eq(stats->connections_open, CONNECTIONS_MAX);
    http_say(fds[0], GET("/"));
    ck_assert_int_eq(strncmp(http_listen(&loop, fds[0]), "HTTP/1.1 200 ", 13), 0);
    LOOP_UNTIL(&loop, stats->connections_open == CONNECTIONS_MAX - 1);
    ck_assert_int_eq(strncmp(ask(GET("/")), "HTTP/1.1 200 ", 13), 0);
    for (unsigned i = 1; i < CONNECTIONS_MAX; i++) {
        (void)close(fds[i]);
    }
    LOOP_UNTIL(&loop, stats->connections_open == 0);
    finish();
}

END_TEST

/* Time is up for all of a request: a byte now and then buys no more of it. */
START_TEST(http_admin_ends_slow_requests)
{
    int slow;
    int late;

    start();
    slow = connect_client();
    LOOP_UNTIL(&loop, stats->connections_open == 1);
    pushed_ns += TIMEOUT_NS - CLOCK_NS_PER_S;
    loop_turn(&loop);
    http_say(slow, "GET / HT");
    late = connect_client();
    LOOP_UNTIL(&loop, stats->connections_open == 2);
    pushed_ns += CLOCK_NS_PER_S;
    ck_assert_str_eq(http_listen(&loop, slow), "");
    ck_assert_uint_eq(stats->connections_timed_out, 1);
    LOOP_UNTIL(&loop, stats->connections_open == 1);
    http_say(late, GET("/"));
    ck_assert_int_eq(strncmp(http_listen(&loop, late), "HTTP/1.1 200 ", 13), 0);
    ck_assert_uint_eq(stats->connections_timed_out, 1);
    finish();
}

END_TEST

/* So it is for a client that does not take its answer. */
START_TEST(http_admin_ends_slow_readers)
{
    int fd;

    start();
    body_size = 32 << 20;
    fd = connect_client();
    http_say(fd, GET("/"));
    LOOP_UNTIL(&loop, handled == 1);
    loop_turn(&loop);
    ck_assert_uint_eq(stats->connections_open, 1);
    pushed_ns += TIMEOUT_NS;
    LOOP_UNTIL(&loop, stats->connections_open == 0);
    ck_assert_uint_eq(stats->connections_timed_out, 1);
    (void)close(fd);
    finish();
}

END_TEST

/* Connections that wait, for either side, do not keep the loop busy. */
START_TEST(http_admin_rests)
{
    uint64_t runs;
    int idle;
    int reader;

    start();
    body_size = 32 << 20;
    idle = connect_client();
    reader = connect_client();
    http_say(idle, "GET / HT");
    http_say(reader, GET("/"));
    LOOP_UNTIL(&loop, handled == 1 && stats->connections_open == 2);
    for (unsigned i = 0; i < 5; i++) {
        loop_turn(&loop);
    }
    runs = stats->runs;
    for (unsigned i = 0; i < 20; i++) {
        loop_turn(&loop);
    }
    ck_assert_uint_le(stats->runs, runs + 1);
    (void)close(idle);
    (void)close(reader);
    LOOP_UNTIL(&loop, stats->connections_open == 0);
    finish();
}

END_TEST

/* Closing it ends what is open, at once. */
START_TEST(http_admin_closes_with_connections)
{
    int fd;

    start();
    fd = connect_client();
    http_say(fd, "GET /");
    LOOP_UNTIL(&loop, stats->connections_open == 1);
    finish();
    (void)close(fd);
}

END_TEST

/* A path will do as address; one that is taken is told of. */
START_TEST(http_admin_listens_where_told)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char problem[RING_PROBLEM_SIZE];
    char address[128];
    char folder[] = "/tmp/test-http-admin-XXXXXX";
    struct http_admin *first;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    start();
    (void)snprintf(address, sizeof(address), "%s", http_admin_address(http));
    first = http;
    ck_assert_int_eq(open_at(address, problem), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(problem, address));
    ck_assert_ptr_eq(http, first);
    finish();

    loop_init(&loop);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(address, sizeof(address), "unix:%s/s", folder);
    ck_assert_msg(open_at(address, problem) == 0, "%s", problem);
    stats = http_admin_stats(http);
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s/s", folder);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    http_say(fd, GET("/"));
    ck_assert_int_eq(strncmp(http_listen(&loop, fd), "HTTP/1.1 200 ", 13), 0);
    ck_assert_str_eq(peer, "unix");
    finish();
    ck_assert_int_eq(rmdir(folder), 0);
}

END_TEST

/* A socket that somebody passed is as good as an address, and stays theirs. */
START_TEST(http_admin_listens_on_a_passed_socket)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct http_admin_options options = {
        .address = "not looked at",
        .max_connections = CONNECTIONS_MAX,
        .timeout_ns = TIMEOUT_NS,
        .handle = handle,
        .owner = &handled,
    };
    char problem[RING_PROBLEM_SIZE];
    int theirs = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(theirs, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(theirs, 8), 0);
    loop_init(&loop);
    for (unsigned i = 0; i < 2; i++) {
        options.passed_fd = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
        ck_assert_msg(http_admin_new(&loop.reactor, &options, problem, &http) == 0, "%s", problem);
        ck_assert_ptr_nonnull(strstr(ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), "hello"));
        http_admin_close(http);
        LOOP_UNTIL(&loop, http_admin_is_closed(http));
        http_admin_free(http);
    }
    loop_deinit(&loop);
    ck_assert_int_eq(close(theirs), 0);
}

END_TEST

UNIT_MAIN("http_admin", http_admin_listens_on_a_passed_socket, http_admin_answers,
          http_admin_takes_what_the_handler_says, http_admin_sends_pages,
          http_admin_reads_arguments, http_admin_decodes_paths,
          http_admin_ends_what_it_has_no_room_for, http_admin_tells_the_peer,
          http_admin_sends_large_answers, http_admin_takes_requests_in_pieces,
          http_admin_refuses_bodies, http_admin_survives_nonsense, http_admin_bounds_connections,
          http_admin_ends_slow_requests, http_admin_ends_slow_readers, http_admin_rests,
          http_admin_closes_with_connections, http_admin_listens_where_told)
