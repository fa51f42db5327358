/*
 * A log lives many short lives on a lying disk: random appends, snapshots, random delays and orders
 * of completion, random failures, a full disk now and then; each life ends with a clean close, a
 * failed disk, a kill, or the power cut at any point, the start included. After each one the log
 * must open again, and hold everything acknowledged, nothing never sent, in order, with the right
 * bytes.
 *
 * Half of the lives have a sync interval. What these acknowledged but did not call durable may be
 * gone after a power cut or a failed disk: a tail of it, and the log says that it may be.
 *
 *     sim_wal [SEED [RUNS]]      runs the seeds SEED, SEED + 1, ... (1; 500, or 100 where the
 *                                environment says with USERD_SLOW that programs run slowly)
 *
 * A failure prints its seed; `sim_wal SEED 1` replays it exactly.
 */
#include "lib/fake_world.h"
#include "lib/wal_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LIVES_MAX   6
#define ACTIONS_MAX 80

struct sim {
    struct fake_world world;
    struct wal_driver driver;
    uint64_t crashes;
    uint64_t kills;
    uint64_t failures;
    uint64_t records;
    uint64_t torn;
    uint64_t segments;
    uint64_t snapshots;
    uint64_t loaded; /* starts from one */
    uint64_t lost;   /* records, with a sync interval */
};

static uint64_t pick(struct sim *sim, uint64_t limit)
{
    return fake_world_random(&sim->world, limit);
}

static uint32_t pick_size(struct sim *sim)
{
    switch (pick(sim, 10)) {
    case 0:
        return 0;
    case 1:
        return (uint32_t)pick(sim, WAL_RECORD_SIZE_MAX + 1);
    case 2:
    case 3:
        return (uint32_t)pick(sim, 20000);
    default:
        return (uint32_t)pick(sim, 400);
    }
}

static void append_some(struct sim *sim)
{
    uint64_t count = pick(sim, 20) == 0 ? 600 : 1 + pick(sim, 5);
    uint32_t size = pick_size(sim);

    for (uint64_t i = 0; i < count; i++) {
        if (count > 5) {
            size = (uint32_t)pick(sim, 50);
        }
        if (wal_driver_append(&sim->driver, size) != 0) {
            break; /* a limit, a full disk, or a failed one: all allowed */
        }
    }
}

static void step_some(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;

    for (uint64_t i = pick(sim, 4); i > 0 && fake_disk_pending(disk) > 0; i--) {
        fake_disk_step(disk, (unsigned)pick(sim, fake_disk_pending(disk)));
        wal_driver_turn(&sim->driver);
    }
}

static void inject(struct sim *sim)
{
    static const int errors[] = {-EIO, -EIO, -ENOSPC, -ENOMEM};

    fake_disk_fail(sim->world.disk, (enum fake_disk_kind)pick(sim, FAKE_DISK_ANY + 1),
                   (unsigned)(1 + pick(sim, 20)), errors[pick(sim, 4)], false);
}

static void act(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;

    switch (pick(sim, 17)) {
    case 0:
        fake_disk_hold(disk, pick(sim, 2) == 0);
        break;
    case 1:
        fake_world_advance(&sim->world, pick(sim, 30) * CLOCK_NS_PER_MS);
        break;
    case 2:
        fake_world_advance(&sim->world, pick(sim, 3000) * CLOCK_NS_PER_MS);
        break;
    case 3:
        if (pick(sim, 6) == 0) {
            fake_disk_set_room(disk, fake_disk_used(disk) + pick(sim, 3000000));
        } else {
            fake_disk_set_room(disk, UINT64_MAX);
        }
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        step_some(sim);
        break;
    case 8:
        (void)wal_snapshot(sim->driver.wal); /* one may be under way, or the disk have failed */
        break;
    default:
        append_some(sim);
        if (pick(sim, 3) != 0) {
            wal_driver_turn(&sim->driver);
        }
        break;
    }
}

