#include "lib/fake_world.h"
#include "lib/snapshot_maker.h"
#include "lib/unit.h"

#include "core/snapshot_verify.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LSN     0x64
#define NAME    "snap-0000000000000064.snap"
#define TURNS   100000
#define PENDING 1000 /* of `result`: it has not ended */

struct fixture {
    struct fake_world world;
    struct snapshot_maker maker;
    struct snapshot_verify verify;
    uint8_t *memory;
    int result;
    char problem[WAL_PROBLEM_SIZE];
};

static void on_ended(struct snapshot_verify *verify, int result)
{
    struct fixture *fixture = CONTAINER_OF(verify, struct fixture, verify);

    ck_assert(!verify->pending);
    ck_assert_int_eq(fixture->result, PENDING);
    fixture->result = result;
}

static void prepare(struct fixture *fixture)
{
    fixture->verify = (struct snapshot_verify){
        .ended = on_ended,
        .disk = fake_disk_disk(fixture->world.disk),
        .reactor = &fixture->world.reactor,
        .memory = fixture->memory,
        .name = NAME,
        .lsn = LSN,
        .store_uuid = fixture->maker.header.store_uuid,
        .problem = fixture->problem,
    };
    fixture->problem[0] = '\0';
    fixture->result = PENDING;
}

/* A file of 50 frames of 10 records. */
static void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){.result = PENDING};
    fake_world_init(&fixture->world, 5);
    fixture->memory = aligned_alloc(DISK_BLOCK_SIZE, SNAPSHOT_VERIFY_MEMORY_SIZE);
    ck_assert_ptr_nonnull(fixture->memory);
    snapshot_maker_begin(&fixture->maker, LSN);
    for (unsigned i = 0; i < 50; i++) {
        snapshot_maker_frame(&fixture->maker, 10, 500 + 100 * i);
    }
    snapshot_maker_end(&fixture->maker);
    fake_disk_put(fixture->world.disk, NAME, fixture->maker.bytes, fixture->maker.size);
    prepare(fixture);
}

static void fixture_deinit(struct fixture *fixture)
{
    free(fixture->memory);
    snapshot_maker_deinit(&fixture->maker);
    fake_world_deinit(&fixture->world);
}

static int run(struct fixture *fixture)
{
    int result = snapshot_verify_start(&fixture->verify);

    if (result != 0) {
        return result;
    }
    ck_assert_int_eq(fixture->result, PENDING);
    for (unsigned turns = 0; fixture->result == PENDING; turns++) {
        fake_world_turn(&fixture->world);
        ck_assert_uint_lt(turns, TURNS);
    }
    return fixture->result;
}

/* A whole file is right, and is read once, in large pieces. */
START_TEST(snapshot_verify_whole)
{
    struct fixture fixture;
    unsigned reads;

    fixture_init(&fixture);
    ck_assert_msg(run(&fixture) == 0, "%s", fixture.problem);
    ck_assert_uint_eq(fixture.verify.check.record_count, 500);
    reads = fake_disk_count(fixture.world.disk, FAKE_DISK_READ);
    ck_assert_uint_le(reads, (unsigned)(fixture.maker.size / SNAPSHOT_VERIFY_READ_SIZE + 1));
    fixture_deinit(&fixture);
}

END_TEST

