#include "lib/fake_world.h"
#include "lib/unit.h"

#include "core/wal_control.h"

#include <errno.h>

struct fixture {
    struct fake_world world;
    struct wal_control control;
};

static int written_error;
static unsigned written_count;

static void on_written(struct wal_control *control, int error)
{
    ck_assert(!control->pending);
    written_error = error;
    written_count++;
}

static int reopen(struct fixture *fixture)
{
    int result;

    wal_control_deinit(&fixture->control);
    result = wal_control_init(&fixture->control, fake_disk_disk(fixture->world.disk));
    fixture->control.written = on_written;
    return result;
}

static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 1);
    fixture->control = (struct wal_control){0};
    ck_assert_int_eq(reopen(fixture), 0);
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_control_deinit(&fixture->control);
    fake_world_deinit(&fixture->world);
}

static struct wal_format_control on_disk(struct fixture *fixture, const char *name)
{
    struct wal_format_control found = {0};

    ck_assert_int_eq(
        wal_format_get_control(fake_disk_peek(fixture->world.disk, name, NULL), &found), 0);
    return found;
}

static void write_later(struct fixture *fixture, uint64_t durable_lsn)
{
    fixture->control.now.durable_lsn = durable_lsn;
    written_count = 0;
    ck_assert_int_eq(wal_control_write(&fixture->control), 0);
    ck_assert_uint_eq(written_count, 0);
    fake_world_turn(&fixture->world);
    ck_assert_uint_eq(written_count, 1);
    ck_assert_int_eq(written_error, 0);
}

/* Nothing there is no error, and the first writing makes both files, durable with their names. */
START_TEST(wal_control_starts_from_nothing)
{
    struct fixture fixture;

    fixture_init(&fixture);
    ck_assert_uint_eq(fixture.control.now.sequence, 0);
    fixture.control.now.durable_lsn = 5;
    ck_assert_int_eq(wal_control_write_now(&fixture.control), 0);
    wal_control_deinit(&fixture.control);
    fake_disk_crash(fixture.world.disk);
    fake_disk_restart(fixture.world.disk);
    ck_assert_uint_eq(on_disk(&fixture, "CONTROL.a").sequence, 1);
    ck_assert_uint_eq(on_disk(&fixture, "CONTROL.b").sequence, 2);
    ck_assert_int_eq(reopen(&fixture), 0);
    ck_assert_uint_eq(fixture.control.now.sequence, 2);
    ck_assert_uint_eq(fixture.control.now.durable_lsn, 5);
    fixture_deinit(&fixture);
}

END_TEST

/* Writes alternate between the files, and the newest whole one counts. */
START_TEST(wal_control_alternates)
{
    struct fixture fixture;
    const uint8_t garbage = 0x99;

    fixture_init(&fixture);
    ck_assert_int_eq(wal_control_write_now(&fixture.control), 0);
    write_later(&fixture, 10);
    write_later(&fixture, 20);
    write_later(&fixture, 30);
    ck_assert_uint_eq(on_disk(&fixture, "CONTROL.a").durable_lsn, 30);
    ck_assert_uint_eq(on_disk(&fixture, "CONTROL.b").durable_lsn, 20);
    ck_assert_int_eq(reopen(&fixture), 0);
    ck_assert_uint_eq(fixture.control.now.durable_lsn, 30);
    fake_disk_poke(fixture.world.disk, "CONTROL.a", 50, &garbage, 1);
    ck_assert_int_eq(reopen(&fixture), 0);
    ck_assert_uint_eq(fixture.control.now.durable_lsn, 20);
    /* The one that is damaged is written first. */
    write_later(&fixture, 40);
    ck_assert_uint_eq(on_disk(&fixture, "CONTROL.a").durable_lsn, 40);
    fixture_deinit(&fixture);
}

END_TEST

