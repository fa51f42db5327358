/*
 * Store, log and snapshots as one live many short lives on a lying disk: random changes, many on
 * their way, random delays and orders of completion, clocks that jump, failures of any operation, a
 * full disk, snapshots at any time; each life ends with a clean close, a failed disk, a kill, or
 * the power cut at any operation, the start included. After each one the start must bring exactly
 * the users that a model says: all that was told, in interval mode all that was durable, nothing
 * that was never sent, in every field. It must not refuse.
 *
 * Then what lies on the disk is damaged, or the disk lies in the middle of a life. Now a start may
 * refuse, or bring all there was; but never less without a word, save what no witness on the disk
 * speaks for (the end of the documented window).
 *
 *     sim_durability [SEED [RUNS]]  runs the seeds SEED, SEED + 1, ... (1; 2000, or 200 where the
 *                                   environment says with USERD_SLOW that programs run slowly)
 *
 * A failure prints its seed; `sim_durability SEED 1` replays it exactly.
 */
#include "lib/disk_damage.h"
#include "lib/disk_image.h"
#include "lib/disk_witness.h"
#include "lib/fake_world.h"
#include "lib/store_chaos.h"
#include "lib/store_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define LIVES_MAX   5
#define ACTIONS_MAX 60
#define TRIALS      4

/* The damages at rest, and behind them the lies. */
#define CLASS_LIES  DISK_DAMAGE_COUNT
#define CLASS_COUNT (DISK_DAMAGE_COUNT + FAKE_DISK_READ_STALE + 1)

/* What became of a start on a damaged disk. */
struct verdicts {
    uint64_t exact;
    uint64_t refused;
    uint64_t window; /* something is missing that nothing on the disk spoke for */
};

struct sim {
    struct fake_world world;
    struct store_driver driver;
    bool may_lie; /* in this seed the disk does */
    enum fake_disk_lie lie;
    bool is_kill; /* what is planned to end the process leaves the power on */
    bool is_over; /* a start has refused, as it may after a lie */
    bool is_well; /* so far, with this seed */
    uint64_t cuts;
    uint64_t kills;
    uint64_t failures;
    uint64_t starts;
    uint64_t audited;
    struct verdicts verdicts[CLASS_COUNT];
    uint64_t lost;
    uint64_t ghosts;
    uint64_t silent;
    uint64_t needless;
};

static uint64_t pick(struct sim *sim, uint64_t limit)
{
    return fake_world_random(&sim->world, limit);
}

static void fail(struct sim *sim, const char *what)
{
    (void)printf("%s: %s\n", what,
                 sim->driver.wrong != NULL ? sim->driver.wrong : sim->driver.problem);
    sim->is_well = false;
}

static bool is_refusal(int result)
{
    return result == WAL_E_DAMAGED || result == WAL_E_FOREIGN || result == -EBADMSG;
}

/* A start has succeeded: what did it bring? `witness` is what the disk spoke for before it. */
static void judge(struct sim *sim, struct verdicts *damaged, uint64_t witness)
{
    const enum store_driver_verdict verdict = store_driver_judge(&sim->driver);

    sim->starts++;
    if (verdict == STORE_DRIVER_EXACT) {
        if (damaged != NULL) {
            damaged->exact++;
        }
    } else if (verdict == STORE_DRIVER_LOST && damaged != NULL) {
        if (sim->driver.recovered < witness) {
            sim->silent++;
            fail(sim, "silent loss");
        }
        damaged->window++;
        sim->driver.change_told = 0; /* numbers of what is gone may come again */
        sim->driver.wrong = NULL;
    } else if (verdict == STORE_DRIVER_LOST) {
        sim->lost++;
        fail(sim, "lost");
    } else {
        sim->ghosts++;
        fail(sim, "ghosts");
    }
}

/* A start has not succeeded, although no operation of the disk failed; or has refused. */
static void judge_refusal(struct sim *sim, struct verdicts *damaged, int result)
{
    if (damaged == NULL || !is_refusal(result)) {
        sim->needless++;
        (void)printf("%d: ", result);
        fail(sim, "needless refusal");
        return;
    }
    if (result != -EBADMSG && sim->driver.problem[0] == '\0') {
        fail(sim, "a refusal says nothing");
    }
    damaged->refused++;
    sim->is_over = true;
}

