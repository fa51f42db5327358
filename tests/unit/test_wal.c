#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/wal_format.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_NAME "wal-0000000000000001.log"

struct fixture {
    struct fake_world world;
    struct wal_driver driver;
};

/* A log that is open, with its spare made. */
static void fixture_init(struct fixture *fixture)
{
    fake_world_init(&fixture->world, 5);
    wal_driver_init(&fixture->driver, &fixture->world);
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

static uint64_t hits(const struct fixture *fixture, enum limits_hit_reason reason)
{
    return fixture->world.reactor.limits_hit.counts[reason];
}

static void append(struct fixture *fixture, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&fixture->driver, size), 0);
    }
}

static void reopen(struct fixture *fixture)
{
    ck_assert_int_eq(wal_driver_open(&fixture->driver), 0);
    ck_assert(wal_driver_is_faithful(&fixture->driver));
}

/* The frames of a segment, read past the log. Returns how many. */
static unsigned read_frames(struct fixture *fixture, const char *name,
                            struct wal_format_frame *frames, unsigned max)
{
    const uint8_t *bytes = fake_disk_peek(fixture->world.disk, name, NULL);
    uint64_t offset = WAL_FORMAT_BLOCK_SIZE;
    unsigned count = 0;

    while (count < max && wal_format_get_frame(bytes + offset, &frames[count]) == 0) {
        offset += wal_format_frame_size(frames[count].payload_size);
        count++;
    }
    return count;
}

/* What was acknowledged is there after the power was cut in that moment. */
START_TEST(wal_acknowledged_is_durable)
{
    struct fixture fixture;

    fixture_init(&fixture);
    append(&fixture, 3, 100);
    ck_assert_uint_eq(fixture.driver.acked, 0); /* not inside of wal_append() */
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 3);
    ck_assert_uint_eq(stats(&fixture)->durable_lsn, 3);
    ck_assert_uint_eq(stats(&fixture)->next_lsn, 4);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 3);
    ck_assert_uint_eq(stats(&fixture)->records_replayed, 3);
    ck_assert_uint_eq(stats(&fixture)->next_lsn, 4);
    fixture_deinit(&fixture);
}

END_TEST

/* Nothing is acknowledged while the write or the sync is on its way. */
START_TEST(wal_waits_for_the_disk)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    append(&fixture, 1, 100);
    for (unsigned i = 0; i < 5; i++) {
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.acked, 0);
    }
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* What one turn brings is one frame, and what arrives during its flush is the next, whole. */
START_TEST(wal_commits_in_groups)
{
    struct fixture fixture;
    struct wal_format_frame frames[4];

    fixture_init(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    append(&fixture, 40, 10);
    wal_driver_turn(&fixture.driver);
    append(&fixture, 1, 10);
    wal_driver_turn(&fixture.driver);
    append(&fixture, 60, 10);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1); /* one flush in flight */
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 40);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 101);
    ck_assert_uint_eq(read_frames(&fixture, FIRST_NAME, frames, 4), 2);
    ck_assert_uint_eq(frames[0].record_count, 40);
    ck_assert_uint_eq(frames[0].durable_lsn, 0);
    ck_assert_uint_eq(frames[1].record_count, 61);
    ck_assert_uint_eq(frames[1].first_lsn, 41);
    ck_assert_uint_eq(frames[1].durable_lsn, 40);
    ck_assert_uint_eq(frames[1].prev_crc, frames[0].crc);
    ck_assert_uint_eq(stats(&fixture)->frames_written, 2);
    ck_assert_uint_eq(stats(&fixture)->records_written, 101);
    ck_assert_uint_eq(stats(&fixture)->bytes_written, 8192);
    fixture_deinit(&fixture);
}

END_TEST

