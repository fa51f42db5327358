#include "lib/unit.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/wal.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/health.h"
#include "service/user_service.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* An app with no more in it than what the manager is told of, on a clock that the test moves. */

static struct app app;
static struct config config;
static uint64_t now_ns = 5 * CLOCK_NS_PER_S;
static int inbox;
static char got[4096];

static uint64_t fake_ns(struct clock_source *source)
{
    (void)source;
    return now_ns;
}

static struct clock_source clock = {fake_ns, fake_ns};

static void open_inbox(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char address[64];
    const int size = snprintf(address, sizeof(address), "@test-app-manager-%ld", (long)getpid());

    memcpy(name.sun_path + 1, address + 1, (size_t)size - 1);
    inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(inbox, (const struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size)),
                     0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", address, 1), 0);
}

static void setup(void)
{
    const struct ring_options ring = {.entries = 8};
    const struct health_options health = {.max_watchers = 1};
    const struct user_service_options users = {
        .max_users = 10, .lister = {.max_page_size = 10, .max_page_bytes = 1000}};

    open_inbox();
    config.server_drain_delay_s = 5;
    config.server_drain_grace_s = 30;
    app.config = &config;
    ck_assert_int_eq(reactor_init(&app.reactor, &ring, &clock, NULL, app.problem), 0);
    ck_assert_int_eq(health_new(&app.reactor, &health, &app.health), 0);
    ck_assert_int_eq(user_service_new(&app.reactor, random_system(), NULL, &users, &app.users), 0);
    app_manager_open(&app);
}

static void teardown(void)
{
    app_manager_rest(&app);
    app_manager_rest(&app);
    app_manager_close(&app);
    user_service_free(app.users);
    health_free(app.health);
    reactor_deinit(&app.reactor);
    ck_assert_int_eq(close(inbox), 0);
}

/* The next message; "" = there is none. */
static const char *told(void)
{
    const ssize_t size = recv(inbox, got, sizeof(got) - 1, 0);

    got[size > 0 ? size : 0] = '\0';
    return got;
}

static void pass_time(uint64_t ns)
{
    now_ns += ns;
    ck_assert_int_eq(reactor_turn(&app.reactor, 0), 0);
}

static void serve(void)
{
    app.state = APP_STATE_SERVING;
    health_set(app.health, HEALTH_SERVING, "");
    app_manager_ready(&app);
    ck_assert_str_eq(told(), "READY=1\nSTATUS=serving 0 users, 0 connections\n");
}

