#include "lib/disk_witness.h"
#include "lib/store_driver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TURNS_MAX 20000

void store_driver_blame(struct store_driver *driver, const char *what)
{
    if (driver->wrong == NULL) {
        driver->wrong = what;
    }
}

void store_driver_init(struct store_driver *driver, struct fake_world *world)
{
    *driver = (struct store_driver){
        .world = world,
        .options = {.segment_size = WAL_SEGMENT_SIZE_MIN,
                    .max_pending = 1000,
                    .max_pending_bytes = 1ULL << 24},
        .max_kept = 1ULL << 30,
        .size_usual = 300,
        .size_max = 2000,
    };
}

void store_driver_deinit(struct store_driver *driver)
{
    assert(driver->store == NULL);
    user_model_deinit(&driver->model);
}

void store_driver_forget(struct store_driver *driver)
{
    assert(driver->store == NULL);
    user_model_forget_after(&driver->model, 0);
    driver->now = (struct user_model_state){.count = 0};
    driver->is_interval = false;
    driver->is_risky = false;
    driver->told = 0;
    driver->durable = 0;
    driver->least = 0;
    driver->never = 0;
    driver->change_told = 0;
    driver->wrong = NULL;
}

/* The log's callbacks. */

static int on_reset_begin(void *context, uint64_t record_count)
{
    struct store_driver *driver = context;

    user_store_clear(driver->store);
    driver->revision_seen = 0;
    return user_store_reserve_users(driver->store, record_count);
}

static int on_reset_record(void *context, const struct commit_event *event)
{
    struct store_driver *driver = context;

    if (!event->is_in_snapshot) {
        if (driver->revision_seen != 0 && event->revision != driver->revision_seen + 1) {
            store_driver_blame(driver, "records are replayed out of order");
        }
        driver->revision_seen = event->revision;
    }
    return user_store_apply(driver->store, event);
}

static void on_reset_end(void *context, const struct commit_recovered *recovered)
{
    struct store_driver *driver = context;

    driver->recovered = recovered->revision;
    driver->may_have_lost = recovered->may_have_lost;
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    struct store_driver *driver = context;

    for (size_t i = 0; i < count; i++) {
        if (user_store_apply(driver->store, &events[i]) != 0) {
            store_driver_blame(driver, "a committed record does not fit the store");
        }
    }
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    struct store_driver *driver = context;

    (void)reason;
    driver->state = state;
    if (state == COMMIT_LOG_FAILED && !fake_disk_is_dead(driver->world->disk)) {
        driver->has_failed = true;
    }
}

static void on_checkpoint(void *context, const struct wal_snapshot_report *report)
{
    struct store_driver *driver = context;

    if (report->step == WAL_SNAPSHOT_DONE) {
        driver->tally.snapshots_done++;
        driver->tally.segments_removed += report->segments_removed;
        if (!driver->may_lose_snapshots &&
            !disk_witness_has_snapshot(driver->world->disk, report->lsn)) {
            store_driver_blame(driver, "a snapshot that is done is not there");
        }
    } else if (report->step == WAL_SNAPSHOT_FAILED) {
        driver->tally.snapshots_failed++;
    }
}

/* The callbacks of the log have one context. */

static int on_snapshot_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct store_driver *driver = context;

    if (lsn != driver->told) {
        store_driver_blame(driver, "a snapshot is not of what was told");
    }
    return user_snapshot_source()->begin(driver->snapshot, lsn, ret_record_count);
}

static int on_snapshot_next(void *context, struct wal_record *ret_record)
{
    struct store_driver *driver = context;

    return user_snapshot_source()->next(driver->snapshot, ret_record);
}

static void on_snapshot_end(void *context)
{
    struct store_driver *driver = context;

    user_snapshot_source()->end(driver->snapshot);
}

static const struct wal_snapshot_source snapshot_source = {
    .begin = on_snapshot_begin,
    .next = on_snapshot_next,
    .end = on_snapshot_end,
};

static const struct commit_log_callbacks log_callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .snapshot = &snapshot_source,
    .events = on_events,
    .state = on_state,
    .checkpoint = on_checkpoint,
};

/* Opening and judging. */

static void drop_all(struct store_driver *driver)
{
    driver->log->ops->free(driver->log);
    user_snapshot_free(driver->snapshot);
    user_store_free(driver->store);
    driver->log = NULL;
    driver->snapshot = NULL;
    driver->store = NULL;
}

int store_driver_open(struct store_driver *driver)
{
    const struct hash_seed seed = {
        {fake_world_random(driver->world, UINT64_MAX), driver->model.count}};
    struct fake_world *world = driver->world;
    int result;

    assert(driver->store == NULL);
    driver->state = COMMIT_LOG_RECOVERING;
    driver->has_failed = false;
    driver->problem[0] = '\0';
    if (user_store_new(USER_MODEL_IDS, seed, &driver->store) != 0 ||
        user_snapshot_new(driver->store, driver->max_kept, &driver->snapshot) != 0 ||
        commit_log_wal_new(fake_disk_disk(world->disk), &world->reactor, &world->random,
                           &driver->options, &driver->log) != 0) {
        abort();
    }
    result = driver->log->ops->start(driver->log, &log_callbacks, driver, driver->problem);
    if (result != 0) {
        drop_all(driver);
        return result;
    }
    driver->tally.replayed += driver->log->ops->stats(driver->log)->records_replayed;
    driver->tally.loaded += driver->log->ops->stats(driver->log)->records_loaded;
    return 0;
}

