#include "lib/wal_driver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX 2000

struct driven_append {
    struct wal_append append;
    struct wal_driver *driver;
    uint8_t bytes[];
};

/* The bytes of a record, eight at a time. */
static uint64_t word_of(uint64_t salt, uint32_t index)
{
    return (salt + index) * 0x9e3779b97f4a7c15ULL;
}

static void fill(uint8_t *bytes, uint32_t size, uint64_t salt)
{
    uint64_t word;
    uint32_t i = 0;

    for (; size - i >= sizeof(word); i += (uint32_t)sizeof(word)) {
        word = word_of(salt, i);
        memcpy(bytes + i, &word, sizeof(word));
    }
    word = word_of(salt, i);
    memcpy(bytes + i, &word, size - i);
}

static bool is_filled(const uint8_t *bytes, uint32_t size, uint64_t salt)
{
    uint64_t word;
    uint32_t i = 0;

    for (; size - i >= sizeof(word); i += (uint32_t)sizeof(word)) {
        memcpy(&word, bytes + i, sizeof(word));
        if (word != word_of(salt, i)) {
            return false;
        }
    }
    word = word_of(salt, i);
    return memcmp(bytes + i, &word, size - i) == 0;
}

static uint8_t type_of(uint64_t salt)
{
    return (uint8_t)(salt >> 8);
}

void wal_driver_init(struct wal_driver *driver, struct fake_world *world)
{
    *driver = (struct wal_driver){
        .world = world,
        .options = {.segment_size = WAL_SEGMENT_SIZE_MIN,
                    .max_pending = 100000,
                    .max_pending_bytes = 1ULL << 30},
        .source_bytes = malloc(WAL_RECORD_SIZE_MAX),
    };
    if (driver->source_bytes == NULL) {
        abort();
    }
}

void wal_driver_deinit(struct wal_driver *driver)
{
    assert(driver->wal == NULL);
    free(driver->ledger);
    driver->ledger = NULL;
    free(driver->source_bytes);
    driver->source_bytes = NULL;
}

void wal_driver_forget(struct wal_driver *driver)
{
    assert(driver->wal == NULL);
    driver->sent = 0;
    driver->acked = 0;
    driver->durable = 0;
    driver->may_lose = false;
    driver->wrong = 0;
}

static int on_begin(void *context, uint64_t record_count)
{
    struct wal_driver *driver = context;

    driver->replayed = 0;
    driver->loaded = 0;
    driver->wrong = 0;
    driver->begins++;
    driver->expected = record_count;
    return driver->expected_max != 0 && record_count > driver->expected_max ? -ENOMEM : 0;
}

static int on_record(void *context, const struct wal_record *record)
{
    struct wal_driver *driver = context;
    const struct wal_driver_entry *entry;
    bool is_right;

    driver->replayed++;
    driver->loaded += record->is_in_snapshot;
    if (driver->on_record != NULL) {
        driver->on_record(driver);
    }
    if (record->lsn != driver->replayed || record->lsn > driver->sent) {
        driver->wrong++;
        return 0;
    }
    entry = &driver->ledger[record->lsn - 1];
    is_right = record->body.size == entry->size && record->type == type_of(entry->salt) &&
               record->realtime_ns != 0 && is_filled(record->body.data, entry->size, entry->salt);
    if (!is_right) {
        driver->wrong++;
    }
    return 0;
}

static void on_progress(void *context, const struct wal_progress *progress)
{
    struct wal_driver *driver = context;

    driver->progress = *progress;
    driver->progress_count++;
}

static void on_notice(void *context, const char *text)
{
    struct wal_driver *driver = context;

    (void)snprintf(driver->notice, sizeof(driver->notice), "%s", text); /* fits */
    driver->notice_count++;
}

/* The ledger up to an LSN, in its order. */
static int source_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct wal_driver *driver = context;

    if (driver->source_is_open || lsn != driver->acked) {
        (void)fprintf(stderr, "a snapshot of the wrong moment\n");
        abort();
    }
    driver->source_is_open = true;
    driver->source_lsn = lsn;
    driver->source_next = 1;
    *ret_record_count = lsn;
    return 0;
}