static struct verdicts *lie_verdicts(struct sim *sim)
{
    return fake_disk_lies_told(sim->world.disk) == 0
               ? NULL
               : &sim->verdicts[CLASS_LIES + (unsigned)sim->lie];
}

/* The process is gone; the power perhaps too. */
static void end_process(struct sim *sim, bool power)
{
    struct fake_disk *disk = sim->world.disk;

    if (!fake_disk_is_dead(disk)) {
        if (power) {
            fake_disk_crash(disk);
        } else {
            fake_disk_kill(disk);
        }
    }
    if (sim->driver.store != NULL) {
        store_driver_close(&sim->driver);
    }
    store_driver_note_end(&sim->driver, power);
    fake_disk_restart(disk);
    sim->failures += sim->driver.has_failed;
    sim->cuts += power;
    sim->kills += !power;
}

/* At an operation from now the power goes, or the process alone. */
static void plan_end(struct sim *sim, uint64_t operations)
{
    const unsigned nth = (unsigned)(1 + pick(sim, operations));
    const bool after = pick(sim, 2) == 0;

    sim->is_kill = pick(sim, 3) == 0;
    if (sim->is_kill) {
        fake_disk_kill_at(sim->world.disk, nth, after);
    } else {
        fake_disk_cut(sim->world.disk, nth, after);
    }
}

/* A start in which the power is cut, or an operation fails. */
static void open_in_trouble(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;
    struct verdicts *damaged = lie_verdicts(sim);
    const uint64_t witness = disk_witness_lsn(disk);
    int result;

    if (pick(sim, 3) == 0) {
        static const int errors[] = {-EIO, -ENOSPC, -EMFILE, -EDQUOT};

        fake_disk_fail(disk, (enum fake_disk_kind)pick(sim, FAKE_DISK_ANY + 1),
                       (unsigned)(1 + pick(sim, 20)), errors[pick(sim, 4)], pick(sim, 2) == 0);
        sim->driver.is_risky = true; /* it may be a sync that fails */
    } else {
        plan_end(sim, 80);
    }
    result = store_driver_open(&sim->driver);
    if (result == 0) {
        judge(sim, damaged, witness);
        store_driver_accept(&sim->driver);
        if (pick(sim, 2) == 0) {
            store_driver_turn(&sim->driver, pick(sim, 100) * CLOCK_NS_PER_MS);
        }
    } else if (is_refusal(result)) {
        judge_refusal(sim, damaged, result);
    }
    end_process(sim, fake_disk_is_dead(disk) ? !sim->is_kill : pick(sim, 3) != 0);
}

/* Opens everything; what comes before it may fail. */
static void begin_life(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;
    uint64_t witness;
    int result;

    fake_disk_hold(disk, false);
    fake_disk_set_room(disk, UINT64_MAX);
    store_chaos_options(&sim->driver);
    while (pick(sim, 4) == 0 && sim->is_well && !sim->is_over) {
        open_in_trouble(sim);
    }
    if (!sim->is_well || sim->is_over) {
        return;
    }
    witness = disk_witness_lsn(disk);
    result = store_driver_open(&sim->driver);
    if (result != 0) {
        judge_refusal(sim, lie_verdicts(sim), result);
        return;
    }
    judge(sim, lie_verdicts(sim), witness);
    store_driver_accept(&sim->driver);
}

static void plan_trouble(struct sim *sim)
{
    static const int errors[] = {-EIO, -EIO, -ENOSPC, -ENOMEM, -EDQUOT, -EMFILE};
    struct fake_disk *disk = sim->world.disk;

    if (pick(sim, 4) == 0) {
        fake_disk_fail(disk, (enum fake_disk_kind)pick(sim, FAKE_DISK_ANY + 1),
                       (unsigned)(1 + pick(sim, 60)), errors[pick(sim, 6)], pick(sim, 3) == 0);
    }
    if (sim->may_lie && fake_disk_lies_told(disk) == 0) {
        fake_disk_lie(disk, sim->lie, (unsigned)(1 + pick(sim, 90)));
    }
    if (pick(sim, 2) == 0) {
        plan_end(sim, 200);
    }
}

