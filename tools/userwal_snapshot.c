/*
 * snapshot and restore: the state of a data directory into one file, and the way back.
 *
 * A snapshot is taken by the log itself, as in userd. A restored directory has the snapshot under
 * its name, an empty segment that continues behind it, and CONTROL. CONTROL comes first and the
 * snapshot's name last: in between CONTROL speaks of records that are not there, and so userd
 * refuses what an interrupted restore leaves, and does not begin a new store in it.
 *
 * It is a new store, with a UUID of its own: from here on its records are others than those of the
 * store that the snapshot was taken of, under the same LSNs. A file of either in the directory of
 * the other must be told apart.
 */
#include "common_json.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/snapshot_format.h"
#include "service/user_store.h"
#include "userwal_commands.h"
#include "userwal_engine.h"
#include "userwal_make.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_rewrite.h"
#include "userwal_survey.h"
#include "userwal_trial.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAME_LENGTH_MAX 200
#define TEMPORARY_END   ".tmp"

static void print_result(const struct userwal_arguments *arguments, const char *file, uint64_t lsn,
                         uint64_t users)
{
    struct common_json json = {.out = stdout};

    if (!arguments->json) {
        (void)printf("%s%s: %" PRIu64 " users, after record %" PRIu64 "\n",
                     arguments->dry_run ? "nothing was changed; it would be " : "", file, users,
                     lsn);
        return;
    }
    common_json_open(&json, NULL);
    common_json_words(&json, "kind", "result");
    common_json_bool(&json, "is_done", !arguments->dry_run);
    common_json_words(&json, "file", file);
    common_json_number(&json, "lsn", lsn);
    common_json_number(&json, "users", users);
    common_json_close(&json);
    common_json_end_line(&json);
}

/* ---- snapshot */

/* Segments as large as those that are there. */
static uint64_t segment_size_of(const char *path)
{
    struct userwal_folder folder = {0};
    struct userwal_segment segment = {0};
    struct wal_window window = {0};
    struct disk *trial = NULL;
    uint64_t size = USERWAL_SEGMENT_SIZE_DEFAULT;

    if (userwal_trial_new(NULL, path, &trial) != 0) {
        return size;
    }
    if (userwal_folder_read(trial, &folder) == 0 && folder.segment_count > 0 &&
        wal_window_init(&window) == 0 &&
        userwal_segment_walk(trial, folder.segments[folder.segment_count - 1].name, &window, NULL,
                             NULL, &segment) == 0 &&
        segment.header_result == 0 && segment.header.size >= WAL_SEGMENT_SIZE_MIN) {
        size = segment.header.size;
    }
    wal_window_deinit(&window);
    userwal_folder_deinit(&folder);
    trial->ops->free(trial);
    return size;
}

static int fail_start(const struct userwal_engine *engine, int result)
{
    return userwal_fail(userwal_engine_exit_code(result),
                        "userd would refuse to start, and so no snapshot is taken: %s",
                        engine->problem);
}

/* On the open log. */
static int take_snapshot(struct userwal_engine *engine, uint64_t *ret_lsn)
{
    const uint64_t last_lsn = engine->stats.next_lsn - 1;

    *ret_lsn = last_lsn;
    if (last_lsn == 0) {
        return userwal_fail(COMMON_EXIT_USAGE, "there is nothing to save: the store is new");
    }
    if (engine->stats.snapshot_lsn == last_lsn) {
        userwal_say("note: the newest snapshot is up to date");
        return 0;
    }
    return userwal_engine_snapshot(engine);
}

static int run_snapshot(const struct userwal_arguments *arguments, struct userwal_engine *engine,
                        struct disk *disk, uint64_t *ret_lsn)
{
    int result = userwal_engine_open(engine, disk, segment_size_of(arguments->first));
    int closed;

    userwal_progress_clear();
    if (result != 0) {
        return fail_start(engine, result);
    }
    for (size_t i = 0; i < engine->notice_count; i++) {
        userwal_say("note: %s", engine->notices[i]);
    }
    result = take_snapshot(engine, ret_lsn);
    closed = userwal_engine_close(engine);
    return result != 0 || closed == 0 ? result : userwal_fail_errno(closed, arguments->first);
}

static int check_free(const char *path, const char *hint)
{
    struct stat about;

    return lstat(path, &about) != 0
               ? 0
               : userwal_fail(COMMON_EXIT_USAGE, "%s is there already: %s", path, hint);
}

