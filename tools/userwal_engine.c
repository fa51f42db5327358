#include "userwal_engine.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/snapshot_read.h"
#include "core/wal_window.h"
#include "service/user_snapshot.h"
#include "service/user_store.h"
#include "userwal_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS_MAX ((uint64_t)1 << 40)
#define TURN_NS   (100 * CLOCK_NS_PER_MS)

int userwal_engine_exit_code(int result)
{
    return result == -ENOMEM                  ? COMMON_EXIT_SOFTWARE
           : result == -EBADMSG || result > 0 ? COMMON_EXIT_DAMAGED
                                              : COMMON_EXIT_IO;
}

int userwal_engine_init(struct userwal_engine *engine)
{
    static const struct ring_options options = {.entries = 64};
    char problem[RING_PROBLEM_SIZE];
    struct hash_seed seed;

    *engine = (struct userwal_engine){0};
    if (reactor_init(&engine->reactor, &options, clock_system(), NULL, problem) != 0) {
        return userwal_fail(COMMON_EXIT_CONFIGURATION, "%s", problem);
    }
    random_fill(random_system(), &seed, sizeof(seed));
    if (user_store_new(USERS_MAX, seed, &engine->store) != 0) {
        reactor_deinit(&engine->reactor);
        return userwal_fail(COMMON_EXIT_SOFTWARE, "out of memory");
    }
    return 0;
}

static void forget_notices(struct userwal_engine *engine)
{
    while (engine->notice_count > 0) {
        free(engine->notices[--engine->notice_count]);
    }
}

void userwal_engine_deinit(struct userwal_engine *engine)
{
    forget_notices(engine);
    if (engine->store != NULL) {
        user_store_free(engine->store);
        engine->store = NULL;
        reactor_deinit(&engine->reactor);
    }
}

static int on_begin(void *context, uint64_t record_count)
{
    struct userwal_engine *engine = context;

    user_store_clear(engine->store);
    return user_store_reserve_users(engine->store, record_count);
}

static int on_record(void *context, const struct wal_record *record)
{
    struct userwal_engine *engine = context;
    const struct commit_event event = {
        .revision = record->lsn,
        .realtime_ns = record->realtime_ns,
        .record_type = record->type,
        .is_in_snapshot = record->is_in_snapshot,
        .record = record->body,
    };
    int result = user_store_apply(engine->store, &event);

    if (result == -EBADMSG) {
        engine->refused_lsn = record->lsn;
    }
    return result;
}

static void on_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    userwal_progress("reading, bytes", progress->bytes_done, progress->bytes_total);
}

static void on_notice(void *context, const char *text)
{
    struct userwal_engine *engine = context;

    if (engine->notice_count < USERWAL_NOTICES_MAX) {
        engine->notices[engine->notice_count] = strdup(text);
        engine->notice_count += engine->notices[engine->notice_count] != NULL;
    }
}

static void on_failed(void *owner, int error)
{
    struct userwal_engine *engine = owner;

    engine->failed_error = error;
}

static void on_space(void *owner, bool no_space)
{
    (void)owner;
    (void)no_space;
}

static void on_snapshot(void *owner, const struct wal_snapshot_report *report)
{
    struct userwal_engine *engine = owner;

    if (report->step == WAL_SNAPSHOT_STARTED) {
        return;
    }
    engine->snapshot_has_ended = true;
    engine->snapshot_is_done = report->step == WAL_SNAPSHOT_DONE;
    engine->snapshot = *report;
    if (report->problem != NULL) {
        (void)snprintf(engine->problem, sizeof(engine->problem), "%s", report->problem);
    }
}

static void on_closed(void *owner)
{
    struct userwal_engine *engine = owner;

    engine->wal = NULL;
    engine->is_closed = true;
}

static const struct wal_events events = {
    .failed = on_failed,
    .space = on_space,
    .snapshot = on_snapshot,
    .closed = on_closed,
};

