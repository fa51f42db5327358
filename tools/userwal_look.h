/*
 * A survey of a data directory and a start of the log on it, on a trial disk: what verify and stat
 * begin with. Beside a running server, which makes and removes files meanwhile, what looks wrong is
 * looked at again.
 *
 * Owns:    the survey.
 * Borrows: the place, the engine.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_LOOK_H
#define TOOLS_USERWAL_LOOK_H

#include "userwal_engine.h"
#include "userwal_place.h"
#include "userwal_survey.h"

#include <stddef.h>

struct userwal_look {
    struct userwal_survey survey;
    int start; /* 0, or why userd would not start: see engine.problem */
};

/* `each` as in userwal_survey_read(); its context, of so many bytes, is zeroed before each time.
 * Returns 0, or an exit code after it has said why. userwal_look_deinit() is needed in any case. */
int userwal_look(struct userwal_place *place, struct userwal_engine *engine, userwal_frame_fn each,
                 void *context, size_t context_size, struct userwal_look *ret_look);
void userwal_look_deinit(struct userwal_look *look);

/* A start alone. Returns as userwal_engine_open() does. */
int userwal_look_start(struct userwal_place *place, struct userwal_engine *engine);

#endif
