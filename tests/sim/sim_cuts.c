/*
 * One life with everything in it (users made, changed and deleted, a segment that fills up, three
 * snapshots, a trim, a proper end and a second start), over and over: with the power cut, or the
 * process killed, before and after every single operation of the disk, and with every single
 * operation of every kind failing, once or from then on. After each the next start must bring
 * exactly what a model says and go on.
 *
 *     sim_cuts [SEED [RUNS]]     SEED decides what a cut leaves of what was not synced (1; 1 run,
 *                                every fifth operation where the environment says with USERD_SLOW
 *                                that programs run slowly)
 *
 * A failure prints what was done; the same SEED does it again.
 */
#include "lib/fake_world.h"
#include "lib/store_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define SCENARIO_SEED 7
#define TURNS_MAX     4000

/* Where trouble comes, in one of the runs. */
struct trouble {
    bool is_cut;
    bool is_kill;
    bool after;               /* of these: after the operation, not before */
    enum fake_disk_kind kind; /* of a failure */
    unsigned nth;             /* 0 = none */
    int error;
    bool sticky;
};

struct sim {
    struct fake_world world;
    struct store_driver driver;
    uint64_t sync_interval_ns;
    uint64_t seed;
    unsigned step; /* every so many-th operation */
    unsigned counts[FAKE_DISK_ANY + 1];
    uint64_t cuts;
    uint64_t kills;
    uint64_t faults;
    uint64_t failed;
    bool is_well;
};

static bool is_up(const struct sim *sim)
{
    return !fake_disk_is_dead(sim->world.disk) && !sim->driver.has_failed;
}

static void fail(struct sim *sim, const char *what)
{
    if (sim->is_well) {
        (void)printf("%s: %s\n", what,
                     sim->driver.wrong != NULL ? sim->driver.wrong : sim->driver.problem);
        sim->is_well = false;
    }
}

/* So many more changes are told, or the log is over. */
static void change(struct sim *sim, uint64_t count, uint32_t size)
{
    const uint64_t goal = sim->driver.told + count;

    sim->driver.size_usual = size;
    sim->driver.size_max = size;
    for (unsigned i = 0; i < TURNS_MAX && is_up(sim) && sim->driver.told < goal; i++) {
        store_driver_change(&sim->driver);
        if (i % 4 == 3) {
            store_driver_turn(&sim->driver, CLOCK_NS_PER_MS);
        }
    }
}

/* A snapshot, with changes while it is taken. */
static void snapshot(struct sim *sim)
{
    if (is_up(sim)) {
        store_driver_snapshot(&sim->driver);
        change(sim, 10, 300);
        store_driver_settle(&sim->driver);
    }
}

static void pass_time(struct sim *sim, uint64_t ns)
{
    if (is_up(sim)) {
        store_driver_turn(&sim->driver, ns);
        store_driver_settle(&sim->driver);
    }
}

/* Starts. What it brings is looked at; when it fails, that must be because of the trouble. */
static bool open_store(struct sim *sim)
{
    const int result = store_driver_open(&sim->driver);

    if (result == 0) {
        if (store_driver_judge(&sim->driver) != STORE_DRIVER_EXACT) {
            fail(sim, "start");
        }
        store_driver_accept(&sim->driver);
        return true;
    }
    if (result > 0 || result == -EBADMSG) {
        fail(sim, "needless refusal");
    }
    return false;
}

static void close_store(struct sim *sim)
{
    const bool is_trouble = !is_up(sim);

    store_driver_close(&sim->driver);
    if (!is_trouble && is_up(sim)) {
        store_driver_note_end(&sim->driver, false);
    }
}

/* The life. It ends early when the log does. */
static void live(struct sim *sim)
{
    if (!open_store(sim)) {
        return;
    }
    change(sim, 30, 300);
    pass_time(sim, 20 * CLOCK_NS_PER_MS);
    change(sim, 20, 40000); /* into the next segment */
    snapshot(sim);
    pass_time(sim, 2 * CLOCK_NS_PER_S);
    change(sim, 20, 40000);
    snapshot(sim);
    change(sim, 20, 20000);
    snapshot(sim); /* which trims */
    change(sim, 10, 300);
    close_store(sim);
    if (!is_up(sim)) {
        return;
    }
    fake_disk_restart(sim->world.disk);
}

static void plan(struct sim *sim, const struct trouble *trouble)
{
    if (trouble->nth == 0) {
        return;
    }
    if (trouble->is_cut) {
        fake_disk_cut(sim->world.disk, trouble->nth, trouble->after);
    } else if (trouble->is_kill) {
        fake_disk_kill_at(sim->world.disk, trouble->nth, trouble->after);
    } else {
        fake_disk_fail(sim->world.disk, trouble->kind, trouble->nth, trouble->error,
                       trouble->sticky);
    }
}

/* The process ends, and the power, too, after a cut and after every second failure. */
static void end_process(struct sim *sim, const struct trouble *trouble)
{
    struct fake_disk *disk = sim->world.disk;
    const bool power = trouble->is_cut || (!trouble->is_kill && trouble->nth % 2 == 0);

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
    sim->driver.is_risky = sim->driver.is_risky || !trouble->is_kill;
    store_driver_note_end(&sim->driver, power);
    fake_disk_restart(disk);
}

/* After the trouble everything must go on: until the power is cut with nothing left to be told, and
 * once more. */
