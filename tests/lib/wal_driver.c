#include "lib/wal_driver.h"

#include <assert.h>
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
    };
}

void wal_driver_deinit(struct wal_driver *driver)
{
    assert(driver->wal == NULL);
    free(driver->ledger);
    driver->ledger = NULL;
}

void wal_driver_forget(struct wal_driver *driver)
{
    assert(driver->wal == NULL);
    driver->sent = 0;
    driver->acked = 0;
    driver->wrong = 0;
}

static int on_replay(void *context, const struct wal_record *record)
{
    struct wal_driver *driver = context;
    const struct wal_driver_entry *entry;
    bool is_right;

    driver->replayed++;
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

static void on_failed(void *owner, int error)
{
    struct wal_driver *driver = owner;

    driver->failed_error = error;
    driver->failed_count++;
}

static void on_space(void *owner, bool no_space)
{
    struct wal_driver *driver = owner;

    driver->no_space = no_space;
    driver->space_count++;
}

static void on_closed(void *owner)
{
    struct wal_driver *driver = owner;

    driver->closed_count++;
    driver->wal = NULL;
}

int wal_driver_open(struct wal_driver *driver)
{
    static const struct wal_events events = {
        .failed = on_failed, .space = on_space, .closed = on_closed};
    struct wal_environment environment = fake_world_environment(driver->world);
    int result;

    assert(driver->wal == NULL);
    if (driver->disk != NULL) {
        environment.disk = driver->disk;
    }
    driver->replayed = 0;
    driver->wrong = 0;
    driver->failed_count = 0;
    driver->closed_count = 0;
    result =
        wal_open(&environment, &driver->options, on_replay, driver, driver->problem, &driver->wal);
    if (result != 0) {
        return result;
    }
    wal_set_events(driver->wal, &events, driver);
    if (driver->replayed < driver->acked || driver->replayed > driver->sent) {
        driver->wrong++;
        return 0;
    }
    driver->sent = driver->replayed;
    driver->acked = driver->replayed;
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
    fake_disk_crash(driver->world->disk);
    wal_driver_close(driver);
    fake_disk_restart(driver->world->disk);
}

bool wal_driver_is_faithful(const struct wal_driver *driver)
{
    return driver->wrong == 0;
}
