/*
 * The log is closed in each of its states. Whatever is in flight ends first; `closed` comes once,
 * from the loop and not from wal_close(); nothing is touched afterwards (that is for the address
 * sanitizer to see), nothing leaks, every append is answered once, and the next start finds what
 * was acknowledged.
 */
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/wal_format.h"

#include <errno.h>

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
    uint64_t acked; /* when the log was closed: a start may find more */
};

static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 9);
    wal_driver_init(&fixture->driver, &fixture->world);
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
}

static void append(struct fixture *fixture, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
    }
}

/* Asks for the close, twice, and sees it through; then everything is looked at. */
static void close_and_check(struct fixture *fixture)
{
    struct wal_driver *driver = &fixture->driver;

    wal_close(driver->wal);
    ck_assert_uint_eq(driver->closed_count, 0);
    wal_close(driver->wal);
    wal_driver_turn(driver);
    fake_disk_hold(fixture->world.disk, false);
    if (driver->wal != NULL) {
        wal_driver_close(driver);
    }
    for (unsigned i = 0; i < 3; i++) {
        fake_world_advance(&fixture->world, 2 * CLOCK_NS_PER_S);
    }
    ck_assert_uint_eq(driver->closed_count, 1);
    ck_assert_uint_eq(driver->waiting, 0);
    ck_assert_uint_eq(fake_disk_pending(fixture->world.disk), 0);
    fixture->acked = driver->acked;
    ck_assert_uint_eq(driver->failed_count > 0 ? driver->acked : driver->durable, driver->acked);
    fake_disk_crash(fixture->world.disk); /* a close leaves nothing unsynced that matters */
    fake_disk_restart(fixture->world.disk);
    ck_assert_int_eq(wal_driver_open(driver), 0);
    ck_assert(wal_driver_is_faithful(driver));
    wal_driver_close(driver);
    wal_driver_deinit(driver);
    fake_world_deinit(&fixture->world);
}

/* Before the first turn. */
START_TEST(lifetime_wal_close_at_once)
{
    struct fixture fixture;

    fixture_init(&fixture);
    close_and_check(&fixture);
}

END_TEST

/* With an append that no turn has seen yet: it is flushed. */
START_TEST(lifetime_wal_close_with_waiting_append)
{
    struct fixture fixture;

    fixture_init(&fixture);
    append(&fixture, 3, 100);
    close_and_check(&fixture);
    ck_assert_uint_eq(fixture.acked, 3);
    ck_assert_uint_eq(fixture.driver.told_error_count, 0);
}

END_TEST

/* With a flush in flight, and more waiting behind it. */
START_TEST(lifetime_wal_close_during_flush)
{
    struct fixture fixture;

    fixture_init(&fixture);
    wal_driver_turn(&fixture.driver);
    fake_disk_hold(fixture.world.disk, true);
    append(&fixture, 3, 100);
    wal_driver_turn(&fixture.driver);
    append(&fixture, 3, 100);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    close_and_check(&fixture);
    ck_assert_uint_eq(fixture.acked, 6);
}

END_TEST

/* With the spare in each of its steps. */
START_TEST(lifetime_wal_close_during_spare)
{
    struct fixture fixture;

    for (unsigned steps = 0; steps < 4; steps++) {
        fixture_init(&fixture);
        fake_disk_hold(fixture.world.disk, true);
        wal_driver_turn(&fixture.driver);
        for (unsigned i = 0; i < steps && fake_disk_pending(fixture.world.disk) > 0; i++) {
            fake_disk_step(fixture.world.disk, 0);
            wal_driver_turn(&fixture.driver);
        }
        close_and_check(&fixture);
    }
}

END_TEST

/* While the spare becomes the segment, in each step, with records that wait for it. */
START_TEST(lifetime_wal_close_during_rotation)
{
    struct fixture fixture;

    for (unsigned steps = 0; steps < 5; steps++) {
        fixture_init(&fixture);
        wal_driver_turn(&fixture.driver);
        append(&fixture, 2, 200000);
        wal_driver_settle(&fixture.driver);
        fake_disk_hold(fixture.world.disk, true);
        append(&fixture, 2, 200000);
        wal_driver_turn(&fixture.driver);
        for (unsigned i = 0; i < steps && fake_disk_pending(fixture.world.disk) > 0; i++) {
            fake_disk_step(fixture.world.disk, 0);
            wal_driver_turn(&fixture.driver);
        }
        close_and_check(&fixture);
        ck_assert_uint_eq(fixture.acked, 4);
    }
}

