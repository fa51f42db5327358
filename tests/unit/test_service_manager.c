#include "lib/unit.h"

#include "core/clock.h"
#include "core/service_manager.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* The socket of a manager, and what comes through it. */

#define QUEUE_MAX 100000 /* datagrams that no system lets wait */

static struct service_manager manager;
static int inbox = -1;
static char folder[32];
static char path[64];
static char got[4096]; /* the last message; "" = there was none */

static void make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/test_manager.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/notify", folder);
}

static void remove_folder(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* A path, or "@name". */
static void open_inbox(const char *address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const size_t size = strlen(address);

    memcpy(name.sun_path, address, size);
    if (address[0] == '@') {
        name.sun_path[0] = '\0';
    }
    inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(inbox, 0);
    ck_assert_int_eq(bind(inbox, (const struct sockaddr *)&name,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)),
                     0);
}

static void close_inbox(void)
{
    ck_assert_int_eq(close(inbox), 0);
    inbox = -1;
}

static void set_environment(const char *address, const char *us, const char *pid)
{
    const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    const char *const values[] = {address, us, pid};

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(values[i] == NULL ? unsetenv(names[i]) : setenv(names[i], values[i], 1),
                         0);
    }
}

static void start(void)
{
    make_folder();
    open_inbox(path);
    set_environment(path, NULL, NULL);
    ck_assert_int_eq(service_manager_open(&manager), 0);
    ck_assert(service_manager_is_there(&manager));
}

static void finish(void)
{
    service_manager_close(&manager);
    service_manager_close(&manager);
    close_inbox();
    remove_folder();
}

/* Takes one message. */
static const char *take(void)
{
    const ssize_t size = recv(inbox, got, sizeof(got) - 1, 0);

    got[size > 0 ? size : 0] = '\0';
    return got;
}

static const char *sent(void)
{
    ck_assert_int_eq(service_manager_flush(&manager), 0);
    return take();
}

/* Every message is what the protocol wants, and what is noted together goes together. */
START_TEST(manager_hears_each_message)
{
    start();
    ck_assert_str_eq(sent(), "");
    service_manager_ready(&manager);
    ck_assert_str_eq(sent(), "READY=1\n");
    ck_assert_str_eq(sent(), ""); /* once */
    service_manager_alive(&manager);
    ck_assert_str_eq(sent(), "WATCHDOG=1\n");
    service_manager_extend(&manager, 3 * CLOCK_NS_PER_S);
    service_manager_status(&manager, "replaying: %d %%", 43);
    ck_assert_str_eq(sent(), "EXTEND_TIMEOUT_USEC=3000000\nSTATUS=replaying: 43 %\n");
    service_manager_stopping(&manager);
    service_manager_failed(&manager, EIO);
    ck_assert_str_eq(sent(), "STOPPING=1\nERRNO=5\n");
    finish();
}

END_TEST

/* The beginning of a reload and its end are two messages, also when they go together. */
START_TEST(manager_hears_of_reloads)
{
    start();
    service_manager_ready(&manager);
    service_manager_reloading(&manager, 1234567890);
    ck_assert_str_eq(sent(), "RELOADING=1\nMONOTONIC_USEC=1234567\n");
    ck_assert_str_eq(sent(), "");
    service_manager_reloading(&manager, 2000);
    service_manager_ready(&manager);
    service_manager_status(&manager, "x");
    ck_assert_str_eq(sent(), "RELOADING=1\nMONOTONIC_USEC=2\n");
    ck_assert_str_eq(take(), "READY=1\nSTATUS=x\n");
    /* The end is final. */
    service_manager_ready(&manager);
    service_manager_reloading(&manager, 2000);
    service_manager_stopping(&manager);
    ck_assert_str_eq(sent(), "STOPPING=1\n");
    ck_assert_str_eq(take(), "");
    finish();
}

END_TEST

/* A status is one line of UTF-8, and goes when it has changed. */
START_TEST(manager_status_is_one_line)
{
    char longest[2 * SERVICE_MANAGER_STATUS_SIZE];

    start();
    service_manager_status(&manager, "a\nREADY=1\x7f\tb");
    ck_assert_str_eq(sent(), "STATUS=a READY=1  b\n");
    service_manager_status(&manager, "a\nREADY=1\x7f\tb");
    ck_assert_str_eq(sent(), "");
    service_manager_status(&manager, "c");
    service_manager_status(&manager, "d");
    ck_assert_str_eq(sent(), "STATUS=d\n");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    service_manager_status(&manager, "%s", longest);
    ck_assert_uint_eq(strlen(sent()), strlen("STATUS=\n") + SERVICE_MANAGER_STATUS_SIZE - 1);
    memcpy(longest + SERVICE_MANAGER_STATUS_SIZE - 3, "\xe2\x82\xac", 3); /* cut after two bytes */
    service_manager_status(&manager, "%s", longest);
    ck_assert_uint_eq(strlen(sent()), strlen("STATUS=\n") + SERVICE_MANAGER_STATUS_SIZE - 3);
    finish();
}

END_TEST

/* With the longest of everything a message is still whole. */
START_TEST(manager_message_has_room)
{
    char longest[SERVICE_MANAGER_STATUS_SIZE];

    start();
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    service_manager_ready(&manager);
    service_manager_alive(&manager);
    service_manager_extend(&manager, UINT64_MAX);
    service_manager_failed(&manager, -2147483647);
    service_manager_status(&manager, "%s", longest);
    ck_assert_ptr_nonnull(strstr(sent(), longest));
    ck_assert_int_eq(got[strlen(got) - 1], '\n');
    finish();
}

