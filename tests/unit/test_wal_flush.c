/*
 * The log with a sync interval: what is told early, what is durable when, and what a power cut may
 * take. Without an interval: test_wal.c.
 */
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/wal_format.h"

#include <errno.h>
#include <string.h>

#define FIRST_NAME  "wal-0000000000000001.log"
#define INTERVAL_NS (100 * CLOCK_NS_PER_MS)

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
};

/* A log with an interval that is open, with its spare made. */
static void fixture_init(struct fixture *fixture, uint64_t seed)
{
    fake_world_init(&fixture->world, seed);
    wal_driver_init(&fixture->driver, &fixture->world);
    fixture->driver.options.sync_interval_ns = INTERVAL_NS;
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    wal_driver_turn(&fixture->driver);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->driver.wal != NULL) {
        fake_disk_hold(fixture->world.disk, false);
        wal_driver_close(&fixture->driver);
    }
    wal_driver_deinit(&fixture->driver);
    fake_world_deinit(&fixture->world);
}

static const struct wal_stats *stats(const struct fixture *fixture)
{
    return wal_stats(fixture->driver.wal);
}

/* One frame with so many records, told. */
static void append(struct fixture *fixture, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
    }
    wal_driver_settle(&fixture->driver);
}

static void reopen(struct fixture *fixture)
{
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    ck_assert(wal_driver_is_faithful(&fixture->driver));
}

static void step(struct fixture *fixture, unsigned index)
{
    fake_disk_step(fixture->world.disk, index);
    wal_driver_turn(&fixture->driver);
}

static struct wal_format_frame frame_at(struct fixture *fixture, uint64_t offset)
{
    struct wal_format_frame frame = {0};

    ck_assert_int_eq(wal_format_get_frame(
                         fake_disk_peek(fixture->world.disk, FIRST_NAME, NULL) + offset, &frame),
                     0);
    return frame;
}

/* A record is told when it is written, and durable after the sync that follows an interval later.
 */
START_TEST(wal_flush_tells_what_is_written)
{
    struct fixture fixture;
    struct wal_format_segment segment;
    unsigned syncs;

    fixture_init(&fixture, 5);
    syncs = fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC);
    append(&fixture, 3, 100);
    ck_assert_uint_eq(fixture.driver.acked, 3);
    ck_assert_uint_eq(stats(&fixture)->written_lsn, 3);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 0);
    ck_assert_uint_eq(stats(&fixture)->pending, 0);
    fake_world_advance(&fixture.world, INTERVAL_NS / 2);
    append(&fixture, 1, 100);
    fake_world_advance(&fixture.world, INTERVAL_NS / 2 - 1);
    ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), syncs);
    fake_world_advance(&fixture.world, 1);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), syncs + 1);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 4);
    ck_assert_uint_eq(stats(&fixture)->syncs, 1);
    ck_assert_uint_eq(stats(&fixture)->frames_written, 2);
    ck_assert_int_eq(
        wal_format_get_segment(fake_disk_peek(fixture.world.disk, FIRST_NAME, NULL), &segment), 0);
    ck_assert(segment.is_lazy);
    ck_assert_uint_eq(frame_at(&fixture, 8192).first_lsn, 4);
    ck_assert_uint_eq(frame_at(&fixture, 8192).durable_lsn, 0);
    fixture_deinit(&fixture);
}

END_TEST

/* One sync is in flight at most; writes go on beside it, and it speaks only for what was written
 * when it began; the next comes an interval after it did. */