int userwal_engine_open(struct userwal_engine *engine, struct disk *disk, uint64_t segment_size)
{
    static const struct wal_replay replay = {
        .begin = on_begin,
        .record = on_record,
        .progress = on_progress,
        .notice = on_notice,
    };
    const struct wal_environment environment = {
        .disk = disk,
        .reactor = &engine->reactor,
        .random = random_system(),
    };
    const struct wal_options options = {
        .segment_size = segment_size,
        .max_pending = 4096,
        .max_pending_bytes = 16 * 1024 * 1024,
    };
    int result;

    engine->problem[0] = '\0';
    forget_notices(engine);
    engine->refused_lsn = 0;
    result = wal_open(&environment, &options, &replay, engine, engine->problem, &engine->wal);
    if (result == 0) {
        engine->stats = *wal_stats(engine->wal);
        wal_set_events(engine->wal, &events, engine);
    } else if (engine->refused_lsn != 0) {
        /* The log itself is whole, but what it says about users is not. */
        (void)snprintf(engine->problem, sizeof(engine->problem),
                       "record %llu of the log does not fit the records before it",
                       (unsigned long long)engine->refused_lsn);
    }
    return result;
}

static bool is_closed(const struct userwal_engine *engine)
{
    return engine->is_closed;
}

static bool has_snapshot_ended(const struct userwal_engine *engine)
{
    return engine->snapshot_has_ended || engine->failed_error != 0;
}

static int turn_until(struct userwal_engine *engine,
                      bool (*is_so)(const struct userwal_engine *engine))
{
    int result = 0;

    while (result >= 0 && !is_so(engine)) {
        result = reactor_turn(&engine->reactor, TURN_NS);
    }
    return result < 0 ? result : 0;
}

int userwal_engine_close(struct userwal_engine *engine)
{
    int result;

    if (engine->wal == NULL) {
        return 0;
    }
    engine->is_closed = false;
    wal_close(engine->wal);
    result = turn_until(engine, is_closed);
    user_snapshot_free(engine->source); /* the log has let go of it */
    engine->source = NULL;
    return result != 0 ? result : engine->failed_error;
}

int userwal_engine_try(struct userwal_engine *engine, struct disk *disk)
{
    int result = userwal_engine_open(engine, disk, WAL_SEGMENT_SIZE_MIN);

    return result != 0 ? result : userwal_engine_close(engine);
}

int userwal_engine_snapshot(struct userwal_engine *engine)
{
    int result = user_snapshot_new(engine->store, UINT64_MAX, &engine->source);

    if (result == 0) {
        wal_set_source(engine->wal, user_snapshot_source(), engine->source);
        engine->snapshot_has_ended = false;
        result = wal_snapshot(engine->wal);
    }
    if (result == 0) {
        result = turn_until(engine, has_snapshot_ended);
    }
    if (result < 0) {
        return userwal_fail_errno(result, "snapshot");
    }
    if (result != 0 || !engine->snapshot_is_done) {
        return userwal_fail(COMMON_EXIT_IO, "the snapshot came to nothing: %s",
                            engine->failed_error != 0 ? strerror(-engine->failed_error)
                                                      : engine->problem);
    }
    return 0;
}

static int on_snapshot_begin(void *context, const struct snapshot_format_header *header,
                             uint64_t file_size)
{
    (void)file_size;
    return on_begin(context, header->record_count);
}

int userwal_engine_load_snapshot(struct userwal_engine *engine, struct disk *disk, uint64_t lsn)
{
    struct wal_window window;
    const struct snapshot_read read = {
        .disk = disk,
        .window = &window,
        .lsn = lsn,
        .begin = on_snapshot_begin,
        .record = on_record,
        .context = engine,
        .problem = engine->problem,
    };
    int result = wal_window_init(&window);

    if (result == 0) {
        result = snapshot_read(&read);
        wal_window_deinit(&window);
    }
    if (result == -EBADMSG) {
        (void)snprintf(engine->problem, sizeof(engine->problem),
                       "the snapshot holds users that do not fit together");
    }
    return result;
}