/* A frame holds 512 records or what fits into 1 MiB; the rest follows. */
START_TEST(wal_frames_have_limits)
{
    struct wal_format_frame frames[16];
    struct fixture fixture;
    char name[WAL_FORMAT_NAME_SIZE];
    unsigned count;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.segment_size = 4 * 1024 * 1024;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    append(&fixture, 1100, 1);
    wal_driver_settle(&fixture.driver);
    append(&fixture, 6, WAL_RECORD_SIZE_MAX);
    wal_driver_settle(&fixture.driver);
    wal_format_segment_name(1, name);
    count = read_frames(&fixture, name, frames, 16);
    ck_assert_uint_eq(count, 5);
    ck_assert_uint_eq(frames[0].record_count, 512);
    ck_assert_uint_eq(frames[1].record_count, 512);
    ck_assert_uint_eq(frames[2].record_count, 76);
    ck_assert_uint_eq(frames[3].record_count, 4);
    ck_assert_uint_eq(frames[4].record_count, 2);
    wal_driver_close(&fixture.driver);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

static unsigned chain_left;

static void append_another(struct wal_driver *driver)
{
    if (chain_left > 0) {
        chain_left--;
        ck_assert_int_eq(wal_driver_append(driver, 5), 0);
    }
}

/* A `done` may append: that is a later frame. */
START_TEST(wal_done_may_append)
{
    struct fixture fixture;

    fixture_init(&fixture);
    chain_left = 20;
    fixture.driver.on_done = append_another;
    append(&fixture, 2, 5);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 22);
    fixture_deinit(&fixture);
}

END_TEST

/* Limits refuse without queueing, and what fits is still taken afterwards. */
START_TEST(wal_refuses_beyond_its_limits)
{
    struct fixture fixture;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.max_pending = 3;
    fixture.driver.options.max_pending_bytes = 1000;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, WAL_RECORD_SIZE_MAX + 1), WAL_E_TOO_LARGE);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1001), WAL_E_FULL);
    append(&fixture, 1, 600);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 401), WAL_E_FULL);
    append(&fixture, 2, 200);
    ck_assert_uint_eq(hits(&fixture, LIMITS_HIT_PENDING), 0);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 0), WAL_E_FULL);
    ck_assert_uint_eq(hits(&fixture, LIMITS_HIT_PENDING), 1);
    ck_assert_uint_eq(hits(&fixture, LIMITS_HIT_PENDING_BYTES), 2);
    ck_assert_uint_eq(stats(&fixture)->pending, 3);
    ck_assert_uint_eq(stats(&fixture)->pending_bytes, 1000);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(stats(&fixture)->pending, 0);
    ck_assert_uint_eq(stats(&fixture)->pending_bytes, 0);
    append(&fixture, 1, 1000);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 4);
    fixture_deinit(&fixture);
}

END_TEST

#define PENDING_NS (250 * CLOCK_NS_PER_MS)

/* When the oldest that waits, in flight or not, has waited for longer than it may, nothing more is
 * taken; what was taken before is kept, and when it is told the log takes more. */
START_TEST(wal_refuses_while_the_disk_is_slow)
{
    struct fixture fixture;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.max_pending_ns = PENDING_NS;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    wal_driver_turn(&fixture.driver);
    fake_disk_hold(fixture.world.disk, true);
    append(&fixture, 1, 100);
    fake_world_advance(&fixture.world, PENDING_NS / 2);
    append(&fixture, 1, 100); /* behind the flush of the first */
    fake_world_advance(&fixture.world, PENDING_NS / 2);
    append(&fixture, 1, 100);
    fake_world_advance(&fixture.world, 1);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 100), WAL_E_SLOW);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 100), WAL_E_SLOW);
    ck_assert_uint_eq(hits(&fixture, LIMITS_HIT_PENDING_AGE), 2);
    ck_assert_uint_eq(stats(&fixture)->pending, 3);
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 1);
    append(&fixture, 1, 100); /* the second has waited half as long */
    fake_world_advance(&fixture.world, PENDING_NS / 2);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 100), WAL_E_SLOW);
    fake_disk_hold(fixture.world.disk, false);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 4);
    append(&fixture, 1, 100);
    wal_driver_settle(&fixture.driver);
    fixture_deinit(&fixture);
}

END_TEST

/* Segments that are to stay free count as taken: the log is out of room before the disk is full, at
 * the start and later, and finds room by itself. */
