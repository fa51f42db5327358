#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/hash.h"
#include "core/wal_format.h"

#include <errno.h>
#include <string.h>

#define FIRST_NAME "wal-0000000000000001.log"

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
};

static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 11);
    wal_driver_init(&fixture->driver, &fixture->world);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->driver.wal != NULL) {
        wal_driver_close(&fixture->driver);
    }
    wal_driver_deinit(&fixture->driver);
    fake_world_deinit(&fixture->world);
}

static void open_faithfully(struct fixture *fixture)
{
    ck_assert_msg(wal_driver_open(&fixture->driver) == 0, "%s", fixture->driver.problem);
    ck_assert(wal_driver_is_faithful(&fixture->driver));
}

static struct wal_format_control newest_control(struct fixture *fixture)
{
    static const char *const names[] = {"CONTROL.a", "CONTROL.b"};
    struct wal_format_control newest = {0};

    for (unsigned i = 0; i < 2; i++) {
        struct wal_format_control found = {0};

        ck_assert_int_eq(
            wal_format_get_control(fake_disk_peek(fixture->world.disk, names[i], NULL), &found), 0);
        if (found.sequence > newest.sequence) {
            newest = found;
        }
    }
    return newest;
}

static unsigned segment_count(struct fixture *fixture)
{
    unsigned count = 0;
    uint64_t lsn;

    for (unsigned i = 0; i < fake_disk_name_count(fixture->world.disk); i++) {
        count += wal_format_parse_segment_name(fake_disk_name(fixture->world.disk, i), &lsn);
    }
    return count;
}

/* A new directory gets a UUID, two control blocks, a segment for LSN 1; and when the log runs, a
 * spare. */
START_TEST(wal_start_makes_a_store)
{
    struct fixture fixture;
    struct wal_format_segment segment;
    struct wal_format_control control;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    ck_assert_str_eq(fixture.driver.problem, "");
    ck_assert_int_eq(
        wal_format_get_segment(fake_disk_peek(fixture.world.disk, FIRST_NAME, NULL), &segment), 0);
    control = newest_control(&fixture);
    ck_assert_mem_eq(segment.store_uuid, control.store_uuid, sizeof(control.store_uuid));
    ck_assert_uint_eq(control.durable_lsn, 0);
    ck_assert(!control.is_clean);
    ck_assert_uint_ne(segment.epoch, 0);
    ck_assert(!fake_disk_exists(fixture.world.disk, "spare.tmp"));
    wal_driver_turn(&fixture.driver);
    ck_assert(fake_disk_exists(fixture.world.disk, "spare.tmp"));
    fixture_deinit(&fixture);
}

END_TEST

/* Starting and stopping without writing goes on in the same segment, however often, and keeps the
 * spare; after writing, the next start makes a new segment of the same store. */
