#include "lib/unit.h"

#include "service/app_internal.h"
#include "service/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

/* The finding of ports, with sockets that are named and never opened. How they open, and how they
 * come, is for processes of their own: tests/integration/test_activation.py. */

static struct app app;
static struct config config;

static void setup(void)
{
    memset(&app, 0, sizeof(app));
    memset(&config, 0, sizeof(config));
    config.server_listen.items[0] = strdup("127.0.0.1:1");
    config.server_listen.items[1] = strdup(":2");
    config.server_listen.count = 2;
    config.admin_listen = strdup("localhost:3");
    config.health_listen = strdup("unix:/health");
    app.config = &config;
}

static void teardown(void)
{
    free(config.server_listen.items[0]);
    free(config.server_listen.items[1]);
    free(config.admin_listen);
    free(config.health_listen);
}

static void pass(const char *name, const char *address)
{
    struct activation_socket *socket = &app.listen.passed.sockets[app.listen.passed.count++];

    socket->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_gt(socket->fd, 0);
    (void)snprintf(socket->name, sizeof(socket->name), "%s", name);
    (void)snprintf(socket->address, sizeof(socket->address), "%s", address);
}

static void expect(const enum app_port *ports, unsigned count)
{
    ck_assert_msg(app_listen_assign(&app) == EX_OK, "%s", app.problem);
    ck_assert_uint_eq(app.listen.passed.count, count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_msg(app.listen.ports[i] == ports[i], "%u: %d", i, app.listen.ports[i]);
    }
    app_listen_close(&app);
    app_listen_close(&app);
}

static void expect_refused(const char *part)
{
    ck_assert_int_eq(app_listen_assign(&app), EX_CONFIG);
    ck_assert_msg(strstr(app.problem, part) != NULL, "%s", app.problem);
    app_listen_close(&app);
}

/* A name is enough, whatever the address. */
START_TEST(ports_have_names)
{
    const enum app_port ports[] = {APP_PORT_HEALTH, APP_PORT_GRPC, APP_PORT_ADMIN, APP_PORT_GRPC};

    setup();
    pass("health", "127.0.0.1:1");
    pass("grpc", "127.0.0.1:3");
    pass("admin", "0.0.0.0:9");
    pass("grpc", "unix:/health");
    expect(ports, 4);
    teardown();
}

END_TEST

/* Without one the address is. */
START_TEST(ports_have_addresses)
{
    const enum app_port ports[] = {APP_PORT_ADMIN, APP_PORT_HEALTH, APP_PORT_GRPC, APP_PORT_GRPC};

    setup();
    pass("", "127.0.0.1:3");
    pass("", "unix:/health");
    pass("", "[::]:2");
    pass("", "127.0.0.1:1");
    expect(ports, 4);
    teardown();
}

END_TEST

/* The first one that is nothing of this is for calls. */
START_TEST(ports_have_a_default)
{
    const enum app_port ports[] = {APP_PORT_ADMIN, APP_PORT_GRPC};

    setup();
    pass("admin", "127.0.0.1:8");
    pass("", "127.0.0.1:9");
    expect(ports, 2);
    teardown();
}

END_TEST

/* What cannot be told apart is refused, with what to do. */
START_TEST(ports_are_told_apart)
{
    setup();
    pass("userd.socket", "127.0.0.1:1");
    expect_refused("LISTEN_FDNAMES: no port is called \"userd.socket\" (127.0.0.1:1): its socket "
                   "unit needs FileDescriptorName=grpc, admin or health");
    teardown();
    setup();
    pass("", "127.0.0.1:8");
    pass("", "127.0.0.1:9");
    expect_refused("passed socket 2 (127.0.0.1:9) has no name");
    teardown();
    setup();
    pass("health", "127.0.0.1:8");
    pass("", "unix:/health");
    expect_refused("passed socket 2 (unix:/health) is the second for health.listen, which takes");
    teardown();
}

END_TEST

/* Each is handed over once, with its address; and none is an answer. */
START_TEST(ports_are_handed_over)
{
    const char *address = "as it was";
    int fd;

    setup();
    pass("admin", "127.0.0.1:8");
    ck_assert_int_eq(app_listen_assign(&app), EX_OK);
    ck_assert_int_eq(app_listen_passed(&app, APP_PORT_HEALTH, &address), 0);
    ck_assert_str_eq(address, "as it was");
    fd = app_listen_passed(&app, APP_PORT_ADMIN, &address);
    ck_assert_int_gt(fd, 0);
    ck_assert_str_eq(address, "127.0.0.1:8");
    ck_assert_int_eq(app_listen_passed(&app, APP_PORT_ADMIN, &address), 0);
    app_listen_close(&app);
    ck_assert_int_eq(close(fd), 0);
    teardown();
}

END_TEST

UNIT_MAIN("app_listen", ports_have_names, ports_have_addresses, ports_have_a_default,
          ports_are_told_apart, ports_are_handed_over)
