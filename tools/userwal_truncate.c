/*
 * truncate: gives up the log from its damaged place on, in these steps: survey, plan, tell what
 * would be lost, do it on a trial disk and start the log there; then, if it was asked for and the
 * trial went well, the same on the real one, and once more a start on a trial disk over it.
 */
#include "common_json.h"
#include "core/disk.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_cut.h"
#include "userwal_engine.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_trial.h"

#include <inttypes.h>
#include <stdlib.h>

#define USERS_SHOWN 20

static void print_loss_times(const struct userwal_cut *cut)
{
    char first[USERWAL_TIME_SIZE];
    char last[USERWAL_TIME_SIZE];

    if (cut->kept_ns != 0) {
        (void)printf("    the last record that stays was written at %s\n",
                     userwal_time(cut->kept_ns, first));
    }
    if (cut->readable > 0) {
        (void)printf("    %" PRIu64 " of them can still be read (userwal dump); these were written "
                     "from %s to %s\n",
                     cut->readable, userwal_time(cut->first_ns, first),
                     userwal_time(cut->last_ns, last));
    }
}

static void print_lost_users(const struct userwal_cut *cut)
{
    if (cut->user_count == 0) {
        return;
    }
    (void)printf("    users whose changes are among those (%zu%s):\n", cut->user_count,
                 cut->has_more_users ? " and more" : "");
    for (size_t i = 0; i < cut->user_count && i < USERS_SHOWN; i++) {
        const struct userwal_lost_user *user = &cut->users[i];

        (void)fputs("        ", stdout);
        common_json_plain(stdout, bytes_from_text(user->id));
        (void)fputs("  ", stdout);
        common_json_plain(stdout,
                          bytes_from_text(user->username == NULL ? "(deleted)" : user->username));
        (void)fputc('\n', stdout);
    }
    if (cut->user_count > USERS_SHOWN) {
        (void)printf("        ... (--json names %s)\n",
                     cut->has_more_users ? "1000 of them" : "all of them");
    }
}

static void print_loss(const struct userwal_cut *cut)
{
    if (cut->last_lost < cut->from) {
        (void)printf("no record is known to be lost: the log is whole up to record %" PRIu64
                     ", but nothing vouches for its end\n",
                     cut->from - 1);
    } else {
        (void)printf("would be lost: records %" PRIu64 " to %" PRIu64 ", %" PRIu64
                     " acknowledged changes\n",
                     cut->from, cut->last_lost, cut->last_lost - cut->from + 1);
    }
    print_loss_times(cut);
    print_lost_users(cut);
}

static void print_loss_json(const struct userwal_cut *cut)
{
    struct common_json json = {.out = stdout};
    char text[USERWAL_TIME_SIZE];

    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "loss");
    common_json_number(&json, "from", cut->from);
    common_json_number(&json, "to", cut->last_lost < cut->from ? 0 : cut->last_lost);
    common_json_number(&json, "readable", cut->readable);
    common_json_words(&json, "last_kept_time", userwal_time(cut->kept_ns, text));
    common_json_words(&json, "first_time", userwal_time(cut->first_ns, text));
    common_json_words(&json, "last_time", userwal_time(cut->last_ns, text));
    common_json_open_list(&json, "users");
    for (size_t i = 0; i < cut->user_count; i++) {
        common_json_open(&json, NULL);
        common_json_words(&json, "id", cut->users[i].id);
        if (cut->users[i].username != NULL) {
            common_json_words(&json, "username", cut->users[i].username);
        }
        common_json_close(&json);
    }
    common_json_close_list(&json);
    common_json_bool(&json, "has_more_users", cut->has_more_users);
    common_json_close(&json);
    common_json_end_line(&json);
}

static void print_result(const struct userwal_arguments *arguments,
                         const struct userwal_engine *engine, const struct userwal_cut *cut,
                         bool is_done)
{
    struct common_json json = {.out = stdout};
    const uint64_t users = user_store_count(engine->store);

    if (arguments->json) {
        common_json_open(&json, NULL);
        common_json_words(&json, "kind", "result");
        common_json_bool(&json, "is_done", is_done);
        common_json_number(&json, "from", cut->from);
        common_json_number(&json, "users", users);
        common_json_close(&json);
        common_json_end_line(&json);
    } else if (is_done) {
        (void)printf("done: the log ends before record %" PRIu64 ", userd can start with %" PRIu64
                     " users%s\n",
                     cut->from, users,
                     cut->cuts_last || cut->kept < cut->survey->folder.segment_count
                         ? "; what was cut off is in the .torn files"
                         : "");
    } else {
        (void)printf("left would be: %" PRIu64 " users. Nothing was changed.\n", users);
    }
}

/* Says which LSN would be right, when it is not that one. */
static int check_accepted(const struct userwal_arguments *arguments, const struct userwal_cut *cut)
{
    if (arguments->accept == cut->from) {
        return 0;
    }
    if (arguments->accept == 0) {
        return userwal_fail(COMMON_EXIT_DAMAGED,
                            "to give all that up: userwal truncate %s --accept-loss-from %" PRIu64,
                            arguments->first, cut->from);
    }
    return userwal_fail(COMMON_EXIT_USAGE,
                        "%" PRIu64 " is not the place: %s; it would be --accept-loss-from %" PRIu64,
                        arguments->accept,
                        arguments->accept < cut->from
                            ? "whole records before the damage would be lost for nothing"
                            : "the log breaks off before it",
                        cut->from);
}

