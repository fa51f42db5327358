/*
 * Life of the server:
 *
 *   1. app_start.c builds everything. The loop runs; in its first turn the log says READY, and so
 *      do we.
 *   2. SIGUSR1 asks for a snapshot; the log takes others by itself. SIGHUP, and files that change,
 *      ask for a reload (app_reload.c).
 *   3. SIGTERM or SIGINT: serve on for server.drain_delay_s, then drain the server for at most
 *      server.drain_grace_s. A second signal skips the waiting. When the last connection is gone
 *      the loop stops.
 *   4. The take-down turns the loop by hand: hashes that run come to their end, the log flushes and
 *      writes its clean mark, operations on the ring complete. Then everything is freed in reverse.
 *
 * What can go wrong:
 *
 *   - The start fails halfway: the same take-down works on what is there.
 *   - The log fails (a write or sync did not succeed). No change can be accepted any more, and a
 *     restart decides from the disk what survived: short drain, exit 74.
 *   - Something never comes to its end: after a while we say so and leave without freeing. All
 *     that was acknowledged is on disk.
 */
#include "service/app.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/file_watch.h"
#include "core/tls.h"
#include "core/workpool.h"
#include "http2/grpc_server.h"
#include "service/access.h"
#include "service/admin.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/health.h"
#include "service/health_port.h"
#include "service/observe.h"
#include "service/overload.h"
#include "service/rate_limit.h"
#include "service/reflection.h"
#include "service/token.h"
#include "service/user_service.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

/* For answers on their way when the log has failed. */
#define FAILED_GRACE_NS (2 * CLOCK_NS_PER_S)

/* For probes under way when the last call has ended. */
#define HEALTH_GRACE_NS (100 * CLOCK_NS_PER_MS)

/* For what should end at once. */
#define TAKE_DOWN_NS (30 * CLOCK_NS_PER_S)

#define TURN_NS (100 * CLOCK_NS_PER_MS)

static void all_drained(void *context)
{
    struct app *app = context;

    app->state = APP_STATE_DRAINED;
    reactor_stop(&app->reactor);
}

/* The health port stays open until then: a server that drains is alive, and says so. */
static void server_drained(void *context)
{
    struct app *app = context;

    if (app->health_port == NULL) {
        all_drained(app);
    } else {
        health_port_drain(app->health_port, HEALTH_GRACE_NS, all_drained, app);
    }
}

/* Begins the drain, or shortens it. */
static void drain(struct app *app, uint64_t grace_ns)
{
    reactor_stop_timer(&app->reactor, &app->drain_delay);
    if (app->state == APP_STATE_DRAINED) {
        return;
    }
    app->state = APP_STATE_DRAINING;
    app_manager_stopping(app);
    health_set(app->health, HEALTH_DRAINING, "");
    user_service_end_watches(app->users); /* they would never end by themselves, */
    health_end_watches(app->health);      /* nor would these */
    if (app->reflection != NULL) {
        reflection_end_streams(app->reflection); /* and these might not */
    }
    grpc_server_drain(app->server, grace_ns, server_drained, app);
}

static void drain_delay_over(struct timer *timer)
{
    struct app *app = CONTAINER_OF(timer, struct app, drain_delay);

    drain(app, app->config->server_drain_grace_s * CLOCK_NS_PER_S);
}

static void leave(struct app *app)
{
    uint64_t delay_ns = app->config->server_drain_delay_s * CLOCK_NS_PER_S;

    app->state = APP_STATE_LEAVING;
    app_manager_stopping(app);
    health_set(app->health, HEALTH_DRAINING, ""); /* load balancers look elsewhere meanwhile */
    app->drain_delay.fire = drain_delay_over;
    if (delay_ns == 0 || reactor_start_timer(&app->reactor, &app->drain_delay, delay_ns) != 0) {
        drain_delay_over(&app->drain_delay);
    }
}

int app_request_snapshot(struct app *app, const char *source)
{
    int result = user_service_checkpoint(app->users);

    if (result == 0) {
        log_event(&app->log, LEVEL_INFO, "snapshot_requested", FIELD_TEXT("source", source));
    } else {
        log_event(&app->log, LEVEL_WARN, "snapshot_refused", FIELD_TEXT("source", source),
                  FIELD_TEXT("cause", result == -EBUSY     ? "one is being taken already"
                                      : result == -ENOTSUP ? "this log takes none"
                                                           : "the log has failed or is closed"));
    }
    return result;
}

