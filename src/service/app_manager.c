#include "service/app_manager.h"

#include "core/clock.h"
#include "core/wal.h"
#include "http2/grpc_server.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/health.h"
#include "service/user_service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/*
 * What people read in `systemctl status` is made anew on every tick, and sent when it has changed.
 * The same tick is the sign of life: it comes from a timer of the loop, so a loop that is stuck
 * gives none.
 *
 * The recovery runs before the loop does. While it goes on, each of its reports asks for more time,
 * much more than until the next one: a disk that stalls is no reason to begin again.
 */

#define TICK_NS        (5 * CLOCK_NS_PER_S)
#define TICK_NS_MIN    CLOCK_NS_PER_MS
#define RETRY_NS       (100 * CLOCK_NS_PER_MS) /* while the manager has no room */
#define START_PATIENCE (60 * CLOCK_NS_PER_S)   /* until the recovery reports again */
#define STOP_PATIENCE  (60 * CLOCK_NS_PER_S)   /* for what follows the drain */
#define COUNT_SIZE     48
#define STATUS_SIZE    SERVICE_MANAGER_STATUS_SIZE

/* "1,234 users", "1 user". */
static const char *count(uint64_t number, const char *what, char text[COUNT_SIZE])
{
    char digits[24];
    const int size = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *out = text;

    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0) {
            *out++ = ',';
        }
        *out++ = digits[i];
    }
    (void)snprintf(out, COUNT_SIZE - (size_t)(out - text), " %s%s", what, number == 1 ? "" : "s");
    return text;
}

static uint64_t connections_of(const struct app *app)
{
    return app->server == NULL ? 0 : grpc_server_stats(app->server)->connections_open;
}

/* What is not as it should be, behind the line of a server that serves. */
static void write_trouble(const struct app *app, char *text, size_t size)
{
    const struct app_manager *manager = &app->manager;

    text[0] = '\0';
    if (!health_is_ready(app->health)) {
        (void)snprintf(text, size, "; not ready: %s", health_reason(app->health));
    }
    if (manager->was_refused) {
        const size_t used = strlen(text);

        (void)snprintf(text + used, size - used, "; the last reload was refused: %s",
                       manager->refusal);
    }
}

static void write_serving(struct app *app)
{
    char users[COUNT_SIZE];
    char connections[COUNT_SIZE];
    char trouble[STATUS_SIZE];

    write_trouble(app, trouble, sizeof(trouble));
    service_manager_status(&app->manager.link, "serving %s, %s%s",
                           count(user_service_user_count(app->users), "user", users),
                           count(connections_of(app), "connection", connections), trouble);
}

static void write_status(struct app *app)
{
    struct service_manager *link = &app->manager.link;
    char connections[COUNT_SIZE];

    if (app->manager.has_failed) {
        return;
    }
    (void)count(connections_of(app), "connection", connections);
    switch (app->state) {
    case APP_STATE_STARTING:
        break;
    case APP_STATE_SERVING:
        write_serving(app);
        break;
    case APP_STATE_LEAVING:
        service_manager_status(link, "about to drain: still serving %s", connections);
        break;
    case APP_STATE_DRAINING:
        service_manager_status(link, "draining: %s left", connections);
        break;
    case APP_STATE_DRAINED:
        service_manager_status(link, "drained: closing the log");
        break;
    }
}

/* How long until the next tick. */
static uint64_t period_ns(const struct app_manager *manager)
{
    uint64_t ns = manager->link.watchdog_ns == 0 || manager->link.watchdog_ns / 2 > TICK_NS
                      ? TICK_NS
                      : manager->link.watchdog_ns / 2;

    if (manager->link.due != 0 && ns > RETRY_NS) {
        ns = RETRY_NS;
    }
    return ns > TICK_NS_MIN ? ns : TICK_NS_MIN;
}

/* Sends what is noted. What cannot be sent now goes with a later tick. */
static void flush(struct app *app)
{
    struct app_manager *manager = &app->manager;
    const int result = service_manager_flush(&manager->link);
    const bool is_deaf = result != 0 && result != -EAGAIN && result != -ENOBUFS;

    if (is_deaf && !manager->is_deaf) {
        log_event(&app->log, LEVEL_WARN, "service_manager_deaf",
                  FIELD_TEXT("cause", strerror(-result)),
                  FIELD_TEXT("effect", "it is told again until it listens"));
    }
    manager->is_deaf = is_deaf;
    if (manager->is_ticking) {
        (void)reactor_start_timer(&app->reactor, &manager->tick, period_ns(manager)); /* moved */
    }
}

static void on_tick(struct timer *timer)
{
    struct app_manager *manager = CONTAINER_OF(timer, struct app_manager, tick);
    struct app *app = CONTAINER_OF(manager, struct app, manager);

    if (manager->link.watchdog_ns > 0) {
        service_manager_alive(&manager->link);
    }
    write_status(app);
    flush(app);
}

