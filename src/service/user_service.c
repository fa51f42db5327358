/*
 * The service put together: one store, the ways to read and change it, and the log from which alone
 * it changes. What the log commits goes past the watchers first, who compare it with what is
 * stored, and into the store then; only after that is the call answered that asked for it.
 *
 * When the run before may have lost changes that it had answered (wal.sync = interval and a power
 * cut), their numbers may be known outside, as etags. So counting goes on far behind them, and how
 * far is the first thing that this run logs: without it the next start would not know.
 */
#include "service/user_service.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "http2/grpc_method.h"
#include "service/user_store.h"
#include "service/user_unary.h"
#include "service/user_write.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH(name) "/users.v1.UserService/" name

/* More than can be answered between two syncs. */
#define SKIPPED_CHANGES (UINT64_C(1) << 24)

struct user_service {
    struct user_store *store;
    struct user_writer writer;
    struct user_unary unary;
    struct user_lister *lister;
    struct user_watch *watch;
    struct user_streams streams;
    struct user_snapshot *snapshot;
    struct commit_mutation skipping; /* logs that numbers were left out */
    struct buf skipping_record;
    struct user_counters skipped_to;
    bool skipping_due;
    void (*checkpointed)(void *context, const struct wal_snapshot_report *report);
    void *checkpointed_context;
    void (*progressed)(void *context, const struct wal_progress *progress);
    void *progressed_context;
    void (*state_changed)(void *context, enum commit_log_state state, const char *reason);
    void *state_context;
    bool has_refused; /* recovery ended at this record: */
    bool refused_in_snapshot;
    uint64_t refused_revision;
};

void user_service_methods(struct user_service *service, struct grpc_method *ret_methods)
{
    const struct grpc_method methods[USER_SERVICE_METHOD_COUNT] = {
        {.path = PATH("GetUser"), .handler = user_unary_get, .service = &service->unary},
        {.path = PATH("CreateUser"),
         .handler = user_unary_create,
         .service = &service->unary,
         .secret = true},
        {.path = PATH("UpdateUser"), .handler = user_unary_update, .service = &service->unary},
        {.path = PATH("DeleteUser"), .handler = user_unary_delete, .service = &service->unary},
        {.path = PATH("ListUsers"),
         .handler = user_lister_handle,
         .service = service->lister,
         .long_answers = true},
        {.path = PATH("WatchUser"),
         .kind = GRPC_METHOD_SERVER_STREAM,
         .handler = user_watch_handle,
         .service = service->watch},
        {.path = PATH("BatchCreateUsers"),
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = user_stream_open_batch,
         .service = &service->streams,
         .secret = true},
        {.path = PATH("SyncUsers"),
         .kind = GRPC_METHOD_BIDI_STREAM,
         .open = user_stream_open_sync,
         .service = &service->streams},
    };

    memcpy(ret_methods, methods, sizeof(methods));
}

static int on_reset_begin(void *context, uint64_t record_count)
{
    struct user_service *service = context;

    user_store_clear(service->store);
    return user_store_reserve_users(service->store, record_count);
}

static int on_reset_record(void *context, const struct commit_event *event)
{
    struct user_service *service = context;
    int result = user_store_apply(service->store, event);

    user_store_settle(service->store);
    if (result != 0) {
        service->has_refused = true;
        service->refused_in_snapshot = event->is_in_snapshot;
        service->refused_revision = event->revision;
    }
    return result;
}

/* The program around us tells how many users there are. */
static void on_reset_end(void *context, const struct commit_recovered *recovered)
{
    struct user_service *service = context;

    user_store_end_load(service->store);
    if (recovered->may_have_lost) {
        service->skipped_to = user_store_skip_changes(service->store, SKIPPED_CHANGES);
        service->skipping_due = true;
    }
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct user_service *service = context;

    for (size_t i = 0; i < count; i++) {
        int result;

        user_watch_note(service->watch, &events[i]);
        result = user_store_apply(service->store, &events[i]);
        /* Every record was planned here, and checked then. Going on with a store that does not hold
         * what the log holds would be worse than ending. */
        assert(result == 0);
    }
}

static void on_skipping_done(struct commit_mutation *mutation, enum commit_outcome outcome,
                             uint64_t revision)
{
    struct user_service *service = CONTAINER_OF(mutation, struct user_service, skipping);

    (void)revision;
    /* When there is room again the log is READY again. If it failed, that is for the next start. */
    service->skipping_due = outcome == COMMIT_NO_SPACE;
    buf_deinit(&service->skipping_record);
}

static void log_skipping(struct user_service *service)
{
    struct commit_log *log = service->writer.log;

    service->skipping_due = false;
    if (user_record_append_counters(&service->skipped_to, &service->skipping_record) != 0) {
        buf_deinit(&service->skipping_record);
        return; /* the next change says as much by its own number */
    }
    service->skipping = (struct commit_mutation){
        .record = buf_bytes(&service->skipping_record),
        .record_type = USER_RECORD_COUNTERS,
        .done = on_skipping_done,
    };
    list_init(&service->skipping.link);
    log->ops->submit(log, &service->skipping);
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    struct user_service *service = context;

    if (state == COMMIT_LOG_READY && service->skipping_due) {
        log_skipping(service);
    }
    if (state == COMMIT_LOG_FAILED || state == COMMIT_LOG_CLOSED) {
        service->writer.log_failed = true;
    }
    if (service->state_changed != NULL) {
        service->state_changed(service->state_context, state, reason);
    }
}