void app_on_checkpoint(void *context, const struct wal_snapshot_report *report)
{
    struct app *app = context;

    switch (report->step) {
    case WAL_SNAPSHOT_STARTED:
        log_event(&app->log, LEVEL_INFO, "snapshot_started", FIELD_NUMBER("lsn", report->lsn));
        break;
    case WAL_SNAPSHOT_DONE:
        log_event(&app->log, LEVEL_INFO, "snapshot_done", FIELD_NUMBER("lsn", report->lsn),
                  FIELD_NUMBER("records", report->records), FIELD_NUMBER("bytes", report->bytes),
                  FIELD_NUMBER("ms", report->ns / CLOCK_NS_PER_MS),
                  FIELD_NUMBER("segments_removed", report->segments_removed));
        break;
    case WAL_SNAPSHOT_FAILED:
        log_event(&app->log, LEVEL_WARN, "snapshot_failed", FIELD_NUMBER("lsn", report->lsn),
                  FIELD_TEXT("cause", report->problem));
        break;
    }
}

void app_on_signal(struct signals *signals, int number)
{
    struct app *app = CONTAINER_OF(signals, struct app, signals);

    if (number == SIGUSR1) {
        (void)app_request_snapshot(app, "SIGUSR1");
        return;
    }
    if (number == SIGHUP) {
        (void)app_reload_whole(app, "SIGHUP");
        return;
    }
    log_event(&app->log, LEVEL_INFO, "draining", FIELD_NUMBER("signal", number),
              FIELD_NUMBER("delay_s", app->config->server_drain_delay_s),
              FIELD_NUMBER("grace_s", app->config->server_drain_grace_s),
              FIELD_TEXT("now", app->state == APP_STATE_SERVING ? "no" : "yes"));
    if (app->state == APP_STATE_SERVING) {
        leave(app);
    } else {
        drain(app, 0);
    }
}

void app_on_log_state(void *context, enum commit_log_state state, const char *reason)
{
    struct app *app = context;

    app->metrics.log_state = state;
    switch (state) {
    case COMMIT_LOG_RECOVERING:
        break;
    case COMMIT_LOG_READY:
        health_set(app->health, HEALTH_SERVING, "");
        if (app->state == APP_STATE_STARTING) {
            app->state = APP_STATE_SERVING;
            log_event(&app->log, LEVEL_INFO, "ready",
                      FIELD_NUMBER("users", user_service_user_count(app->users)));
            app_manager_ready(app);
        } else if (app->state == APP_STATE_SERVING) {
            log_event(&app->log, LEVEL_INFO, "log_writable",
                      FIELD_NUMBER("users", user_service_user_count(app->users)));
        }
        break;
    case COMMIT_LOG_DEGRADED:
        health_set(app->health, HEALTH_READ_ONLY, reason);
        log_event(&app->log, LEVEL_WARN, "log_degraded", FIELD_TEXT("cause", reason));
        break;
    case COMMIT_LOG_FAILED:
        health_set(app->health, HEALTH_FAILED, reason);
        log_event(&app->log, LEVEL_ERROR, "log_failed", FIELD_TEXT("cause", reason));
        app->exit_code = EX_IOERR;
        app_manager_failed(app, EX_IOERR, reason);
        if (app->server != NULL) {
            drain(app, FAILED_GRACE_NS);
        }
        break;
    case COMMIT_LOG_CLOSED:
        app->commit_log_is_open = false;
        break;
    }
}

static bool is_drained(const struct app *app)
{
    return app->state == APP_STATE_DRAINED;
}

static bool is_hashing_over(const struct app *app)
{
    return workpool_is_idle(app->pool);
}

static bool is_admin_closed(const struct app *app)
{
    return admin_is_closed(app->admin);
}

static bool is_log_closed(const struct app *app)
{
    return !app->commit_log_is_open;
}

static bool is_ring_quiet(const struct app *app)
{
    return ring_pending_count(app->reactor.ring) == 0;
}

