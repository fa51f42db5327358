#include "service/app_reload.h"

#include "core/clock.h"
#include "core/file_watch.h"
#include "core/tls.h"
#include "http2/grpc_server.h"
#include "service/access.h"
#include "service/app_internal.h"
#include "service/app_options.h"
#include "service/config.h"
#include "service/overload.h"
#include "service/policy.h"
#include "service/rate_limit.h"
#include "service/token.h"

#include <assert.h>
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
 *
 * What can go wrong: a mistake in any of them. Then the log has one `reload_failed` for each, a
 * whole reload changes nothing at all, and one of files alone changes only the other part. Files
 * that were refused are not tried again before they change, or SIGHUP comes. A certificate and its
 * key that are replaced one after the other may be met in between: that is refused, and the second
 * change is taken.
 */

#define DAY_NS (24 * 3600 * CLOCK_NS_PER_S)

#define NAMES_SIZE 1024

static int64_t now_s(const struct app *app)
{
    return (int64_t)(clock_realtime_ns(app->log.clock) / CLOCK_NS_PER_S);
}

static const char *source_of(const struct app_reload *reload)
{
    return reload->is_whole ? "SIGHUP" : "files";
}

static void fail(struct app *app, const char *cause)
{
    app->reload.has_failed = true;
    log_event(&app->log, LEVEL_ERROR, "reload_failed",
              FIELD_TEXT("source", source_of(&app->reload)), FIELD_TEXT("cause", cause),
              FIELD_TEXT("effect", app->reload.is_whole ? "nothing was changed"
                                                        : "the old one stays in use"));
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
    policy_free(reload->policy);
    reload->tls = NULL;
    reload->keys = NULL;
    reload->policy = NULL;
    free_fresh(reload);
}

/* One event for each line. */
static void log_lines(struct app *app, const struct buf *lines,
                      void (*log_line)(struct app *app, const char *line))
{
    struct bytes rest = buf_bytes(lines);

    while (rest.size > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.size);
        char line[APP_PROBLEM_SIZE];
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.data);
        size_t shown = size < sizeof(line) ? size : sizeof(line) - 1;

        memcpy(line, rest.data, shown);
        line[shown] = '\0';
        log_line(app, line);
        size += end != NULL;
        rest = (struct bytes){rest.data + size, rest.size - size};
    }
}

static void log_warning(struct app *app, const char *line)
{
    log_event(&app->log, LEVEL_WARN, "configuration", FIELD_TEXT("warning", line));
}