static int source_next(void *context, struct wal_record *ret_record)
{
    struct wal_driver *driver = context;
    const uint64_t lsn = driver->source_next;
    const struct wal_driver_entry *entry = &driver->ledger[lsn - 1];

    if (driver->source_error != 0) {
        return driver->source_error;
    }
    if (lsn > driver->source_lsn) {
        return WAL_SNAPSHOT_END;
    }
    driver->source_next++;
    fill(driver->source_bytes, entry->size, entry->salt);
    *ret_record = (struct wal_record){
        .lsn = lsn,
        .type = type_of(entry->salt),
        .is_in_snapshot = true,
        .body = {driver->source_bytes, entry->size},
    };
    return 0;
}

static void source_end(void *context)
{
    struct wal_driver *driver = context;

    if (!driver->source_is_open) {
        abort();
    }
    driver->source_is_open = false;
}

static uint64_t source_count(void *context)
{
    const struct wal_driver *driver = context;

    return driver->acked;
}

static void on_snapshot(void *owner, const struct wal_snapshot_report *report)
{
    struct wal_driver *driver = owner;

    driver->snapshot_counts[report->step]++;
    driver->snapshot = *report;
    if (report->problem != NULL) {
        (void)snprintf(driver->snapshot_problem, sizeof(driver->snapshot_problem), "%s",
                       report->problem); /* fits */
    }
}

static void on_failed(void *owner, int error)
{
    struct wal_driver *driver = owner;

    driver->failed_error = error;
    driver->failed_count++;
    driver->may_lose = true;
}

static void on_space(void *owner, bool no_space)
{
    struct wal_driver *driver = owner;

    driver->no_space = no_space;
    driver->space_count++;
}

static void note_durable(struct wal_driver *driver)
{
    if (driver->wal != NULL) {
        driver->durable = wal_stats(driver->wal)->durable_lsn;
    }
}

static void on_closed(void *owner)
{
    struct wal_driver *driver = owner;

    note_durable(driver);
    driver->closed_count++;
    driver->wal = NULL;
}

/* Compares what the log holds with what it has to. */
static void judge(struct wal_driver *driver)
{
    const bool was_lazy = driver->was_lazy && driver->may_lose;
    const uint64_t least = was_lazy ? driver->durable : driver->acked;

    if (driver->replayed < least || driver->replayed > driver->sent) {
        driver->wrong++;
        return;
    }
    driver->lost = driver->acked > driver->replayed ? driver->acked - driver->replayed : 0;
    if (driver->lost > 0 && !wal_stats(driver->wal)->may_have_lost) {
        driver->wrong++;
    }
    driver->sent = driver->replayed;
    driver->acked = driver->replayed;
    driver->may_lose = false;
    note_durable(driver);
}

int wal_driver_open(struct wal_driver *driver)
{
    static const struct wal_replay replay = {
        .begin = on_begin, .record = on_record, .progress = on_progress, .notice = on_notice};
    static const struct wal_events events = {
        .failed = on_failed, .space = on_space, .snapshot = on_snapshot, .closed = on_closed};
    static const struct wal_snapshot_source source = {
        .begin = source_begin, .next = source_next, .end = source_end, .count = source_count};
    struct wal_environment environment = fake_world_environment(driver->world);
    int result;

    assert(driver->wal == NULL);
    if (driver->disk != NULL) {
        environment.disk = driver->disk;
    }
    driver->begins = 0;
    driver->notice_count = 0;
    driver->progress_count = 0;
    driver->failed_count = 0;
    driver->closed_count = 0;
    result =
        wal_open(&environment, &driver->options, &replay, driver, driver->problem, &driver->wal);
    if (result != 0) {
        return result;
    }
    wal_set_events(driver->wal, &events, driver);
    if (driver->snapshots) {
        wal_set_source(driver->wal, &source, driver);
    }
    judge(driver);
    driver->was_lazy = driver->options.sync_interval_ns != 0;
    return 0;
}

