#include "lib/fake_world.h"
#include "lib/unit.h"

#include "core/wal_segment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE      (600 * 1024)
#define FREE_SIZE (SIZE + 1024 * 1024) /* with what is kept in reserve */

struct fixture {
    struct fake_world world;
    struct wal_spare spare;
};

static int changed_error;
static unsigned changed_count;

static void on_changed(struct wal_spare *spare, int error)
{
    ck_assert(!spare->pending);
    changed_error = error;
    changed_count++;
}

static void make_spare(struct fixture *fixture)
{
    ck_assert_int_eq(wal_spare_init(&fixture->spare, fake_disk_disk(fixture->world.disk),
                                    &fixture->world.reactor, SIZE),
                     0);
    fixture->spare.changed = on_changed;
    changed_count = 0;
    changed_error = 0;
}

static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 3);
    make_spare(fixture);
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_spare_stop(&fixture->spare);
    wal_spare_deinit(&fixture->spare);
    fake_world_deinit(&fixture->world);
}

static struct wal_format_segment a_header(void)
{
    return (struct wal_format_segment){.epoch = 77, .first_lsn = 0x2b, .realtime_ns = 5};
}

static void check_segment(struct fixture *fixture, const struct wal_segment *segment)
{
    struct wal_format_segment found;
    uint64_t size = 0;
    const uint8_t *bytes = fake_disk_peek(fixture->world.disk, "wal-000000000000002b.log", &size);

    ck_assert_uint_eq(size, SIZE);
    ck_assert_int_eq(wal_format_get_segment(bytes, &found), 0);
    ck_assert_uint_eq(found.first_lsn, 0x2b);
    ck_assert_uint_eq(found.epoch, 77);
    ck_assert_uint_eq(found.size, SIZE);
    ck_assert(wal_segment_is_zero(bytes + 4096, SIZE - 4096));
    ck_assert_uint_eq(segment->offset, 4096);
    ck_assert_uint_eq(segment->prev_crc, found.crc);
    ck_assert(!fake_disk_exists(fixture->world.disk, "spare.tmp"));
}

/* In the loop: zeros, a sync, and READY is told once; then header, name, directory, PUBLISHED. */
START_TEST(wal_segment_is_made_in_the_loop)
{
    struct fixture fixture;
    struct wal_segment segment;
    const struct wal_format_segment header = a_header();

    fixture_init(&fixture);
    ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
    ck_assert_uint_eq(changed_count, 0);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(changed_count, 1);
    ck_assert_int_eq(changed_error, 0);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_READY);
    ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_WRITE), 3);
    ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), 1);
    ck_assert_int_eq(wal_spare_publish(&fixture.spare, &header), 0);
    ck_assert_uint_eq(changed_count, 1);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(changed_count, 2);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_PUBLISHED);
    wal_spare_take(&fixture.spare, &segment);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_NONE);
    check_segment(&fixture, &segment);
    ck_assert_uint_eq(wal_segment_room(&segment), SIZE - 4096);
    wal_segment_close(&segment);
    wal_segment_close(&segment); /* safe twice */
    ck_assert_uint_eq(wal_segment_room(&segment), 0);
    fixture_deinit(&fixture);
}

END_TEST

/* One write is in flight at a time, and each step waits for the one before: header synced, then the
 * name, then the directory. */
START_TEST(wal_segment_keeps_the_order)
{
    static const enum fake_disk_kind order[] = {
        FAKE_DISK_WRITE, FAKE_DISK_WRITE,  FAKE_DISK_WRITE,         FAKE_DISK_SYNC,
        FAKE_DISK_WRITE, FAKE_DISK_RENAME, FAKE_DISK_SYNC_DIRECTORY};
    struct fixture fixture;
    struct wal_segment segment;
    const struct wal_format_segment header = a_header();

    fixture_init(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        ck_assert(fake_disk_pending_is(fixture.world.disk, 0, order[i]));
        fake_disk_step(fixture.world.disk, 0);
        fake_world_turn(&fixture.world);
        if (fixture.spare.state == WAL_SPARE_READY) {
            ck_assert_int_eq(wal_spare_publish(&fixture.spare, &header), 0);
        }
    }
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_PUBLISHED);
    wal_spare_take(&fixture.spare, &segment);
    wal_segment_close(&segment);
    fixture_deinit(&fixture);
}

END_TEST

/* At start the same is done at once. */
START_TEST(wal_segment_is_made_now)
{
    struct fixture fixture;
    struct wal_segment segment;
    const struct wal_format_segment header = a_header();

    fixture_init(&fixture);
    ck_assert_int_eq(wal_spare_adopt(&fixture.spare), 0);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_NONE);
    ck_assert_int_eq(wal_spare_fill_now(&fixture.spare), 0);
    ck_assert_int_eq(wal_spare_fill_now(&fixture.spare), 0); /* it is there already */
    ck_assert_int_eq(wal_spare_publish_now(&fixture.spare, &header, &segment), 0);
    check_segment(&fixture, &segment);
    wal_segment_close(&segment);
    fake_disk_crash(fixture.world.disk);
    fake_disk_restart(fixture.world.disk);
    check_segment(&fixture, &segment);
    fixture_deinit(&fixture);
}

END_TEST

/* Without room nothing stays behind, and it is tried again every second until there is. */
START_TEST(wal_segment_waits_for_room)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_set_room(fixture.world.disk, FREE_SIZE - 1);
    ck_assert_int_eq(wal_spare_fill_now(&fixture.spare), -ENOSPC);
    ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_NO_SPACE);
    for (unsigned i = 0; i < 3; i++) {
        fake_world_advance(&fixture.world, CLOCK_NS_PER_S - 1);
        ck_assert_int_eq(fixture.spare.state, WAL_SPARE_NO_SPACE);
        fake_world_advance(&fixture.world, 1);
    }
    ck_assert_uint_eq(fake_disk_used(fixture.world.disk), 0);
    fake_disk_set_room(fixture.world.disk, FREE_SIZE);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_READY);
    fixture_deinit(&fixture);
}