START_TEST(wal_start_goes_on_in_an_empty_segment)
{
    struct fixture fixture;
    struct wal_format_control first;
    struct wal_format_control last;

    fixture_init(&fixture);
    for (unsigned i = 0; i < 5; i++) {
        open_faithfully(&fixture);
        wal_driver_turn(&fixture.driver);
        if (i % 2 == 0) {
            wal_driver_close(&fixture.driver);
            ck_assert(newest_control(&fixture).is_clean);
        } else {
            wal_driver_crash(&fixture.driver);
            ck_assert(!newest_control(&fixture).is_clean);
        }
        ck_assert_uint_eq(segment_count(&fixture), 1);
    }
    first = newest_control(&fixture);
    open_faithfully(&fixture);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), 0);
    wal_driver_close(&fixture.driver);
    ck_assert_uint_eq(segment_count(&fixture), 1);
    open_faithfully(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 1);
    ck_assert_uint_eq(segment_count(&fixture), 2);
    ck_assert(fake_disk_exists(fixture.world.disk, "wal-0000000000000002.log"));
    last = newest_control(&fixture);
    ck_assert_mem_eq(first.store_uuid, last.store_uuid, sizeof(first.store_uuid));
    ck_assert_uint_eq(last.durable_lsn, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* An empty segment that is too short is replaced, not written. */
START_TEST(wal_start_replaces_a_cut_empty_segment)
{
    struct fixture fixture;
    uint64_t size = 0;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    wal_driver_close(&fixture.driver);
    fake_disk_truncate(fixture.world.disk, FIRST_NAME, 8192);
    open_faithfully(&fixture);
    (void)fake_disk_peek(fixture.world.disk, FIRST_NAME, &size);
    ck_assert_uint_eq(size, WAL_SEGMENT_SIZE_MIN);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 100), 0);
    wal_driver_close(&fixture.driver);
    open_faithfully(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* A torn first frame is cut, and the log goes on in that segment. */
START_TEST(wal_start_goes_on_behind_a_torn_first_frame)
{
    struct fixture fixture;
    const uint8_t garbage[100] = {1, 2, 3};

    fixture_init(&fixture);
    open_faithfully(&fixture);
    wal_driver_close(&fixture.driver);
    fake_disk_poke(fixture.world.disk, FIRST_NAME, 4096 + 700, garbage, sizeof(garbage));
    open_faithfully(&fixture);
    ck_assert_uint_eq(wal_stats(fixture.driver.wal)->torn_bytes, 4096);
    ck_assert_ptr_nonnull(strstr(fixture.driver.notice, ".torn"));
    ck_assert_uint_eq(segment_count(&fixture), 1);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 100), 0);
    wal_driver_crash(&fixture.driver);
    open_faithfully(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* A full disk does not keep the log from being read; writing begins when there is room. */
START_TEST(wal_start_reads_on_a_full_disk)
{
    struct fixture fixture;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1000), 0);
    wal_driver_settle(&fixture.driver);
    wal_driver_close(&fixture.driver);
    if (fake_disk_exists(fixture.world.disk, "spare.tmp")) {
        fake_disk_delete(fixture.world.disk, "spare.tmp");
    }
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    open_faithfully(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 1);
    ck_assert(wal_stats(fixture.driver.wal)->no_space);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_NO_SPACE);
    fake_world_advance(&fixture.world, 5 * CLOCK_NS_PER_S);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_NO_SPACE);
    ck_assert_uint_eq(fixture.driver.space_count, 0);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_uint_eq(fixture.driver.space_count, 1);
    ck_assert(!fixture.driver.no_space);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), 0);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 2);
    fixture_deinit(&fixture);
}

END_TEST

/* An empty segment of the other kind is replaced by one of the same name, also when there is room
 * for that only later. */
