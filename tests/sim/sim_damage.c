/*
 * Every bit of a log and of a snapshot flipped, every file cut at every byte. The log (two
 * segments, group commits of many sizes, seals, control files) and the snapshot in it are made by
 * the real thing on a fake disk, twice from the same seed: once closed properly, once killed right
 * after the last answer. Then one bit is flipped or one file cut, the log is opened, and the disk
 * is put back.
 *
 * What must come of it follows from what stands where: bytes that are there twice, or mean nothing,
 * must not matter. Anything else may be refused, or everything is there all the same; less than
 * everything may come back only down to what the rest of the disk still speaks for.
 *
 *     sim_damage [SEED [RUNS]]             a sample: all bits of the headers, frame headers of
 *                                          every kind, the footer and the control files, and
 *                                          others by chance; RUNS times (1). A tenth of it
 *                                          where the environment says with USERD_SLOW that
 *                                          programs run slowly
 *     sim_damage --exhaustive [--part I/N] all bits and all lengths; of N parts the I-th (from 1)
 *
 * A failure prints what was damaged.
 */
#include "lib/disk_image.h"
#include "lib/disk_witness.h"
#include "lib/fake_world.h"
#include "lib/golden_log.h"
#include "lib/store_driver.h"

#include "core/snapshot_format.h"
#include "core/wal_format.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_SIZE_LEAST (1024 * 1024) /* of frames, in two segments */
#define FLIPS          8000          /* of a sample, besides those of all headers */
#define TRUNCATIONS    5000
#define SLACK          (128 * 1024) /* room for a .torn file, but for no further segment */

/* What the bytes of a file are for. */
enum use {
    USE_NONE,  /* nothing, or they are there twice, or there is another file in their place */
    USE_FLIPS, /* they must be zero */
    USE_ALL,   /* without them something is missing */
};

struct region {
    uint8_t *uses;    /* of every byte */
    uint64_t all_end; /* behind the last one without which something is missing */
};

struct sim {
    struct fake_world world;
    struct wal_options options;
    struct disk_image image;
    struct region regions[DISK_IMAGE_FILES_MAX]; /* of the files of the image */
    struct golden_log golden;
    bool is_closed; /* which of the two ends the image has */
    uint64_t seed;
    uint64_t flips;
    uint64_t truncations;
    uint64_t refused;
    uint64_t recovered;
    uint64_t window;
    uint64_t silent;
    uint64_t needless;
    uint64_t part; /* from 0 */
    uint64_t part_count;
    uint64_t trial; /* of all parts */
    time_t told_at;
};

/* Making the image. */

static void commit_group(struct sim *sim, struct store_driver *driver)
{
    driver->size_usual = fake_world_random(&sim->world, 4) == 0 ? 3000 : 300;
    driver->size_max = 20000;
    for (uint64_t i = 1 + fake_world_random(&sim->world, 40); i > 0; i--) {
        store_driver_change(driver);
    }
    if (fake_world_random(&sim->world, 12) == 0) {
        store_driver_turn(driver, 20 * CLOCK_NS_PER_MS); /* a seal */
    }
    if (fake_world_random(&sim->world, 60) == 0) {
        store_driver_turn(driver, 2 * CLOCK_NS_PER_S); /* a watermark */
    }
    store_driver_settle(driver);
}

