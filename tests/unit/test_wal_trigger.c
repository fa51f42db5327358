/*
 * When the log takes a snapshot, and what it does when that fails.
 */
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include <errno.h>
#include <string.h>

#define EVERY 100000

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
};

/* A log that is open and takes a snapshot after each `every` bytes; a record of 10 bytes is a frame
 * of 4096. */
static void fixture_init(struct fixture *fixture, uint64_t every, bool snapshots)
{
    fake_world_init(&fixture->world, 3);
    wal_driver_init(&fixture->driver, &fixture->world);
    fixture->driver.snapshots = snapshots;
    fixture->driver.options.snapshot_every = every;
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    wal_driver_turn(&fixture->driver);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->driver.wal != NULL) {
        wal_driver_close(&fixture->driver);
    }
    wal_driver_deinit(&fixture->driver);
    fake_world_deinit(&fixture->world);
}

static const struct wal_stats *stats(const struct fixture *fixture)
{
    return wal_stats(fixture->driver.wal);
}

static unsigned count(const struct fixture *fixture, enum wal_snapshot_step step)
{
    return fixture->driver.snapshot_counts[step];
}

/* One frame each, with the time that a snapshot needs behind it. */
static void append(struct fixture *fixture, unsigned times, uint32_t size)
{
    for (unsigned i = 0; i < times; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
        wal_driver_settle(&fixture->driver);
        for (unsigned turns = 0; turns < 30; turns++) {
            wal_driver_turn(&fixture->driver);
        }
    }
}

/* Not before the log is that long; then once; and again when it has grown as much since. */
START_TEST(wal_trigger_follows_the_log)
{
    struct fixture fixture;

    fixture_init(&fixture, EVERY, true);
    append(&fixture, EVERY / 4096, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 0);
    ck_assert_uint_le(stats(&fixture)->log_bytes, EVERY);
    append(&fixture, 1, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 1);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 1);
    ck_assert_uint_eq(fixture.driver.snapshot.lsn, 25);
    ck_assert_uint_eq(fixture.driver.snapshot.records, 25);
    ck_assert_uint_eq(stats(&fixture)->snapshot_lsn, 25);
    ck_assert_uint_eq(stats(&fixture)->snapshots_done, 1);
    ck_assert_uint_eq(stats(&fixture)->log_bytes, 0);
    append(&fixture, EVERY / 4096, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 1);
    append(&fixture, 1, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 2);
    wal_driver_crash(&fixture.driver);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    ck_assert(wal_driver_is_faithful(&fixture.driver));
    ck_assert_uint_eq(fixture.driver.loaded, 50);
    fixture_deinit(&fixture);
}

END_TEST

/* When the state is larger than wal.snapshot_every, its size counts instead; after a start too. */
START_TEST(wal_trigger_follows_the_size_of_the_state)
{
    struct fixture fixture;
    uint64_t size;

    fixture_init(&fixture, 1, true);
    append(&fixture, 1, 50000);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 1);
    size = fixture.driver.snapshot.bytes;
    ck_assert_uint_gt(size, 50000);
    append(&fixture, (unsigned)(size / 4096) - 1, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 1);
    wal_driver_crash(&fixture.driver);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    append(&fixture, 1, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 2);
    fixture_deinit(&fixture);
}

END_TEST

/* A start that finds a long log takes a snapshot at once. */
START_TEST(wal_trigger_is_due_at_start)
{
    struct fixture fixture;

    fixture_init(&fixture, 0, true);
    append(&fixture, 30, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 0); /* 0: only on demand */
    wal_driver_crash(&fixture.driver);
    fixture.driver.options.snapshot_every = EVERY;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    for (unsigned i = 0; i < 50; i++) {
        wal_driver_turn(&fixture.driver);
    }
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 1);
    fixture_deinit(&fixture);
}

END_TEST

/* Without a source there are none, and after the end of the log neither; one at a time. */
START_TEST(wal_trigger_refuses)
{
    struct fixture fixture;

    fixture_init(&fixture, 1, false);
    append(&fixture, 3, 10);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), WAL_E_FAILED);
    ck_assert(!fake_disk_exists(fixture.world.disk, "snap.tmp"));
    fixture_deinit(&fixture);

    fixture_init(&fixture, 0, true);
    append(&fixture, 3, 10);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), 0);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), WAL_E_BUSY);
    wal_driver_turn(&fixture.driver);
    ck_assert(stats(&fixture)->snapshot_is_running);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), WAL_E_BUSY);
    wal_close(fixture.driver.wal);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), WAL_E_FAILED);
    wal_driver_close(&fixture.driver);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 0);
    fixture_deinit(&fixture);
}

END_TEST

/* One that fails is told, hurts nobody, and is tried again when the log has grown by an eighth, but
 * not in the first ten seconds, or after a minute. */
