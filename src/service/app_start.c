/*
 * The list `steps` at the end is the server, from the log to the listeners. Each step makes one
 * part. They run in order, and what can be wrong with the configuration comes before what touches
 * data. The first step that fails ends the start: `problem` says why, and its result is the exit
 * code.
 */
#include "core/clock.h"
#include "core/disk.h"
#include "core/file_watch.h"
#include "core/process_guard.h"
#include "core/random.h"
#include "core/tls.h"
#include "core/workpool.h"
#include "service/access.h"
#include "service/admin.h"
#include "service/app_internal.h"
#include "service/app_options.h"
#include "service/health.h"
#include "service/overload.h"
#include "service/rate_limit.h"
#include "service/token.h"
#include "service/token_keys.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#define PAGE_TOKEN_KEY_NAME "page-token.key" /* in the data directory */

/* How long files of the configuration must be left alone until they are read again, unless somebody
 * never does. */
#define SETTLE_NS   (500 * CLOCK_NS_PER_MS)
#define PATIENCE_NS (5 * CLOCK_NS_PER_S)
#define LOOK_NS     (2 * CLOCK_NS_PER_S) /* at files in folders that may not be read */

#define FILES_BESIDE_CONNECTIONS 64 /* log segments, listeners, the ring and the like */

_Static_assert(APP_PROBLEM_SIZE >= RING_PROBLEM_SIZE, "the ring's problem must fit");
_Static_assert(APP_PROBLEM_SIZE >= WAL_PROBLEM_SIZE, "the log's problem must fit");

int app_fail(struct app *app, int exit_code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(app->problem, sizeof(app->problem), format, arguments);
    va_end(arguments);
    return exit_code;
}

int app_fail_option(struct app *app, int exit_code, const char *option)
{
    char problem[APP_PROBLEM_SIZE];

    memcpy(problem, app->problem, sizeof(problem));
    return app_fail(app, exit_code, "%s: %s", option, problem);
}

static int open_log(struct app *app)
{
    const struct config *config = app->config;

    log_init(&app->log, clock_system());
    app->log.level = (enum log_level)config->log_level;
    app->log.format = (enum log_format)config->log_format;
    app->log.lines_per_s_max = (uint32_t)config->log_lines_per_s;
    app_log_warnings(app, config);
    return EX_OK;
}

/* Before there is anything to keep secret. */
static int guard_memory(struct app *app)
{
    int result = app->config->server_core_dumps ? 0 : process_guard_close();

    if (result != 0) {
        log_event(&app->log, LEVEL_WARN, "memory_exposed", FIELD_TEXT("cause", strerror(-result)),
                  FIELD_TEXT("effect", "a core file or a debugger may show keys and passwords"));
    }
    return EX_OK;
}

/* Before any of them is read: what changes after that is noticed. */
static int look_at_files(struct app *app)
{
    app_files_look(app->config, &app->files);
    return EX_OK;
}

static int load_certificate(struct app *app)
{
    int exit_code;

    if (!app->config->tls_enabled) {
        return EX_OK;
    }
    exit_code = app_parts_tls(app->config, app->problem, &app->tls);
    if (exit_code == EX_OK) {
        app_log_certificate(app);
    }
    return exit_code;
}

static int load_keys(struct app *app)
{
    const struct config *config = app->config;
    struct token_options options = app_options_token(config);
    struct token_keys *keys = NULL;
    int exit_code;

    if (config->auth_mode == CONFIG_AUTH_NONE) {
        return EX_OK;
    }
    exit_code = app_parts_keys(config, &app->log, app->problem, &keys);
    if (exit_code != EX_OK) {
        return exit_code;
    }
    if (token_verifier_new(clock_system(), random_system(), &options, &app->verifier) != 0) {
        token_keys_free(keys);
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    token_verifier_set_keys(app->verifier, keys);
    return EX_OK;
}

/* Every connection is a file: take what the system gives. */
static int raise_file_limit(struct app *app)
{
    uint64_t wanted = app->config->limits_max_connections + app->config->admin_max_connections +
                      app->config->health_max_connections + FILES_BESIDE_CONNECTIONS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return app_fail(app, EX_SOFTWARE, "getrlimit: %s", strerror(errno));
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        log_event(&app->log, LEVEL_WARN, "few_files", FIELD_NUMBER("limit", limit.rlim_cur),
                  FIELD_NUMBER("wanted", wanted),
                  FIELD_TEXT("cause", "limits.max_connections needs a higher LimitNOFILE"));
    }
    return EX_OK;
}