START_TEST(wal_keeps_segments_free)
{
    const uint64_t reserve = 2 * (uint64_t)WAL_SEGMENT_SIZE_MIN;
    struct fixture fixture;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.min_free_segments = 2;
    fake_disk_set_room(fixture.world.disk, reserve + WAL_SEGMENT_SIZE_MIN); /* less control files */
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    ck_assert(stats(&fixture)->no_space);
    wal_driver_turn(&fixture.driver);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 10), WAL_E_NO_SPACE);
    ck_assert_uint_eq(hits(&fixture, LIMITS_HIT_DISK_SPACE), 1);
    fake_disk_set_room(fixture.world.disk,
                       fake_disk_used(fixture.world.disk) + reserve + WAL_SEGMENT_SIZE_MIN);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    wal_driver_settle(&fixture.driver);
    ck_assert(!stats(&fixture)->no_space);
    append(&fixture, 2, 250000);
    wal_driver_settle(&fixture.driver);
    ck_assert(stats(&fixture)->no_space);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 250000), WAL_E_NO_SPACE);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    wal_driver_settle(&fixture.driver);
    append(&fixture, 1, 250000);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 3);
    fixture_deinit(&fixture);
}

END_TEST

/* After 10 ms without an append there is one SEAL, and only one; the next one needs new records. */
START_TEST(wal_seals_silence)
{
    struct wal_format_frame frames[8];
    struct fixture fixture;

    fixture_init(&fixture);
    fake_world_advance(&fixture.world, 50 * CLOCK_NS_PER_MS);
    ck_assert_uint_eq(read_frames(&fixture, FIRST_NAME, frames, 8), 0); /* never first */
    append(&fixture, 2, 10);
    wal_driver_settle(&fixture.driver);
    fake_world_advance(&fixture.world, 9 * CLOCK_NS_PER_MS);
    append(&fixture, 1, 10);
    wal_driver_settle(&fixture.driver);
    fake_world_advance(&fixture.world, 9 * CLOCK_NS_PER_MS);
    ck_assert_uint_eq(read_frames(&fixture, FIRST_NAME, frames, 8), 2);
    for (unsigned i = 0; i < 5; i++) {
        fake_world_advance(&fixture.world, 10 * CLOCK_NS_PER_MS);
    }
    ck_assert_uint_eq(read_frames(&fixture, FIRST_NAME, frames, 8), 3);
    ck_assert_uint_eq(frames[2].flags, WAL_FORMAT_FRAME_SEAL);
    ck_assert_uint_eq(frames[2].record_count, 0);
    ck_assert_uint_eq(frames[2].first_lsn, 4);
    ck_assert_uint_eq(frames[2].durable_lsn, 3);
    append(&fixture, 1, 10);
    wal_driver_settle(&fixture.driver);
    fake_world_advance(&fixture.world, 10 * CLOCK_NS_PER_MS);
    ck_assert_uint_eq(read_frames(&fixture, FIRST_NAME, frames, 8), 5);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

static struct wal_format_control newest_control(struct fixture *fixture)
{
    struct wal_format_control a = {0};
    struct wal_format_control b = {0};

    ck_assert_int_eq(
        wal_format_get_control(fake_disk_peek(fixture->world.disk, "CONTROL.a", NULL), &a), 0);
    ck_assert_int_eq(
        wal_format_get_control(fake_disk_peek(fixture->world.disk, "CONTROL.b", NULL), &b), 0);
    return a.sequence > b.sequence ? a : b;
}

/* The watermark follows at most once per second, and does not rest before it has caught up. */
START_TEST(wal_writes_the_watermark_once_a_second)
{
    struct fixture fixture;
    uint64_t sequence;

    fixture_init(&fixture);
    sequence = newest_control(&fixture).sequence;
    for (unsigned i = 0; i < 100; i++) {
        append(&fixture, 1, 10);
        fake_world_advance(&fixture.world, 30 * CLOCK_NS_PER_MS);
    }
    ck_assert_uint_ge(newest_control(&fixture).sequence, sequence + 2);
    ck_assert_uint_le(newest_control(&fixture).sequence, sequence + 3);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_uint_eq(newest_control(&fixture).durable_lsn, 100);
    ck_assert(!newest_control(&fixture).is_clean);
    sequence = newest_control(&fixture).sequence;
    for (unsigned i = 0; i < 5; i++) {
        fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    }
    ck_assert_uint_eq(newest_control(&fixture).sequence, sequence); /* nothing new to say */
    fixture_deinit(&fixture);
}

END_TEST

/* A full segment is followed by the spare; nothing is lost, split or reordered on the way. */
START_TEST(wal_goes_on_in_the_next_segment)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (unsigned i = 0; i < 40; i++) {
        append(&fixture, 1 + i % 3, 1000 + 40000 * (i % 5));
        wal_driver_settle(&fixture.driver);
    }
    ck_assert_uint_gt(fake_disk_name_count(fixture.world.disk), 8);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    wal_driver_close(&fixture.driver);
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, fixture.driver.acked);
    fixture_deinit(&fixture);
}