static void go_on(struct sim *sim)
{
    for (unsigned i = 0; i < 2 && sim->is_well; i++) {
        const uint64_t told = sim->driver.tally.told;

        if (!open_store(sim)) {
            fail(sim, "the next start");
            return;
        }
        change(sim, 5, 300);
        if (!is_up(sim) || sim->driver.tally.told < told + 5) {
            fail(sim, "the next life");
        }
        if (i == 0) {
            fake_disk_crash(sim->world.disk);
        }
        store_driver_close(&sim->driver);
        store_driver_note_end(&sim->driver, i == 0);
        fake_disk_restart(sim->world.disk);
    }
    (void)store_driver_audit(&sim->driver);
}

static void describe(const struct sim *sim, const struct trouble *trouble)
{
    (void)printf("FAILED: seed %" PRIu64 ", sync %s, ", sim->seed,
                 sim->sync_interval_ns == 0 ? "always" : "interval");
    if (trouble->is_cut) {
        (void)printf("power cut %s operation %u\n", trouble->after ? "after" : "before",
                     trouble->nth);
    } else if (trouble->is_kill) {
        (void)printf("killed %s operation %u\n", trouble->after ? "after" : "before", trouble->nth);
    } else {
        (void)printf("error %d of operation %u of kind %d%s\n", trouble->error, trouble->nth,
                     (int)trouble->kind, trouble->sticky ? " and all later ones" : "");
    }
}

static void run(struct sim *sim, const struct trouble *trouble)
{
    fake_world_renew(&sim->world, SCENARIO_SEED);
    store_driver_forget(&sim->driver);
    sim->world.tick_ns = 50000; /* a snapshot takes many slices */
    sim->is_well = true;
    sim->driver.options.sync_interval_ns = sim->sync_interval_ns;
    fake_disk_reseed(sim->world.disk, sim->seed * 1000003 + trouble->nth);
    plan(sim, trouble);
    live(sim);
    for (unsigned i = 0; i <= FAKE_DISK_ANY; i++) {
        if (trouble->nth == 0) {
            sim->counts[i] = fake_disk_count(sim->world.disk, (enum fake_disk_kind)i);
        }
    }
    if (trouble->nth != 0) {
        end_process(sim, trouble);
    }
    go_on(sim);
    if (sim->driver.wrong != NULL) {
        fail(sim, "on the way");
    }
    if (!sim->is_well) {
        describe(sim, trouble);
        sim->failed++;
    }
}

/* Whether such an operation may find the disk full. */
static bool takes_room(enum fake_disk_kind kind)
{
    return kind == FAKE_DISK_OPEN || kind == FAKE_DISK_WRITE;
}

/* Every operation of the life in turn. The life without trouble must have had all of it. */
static void sweep(struct sim *sim)
{
    static const int errors[] = {-EIO, -ENOSPC};
    const struct store_driver_tally before = sim->driver.tally;
    struct trouble trouble = {.nth = 0};

    run(sim, &trouble);
    if (sim->driver.tally.snapshots_done - before.snapshots_done != 3 ||
        sim->driver.tally.segments_removed == before.segments_removed) {
        (void)printf("FAILED: the life does not take three snapshots and trim\n");
        sim->failed++;
    }
    for (unsigned nth = 1; nth <= sim->counts[FAKE_DISK_ANY]; nth += sim->step) {
        for (unsigned after = 0; after < 2; after++) {
            run(sim, &(struct trouble){.is_cut = true, .after = after == 1, .nth = nth});
            run(sim, &(struct trouble){.is_kill = true, .after = after == 1, .nth = nth});
            sim->cuts++;
            sim->kills++;
        }
    }
    for (unsigned kind = 0; kind < FAKE_DISK_ANY; kind++) {
        for (unsigned nth = 1; nth <= sim->counts[kind]; nth += sim->step) {
            for (unsigned i = 0; i < (takes_room((enum fake_disk_kind)kind) ? 4 : 2); i++) {
                run(sim, &(struct trouble){.kind = (enum fake_disk_kind)kind,
                                           .nth = nth,
                                           .error = errors[i / 2],
                                           .sticky = i % 2 == 1});
                sim->faults++;
            }
        }
    }
}

int main(int argc, char **argv)
{
    static struct sim sim;
    const char *slow = getenv("USERD_SLOW");
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    sim.step = slow != NULL && strtoull(slow, NULL, 10) > 1 ? 5 : 1;
    /* Every start takes megabytes and gives them back: not to the system each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 25);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
    fake_world_init(&sim.world, seed);
    store_driver_init(&sim.driver, &sim.world);
    for (uint64_t i = 0; i < runs; i++) {
        sim.seed = seed + i;
        for (unsigned interval = 0; interval < 2; interval++) {
            sim.sync_interval_ns = interval * 5 * CLOCK_NS_PER_MS;
            sweep(&sim);
        }
    }
    (void)printf("counts: cuts %" PRIu64 ", kills %" PRIu64 ", faults %" PRIu64 ", %" PRIu64
                 " changes acknowledged, failed %" PRIu64 "\n",
                 sim.cuts, sim.kills, sim.faults, sim.driver.tally.told, sim.failed);
    store_driver_deinit(&sim.driver);
    fake_world_deinit(&sim.world);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n",
                 sim.cuts + sim.kills + sim.faults + 1 - sim.failed, sim.failed);
    return sim.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