/* Whether a copy can be made at all: asked before anything is done. */
static int check_target(const char *path)
{
    char temporary[PATH_MAX];
    const char *name = NULL;
    char *folder = NULL;
    struct stat about;
    int result = userwal_place_split(path, &folder, &name);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    (void)snprintf(temporary, sizeof(temporary), "%s" TEMPORARY_END, path);
    if (name[0] == '\0' || strlen(name) > NAME_LENGTH_MAX || strlen(path) >= PATH_MAX / 2) {
        result = userwal_fail(COMMON_EXIT_USAGE, "%s: is no name for a file", path);
    } else if (stat(folder, &about) != 0 || !S_ISDIR(about.st_mode)) {
        result = userwal_fail(COMMON_EXIT_IO, "%s: there is no such directory", folder);
    } else {
        result = check_free(path, "it is not overwritten");
        result = result != 0 ? result
                             : check_free(temporary, "of a copy that was interrupted? remove it");
    }
    free(folder);
    return result;
}

/* What was copied is read back, every byte of it, and every user. */
static int verify_copy(const char *path, struct userwal_engine *engine)
{
    struct userwal_place place;
    int result = userwal_place_open(path, NULL, &place);

    if (result != 0) {
        return result;
    }
    result = userwal_engine_load_snapshot(engine, place.disk, place.lsn);
    userwal_place_close(&place);
    return result == 0 ? 0
                       : userwal_fail(userwal_engine_exit_code(result),
                                      "%s: the copy is no good: %s", path, engine->problem);
}

/* Under another name first, so that there is never half a copy of that name. */
static int copy_to(struct userwal_engine *engine, struct disk *disk, uint64_t lsn,
                   const char *folder, const char *target_name)
{
    char temporary[USERWAL_NAME_SIZE];
    char name[WAL_FORMAT_NAME_SIZE];
    struct disk *target = NULL;
    int result = disk_new(&engine->reactor, folder, &target);

    if (result != 0) {
        return result;
    }
    snapshot_format_name(lsn, name);
    (void)snprintf(temporary, sizeof(temporary), "%s" TEMPORARY_END, target_name);
    result = userwal_make_copy(disk, name, target, temporary);
    if (result == 0) {
        result = target->ops->rename(target, temporary, target_name);
    } else if (result != -EEXIST) {
        (void)target->ops->remove(target, temporary); /* what is left of it is of no use */
    }
    if (result == 0) {
        result = target->ops->sync_directory(target);
    }
    target->ops->free(target);
    return result;
}

static int copy_snapshot(const char *path, struct userwal_engine *engine, struct disk *disk,
                         uint64_t lsn)
{
    const char *name = NULL;
    char *folder = NULL;
    int result = userwal_place_split(path, &folder, &name);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = copy_to(engine, disk, lsn, folder, name);
    free(folder);
    return result == 0 ? verify_copy(path, engine) : userwal_fail_errno(result, path);
}

static int snapshot_dry_run(const struct userwal_arguments *arguments,
                            struct userwal_engine *engine, uint64_t *ret_lsn)
{
    struct userwal_place place;
    int result = userwal_place_open(arguments->first, &engine->reactor, &place);

    if (result != 0) {
        return result;
    }
    if (place.kind != USERWAL_PLACE_FOLDER) {
        result = userwal_fail(COMMON_EXIT_USAGE, "%s: is no directory", arguments->first);
    } else {
        result = userwal_engine_try(engine, place.disk);
        result = result == 0 ? 0 : fail_start(engine, result);
    }
    *ret_lsn = engine->stats.next_lsn - 1;
    userwal_place_close(&place);
    return result;
}

int userwal_snapshot(const struct userwal_arguments *arguments)
{
    char name[WAL_FORMAT_NAME_SIZE];
    static struct userwal_engine engine; /* large for a stack */
    struct disk *disk = NULL;
    uint64_t lsn = 0;
    int result = arguments->to_file == NULL ? 0 : check_target(arguments->to_file);

    if (result == 0) {
        result = userwal_engine_init(&engine);
    }
    if (result != 0) {
        return result;
    }
    if (arguments->dry_run) {
        result = snapshot_dry_run(arguments, &engine, &lsn);
    } else {
        result = userwal_place_lock(arguments->first, &engine.reactor, &disk);
        if (result == 0) {
            result = run_snapshot(arguments, &engine, disk, &lsn);
        }
        if (result == 0 && arguments->to_file != NULL) {
            result = copy_snapshot(arguments->to_file, &engine, disk, lsn);
        }
    }
    if (result == 0) {
        snapshot_format_name(lsn, name);
        print_result(arguments, arguments->to_file == NULL ? name : arguments->to_file, lsn,
                     user_store_count(engine.store));
    }
    userwal_place_unlock(disk);
    userwal_engine_deinit(&engine);
    return result;
}

