#include "service/app_listen.h"

#include "http2/grpc_server.h"
#include "service/app_internal.h"
#include "service/app_options.h"
#include "service/config.h"
#include "service/health_port.h"
#include "service/overload.h"

#include <string.h>
#include <sysexits.h>

/*
 * A passed socket belongs to the option that its name stands for. One without a name belongs to the
 * option that has its address; and the first that nothing says anything of is for calls, as one
 * socket that somebody passes by hand is. The sockets of an option replace its addresses: the
 * manager keeps them open while no userd runs, and whoever connects then waits in the backlog.
 */

static const struct {
    const char *name; /* as in FileDescriptorName= of a socket unit */
    const char *option;
} ports[APP_PORT_COUNT] = {
    [APP_PORT_GRPC] = {"grpc", "server.listen"},
    [APP_PORT_ADMIN] = {"admin", "admin.listen"},
    [APP_PORT_HEALTH] = {"health", "health.listen"},
};

/* ---- which socket is which ---- */

/* False when the name is no port's. */
static bool find_by_name(const char *name, enum app_port *ret_port)
{
    for (unsigned i = 0; i < APP_PORT_COUNT; i++) {
        if (strcmp(name, ports[i].name) == 0) {
            *ret_port = (enum app_port)i;
            return true;
        }
    }
    return false;
}

/* False when the configuration does not have the address. */
static bool find_by_address(const struct config *config, const char *address,
                            enum app_port *ret_port)
{
    const struct config_list *list = &config->server_listen;

    for (unsigned i = 0; i < list->count; i++) {
        if (listener_socket_is_at(list->items[i], address)) {
            *ret_port = APP_PORT_GRPC;
            return true;
        }
    }
    *ret_port = APP_PORT_ADMIN;
    if (listener_socket_is_at(config->admin_listen, address)) {
        return true;
    }
    *ret_port = APP_PORT_HEALTH;
    return listener_socket_is_at(config->health_listen, address);
}

static unsigned count_of(const struct app_listen *listen, enum app_port port, unsigned among)
{
    unsigned count = 0;

    for (unsigned i = 0; i < among; i++) {
        count += listen->ports[i] == port;
    }
    return count;
}

static int assign(struct app *app, unsigned index, bool *has_default)
{
    struct app_listen *listen = &app->listen;
    const struct activation_socket *socket = &listen->passed.sockets[index];
    enum app_port port = APP_PORT_GRPC;

    if (socket->name[0] != '\0') {
        if (!find_by_name(socket->name, &port)) {
            return app_fail(
                app, EX_CONFIG,
                "LISTEN_FDNAMES: no port is called \"%.64s\" (%s): its socket unit needs "
                "FileDescriptorName=grpc, admin or health",
                socket->name, socket->address);
        }
    } else if (!find_by_address(app->config, socket->address, &port)) {
        if (*has_default) {
            return app_fail(app, EX_CONFIG,
                            "LISTEN_FDS: passed socket %u (%s) has no name and is at no address of "
                            "the configuration: its socket unit needs FileDescriptorName=grpc, "
                            "admin or health",
                            index + 1, socket->address);
        }
        *has_default = true;
        port = APP_PORT_GRPC;
    }
    if (port != APP_PORT_GRPC && count_of(listen, port, index) > 0) {
        return app_fail(app, EX_CONFIG,
                        "LISTEN_FDS: passed socket %u (%s) is the second for %s, which takes one: "
                        "leave it out of the socket unit",
                        index + 1, socket->address, ports[port].option);
    }
    listen->ports[index] = port;
    return EX_OK;
}

int app_listen_assign(struct app *app)
{
    bool has_default = false;
    int exit_code = EX_OK;

    for (unsigned i = 0; i < app->listen.passed.count && exit_code == EX_OK; i++) {
        exit_code = assign(app, i, &has_default);
    }
    return exit_code;
}

int app_listen_take(struct app *app)
{
    char problem[ACTIVATION_PROBLEM_SIZE];

    return activation_open(&app->listen.passed, problem) == 0
               ? app_listen_assign(app)
               : app_fail(app, EX_CONFIG, "%s", problem);
}

/* The next socket of that port that is not in use, or NULL. */
static struct activation_socket *next_passed(struct app *app, enum app_port port)
{
    struct app_listen *listen = &app->listen;

    for (unsigned i = 0; i < listen->passed.count; i++) {
        if (listen->ports[i] == port && listen->passed.sockets[i].fd >= 0) {
            return &listen->passed.sockets[i];
        }
    }
    return NULL;
}

/* ---- the ports ---- */

static const char *yes_or_no(bool is_so)
{
    return is_so ? "yes" : "no";
}

int app_listen_prepare(struct app *app)
{
    const struct grpc_server_options options = app_options_server(app->config);

    if (grpc_server_new(&app->reactor, &options, &app->dispatch, &app->server) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    overload_set_server(app->overload, app->server);
    return EX_OK;
}

int app_listen_grpc(struct app *app)
{
    const struct config_list *addresses = &app->config->server_listen;
    struct activation_socket *socket = next_passed(app, APP_PORT_GRPC);
    const bool is_passed = socket != NULL;
    const char *address;
    int result = 0;

    for (; socket != NULL && result == 0; socket = next_passed(app, APP_PORT_GRPC)) {
        result =
            grpc_server_listen_on(app->server, activation_take(socket), app->tls, app->problem);
    }
    for (unsigned i = 0; !is_passed && i < addresses->count && result == 0; i++) {
        result = grpc_server_listen(app->server, addresses->items[i], app->tls, app->problem);
    }
    if (result != 0) {
        return app_fail_option(app, EX_CONFIG, "server.listen");
    }
    for (unsigned i = 0; (address = grpc_server_address(app->server, i)) != NULL; i++) {
        log_event(&app->log, LEVEL_INFO, "listening", FIELD_TEXT("address", address),
                  FIELD_TEXT("tls", app->tls == NULL ? "off" : "on"),
                  FIELD_TEXT("activated", yes_or_no(is_passed)));
    }
    return EX_OK;
}

int app_listen_passed(struct app *app, enum app_port port, const char **address)
{
    struct activation_socket *socket = next_passed(app, port);

    if (socket == NULL) {
        return 0;
    }
    *address = socket->address;
    return activation_take(socket);
}

int app_listen_health(struct app *app)
{
    struct health_port_options options = {
        .listen = app->config->health_listen,
        .server = app_options_health_port(app->config),
    };

    options.passed_fd = app_listen_passed(app, APP_PORT_HEALTH, &options.listen);
    if (options.listen[0] == '\0') {
        return EX_OK;
    }
    if (health_port_new(&app->reactor, app->health, &options, app->problem, &app->health_port) !=
        0) {
        return app_fail_option(app, EX_CONFIG, "health.listen");
    }
    log_event(&app->log, LEVEL_INFO, "health_listening",
              FIELD_TEXT("address", health_port_address(app->health_port)),
              FIELD_TEXT("activated", yes_or_no(options.passed_fd != 0)));
    return EX_OK;
}

void app_listen_close(struct app *app)
{
    activation_close(&app->listen.passed);
}