END_TEST

/* Room that runs out on the way is no failure either. */
START_TEST(wal_segment_takes_its_beginnings_back)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_OPEN, FAKE_DISK_WRITE, FAKE_DISK_SYNC};
    struct fixture fixture;

    fixture_init(&fixture);
    for (unsigned i = 0; i < 3; i++) {
        fake_disk_fail(fixture.world.disk, kinds[i], 1, i == 0 ? -EDQUOT : -ENOSPC, false);
        if (fixture.spare.state == WAL_SPARE_NONE) {
            ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
        } else {
            fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
        }
        fake_world_turn(&fixture.world);
        ck_assert_int_eq(fixture.spare.state, WAL_SPARE_NO_SPACE);
        ck_assert(!fake_disk_exists(fixture.world.disk, "spare.tmp"));
        ck_assert_int_eq(changed_error, 0);
    }
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_int_eq(fixture.spare.state, WAL_SPARE_READY);
    fixture_deinit(&fixture);
}

END_TEST

/* Every other error, in any step, is told as final. */
START_TEST(wal_segment_passes_errors_on)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_WRITE, FAKE_DISK_SYNC, FAKE_DISK_RENAME,
                                                FAKE_DISK_SYNC_DIRECTORY};
    const struct wal_format_segment header = a_header();
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_OPEN, 1, -EMFILE, false);
    ck_assert_int_eq(wal_spare_start(&fixture.spare), -EMFILE);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_WRITE, 2, -EIO, false);
    ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
    fake_world_turn(&fixture.world);
    ck_assert_int_eq(changed_error, -EIO);
    wal_spare_deinit(&fixture.spare);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        make_spare(&fixture);
        ck_assert_int_eq(wal_spare_adopt(&fixture.spare), 0);
        ck_assert_int_eq(wal_spare_fill_now(&fixture.spare), 0);
        fake_disk_fail(fixture.world.disk, kinds[i], 1, -EIO, false);
        ck_assert_int_eq(wal_spare_publish(&fixture.spare, &header), 0);
        fake_world_turn(&fixture.world);
        ck_assert_uint_eq(changed_count, 1);
        ck_assert_int_eq(changed_error, -EIO);
        wal_spare_deinit(&fixture.spare);
    }
    make_spare(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

static void leave_spare(struct fixture *fixture, size_t size, size_t dirty_at)
{
    uint8_t *bytes = calloc(1, size);

    ck_assert_ptr_nonnull(bytes);
    bytes[dirty_at] = 1;
    fake_disk_put(fixture->world.disk, "spare.tmp", bytes, size);
    free(bytes);
}

/* A left-over spare is kept when it is whole, whatever its first block holds, and all zeros behind
 * it; otherwise it goes. */
START_TEST(wal_segment_adopts_only_whole_spares)
{
    static const struct {
        size_t size;
        size_t dirty_at;
        bool kept;
    } rows[] = {
        {SIZE, 0, true},         {SIZE, 4095, true},        {SIZE, 4096, false},
        {SIZE, SIZE - 1, false}, {SIZE - 4096, 0, false},   {SIZE + 4096, 0, false},
        {4096, 0, false},        {SIZE, 1024 * 512, false},
    };
    const struct wal_format_segment header = a_header();
    struct fixture fixture;
    struct wal_segment segment;

    fixture_init(&fixture);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        leave_spare(&fixture, rows[i].size, rows[i].dirty_at);
        ck_assert_int_eq(wal_spare_adopt(&fixture.spare), 0);
        ck_assert_int_eq(fixture.spare.state == WAL_SPARE_READY, rows[i].kept);
        ck_assert_int_eq(fake_disk_exists(fixture.world.disk, "spare.tmp"), rows[i].kept);
        ck_assert_int_eq(wal_spare_fill_now(&fixture.spare), 0);
        ck_assert_int_eq(wal_spare_publish_now(&fixture.spare, &header, &segment), 0);
        check_segment(&fixture, &segment);
        wal_segment_close(&segment);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Stopped in any step, it ends after the operation in flight and does not go on. */
START_TEST(wal_segment_stops_anywhere)
{
    struct fixture fixture;

    fake_world_init(&fixture.world, 3);
    for (unsigned steps = 0; steps < 4; steps++) {
        make_spare(&fixture);
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(wal_spare_adopt(&fixture.spare), 0);
        ck_assert_int_eq(wal_spare_start(&fixture.spare), 0);
        for (unsigned i = 0; i < steps; i++) {
            fake_disk_step(fixture.world.disk, 0);
            fake_world_turn(&fixture.world);
        }
        ck_assert_uint_eq(changed_count, 0);
        wal_spare_stop(&fixture.spare);
        fake_disk_step(fixture.world.disk, 0);
        fake_world_turn(&fixture.world);
        ck_assert_uint_eq(changed_count, 1);
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 0);
        wal_spare_deinit(&fixture.spare);
        if (fake_disk_exists(fixture.world.disk, "spare.tmp")) {
            fake_disk_truncate(fixture.world.disk, "spare.tmp", 0);
        }
    }
    fake_world_deinit(&fixture.world);
}

END_TEST

UNIT_MAIN("wal_segment", wal_segment_is_made_in_the_loop, wal_segment_keeps_the_order,
          wal_segment_is_made_now, wal_segment_waits_for_room,
          wal_segment_takes_its_beginnings_back, wal_segment_passes_errors_on,
          wal_segment_adopts_only_whole_spares, wal_segment_stops_anywhere)