/* Frames may be as long as the format allows; an empty snapshot is right too. */
START_TEST(snapshot_verify_all_sizes)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (unsigned frames = 0; frames <= 3; frames++) {
        snapshot_maker_deinit(&fixture.maker);
        snapshot_maker_begin(&fixture.maker, LSN);
        for (unsigned i = 0; i < frames; i++) {
            snapshot_maker_frame(&fixture.maker, 512, 2001 + i * 13);
        }
        snapshot_maker_end(&fixture.maker);
        fake_disk_put(fixture.world.disk, NAME, fixture.maker.bytes, fixture.maker.size);
        prepare(&fixture);
        ck_assert_msg(run(&fixture) == 0, "%s", fixture.problem);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Damage anywhere is found, and named. */
START_TEST(snapshot_verify_damage)
{
    static const uint8_t zeros[WAL_FORMAT_BLOCK_SIZE];
    struct fixture fixture;

    fixture_init(&fixture);
    for (size_t at = 0; at < fixture.maker.size; at += WAL_FORMAT_BLOCK_SIZE) {
        prepare(&fixture);
        fake_disk_poke(fixture.world.disk, NAME, at, zeros, sizeof(zeros));
        ck_assert_int_eq(run(&fixture), WAL_E_DAMAGED);
        ck_assert(strstr(fixture.problem, NAME) == fixture.problem);
        ck_assert(strstr(fixture.problem, "offset") != NULL);
        fake_disk_poke(fixture.world.disk, NAME, at, fixture.maker.bytes + at, sizeof(zeros));
    }
    for (size_t size = 0; size < fixture.maker.size; size += 3000) {
        prepare(&fixture);
        fake_disk_put(fixture.world.disk, NAME, fixture.maker.bytes, size);
        ck_assert_int_eq(run(&fixture), WAL_E_DAMAGED);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Whatever operation fails: that is the result, with the file's name. */
START_TEST(snapshot_verify_every_failure)
{
    struct fixture fixture;
    int result = -EIO;

    fixture_init(&fixture);
    for (unsigned nth = 1; result != 0; nth++) {
        prepare(&fixture);
        fake_disk_fail(fixture.world.disk, FAKE_DISK_ANY, nth, -EIO, false);
        result = run(&fixture);
        fake_disk_fail_nothing(fixture.world.disk);
        ck_assert(result == 0 || result == -EIO);
        ck_assert(result == 0 || strstr(fixture.problem, NAME) == fixture.problem);
        ck_assert_uint_lt(nth, 100);
    }
    fake_disk_delete(fixture.world.disk, NAME);
    prepare(&fixture);
    ck_assert_int_eq(run(&fixture), -ENOENT);
    fixture_deinit(&fixture);
}

END_TEST

static uint64_t clock_ticks; /* how often the clock was read */
static struct fake_world *ticking_world;

/* Every look at the clock finds it 10 us later. */
static uint64_t ticking_ns(struct clock_source *source)
{
    (void)source;
    clock_ticks++;
    ticking_world->now_ns += 10 * CLOCK_NS_PER_US;
    return ticking_world->now_ns;
}

/* A slice ends when its time is over: it looks at the clock before each piece, and with 10 us a
 * look there are no more than fit into 150 us (and those of the turn itself). */
START_TEST(snapshot_verify_slices_are_short)
{
    struct fixture fixture;
    unsigned turns = 0;

    fixture_init(&fixture);
    ticking_world = &fixture.world;
    fixture.world.clock.monotonic_ns = ticking_ns;
    ck_assert_int_eq(snapshot_verify_start(&fixture.verify), 0);
    while (fixture.result == PENDING) {
        clock_ticks = 0;
        fake_world_turn(&fixture.world);
        ck_assert_uint_le(clock_ticks, 20);
        turns++;
    }
    ck_assert_int_eq(fixture.result, 0);
    ck_assert_uint_ge(turns, 500 / 20);
    fixture_deinit(&fixture);
}

END_TEST

/* With a rate, reads wait for their time. */
START_TEST(snapshot_verify_keeps_the_rate)
{
    struct fixture fixture;
    uint64_t seconds = 0;

    fixture_init(&fixture);
    fixture.verify.pace.rate = 100 * 1024;
    ck_assert_int_eq(snapshot_verify_start(&fixture.verify), 0);
    while (fixture.result == PENDING) {
        for (unsigned i = 0; i < 100 && fixture.result == PENDING; i++) {
            fake_world_turn(&fixture.world);
        }
        ck_assert_uint_le(fixture.verify.offset + fixture.verify.filled,
                          seconds * fixture.verify.pace.rate + SNAPSHOT_VERIFY_READ_SIZE);
        if (fixture.result == PENDING) {
            fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
            seconds++;
        }
    }
    ck_assert_int_eq(fixture.result, 0);
    ck_assert_uint_ge(seconds, (fixture.maker.size - SNAPSHOT_VERIFY_READ_SIZE) / (100 * 1024));
    fixture_deinit(&fixture);
}

END_TEST

/* It can be stopped at any moment: what is in flight is told once, else nothing is. */
START_TEST(snapshot_verify_stops_anywhere)
{
    bool ended = false;

    for (unsigned steps = 0; !ended; steps++) {
        struct fixture fixture;
        bool pending;

        fixture_init(&fixture);
        fixture.verify.pace.rate = (uint64_t)4 * 1024 * 1024;
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(snapshot_verify_start(&fixture.verify), 0);
        for (unsigned i = 0; i < steps; i++) {
            if (i % 2 == 1 && fake_disk_pending(fixture.world.disk) > 0) {
                fake_disk_step(fixture.world.disk, 0);
            }
            fake_world_advance(&fixture.world, 20 * CLOCK_NS_PER_MS);
        }
        ended = fixture.result != PENDING;
        pending = fixture.verify.pending;
        snapshot_verify_stop(&fixture.verify);
        snapshot_verify_stop(&fixture.verify);
        fake_disk_hold(fixture.world.disk, false);
        fake_world_turn(&fixture.world);
        fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
        ck_assert_int_eq(fixture.result, ended ? 0 : pending ? -ECANCELED : PENDING);
        ck_assert_uint_lt(steps, 1000);
        fixture_deinit(&fixture);
    }
}

END_TEST

UNIT_MAIN("snapshot_verify", snapshot_verify_whole, snapshot_verify_all_sizes,
          snapshot_verify_damage, snapshot_verify_every_failure, snapshot_verify_slices_are_short,
          snapshot_verify_keeps_the_rate, snapshot_verify_stops_anywhere)
