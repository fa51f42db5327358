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
    bool is_whole;        /* configuration and files; else files alone */
    bool whole_wanted;    /* asked for while one runs */
    bool files_wanted;    /* likewise */
    bool has_failed;      /* a step of the one that runs */
    bool tls_refused;     /* the files as they were last */
    bool keys_refused;    /* likewise */
    uint64_t worked_ns;   /* in the steps so far */
    struct config *fresh; /* NULL unless it is whole */
    struct config_diff diff;
    struct app_files files; /* as they are now */
    unsigned changed_files;
    struct tls_context *tls; /* what was made and is not in use yet; NULL = nothing */
    struct token_keys *keys;
    struct policy *policy;
    char problem[APP_PROBLEM_SIZE];
};

/* Once the loop is there. Looks at the certificate's end once a day, too. Returns 0 or -ENOMEM. */
int app_reload_open(struct app *app);

/* Begins to take what is new: from the configuration and all files it names, or from those files
 * alone. Everything happens in later turns; asking again meanwhile makes one more follow. */
void app_reload_whole(struct app *app);
void app_reload_files(struct app *app);

/* Drops what is on its way. Safe when nothing is, and to repeat. */
void app_reload_close(struct app *app);

#endif
