/*
 * What the two halves of the composition share: app_start.c builds it, app.c runs it and takes it
 * down.
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
#include "service/auth.h"
#include "service/commit_log.h"

#include <stdbool.h>

struct admin;
struct config;
struct disk;
struct grpc_server;
struct health;
struct observe;
struct tls_context;
struct user_service;
struct workpool;

#define APP_PROBLEM_SIZE 2048 /* of a log and a path */
#define APP_STAGE_COUNT  2

enum app_state {
    APP_STATE_STARTING,
    APP_STATE_SERVING,
    APP_STATE_LEAVING,  /* a signal came; still serving */
    APP_STATE_DRAINING, /* no new connections */
    APP_STATE_DRAINED,
};

struct app {
    const struct config *config;
    enum app_state state;
    int exit_code;
    char problem[APP_PROBLEM_SIZE]; /* why a step failed */
    struct log log;
    struct tls_context *tls;
    struct token_verifier *verifier;
    struct reactor reactor;
    bool reactor_is_open;
    struct disk *disk;
    struct workpool *pool;
    struct commit_log *commit_log;
    bool commit_log_is_open;
    struct user_service *users;
    struct health *health;
    struct admin *admin; /* NULL = no admin port */
    struct grpc_method_table methods;
    bool methods_are_built;
    struct observe *observe;
    struct auth auth;
    struct grpc_stage stages[APP_STAGE_COUNT];
    struct grpc_dispatch dispatch;
    struct grpc_server *server;
    struct signals signals;
    bool signals_are_open;
    struct timer drain_delay;
};

/* Runs the steps of the start, all of them or those of app_check(). Returns EX_OK; or the exit
 * code, after a line in the log. Then what was built up to there is to be taken down. */
int app_start(struct app *app);
int app_start_checks(struct app *app);

/* What the started parts report to. */
void app_on_signal(struct signals *signals, int number);
void app_on_log_state(void *context, enum commit_log_state state, const char *reason);
void app_on_checkpoint(void *context, const struct wal_snapshot_report *report);

/* Asks for a snapshot of all users; the log says by whom, and why there will be none. Returns as
 * user_service_checkpoint(). */
int app_request_snapshot(struct app *app, const char *source);

#endif
