/*
 * The log grows in a folder of its own, import.tmp, which means nothing to userd. Beside it stands
 * a CONTROL that speaks of a record which is not there, so that userd refuses the directory and
 * does not begin a new store in it. At the end the log is closed, its files are moved up, and its
 * own CONTROL, last of all, takes the place of that one. After a crash all this is left, the
 * directory is not empty, and who repeats the import is told so.
 */
#include "userwal_sink.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/wal_format.h"
#include "service/user_store.h"
#include "userwal_engine.h"
#include "userwal_folder.h"
#include "userwal_make.h"
#include "userwal_output.h"
#include "userwal_place.h"
#include "userwal_trial.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER_NAME       "import.tmp"
#define PENDING_MAX       4096
#define PENDING_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define TURN_NS           (100 * CLOCK_NS_PER_MS)

/* ---- the log */

static int on_reset_begin(void *context, uint64_t record_count)
{
    (void)context;
    (void)record_count;
    return 0;
}

/* The directory is new. */
static int on_reset_record(void *context, const struct commit_event *event)
{
    (void)context;
    (void)event;
    return -EBADMSG;
}

static void on_reset_end(void *context, const struct commit_recovered *recovered)
{
    (void)context;
    (void)recovered;
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct userwal_sink *sink = context;

    for (size_t i = 0; i < count; i++) {
        if (user_store_apply(sink->engine->store, &events[i]) != 0) {
            sink->has_failed = true; /* never, as it was planned */
        }
    }
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    struct userwal_sink *sink = context;

    if (state == COMMIT_LOG_CLOSED) {
        sink->is_closed = true;
    } else if (state == COMMIT_LOG_FAILED || state == COMMIT_LOG_DEGRADED) {
        sink->has_failed = true;
        (void)snprintf(sink->problem, sizeof(sink->problem), "%s", reason == NULL ? "" : reason);
    }
}

static const struct commit_log_callbacks callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .events = on_events,
    .state = on_state,
};

static int start_log(struct userwal_sink *sink)
{
    static const struct wal_options options = {
        .segment_size = USERWAL_SEGMENT_SIZE_DEFAULT,
        .max_pending = PENDING_MAX,
        .max_pending_bytes = PENDING_BYTES_MAX,
    };
    int result = commit_log_wal_new(sink->disk, &sink->engine->reactor, random_system(), &options,
                                    &sink->log);

    if (result != 0) {
        return userwal_fail_errno(result, sink->path);
    }
    result = sink->log->ops->start(sink->log, &callbacks, sink, sink->problem);
    if (result != 0) {
        sink->log->ops->free(sink->log);
        sink->log = NULL;
        return userwal_fail(userwal_engine_exit_code(result), "%s: %s", sink->path, sink->problem);
    }
    return 0;
}

static int close_log(struct userwal_sink *sink)
{
    int result = 0;

    sink->log->ops->close(sink->log);
    while (result >= 0 && !sink->is_closed) {
        result = reactor_turn(&sink->engine->reactor, TURN_NS);
    }
    if (result < 0) {
        return userwal_fail_errno(result, "io_uring");
    }
    sink->log->ops->free(sink->log);
    sink->log = NULL;
    return userwal_sink_check(sink);
}

int userwal_sink_check(const struct userwal_sink *sink)
{
    return !sink->has_failed
               ? 0
               : userwal_fail(COMMON_EXIT_IO, "%s: the log has failed%s%s", sink->path,
                              sink->problem[0] == '\0' ? "" : ": ", sink->problem);
}

void userwal_sink_submit(struct userwal_sink *sink, struct commit_mutation *mutation)
{
    struct commit_event event = {
        .record_type = mutation->record_type,
        .record = mutation->record,
    };

    if (sink->log != NULL) {
        sink->log->ops->submit(sink->log, mutation);
        return;
    }
    event.revision = ++sink->revision;
    on_events(sink, &event, 1);
    mutation->done(mutation, COMMIT_DONE, event.revision);
}

int userwal_sink_turn(struct userwal_sink *sink)
{
    int result = reactor_turn(&sink->engine->reactor, TURN_NS);

    return result < 0 ? userwal_fail_errno(result, "io_uring") : 0;
}

/* ---- the directory, which is the working one */

/* Until the import is done. */
static int keep_userd_out(struct disk *outer)
{
    uint8_t uuid[WAL_FORMAT_UUID_SIZE];

    random_fill(random_system(), uuid, sizeof(uuid));
    return userwal_make_control(outer, uuid, 1);
}

/* Without CONTROL it is refused all the same, now that the log is there. */
static int let_userd_in(struct disk *outer)
{
    int result = outer->ops->remove(outer, WAL_FORMAT_CONTROL_A);

    if (result == 0) {
        result = outer->ops->remove(outer, WAL_FORMAT_CONTROL_B);
    }
    return result > 0 ? -ENOENT : result;
}