void app_log_warnings(struct app *app, const struct config *config)
{
    log_lines(app, &config->warnings, log_warning);
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
    log_lines(app, &errors, fail);
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

/* Is the part to be made? */
static bool is_due(const struct app_reload *reload, const char *section, unsigned files,
                   bool was_refused)
{
    if (reload->is_whole && reload->fresh == NULL) {
        return false;
    }
    return (reload->changed_files & files) != 0 ||
           (reload->is_whole && (was_refused || config_diff_touches(&reload->diff, section)));
}

/* Refuses an expired certificate while the one in use is good. */
static bool is_worse(struct app *app, const struct tls_context *fresh)
{
    return app_certificate_judge(tls_context_not_after_s(fresh), now_s(app)) ==
               APP_CERTIFICATE_EXPIRED &&
           app_certificate_judge(tls_context_not_after_s(app->tls), now_s(app)) !=
               APP_CERTIFICATE_EXPIRED;
}

/* Step 3. */
static void make_tls(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (app->tls == NULL || !is_due(reload, "tls", APP_FILES_TLS, reload->tls_refused)) {
        return;
    }
    reload->tls_refused = true;
    if (app_parts_tls(config_of(app), reload->problem, &reload->tls) != EX_OK) {
        fail(app, reload->problem);
    } else if (is_worse(app, reload->tls)) {
        fail(app, "tls.cert_file: this certificate has expired, and the one in use has not");
        tls_context_unref(reload->tls);
        reload->tls = NULL;
    } else {
        reload->tls_refused = false;
    }
}

static void make_keys(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (app->verifier == NULL || !is_due(reload, "auth", APP_FILES_KEYS, reload->keys_refused)) {
        return;
    }
    reload->keys_refused =
        app_parts_keys(config_of(app), &app->log, reload->problem, &reload->keys) != EX_OK;
    if (reload->keys_refused) {
        fail(app, reload->problem);
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

void app_log_certificate(struct app *app)
{
    int64_t not_after_s = tls_context_not_after_s(app->tls);
    char when[APP_TIME_SIZE];

    app_time_format(not_after_s, when);
    switch (app_certificate_judge(not_after_s, now_s(app))) {
    case APP_CERTIFICATE_GOOD:
        break;
    case APP_CERTIFICATE_ENDING:
        log_event(&app->log, LEVEL_WARN, "certificate_expires",
                  FIELD_TEXT("file", app->config->tls_cert_file), FIELD_TEXT("not_after", when),
                  FIELD_NUMBER("days", (not_after_s - now_s(app)) / (24 * 3600)));
        break;
    case APP_CERTIFICATE_EXPIRED:
        log_event(&app->log, LEVEL_ERROR, "certificate_expired",
                  FIELD_TEXT("file", app->config->tls_cert_file), FIELD_TEXT("not_after", when),
                  FIELD_TEXT("cause", "clients refuse it: replace tls.cert_file and "
                                      "tls.key_file; userd takes them without a restart"));
        break;
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
    grpc_server_set_options(app->server, &server);
    rate_limit_set_options(app->rate_limit, &rate);
    overload_set_options(app->overload, &overload);
    access_set_options(app->access, &access);
    app_options_auth(app->config, &app->auth);
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
    }
    if (keys != NULL) {
        token_verifier_set_keys(app->verifier, keys);
        auth_revoke(&app->auth);
    }
    if (policy != NULL) {
        access_set_policy(app->access, policy);
    }
}

static void log_reload(struct app *app, unsigned files_taken)
{
    const struct app_reload *reload = &app->reload;
    char options[NAMES_SIZE] = "";
    char files[NAMES_SIZE];

    if (reload->is_whole) {
        config_diff_name(&reload->diff, true, options, sizeof(options));
    }
    app_files_name(files_taken, files, sizeof(files));
    log_event(&app->log, LEVEL_INFO, "reloaded", FIELD_TEXT("source", source_of(reload)),
              FIELD_TEXT("options", options), FIELD_TEXT("files", files),
              FIELD_NUMBER("us", reload->worked_ns / CLOCK_NS_PER_US));
    if (reload->is_whole && reload->diff.kept > 0) {
        config_diff_name(&reload->diff, false, options, sizeof(options));
        log_event(&app->log, LEVEL_WARN, "restart_needed", FIELD_TEXT("options", options),
                  FIELD_TEXT("cause", "these are taken at the next start"));
    }
}

void app_log_unwatched(struct app *app, int error)
{
    log_event(&app->log, LEVEL_WARN, "files_not_watched", FIELD_TEXT("cause", strerror(-error)),
              FIELD_TEXT("effect", "certificates and keys that change are taken at SIGHUP"));
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
    config_diff_take(app->replaceable, reload->fresh);
    if (reload->diff.taken > 0) {
        set_options(app);
    }
    swap_parts(app);
    app_watch_files(app);
    reload->files_wanted = true; /* at new paths nobody watched since step 2 */
    log_reload(app, reload->changed_files);
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
        log_reload(app, reload->changed_files & taken);
    }
}

/* What a whole reload refused is not to be refused a second time as a file that changed. */
static void remember_refused(struct app *app)
{
    const struct app_reload *reload = &app->reload;
    unsigned refused =
        (reload->tls_refused ? APP_FILES_TLS : 0) | (reload->keys_refused ? APP_FILES_KEYS : 0);
    struct app_files now;
    unsigned other;

    app_files_look(app->config, &now);
    other = app_files_compare(&now, &reload->files);
    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        if ((refused & ~other & 1U << i) != 0) {
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

typedef void (*app_reload_step_fn)(struct app *app);

static const app_reload_step_fn steps[] = {
    read_config, look_at_files, make_tls, make_keys, make_policy, commit,
};

#define STEP_COUNT (sizeof(steps) / sizeof(steps[0]))

static void begin(struct app *app, bool is_whole)
{
    struct app_reload *reload = &app->reload;

    reload->is_running = true;
    reload->is_whole = is_whole;
    reload->has_failed = false;
    reload->step = 0;
    reload->worked_ns = 0;
    reload->changed_files = 0;
    reload->diff = (struct config_diff){.policy = false};
    (void)reactor_start_timer(&app->reactor, &reload->next_step, 0); /* has its place */
}

static void end(struct app *app)
{
    struct app_reload *reload = &app->reload;

    drop(reload);
    reload->is_running = false;
    (void)reactor_start_timer(&app->reactor, &reload->next_step, UINT64_MAX);
    if (reload->whole_wanted) {
        reload->whole_wanted = false; /* it looks at the files, too */
        reload->files_wanted = false;
        begin(app, true);
    } else if (reload->files_wanted) {
        reload->files_wanted = false;
        begin(app, false);
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

void app_reload_whole(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (reload->is_running) {
        reload->whole_wanted = true;
    } else if (reload->is_open) {
        begin(app, true);
    }
}

void app_reload_files(struct app *app)
{
    struct app_reload *reload = &app->reload;

    if (reload->is_running) {
        reload->files_wanted = true;
    } else if (reload->is_open) {
        begin(app, false);
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
