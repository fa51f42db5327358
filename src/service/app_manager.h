/*
 * Tells the service manager how the server is: core/service_manager.h, put to use.
 *
 * Owns:    the connection to the manager, its timer.
 * Borrows: the app.
 * Thread:  loop only.
 */
#ifndef SERVICE_APP_MANAGER_H
#define SERVICE_APP_MANAGER_H

#include "core/service_manager.h"
#include "core/timer.h"

#include <stdbool.h>

#define APP_MANAGER_REFUSAL_SIZE 256

struct app;
struct wal_progress;

struct app_manager {
    struct service_manager link;
    struct timer tick; /* always armed once it is, so that moving it needs no memory */
    bool is_ticking;
    bool is_deaf;     /* the last flush failed for another reason than want of room */
    bool has_failed;  /* then the status stays as it is */
    bool was_refused; /* what the last reload brought */
    int open_result;
    char refusal[APP_MANAGER_REFUSAL_SIZE]; /* and why */
};

/* Finds the manager. Before anything else: a start that fails is told, too. */
void app_manager_open(struct app *app);

/* Says in the log what was wrong with what the manager left in the environment. */
void app_manager_log(struct app *app);

/* The recovery goes on, or begins (NULL). */
void app_manager_replaying(struct app *app, const struct wal_progress *progress);

/* Calls are answered; from here on the manager gets signs of life. */
void app_manager_ready(struct app *app);

/* A reload that the manager may have asked for begins; something of it is refused, for that cause;
 * it is over. */
void app_manager_reloading(struct app *app);
void app_manager_refused(struct app *app, const char *cause);
void app_manager_reloaded(struct app *app);

/* The end has begun. Safe to repeat. */
void app_manager_stopping(struct app *app);

/* The process will end with this exit code, for that cause. */
void app_manager_failed(struct app *app, int exit_code, const char *cause);

/* Ends the timer. Safe when there is none. What is told afterwards is still sent. */
void app_manager_rest(struct app *app);

void app_manager_close(struct app *app);

#endif