END_TEST

/* Names in the abstract namespace are as good. */
START_TEST(manager_may_be_abstract)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "@test-manager-%ld", (long)getpid());
    open_inbox(name);
    set_environment(name, NULL, NULL);
    ck_assert_int_eq(service_manager_open(&manager), 0);
    service_manager_ready(&manager);
    ck_assert_str_eq(sent(), "READY=1\n");
    service_manager_close(&manager);
    close_inbox();
}

END_TEST

/* Without one nothing is sent, and nothing is kept. */
START_TEST(manager_may_be_missing)
{
    static const char *const nobody[] = {NULL, ""};

    for (size_t i = 0; i < 2; i++) {
        set_environment(nobody[i], "1000000", NULL);
        ck_assert_int_eq(service_manager_open(&manager), 0);
        ck_assert(!service_manager_is_there(&manager));
        ck_assert_uint_eq(manager.watchdog_ns, 0);
        service_manager_ready(&manager);
        ck_assert_int_eq(service_manager_flush(&manager), 0);
        ck_assert_uint_eq(manager.due, 0);
        service_manager_close(&manager);
    }
}

END_TEST

/* Whatever is in the environment, no child finds it there. */
static void open_with(const char *address, const char *us, const char *pid, int result)
{
    set_environment(address, us, pid);
    ck_assert_int_eq(service_manager_open(&manager), result);
    ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
    ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
    ck_assert_ptr_null(getenv("WATCHDOG_PID"));
    service_manager_close(&manager);
}

/* Addresses of other kinds are refused. */
START_TEST(manager_refuses_other_addresses)
{
    static const char *const bad[] = {"relative", "@", "/", "vsock:2:1234"};
    char longest[128];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        open_with(bad[i], NULL, NULL, SERVICE_MANAGER_E_ADDRESS);
    }
    memset(longest, 'x', sizeof(longest));
    longest[0] = '/';
    longest[108] = '\0';
    open_with(longest, NULL, NULL, SERVICE_MANAGER_E_ADDRESS);
    longest[107] = '\0';
    open_with(longest, NULL, NULL, 0);
}

END_TEST

/* The watchdog is ours when it names us or nobody. */
START_TEST(manager_watches_its_process)
{
    static const char *const bad[] = {"", "x", "-1", "1x", "99999999999999999999"};
    char pid[24];

    open_with("/x", "3000000", NULL, 0);
    ck_assert_uint_eq(manager.watchdog_ns, 3 * CLOCK_NS_PER_S);
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    open_with("/x", "3000000", pid, 0);
    ck_assert_uint_eq(manager.watchdog_ns, 3 * CLOCK_NS_PER_S);
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getppid());
    open_with("/x", "3000000", pid, 0);
    ck_assert_uint_eq(manager.watchdog_ns, 0);
    open_with("/x", NULL, NULL, 0);
    ck_assert_uint_eq(manager.watchdog_ns, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        open_with("/x", bad[i], NULL, SERVICE_MANAGER_E_WATCHDOG);
        ck_assert_uint_eq(manager.watchdog_ns, 0);
        open_with("/x", "3000000", bad[i], SERVICE_MANAGER_E_WATCHDOG);
        ck_assert_uint_eq(manager.watchdog_ns, 0);
    }
}

END_TEST

/* One that does not read is no reason to wait, and hears the newest when it does. */
START_TEST(manager_may_not_read)
{
    int result = 0;

    start();
    for (unsigned i = 0; i < QUEUE_MAX && result == 0; i++) {
        service_manager_status(&manager, "%u", i);
        result = service_manager_flush(&manager);
    }
    ck_assert_int_eq(result, -EAGAIN);
    service_manager_reloading(&manager, 1000);
    service_manager_ready(&manager);
    service_manager_status(&manager, "newest");
    ck_assert_int_eq(service_manager_flush(&manager), -EAGAIN);
    (void)take(); /* room for one */
    ck_assert_int_eq(service_manager_flush(&manager), -EAGAIN);
    while (take()[0] != '\0' && strncmp(got, "RELOADING", 9) != 0) {
        ck_assert_ptr_null(strstr(got, "newest"));
    }
    ck_assert_str_eq(got, "RELOADING=1\nMONOTONIC_USEC=1\n");
    ck_assert_str_eq(sent(), "READY=1\nSTATUS=newest\n");
    finish();
}

END_TEST

/* One that is gone hears it when it is back. */
START_TEST(manager_may_come_back)
{
    start();
    close_inbox();
    service_manager_ready(&manager);
    ck_assert_int_eq(service_manager_flush(&manager), -ECONNREFUSED);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(service_manager_flush(&manager), -ENOENT);
    open_inbox(path);
    ck_assert_str_eq(sent(), "READY=1\n");
    finish();
}

END_TEST

UNIT_MAIN("service_manager", manager_hears_each_message, manager_hears_of_reloads,
          manager_status_is_one_line, manager_message_has_room, manager_may_be_abstract,
          manager_may_be_missing, manager_refuses_other_addresses, manager_watches_its_process,
          manager_may_not_read, manager_may_come_back)
