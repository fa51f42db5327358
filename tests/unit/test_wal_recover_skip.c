/*
 * Damage before what the snapshot holds. A log and its snapshot are made by the real log on the
 * fake disk; each frame of the segment is damaged in turn, and the disk is put back.
 */
#include "lib/disk_image.h"
#include "lib/snapshot_maker.h"
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/clock.h"
#include "core/snapshot_format.h"
#include "core/wal_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX   24
#define SEGMENT_NAME "wal-0000000000000001.log"
#define SNAPSHOT_LSN 12
#define LAST_LSN     18

struct known_frame {
    uint64_t offset;
    uint64_t size;
    struct wal_format_frame frame;
};

/* Too much for a stack. */
struct fixture {
    struct fake_world world;
    struct wal_driver driver;
    struct disk_image image;
    struct known_frame frames[FRAMES_MAX];
    unsigned frame_count;
};

static void write_frame(struct fixture *fixture, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
    }
    wal_driver_settle(&fixture->driver);
}

static void seal(struct fixture *fixture)
{
    fake_world_advance(&fixture->world, 11 * CLOCK_NS_PER_MS);
}

static void list_frames(struct fixture *fixture)
{
    const uint8_t *bytes = fake_disk_peek(fixture->world.disk, SEGMENT_NAME, NULL);
    uint64_t offset = WAL_FORMAT_BLOCK_SIZE;
    struct wal_format_frame frame;

    while (wal_format_get_frame(bytes + offset, &frame) == 0) {
        const uint64_t size = wal_format_frame_size(frame.payload_size);

        ck_assert_uint_lt(fixture->frame_count, FRAMES_MAX);
        fixture->frames[fixture->frame_count++] =
            (struct known_frame){.offset = offset, .size = size, .frame = frame};
        offset += size;
    }
}

/* One segment: records 1..3, 4 (two blocks), SEAL, 5..6, SEAL, 7..8, 9, 10..12 (three blocks), the
 * snapshot, 13..14, SEAL, 15, 16..18, and the power cut. */
static void fixture_init(struct fixture *fixture, uint64_t sync_interval_ns)
{
    memset(fixture, 0, sizeof(*fixture));
    fake_world_init(&fixture->world, 8);
    wal_driver_init(&fixture->driver, &fixture->world);
    fixture->driver.snapshots = true;
    fixture->driver.options.sync_interval_ns = sync_interval_ns;
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    write_frame(fixture, 3, 100);
    write_frame(fixture, 1, 5000);
    seal(fixture);
    write_frame(fixture, 2, 0);
    seal(fixture);
    write_frame(fixture, 2, 700);
    write_frame(fixture, 1, 10);
    write_frame(fixture, 3, 3000);
    ck_assert(wal_driver_snapshot(&fixture->driver));
    ck_assert_uint_eq(fixture->driver.snapshot.lsn, SNAPSHOT_LSN);
    write_frame(fixture, 2, 10);
    seal(fixture);
    write_frame(fixture, 1, 10);
    write_frame(fixture, 3, 10);
    for (unsigned i = 0; i < 4; i++) { /* sync, SEAL, watermark */
        fake_world_advance(&fixture->world, 700 * CLOCK_NS_PER_MS);
    }
    wal_driver_crash(&fixture->driver);
    list_frames(fixture);
    disk_image_take(&fixture->image, fixture->world.disk);
}

static void fixture_deinit(struct fixture *fixture)
{
    if (fixture->driver.wal != NULL) {
        wal_driver_close(&fixture->driver);
    }
    disk_image_deinit(&fixture->image);
    wal_driver_deinit(&fixture->driver);
    fake_world_deinit(&fixture->world);
}

/* Garbles so many bytes, or with 0 makes a block of zeros. */
static void damage(struct fixture *fixture, uint64_t offset, size_t size)
{
    static const uint8_t zeros[WAL_FORMAT_BLOCK_SIZE];
    const uint8_t *bytes = fake_disk_peek(fixture->world.disk, SEGMENT_NAME, NULL);
    uint8_t garbage[16];

    ck_assert_uint_le(size, sizeof(garbage));
    for (size_t i = 0; i < size; i++) {
        garbage[i] = bytes[offset + i] ^ 0x21;
    }
    fake_disk_poke(fixture->world.disk, SEGMENT_NAME, offset, size == 0 ? zeros : garbage,
                   size == 0 ? sizeof(zeros) : size);
}