static void on_checkpoint(void *context, const struct wal_snapshot_report *report)
{
    struct user_service *service = context;

    if (service->checkpointed != NULL) {
        service->checkpointed(service->checkpointed_context, report);
    }
}

static void on_reset_progress(void *context, const struct wal_progress *progress)
{
    const struct user_service *service = context;

    if (service->progressed != NULL) {
        service->progressed(service->progressed_context, progress);
    }
}

/* The callbacks of the log have one context. */
static int on_snapshot_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct user_service *service = context;

    return user_snapshot_source()->begin(service->snapshot, lsn, ret_record_count);
}

static int on_snapshot_next(void *context, struct wal_record *ret_record)
{
    struct user_service *service = context;

    return user_snapshot_source()->next(service->snapshot, ret_record);
}

static void on_snapshot_end(void *context)
{
    struct user_service *service = context;

    user_snapshot_source()->end(service->snapshot);
}

static uint64_t on_snapshot_count(void *context)
{
    const struct user_service *service = context;

    return user_store_count(service->store);
}

static const struct wal_snapshot_source snapshot_source = {
    .begin = on_snapshot_begin,
    .next = on_snapshot_next,
    .end = on_snapshot_end,
    .count = on_snapshot_count,
};

static const struct commit_log_callbacks log_callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .reset_progress = on_reset_progress,
    .snapshot = &snapshot_source,
    .events = on_events,
    .state = on_state,
    .checkpoint = on_checkpoint,
};

int user_service_new(struct reactor *reactor, struct random_source *random, struct workpool *pool,
                     const struct user_service_options *options, struct user_service **ret_service)
{
    struct user_service *service = calloc(1, sizeof(*service));
    struct hash_seed seed;

    if (service == NULL) {
        return -ENOMEM;
    }
    random_fill(random, &seed, sizeof(seed));
    if (user_store_new(options->max_users, seed, &service->store) != 0 ||
        user_snapshot_new(service->store, options->snapshot_max_kept, &service->snapshot) != 0 ||
        user_lister_new(reactor, service->store, random, &options->lister, &service->lister) != 0 ||
        user_watch_new(reactor, service->store, &options->watch, &service->watch) != 0) {
        user_service_free(service);
        return -ENOMEM;
    }
    service->writer = (struct user_writer){
        .store = service->store,
        .pool = pool,
        .clock = reactor->clock,
        .ids = {.random = random},
        .cost = {options->password_memory_kib, options->password_iterations},
    };
    user_durability_init(&service->writer.durability, options->sync_interval_ms);
    service->unary = (struct user_unary){
        .store = service->store,
        .writer = &service->writer,
        .max_fields = options->max_fields,
        .password_rule = {options->password_min_length, options->password_max_length},
    };
    service->streams = (struct user_streams){
        .reactor = reactor,
        .writer = &service->writer,
        .options = options->streams,
    };
    list_init(&service->streams.hash_turns);
    *ret_service = service;
    return 0;
}

void user_service_watch_checkpoints(struct user_service *service,
                                    void (*told)(void *context,
                                                 const struct wal_snapshot_report *report),
                                    void *context)
{
    service->checkpointed = told;
    service->checkpointed_context = context;
}

void user_service_watch_recovery(struct user_service *service,
                                 void (*told)(void *context, const struct wal_progress *progress),
                                 void *context)
{
    service->progressed = told;
    service->progressed_context = context;
}

int user_service_start(struct user_service *service, struct commit_log *log,
                       void (*state_changed)(void *context, enum commit_log_state state,
                                             const char *reason),
                       void *context, char *problem)
{
    int result;

    service->state_changed = state_changed;
    service->state_context = context;
    service->writer.log = log;
    result = log->ops->start(log, &log_callbacks, service, problem);
    if (result == -EBADMSG && service->has_refused) {
        /* The log itself is whole, but what it says about users is not. */
        (void)snprintf(problem, WAL_PROBLEM_SIZE,
                       "record %llu of the %s does not fit the records before it",
                       (unsigned long long)service->refused_revision,
                       service->refused_in_snapshot ? "snapshot" : "log");
        return WAL_E_DAMAGED;
    }
    return result;
}

int user_service_checkpoint(struct user_service *service)
{
    struct commit_log *log = service->writer.log;

    return log == NULL || service->writer.log_failed ? -EIO : log->ops->checkpoint(log);
}

uint64_t user_service_user_count(const struct user_service *service)
{
    return user_store_count(service->store);
}

uint64_t user_service_user_memory(const struct user_service *service)
{
    return user_store_memory(service->store);
}

void user_service_end_watches(struct user_service *service)
{
    user_watch_end(service->watch);
}

const struct user_lister *user_service_lister(const struct user_service *service)
{
    return service->lister;
}

const struct user_watch *user_service_watch(const struct user_service *service)
{
    return service->watch;
}

const struct user_streams *user_service_streams(const struct user_service *service)
{
    return &service->streams;
}

const struct user_snapshot_stats *user_service_snapshot_stats(const struct user_service *service)
{
    return user_snapshot_stats(service->snapshot);
}

void user_service_free(struct user_service *service)
{
    if (service == NULL) {
        return;
    }
    user_watch_free(service->watch);
    user_lister_free(service->lister);
    user_writer_deinit(&service->writer);
    user_snapshot_free(service->snapshot);
    user_store_free(service->store);
    free(service);
}
