#include "service/app_reload.h"

#include "core/clock.h"
#include "core/file_watch.h"
#include "core/tls.h"
#include "http2/grpc_server.h"
#include "service/access.h"
#include "service/app_internal.h"
#include "service/app_options.h"
#include "service/config.h"
#include "service/health_port.h"
#include "service/observe.h"
#include "service/overload.h"
#include "service/policy.h"
#include "service/rate_limit.h"
#include "service/token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/*
 * A reload makes new parts beside the old ones and swaps them when all are good. It goes in steps,
 * one per turn of the loop, so that calls go on between them:
 *
 *   1. Whole (SIGHUP): read the configuration as the start did. Files alone (one of them changed):
 *      nothing, it stays.
 *   2. Look at the files, and see which differ from those in use.
 *   3. Make what is touched: TLS context, token keys, policy.
 *   4. Swap. What needs a restart stays as it is, and the log names it.
 *   5. After new rules for tokens: judge those of open streams anew, some in each turn.
 *
 * What can go wrong: a mistake in any of them. Then the log has one `reload_failed` for each, a
 * whole reload changes nothing at all, and one of files alone changes only the other part. Files
 * that were refused are not tried again before they change, or SIGHUP comes. A certificate and its
 * key that are replaced one after the other may be met in between: that is refused, and the second
 * change is taken.
 */

#define DAY_NS (24 * 3600 * CLOCK_NS_PER_S)

#define STREAMS_PER_STEP 16 /* their tokens are read anew */

static void fail(struct app *app, const char *cause)
{
    app->reload.has_failed = true;
    app_log_reload_failed(app, cause);
    if (app->reload.is_whole) {
        app_manager_refused(app, cause);
    }
}

/* What the step that makes it is to work from. */
static const struct config *config_of(const struct app *app)
{
    return app->reload.is_whole ? app->reload.fresh : app->config;
}

static void free_fresh(struct app_reload *reload)
{
    if (reload->fresh != NULL) {
        config_deinit(reload->fresh);
        free(reload->fresh);
        reload->fresh = NULL;
    }
}

static void drop(struct app_reload *reload)
{
    tls_context_unref(reload->tls);
    token_keys_free(reload->keys);
    token_options_free(reload->token_options);
    policy_free(reload->policy);
    reload->tls = NULL;
    reload->keys = NULL;
    reload->token_options = NULL;
    reload->policy = NULL;
    free_fresh(reload);
}

/* Step 1. */
static void read_config(struct app *app)
{
    struct app_reload *reload = &app->reload;
    struct buf errors = {0};
    int result;

    if (!reload->is_whole) {
        return;
    }
    reload->fresh = calloc(1, sizeof(*reload->fresh));
    if (reload->fresh == NULL) {
        fail(app, "out of memory");
        return;
    }
    result = config_load(reload->fresh, app->config->file, (const char *const *)environ, &errors);
    app_log_lines(app, &errors, fail);
    if (result < 0) {
        fail(app, strerror(-result));
    }
    buf_deinit(&errors);
    if (result == 0) {
        config_diff(app->config, reload->fresh, &reload->diff);
        reload->fresh->tls_enabled = app->config->tls_enabled; /* these two say what else counts, */
        reload->fresh->auth_mode = app->config->auth_mode;     /* and need a restart */
    } else {
        free_fresh(reload);
    }
}

/* Step 2. */
static void look_at_files(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (reload->has_failed) {
        return;
    }
    app_files_look(config_of(app), &reload->files);
    reload->changed_files = app_files_compare(&app->files, &reload->files);
}

/* Is the part to be made? `is_overdue`: it was to be made before, and nothing was taken. */
static bool is_due(const struct app_reload *reload, const char *section, unsigned files,
                   bool is_overdue)
{
    if (reload->is_whole && reload->fresh == NULL) {
        return false;
    }
    return (reload->changed_files & files) != 0 ||
           (reload->is_whole && (is_overdue || config_diff_touches(&reload->diff, section)));
}

/* Refuses an expired certificate while the one in use is good. */
static bool is_worse(struct app *app, const struct tls_context *fresh)
{
    return app_certificate_judge(tls_context_not_after_s(fresh), app_now_s(app)) ==
               APP_CERTIFICATE_EXPIRED &&
           app_certificate_judge(tls_context_not_after_s(app->tls), app_now_s(app)) !=
               APP_CERTIFICATE_EXPIRED;
}

/* Step 3. */
static void make_tls(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (app->tls == NULL || !is_due(reload, "tls", APP_FILES_TLS, reload->tls_due)) {
        return;
    }
    reload->tls_due = true;
    if (app_parts_tls(config_of(app), reload->problem, &reload->tls) != EX_OK) {
        fail(app, reload->problem);
        reload->refused_files |= APP_FILES_TLS;
    } else if (is_worse(app, reload->tls)) {
        fail(app, "tls.cert_file: this certificate has expired, and the one in use has not");
        reload->refused_files |= APP_FILES_TLS;
        tls_context_unref(reload->tls);
        reload->tls = NULL;
    }
}