START_TEST(wal_flush_writes_beside_a_sync)
{
    struct fixture fixture;

    fixture_init(&fixture, 5);
    append(&fixture, 2, 10);
    fake_disk_hold(fixture.world.disk, true);
    fake_world_advance(&fixture.world, INTERVAL_NS);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    ck_assert(fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_SYNC));
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), 0);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 2);
        ck_assert(fake_disk_pending_is(fixture.world.disk, 1, FAKE_DISK_WRITE));
        step(&fixture, 1);
    }
    ck_assert_uint_eq(fixture.driver.acked, 5);
    fake_world_advance(&fixture.world, 3 * INTERVAL_NS);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    step(&fixture, 0);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 2);
    wal_driver_turn(&fixture.driver); /* the interval is long over */
    ck_assert(fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_SYNC));
    step(&fixture, 0);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 5);
    ck_assert_uint_eq(stats(&fixture)->syncs, 2);
    ck_assert_uint_eq(histogram_count(&stats(&fixture)->sync_ns), 2);
    ck_assert_uint_eq(histogram_count(&stats(&fixture)->sync_records), 2);
    ck_assert_uint_eq(stats(&fixture)->sync_records.sum, 5);
    ck_assert_uint_eq(stats(&fixture)->sync_records.counts[histogram_place(2)], 1);
    ck_assert_uint_eq(stats(&fixture)->sync_records.counts[histogram_place(3)], 1);
    fixture_deinit(&fixture);
}

END_TEST

/* A power cut leaves a beginning of what was told, with all that was durable; and the log says that
 * something may be lost. */
START_TEST(wal_flush_power_cut_keeps_a_beginning)
{
    struct fixture fixture;
    unsigned some_lost = 0;
    unsigned some_kept = 0;

    for (uint64_t seed = 1; seed < 60; seed++) {
        fixture_init(&fixture, seed);
        append(&fixture, 2, 5000);
        fake_world_advance(&fixture.world, INTERVAL_NS);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.durable, 2);
        for (unsigned i = 0; i < 6; i++) {
            append(&fixture, 1, 300);
        }
        ck_assert_uint_eq(fixture.driver.acked, 8);
        wal_driver_crash(&fixture.driver);
        reopen(&fixture);
        ck_assert_uint_ge(fixture.driver.replayed, 2);
        ck_assert(stats(&fixture)->may_have_lost);
        some_lost += fixture.driver.lost > 0;
        some_kept += fixture.driver.replayed > 2;
        append(&fixture, 1, 10);
        wal_driver_close(&fixture.driver);
        reopen(&fixture);
        ck_assert(!stats(&fixture)->may_have_lost);
        fixture_deinit(&fixture);
    }
    ck_assert_uint_gt(some_lost, 10);
    ck_assert_uint_gt(some_kept, 10);
}

END_TEST

/* A killed process loses nothing that it told. */
START_TEST(wal_flush_kill_loses_nothing)
{
    struct fixture fixture;

    fixture_init(&fixture, 7);
    for (unsigned i = 0; i < 6; i++) {
        append(&fixture, 1, 300);
    }
    fake_disk_kill(fixture.world.disk);
    wal_driver_close(&fixture.driver);
    fixture.driver.may_lose = false; /* the disk is whole */
    fake_disk_restart(fixture.world.disk);
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 6);
    ck_assert(stats(&fixture)->may_have_lost); /* nobody knows that it was only a kill */
    fixture_deinit(&fixture);
}

END_TEST

/* A segment gets its name only when all before it is durable. */
START_TEST(wal_flush_syncs_before_the_next_segment)
{
    struct fixture fixture;

    fixture_init(&fixture, 5);
    append(&fixture, 1, 250000);
    append(&fixture, 1, 10);
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, WAL_RECORD_SIZE_MAX), 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    ck_assert(fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_SYNC));
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 0);
    while (!fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_RENAME)) {
        step(&fixture, 0);
    }
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 2);
    while (fixture.driver.acked < 3) {
        step(&fixture, 0);
    }
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 2);
    wal_driver_crash(&fixture.driver);
    fake_disk_hold(fixture.world.disk, false);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* A SEAL comes when all has been durable for 10 ms, and has a sync of its own. */