END_TEST

/* While records wait for a spare that is still being made. */
START_TEST(lifetime_wal_close_waiting_for_spare)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    wal_driver_turn(&fixture.driver);
    append(&fixture, 5, 200000);
    wal_driver_turn(&fixture.driver);
    close_and_check(&fixture);
    ck_assert_uint_eq(fixture.acked, 5);
}

END_TEST

/* With the SEAL timer armed, with the SEAL due, and with the SEAL in flight. */
START_TEST(lifetime_wal_close_around_seal)
{
    struct fixture fixture;

    for (unsigned state = 0; state < 3; state++) {
        fixture_init(&fixture);
        wal_driver_turn(&fixture.driver);
        append(&fixture, 1, 10);
        wal_driver_settle(&fixture.driver);
        fake_disk_hold(fixture.world.disk, true);
        if (state == 1) {
            fixture.world.now_ns += 11 * CLOCK_NS_PER_MS;
        } else if (state == 2) {
            fake_world_advance(&fixture.world, 11 * CLOCK_NS_PER_MS);
            ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        }
        close_and_check(&fixture);
    }
}

END_TEST

/* With the watermark's timer armed, and with the watermark in flight. */
START_TEST(lifetime_wal_close_around_watermark)
{
    struct fixture fixture;

    for (unsigned state = 0; state < 2; state++) {
        fixture_init(&fixture);
        wal_driver_turn(&fixture.driver);
        append(&fixture, 1, 10);
        wal_driver_settle(&fixture.driver);
        fake_world_advance(&fixture.world, 11 * CLOCK_NS_PER_MS);
        fake_disk_hold(fixture.world.disk, true);
        if (state == 1) {
            fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
            ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        }
        close_and_check(&fixture);
    }
}

END_TEST

/* While it waits for room on the disk, with and without records that need it. */
START_TEST(lifetime_wal_close_without_room)
{
    struct fixture fixture;

    for (unsigned count = 0; count < 6; count += 5) {
        fixture_init(&fixture);
        fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
        append(&fixture, count, 200000);
        wal_driver_turn(&fixture.driver);
        close_and_check(&fixture);
        ck_assert_uint_eq(fixture.driver.told_error_count, count == 0 ? 0 : 3);
    }
}

END_TEST

/* When a flush, the watermark or a spare has failed, before and after anyone was told. */
START_TEST(lifetime_wal_close_after_failure)
{
    struct fixture fixture;

    for (unsigned turns = 0; turns < 3; turns++) {
        for (unsigned nth = 1; nth < 8; nth++) {
            fixture_init(&fixture);
            fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, true);
            append(&fixture, 2, 10);
            for (unsigned i = 0; i < turns; i++) {
                fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
            }
            close_and_check(&fixture);
            ck_assert_uint_eq(fixture.acked + fixture.driver.told_error_count, 2);
        }
    }
}

END_TEST

/* When the failure comes while everything else is in flight. */
START_TEST(lifetime_wal_close_during_failing_flush)
{
    struct fixture fixture;

    for (unsigned first = 0; first < 2; first++) {
        fixture_init(&fixture);
        fake_disk_hold(fixture.world.disk, true);
        append(&fixture, 2, 10);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 2); /* a flush and a spare */
        fake_disk_fail(fixture.world.disk, FAKE_DISK_WRITE, 1, -EIO, false);
        fake_disk_step(fixture.world.disk, first);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.failed_count, 1);
        ck_assert_uint_eq(fixture.driver.told_error_count, 2);
        close_and_check(&fixture);
    }
}

END_TEST

/* When the CLOSE frame or the clean mark itself fails. */
START_TEST(lifetime_wal_close_that_fails)
{
    struct fixture fixture;

    for (unsigned nth = 1; nth < 6; nth++) {
        fixture_init(&fixture);
        wal_driver_turn(&fixture.driver);
        append(&fixture, 1, 10);
        wal_driver_settle(&fixture.driver);
        fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, false);
        close_and_check(&fixture);
    }
}

