/*
 * Which snapshot a start begins with, what it does about damaged ones, and when it is refused. The
 * snapshots are made by the real log.
 */
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/snapshot_format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
};

static void append(struct fixture *fixture, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
        wal_driver_settle(&fixture->driver);
    }
}

static void open_log(struct fixture *fixture)
{
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    ck_assert(wal_driver_is_faithful(&fixture->driver));
}

/* An empty log that is open. */
static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 21);
    wal_driver_init(&fixture->driver, &fixture->world);
    fixture->driver.snapshots = true;
    open_log(fixture);
}

/* Records 1..10, a snapshot, 11..14, another one, 15..16, and the log is closed. */
static void fixture_init_two(struct fixture *fixture, uint32_t size)
{
    fixture_init(fixture);
    append(fixture, 10, size);
    ck_assert(wal_driver_snapshot(&fixture->driver));
    append(fixture, 4, size);
    ck_assert(wal_driver_snapshot(&fixture->driver));
    append(fixture, 2, size);
    wal_driver_close(&fixture->driver);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->driver.wal != NULL) {
        wal_driver_close(&fixture->driver);
    }
    wal_driver_deinit(&fixture->driver);
    fake_world_deinit(&fixture->world);
}

static bool has_snapshot(struct fixture *fixture, uint64_t lsn)
{
    char name[WAL_FORMAT_NAME_SIZE];

    snapshot_format_name(lsn, name);
    return fake_disk_exists(fixture->world.disk, name);
}

static bool has_bad_snapshot(struct fixture *fixture, uint64_t lsn)
{
    char name[WAL_FORMAT_NAME_SIZE];

    snapshot_format_bad_name(lsn, name);
    return fake_disk_exists(fixture->world.disk, name);
}

static void damage_snapshot(struct fixture *fixture, uint64_t lsn, uint64_t offset)
{
    const uint8_t garbage[16] = {0x5a, 0x5a};
    char name[WAL_FORMAT_NAME_SIZE];

    snapshot_format_name(lsn, name);
    fake_disk_poke(fixture->world.disk, name, offset, garbage, sizeof(garbage));
}

static uint64_t oldest_segment(struct fixture *fixture)
{
    uint64_t oldest = UINT64_MAX;
    uint64_t lsn;

    for (unsigned i = 0; i < fake_disk_name_count(fixture->world.disk); i++) {
        if (wal_format_parse_segment_name(fake_disk_name(fixture->world.disk, i), &lsn) &&
            lsn < oldest) {
            oldest = lsn;
        }
    }
    return oldest;
}

static void expect_refusal(struct fixture *fixture, int outcome, const char *text)
{
    int result = wal_driver_open(&fixture->driver);

    ck_assert_msg(result == outcome, "%d: %s", result, fixture->driver.problem);
    ck_assert_msg(strstr(fixture->driver.problem, text) != NULL, "'%s' is not in: %s", text,
                  fixture->driver.problem);
    ck_assert_ptr_null(fixture->driver.wal);
}

/* The newest snapshot is loaded, and only what comes behind it is replayed. */
START_TEST(wal_choose_takes_the_newest)
{
    struct fixture fixture;
    const struct wal_stats *stats;

    fixture_init_two(&fixture, 100);
    open_log(&fixture);
    stats = wal_stats(fixture.driver.wal);
    ck_assert_uint_eq(fixture.driver.begins, 1);
    ck_assert_uint_eq(fixture.driver.loaded, 14);
    ck_assert_uint_eq(fixture.driver.replayed, 16);
    ck_assert_uint_eq(fixture.driver.notice_count, 0);
    ck_assert_uint_eq(stats->snapshot_lsn, 14);
    ck_assert_uint_eq(stats->records_loaded, 14);
    ck_assert_uint_eq(stats->records_replayed, 2);
    ck_assert_uint_eq(stats->log_bytes, 3 * 4096); /* 15, 16 and the CLOSE */
    ck_assert_uint_eq(stats->next_lsn, 17);
    fixture_deinit(&fixture);
}

END_TEST

/* A damaged one is passed over, wherever the damage is, with a notice; the state begins anew from
 * the one before; and it is renamed, once. */