void app_manager_open(struct app *app)
{
    struct app_manager *manager = &app->manager;

    manager->open_result = service_manager_open(&manager->link);
    service_manager_status(&manager->link, "starting");
}

void app_manager_log(struct app *app)
{
    const int result = app->manager.open_result;

    if (result == SERVICE_MANAGER_E_ADDRESS) {
        log_event(&app->log, LEVEL_WARN, "service_manager_unknown",
                  FIELD_TEXT("cause", "NOTIFY_SOCKET is neither an absolute path nor an abstract "
                                      "name (@name) of at most 107 bytes"),
                  FIELD_TEXT("effect", "nobody is told when userd is ready"));
    } else if (result == SERVICE_MANAGER_E_WATCHDOG) {
        log_event(&app->log, LEVEL_WARN, "service_manager_unknown",
                  FIELD_TEXT("cause", "WATCHDOG_USEC or WATCHDOG_PID is no number"),
                  FIELD_TEXT("effect", "no signs of life are sent"));
    } else if (result != 0) {
        log_event(&app->log, LEVEL_WARN, "service_manager_unknown",
                  FIELD_TEXT("cause", strerror(-result)),
                  FIELD_TEXT("effect", "nobody is told when userd is ready"));
    }
}

void app_manager_replaying(struct app *app, const struct wal_progress *progress)
{
    struct service_manager *link = &app->manager.link;
    char records[COUNT_SIZE];

    if (progress == NULL) {
        service_manager_status(link, "replaying");
    } else if (progress->bytes_done == 0 || progress->bytes_total < progress->bytes_done) {
        service_manager_status(link, "replaying: %s", count(progress->records, "record", records));
    } else {
        const double done = (double)progress->bytes_done / (double)progress->bytes_total;
        const double seconds = (double)progress->elapsed_ns / (double)CLOCK_NS_PER_S;

        service_manager_status(link, "replaying: %.0f %%, ETA %.0f s", done * 100,
                               seconds / done - seconds);
    }
    service_manager_extend(link, START_PATIENCE);
    flush(app);
}

void app_manager_ready(struct app *app)
{
    struct app_manager *manager = &app->manager;

    if (!service_manager_is_there(&manager->link)) {
        return;
    }
    manager->tick.fire = on_tick;
    manager->is_ticking = reactor_start_timer(&app->reactor, &manager->tick, TICK_NS) == 0;
    if (!manager->is_ticking) {
        log_event(&app->log, LEVEL_WARN, "service_manager_untold",
                  FIELD_TEXT("cause", strerror(ENOMEM)));
    }
    service_manager_ready(&manager->link);
    write_status(app);
    flush(app);
}

void app_manager_reloading(struct app *app)
{
    app->manager.was_refused = false;
    service_manager_reloading(&app->manager.link, clock_monotonic_ns(app->reactor.clock));
    flush(app);
}

void app_manager_refused(struct app *app, const char *cause)
{
    struct app_manager *manager = &app->manager;

    if (!manager->was_refused) { /* the first says most */
        manager->was_refused = true;
        (void)snprintf(manager->refusal, sizeof(manager->refusal), "%s", cause); /* may be cut */
    }
}

void app_manager_reloaded(struct app *app)
{
    service_manager_ready(&app->manager.link);
    write_status(app);
    flush(app);
}

void app_manager_stopping(struct app *app)
{
    service_manager_stopping(&app->manager.link);
    service_manager_extend(&app->manager.link,
                           (app->config->server_drain_delay_s + app->config->server_drain_grace_s) *
                                   CLOCK_NS_PER_S +
                               STOP_PATIENCE);
    write_status(app);
    flush(app);
}

/* What the manager shows beside the exit code, which says more. */
static int error_of(int exit_code)
{
    switch (exit_code) {
    case EX_CONFIG:
        return EINVAL;
    case EX_DATAERR:
        return EBADMSG;
    case EX_IOERR:
        return EIO;
    case EX_TEMPFAIL:
        return EBUSY;
    default:
        return ENOTRECOVERABLE;
    }
}

void app_manager_failed(struct app *app, int exit_code, const char *cause)
{
    struct app_manager *manager = &app->manager;

    if (manager->has_failed) {
        return; /* what follows comes of it */
    }
    manager->has_failed = true;
    service_manager_failed(&manager->link, error_of(exit_code));
    service_manager_status(&manager->link, "failed: %s", cause);
    flush(app);
}

void app_manager_rest(struct app *app)
{
    if (app->manager.is_ticking) {
        app->manager.is_ticking = false;
        reactor_stop_timer(&app->reactor, &app->manager.tick);
    }
}

void app_manager_close(struct app *app)
{
    service_manager_close(&app->manager.link);
}