enum store_driver_verdict store_driver_judge(struct store_driver *driver)
{
    struct user_model_state wanted;
    const char *what;

    if (driver->recovered > driver->model.count ||
        (driver->never != 0 && driver->recovered >= driver->never)) {
        store_driver_blame(driver,
                           "there are records that were never sent, or told as without effect");
        return STORE_DRIVER_GHOST;
    }
    user_model_state_at(&driver->model, driver->recovered, &wanted);
    if (!user_model_is_held(&wanted, driver->store, &what)) {
        store_driver_blame(driver, what);
        return STORE_DRIVER_WRONG;
    }
    if (driver->recovered < driver->least) {
        store_driver_blame(driver, "what was told is lost");
        return STORE_DRIVER_LOST;
    }
    return STORE_DRIVER_EXACT;
}

void store_driver_accept(struct store_driver *driver)
{
    user_model_forget_after(&driver->model, driver->recovered);
    user_model_state_at(&driver->model, driver->recovered, &driver->now);
    driver->is_interval = driver->options.sync_interval_ns > 0;
    driver->is_risky = false;
    driver->told = driver->recovered;
    driver->durable = driver->recovered;
    driver->least = driver->recovered;
    driver->never = 0;
    if (driver->change_told < driver->now.counters.change) {
        driver->change_told = driver->now.counters.change;
    }
    if (driver->may_have_lost) {
        store_driver_skip_numbers(driver);
    }
}

void store_driver_snapshot(struct store_driver *driver)
{
    const int result = driver->log->ops->checkpoint(driver->log);

    if (result != 0 && result != -EBUSY && result != -EIO) {
        store_driver_blame(driver, "a snapshot is refused for no reason");
    }
}

/* Time, and the end. */

static const struct wal_stats *stats_of(const struct store_driver *driver)
{
    return driver->log->ops->stats(driver->log);
}

void store_driver_turn(struct store_driver *driver, uint64_t ns)
{
    const struct wal_stats *stats;

    fake_world_advance(driver->world, ns);
    stats = stats_of(driver);
    if (stats != NULL && stats->durable_lsn > driver->durable) {
        driver->durable = stats->durable_lsn;
        if (driver->durable > driver->model.count) {
            store_driver_blame(driver, "more is durable than was sent");
        }
    }
}

static bool is_anything_submitted(const struct store_driver *driver)
{
    for (unsigned i = 0; i < STORE_DRIVER_FLYING_MAX; i++) {
        if (driver->flights[i].submitted) {
            return true;
        }
    }
    return false;
}

void store_driver_settle(struct store_driver *driver)
{
    const struct wal_stats *stats = stats_of(driver);

    for (unsigned i = 0; i < TURNS_MAX; i++) {
        if (stats == NULL || (!is_anything_submitted(driver) && !stats->snapshot_is_running)) {
            return;
        }
        store_driver_turn(driver, CLOCK_NS_PER_MS);
        stats = stats_of(driver);
    }
    store_driver_blame(driver, "a change or a snapshot waits for ever");
}

static void count_kept(struct store_driver *driver)
{
    const struct user_snapshot_stats *stats = user_snapshot_stats(driver->snapshot);

    driver->tally.kept_over += stats->given_up;
    if (driver->tally.kept_max < stats->kept_max) {
        driver->tally.kept_max = stats->kept_max;
    }
    if (stats->is_running || stats->kept_entries != 0) {
        store_driver_blame(driver, "a snapshot keeps users back after its end");
    }
}

void store_driver_close(struct store_driver *driver)
{
    driver->log->ops->close(driver->log);
    for (unsigned i = 0; driver->state != COMMIT_LOG_CLOSED; i++) {
        if (i == TURNS_MAX) {
            (void)fprintf(stderr, "close waits for ever\n");
            abort();
        }
        store_driver_turn(driver, CLOCK_NS_PER_MS);
    }
    if (is_anything_submitted(driver)) {
        store_driver_blame(driver, "a change is never answered");
    }
    for (unsigned i = 0; i < STORE_DRIVER_FLYING_MAX; i++) {
        if (driver->flights[i].active) {
            store_driver_end_flight(&driver->flights[i]);
        }
    }
    count_kept(driver);
    drop_all(driver);
}

void store_driver_note_end(struct store_driver *driver, bool power_lost)
{
    driver->is_risky = driver->is_risky || power_lost || driver->has_failed;
    driver->least = driver->is_interval && driver->is_risky ? driver->durable : driver->told;
}