/* The same start that userd would make, after the cut. */
static int try_start(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                     struct disk *disk, const struct userwal_cut *cut)
{
    int result = userwal_engine_try(engine, disk);

    userwal_progress_clear();
    if (result != 0) {
        return userwal_fail(userwal_engine_exit_code(result), "even then userd would not start: %s",
                            engine->problem);
    }
    if (engine->stats.next_lsn != cut->from) {
        return userwal_fail(COMMON_EXIT_DAMAGED,
                            "%s: a start would go on with record %" PRIu64 " and not %" PRIu64
                            ": nothing is done",
                            arguments->first, engine->stats.next_lsn, cut->from);
    }
    return 0;
}

static int cut_really(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                      struct disk *real, const struct userwal_cut *cut)
{
    struct disk *trial = NULL;
    int result = userwal_cut_do(cut, real, &engine->reactor);

    if (result == 0) {
        result = userwal_trial_new(&engine->reactor, arguments->first, &trial);
    }
    if (result != 0) {
        return userwal_fail_errno(result, arguments->first);
    }
    result = try_start(arguments, engine, trial, cut);
    trial->ops->free(trial);
    return result;
}

/* `real` is NULL when nothing is to be changed. */
static int truncate_planned(const struct userwal_arguments *arguments,
                            struct userwal_engine *engine, struct disk *trial, struct disk *real,
                            const struct userwal_cut *cut)
{
    int result;

    if (!cut->has_start) {
        return userwal_fail(COMMON_EXIT_DAMAGED,
                            "nothing would be left: neither a whole snapshot nor the log from "
                            "record 1 on is there; restore a backup (userwal restore)");
    }
    if (arguments->json) {
        print_loss_json(cut);
    } else {
        print_loss(cut);
    }
    result = userwal_cut_do(cut, trial, &engine->reactor);
    if (result != 0) {
        return userwal_fail_errno(result, arguments->first);
    }
    result = try_start(arguments, engine, trial, cut);
    if (result != 0) {
        return result;
    }
    if (real == NULL || arguments->accept != cut->from) {
        print_result(arguments, engine, cut, false);
        (void)fflush(stdout); /* before what goes to the other stream */
        return check_accepted(arguments, cut);
    }
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        return userwal_fail(COMMON_EXIT_IO, "nothing was changed: what would be lost could not be "
                                            "written to standard output");
    }
    result = cut_really(arguments, engine, real, cut);
    if (result == 0) {
        print_result(arguments, engine, cut, true);
    }
    return result;
}

/* Is there anything to cut? Starts on a trial disk of its own, as a start changes it. */
static int check_is_refused(const struct userwal_arguments *arguments,
                            struct userwal_engine *engine)
{
    struct disk *trial = NULL;
    int result = userwal_trial_new(&engine->reactor, arguments->first, &trial);

    if (result != 0) {
        return userwal_fail_errno(result, arguments->first);
    }
    result = userwal_engine_try(engine, trial);
    trial->ops->free(trial);
    if (result == 0) {
        return userwal_fail(arguments->accept == 0 ? 0 : COMMON_EXIT_USAGE,
                            "%s: there is nothing to cut, userd would start", arguments->first);
    }
    if (result == WAL_E_FOREIGN || engine->refused_lsn != 0) {
        return userwal_fail(COMMON_EXIT_DAMAGED, "cutting does not help: %s", engine->problem);
    }
    if (result < 0) {
        return userwal_fail(userwal_engine_exit_code(result), "%s", engine->problem);
    }
    if (!arguments->json) {
        (void)printf("userd would refuse to start: %s\n", engine->problem);
    }
    return WAL_E_DAMAGED;
}

static int truncate_folder(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                           struct disk *trial, struct disk *real)
{
    struct userwal_survey survey;
    struct userwal_cut *cut;
    const char *file = NULL;
    int result = check_is_refused(arguments, engine);

    if (result != WAL_E_DAMAGED) {
        return result;
    }
    cut = calloc(1, sizeof(*cut));
    if (cut == NULL) {
        return userwal_fail(COMMON_EXIT_SOFTWARE, "out of memory");
    }
    result = userwal_survey_read(trial, NULL, NULL, &survey, &file);
    if (result == 0) {
        result = userwal_cut_plan(&survey, trial, cut);
    }
    if (result != 0) {
        result = userwal_fail_errno(result, file);
    } else {
        result = truncate_planned(arguments, engine, trial, real, cut);
    }
    userwal_cut_deinit(cut);
    userwal_survey_deinit(&survey);
    free(cut);
    return result;
}

int userwal_truncate(const struct userwal_arguments *arguments)
{
    struct userwal_engine engine;
    struct userwal_place place = {0};
    struct disk *real = NULL;
    int result = userwal_engine_init(&engine);

    if (result != 0) {
        return result;
    }
    if (arguments->accept != 0 && !arguments->dry_run) {
        result = userwal_place_lock(arguments->first, &engine.reactor, &real);
    }
    if (result == 0) {
        result = userwal_place_open(arguments->first, &engine.reactor, &place);
    }
    if (result == 0 && place.kind != USERWAL_PLACE_FOLDER) {
        result = userwal_fail(COMMON_EXIT_USAGE, "%s: is no directory", arguments->first);
    } else if (result == 0) {
        result = truncate_folder(arguments, &engine, place.disk, real);
    }
    userwal_place_close(&place);
    userwal_place_unlock(real);
    userwal_engine_deinit(&engine);
    return result;
}
