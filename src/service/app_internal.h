/*
 * What the pieces of the composition share: app_start.c and app_dispatch.c build it, app.c runs it
 * and takes it down, app_reload.c replaces parts of it, app_report.c tells of all that in the log.
 *
 * Owns:    everything in it.
 * Borrows: the configuration.
 * Thread:  loop only.
 */
#ifndef SERVICE_APP_INTERNAL_H
#define SERVICE_APP_INTERNAL_H

#include "core/log.h"
#include "core/reactor.h"
#include "core/signals.h"
#include "http2/grpc_dispatch.h"
#include "service/app_files.h"
#include "service/app_listen.h"
#include "service/app_manager.h"
#include "service/app_metrics.h"
#include "service/app_parts.h"
#include "service/app_reload.h"
#include "service/auth.h"
#include "service/commit_log.h"

#include <stdbool.h>

struct access;
struct admin;
struct config;
struct disk;
struct file_watch;
struct grpc_server;
struct health;
struct health_port;
struct observe;
struct overload;
struct rate_limit;
struct reflection;
struct tls_context;
struct token_verifier;
struct user_service;
struct workpool;

#define APP_STAGE_COUNT 6

enum app_state {
    APP_STATE_STARTING,
    APP_STATE_SERVING,
    APP_STATE_LEAVING,  /* a signal came; still serving */
    APP_STATE_DRAINING, /* no new connections */
    APP_STATE_DRAINED,
};

struct app {
    const struct config *config; /* in force */
    struct config *replaceable;  /* the same, for a reload; NULL while it only checks */
    enum app_state state;
    int exit_code;
    char problem[APP_PROBLEM_SIZE]; /* why a step failed */
    struct log log;
    struct app_files files;          /* as the parts in use were made from them */
    struct tls_context *tls;         /* NULL = without TLS */
    struct token_verifier *verifier; /* NULL = without tokens */
    struct reactor reactor;
    bool reactor_is_open;
    struct disk *disk;
    struct workpool *pool;
    struct commit_log *commit_log;
    bool commit_log_is_open;
    struct user_service *users;
    struct health *health;
    struct reflection *reflection;   /* NULL = it is not served */
    struct admin *admin;             /* NULL = no admin port */
    struct health_port *health_port; /* NULL = no such port */
    struct grpc_method_table methods;
    bool methods_are_built;
    struct observe *observe;
    struct overload *overload;
    struct rate_limit *rate_limit;
    struct auth auth;
    struct access *access;
    struct grpc_stage stages[APP_STAGE_COUNT];
    struct grpc_dispatch dispatch;
    struct grpc_server *server;
    struct signals signals;
    bool signals_are_open;
    struct timer drain_delay;
    struct timer certificate_timer;
    struct file_watch *file_watch; /* NULL = the system gives none */
    struct app_reload reload;
    struct app_metrics metrics;
    struct app_listen listen;
    struct app_manager manager;
};

/* Runs the steps of the start, all of them or those of app_check(). Returns EX_OK; or the exit
 * code, after a line in the log. Then what was built up to there is to be taken down. */
int app_start(struct app *app);
int app_start_checks(struct app *app);

/* Sets the problem and returns the exit code, so that a step can end with it. */
__attribute__((format(printf, 3, 4))) int app_fail(struct app *app, int exit_code,
                                                   const char *format, ...);

/* Puts the name of the option before the problem that somebody else has described. */
int app_fail_option(struct app *app, int exit_code, const char *option);

/* The step that builds method table and stages. */
int app_build_dispatch(struct app *app);

/* Hands the lines on, one after the other, cut at APP_PROBLEM_SIZE. */
void app_log_lines(struct app *app, const struct buf *lines,
                   void (*log_line)(struct app *app, const char *line));

/* Writes what is doubtful in the configuration to the log. */
void app_log_warnings(struct app *app, const struct config *config);

/* What a reload brings, before it is taken; that it was taken, with the files; that it was not. */
void app_log_changes(struct app *app, const struct config *fresh, const struct config_diff *diff);
void app_log_reloaded(struct app *app, unsigned files_taken);
void app_log_reload_failed(struct app *app, const char *cause);

/* Seconds since 1970. */
int64_t app_now_s(const struct app *app);

/* Says when the certificate in use ends soon or has ended. */
void app_log_certificate(struct app *app);

/* Sees to it that app_reload_files() is called when a file of the configuration changes. */
void app_watch_files(struct app *app);

/* Says that it is not, or not for all of them. */
void app_log_unwatched(struct app *app, int error);

/* What the started parts report to. */
void app_on_signal(struct signals *signals, int number);
void app_on_log_state(void *context, enum commit_log_state state, const char *reason);
void app_on_checkpoint(void *context, const struct wal_snapshot_report *report);

/* Asks for a snapshot of all users; the log says by whom, and why there will be none. Returns as
 * user_service_checkpoint(). */
int app_request_snapshot(struct app *app, const char *source);

#endif