/* The log starts with all there ever was, says so often what it has stepped over, and can be
 * written and read again. Then all is put back. */
static void expect_all(struct fixture *fixture, unsigned notices, const char *text)
{
    struct wal_driver *driver = &fixture->driver;
    int result = wal_driver_open(driver);

    ck_assert_msg(result == 0, "%d: %s", result, driver->problem);
    ck_assert(wal_driver_is_faithful(driver));
    ck_assert_uint_eq(driver->wrong, 0);
    ck_assert_uint_eq(driver->lost, 0);
    ck_assert_uint_eq(driver->loaded, SNAPSHOT_LSN);
    ck_assert_uint_eq(driver->replayed, LAST_LSN);
    ck_assert_uint_eq(wal_stats(driver->wal)->next_lsn, LAST_LSN + 1);
    ck_assert_uint_eq(driver->notice_count, notices);
    ck_assert_msg(strstr(driver->notice, text) != NULL, "'%s' is not in: %s", text, driver->notice);
    wal_driver_close(driver);
    ck_assert_int_eq(wal_driver_open(driver), 0);
    ck_assert(wal_driver_is_faithful(driver));
    wal_driver_close(driver);
    disk_image_put_back(&fixture->image, fixture->world.disk);
}

static void expect_refusal(struct fixture *fixture, const char *text)
{
    struct wal_driver *driver = &fixture->driver;
    int result = wal_driver_open(driver);

    ck_assert_msg(result == WAL_E_DAMAGED, "%d", result);
    ck_assert_msg(strstr(driver->problem, text) != NULL, "'%s' is not in: %s", text,
                  driver->problem);
    disk_image_put_back(&fixture->image, fixture->world.disk);
}

/* One frame damaged, as a bad sector, a flip or a lost write leaves it: before the record behind
 * the snapshot one notice says which records it held; from there on the start is refused. */
static void judge_frames(struct fixture *fixture)
{
    unsigned accepted = 0;

    for (unsigned i = 0; i + 1 < fixture->frame_count; i++) {
        const struct known_frame *known = &fixture->frames[i];
        const uint64_t first = known->frame.first_lsn;
        const uint64_t last = first + known->frame.record_count - 1;
        const uint64_t offsets[] = {known->offset + 3, known->offset + 30, known->offset + 70,
                                    known->offset};
        static const size_t sizes[] = {1, 16, 1, 0};
        char text[128];

        (void)snprintf(text, sizeof(text),
                       last < first ? "held no record" : "held records %llu to %llu",
                       (unsigned long long)first, (unsigned long long)last);
        for (unsigned how = 0; how < 4; how++) {
            if (how == 2 && known->frame.record_count == 0) {
                continue; /* there is no payload */
            }
            damage(fixture, offsets[how], sizes[how]);
            if (first <= SNAPSHOT_LSN) {
                expect_all(fixture, 1, text);
                accepted++;
            } else {
                expect_refusal(fixture, SEGMENT_NAME ": damaged at offset");
            }
        }
    }
    ck_assert_uint_eq(accepted, 6 * 4 + 2 * 3);
}

