#include "userwal_look.h"

#include "userwal_output.h"

#include <string.h>

#define TRIES_MAX 5 /* beside a running server */

/* Returns an exit code, which may be of an error that another try would not meet. */
static int look_once(struct userwal_place *place, struct userwal_engine *engine,
                     userwal_frame_fn each, void *context, struct userwal_look *look,
                     const char **ret_file)
{
    int result = userwal_survey_read(place->disk, each, context, &look->survey, ret_file);

    if (result == 0) {
        look->start = userwal_engine_try(engine, place->disk);
        userwal_progress_clear();
    }
    return result;
}

int userwal_look(struct userwal_place *place, struct userwal_engine *engine, userwal_frame_fn each,
                 void *context, size_t context_size, struct userwal_look *ret_look)
{
    const char *file = "";
    int result = 0;

    *ret_look = (struct userwal_look){0};
    for (int i = 0; i < TRIES_MAX; i++) {
        if (context_size > 0) {
            memset(context, 0, context_size);
        }
        result = look_once(place, engine, each, context, ret_look, &file);
        if (!place->is_in_use ||
            (result == 0 && ret_look->start == 0 && ret_look->survey.damage_count == 0)) {
            break;
        }
        if (i + 1 < TRIES_MAX) {
            userwal_look_deinit(ret_look);
            if (userwal_place_reopen(place, &engine->reactor) != 0) {
                return userwal_fail(COMMON_EXIT_IO, "%s: cannot be opened again", place->folder);
            }
        }
    }
    return result == 0 ? 0 : userwal_fail_errno(result, file);
}

void userwal_look_deinit(struct userwal_look *look)
{
    userwal_survey_deinit(&look->survey);
}

int userwal_look_start(struct userwal_place *place, struct userwal_engine *engine)
{
    int result = userwal_engine_try(engine, place->disk);

    for (int i = 1; i < TRIES_MAX && result != 0 && place->is_in_use; i++) {
        if (userwal_place_reopen(place, &engine->reactor) != 0) {
            break;
        }
        result = userwal_engine_try(engine, place->disk);
    }
    return result;
}
