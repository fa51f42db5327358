#include "lib/fake_world.h"
#include "lib/snapshot_maker.h"
#include "lib/unit.h"

#include "core/snapshot_read.h"
#include "core/snapshot_write.h"
#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LSN     0x64
#define NAME    "snap-0000000000000064.snap"
#define TURNS   100000
#define PENDING 1 /* of `result`: it has not ended */

struct fixture {
    struct fake_world world;
    struct snapshot_write write;
    struct snapshot_maker_source source;
    uint8_t *memory;
    int result;
    uint64_t records_read;
};

static void on_ended(struct snapshot_write *write, int result)
{
    struct fixture *fixture = CONTAINER_OF(write, struct fixture, write);

    ck_assert(!write->pending);
    ck_assert_int_eq(fixture->result, PENDING);
    ck_assert_uint_eq(fixture->source.ends, fixture->source.begins);
    fixture->result = result;
}

static void fixture_init(struct fixture *fixture, uint64_t count, size_t body_size)
{
    *fixture = (struct fixture){.source = {.count = count, .body_size = body_size}};
    fake_world_init(&fixture->world, 5);
    fixture->memory = aligned_alloc(DISK_BLOCK_SIZE, SNAPSHOT_WRITE_MEMORY_SIZE);
    ck_assert_ptr_nonnull(fixture->memory);
    fixture->write = (struct snapshot_write){
        .ended = on_ended,
        .disk = fake_disk_disk(fixture->world.disk),
        .reactor = &fixture->world.reactor,
        .memory = fixture->memory,
        .source = snapshot_maker_source(),
        .source_context = &fixture->source,
        .header = {.store_uuid = {7}, .epoch = 77, .lsn = LSN, .realtime_ns = 3},
    };
    fixture->result = PENDING;
}

static void fixture_deinit(struct fixture *fixture)
{
    free(fixture->memory);
    fake_world_deinit(&fixture->world);
}

static int start(struct fixture *fixture)
{
    uint64_t count = 0;

    ck_assert_int_eq(
        fixture->write.source->begin(&fixture->source, fixture->write.header.lsn, &count), 0);
    fixture->write.header.record_count = count;
    return snapshot_write_start(&fixture->write);
}

/* Turns until it has ended. Returns how often. */
static unsigned run(struct fixture *fixture)
{
    unsigned turns = 0;

    while (fixture->result == PENDING) {
        fake_world_turn(&fixture->world);
        ck_assert_uint_lt(++turns, TURNS);
    }
    return turns;
}

static int read_record(void *context, const struct wal_record *record)
{
    struct fixture *fixture = context;

    ck_assert(snapshot_maker_is_record(record, fixture->records_read, fixture->source.body_size));
    fixture->records_read++;
    return 0;
}

/* What was written is a whole snapshot of just the source's records. */
static void check_file(struct fixture *fixture)
{
    struct disk *disk = fake_disk_disk(fixture->world.disk);
    struct wal_window window;
    char problem[WAL_PROBLEM_SIZE];
    const struct snapshot_read read = {
        .disk = disk,
        .window = &window,
        .lsn = LSN,
        .store_uuid = fixture->write.header.store_uuid,
        .record = read_record,
        .context = fixture,
        .problem = problem,
    };

    ck_assert_int_eq(fixture->result, 0);
    ck_assert_int_eq(disk->ops->rename(disk, SNAPSHOT_FORMAT_TEMPORARY, NAME), 0);
    ck_assert_int_eq(wal_window_init(&window), 0);
    fixture->records_read = 0;
    ck_assert_msg(snapshot_read(&read) == 0, "%s", problem);
    ck_assert_uint_eq(fixture->records_read, fixture->source.count);
    ck_assert_uint_eq(fixture->write.record_count, fixture->source.count);
    wal_window_deinit(&window);
}

/* Any number of records, of any size, becomes a whole file; what an earlier run left is replaced.
 */