static void check(bool holds, const char *what)
{
    if (!holds) {
        (void)printf("the log to be damaged cannot be made: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* What the store makes of it, perhaps without one of its files, is right. */
static void check_log(struct sim *sim, struct store_driver *driver, const char *without)
{
    if (without[0] != '\0') {
        fake_disk_delete(sim->world.disk, without);
    }
    check(store_driver_open(driver) == 0, driver->problem);
    check(store_driver_judge(driver) == STORE_DRIVER_EXACT, "it does not hold what was sent");
    store_driver_close(driver);
    fake_disk_restart(sim->world.disk);
    disk_image_put_back(&sim->image, sim->world.disk);
}

/* A log of two segments, with a snapshot of a moment in the first. */
static void make_log(struct sim *sim)
{
    static struct store_driver driver;
    struct fake_disk *disk = sim->world.disk;
    uint64_t lsn;

    store_driver_init(&driver, &sim->world);
    check(store_driver_open(&driver) == 0, driver.problem);
    check(store_driver_judge(&driver) == STORE_DRIVER_EXACT, "it begins with something");
    store_driver_accept(&driver);
    while (driver.log->ops->stats(driver.log)->bytes_written < LOG_SIZE_LEAST - 120 * 1024) {
        if (driver.tally.snapshots_done == 0 &&
            driver.log->ops->stats(driver.log)->bytes_written > LOG_SIZE_LEAST / 4) {
            store_driver_snapshot(&driver);
            store_driver_settle(&driver);
        }
        commit_group(sim, &driver);
    }
    if (!sim->is_closed) {
        fake_disk_kill(disk);
    }
    store_driver_close(&driver);
    store_driver_note_end(&driver, false);
    fake_disk_restart(disk);
    check(driver.wrong == NULL, driver.wrong);
    if (fake_disk_exists(disk, WAL_FORMAT_SPARE)) {
        fake_disk_delete(disk, WAL_FORMAT_SPARE);
    }
    disk_image_take(&sim->image, disk);
    check_log(sim, &driver, "");
    for (unsigned i = 0; i < sim->image.count; i++) {
        if (snapshot_format_parse_name(sim->image.files[i].name, &lsn)) {
            check_log(sim, &driver, sim->image.files[i].name);
        }
    }
    store_driver_deinit(&driver);
}

/* The file's bytes, by what they are for. */
static void mark_segment(const struct disk_image_file *file, struct region *region, bool is_last)
{
    struct wal_format_segment header;
    struct wal_format_frame frame;
    uint64_t at = WAL_FORMAT_BLOCK_SIZE;

    check(wal_format_get_segment(file->bytes, &header) == 0, "a segment has no header");
    region->all_end = WAL_FORMAT_BLOCK_SIZE;
    while (at < file->size && wal_format_get_frame(file->bytes + at, &frame) == 0 &&
           frame.epoch == header.epoch) {
        memset(region->uses + at, USE_ALL, WAL_FORMAT_FRAME_HEADER_SIZE + frame.payload_size);
        region->all_end = at + WAL_FORMAT_FRAME_HEADER_SIZE + frame.payload_size;
        at += wal_format_frame_size(frame.payload_size);
    }
    if (!is_last && at < file->size) {
        memset(region->uses + at, USE_FLIPS, WAL_FORMAT_BLOCK_SIZE);
    }
}

static void mark_all(struct sim *sim)
{
    uint64_t lsn;

    for (unsigned i = 0; i < sim->image.count; i++) {
        const struct disk_image_file *file = &sim->image.files[i];
        struct region *region = &sim->regions[i];

        *region = (struct region){.uses = calloc(1, (size_t)file->size + 1)};
        check(region->uses != NULL, "no memory");
        if (wal_format_parse_segment_name(file->name, &lsn)) {
            mark_segment(file, region, i == sim->image.count - 1); /* by name it comes last */
        }
    }
}

/* All records, from a start without the snapshot, and those of the snapshot. */
static void learn(struct sim *sim)
{
    char problem[WAL_PROBLEM_SIZE];
    uint64_t lsn = 0;
    unsigned i = 0;

    while (i < sim->image.count && !snapshot_format_parse_name(sim->image.files[i].name, &lsn)) {
        i++;
    }
    check(i < sim->image.count, "there is no snapshot");
    fake_disk_delete(sim->world.disk, sim->image.files[i].name);
    check(golden_log_learn(&sim->golden, &sim->world, &sim->options, problem) == 0, problem);
    disk_image_put_back(&sim->image, sim->world.disk);
    check(golden_log_learn_snapshot(&sim->golden, &sim->world, &sim->options, lsn, problem) == 0,
          problem);
    disk_image_put_back(&sim->image, sim->world.disk);
    check(sim->golden.snapshot.count > 1 && sim->golden.log.count > lsn, "there is too little");
}

static void prepare(struct sim *sim, bool is_closed)
{
    sim->is_closed = is_closed;
    fake_world_renew(&sim->world, sim->seed);
    make_log(sim);
    mark_all(sim);
    fake_disk_set_room(sim->world.disk, fake_disk_used(sim->world.disk) + SLACK);
    learn(sim);
}

static void clear(struct sim *sim)
{
    for (unsigned i = 0; i < sim->image.count; i++) {
        free(sim->regions[i].uses);
    }
    disk_image_deinit(&sim->image);
    golden_log_deinit(&sim->golden);
}

/* Trials. */

static void describe(const struct sim *sim, const char *what, const char *how, unsigned file,
                     uint64_t at)
{
    (void)printf("FAILED: %s: seed %" PRIu64 ", %s log, %s %s at %" PRIu64 "\n", what, sim->seed,
                 sim->is_closed ? "closed" : "killed", sim->image.files[file].name, how, at);
}

/* One start on the damaged disk. Returns what is wrong with it, or NULL. */
static const char *judge(struct sim *sim, bool may_refuse)
{
    static char problem[WAL_PROBLEM_SIZE];
    const uint64_t witness = may_refuse ? disk_witness_lsn(sim->world.disk) : 0;
    struct golden_reading reading;
    const int result = golden_log_read(&sim->golden, &sim->world, &sim->options, problem, &reading);

    if (result != 0) {
        sim->refused++;
        if (!may_refuse || (result != WAL_E_DAMAGED && result != WAL_E_FOREIGN)) {
            sim->needless++;
            return problem;
        }
        return problem[0] == '\0' ? "a refusal without a word" : NULL;
    }
    if (reading.is_wrong) {
        sim->silent++;
        return "other records came back";
    }
    if (reading.lsn == sim->golden.log.count) {
        sim->recovered++;
        return NULL;
    }
    if (!may_refuse || reading.lsn < witness) {
        sim->silent++;
        return "records are missing without a word";
    }
    sim->window++;
    return NULL;
}

/* False when this trial is another part's. */
static bool is_mine(struct sim *sim)
{
    const time_t now = time(NULL);

    if (now - sim->told_at >= 60) {
        sim->told_at = now;
        (void)printf("... %" PRIu64 " flips, %" PRIu64 " truncations\n", sim->flips,
                     sim->truncations);
        (void)fflush(stdout);
    }
    return sim->trial++ % sim->part_count == sim->part;
}

static void flip(struct sim *sim, unsigned file, uint64_t bit)
{
    const char *name = sim->image.files[file].name;
    const char *wrong;

    if (!is_mine(sim)) {
        return;
    }
    sim->flips++;
    fake_disk_flip(sim->world.disk, name, bit);
    wrong = judge(sim, sim->regions[file].uses[bit / 8] != USE_NONE);
    if (wrong != NULL) {
        describe(sim, wrong, "flipped", file, bit);
    }
    disk_image_put_back(&sim->image, sim->world.disk);
}

static void cut(struct sim *sim, unsigned file, uint64_t size)
{
    const char *wrong;

    if (!is_mine(sim)) {
        return;
    }
    sim->truncations++;
    fake_disk_truncate(sim->world.disk, sim->image.files[file].name, size);
    wrong = judge(sim, size < sim->regions[file].all_end);
    if (wrong != NULL) {
        describe(sim, wrong, "cut", file, size);
    }
    disk_image_put_back(&sim->image, sim->world.disk);
}

static void flip_all(struct sim *sim, unsigned file, uint64_t offset, uint64_t size)
{
    for (uint64_t bit = offset * 8; bit < (offset + size) * 8; bit++) {
        flip(sim, file, bit);
    }
}

/* Frame headers of the segment: the first two, the last two, and of every eighth of the others a
 * part. */
static void flip_frame_headers(struct sim *sim, unsigned file)
{
    const struct disk_image_file *image = &sim->image.files[file];
    struct wal_format_frame frame;
    unsigned index = 0;

    for (uint64_t at = WAL_FORMAT_BLOCK_SIZE;
         at < image->size && wal_format_get_frame(image->bytes + at, &frame) == 0;
         at += wal_format_frame_size(frame.payload_size)) {
        const bool is_last =
            at + 2 * wal_format_frame_size(frame.payload_size) > sim->regions[file].all_end;

        if (index < 2 || is_last) {
            flip_all(sim, file, at, WAL_FORMAT_FRAME_HEADER_SIZE);
        } else {
            flip_all(sim, file, at + 4 * (index % 16), 4);
        }
        index++;
    }
}

static void flip_headers(struct sim *sim, unsigned file)
{
    const struct disk_image_file *image = &sim->image.files[file];
    uint64_t lsn;

    if (wal_format_parse_segment_name(image->name, &lsn)) {
        flip_all(sim, file, 0, 128);
        flip_all(sim, file, 2048, 128);
        flip_frame_headers(sim, file);
    } else if (snapshot_format_parse_name(image->name, &lsn)) {
        flip_all(sim, file, 0, 128);
        flip_all(sim, file, WAL_FORMAT_BLOCK_SIZE, WAL_FORMAT_FRAME_HEADER_SIZE);
        flip_all(sim, file, image->size - WAL_FORMAT_BLOCK_SIZE, 160);
    } else {
        flip_all(sim, file, 0, 80);
        flip_all(sim, file, WAL_FORMAT_BLOCK_SIZE - 4, 4);
    }
}

/* A file, the larger ones more often. */
static unsigned draw_file(struct sim *sim)
{
    uint64_t sum = 0;
    uint64_t at;
    unsigned file = 0;

    for (unsigned i = 0; i < sim->image.count; i++) {
        sum += sim->image.files[i].size;
    }
    at = fake_world_random(&sim->world, sum);
    while (at >= sim->image.files[file].size) {
        at -= sim->image.files[file].size;
        file++;
    }
    return file;
}

static void sample(struct sim *sim)
{
    for (unsigned i = 0; i < sim->image.count && sim->is_closed; i++) {
        flip_headers(sim, i);
    }
    for (unsigned i = 0; i < FLIPS / 2; i++) {
        const unsigned file = draw_file(sim);

        flip(sim, file, fake_world_random(&sim->world, sim->image.files[file].size * 8));
    }
    for (unsigned i = 0; i < TRUNCATIONS / 2; i++) {
        const unsigned file = draw_file(sim);

        cut(sim, file, fake_world_random(&sim->world, sim->image.files[file].size));
    }
}

static void exhaust(struct sim *sim)
{
    for (unsigned i = 0; i < sim->image.count; i++) {
        for (uint64_t size = 0; size < sim->image.files[i].size; size++) {
            cut(sim, i, size);
        }
    }
    for (unsigned i = 0; i < sim->image.count; i++) {
        flip_all(sim, i, 0, sim->image.files[i].size);
    }
}

/* Both ends of the log. */
static void run(struct sim *sim, bool is_exhaustive)
{
    for (unsigned closed = 0; closed < 2; closed++) {
        prepare(sim, closed == 1);
        if (is_exhaustive) {
            exhaust(sim);
        } else {
            sample(sim);
        }
        clear(sim);
    }
}

int main(int argc, char **argv)
{
    static struct sim sim = {.part_count = 1, .seed = 1};
    const bool is_exhaustive = argc > 1 && strcmp(argv[1], "--exhaustive") == 0;
    const char *slow = getenv("USERD_SLOW");
    uint64_t runs = 1;
    uint64_t wrong;

    if (is_exhaustive && argc > 3 && strcmp(argv[2], "--part") == 0) {
        if (sscanf(argv[3], "%" SCNu64 "/%" SCNu64, &sim.part, &sim.part_count) != 2 ||
            sim.part < 1 || sim.part > sim.part_count) {
            (void)printf("--part wants I/N, as in 1/4\n");
            return EXIT_FAILURE;
        }
        sim.part--;
    } else if (!is_exhaustive) {
        sim.part_count = slow != NULL && strtoull(slow, NULL, 10) > 1 ? 10 : 1;
        sim.seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
        runs = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    sim.options = (struct wal_options){
        .segment_size = WAL_SEGMENT_SIZE_MIN, .max_pending = 1000, .max_pending_bytes = 1ULL << 24};
    sim.told_at = time(NULL);
    /* Every start takes megabytes and gives them back: not to the system each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 25);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
    fake_world_init(&sim.world, sim.seed);
    for (; runs > 0; runs--, sim.seed++) {
        run(&sim, is_exhaustive);
    }
    fake_world_deinit(&sim.world);
    wrong = sim.silent + sim.needless;
    (void)printf("counts: flips %" PRIu64 ", truncations %" PRIu64 ", refused %" PRIu64
                 ", recovered %" PRIu64 ", in the window %" PRIu64 ", silent %" PRIu64
                 ", needless %" PRIu64 "\n",
                 sim.flips, sim.truncations, sim.refused, sim.recovered, sim.window, sim.silent,
                 sim.needless);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sim.flips + sim.truncations - wrong,
                 wrong);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