static void end_life(struct sim *sim)
{
    struct fake_disk *disk = sim->world.disk;

    if (!fake_disk_is_dead(disk) && pick(sim, 3) == 0) {
        fake_disk_hold(disk, false);
        fake_disk_set_room(disk, UINT64_MAX);
        if (pick(sim, 2) == 0) {
            store_driver_settle(&sim->driver);
        }
        store_driver_close(&sim->driver);
        if (!fake_disk_is_dead(disk) && !sim->driver.has_failed) {
            store_driver_note_end(&sim->driver, false);
            fake_disk_restart(disk);
            return;
        }
    }
    end_process(sim, fake_disk_is_dead(disk) ? !sim->is_kill : pick(sim, 3) != 0);
}

static void live(struct sim *sim)
{
    begin_life(sim);
    if (sim->driver.store == NULL) {
        return;
    }
    plan_trouble(sim);
    for (uint64_t i = pick(sim, ACTIONS_MAX); i > 0; i--) {
        store_chaos_act(&sim->driver);
    }
    end_life(sim);
    if (sim->driver.wrong != NULL && sim->is_well) {
        fail(sim, "in the middle");
    }
}

/* One start on a disk that was damaged at rest, or reads something old. */
static void try_damage(struct sim *sim, const struct disk_image *image)
{
    struct fake_disk *disk = sim->world.disk;
    const unsigned class = (unsigned)pick(sim, DISK_DAMAGE_COUNT + 1);
    struct disk_damage damage = {.is_harmless = false};
    struct verdicts *verdicts = &sim->verdicts[class];
    static struct disk_image damaged;
    uint64_t witness;
    int result;

    if (class == DISK_DAMAGE_COUNT) {
        fake_disk_lie(disk, FAKE_DISK_READ_STALE, (unsigned)(1 + pick(sim, 20)));
        verdicts = &sim->verdicts[CLASS_LIES + FAKE_DISK_READ_STALE];
    } else if (!disk_damage_do(&sim->world, (enum disk_damage_class) class, &damage)) {
        return;
    }
    witness = disk_witness_lsn(disk);
    disk_image_take(&damaged, disk);
    result = store_driver_open(&sim->driver);
    if (result == 0) {
        judge(sim, verdicts, witness);
        store_driver_close(&sim->driver);
    } else {
        if (!disk_image_is_there(&damaged, disk)) {
            fail(sim, "a start that refuses changes something");
        }
        judge_refusal(sim, damage.is_harmless ? NULL : verdicts, result);
        if (sim->is_well && !damage.is_harmless) {
            sim->is_over = false;
        }
    }
    if (!sim->is_well) {
        (void)printf("    after: %s of %s %s at %" PRIu64 ", %" PRIu64 " of %" PRIu64
                     " came back, the disk spoke for %" PRIu64 "\n",
                     class == DISK_DAMAGE_COUNT ? "stale read"
                                                : disk_damage_class_name(damage.class),
                     damage.name, damage.other_name, damage.offset, sim->driver.recovered,
                     sim->driver.least, witness);
    }
    disk_image_deinit(&damaged);
    fake_disk_restart(disk);
    disk_image_put_back(image, disk);
}

/* What the last life left must start; and then with all kinds of damage. */
static void end_seed(struct sim *sim)
{
    static struct disk_image image;
    struct fake_disk *disk = sim->world.disk;
    uint64_t witness;
    int result;

    fake_disk_hold(disk, false);
    fake_disk_set_room(disk, UINT64_MAX);
    fake_disk_restart(disk);
    store_chaos_options(&sim->driver);
    disk_image_take(&image, disk);
    witness = disk_witness_lsn(disk);
    result = store_driver_open(&sim->driver);
    if (result == 0) {
        judge(sim, lie_verdicts(sim), witness);
        store_driver_close(&sim->driver);
    } else {
        judge_refusal(sim, lie_verdicts(sim), result);
    }
    /* Whatever went wrong when a snapshot was written, one that is there is whole. */
    if (sim->is_well && result == 0 && !sim->driver.may_lose_snapshots) {
        sim->audited += store_driver_audit(&sim->driver);
    }
    if (sim->is_well && !sim->may_lie) {
        /* What that start brought, another one from the same disk must bring too. */
        sim->driver.least = sim->driver.recovered;
        disk_image_put_back(&image, disk);
        for (unsigned i = 0; i < TRIALS && sim->is_well; i++) {
            try_damage(sim, &image);
        }
    }
    if (sim->driver.wrong != NULL && sim->is_well) {
        fail(sim, "at the end");
    }
    disk_image_deinit(&image);
}