START_TEST(snapshot_write_whole_files)
{
    static const struct {
        uint64_t count;
        size_t body_size;
    } shapes[] = {{0, 0},      {1, 0},      {1, WAL_RECORD_SIZE_MAX},  {512, 1},
                  {513, 1},    {5000, 100}, {20, WAL_RECORD_SIZE_MAX}, {300, 5000},
                  {40, 65450}, {40, 70000}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct fixture fixture;
        uint64_t size = 0;

        fixture_init(&fixture, shapes[i].count, shapes[i].body_size);
        fake_disk_put(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY, "left over", 9);
        ck_assert_int_eq(start(&fixture), 0);
        (void)run(&fixture);
        check_file(&fixture);
        (void)fake_disk_peek(fixture.world.disk, NAME, &size);
        ck_assert_uint_eq(size, fixture.write.size);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* Writes are large, one after the other, and the file is synced once, at the end. */
START_TEST(snapshot_write_large_writes)
{
    struct fixture fixture;
    unsigned writes;

    fixture_init(&fixture, 20000, 100);
    ck_assert_int_eq(start(&fixture), 0);
    (void)run(&fixture);
    writes = fake_disk_count(fixture.world.disk, FAKE_DISK_WRITE);
    ck_assert_uint_ge(writes, 2);
    ck_assert_uint_le(writes, (unsigned)(fixture.write.size / SNAPSHOT_WRITE_SIZE + 1));
    ck_assert_uint_eq(fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC), 1);
    fixture_deinit(&fixture);
}

END_TEST

/* While one write is in flight the second buffer fills, and no more; nothing else is submitted. */
START_TEST(snapshot_write_fills_ahead)
{
    struct fixture fixture;
    uint64_t taken;

    fixture_init(&fixture, 20000, 100);
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(start(&fixture), 0);
    fake_disk_step(fixture.world.disk, 0); /* the left-over file */
    do {
        fake_world_turn(&fixture.world);
    } while (fake_disk_pending(fixture.world.disk) == 0);
    taken = fixture.source.next;
    for (unsigned i = 0; i < 100; i++) {
        fake_world_turn(&fixture.world);
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        ck_assert(fake_disk_pending_is(fixture.world.disk, 0, FAKE_DISK_WRITE));
    }
    ck_assert_uint_gt(fixture.source.next, taken * 3 / 2);
    ck_assert_uint_lt(fixture.source.next, taken * 3);
    fake_disk_hold(fixture.world.disk, false);
    (void)run(&fixture);
    check_file(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* A slice ends when its time is over, wherever it is: with 10 us for a record, after 15 of them. */
START_TEST(snapshot_write_slices_are_short)
{
    struct fixture fixture;
    uint64_t before = 0;

    fixture_init(&fixture, 2000, 100);
    fixture.source.now_ns = &fixture.world.now_ns;
    fixture.source.step_ns = 10 * CLOCK_NS_PER_US;
    ck_assert_int_eq(start(&fixture), 0);
    while (fixture.result == PENDING) {
        fake_world_turn(&fixture.world);
        ck_assert_uint_le(fixture.source.next - before, 15);
        before = fixture.source.next;
    }
    check_file(&fixture);
    fixture_deinit(&fixture);
}

END_TEST

/* With a rate, no write begins before the time that those before it may take. */
START_TEST(snapshot_write_keeps_the_rate)
{
    struct fixture fixture;
    uint64_t start_ns;
    uint64_t seconds = 0;

    fixture_init(&fixture, 20000, 100);
    fixture.write.pace.rate = 100 * 1024;
    start_ns = fixture.world.now_ns;
    ck_assert_int_eq(start(&fixture), 0);
    while (fixture.result == PENDING) {
        const uint64_t most = SNAPSHOT_WRITE_BUFFER_SIZE + seconds * fixture.write.pace.rate;

        for (unsigned i = 0; i < 100 && fixture.result == PENDING; i++) {
            fake_world_turn(&fixture.world);
        }
        ck_assert_uint_le(fixture.write.size, most);
        if (fixture.result == PENDING) {
            fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
            seconds++;
        }
    }
    check_file(&fixture);
    /* And not much later either: the last write has nobody to wait for it. */
    ck_assert_uint_le((fixture.world.now_ns - start_ns) / CLOCK_NS_PER_S,
                      fixture.write.size / fixture.write.pace.rate + 10);
    ck_assert_uint_ge((fixture.world.now_ns - start_ns) / CLOCK_NS_PER_S,
                      (fixture.write.size - SNAPSHOT_WRITE_BUFFER_SIZE) / fixture.write.pace.rate);
    fixture_deinit(&fixture);
}

END_TEST

/* The room that has to stay free is left alone: it ends with -ENOSPC before a write would take it.
 */
START_TEST(snapshot_write_leaves_room)
{
    struct fixture fixture;

    fixture_init(&fixture, 20000, 100);
    fixture.write.keep_free = (uint64_t)1024 * 1024;
    fake_disk_set_room(fixture.world.disk, (uint64_t)2 * 1024 * 1024);
    ck_assert_int_eq(start(&fixture), 0);
    (void)run(&fixture);
    ck_assert_int_eq(fixture.result, -ENOSPC);
    ck_assert_uint_le(fake_disk_used(fixture.world.disk), (uint64_t)1024 * 1024);
    ck_assert_uint_ge(fake_disk_used(fixture.world.disk), (uint64_t)256 * 1024);
    fixture_deinit(&fixture);
}

END_TEST

/* A source that gives up ends it with its error, even while a write is in flight. */
START_TEST(snapshot_write_source_gives_up)
{
    for (uint64_t at = 0; at < 6000; at += 500) {
        struct fixture fixture;

        fixture_init(&fixture, 20000, 100);
        fixture.source.error = -ENOBUFS;
        fixture.source.error_at = at;
        ck_assert_int_eq(start(&fixture), 0);
        fake_world_turn(&fixture.world);
        fake_disk_hold(fixture.world.disk, true);
        for (unsigned i = 0; i < 20; i++) {
            fake_world_turn(&fixture.world);
        }
        ck_assert(fake_disk_pending(fixture.world.disk) == 0 || fixture.result == PENDING);
        fake_disk_hold(fixture.world.disk, false);
        (void)run(&fixture);
        ck_assert_int_eq(fixture.result, -ENOBUFS);
        ck_assert(fixture.write.source_gave_up);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* A record longer than any that the log takes is refused. */
START_TEST(snapshot_write_refuses_the_longest)
{
    struct fixture fixture;

    fixture_init(&fixture, 1, WAL_RECORD_SIZE_MAX + 1);
    ck_assert_int_eq(start(&fixture), 0);
    (void)run(&fixture);
    ck_assert_int_eq(fixture.result, -EMSGSIZE);
    fixture_deinit(&fixture);
}

END_TEST

/* Whatever operation fails, once: that is the result, and nothing stays open. */
START_TEST(snapshot_write_every_failure)
{
    struct fixture fixture;
    int result = -EIO;

    for (unsigned nth = 1; result != 0; nth++) {
        fixture_init(&fixture, 8000, 100);
        fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, false);
        result = start(&fixture);
        if (result == 0) {
            (void)run(&fixture);
            result = fixture.result;
        }
        ck_assert(result == 0 || result == -EIO);
        ck_assert_uint_eq(fixture.source.ends, 1);
        ck_assert_uint_lt(nth, 100);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* When the directory is gone, the result is an errno that has a name. */
START_TEST(snapshot_write_without_a_directory)
{
    struct fixture fixture;

    fixture_init(&fixture, 10, 100);
    fake_disk_fail(fixture.world.disk, FAKE_DISK_OPEN, 1, DISK_E_NOT_FOUND, false);
    ck_assert_int_eq(start(&fixture), 0);
    (void)run(&fixture);
    ck_assert_int_eq(fixture.result, -ENOENT);
    fixture_deinit(&fixture);
}

END_TEST

/* It can be stopped at any moment: what is in flight is told once, else nothing is. */
START_TEST(snapshot_write_stops_anywhere)
{
    bool ended = false;

    for (unsigned steps = 0; !ended; steps++) {
        struct fixture fixture;
        bool pending;

        fixture_init(&fixture, 8000, 100);
        fixture.write.pace.rate = (uint64_t)4 * 1024 * 1024;
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(start(&fixture), 0);
        for (unsigned i = 0; i < steps; i++) {
            if (i % 2 == 1 && fake_disk_pending(fixture.world.disk) > 0) {
                fake_disk_step(fixture.world.disk, 0);
            }
            fake_world_advance(&fixture.world, 20 * CLOCK_NS_PER_MS);
        }
        ended = fixture.result != PENDING;
        pending = fixture.write.pending;
        ck_assert(!pending || !ended);
        snapshot_write_stop(&fixture.write);
        snapshot_write_stop(&fixture.write);
        ck_assert_uint_eq(fixture.source.ends, 1);
        fake_disk_hold(fixture.world.disk, false);
        fake_world_turn(&fixture.world);
        fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
        ck_assert_int_eq(fixture.result, ended ? 0 : pending ? -ECANCELED : PENDING);
        ck_assert_uint_lt(steps, 1000);
        fixture_deinit(&fixture);
    }
}

END_TEST

UNIT_MAIN("snapshot_write", snapshot_write_whole_files, snapshot_write_large_writes,
          snapshot_write_fills_ahead, snapshot_write_slices_are_short,
          snapshot_write_keeps_the_rate, snapshot_write_leaves_room, snapshot_write_source_gives_up,
          snapshot_write_refuses_the_longest, snapshot_write_every_failure,
          snapshot_write_without_a_directory, snapshot_write_stops_anywhere)