/* How far the recovery is, and that it needs time. */
START_TEST(manager_hears_of_the_recovery)
{
    struct wal_progress progress = {.records = 1234567};

    setup();
    ck_assert_str_eq(told(), "");
    app_manager_replaying(&app, NULL);
    ck_assert_str_eq(told(), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replaying\n");
    app_manager_replaying(&app, &progress);
    ck_assert_str_eq(told(), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replaying: 1,234,567 records\n");
    progress.bytes_done = 430;
    progress.bytes_total = 1000;
    progress.elapsed_ns = 9 * CLOCK_NS_PER_S;
    app_manager_replaying(&app, &progress);
    ck_assert_str_eq(told(), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replaying: 43 %, ETA 12 s\n");
    progress.bytes_total = 429;
    progress.records = 999;
    app_manager_replaying(&app, &progress);
    ck_assert_str_eq(told(), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=replaying: 999 records\n");
    teardown();
}

END_TEST

/* The line is made anew every five seconds, and sent when it is another. */
START_TEST(manager_status_follows)
{
    setup();
    serve();
    pass_time(5 * CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "");
    health_set(app.health, HEALTH_READ_ONLY, "no room");
    pass_time(4 * CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "");
    pass_time(CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "STATUS=serving 0 users, 0 connections; not ready: no room\n");
    health_set(app.health, HEALTH_SERVING, "");
    health_set_short(app.health, true);
    pass_time(5 * CLOCK_NS_PER_S);
    ck_assert_ptr_nonnull(strstr(told(), "; not ready: calls are refused, for memory is short"));
    teardown();
}

END_TEST

/* Signs of life come twice in the time that is asked for. */
START_TEST(manager_gets_signs_of_life)
{
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "2000000", 1), 0);
    setup();
    serve();
    for (int i = 0; i < 3; i++) {
        pass_time(CLOCK_NS_PER_S - 1);
        ck_assert_str_eq(told(), "");
        pass_time(1);
        ck_assert_str_eq(told(), "WATCHDOG=1\n");
    }
    teardown();
    ck_assert_int_eq(setenv("WATCHDOG_USEC", "60000000", 1), 0); /* more often does no harm */
    setup();
    serve();
    pass_time(5 * CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "WATCHDOG=1\n");
    teardown();
}

END_TEST

/* A reload begins and ends, and says why it was refused until the next one. */
START_TEST(manager_hears_of_reloads)
{
    char expected[64];

    setup();
    serve();
    app_manager_reloading(&app);
    (void)snprintf(expected, sizeof(expected), "RELOADING=1\nMONOTONIC_USEC=%llu\n",
                   (unsigned long long)(now_ns / 1000));
    ck_assert_str_eq(told(), expected);
    app_manager_refused(&app, "first");
    app_manager_refused(&app, "second");
    app_manager_reloaded(&app);
    ck_assert_str_eq(told(), "READY=1\nSTATUS=serving 0 users, 0 connections; the last reload was "
                             "refused: first\n");
    app_manager_reloading(&app);
    (void)told();
    app_manager_reloaded(&app);
    ck_assert_str_eq(told(), "READY=1\nSTATUS=serving 0 users, 0 connections\n");
    teardown();
}

END_TEST

/* The end has its line at each step, and the time that all of it takes. */
START_TEST(manager_hears_of_the_end)
{
    setup();
    serve();
    app.state = APP_STATE_LEAVING;
    app_manager_stopping(&app);
    ck_assert_str_eq(told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=95000000\n"
                             "STATUS=about to drain: still serving 0 connections\n");
    app.state = APP_STATE_DRAINING;
    pass_time(5 * CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "STATUS=draining: 0 connections left\n");
    app.state = APP_STATE_DRAINED;
    pass_time(5 * CLOCK_NS_PER_S);
    ck_assert_str_eq(told(), "STATUS=drained: closing the log\n");
    teardown();
}

END_TEST

/* A failure is told with its cause, which stays. */
START_TEST(manager_hears_of_failures)
{
    static const int codes[][2] = {{EX_CONFIG, EINVAL},
                                   {EX_DATAERR, EBADMSG},
                                   {EX_IOERR, EIO},
                                   {EX_TEMPFAIL, EBUSY},
                                   {EX_SOFTWARE, ENOTRECOVERABLE}};
    char expected[64];

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        memset(&app, 0, sizeof(app));
        setup();
        serve();
        app_manager_failed(&app, codes[i][0], "the cause");
        (void)snprintf(expected, sizeof(expected), "ERRNO=%d\nSTATUS=failed: the cause\n",
                       codes[i][1]);
        ck_assert_str_eq(told(), expected);
        app_manager_failed(&app, EX_SOFTWARE, "what comes of it");
        pass_time(5 * CLOCK_NS_PER_S);
        ck_assert_str_eq(told(), "");
        teardown();
    }
}

END_TEST

/* One that does not read is tried again ten times a second, and waited for never. */
START_TEST(manager_may_not_read)
{
    int filler = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr *address = (const struct sockaddr *)&app.manager.link.address;

    setup();
    while (sendto(filler, "x", 1, 0, address, app.manager.link.address_size) == 1) {
    }
    ck_assert_int_eq(errno, EAGAIN);
    app.state = APP_STATE_SERVING;
    health_set(app.health, HEALTH_SERVING, "");
    app_manager_ready(&app);
    pass_time(100 * CLOCK_NS_PER_MS);
    while (strcmp(told(), "x") == 0) {
    }
    ck_assert_str_eq(got, "");
    pass_time(100 * CLOCK_NS_PER_MS);
    ck_assert_str_eq(told(), "READY=1\nSTATUS=serving 0 users, 0 connections\n");
    ck_assert_int_eq(close(filler), 0);
    teardown();
}

END_TEST

UNIT_MAIN("app_manager", manager_hears_of_the_recovery, manager_status_follows,
          manager_gets_signs_of_life, manager_hears_of_reloads, manager_hears_of_the_end,
          manager_hears_of_failures, manager_may_not_read)