START_TEST(wal_flush_seals_what_is_durable)
{
    struct fixture fixture;
    struct wal_format_frame seal;

    fixture_init(&fixture, 5);
    append(&fixture, 1, 10);
    fake_world_advance(&fixture.world, 50 * CLOCK_NS_PER_MS);
    ck_assert_uint_eq(stats(&fixture)->frames_written, 1);
    fake_world_advance(&fixture.world, 50 * CLOCK_NS_PER_MS);
    wal_driver_turn(&fixture.driver);
    fake_world_advance(&fixture.world, 9 * CLOCK_NS_PER_MS);
    ck_assert_uint_eq(stats(&fixture)->frames_written, 1);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_MS);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(stats(&fixture)->frames_written, 2);
    ck_assert_uint_eq(stats(&fixture)->syncs, 2);
    seal = frame_at(&fixture, 8192);
    ck_assert_uint_eq(seal.flags, WAL_FORMAT_FRAME_SEAL);
    ck_assert_uint_eq(seal.durable_lsn, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* A close makes all durable, says so, and leaves no doubt. */
START_TEST(wal_flush_close_syncs)
{
    struct fixture fixture;

    for (uint64_t seed = 1; seed < 10; seed++) {
        fixture_init(&fixture, seed);
        for (unsigned i = 0; i < 5; i++) {
            append(&fixture, 1, 100);
        }
        wal_driver_close(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.durable, 5);
        fake_disk_crash(fixture.world.disk);
        fake_disk_restart(fixture.world.disk);
        reopen(&fixture);
        ck_assert_uint_eq(fixture.driver.replayed, 5);
        ck_assert(!stats(&fixture)->may_have_lost);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* A failed sync is final, as a failed write is; what was told stays told, and no sync follows. */
START_TEST(wal_flush_failure_is_final)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_SYNC, FAKE_DISK_WRITE, FAKE_DISK_SUBMIT};
    struct fixture fixture;
    unsigned syncs;

    for (unsigned i = 0; i < 3; i++) {
        fixture_init(&fixture, 5);
        append(&fixture, 2, 10);
        fake_disk_fail(fixture.world.disk, kinds[i], 1, -EIO, false);
        if (i == 0) {
            fake_world_advance(&fixture.world, INTERVAL_NS);
            wal_driver_turn(&fixture.driver);
        } else {
            append(&fixture, 1, 10);
            ck_assert_uint_eq(fixture.driver.told_error_count, 1);
        }
        ck_assert_uint_eq(fixture.driver.failed_count, 1);
        ck_assert_int_eq(fixture.driver.failed_error, -EIO);
        ck_assert_uint_eq(stats(&fixture)->durable_lsn, 0);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_FAILED);
        syncs = fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC);
        fake_world_advance(&fixture.world, 5 * CLOCK_NS_PER_S);
        wal_driver_close(&fixture.driver);
        ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), syncs);
        fake_disk_crash(fixture.world.disk);
        fake_disk_restart(fixture.world.disk);
        reopen(&fixture);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* An empty segment of the other mode is replaced, for it would be read by the wrong rule. */