END_TEST

/* While the spare is not ready, commits wait; nothing fails, and the limits hold. */
START_TEST(wal_waits_for_the_spare)
{
    struct fixture fixture;

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    fixture.driver.options.max_pending = 10;
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    fake_disk_hold(fixture.world.disk, true);
    wal_driver_turn(&fixture.driver); /* the first write of zeros is pending */
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    append(&fixture, 5, 200000);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 2);
    fake_disk_step(fixture.world.disk, 1);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 2); /* as many as the segment took */
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    append(&fixture, 7, 1);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_FULL);
    fake_world_advance(&fixture.world, 5 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(fixture.driver.acked, 2);
    fake_disk_hold(fixture.world.disk, false);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.acked, 12);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* On a full disk the present segment is used up first; then appends are refused, without harm to
 * the log; with room again they are taken. */
START_TEST(wal_uses_the_tail_on_a_full_disk)
{
    struct fixture fixture;
    uint64_t taken = 0;
    int result;

    fixture_init(&fixture);
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    append(&fixture, 2, 250000); /* the segment is full, the spare takes over, no further one */
    wal_driver_settle(&fixture.driver);
    append(&fixture, 1, 250000);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.space_count, 1);
    ck_assert(fixture.driver.no_space);
    ck_assert(stats(&fixture)->no_space);
    do {
        result = wal_driver_append(&fixture.driver, 3000);
        taken += result == 0;
        wal_driver_settle(&fixture.driver);
    } while (result == 0);
    ck_assert_int_eq(result, WAL_E_NO_SPACE);
    /* 512 KiB: header, 250000 bytes in 62 blocks, a block kept for a mark, one block each. */
    ck_assert_uint_eq(taken, 128 - 1 - 62 - 1);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 0), WAL_E_NO_SPACE);
    fake_world_advance(&fixture.world, 10 * CLOCK_NS_PER_MS); /* the kept block takes the SEAL */
    fake_world_advance(&fixture.world, 3 * CLOCK_NS_PER_S);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 0), WAL_E_NO_SPACE);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_uint_eq(fixture.driver.space_count, 2);
    ck_assert(!fixture.driver.no_space);
    append(&fixture, 1, 3000);
    wal_driver_settle(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.failed_count, 0);
    wal_driver_crash(&fixture.driver);
    reopen(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* Many small records in one turn fit as one frame: the refusal does not come early for them. */
START_TEST(wal_tail_takes_groups)
{
    struct fixture fixture;
    uint64_t taken = 0;

    fixture_init(&fixture);
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    append(&fixture, 2, 250000);
    wal_driver_settle(&fixture.driver);
    append(&fixture, 1, 250000);
    wal_driver_settle(&fixture.driver);
    ck_assert(stats(&fixture)->no_space);
    while (wal_driver_append(&fixture.driver, 100) == 0) {
        taken++;
    }
    /* 64 blocks are left; a group of 512 is 14.01 blocks, and each may need up to two more. */
    ck_assert_uint_gt(taken, 1800);
    wal_driver_settle(&fixture.driver); /* all that was taken finds its place */
    ck_assert_uint_eq(fixture.driver.acked, 3 + taken);
    fixture_deinit(&fixture);
}

END_TEST

/* Appends that wait for a segment when the disk becomes full keep waiting; a close then tells them
 * that they are certainly not written. */
START_TEST(wal_close_on_a_full_disk_tells_who_waits)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    append(&fixture, 2, 250000);
    wal_driver_settle(&fixture.driver);
    append(&fixture, 4, 200000); /* two of them fit */
    fake_world_advance(&fixture.world, 3 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(fixture.driver.acked, 4);
    ck_assert_uint_eq(fixture.driver.waiting, 2);
    wal_driver_close(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.told_error_count, 2);
    ck_assert_int_eq(fixture.driver.told_error, -ENOSPC);
    ck_assert_uint_eq(fixture.driver.failed_count, 0);
    ck_assert(newest_control(&fixture).is_clean);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    reopen(&fixture);
    ck_assert_uint_eq(fixture.driver.replayed, 4);
    fixture_deinit(&fixture);
}

END_TEST

/* A failed write or sync of a frame is final: `failed` once, everyone who waits is told -EIO,
 * nothing is tried again, nothing more is taken. */
START_TEST(wal_failure_is_final)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_WRITE, FAKE_DISK_SYNC, FAKE_DISK_SUBMIT};
    struct fixture fixture;

    for (unsigned i = 0; i < 3; i++) {
        unsigned writes;
        unsigned syncs;

        fixture_init(&fixture);
        append(&fixture, 4, 10);
        wal_driver_settle(&fixture.driver);
        fake_disk_fail(fixture.world.disk, kinds[i], 1, i == 0 ? -ENOSPC : -EIO, false);
        fake_disk_hold(fixture.world.disk, true);
        append(&fixture, 3, 10);
        wal_driver_turn(&fixture.driver);
        if (fixture.driver.failed_count == 0) {
            append(&fixture, 2, 10);
        }
        fake_disk_hold(fixture.world.disk, false);
        wal_driver_turn(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.failed_count, 1);
        ck_assert_int_eq(fixture.driver.failed_error, i == 0 ? -ENOSPC : -EIO);
        ck_assert_uint_eq(fixture.driver.told_error_count, i == 2 ? 3 : 5);
        ck_assert_int_eq(fixture.driver.told_error, -EIO);
        ck_assert_uint_eq(fixture.driver.waiting, 0);
        ck_assert_uint_eq(stats(&fixture)->pending, 0);
        ck_assert_uint_eq(stats(&fixture)->durable_lsn, 4);
        writes = fake_disk_count(fixture.world.disk, FAKE_DISK_WRITE);
        syncs = fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC);
        ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_FAILED);
        fake_world_advance(&fixture.world, 5 * CLOCK_NS_PER_S);
        wal_driver_close(&fixture.driver);
        ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_WRITE), writes);
        ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), syncs);
        ck_assert_uint_eq(fixture.driver.failed_count, 1);
        fake_disk_crash(fixture.world.disk);
        fake_disk_restart(fixture.world.disk);
        reopen(&fixture);
        ck_assert_uint_ge(fixture.driver.replayed, 4);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* So is a failure of the watermark or of a spare. */