static void make_keys(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (app->verifier == NULL || !is_due(reload, "auth", APP_FILES_KEYS, reload->keys_due)) {
        return;
    }
    reload->keys_due = true;
    if (app_parts_keys(config_of(app), &app->log, reload->problem, &reload->keys) != EX_OK) {
        fail(app, reload->problem);
        reload->refused_files |= APP_FILES_KEYS;
    }
}

static void make_token_options(struct app *app)
{
    struct app_reload *reload = &app->reload;
    struct token_options options;

    if (app->verifier == NULL || reload->fresh == NULL) {
        return;
    }
    options = app_options_token(reload->fresh);
    if (token_options_copy(&options, &reload->token_options) != 0) {
        fail(app, "out of memory");
    }
}

static void make_policy(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (reload->fresh != NULL && reload->diff.policy &&
        app_parts_policy(reload->fresh, &app->methods, reload->problem, &reload->policy) != EX_OK) {
        fail(app, reload->problem);
    }
}

static void on_certificate_timer(struct timer *timer)
{
    struct app *app = CONTAINER_OF(timer, struct app, certificate_timer);

    if (app->tls != NULL) {
        app_log_certificate(app);
    }
    (void)reactor_start_timer(&app->reactor, timer, DAY_NS); /* the place it had is free */
}

static void swap_tls(struct app *app)
{
    struct tls_context *old = app->tls;

    app->tls = app->reload.tls;
    app->reload.tls = NULL;
    grpc_server_set_tls(app->server, app->tls);
    tls_context_unref(old); /* connections have their own references */
    app_log_certificate(app);
}

/* Hands the limits of the configuration to those who keep them. */
static void set_options(struct app *app)
{
    struct grpc_server_options server = app_options_server(app->config);
    struct rate_limit_options rate = app_options_rate(app->config);
    struct overload_options overload = app_options_overload(app->config);
    struct access_options access = app_options_access(app->config);

    app->log.level = (enum log_level)app->config->log_level;
    app->log.format = (enum log_format)app->config->log_format;
    app->log.lines_per_s_max = (uint32_t)app->config->log_lines_per_s;
    observe_set_access(app->observe, (enum access_log_choice)app->config->log_access,
                       app->config->log_access_sample);
    grpc_server_set_options(app->server, &server);
    if (app->health_port != NULL) {
        const struct grpc_server_options probes = app_options_health_port(app->config);

        health_port_set_options(app->health_port, &probes);
    }
    rate_limit_set_options(app->rate_limit, &rate);
    overload_set_options(app->overload, &overload);
    access_set_options(app->access, &access);
    app_options_auth(app->config, &app->auth);
    if (app->reload.token_options != NULL) {
        uint32_t rules = token_verifier_rules(app->verifier);

        token_verifier_set_options(app->verifier, app->reload.token_options);
        app->reload.token_options = NULL;
        app->reload.token_rules_changed = token_verifier_rules(app->verifier) != rules;
        auth_revoke(&app->auth); /* the overlap of removed keys may be another */
    }
}

/* The keys go before the policy: a stream whose key is gone ends for that. */
static void swap_parts(struct app *app)
{
    struct app_reload *reload = &app->reload;
    struct token_keys *keys = reload->keys;
    struct policy *policy = reload->policy;

    reload->keys = NULL;
    reload->policy = NULL;
    if (reload->tls != NULL) {
        swap_tls(app);
        reload->tls_due = false;
    }
    if (keys != NULL) {
        reload->keys_due = false;
        token_verifier_set_keys(app->verifier, keys);
        auth_revoke(&app->auth);
    }
    if (policy != NULL) {
        access_set_policy(app->access, policy);
    }
}

void app_watch_files(struct app *app)
{
    const char *paths[APP_FILE_COUNT];
    unsigned count = app_files_paths(app->config, paths);
    int result = app->file_watch == NULL ? 0 : file_watch_set(app->file_watch, paths, count);

    if (result != 0) {
        app_log_unwatched(app, result);
    }
}

static void commit_whole(struct app *app)
{
    struct app_reload *reload = &app->reload;

    app->files = reload->files;
    app_log_warnings(app, reload->fresh);
    app_log_changes(app, reload->fresh, &reload->diff);
    config_diff_take(app->replaceable, reload->fresh);
    set_options(app);
    swap_parts(app);
    app_watch_files(app);
    reload->files_wanted = true; /* at new paths nobody watched since step 2 */
    reload->has_taken = true;
    app_log_reloaded(app, reload->changed_files);
}

/* Each part for itself. */
static void commit_files(struct app *app)
{
    struct app_reload *reload = &app->reload;
    unsigned taken =
        (reload->tls != NULL ? APP_FILES_TLS : 0) | (reload->keys != NULL ? APP_FILES_KEYS : 0);

    app->files = reload->files;
    swap_parts(app);
    if ((reload->changed_files & taken) != 0) {
        reload->has_taken = true;
        app_log_reloaded(app, reload->changed_files & taken);
    }
}