/* Moves up the CONTROL files, or all others. */
static int move_files(const struct userwal_folder *folder, bool control)
{
    char from[USERWAL_NAME_SIZE + sizeof(FOLDER_NAME)];

    for (size_t i = 0; i < folder->count; i++) {
        const struct userwal_file *file = &folder->files[i];

        if ((file->kind == USERWAL_FILE_CONTROL) == control && strcmp(file->name, "LOCK") != 0) {
            (void)snprintf(from, sizeof(from), FOLDER_NAME "/%s", file->name);
            if (rename(from, file->name) != 0) {
                return -errno;
            }
        }
    }
    return 0;
}

/* The directory is the working one. */
static int move_all(struct disk *outer, const struct userwal_folder *folder)
{
    int result = move_files(folder, false);

    if (result == 0) {
        result = outer->ops->sync_directory(outer);
    }
    if (result == 0) {
        result = let_userd_in(outer);
    }
    if (result == 0) {
        result = move_files(folder, true);
    }
    if (result == 0 && (unlink(FOLDER_NAME "/LOCK") != 0 || rmdir(FOLDER_NAME) != 0)) {
        result = -errno;
    }
    return result == 0 ? outer->ops->sync_directory(outer) : result;
}

static int move_up(struct userwal_sink *sink)
{
    struct userwal_folder folder;
    int result = userwal_folder_read(sink->disk, &folder);

    if (result == 0) {
        result = move_all(sink->outer, &folder);
    }
    userwal_folder_deinit(&folder);
    return result == 0 ? 0 : userwal_fail_errno(result, sink->path);
}

static void undo(struct userwal_sink *sink)
{
    if (sink->disk != NULL) {
        userwal_make_undo(sink->disk);
    }
    (void)unlink(FOLDER_NAME "/LOCK");
    (void)rmdir(FOLDER_NAME);
    userwal_make_undo(sink->outer);
}

/* The start that userd will make. */
static int try_start(struct userwal_sink *sink, uint64_t users)
{
    struct disk *trial = NULL;
    int result = userwal_trial_new(&sink->engine->reactor, ".", &trial);

    if (result != 0) {
        return userwal_fail_errno(result, sink->path);
    }
    result = userwal_engine_try(sink->engine, trial);
    trial->ops->free(trial);
    userwal_progress_clear();
    if (result != 0) {
        return userwal_fail(userwal_engine_exit_code(result), "%s: userd would not start on it: %s",
                            sink->path, sink->engine->problem);
    }
    return user_store_count(sink->engine->store) == users
               ? 0
               : userwal_fail(COMMON_EXIT_IO, "%s: it does not hold all users", sink->path);
}

static int open_folder(struct userwal_sink *sink)
{
    int result = keep_userd_out(sink->outer);

    if (result != 0) {
        return userwal_fail_errno(result, sink->path);
    }
    result = disk_new(&sink->engine->reactor, FOLDER_NAME, &sink->disk);
    if (result == 0) {
        result = sink->disk->ops->lock(sink->disk, &(pid_t){0});
    }
    return result == 0 ? 0 : userwal_fail_errno(result > 0 ? -EBUSY : result, FOLDER_NAME);
}

static void let_go(struct userwal_sink *sink)
{
    userwal_place_unlock(sink->disk);
    userwal_place_unlock(sink->outer);
    sink->disk = NULL;
    sink->outer = NULL;
}

int userwal_sink_open(struct userwal_sink *sink, const char *path, struct userwal_engine *engine,
                      bool is_trial)
{
    int result;

    *sink = (struct userwal_sink){.path = path, .engine = engine};
    if (is_trial) {
        return userwal_place_check_empty(path);
    }
    result = userwal_place_lock_empty(path, &engine->reactor, &sink->outer);
    if (result != 0) {
        return result;
    }
    if (chdir(path) != 0) {
        result = userwal_fail_errno(-errno, path);
        let_go(sink);
        return result;
    }
    result = open_folder(sink);
    if (result == 0) {
        result = start_log(sink);
    }
    if (result != 0) {
        undo(sink);
        let_go(sink);
    }
    return result;
}

int userwal_sink_close(struct userwal_sink *sink, bool keep, uint64_t users)
{
    int result = sink->log == NULL ? 0 : close_log(sink);

    if (sink->outer == NULL) {
        return result;
    }
    if (result == 0 && keep) {
        result = move_up(sink);
        if (result == 0) {
            result = try_start(sink, users);
        }
    }
    if (result != 0 || !keep) {
        undo(sink);
    }
    let_go(sink);
    return result;
}