static bool run_seed(struct sim *sim, uint64_t seed)
{
    fake_world_renew(&sim->world, seed);
    store_driver_forget(&sim->driver);
    sim->is_well = true;
    sim->is_over = false;
    sim->may_lie = pick(sim, 5) == 0;
    sim->lie = (enum fake_disk_lie)pick(sim, FAKE_DISK_READ_STALE + 1);
    sim->driver.may_lose_snapshots = sim->may_lie && sim->lie == FAKE_DISK_WRITE_MISDIRECTED;
    for (uint64_t life = 1 + pick(sim, LIVES_MAX); life > 0 && sim->is_well && !sim->is_over;
         life--) {
        live(sim);
    }
    if (sim->is_well && !sim->is_over) {
        end_seed(sim);
    }
    return sim->is_well;
}

static void print_counts(const struct sim *sim, uint64_t runs)
{
    static const char *const lies[] = {"lost write", "misdirected write", "torn sector",
                                       "stale read"};
    const struct store_driver_tally *tally = &sim->driver.tally;

    (void)printf("counts: %" PRIu64 " seeds, %" PRIu64 " starts, %" PRIu64
                 " changes acknowledged, %" PRIu64 " unknown, %" PRIu64 " refused; %" PRIu64
                 " power cuts, %" PRIu64 " kills, %" PRIu64 " failed disks\n",
                 runs, sim->starts, tally->told, tally->unknown, tally->refused, sim->cuts,
                 sim->kills, sim->failures);
    (void)printf("counts: %" PRIu64 " snapshots (%" PRIu64 " given up, %" PRIu64
                 " read back on their own; at most %" PRIu64 " bytes kept back), %" PRIu64
                 " segments trimmed, %" PRIu64 " records replayed, %" PRIu64 " loaded, %" PRIu64
                 " starts skipped numbers\n",
                 tally->snapshots_done, tally->snapshots_failed, sim->audited, tally->kept_max,
                 tally->segments_removed, tally->replayed, tally->loaded, tally->skips);
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        (void)printf("counts: %s: %" PRIu64 " exact, %" PRIu64 " refused, %" PRIu64
                     " in the window\n",
                     i < CLASS_LIES ? disk_damage_class_name((enum disk_damage_class)i)
                                    : lies[i - CLASS_LIES],
                     sim->verdicts[i].exact, sim->verdicts[i].refused, sim->verdicts[i].window);
    }
    (void)printf("counts: lost %" PRIu64 ", ghosts %" PRIu64 ", silent %" PRIu64
                 ", needless refusals %" PRIu64 "\n",
                 sim->lost, sim->ghosts, sim->silent, sim->needless);
}

static uint64_t default_runs(void)
{
    const char *slow = getenv("USERD_SLOW");

    return slow != NULL && strtoull(slow, NULL, 10) > 1 ? 200 : 2000;
}

int main(int argc, char **argv)
{
    static struct sim sim;
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 10) : default_runs();
    uint64_t failed = 0;

    /* Every start takes megabytes and gives them back: not to the system each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 25);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
    fake_world_init(&sim.world, seed);
    store_driver_init(&sim.driver, &sim.world);
    for (uint64_t i = 0; i < runs; i++) {
        if (!run_seed(&sim, seed + i)) {
            (void)printf("FAILED: seed %" PRIu64 "\n", seed + i);
            failed++;
        }
    }
    print_counts(&sim, runs);
    store_driver_deinit(&sim.driver);
    fake_world_deinit(&sim.world);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", runs - failed, failed);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