START_TEST(wal_recover_skip_judges_each_frame)
{
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    ck_assert_uint_eq(fixture.frame_count, 13);
    judge_frames(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* Several frames in a row are one stretch with one notice; apart, each has its own. */
START_TEST(wal_recover_skip_steps_over_stretches)
{
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    for (unsigned i = 0; i <= 5; i++) {
        damage(&fixture, fixture.frames[i].offset + 10, 4);
    }
    expect_all(&fixture, 1, "held records 1 to 8");
    damage(&fixture, fixture.frames[0].offset + 10, 4);
    damage(&fixture, fixture.frames[3].offset + 10, 4);
    expect_all(&fixture, 2, "held records 5 to 6");
    fixture_deinit(&fixture);
}

END_TEST

/* The last frames of the snapshot: what comes behind it is enough to go on with. */
START_TEST(wal_recover_skip_ends_with_the_snapshot)
{
    static struct fixture fixture;
    unsigned first_behind = 0;

    fixture_init(&fixture, 0);
    while (fixture.frames[first_behind].frame.first_lsn <= SNAPSHOT_LSN) {
        damage(&fixture, fixture.frames[first_behind].offset, 8);
        first_behind++;
    }
    expect_all(&fixture, 1, "held records 1 to 12");
    damage(&fixture, fixture.frames[first_behind - 1].offset, 8);
    damage(&fixture, fixture.frames[first_behind].offset, 8);
    expect_refusal(&fixture, "records 10 to");
    fixture_deinit(&fixture);
}

END_TEST

/* A mark is enough to go on with, for it says which record comes next. */
START_TEST(wal_recover_skip_goes_on_from_a_mark)
{
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    ck_assert_uint_eq(fixture.frames[2].frame.record_count, 0);
    damage(&fixture, fixture.frames[0].offset, 8);
    damage(&fixture, fixture.frames[1].offset + 4096 + 50, 8);
    expect_all(&fixture, 1, "from offset 4096 to 16384, which held records 1 to 4");
    fixture_deinit(&fixture);
}

END_TEST

/* With a sync interval it is the same: what a snapshot holds was synced before it got its name. */
START_TEST(wal_recover_skip_in_lazy_segments)
{
    static struct fixture fixture;
    unsigned behind = 0;

    fixture_init(&fixture, 100 * CLOCK_NS_PER_MS);
    damage(&fixture, fixture.frames[0].offset, 8);
    damage(&fixture, fixture.frames[1].offset + 4096 + 50, 8);
    expect_all(&fixture, 1, "held records 1 to 4");
    while (fixture.frames[behind].frame.first_lsn <= SNAPSHOT_LSN) {
        behind++;
    }
    damage(&fixture, fixture.frames[behind].offset, 8);
    expect_refusal(&fixture, "records 13 to");
    fixture_deinit(&fixture);
}

END_TEST

/* Without the snapshot, or with one that is damaged, every record counts. */
START_TEST(wal_recover_skip_needs_the_snapshot)
{
    const uint8_t garbage[8] = {1};
    char name[WAL_FORMAT_NAME_SIZE];
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    snapshot_format_name(SNAPSHOT_LSN, name);
    damage(&fixture, fixture.frames[3].offset, 8);
    fake_disk_poke(fixture.world.disk, name, 4096 + 40, garbage, sizeof(garbage));
    expect_refusal(&fixture, "records 5 to");
    damage(&fixture, fixture.frames[3].offset, 8);
    fake_disk_delete(fixture.world.disk, name);
    expect_refusal(&fixture, "records 5 to");
    fixture_deinit(&fixture);
}

END_TEST

/* The older snapshot steps over what it holds itself, and over nothing behind that. */
START_TEST(wal_recover_skip_falls_back_no_further)
{
    const uint8_t garbage[8] = {1};
    char name[WAL_FORMAT_NAME_SIZE];
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    write_frame(&fixture, 2, 10);
    ck_assert(wal_driver_snapshot(&fixture.driver));
    wal_driver_crash(&fixture.driver);
    disk_image_deinit(&fixture.image);
    disk_image_take(&fixture.image, fixture.world.disk);
    snapshot_format_name(LAST_LSN + 2, name);
    damage(&fixture, fixture.frames[fixture.frame_count - 2].offset, 8);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0); /* that segment is not looked at */
    ck_assert_uint_eq(fixture.driver.notice_count, 0);
    wal_driver_crash(&fixture.driver);
    disk_image_put_back(&fixture.image, fixture.world.disk);
    damage(&fixture, fixture.frames[fixture.frame_count - 2].offset, 8);
    fake_disk_poke(fixture.world.disk, name, 4096 + 40, garbage, sizeof(garbage));
    expect_refusal(&fixture, "records 16 to 20 would be missing");
    fixture_deinit(&fixture);
}

END_TEST

/* The store's UUID, as the control files have it. */
static void get_uuid(const struct fixture *fixture, uint8_t *uuid)
{
    struct wal_format_control control = {0};

    ck_assert_int_eq(
        wal_format_get_control(fake_disk_peek(fixture->world.disk, "CONTROL.a", NULL), &control),
        0);
    memcpy(uuid, control.store_uuid, sizeof(control.store_uuid));
}

/* A snapshot that ends within a frame: that frame holds the record behind it, and stays needed; a
 * damaged mark before it does not hide it. */
START_TEST(wal_recover_skip_spares_the_frame_behind)
{
    const uint64_t lsn = 5; /* of 5..6 */
    char name[WAL_FORMAT_NAME_SIZE];
    struct snapshot_maker maker;
    uint8_t uuid[WAL_FORMAT_UUID_SIZE];
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    get_uuid(&fixture, uuid);
    snapshot_format_name(SNAPSHOT_LSN, name);
    fake_disk_delete(fixture.world.disk, name);
    snapshot_maker_begin(&maker, lsn);
    memcpy(maker.header.store_uuid, uuid, sizeof(uuid));
    snapshot_format_put_header(maker.bytes, &maker.header);
    maker.prev_crc = maker.header.crc;
    snapshot_maker_frame(&maker, 5, 10);
    memcpy(maker.footer.store_uuid, uuid, sizeof(uuid));
    snapshot_maker_end(&maker);
    snapshot_format_name(lsn, name);
    fake_disk_put(fixture.world.disk, name, maker.bytes, maker.size);
    snapshot_maker_deinit(&maker);
    disk_image_deinit(&fixture.image);
    disk_image_take(&fixture.image, fixture.world.disk);
    damage(&fixture, fixture.frames[3].offset, 8);
    expect_refusal(&fixture, "records 5 to");
    damage(&fixture, fixture.frames[2].offset, 8);
    (void)wal_driver_open(&fixture.driver); /* the crafted state is not the ledger's */
    ck_assert_ptr_nonnull(fixture.driver.wal);
    ck_assert_uint_eq(fixture.driver.notice_count, 1);
    ck_assert_ptr_nonnull(strstr(fixture.driver.notice, "held no record"));
    ck_assert_uint_eq(wal_stats(fixture.driver.wal)->records_replayed, LAST_LSN - lsn);
    fixture_deinit(&fixture);
}

END_TEST

/* What a client wrote into a record that is damaged, or another segment left there, is no frame of
 * this one, however much it looks like it. */
START_TEST(wal_recover_skip_knows_its_segment)
{
    static uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    static struct fixture fixture;
    struct wal_format_frame frame = {.flags = WAL_FORMAT_FRAME_SEAL, .durable_lsn = 9};

    fixture_init(&fixture, 0);
    for (unsigned i = 0; i < 2; i++) {
        frame.first_lsn = i == 0 ? SNAPSHOT_LSN : LAST_LSN;
        frame.epoch = fixture.frames[1].frame.epoch + 1;
        (void)wal_format_put_frame(block, &frame);
        damage(&fixture, fixture.frames[1].offset, 8);
        fake_disk_poke(fixture.world.disk, SEGMENT_NAME, fixture.frames[1].offset + 4096, block,
                       sizeof(block));
        expect_all(&fixture, 1, "held records 4 to 4");
    }
    fixture_deinit(&fixture);
}

END_TEST

/* A whole header that cannot stand there, behind the damage, is not gone on with: nothing that a
 * disk does explains it. */
START_TEST(wal_recover_skip_refuses_what_is_out_of_order)
{
    static uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    static struct fixture fixture;

    fixture_init(&fixture, 0);
    memcpy(block, fake_disk_peek(fixture.world.disk, SEGMENT_NAME, NULL) + fixture.frames[0].offset,
           sizeof(block));
    damage(&fixture, fixture.frames[3].offset, 8);
    fake_disk_poke(fixture.world.disk, SEGMENT_NAME, fixture.frames[4].offset, block,
                   sizeof(block)); /* records 1..3 once more */
    expect_refusal(&fixture, "records 5 to");
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_recover_skip", wal_recover_skip_judges_each_frame,
          wal_recover_skip_steps_over_stretches, wal_recover_skip_ends_with_the_snapshot,
          wal_recover_skip_goes_on_from_a_mark, wal_recover_skip_in_lazy_segments,
          wal_recover_skip_needs_the_snapshot, wal_recover_skip_falls_back_no_further,
          wal_recover_skip_spares_the_frame_behind, wal_recover_skip_knows_its_segment,
          wal_recover_skip_refuses_what_is_out_of_order)