/* Turns the loop until it is so. Returns false when the ring fails or it takes too long. */
static bool turn_until(struct app *app, bool (*is_so)(const struct app *app), const char *what)
{
    uint64_t end_ns = clock_monotonic_ns(app->reactor.clock) + TAKE_DOWN_NS;

    while (!is_so(app)) {
        if (reactor_turn(&app->reactor, TURN_NS) < 0 ||
            clock_monotonic_ns(app->reactor.clock) > end_ns) {
            log_event(&app->log, LEVEL_ERROR, "stuck", FIELD_TEXT("waiting_for", what));
            return false;
        }
    }
    return true;
}

/* Ends everything that has operations on the loop. The order counts: what still runs may hand work
 * to what comes after it. Returns false when something would not end. */
static bool quiesce(struct app *app)
{
    app_reload_close(app);
    file_watch_close(app->file_watch);
    if (app->server != NULL) {
        if (app->state < APP_STATE_DRAINING) {
            drain(app, 0);
        }
        if (!turn_until(app, is_drained, "connections")) {
            return false;
        }
    }
    overload_close(app->overload);
    if (app->pool != NULL && !turn_until(app, is_hashing_over, "hashing")) {
        return false;
    }
    if (app->commit_log_is_open) {
        app->commit_log->ops->close(app->commit_log);
        if (!turn_until(app, is_log_closed, "log")) {
            return false;
        }
    }
    if (app->admin != NULL) {
        admin_close(app->admin);
        if (!turn_until(app, is_admin_closed, "admin port")) {
            return false;
        }
    }
    app_manager_rest(app);
    if (app->signals_are_open) {
        signals_close(&app->signals);
    }
    workpool_close(app->pool);
    return !app->reactor_is_open || turn_until(app, is_ring_quiet, "operations");
}

static void log_end(struct app *app)
{
    const struct grpc_server_stats *stats = grpc_server_stats(app->server);

    log_event(&app->log, LEVEL_INFO, "stopped", FIELD_NUMBER("exit", app->exit_code),
              FIELD_NUMBER("connections", stats->connections_accepted),
              FIELD_NUMBER("calls", stats->calls_finished),
              FIELD_NUMBER("calls_ok", observe_status_total(app->observe, GRPC_STATUS_OK)),
              FIELD_NUMBER("calls_refused", auth_refused_total(&app->auth)),
              FIELD_NUMBER("users", user_service_user_count(app->users)));
}

static void free_parts(struct app *app)
{
    grpc_server_free(app->server);
    health_port_free(app->health_port);
    app_listen_close(app);
    admin_free(app->admin);
    access_free(app->access);
    overload_free(app->overload);
    observe_free(app->observe);
    if (app->methods_are_built) {
        grpc_method_table_deinit(&app->methods);
    }
    user_service_free(app->users);
    rate_limit_free(app->rate_limit);
    reflection_free(app->reflection);
    health_free(app->health);
    if (app->commit_log != NULL) {
        app->commit_log->ops->free(app->commit_log);
    }
    if (app->disk != NULL) {
        app->disk->ops->free(app->disk);
    }
    file_watch_free(app->file_watch);
    app_metrics_close(app);
    if (app->reactor_is_open) {
        reactor_deinit(&app->reactor);
    }
    token_verifier_free(app->verifier);
    tls_context_unref(app->tls);
}

int app_run(struct config *config)
{
    struct app *app = calloc(1, sizeof(*app));
    int exit_code;

    if (app == NULL) {
        return EX_SOFTWARE;
    }
    app->config = config;
    app->replaceable = config;
    signals_hold_requests(); /* whoever sees a line of ours may ask */
    app_manager_open(app);
    app->exit_code = app_start(app);
    if (app->exit_code != EX_OK) {
        app_manager_failed(app, app->exit_code, app->problem);
    } else if (reactor_run(&app->reactor) < 0) {
        app->exit_code = EX_SOFTWARE;
        app_manager_failed(app, EX_SOFTWARE, "the ring failed");
    }
    if (!quiesce(app)) {
        return app->exit_code == EX_OK ? EX_SOFTWARE : app->exit_code;
    }
    if (app->server != NULL) {
        log_end(app);
    }
    exit_code = app->exit_code;
    app_manager_close(app);
    free_parts(app);
    free(app);
    return exit_code;
}

int app_check(const struct config *config)
{
    struct app *app = calloc(1, sizeof(*app));
    int exit_code;

    if (app == NULL) {
        return EX_SOFTWARE;
    }
    app->config = config;
    exit_code = app_start_checks(app);
    free_parts(app);
    free(app);
    return exit_code;
}