static void on_append_done(struct wal_append *append, int result)
{
    struct driven_append *driven = CONTAINER_OF(append, struct driven_append, append);
    struct wal_driver *driver = driven->driver;

    driver->waiting--;
    if (result == 0) {
        if (append->lsn != driver->acked + 1 || driver->failed_count > 0) {
            (void)fprintf(stderr, "record %llu acknowledged after %llu\n",
                          (unsigned long long)append->lsn, (unsigned long long)driver->acked);
            abort();
        }
        driver->acked = append->lsn;
        driver->ledger[append->lsn - 1].acked = true;
    } else {
        driver->told_error = result;
        driver->told_error_count++;
    }
    free(driven);
    if (result == 0 && driver->on_done != NULL) {
        driver->on_done(driver);
    }
}

static void enter(struct wal_driver *driver, uint64_t lsn, struct wal_driver_entry entry)
{
    if (lsn > driver->ledger_capacity) {
        driver->ledger_capacity = lsn * 2;
        driver->ledger =
            realloc(driver->ledger, driver->ledger_capacity * sizeof(driver->ledger[0]));
        if (driver->ledger == NULL) {
            abort();
        }
    }
    driver->ledger[lsn - 1] = entry;
}

int wal_driver_append(struct wal_driver *driver, uint32_t size)
{
    const uint64_t salt = fake_world_random(driver->world, UINT64_MAX);
    struct driven_append *driven = malloc(sizeof(*driven) + size);
    int result;

    if (driven == NULL) {
        abort();
    }
    fill(driven->bytes, size, salt);
    driven->driver = driver;
    driven->append = (struct wal_append){
        .body = {driven->bytes, size}, .type = type_of(salt), .done = on_append_done};
    result = wal_append(driver->wal, &driven->append);
    if (result != 0) {
        free(driven);
        return result;
    }
    if (driven->append.lsn != driver->sent + 1) {
        abort();
    }
    driver->sent++;
    driver->waiting++;
    enter(driver, driver->sent, (struct wal_driver_entry){.salt = salt, .size = size});
    return 0;
}

void wal_driver_turn(struct wal_driver *driver)
{
    if (driver->disk == NULL) {
        fake_world_turn(driver->world);
    } else if (reactor_turn(&driver->world->reactor, CLOCK_NS_PER_S) != 0) {
        abort();
    }
    note_durable(driver);
}

bool wal_driver_snapshot(struct wal_driver *driver)
{
    const unsigned done = driver->snapshot_counts[WAL_SNAPSHOT_DONE];

    if (wal_snapshot(driver->wal) != 0) {
        abort();
    }
    for (unsigned i = 0; i == 0 || wal_stats(driver->wal)->snapshot_is_running; i++) {
        if (i == TURNS_MAX) {
            (void)fprintf(stderr, "a snapshot takes for ever\n");
            abort();
        }
        wal_driver_turn(driver);
    }
    return driver->snapshot_counts[WAL_SNAPSHOT_DONE] > done;
}

void wal_driver_settle(struct wal_driver *driver)
{
    for (unsigned i = 0; driver->waiting > 0; i++) {
        if (i == TURNS_MAX) {
            (void)fprintf(stderr, "appends wait for ever\n");
            abort();
        }
        wal_driver_turn(driver);
    }
}

void wal_driver_close(struct wal_driver *driver)
{
    wal_close(driver->wal);
    for (unsigned i = 0; driver->wal != NULL; i++) {
        if (i == TURNS_MAX) {
            (void)fprintf(stderr, "close waits for ever\n");
            abort();
        }
        wal_driver_turn(driver);
    }
}

void wal_driver_crash(struct wal_driver *driver)
{
    note_durable(driver);
    driver->may_lose = true;
    fake_disk_crash(driver->world->disk);
    wal_driver_close(driver);
    fake_disk_restart(driver->world->disk);
}

bool wal_driver_is_faithful(const struct wal_driver *driver)
{
    return driver->wrong == 0;
}