START_TEST(wal_flush_modes_do_not_share_a_segment)
{
    struct wal_format_segment segment;
    struct fixture fixture;

    fixture_init(&fixture, 5);
    for (unsigned i = 0; i < 4; i++) {
        const bool is_lazy = i % 2 == 1;

        wal_driver_close(&fixture.driver);
        fixture.driver.options.sync_interval_ns = is_lazy ? INTERVAL_NS : 0;
        reopen(&fixture);
        ck_assert_int_eq(
            wal_format_get_segment(fake_disk_peek(fixture.world.disk, FIRST_NAME, NULL), &segment),
            0);
        ck_assert_int_eq(segment.is_lazy, is_lazy);
        ck_assert_uint_eq(stats(&fixture)->segments, 1);
        ck_assert(!stats(&fixture)->may_have_lost);
    }
    append(&fixture, 1, 10);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* Loses something for sure: the frames behind the first are zeroed. */
static void lose_some(struct fixture *fixture)
{
    append(fixture, 1, 10);
    append(fixture, 1, 10);
    fake_disk_kill(fixture->world.disk);
    wal_driver_close(&fixture->driver);
    fake_disk_restart(fixture->world.disk);
    fake_disk_zero(fixture->world.disk, FIRST_NAME, 4096, 8192);
    fixture->driver.may_lose = true;
}

/* That something may be lost is remembered until a record is durable, whatever the starts between
 * did; and the first record is told only then, so that its number cannot be lost in turn. */
START_TEST(wal_flush_remembers_what_may_be_lost)
{
    struct fixture fixture;

    fixture_init(&fixture, 5);
    lose_some(&fixture);
    for (unsigned i = 0; i < 4; i++) {
        fixture.driver.options.sync_interval_ns = i % 2 == 0 ? 0 : INTERVAL_NS;
        reopen(&fixture);
        ck_assert_uint_eq(fixture.driver.lost, i == 0 ? 2 : 0);
        ck_assert(stats(&fixture)->may_have_lost);
        if (i == 3) {
            append(&fixture, 1, 10);
            ck_assert_uint_eq(stats(&fixture)->durable_lsn, 1);
            append(&fixture, 1, 10);
            ck_assert_uint_eq(stats(&fixture)->durable_lsn, 1);
        }
        wal_driver_close(&fixture.driver);
    }
    reopen(&fixture);
    ck_assert(!stats(&fixture)->may_have_lost);
    fixture_deinit(&fixture);
}

END_TEST

/* Rule (c) of a LAZY segment, over six frames: records 1, 2, 3 | SEAL | records 4, 5. What the SEAL
 * testifies to is damaged when it is gone, and so is the SEAL itself, which was synced before
 * record 4 was written. Record 4 may have been lost by a crash, and 5 goes with it. */
START_TEST(wal_flush_tells_damage_from_a_crash)
{
    static uint8_t before[WAL_FORMAT_BLOCK_SIZE];
    struct fixture fixture;

    fixture_init(&fixture, 5);
    for (unsigned i = 0; i < 3; i++) {
        append(&fixture, 1, 10);
    }
    fake_world_advance(&fixture.world, INTERVAL_NS);
    wal_driver_turn(&fixture.driver);
    fake_world_advance(&fixture.world, 10 * CLOCK_NS_PER_MS);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(frame_at(&fixture, 16384).flags, WAL_FORMAT_FRAME_SEAL);
    append(&fixture, 1, 10);
    append(&fixture, 1, 10);
    fake_disk_kill(fixture.world.disk);
    wal_driver_close(&fixture.driver);
    fake_disk_restart(fixture.world.disk);
    for (uint64_t offset = 4096; offset <= 16384; offset += sizeof(before)) {
        memcpy(before, fake_disk_peek(fixture.world.disk, FIRST_NAME, NULL) + offset,
               sizeof(before));
        fake_disk_zero(fixture.world.disk, FIRST_NAME, offset, sizeof(before));
        ck_assert_int_eq(wal_driver_open(&fixture.driver), WAL_E_DAMAGED);
        ck_assert_ptr_nonnull(strstr(fixture.driver.problem, "to 5 would be missing"));
        fake_disk_poke(fixture.world.disk, FIRST_NAME, offset, before, sizeof(before));
    }
    fake_disk_zero(fixture.world.disk, FIRST_NAME, 20480, sizeof(before));
    fixture.driver.may_lose = true;
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 3);
    ck_assert_uint_eq(fixture.driver.lost, 2);
    ck_assert_ptr_nonnull(strstr(fixture.driver.notice, "records up to 5 may have been told"));
    fixture_deinit(&fixture);
}

END_TEST

/* A snapshot needs the log durable up to it, and does not wait for the interval. */
START_TEST(wal_flush_syncs_for_a_snapshot)
{
    struct fixture fixture;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.sync_interval_ns = INTERVAL_NS;
    fixture.driver.snapshots = true;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    append(&fixture, 3, 100);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 0);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 3);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.loaded, 3);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_flush", wal_flush_tells_what_is_written, wal_flush_writes_beside_a_sync,
          wal_flush_power_cut_keeps_a_beginning, wal_flush_kill_loses_nothing,
          wal_flush_syncs_before_the_next_segment, wal_flush_seals_what_is_durable,
          wal_flush_close_syncs, wal_flush_failure_is_final, wal_flush_modes_do_not_share_a_segment,
          wal_flush_remembers_what_may_be_lost, wal_flush_tells_damage_from_a_crash,
          wal_flush_syncs_for_a_snapshot)
