/*
 * Takes new certificates, keys, rules and limits while the server runs.
 *
 * Owns:    the configuration and the parts that are on their way in.
 * Borrows: the app.
 * Thread:  loop only.
 */
#ifndef SERVICE_APP_RELOAD_H
#define SERVICE_APP_RELOAD_H

#include "core/timer.h"
#include "service/app_files.h"
#include "service/app_parts.h"
#include "service/config_diff.h"

#include <stdbool.h>
#include <stdint.h>

struct app;

struct app_reload {
    struct timer next_step; /* always armed, so that moving it needs no memory */
    unsigned step;
    bool is_open;
    bool is_running;
    bool is_whole;            /* configuration and files; else files alone */
    const char *source;       /* what asked for the one that runs: a constant, for the log */
    const char *whole_wanted; /* who asked while one runs; NULL = nobody */
    bool files_wanted;        /* likewise, for files alone */
    bool has_failed;          /* a step of the one that runs */
    bool has_taken;           /* it has put something new in force */
    bool tls_due;             /* it was to be taken, and was refused, or something else was */
    bool keys_due;            /* likewise */
    uint64_t worked_ns;       /* in the steps so far */
    struct config *fresh;     /* NULL unless it is whole */
    struct config_diff diff;
    struct app_files files; /* as they are now */
    unsigned changed_files;
    bool token_rules_changed;
    unsigned refused_files;  /* of parts that could not be made */
    struct tls_context *tls; /* what was made and is not in use yet; NULL = nothing */
    struct token_keys *keys;
    struct token_options *token_options;
    struct policy *policy;
    char problem[APP_PROBLEM_SIZE];
};

/* Once the loop is there. Looks at the certificate's end once a day, too. Returns 0 or -ENOMEM. */
int app_reload_open(struct app *app);

/* Begins to take what is new: from the configuration and all files it names, or from those files
 * alone. Everything happens in later turns, and the log tells how it ends; asking again meanwhile
 * makes one more follow. `source` says who asked, a constant. Returns 0; or -ESHUTDOWN before the
 * server serves and when it leaves. */
int app_reload_whole(struct app *app, const char *source);
void app_reload_files(struct app *app);

/* Drops what is on its way. Safe when nothing is, and to repeat. */
void app_reload_close(struct app *app);

#endif