/* ---- restore */

static int fail_load(const struct userwal_engine *engine, int result)
{
    return userwal_fail(userwal_engine_exit_code(result), "nothing is restored: %s",
                        engine->problem);
}

/* A directory need not be one of userd's to be the wrong thing here. */
static int open_snapshot(const char *path, struct userwal_place *ret_place)
{
    struct stat about;
    int result = 0;

    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode)) {
        result = userwal_place_open(path, NULL, ret_place);
        if (result != 0 || ret_place->kind == USERWAL_PLACE_SNAPSHOT) {
            return result;
        }
    }
    return userwal_fail(COMMON_EXIT_USAGE, "%s: is no snapshot", path);
}

static int fill_folder(const struct userwal_place *place, struct userwal_engine *engine,
                       struct disk *disk)
{
    uint8_t uuid[WAL_FORMAT_UUID_SIZE];
    char name[WAL_FORMAT_NAME_SIZE];
    int result;

    random_fill(random_system(), uuid, sizeof(uuid));
    snapshot_format_name(place->lsn, name);
    result = userwal_make_control(disk, uuid, place->lsn);
    if (result == 0) {
        result = userwal_make_segment(disk, &engine->reactor, uuid, place->lsn + 1,
                                      USERWAL_SEGMENT_SIZE_DEFAULT);
    }
    if (result == 0) {
        result = userwal_rewrite_snapshot(place->disk, place->lsn, uuid, disk,
                                          SNAPSHOT_FORMAT_TEMPORARY, engine->problem);
    }
    if (result == 0) {
        result = disk->ops->rename(disk, SNAPSHOT_FORMAT_TEMPORARY, name);
    }
    return result == 0 ? disk->ops->sync_directory(disk) : result;
}

/* As userd would find it. */
static int try_restored(const char *path, struct userwal_engine *engine, uint64_t users)
{
    struct disk *trial = NULL;
    int result = userwal_trial_new(&engine->reactor, path, &trial);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = userwal_engine_try(engine, trial);
    trial->ops->free(trial);
    if (result != 0) {
        return userwal_fail(userwal_engine_exit_code(result), "%s: userd would not start on it: %s",
                            path, engine->problem);
    }
    if (user_store_count(engine->store) != users) {
        return userwal_fail(COMMON_EXIT_DAMAGED, "%s: it does not hold all users", path);
    }
    return 0;
}

static int restore_to(const struct userwal_arguments *arguments, const struct userwal_place *place,
                      struct userwal_engine *engine)
{
    const uint64_t users = user_store_count(engine->store);
    struct disk *disk = NULL;
    int result = userwal_place_lock_empty(arguments->second, &engine->reactor, &disk);

    if (result != 0) {
        return result;
    }
    result = fill_folder(place, engine, disk);
    if (result == 0) {
        result = try_restored(arguments->second, engine, users);
    } else {
        result =
            result < 0 ? userwal_fail_errno(result, arguments->second) : fail_load(engine, result);
    }
    if (result != 0) {
        userwal_make_undo(disk);
    }
    userwal_place_unlock(disk);
    return result;
}

int userwal_restore(const struct userwal_arguments *arguments)
{
    struct userwal_engine engine;
    struct userwal_place place = {0};
    int result = userwal_engine_init(&engine);

    if (result != 0) {
        return result;
    }
    result = open_snapshot(arguments->first, &place);
    if (result == 0) {
        result = userwal_engine_load_snapshot(&engine, place.disk, place.lsn);
        result = result == 0 ? 0 : fail_load(&engine, result);
    }
    if (result == 0) {
        result = arguments->dry_run ? userwal_place_check_empty(arguments->second)
                                    : restore_to(arguments, &place, &engine);
    }
    if (result == 0) {
        print_result(arguments, arguments->second, place.lsn, user_store_count(engine.store));
    }
    userwal_place_close(&place);
    userwal_engine_deinit(&engine);
    return result;
}