/* What a whole reload refused is not to be refused a second time as a file that changed. */
static void remember_refused(struct app *app)
{
    const struct app_reload *reload = &app->reload;
    struct app_files now;
    unsigned other;

    app_files_look(app->config, &now);
    other = app_files_compare(&now, &reload->files);
    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        if ((reload->refused_files & ~other & 1U << i) != 0) {
            memcpy(app->files.prints[i], now.prints[i], sizeof(now.prints[i]));
        }
    }
}

/* Step 4. */
static void commit(struct app *app)
{
    const struct app_reload *reload = &app->reload;

    if (!reload->is_whole) {
        commit_files(app);
    } else if (!reload->has_failed) {
        commit_whole(app);
    } else if (reload->fresh != NULL) {
        remember_refused(app);
    }
}

/* Step 5: some streams in each turn, then the policy on all of them. */
static void rejudge_streams(struct app *app)
{
    if (!app->reload.token_rules_changed) {
        return;
    }
    if (auth_rejudge(&app->auth, STREAMS_PER_STEP)) {
        access_rejudge(app->access); /* their roles may be others */
    } else {
        app->reload.step--; /* once more */
    }
}

typedef void (*app_reload_step_fn)(struct app *app);

static const app_reload_step_fn steps[] = {
    read_config,        look_at_files, make_tls, make_keys,
    make_token_options, make_policy,   commit,   rejudge_streams,
};

#define STEP_COUNT (sizeof(steps) / sizeof(steps[0]))

/* `source` NULL = files that changed. */
static void begin(struct app *app, const char *source)
{
    struct app_reload *reload = &app->reload;

    reload->is_running = true;
    reload->is_whole = source != NULL;
    reload->source = source != NULL ? source : "files";
    reload->has_failed = false;
    reload->has_taken = false;
    reload->step = 0;
    reload->worked_ns = 0;
    reload->changed_files = 0;
    reload->refused_files = 0;
    reload->token_rules_changed = false;
    reload->diff = (struct config_diff){.policy = false};
    (void)reactor_start_timer(&app->reactor, &reload->next_step, 0); /* has its place */
    if (reload->is_whole) {
        app_manager_reloading(app); /* what the manager may have asked for */
    }
}

static void end(struct app *app)
{
    struct app_reload *reload = &app->reload;

    drop(reload);
    reload->is_running = false;
    app_metrics_note_reload(app, reload->has_taken, reload->has_failed);
    (void)reactor_start_timer(&app->reactor, &reload->next_step, UINT64_MAX);
    if (reload->is_whole) {
        app_manager_reloaded(app);
    }
    if (reload->whole_wanted != NULL) {
        const char *source = reload->whole_wanted;

        reload->whole_wanted = NULL;
        reload->files_wanted = false; /* it looks at the files, too */
        begin(app, source);
    } else if (reload->files_wanted) {
        reload->files_wanted = false;
        begin(app, NULL);
    }
}

static void on_next_step(struct timer *timer)
{
    struct app_reload *reload = CONTAINER_OF(timer, struct app_reload, next_step);
    struct app *app = CONTAINER_OF(reload, struct app, reload);
    uint64_t begun_ns = clock_monotonic_ns(app->reactor.clock);

    steps[reload->step++](app);
    reload->worked_ns += clock_monotonic_ns(app->reactor.clock) - begun_ns;
    if (reload->step == STEP_COUNT) {
        end(app);
    } else {
        (void)reactor_start_timer(&app->reactor, timer, 0); /* the place it had is free */
    }
}

int app_reload_open(struct app *app)
{
    int result;

    app->reload.next_step.fire = on_next_step;
    app->certificate_timer.fire = on_certificate_timer;
    result = reactor_start_timer(&app->reactor, &app->reload.next_step, UINT64_MAX);
    if (result == 0) {
        result = reactor_start_timer(&app->reactor, &app->certificate_timer, DAY_NS);
    }
    app->reload.is_open = result == 0;
    return result;
}

int app_reload_whole(struct app *app, const char *source)
{
    struct app_reload *reload = &app->reload;

    if (!reload->is_open) {
        return -ESHUTDOWN;
    }
    if (reload->is_running) {
        reload->whole_wanted = source;
    } else {
        begin(app, source);
    }
    return 0;
}

void app_reload_files(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (reload->is_running) {
        reload->files_wanted = true;
    } else if (reload->is_open) {
        begin(app, NULL);
    }
}

void app_reload_close(struct app *app)
{
    app->reload.is_open = false;
    app->reload.is_running = false;
    if (app->reactor_is_open) {
        reactor_stop_timer(&app->reactor, &app->reload.next_step);
        reactor_stop_timer(&app->reactor, &app->certificate_timer);
    }
    drop(&app->reload);
}
