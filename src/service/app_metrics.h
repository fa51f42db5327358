/*
 * Gathers what the parts of the server count, when somebody asks for metrics.
 *
 * Owns:    what it reads the process's own numbers with.
 * Borrows: the app.
 * Thread:  loop only.
 */
#ifndef SERVICE_APP_METRICS_H
#define SERVICE_APP_METRICS_H

#include "core/process_stats.h"
#include "service/commit_log.h"
#include "service/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct app;
struct buf;

struct app_metrics {
    struct process_stats process;
    struct metrics_reload reload;
    enum commit_log_state log_state; /* as it was told last */
    uint64_t render_ns;              /* what the last text took, */
    size_t text_size;                /* and its size */
};

/* Once the loop is there. Without /proc the process's own numbers are 0, and the log says so. */
void app_metrics_open(struct app *app);

/* Before the loop goes. Safe when it is not open. */
void app_metrics_close(struct app *app);

/* For admin_options.write_metrics; the context is the app. */
int app_metrics_write(void *context, bool open_metrics, struct buf *out);

/* A reload has ended: it took something, or something was refused, or both. */
void app_metrics_note_reload(struct app *app, bool has_taken, bool has_failed);

#endif