static int open_reactor(struct app *app)
{
    const struct ring_options options = {
        .entries = 1024,
        .recv_buffer_count = 256,
        .recv_buffer_size = 16384, /* nghttp2's flood limits ask for no more at once */
        .busy_poll_ns = app->config->server_busy_poll_us * CLOCK_NS_PER_US,
    };

    if (reactor_init(&app->reactor, &options, clock_system(), &app->log, app->problem) != 0) {
        return EX_CONFIG;
    }
    app->reactor_is_open = true;
    app_metrics_open(app);
    return EX_OK;
}

static int open_disk(struct app *app)
{
    const char *path = app->config->store_data_dir;
    pid_t holder = 0;
    int result = disk_new(&app->reactor, path, &app->disk);

    if (result == -ENOENT || result == -ENOTDIR || result == -EACCES || result == -EROFS) {
        return app_fail(app, EX_CONFIG, "store.data_dir: %s: %s", path, strerror(-result));
    }
    if (result == 0) {
        result = app->disk->ops->lock(app->disk, &holder);
    }
    if (result == DISK_E_LOCKED) {
        return app_fail(app, EX_TEMPFAIL, "store.data_dir: %s is in use by process %ld", path,
                        (long)holder);
    }
    return result == 0 ? EX_OK
                       : app_fail(app, EX_IOERR, "store.data_dir: %s: %s", path, strerror(-result));
}

static int start_workers(struct app *app)
{
    int result = workpool_new(&app->reactor, app_options_workers(app->config),
                              (unsigned)app->config->password_queue_max, &app->pool);

    return result == 0 ? EX_OK : app_fail(app, EX_SOFTWARE, "threads: %s", strerror(-result));
}

/* Reads the key of the page tokens, which the first start makes. */
static int load_page_token_key(struct app *app, struct page_token_key *key)
{
    const char *named = app->config->store_page_token_key_file;
    char path[PATH_MAX];
    int size;
    int result;

    size = named[0] != '\0' ? snprintf(path, sizeof(path), "%s", named)
                            : snprintf(path, sizeof(path), "%s/" PAGE_TOKEN_KEY_NAME,
                                       app->config->store_data_dir);
    if (size < 0 || (size_t)size >= sizeof(path)) {
        return app_fail(app, EX_CONFIG, "store.page_token_key_file: the path is too long");
    }
    if (app_parts_check_private("store.page_token_key_file", path, app->problem) != EX_OK) {
        return EX_CONFIG;
    }
    result = page_token_key_load(path, random_system(), key);
    if (result == PAGE_TOKEN_E_KEY) {
        return app_fail(app, EX_CONFIG,
                        "store.page_token_key_file: %s must hold %d bytes; make one with: "
                        "openssl rand -out %s %d",
                        path, PAGE_TOKEN_KEY_SIZE, path, PAGE_TOKEN_KEY_SIZE);
    }
    if (result != 0) {
        return app_fail(app, named[0] != '\0' ? EX_CONFIG : EX_IOERR,
                        "store.page_token_key_file: %s: %s", path, strerror(-result));
    }
    return EX_OK;
}

static int make_health(struct app *app)
{
    struct health_options options = app_options_health(app->config);

    return health_new(&app->reactor, &options, &app->health) == 0
               ? EX_OK
               : app_fail(app, EX_SOFTWARE, "out of memory");
}

/* Before the users, whose streams ask it. */
static int make_rate_limit(struct app *app)
{
    struct rate_limit_options options = app_options_rate(app->config);

    return rate_limit_new(random_system(), &options, &app->rate_limit) == 0
               ? EX_OK
               : app_fail(app, EX_SOFTWARE, "out of memory");
}

static int make_users(struct app *app)
{
    struct user_service_options users = app_options_users(app->config);
    struct wal_options wal = app_options_wal(app->config);
    struct random_source *random = random_system();
    int result = load_page_token_key(app, &users.lister.page_token_key);

    users.streams.rate = app->rate_limit;
    if (result == EX_OK &&
        (commit_log_wal_new(app->disk, &app->reactor, random, &wal, &app->commit_log) != 0 ||
         user_service_new(&app->reactor, random, app->pool, &users, &app->users) != 0)) {
        result = app_fail(app, EX_SOFTWARE, "out of memory");
    }
    page_token_key_wipe(&users.lister.page_token_key);
    return result;
}