/* A crash during a write leaves the block before it: never none. */
START_TEST(wal_control_survives_crashes)
{
    struct fixture fixture;
    uint64_t floor_lsn = 1;

    fixture_init(&fixture);
    fixture.control.now.durable_lsn = 1;
    ck_assert_int_eq(wal_control_write_now(&fixture.control), 0);
    for (uint64_t lsn = 2; lsn < 200; lsn++) {
        fake_disk_hold(fixture.world.disk, true);
        fixture.control.now.durable_lsn = lsn;
        ck_assert_int_eq(wal_control_write(&fixture.control), 0);
        fake_disk_crash(fixture.world.disk);
        fake_world_turn(&fixture.world);
        ck_assert_int_eq(written_error, -EIO);
        wal_control_deinit(&fixture.control);
        fake_disk_restart(fixture.world.disk);
        ck_assert_int_eq(reopen(&fixture), 0);
        ck_assert_uint_ge(fixture.control.now.durable_lsn, floor_lsn);
        ck_assert_uint_le(fixture.control.now.durable_lsn, lsn);
        floor_lsn = fixture.control.now.durable_lsn;
    }
    ck_assert_uint_gt(floor_lsn, 150); /* some do arrive */
    fixture_deinit(&fixture);
}

END_TEST

/* A block that was moved to the other file does not count: writing would then hit the only one. */
START_TEST(wal_control_knows_its_file)
{
    struct fixture fixture;
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];

    fixture_init(&fixture);
    ck_assert_int_eq(wal_control_write_now(&fixture.control), 0);
    memcpy(block, fake_disk_peek(fixture.world.disk, "CONTROL.b", NULL), sizeof(block));
    fake_disk_poke(fixture.world.disk, "CONTROL.a", 0, block, sizeof(block));
    fake_disk_delete(fixture.world.disk, "CONTROL.b");
    ck_assert_int_eq(reopen(&fixture), 0);
    ck_assert_uint_eq(fixture.control.now.sequence, 0);
    fixture_deinit(&fixture);
}

END_TEST

/* A file of another store is told from a torn one, whichever of the two it is, and alone it is just
 * a control file. */
START_TEST(wal_control_tells_two_stores)
{
    static const char *const names[] = {"CONTROL.a", "CONTROL.b"};
    struct fixture fixture;
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_control control;

    fixture_init(&fixture);
    ck_assert_int_eq(wal_control_write_now(&fixture.control), 0);
    for (unsigned i = 0; i < 2; i++) {
        const struct wal_format_control before = on_disk(&fixture, names[i]);

        for (unsigned later = 0; later < 2; later++) {
            control = before;
            control.sequence += 100 * later;
            control.store_uuid[3] ^= 1;
            wal_format_put_control(block, &control);
            fake_disk_poke(fixture.world.disk, names[i], 0, block, sizeof(block));
            ck_assert_int_eq(reopen(&fixture), WAL_CONTROL_E_MIXED);
        }
        fake_disk_flip(fixture.world.disk, names[i], 8 * 60);
        ck_assert_int_eq(reopen(&fixture), 0);
        ck_assert_uint_ne(fixture.control.now.sequence, control.sequence);
        control = before;
        wal_format_put_control(block, &control);
        fake_disk_poke(fixture.world.disk, names[i], 0, block, sizeof(block));
        ck_assert_int_eq(reopen(&fixture), 0);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Each failing operation comes up, at once or later. */
START_TEST(wal_control_passes_errors_on)
{
    struct fixture fixture;
    unsigned nth = 0;
    int result;

    fixture_init(&fixture);
    do {
        nth++;
        fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, false);
        result = wal_control_write_now(&fixture.control);
        ck_assert(result == 0 || result == -EIO);
    } while (result != 0);
    fake_disk_fail_nothing(fixture.world.disk);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_SUBMIT, 1, -EBUSY, false);
    ck_assert_int_eq(wal_control_write(&fixture.control), -EBUSY);
    ck_assert(!fixture.control.pending);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_SYNC, 1, -EIO, false);
    ck_assert_int_eq(wal_control_write(&fixture.control), 0);
    fake_world_turn(&fixture.world);
    ck_assert_int_eq(written_error, -EIO);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_READ, 1, -EIO, false);
    ck_assert_int_eq(reopen(&fixture), -EIO);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_control", wal_control_starts_from_nothing, wal_control_alternates,
          wal_control_survives_crashes, wal_control_knows_its_file, wal_control_tells_two_stores,
          wal_control_passes_errors_on)