START_TEST(wal_other_failures_are_final_too)
{
    struct fixture fixture;

    fixture_init(&fixture);
    append(&fixture, 1, 10);
    wal_driver_settle(&fixture.driver);
    fake_world_advance(&fixture.world, 10 * CLOCK_NS_PER_MS); /* the SEAL is out of the way */
    fake_disk_fail(fixture.world.disk, FAKE_DISK_WRITE, 1, -EIO, false);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert_uint_eq(fixture.driver.failed_count, 1);
    fixture_deinit(&fixture);

    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    ck_assert_int_eq(wal_driver_open(&fixture.driver), 0);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_WRITE, 2, -EIO, false);
    append(&fixture, 1, 10);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.failed_count, 1);
    ck_assert_uint_eq(fixture.driver.waiting, 0);
    fixture_deinit(&fixture);
}

END_TEST

/* A close flushes what waits, and leaves a CLOSE frame and the clean mark. */
START_TEST(wal_close_finishes)
{
    struct wal_format_frame frames[8];
    struct fixture fixture;
    unsigned count;

    fixture_init(&fixture);
    append(&fixture, 1500, 100);
    wal_close(fixture.driver.wal);
    ck_assert_int_eq(wal_driver_append(&fixture.driver, 1), WAL_E_FAILED);
    ck_assert_uint_eq(fixture.driver.closed_count, 0);
    wal_driver_close(&fixture.driver);
    ck_assert_uint_eq(fixture.driver.closed_count, 1);
    ck_assert_uint_eq(fixture.driver.acked, 1500);
    count = read_frames(&fixture, FIRST_NAME, frames, 8);
    ck_assert_uint_eq(count, 4);
    ck_assert_uint_eq(frames[3].flags, WAL_FORMAT_FRAME_CLOSE);
    ck_assert_uint_eq(frames[3].durable_lsn, 1500);
    ck_assert(newest_control(&fixture).is_clean);
    ck_assert_uint_eq(newest_control(&fixture).durable_lsn, 1500);
    reopen(&fixture);
    ck_assert(!newest_control(&fixture).is_clean);
    fixture_deinit(&fixture);
}