static int recovery_exit_code(int result)
{
    if (result == WAL_E_DAMAGED || result == WAL_E_FOREIGN || result == -EBADMSG) {
        return EX_DATAERR;
    }
    return result == -ENOMEM ? EX_SOFTWARE : EX_IOERR;
}

/* Why the data cannot be served. */
static int fail_recovery(struct app *app, int result)
{
    const char *path = app->config->store_data_dir;
    int exit_code = recovery_exit_code(result);
    char problem[APP_PROBLEM_SIZE];

    if (exit_code != EX_DATAERR) {
        return app_fail_option(app, exit_code, path);
    }
    memcpy(problem, app->problem, sizeof(problem));
    return app_fail(app, exit_code,
                    "%.512s: %s; nothing was changed; look at it with: userwal verify %s", path,
                    problem, path);
}

static void log_recovery(struct app *app, uint64_t taken_ns)
{
    const struct wal_stats *stats = app->commit_log->ops->stats(app->commit_log);

    if (stats->may_have_lost) {
        log_event(&app->log, LEVEL_WARN, "changes_may_be_lost",
                  FIELD_TEXT("cause",
                             "a run with wal.sync = interval did not end properly, or the "
                             "log was cut or restored; etags go on far above the old ones"));
    }
    log_event(&app->log, stats->torn_bytes == 0 ? LEVEL_INFO : LEVEL_WARN, "recovered",
              FIELD_TEXT("data_dir", app->config->store_data_dir),
              FIELD_NUMBER("users", user_service_user_count(app->users)),
              FIELD_NUMBER("records", stats->records_loaded + stats->records_replayed),
              FIELD_NUMBER("loaded", stats->records_loaded),
              FIELD_NUMBER("replayed", stats->records_replayed),
              FIELD_NUMBER("snapshot", stats->snapshot_lsn),
              FIELD_NUMBER("torn_bytes", stats->torn_bytes),
              FIELD_NUMBER("ms", taken_ns / CLOCK_NS_PER_MS));
}

static void on_progress(void *context, const struct wal_progress *progress)
{
    app_manager_replaying(context, progress);
}

static int recover_users(struct app *app)
{
    uint64_t start_ns = clock_monotonic_ns(clock_system());
    int result;

    user_service_watch_checkpoints(app->users, app_on_checkpoint, app);
    user_service_watch_recovery(app->users, on_progress, app);
    app_manager_replaying(app, NULL);
    result = user_service_start(app->users, app->commit_log, app_on_log_state, app, app->problem);
    if (result != 0) {
        return fail_recovery(app, result);
    }
    app->commit_log_is_open = true;
    log_recovery(app, clock_monotonic_ns(clock_system()) - start_ns);
    return EX_OK;
}

/* After the recovery, which a signal may simply end. */
static int catch_signals(struct app *app)
{
    int result = signals_open(&app->signals, &app->reactor, app_on_signal);

    if (result != 0) {
        return app_fail(app, EX_SOFTWARE, "signals: %s", strerror(-result));
    }
    app->signals_are_open = true;
    return EX_OK;
}

static int take_snapshot(void *context)
{
    return app_request_snapshot(context, "admin");
}

static int write_config(void *context, struct buf *out)
{
    const struct app *app = context;

    return config_print(app->config, out);
}

static int reload(void *context)
{
    return app_reload_whole(context, "admin");
}

static int open_admin(struct app *app)
{
    struct admin_options options = app_options_admin(app->config);

    options.passed_fd = app_listen_passed(app, APP_PORT_ADMIN, &options.listen);
    if (options.listen[0] == '\0') {
        return EX_OK;
    }
    options.health = app->health;
    options.log = &app->log;
    options.take_snapshot = take_snapshot;
    options.reload = reload;
    options.write_config = write_config;
    options.write_metrics = app_metrics_write;
    options.context = app;
    if (admin_new(&app->reactor, &options, app->problem, &app->admin) != 0) {
        return app_fail_option(app, EX_CONFIG, "admin.listen");
    }
    log_event(&app->log, LEVEL_INFO, "admin_listening",
              FIELD_TEXT("address", admin_address(app->admin)),
              FIELD_TEXT("activated", options.passed_fd == 0 ? "no" : "yes"));
    return EX_OK;
}