END_TEST

/* While a snapshot is being taken, in each of its steps. */
START_TEST(lifetime_wal_close_during_snapshot)
{
    struct fixture fixture;
    unsigned done = 0;

    for (unsigned steps = 0; done == 0; steps++) {
        fake_world_init(&fixture.world, 9);
        wal_driver_init(&fixture.driver, &fixture.world);
        fixture.driver.snapshots = true;
        ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
        wal_driver_turn(&fixture.driver);
        for (unsigned i = 0; i < 3; i++) {
            append(&fixture, 2, 200000);
            wal_driver_settle(&fixture.driver);
            if (i < 2) {
                ck_assert(wal_driver_snapshot(&fixture.driver));
            }
        }
        fake_world_advance(&fixture.world, 2 * CLOCK_NS_PER_S); /* SEAL and watermark are out */
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(wal_snapshot(fixture.driver.wal), 0);
        wal_driver_turn(&fixture.driver);
        for (unsigned i = 0; i < steps; i++) {
            if (fake_disk_pending(fixture.world.disk) > 0) {
                fake_disk_step(fixture.world.disk, 0);
            }
            wal_driver_turn(&fixture.driver);
        }
        done = fixture.driver.snapshot_counts[WAL_SNAPSHOT_DONE] - 2;
        ck_assert_uint_lt(steps, 200);
        close_and_check(&fixture);
        ck_assert(!fixture.driver.source_is_open);
        ck_assert_uint_eq(fixture.acked, 6);
    }
}

END_TEST

/* With a sync interval: before the sync, with it in flight, and with a write beside it. */
START_TEST(lifetime_wal_close_around_sync)
{
    struct fixture fixture;

    for (unsigned state = 0; state < 4; state++) {
        fake_world_init(&fixture.world, 9);
        wal_driver_init(&fixture.driver, &fixture.world);
        fixture.driver.options.sync_interval_ns = 100 * CLOCK_NS_PER_MS;
        ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
        wal_driver_turn(&fixture.driver);
        append(&fixture, 1, 10);
        wal_driver_settle(&fixture.driver);
        fake_disk_hold(fixture.world.disk, true);
        if (state > 0) {
            fake_world_advance(&fixture.world, 100 * CLOCK_NS_PER_MS);
            ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        }
        if (state > 1) {
            append(&fixture, 1, 10);
            wal_driver_turn(&fixture.driver);
            ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 2);
        }
        if (state > 2) {
            fake_disk_step(fixture.world.disk, 1);
            wal_driver_turn(&fixture.driver);
        }
        close_and_check(&fixture);
        ck_assert_uint_eq(fixture.driver.lost, 0);
        ck_assert_uint_eq(fixture.acked, state > 1 ? 2 : 1);
    }
}

END_TEST

static void close_from_done(struct wal_driver *driver)
{
    wal_close(driver->wal);
    ck_assert_uint_eq(driver->closed_count, 0);
}

/* A `done` may close; those behind it are still told. */
START_TEST(lifetime_wal_close_from_done)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.driver.on_done = close_from_done;
    append(&fixture, 700, 10);
    wal_driver_turn(&fixture.driver);
    fixture.driver.on_done = NULL;
    if (fixture.driver.wal != NULL) {
        wal_driver_close(&fixture.driver);
    }
    ck_assert_uint_eq(fixture.driver.acked, 700);
    ck_assert_uint_eq(fixture.driver.closed_count, 1);
    wal_driver_deinit(&fixture.driver);
    fake_world_deinit(&fixture.world);
}

END_TEST

UNIT_MAIN("lifetime_wal", lifetime_wal_close_at_once, lifetime_wal_close_with_waiting_append,
          lifetime_wal_close_during_flush, lifetime_wal_close_during_spare,
          lifetime_wal_close_during_rotation, lifetime_wal_close_waiting_for_spare,
          lifetime_wal_close_around_seal, lifetime_wal_close_around_watermark,
          lifetime_wal_close_without_room, lifetime_wal_close_after_failure,
          lifetime_wal_close_during_failing_flush, lifetime_wal_close_that_fails,
          lifetime_wal_close_during_snapshot, lifetime_wal_close_around_sync,
          lifetime_wal_close_from_done)