END_TEST

/* The time a flush took is counted. */
START_TEST(wal_measures_flushes)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    append(&fixture, 1, 10);
    wal_driver_turn(&fixture.driver);
    fixture.world.now_ns += 700;
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    append(&fixture, 1, 10);
    wal_driver_turn(&fixture.driver);
    fixture.world.now_ns += 300;
    fake_disk_step(fixture.world.disk, 0);
    wal_driver_turn(&fixture.driver);
    ck_assert_uint_eq(stats(&fixture)->sync_ns_total, 1000);
    ck_assert_uint_eq(stats(&fixture)->sync_ns_max, 700);
    fixture_deinit(&fixture);
}

END_TEST

static int remove_file(void *context, const char *name)
{
    struct disk *disk = context;

    return disk->ops->remove(disk, name);
}

/* The same over the real disk and a real ring: group commits, rotation, close, replay. */
START_TEST(wal_works_on_a_real_disk)
{
    char path[] = "/tmp/test-wal-XXXXXX";
    struct fixture fixture;
    struct disk *disk = NULL;

    ck_assert_ptr_nonnull(mkdtemp(path));
    fake_world_init(&fixture.world, 5);
    wal_driver_init(&fixture.driver, &fixture.world);
    ck_assert_int_eq(disk_new(&fixture.world.reactor, path, &disk), 0);
    fixture.driver.disk = disk;
    for (unsigned life = 0; life < 3; life++) {
        reopen(&fixture);
        for (unsigned i = 0; i < 10; i++) {
            append(&fixture, 30, 10 + 1000 * i);
            wal_driver_settle(&fixture.driver);
        }
        wal_driver_close(&fixture.driver);
        ck_assert_uint_eq(fixture.driver.failed_count, 0);
    }
    ck_assert_uint_eq(fixture.driver.acked, 900);
    ck_assert_int_eq(disk->ops->list(disk, remove_file, disk), 0);
    disk->ops->free(disk);
    ck_assert_int_eq(rmdir(path), 0);
    wal_driver_deinit(&fixture.driver);
    fake_world_deinit(&fixture.world);
}

END_TEST

UNIT_MAIN("wal", wal_acknowledged_is_durable, wal_waits_for_the_disk, wal_commits_in_groups,
          wal_frames_have_limits, wal_done_may_append, wal_refuses_beyond_its_limits,
          wal_refuses_while_the_disk_is_slow, wal_keeps_segments_free, wal_seals_silence,
          wal_writes_the_watermark_once_a_second, wal_goes_on_in_the_next_segment,
          wal_waits_for_the_spare, wal_uses_the_tail_on_a_full_disk, wal_tail_takes_groups,
          wal_close_on_a_full_disk_tells_who_waits, wal_failure_is_final,
          wal_other_failures_are_final_too, wal_close_finishes, wal_measures_flushes,
          wal_works_on_a_real_disk)