/* What was chosen and should not be forgotten. */
static void warn_of_interval(struct app *app)
{
    char cause[160];

    if (app->config->wal_sync == CONFIG_WAL_SYNC_INTERVAL) {
        (void)snprintf(cause, sizeof(cause),
                       "wal.sync = interval: a power cut may take back what was answered in the "
                       "last %llu ms; so may a failing disk; a crash of userd takes nothing",
                       (unsigned long long)app->config->wal_sync_interval_ms);
        log_event(&app->log, LEVEL_WARN, "unsynced_answers", FIELD_TEXT("cause", cause));
    }
}

static int say_who_we_are(struct app *app)
{
    app_manager_log(app);
    warn_of_interval(app);
    log_event(&app->log, LEVEL_INFO, "starting", FIELD_TEXT("version", USERD_VERSION),
              FIELD_NUMBER("pid", getpid()), FIELD_TEXT("tls_library", tls_library()),
              FIELD_TEXT("accelerated", tls_is_accelerated() ? "yes" : "no"),
              FIELD_TEXT("config", app->config->file == NULL ? "" : app->config->file));
    if (app->tls != NULL && !tls_is_accelerated()) {
        log_event(&app->log, LEVEL_WARN, "slow_tls",
                  FIELD_TEXT("cause", "this wolfSSL uses no CPU acceleration: build with "
                                      "`make TLS=accelerated`"));
    }
    return EX_OK;
}

static void on_files_changed(void *context)
{
    app_reload_files(context);
}

/* Without a watch SIGHUP still works. What changed since look_at_files() is taken now. */
static int watch_files(struct app *app)
{
    const struct file_watch_options options = {
        .settle_ns = SETTLE_NS,
        .patience_ns = PATIENCE_NS,
        .look_ns = LOOK_NS,
        .changed = on_files_changed,
        .context = app,
    };
    int result;

    if (app_reload_open(app) != 0) {
        return app_fail(app, EX_SOFTWARE, "out of memory");
    }
    result = file_watch_new(&app->reactor, &options, &app->file_watch);
    if (result != 0) {
        app_log_unwatched(app, result);
    }
    app_watch_files(app);
    app_reload_files(app);
    return EX_OK;
}

typedef int (*app_step_fn)(struct app *app);

static const app_step_fn steps[] = {
    open_log,           /* and say what is doubtful in the configuration */
    guard_memory,       /* against core files and debuggers */
    look_at_files,      /* of certificates and keys, before they are read */
    load_certificate,   /* TLS context */
    load_keys,          /* token verifier */
    say_who_we_are,     /* version, TLS library */
    app_listen_take,    /* sockets that a service manager has passed */
    raise_file_limit,   /* of the process */
    open_reactor,       /* ring, timers */
    open_disk,          /* data directory, its lock */
    start_workers,      /* threads that hash passwords */
    make_health,        /* which says that we are starting */
    make_rate_limit,    /* how much one peer may ask for */
    make_users,         /* commit log and user service, empty */
    recover_users,      /* read what the disk holds */
    app_build_dispatch, /* method table and stages */
    catch_signals,      /* from here on a signal is an orderly end */
    app_listen_prepare, /* the server, which does not listen yet */
    open_admin,         /* for probes and administrators */
    app_listen_health,  /* for probes that know neither TLS nor tokens */
    watch_files,        /* certificates and keys that change are taken */
    app_listen_grpc     /* last: whoever can connect is served */
};

#define CHECK_STEP_COUNT 5 /* the first ones touch neither data nor network */

static int run_steps(struct app *app, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int exit_code = steps[i](app);

        if (exit_code != EX_OK) {
            log_event(&app->log, LEVEL_ERROR, "start_failed", FIELD_TEXT("cause", app->problem),
                      FIELD_NUMBER("exit", exit_code));
            return exit_code;
        }
    }
    return EX_OK;
}

int app_start(struct app *app)
{
    return run_steps(app, sizeof(steps) / sizeof(steps[0]));
}

int app_start_checks(struct app *app)
{
    return run_steps(app, CHECK_STEP_COUNT);
}
