#include "service/app_metrics.h"

#include "core/clock.h"
#include "core/tls.h"
#include "core/workpool.h"
#include "service/access.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/health.h"
#include "service/health_port.h"
#include "service/metrics.h"
#include "service/overload.h"
#include "service/rate_limit.h"
#include "service/token.h"
#include "service/user_list.h"
#include "service/user_service.h"
#include "service/user_watch.h"

#include <string.h>

/* Parts whose numbers have to be fetched: they are kept here while the text is written. */
struct gathered {
    struct process_numbers process;
    struct metrics_tls tls;
    struct grpc_server_gauges server_now;
    struct token_stats tokens;
    struct rate_limit_stats rate;
    struct workpool_stats hashing;
};

void app_metrics_open(struct app *app)
{
    int result = process_stats_open(&app->metrics.process, &app->reactor);

    app->metrics.reload.success_ms = clock_realtime_ns(app->reactor.clock) / CLOCK_NS_PER_MS;
    if (result != 0) {
        log_event(&app->log, LEVEL_WARN, "process_not_seen", FIELD_TEXT("cause", strerror(-result)),
                  FIELD_TEXT("effect", "the metrics process_* are 0"));
    }
}

void app_metrics_close(struct app *app)
{
    process_stats_close(&app->metrics.process);
}

void app_metrics_note_reload(struct app *app, bool has_taken, bool has_failed)
{
    struct metrics_reload *reload = &app->metrics.reload;

    if (has_taken) {
        reload->succeeded++;
        reload->success_ms = clock_realtime_ns(app->reactor.clock) / CLOCK_NS_PER_MS;
    }
    reload->failed += has_failed;
    if (has_taken || has_failed) {
        reload->last_failed = has_failed;
    }
}

static void gather_tls(const struct app *app, struct metrics_tls *tls)
{
    *tls = (struct metrics_tls){
        .library = tls_library(),
        .is_accelerated = tls_is_accelerated(),
        .crl_until_s = INT64_MAX,
    };
    if (app->tls != NULL) {
        tls->not_after_s = tls_context_not_after_s(app->tls);
        tls->crl_until_s = tls_context_crl_until_s(app->tls);
    }
}

static void gather_server(const struct app *app, struct gathered *gathered,
                          struct metrics_sources *sources)
{
    if (app->server != NULL) {
        gathered->server_now = grpc_server_gauges(app->server);
        sources->server = grpc_server_stats(app->server);
        sources->server_now = &gathered->server_now;
    }
    if (app->health_port != NULL) {
        sources->health_port = health_port_stats(app->health_port);
    }
    sources->auth = &app->auth;
    sources->access = access_stats(app->access);
    sources->overload = overload_stats(app->overload);
    gathered->rate = rate_limit_stats(app->rate_limit);
    sources->rate = &gathered->rate;
    if (app->verifier != NULL) {
        gathered->tokens = token_verifier_stats(app->verifier);
    }
    sources->tokens = &gathered->tokens;
}

static void gather_users(const struct app *app, struct gathered *gathered,
                         struct metrics_sources *sources)
{
    gathered->hashing = workpool_stats(app->pool);
    sources->hashing = &gathered->hashing;
    sources->hash_times = workpool_times(app->pool);
    sources->wal = app->commit_log->ops->stats(app->commit_log);
    sources->watch = user_watch_stats(user_service_watch(app->users));
    sources->lister = user_lister_stats(user_service_lister(app->users));
    sources->streams = user_service_streams(app->users);
    sources->snapshot = user_service_snapshot_stats(app->users);
    sources->users = user_service_user_count(app->users);
    sources->users_max = app->config->store_max_users;
    sources->user_bytes = user_service_user_memory(app->users);
}

int app_metrics_write(void *context, bool open_metrics, struct buf *out)
{
    struct app *app = context;
    const uint64_t start_ns = clock_monotonic_ns(app->reactor.clock);
    struct gathered gathered = {.tls = {.library = NULL}};
    struct metrics_sources sources = {
        .observe = app->observe,
        .process = &gathered.process,
        .reactor = &app->reactor,
        .tls = &gathered.tls,
        .reload = &app->metrics.reload,
        .health = health_stats(app->health),
        .state = health_state(app->health),
        .log_state = app->metrics.log_state,
        .render_ns = app->metrics.render_ns,
        .text_size = app->metrics.text_size,
    };
    int result;

    process_stats_read(&app->metrics.process, &gathered.process);
    gather_tls(app, &gathered.tls);
    gather_server(app, &gathered, &sources);
    gather_users(app, &gathered, &sources);
    result = metrics_write(&sources, open_metrics, out);
    app->metrics.text_size = buf_size(out);
    app->metrics.render_ns = clock_monotonic_ns(app->reactor.clock) - start_ns;
    return result;
}