START_TEST(wal_trigger_waits_after_a_failure)
{
    struct fixture fixture;

    fixture_init(&fixture, EVERY, true);
    fixture.driver.source_error = -ENOMEM;
    append(&fixture, 25, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 1);
    ck_assert_str_ne(fixture.driver.snapshot_problem, "");
    ck_assert_uint_eq(stats(&fixture)->snapshots_failed, 1);
    ck_assert(!stats(&fixture)->snapshot_is_running);
    ck_assert_uint_eq(stats(&fixture)->log_bytes, 25 * 4096);
    append(&fixture, 3, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 1);
    append(&fixture, 200, 10); /* more than an eighth, many times, but too soon */
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 1);
    fake_world_advance(&fixture.world, 11 * CLOCK_NS_PER_S);
    append(&fixture, 1, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 2);
    fake_world_advance(&fixture.world, 11 * CLOCK_NS_PER_S); /* less than an eighth meanwhile */
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 2);
    fixture.driver.source_error = 0;
    fake_world_advance(&fixture.world, 47 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_STARTED), 2);
    fake_world_advance(&fixture.world, 3 * CLOCK_NS_PER_S); /* nobody writes */
    for (unsigned turns = 0; turns < 30; turns++) {
        wal_driver_turn(&fixture.driver);
    }
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 1);
    ck_assert_uint_eq(fixture.driver.failed_count, 0);
    fixture_deinit(&fixture);
}

END_TEST

/* Who asks for one gets it, however soon after a failure. */
START_TEST(wal_trigger_obeys_after_a_failure)
{
    struct fixture fixture;

    fixture_init(&fixture, EVERY, true);
    fixture.driver.source_error = -ENOMEM;
    append(&fixture, 25, 10);
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_FAILED), 1);
    fixture.driver.source_error = 0;
    ck_assert(wal_driver_snapshot(&fixture.driver));
    append(&fixture, 25, 10); /* and that one is forgotten */
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 2);
    fixture_deinit(&fixture);
}

END_TEST

/* A name that cannot be made durable is the end of the log. */
START_TEST(wal_trigger_failed_rename_is_final)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_RENAME, FAKE_DISK_SYNC_DIRECTORY};
    struct fixture fixture;

    for (unsigned i = 0; i < 2; i++) {
        fixture_init(&fixture, 0, true);
        append(&fixture, 3, 10);
        fake_disk_fail(fixture.world.disk, kinds[i], 1, -EIO, false);
        ck_assert(!wal_driver_snapshot(&fixture.driver));
        ck_assert_uint_eq(fixture.driver.failed_count, 1);
        ck_assert_int_eq(fixture.driver.failed_error, -EIO);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_FAILED);
        wal_driver_close(&fixture.driver);
        fake_disk_crash(fixture.world.disk);
        fake_disk_restart(fixture.world.disk);
        ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
        ck_assert(wal_driver_is_faithful(&fixture.driver));
        fixture_deinit(&fixture);
    }
}

END_TEST

/* What is written while a snapshot is taken is log behind it. */
START_TEST(wal_trigger_counts_what_comes_meanwhile)
{
    struct fixture fixture;

    fixture_init(&fixture, 0, true);
    append(&fixture, 3, 10);
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(wal_snapshot(fixture.driver.wal), 0);
    for (unsigned i = 0; i < 5; i++) {
        wal_driver_turn(&fixture.driver);
    }
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1); /* the snapshot's first write */
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), 0);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 2);
        fake_disk_step(fixture.world.disk, 1);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.waiting, 0);
    }
    ck_assert(stats(&fixture)->snapshot_is_running);
    fake_disk_hold(fixture.world.disk, false);
    for (unsigned i = 0; i < 30; i++) {
        wal_driver_turn(&fixture.driver);
    }
    ck_assert_uint_eq(count(&fixture, WAL_SNAPSHOT_DONE), 1);
    ck_assert_uint_eq(stats(&fixture)->snapshot_lsn, 3);
    ck_assert_uint_eq(stats(&fixture)->log_bytes, 2 * 4096);
    fixture_deinit(&fixture);
}

END_TEST

/* Segments are counted as they come and go. */
START_TEST(wal_trigger_counts_segments)
{
    struct fixture fixture;

    fixture_init(&fixture, 0, true);
    ck_assert_uint_eq(stats(&fixture)->segments, 1);
    append(&fixture, 10, 200000); /* two to a segment */
    ck_assert_uint_eq(stats(&fixture)->segments, 5);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    ck_assert_uint_eq(fixture.driver.snapshot.segments_removed, 0);
    append(&fixture, 2, 200000);
    ck_assert_uint_eq(stats(&fixture)->segments, 6);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    ck_assert_uint_eq(fixture.driver.snapshot.segments_removed, 5);
    ck_assert_uint_eq(stats(&fixture)->segments, 1);
    wal_driver_close(&fixture.driver);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    ck_assert_uint_eq(stats(&fixture)->segments, 2);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_trigger", wal_trigger_follows_the_log, wal_trigger_follows_the_size_of_the_state,
          wal_trigger_is_due_at_start, wal_trigger_refuses, wal_trigger_waits_after_a_failure,
          wal_trigger_obeys_after_a_failure, wal_trigger_failed_rename_is_final,
          wal_trigger_counts_what_comes_meanwhile, wal_trigger_counts_segments)