START_TEST(wal_start_replaces_a_segment_later)
{
    struct fixture fixture;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    wal_driver_close(&fixture.driver);
    fixture.driver.options.sync_interval_ns = CLOCK_NS_PER_S;
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    open_faithfully(&fixture);
    ck_assert(wal_stats(fixture.driver.wal)->no_space);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    fake_world_advance(&fixture.world, 2 * CLOCK_NS_PER_S);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), 0);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(segment_count(&fixture), 1);
    ck_assert_uint_eq(wal_stats(fixture.driver.wal)->segments, 1);
    wal_driver_close(&fixture.driver);
    open_faithfully(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* A newer control file is not ours to touch. */
START_TEST(wal_start_refuses_a_newer_control_file)
{
    struct fixture fixture;
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    uint32_t crc;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    wal_driver_close(&fixture.driver);
    memcpy(block, fake_disk_peek(fixture.world.disk, "CONTROL.a", NULL), sizeof(block));
    block[12] = 2;
    crc = hash_crc32c(0, (struct bytes){block, 4092});
    for (unsigned i = 0; i < 4; i++) {
        block[4092 + i] = (uint8_t)(crc >> 8 * i);
    }
    fake_disk_poke(fixture.world.disk, "CONTROL.a", 0, block, sizeof(block));
    ck_assert_int_eq(wal_driver_open(&fixture.driver), WAL_E_FOREIGN);
    ck_assert_ptr_nonnull(strstr(fixture.driver.problem, "newer"));
    fixture_deinit(&fixture);
}

END_TEST

/* Control files of two stores are refused, and nothing is touched; the right one alone is enough.
 */
START_TEST(wal_start_refuses_control_files_of_two_stores)
{
    struct fixture fixture;
    struct wal_format_control control;
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];

    fixture_init(&fixture);
    open_faithfully(&fixture);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), 0);
    wal_driver_close(&fixture.driver);
    ck_assert_int_eq(
        wal_format_get_control(fake_disk_peek(fixture.world.disk, "CONTROL.b", NULL), &control), 0);
    control.store_uuid[0] ^= 0xff;
    control.sequence += 1000;
    wal_format_put_control(block, &control);
    fake_disk_poke(fixture.world.disk, "CONTROL.b", 0, block, sizeof(block));
    ck_assert_int_eq(wal_driver_open(&fixture.driver), WAL_E_FOREIGN);
    ck_assert_ptr_nonnull(
        strstr(fixture.driver.problem, "CONTROL.a and CONTROL.b belong to different stores"));
    ck_assert_mem_eq(fake_disk_peek(fixture.world.disk, "CONTROL.b", NULL), block, sizeof(block));
    fake_disk_delete(fixture.world.disk, "CONTROL.b");
    open_faithfully(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* What is in the way of a removed snap.tmp is named. */
START_TEST(wal_start_names_an_unfinished_snapshot)
{
    struct fixture fixture;

    fixture_init(&fixture);
    open_faithfully(&fixture);
    wal_driver_close(&fixture.driver);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_REMOVE, 1, -EISDIR, false);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), -EISDIR);
    ck_assert_ptr_nonnull(strstr(fixture.driver.problem, "snap.tmp: cannot be removed"));
    open_faithfully(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* Options that no segment can follow are refused. */
START_TEST(wal_start_checks_the_segment_size)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.driver.options.segment_size = WAL_SEGMENT_SIZE_MIN - 4096;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), -EINVAL);
    fixture.driver.options.segment_size = WAL_SEGMENT_SIZE_MIN + 512;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), -EINVAL);
    ck_assert_str_ne(fixture.driver.problem, "");
    ck_assert_uint_eq(fake_disk_name_count(fixture.world.disk), 0);
    fixture_deinit(&fixture);
}

END_TEST

/* A segment whose name a killed process had not yet made durable is made so before it is used. */
START_TEST(wal_start_syncs_names)
{
    struct fixture fixture;

    for (uint64_t seed = 1; seed < 30; seed++) { /* each loses another part of the directory */
        fake_world_init(&fixture.world, seed);
        wal_driver_init(&fixture.driver, &fixture.world);
        open_faithfully(&fixture);
        wal_driver_turn(&fixture.driver);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 250000), 0);
        wal_driver_settle(&fixture.driver);
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, WAL_RECORD_SIZE_MAX), 0);
        wal_driver_turn(&fixture.driver);
        while (!fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_SYNC_DIRECTORY)) {
            fake_disk_step(fixture.world.disk, 0);
            wal_driver_turn(&fixture.driver);
        }
        fake_disk_kill(fixture.world.disk);
        fake_disk_hold(fixture.world.disk, false);
        wal_driver_close(&fixture.driver);
        fake_disk_restart(fixture.world.disk);
        open_faithfully(&fixture);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), 0);
        while (fixture.driver.acked < 2) {
            wal_driver_turn(&fixture.driver);
        }
        wal_driver_crash(&fixture.driver);
        open_faithfully(&fixture);
        ck_assert_uint_eq(fixture.driver.replayed, 2);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* A log with several segments and a torn tail, ready to be started. */