START_TEST(wal_choose_falls_back)
{
    /* Header, first frame, footer: 14 small records are one frame. */
    static const uint64_t offsets[] = {0, 4096 + 100, 8192};
    struct fixture fixture;

    for (unsigned i = 0; i < 3; i++) {
        fixture_init_two(&fixture, 100);
        damage_snapshot(&fixture, 14, offsets[i]);
        if (i != 1) {
            damage_snapshot(&fixture, 14, offsets[i] + 2048); /* the second copy */
        }
        open_log(&fixture);
        ck_assert_uint_eq(fixture.driver.begins, i == 0 ? 1 : 2);
        ck_assert_uint_eq(fixture.driver.loaded, 10);
        ck_assert_uint_eq(fixture.driver.replayed, 16);
        ck_assert_uint_eq(fixture.driver.notice_count, 1);
        ck_assert_ptr_nonnull(strstr(fixture.driver.notice, "snap-000000000000000e.snap"));
        ck_assert_uint_eq(wal_stats(fixture.driver.wal)->snapshot_lsn, 10);
        ck_assert(!has_snapshot(&fixture, 14) && has_bad_snapshot(&fixture, 14));
        ck_assert(has_snapshot(&fixture, 10));
        wal_driver_close(&fixture.driver);
        open_log(&fixture);
        ck_assert_uint_eq(fixture.driver.notice_count, 0);
        ck_assert_uint_eq(fixture.driver.loaded, 10);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* A damaged one does not count among the two that are kept. */
START_TEST(wal_choose_keeps_two_whole_ones)
{
    struct fixture fixture;

    fixture_init_two(&fixture, 100);
    damage_snapshot(&fixture, 14, 4096);
    open_log(&fixture);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    ck_assert(has_snapshot(&fixture, 10) && has_snapshot(&fixture, 16));
    append(&fixture, 1, 100);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    ck_assert(!has_snapshot(&fixture, 10) && has_snapshot(&fixture, 16));
    ck_assert(has_snapshot(&fixture, 17) && has_bad_snapshot(&fixture, 14));
    fixture_deinit(&fixture);
}

END_TEST

/* Without any whole snapshot a log that begins with record 1 is enough. */
START_TEST(wal_choose_falls_back_to_the_log)
{
    struct fixture fixture;

    fixture_init_two(&fixture, 100);
    damage_snapshot(&fixture, 14, 4096);
    damage_snapshot(&fixture, 10, 4096);
    open_log(&fixture);
    ck_assert_uint_eq(fixture.driver.begins, 3);
    ck_assert_uint_eq(fixture.driver.loaded, 0);
    ck_assert_uint_eq(fixture.driver.replayed, 16);
    ck_assert_uint_eq(fixture.driver.notice_count, 2);
    ck_assert(has_bad_snapshot(&fixture, 14) && has_bad_snapshot(&fixture, 10));
    ck_assert_uint_eq(wal_stats(fixture.driver.wal)->snapshot_lsn, 0);
    fixture_deinit(&fixture);
}

END_TEST

/* When the log was trimmed, records are missing without a snapshot: refused, by name and number,
 * with nothing changed. */
START_TEST(wal_choose_refuses_without_a_beginning)
{
    struct fixture fixture;
    uint64_t oldest;
    char text[80];

    fixture_init_two(&fixture, 100000);
    oldest = oldest_segment(&fixture);
    ck_assert_uint_gt(oldest, 1);
    ck_assert_uint_le(oldest, 11);
    damage_snapshot(&fixture, 14, 4096);
    open_log(&fixture);
    ck_assert_uint_eq(fixture.driver.loaded, 10);
    wal_driver_close(&fixture.driver);
    damage_snapshot(&fixture, 10, 4096);
    (void)snprintf(text, sizeof(text), "records 1 to %llu would be missing; damaged snapshots: %s",
                   (unsigned long long)oldest - 1, "snap-000000000000000a.snap"); /* fits */
    expect_refusal(&fixture, WAL_E_DAMAGED, text);
    ck_assert(has_snapshot(&fixture, 10) && !has_bad_snapshot(&fixture, 10));
    fixture_deinit(&fixture);
}

END_TEST

/* Segments wholly before the snapshot are left-overs: whatever is in them does not matter, nor that
 * there are gaps between them. */
START_TEST(wal_choose_ignores_older_segments)
{
    struct fixture fixture;
    const uint8_t garbage[100] = {1};

    fixture_init(&fixture);
    append(&fixture, 10, 100000);
    ck_assert(wal_driver_snapshot(&fixture.driver)); /* the only one: nothing is trimmed */
    append(&fixture, 5, 100000);
    wal_driver_close(&fixture.driver);
    ck_assert_uint_eq(oldest_segment(&fixture), 1);
    fake_disk_poke(fixture.world.disk, "wal-0000000000000001.log", 0, garbage, 100);
    fake_disk_poke(fixture.world.disk, "wal-0000000000000001.log", 2048, garbage, 100);
    open_log(&fixture);
    ck_assert_uint_eq(fixture.driver.loaded, 10);
    ck_assert_uint_eq(fixture.driver.replayed, 15);
    ck_assert(wal_driver_snapshot(&fixture.driver)); /* the second: now they go */
    ck_assert_uint_gt(oldest_segment(&fixture), 1);
    wal_driver_close(&fixture.driver);
    open_log(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* The log must reach beyond a snapshot, for it was durable up to there before the snapshot got its
 * name; a damaged snapshot testifies as well. */
START_TEST(wal_choose_takes_snapshots_for_witnesses)
{
    struct fixture fixture;

    for (unsigned damaged = 0; damaged < 2; damaged++) {
        fixture_init(&fixture);
        append(&fixture, 3, 100); /* one frame each, at 4096, 8192, 12288 */
        ck_assert(wal_driver_snapshot(&fixture.driver));
        wal_driver_crash(&fixture.driver); /* before the watermark knew */
        if (damaged) {
            damage_snapshot(&fixture, 3, 4096);
        }
        fake_disk_zero(fixture.world.disk, "wal-0000000000000001.log", 12288, 4096);
        expect_refusal(&fixture, WAL_E_DAMAGED,
                       "offset 12288: whole frames end here, but "
                       "snap-0000000000000003.snap proves");
        ck_assert_ptr_nonnull(strstr(fixture.driver.problem, "records 3 to 3 would be missing"));
        ck_assert(has_snapshot(&fixture, 3));
        fixture_deinit(&fixture);
    }
}

END_TEST

/* A snapshot, or a watermark, without any segment, or with one that begins too late. */
START_TEST(wal_choose_refuses_a_missing_segment)
{
    struct fixture fixture;

    fixture_init_two(&fixture, 100);
    fake_disk_copy(fixture.world.disk, "wal-0000000000000001.log", "wal-0000000000000010.log");
    fake_disk_delete(fixture.world.disk, "wal-0000000000000001.log");
    expect_refusal(&fixture, WAL_E_DAMAGED, "records 15 to 15 would be missing");
    fake_disk_delete(fixture.world.disk, "wal-0000000000000010.log");
    expect_refusal(&fixture, WAL_E_DAMAGED, "there is no segment");
    fixture_deinit(&fixture);
}

END_TEST

/* Another store's snapshot, and one whose store nobody knows. */
START_TEST(wal_choose_refuses_strangers)
{
    static const char name[] = "snap-000000000000000e.snap";
    struct fixture stranger;
    struct fixture fixture;
    const uint8_t *bytes;
    uint64_t size = 0;

    fixture_init_two(&fixture, 100);
    fake_world_init(&stranger.world, 22); /* another seed, another UUID */
    wal_driver_init(&stranger.driver, &stranger.world);
    open_log(&stranger);
    wal_driver_close(&stranger.driver);
    bytes = fake_disk_peek(fixture.world.disk, name, &size);
    fake_disk_put(stranger.world.disk, name, bytes, size);
    expect_refusal(&stranger, WAL_E_FOREIGN, name);
    fixture_deinit(&stranger);

    fake_disk_delete(fixture.world.disk, "CONTROL.a");
    fake_disk_delete(fixture.world.disk, "CONTROL.b");
    expect_refusal(&fixture, WAL_E_DAMAGED, "CONTROL.a");
    for (unsigned i = 0; i < fake_disk_name_count(fixture.world.disk);) {
        uint64_t lsn;

        if (wal_format_parse_segment_name(fake_disk_name(fixture.world.disk, i), &lsn)) {
            fake_disk_delete(fixture.world.disk, fake_disk_name(fixture.world.disk, i));
        } else {
            i++;
        }
    }
    expect_refusal(&fixture, WAL_E_DAMAGED, "CONTROL.a"); /* a snapshot alone is no new store */
    fixture_deinit(&fixture);
}

END_TEST

/* A snapshot that was never finished is no snapshot; it goes. */
START_TEST(wal_choose_removes_what_was_not_finished)
{
    struct fixture fixture;

    fixture_init_two(&fixture, 100);
    fake_disk_put(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY, "half", 4);
    open_log(&fixture);
    ck_assert(!fake_disk_exists(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY));
    fixture_deinit(&fixture);
}

END_TEST

static uint64_t last_bytes_done;

static void let_time_pass(struct wal_driver *driver)
{
    driver->world->now_ns += 300 * CLOCK_NS_PER_MS;
    ck_assert_uint_le(driver->progress.bytes_done, driver->progress.bytes_total);
    ck_assert_uint_ge(driver->progress.bytes_done, last_bytes_done);
    last_bytes_done = driver->progress.bytes_done;
}

/* About once a second a long start tells how far it has come, out of all that it will read. */
START_TEST(wal_choose_tells_progress)
{
    struct fixture fixture;
    uint64_t total = 0;
    uint64_t size = 0;

    fixture_init(&fixture);
    append(&fixture, 10, 100000);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    append(&fixture, 10, 100000);
    wal_driver_close(&fixture.driver);
    (void)fake_disk_peek(fixture.world.disk, "snap-000000000000000a.snap", &size);
    total += size;
    for (unsigned i = 0; i < fake_disk_name_count(fixture.world.disk); i++) {
        uint64_t lsn = 0;

        if (wal_format_parse_segment_name(fake_disk_name(fixture.world.disk, i), &lsn) &&
            lsn > 8) { /* five records of this size to a segment: 6 to 10, 11 to 15, 16 to 20 */
            total += WAL_SEGMENT_SIZE_MIN;
        }
    }
    last_bytes_done = 0;
    fixture.driver.on_record = let_time_pass;
    open_log(&fixture);
    ck_assert_uint_ge(fixture.driver.progress_count, 4);
    ck_assert_uint_le(fixture.driver.progress_count, 6); /* 20 records at 0.3 s */
    ck_assert_uint_eq(fixture.driver.progress.bytes_total, total);
    ck_assert_uint_gt(fixture.driver.progress.records, 15);
    ck_assert_uint_gt(fixture.driver.progress.elapsed_ns, 4 * CLOCK_NS_PER_S);
    fixture_deinit(&fixture);
}

END_TEST

/* What both control files hint at, in place of what they do. */
static void set_hint(struct fixture *fixture, uint64_t record_hint)
{
    static const char *const names[] = {WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B};

    for (unsigned i = 0; i < 2; i++) {
        struct wal_format_control control = {0};
        uint8_t block[WAL_FORMAT_BLOCK_SIZE];

        ck_assert_int_eq(
            wal_format_get_control(fake_disk_peek(fixture->world.disk, names[i], NULL), &control),
            0);
        control.record_hint = record_hint;
        wal_format_put_control(block, &control);
        fake_disk_poke(fixture->world.disk, names[i], 0, block, sizeof(block));
    }
}

/* A start is told to expect as many records as there were in the run before, or as the snapshot
 * has, if these are more; and a run that does not know how many there are keeps what it found. */
START_TEST(wal_choose_expects_what_there_was)
{
    struct fixture fixture;

    fixture_init(&fixture);
    ck_assert_uint_eq(fixture.driver.expected, 0);
    append(&fixture, 10, 100);
    wal_driver_close(&fixture.driver);
    fixture.driver.snapshots = false;
    for (unsigned i = 0; i < 2; i++) {
        open_log(&fixture);
        ck_assert_uint_eq(fixture.driver.begins, 1);
        ck_assert_uint_eq(fixture.driver.expected, 10);
        append(&fixture, 1, 100);
        wal_driver_close(&fixture.driver);
    }
    fixture.driver.snapshots = true;
    open_log(&fixture);
    ck_assert(wal_driver_snapshot(&fixture.driver)); /* of 12 */
    append(&fixture, 1, 100);
    wal_driver_close(&fixture.driver);
    for (unsigned i = 0; i < 2; i++) {
        open_log(&fixture);
        ck_assert_uint_eq(fixture.driver.loaded, 12);
        ck_assert_uint_eq(fixture.driver.expected, i == 0 ? 13 : 12);
        wal_driver_crash(&fixture.driver);
        set_hint(&fixture, 3);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* The hint of CONTROL may be anything: it is no more than the files may hold, and when there is no
 * room for so many, the start goes on without. */
START_TEST(wal_choose_does_not_trust_a_hint)
{
    struct fixture fixture;

    fixture_init_two(&fixture, 100);
    set_hint(&fixture, UINT64_MAX);
    open_log(&fixture);
    ck_assert_uint_eq(fixture.driver.begins, 1);
    ck_assert_uint_ge(fixture.driver.expected, 16);
    ck_assert_uint_le(fixture.driver.expected, 2 * WAL_SEGMENT_SIZE_MIN / 64);
    wal_driver_close(&fixture.driver);
    set_hint(&fixture, 1000);
    fixture.driver.expected_max = 999;
    open_log(&fixture);
    ck_assert_uint_eq(fixture.driver.begins, 2);
    ck_assert_uint_eq(fixture.driver.expected, 14); /* what the snapshot says */
    ck_assert_uint_eq(fixture.driver.replayed, 16);
    wal_driver_close(&fixture.driver);
    fixture.driver.expected_max = 13;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), -ENOMEM);
    fixture_deinit(&fixture);
}

END_TEST

/* Whichever operation of a start fails that finds a damaged snapshot: the next one succeeds, with
 * everything there, and so does this one when it was reading ahead of the damage; once with the
 * process alone ending, once with the power cut at that point. */
START_TEST(wal_choose_survives_each_failing_operation)
{
    struct fixture fixture;
    unsigned starts = 0;
    unsigned failed = 0;

    for (unsigned crash = 0; crash < 2; crash++) {
        for (unsigned nth = 1, has_come = 1; has_come; nth++) {
            unsigned before;
            int result;

            fixture_init_two(&fixture, 100000);
            damage_snapshot(&fixture, 14, 4096);
            before = fake_disk_count(fixture.world.disk, FAKE_DISK_ANY);
            fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, crash != 0);
            result = wal_driver_open(&fixture.driver);
            has_come = fake_disk_count(fixture.world.disk, FAKE_DISK_ANY) - before >= nth;
            if (result != 0) {
                ck_assert_int_eq(result, -EIO);
                ck_assert_str_ne(fixture.driver.problem, "");
                failed++;
            } else {
                fake_disk_fail_nothing(fixture.world.disk);
                wal_driver_close(&fixture.driver);
            }
            if (crash) {
                fake_disk_crash(fixture.world.disk);
                fake_disk_restart(fixture.world.disk);
            }
            open_log(&fixture);
            ck_assert_uint_eq(fixture.driver.replayed, 16);
            ck_assert_uint_eq(fixture.driver.loaded, 10);
            fixture_deinit(&fixture);
            starts++;
        }
    }
    ck_assert_uint_gt(starts, 60);
    ck_assert_uint_ge(failed, starts - 4); /* the last of each round, and two of reading ahead */
}

END_TEST

UNIT_MAIN("wal_choose", wal_choose_takes_the_newest, wal_choose_falls_back,
          wal_choose_keeps_two_whole_ones, wal_choose_falls_back_to_the_log,
          wal_choose_refuses_without_a_beginning, wal_choose_ignores_older_segments,
          wal_choose_takes_snapshots_for_witnesses, wal_choose_refuses_a_missing_segment,
          wal_choose_refuses_strangers, wal_choose_removes_what_was_not_finished,
          wal_choose_tells_progress, wal_choose_expects_what_there_was,
          wal_choose_does_not_trust_a_hint, wal_choose_survives_each_failing_operation)