/* Opens the log, sometimes with the power cut on the way. Returns whether all is well. */
static bool open_log(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;
    int result;

    fake_disk_hold(disk, false);
    fake_disk_set_room(disk, UINT64_MAX);
    while (pick(sim, 4) == 0) {
        fake_disk_fail(disk, FAKE_DISK_ANY, (unsigned)(1 + pick(sim, 40)), -EIO, true);
        if (wal_driver_open(&sim->driver) == 0) {
            if (!wal_driver_is_faithful(&sim->driver)) {
                (void)printf("at start: %u records are wrong\n", sim->driver.wrong);
                return false;
            }
            wal_driver_crash(&sim->driver);
        } else {
            sim->driver.may_lose = true;
            fake_disk_crash(disk);
            fake_disk_restart(disk);
        }
        sim->crashes++;
    }
    sim->driver.options.segment_size = WAL_SEGMENT_SIZE_MIN + pick(sim, 32) * DISK_BLOCK_SIZE;
    sim->driver.options.max_pending = pick(sim, 4) == 0 ? 20 : 2000;
    sim->driver.options.sync_interval_ns =
        pick(sim, 2) == 0 ? 0 : (1 + pick(sim, 300)) * CLOCK_NS_PER_MS;
    sim->driver.options.snapshot_every = pick(sim, 3) == 0 ? 0 : 1 + pick(sim, 2000000);
    result = wal_driver_open(&sim->driver);
    if (result != 0) {
        (void)printf("open: %d: %s\n", result, sim->driver.problem);
        return false;
    }
    if (!wal_driver_is_faithful(&sim->driver)) {
        (void)printf("%u records are wrong; %" PRIu64 " replayed, %" PRIu64
                     " acknowledged, %" PRIu64 " sent\n",
                     sim->driver.wrong, sim->driver.replayed, sim->driver.acked, sim->driver.sent);
        return false;
    }
    sim->torn += wal_stats(sim->driver.wal)->torn_bytes > 0;
    sim->loaded += sim->driver.loaded > 0;
    sim->lost += sim->driver.lost;
    return true;
}

static void end_life(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;
    bool crash = pick(sim, 3) != 0;
    bool kill = crash && pick(sim, 4) == 0;

    sim->failures += sim->driver.failed_count;
    if (crash) {
        if (pick(sim, 8) == 0) { /* in the middle of a close */
            wal_close(sim->driver.wal);
            fake_world_turn(&sim->world);
        }
        if (kill) {
            sim->kills++;
            fake_disk_kill(disk);
        } else {
            sim->crashes++;
            sim->driver.may_lose = true;
            fake_disk_crash(disk);
        }
    } else {
        fake_disk_hold(disk, false);
    }
    if (sim->driver.wal != NULL) {
        wal_driver_close(&sim->driver);
    }
    if (!crash && sim->driver.failed_count > 0) {
        fake_disk_crash(disk); /* a process that exits after a failure; the cache is gone with it */
        crash = true;
    }
    if (crash) {
        fake_disk_restart(disk);
    }
    fake_disk_fail_nothing(disk);
}

static bool run_seed(struct sim *sim, uint64_t seed)
{
    bool is_well = true;

    fake_world_renew(&sim->world, seed);
    wal_driver_forget(&sim->driver);
    sim->driver.snapshots = true;
    for (uint64_t life = 1 + pick(sim, LIVES_MAX); is_well && life > 0; life--) {
        is_well = open_log(sim);
        if (is_well) {
            if (pick(sim, 5) == 0) {
                inject(sim);
            }
            for (uint64_t i = pick(sim, ACTIONS_MAX); i > 0; i--) {
                act(sim);
            }
            end_life(sim);
        }
    }
    is_well = is_well && open_log(sim);
    if (sim->driver.wal != NULL) {
        wal_driver_close(&sim->driver);
    }
    sim->records += sim->driver.acked;
    sim->snapshots += sim->driver.snapshot_counts[WAL_SNAPSHOT_DONE];
    sim->driver.snapshot_counts[WAL_SNAPSHOT_DONE] = 0;
    sim->segments += fake_disk_count(sim->world.disk, FAKE_DISK_RENAME);
    return is_well;
}

static uint64_t default_runs(void)
{
    const char *slow = getenv("USERD_SLOW");

    return slow != NULL && strtoull(slow, NULL, 10) > 1 ? 100 : 500;
}

int main(int argc, char **argv)
{
    static struct sim sim;
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 10) : default_runs();
    uint64_t failed = 0;

    fake_world_init(&sim.world, seed);
    wal_driver_init(&sim.driver, &sim.world);
    for (uint64_t i = 0; i < runs; i++) {
        if (!run_seed(&sim, seed + i)) {
            (void)printf("FAILED: seed %" PRIu64 "\n", seed + i);
            failed++;
        }
    }
    (void)printf("%" PRIu64 " seeds: %" PRIu64 " records acknowledged, %" PRIu64
                 " power cuts, %" PRIu64 " kills, %" PRIu64 " failed disks, %" PRIu64
                 " torn tails, %" PRIu64 " segments\n",
                 runs, sim.records, sim.crashes, sim.kills, sim.failures, sim.torn, sim.segments);
    (void)printf("%" PRIu64 " snapshots, %" PRIu64 " starts from one, %" PRIu64
                 " records lost as announced\n",
                 sim.snapshots, sim.loaded, sim.lost);
    wal_driver_deinit(&sim.driver);
    fake_world_deinit(&sim.world);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", runs - failed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