static void prepare_log(struct fixture *fixture)
{
    const uint8_t garbage[100] = {1, 2, 3};
    uint64_t lsn = 0;
    uint64_t last = 0;
    char name[WAL_FORMAT_NAME_SIZE];

    open_faithfully(fixture);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, 200000), 0);
        wal_driver_settle(&fixture->driver);
    }
    wal_driver_close(&fixture->driver);
    for (unsigned i = 0; i < fake_disk_name_count(fixture->world.disk); i++) {
        if (wal_format_parse_segment_name(fake_disk_name(fixture->world.disk, i), &lsn) &&
            lsn > last) {
            last = lsn;
        }
    }
    ck_assert_uint_gt(last, 1);
    wal_format_segment_name(last, name);
    fake_disk_poke(fixture->world.disk, name, WAL_SEGMENT_SIZE_MIN - 4096, garbage, 100);
}

/* On a full disk there is still room for what is cut off: that of an unfinished snapshot, or of the
 * spare. */
START_TEST(wal_start_cuts_on_a_full_disk)
{
    static const char *const names[] = {"snap.tmp", "spare.tmp"};

    for (unsigned i = 0; i < 2; i++) {
        struct fixture fixture;

        fixture_init(&fixture);
        prepare_log(&fixture);
        if (fake_disk_exists(fixture.world.disk, "spare.tmp")) {
            fake_disk_delete(fixture.world.disk, "spare.tmp");
        }
        fake_disk_copy(fixture.world.disk, FIRST_NAME, names[i]);
        fake_disk_zero(fixture.world.disk, names[i], 0, WAL_SEGMENT_SIZE_MIN);
        fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
        open_faithfully(&fixture);
        ck_assert_uint_eq(fixture.driver.replayed, 5);
        ck_assert_uint_gt(wal_stats(fixture.driver.wal)->torn_bytes, 0);
        ck_assert(!fake_disk_exists(fixture.world.disk, names[i]));
        fake_disk_set_room(fixture.world.disk, UINT64_MAX);
        fake_world_advance(&fixture.world, 2 * CLOCK_NS_PER_S);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), 0);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* Whichever operation of a start fails, its error comes up with a text, nothing is lost, and the
 * next start succeeds. Once with the process alone ending, once with the power cut at that point.
 */
START_TEST(wal_start_survives_each_failing_operation)
{
    struct fixture fixture;
    unsigned starts = 0;
    int result;

    fixture_init(&fixture);
    for (unsigned crash = 0; crash < 2; crash++) {
        for (unsigned nth = 1, has_failed = 1; has_failed; nth++) {
            fake_world_renew(&fixture.world, nth);
            wal_driver_forget(&fixture.driver);
            prepare_log(&fixture);
            fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, crash != 0);
            result = wal_driver_open(&fixture.driver);
            has_failed = result != 0;
            if (has_failed) {
                ck_assert_int_eq(result, -EIO);
                ck_assert_str_ne(fixture.driver.problem, "");
                ck_assert_ptr_null(fixture.driver.wal);
            } else {
                fake_disk_fail_nothing(fixture.world.disk);
                wal_driver_close(&fixture.driver);
            }
            if (crash) {
                fake_disk_crash(fixture.world.disk);
                fake_disk_restart(fixture.world.disk);
            }
            open_faithfully(&fixture);
            ck_assert_uint_eq(fixture.driver.replayed, 5);
            wal_driver_close(&fixture.driver);
            starts++;
        }
    }
    ck_assert_uint_gt(starts, 60);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_start", wal_start_makes_a_store, wal_start_goes_on_in_an_empty_segment,
          wal_start_replaces_a_cut_empty_segment, wal_start_goes_on_behind_a_torn_first_frame,
          wal_start_reads_on_a_full_disk, wal_start_replaces_a_segment_later,
          wal_start_cuts_on_a_full_disk, wal_start_refuses_a_newer_control_file,
          wal_start_refuses_control_files_of_two_stores, wal_start_names_an_unfinished_snapshot,
          wal_start_checks_the_segment_size, wal_start_syncs_names,
          wal_start_survives_each_failing_operation)
