#include "lib/fake_world.h"
#include "lib/snapshot_maker.h"
#include "lib/unit.h"

#include "core/snapshot_read.h"
#include "core/wal_checkpoint.h"
#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS     100000
#define BODY_SIZE 100

/* Of most tests: segments of 50 records, snapshots after 60 and 120, and the new one. */
#define OLDEST 60
#define OLDER  120
#define NEW    180

static const uint64_t segments[] = {1, 51, 101, 151, 201};

struct fixture {
    struct fake_world world;
    struct wal_checkpoint *checkpoint;
    struct snapshot_maker_source source;
    struct wal_checkpoint_plan plan;
    /* What was told. */
    unsigned dones;
    unsigned faileds; /* WAL_SNAPSHOT_FAILED */
    unsigned finals;  /* events.failed */
    unsigned stops;
    struct wal_snapshot_report report;
    char problem[WAL_PROBLEM_SIZE];
    int error;
    unsigned again; /* so many more are started from the report */
};

static void on_ended(void *owner, const struct wal_snapshot_report *report)
{
    struct fixture *fixture = owner;

    ck_assert(!wal_checkpoint_is_running(fixture->checkpoint));
    ck_assert(!wal_checkpoint_is_pending(fixture->checkpoint));
    ck_assert_uint_eq(fixture->source.begins, fixture->source.ends);
    fixture->report = *report;
    if (report->step == WAL_SNAPSHOT_DONE) {
        ck_assert_ptr_null(report->problem);
        fixture->dones++;
    } else {
        ck_assert_int_eq(report->step, WAL_SNAPSHOT_FAILED);
        (void)snprintf(fixture->problem, sizeof(fixture->problem), "%s", report->problem);
        fixture->faileds++;
    }
    if (fixture->again > 0) {
        fixture->again--;
        fixture->plan.lsn++;
        fixture->plan.durable_lsn++;
        ck_assert_int_eq(wal_checkpoint_start(fixture->checkpoint, &fixture->plan), 0);
    }
}

static void on_failed(void *owner, int error)
{
    struct fixture *fixture = owner;

    ck_assert_uint_eq(fixture->source.begins, fixture->source.ends);
    fixture->error = error;
    fixture->finals++;
}

static void on_stopped(void *owner)
{
    struct fixture *fixture = owner;

    ck_assert(!wal_checkpoint_is_pending(fixture->checkpoint));
    fixture->stops++;
}

static const struct wal_checkpoint_events events = {on_ended, on_failed, on_stopped};

static void make_checkpoint(struct fixture *fixture)
{
    ck_assert_int_eq(wal_checkpoint_new(fake_disk_disk(fixture->world.disk),
                                        &fixture->world.reactor, &fixture->world.random,
                                        &fixture->checkpoint),
                     0);
    wal_checkpoint_set_events(fixture->checkpoint, &events, fixture);
}

static void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){
        .source = {.count = 3000, .body_size = BODY_SIZE},
        .plan =
            {
                .store_uuid = {1, 2, 3},
                .lsn = NEW,
                .durable_lsn = NEW,
                .source = snapshot_maker_source(),
            },
    };
    fixture->plan.source_context = &fixture->source;
    fake_world_init(&fixture->world, 11);
    make_checkpoint(fixture);
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_checkpoint_free(fixture->checkpoint);
    fake_world_deinit(&fixture->world);
}

static const char *segment_name(uint64_t first_lsn)
{
    static char name[WAL_FORMAT_NAME_SIZE];

    wal_format_segment_name(first_lsn, name);
    return name;
}

static const char *snapshot_name(uint64_t lsn)
{
    static char name[WAL_FORMAT_NAME_SIZE];

    snapshot_format_name(lsn, name);
    return name;
}

static bool has_segment(const struct fixture *fixture, uint64_t first_lsn)
{
    return fake_disk_exists(fixture->world.disk, segment_name(first_lsn));
}

static bool has_snapshot(const struct fixture *fixture, uint64_t lsn)
{
    return fake_disk_exists(fixture->world.disk, snapshot_name(lsn));
}

static void add_segment(struct fixture *fixture, uint64_t first_lsn)
{
    fake_disk_put(fixture->world.disk, segment_name(first_lsn), "x", 1);
    ck_assert_int_eq(wal_checkpoint_note_segment(fixture->checkpoint, first_lsn), 0);
}

static void add_snapshot(struct fixture *fixture, uint64_t lsn)
{
    struct snapshot_maker maker;

    snapshot_maker_begin(&maker, lsn);
    snapshot_maker_frame(&maker, 7, BODY_SIZE);
    snapshot_maker_end(&maker);
    fake_disk_put(fixture->world.disk, snapshot_name(lsn), maker.bytes, maker.size);
    snapshot_maker_deinit(&maker);
    ck_assert_int_eq(wal_checkpoint_note_snapshot(fixture->checkpoint, lsn), 0);
}

/* A directory with all that can be trimmed. */
static void fill(struct fixture *fixture)
{
    for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
        add_segment(fixture, segments[i]);
    }
    add_snapshot(fixture, OLDEST);
    add_snapshot(fixture, OLDER);
}

static int check_record(void *context, const struct wal_record *record)
{
    uint64_t *count = context;

    ck_assert(snapshot_maker_is_record(record, *count, BODY_SIZE));
    (*count)++;
    return 0;
}

/* Whether this snapshot is there and whole, with so many records. */
static bool is_whole(struct fixture *fixture, uint64_t lsn, uint64_t records)
{
    struct wal_window window;
    char problem[WAL_PROBLEM_SIZE];
    uint64_t count = 0;
    const struct snapshot_read read = {
        .disk = fake_disk_disk(fixture->world.disk),
        .window = &window,
        .lsn = lsn,
        .store_uuid = fixture->plan.store_uuid,
        .record = check_record,
        .context = &count,
        .problem = problem,
    };
    int result;

    ck_assert_int_eq(wal_window_init(&window), 0);
    result = snapshot_read(&read);
    wal_window_deinit(&window);
    return result == 0 && count == records;
}

static bool is_over(const struct fixture *fixture)
{
    return !wal_checkpoint_is_running(fixture->checkpoint);
}

/* Turns until it is over. */
static void run(struct fixture *fixture)
{
    for (unsigned turns = 0; !is_over(fixture); turns++) {
        fake_world_turn(&fixture->world);
        ck_assert_uint_lt(turns, TURNS);
    }
    ck_assert_uint_eq(fixture->dones + fixture->faileds + fixture->finals, 1);
}

static void run_from_start(struct fixture *fixture)
{
    ck_assert_int_eq(wal_checkpoint_start(fixture->checkpoint, &fixture->plan), 0);
    ck_assert(wal_checkpoint_is_running(fixture->checkpoint));
    ck_assert_uint_eq(fixture->dones + fixture->faileds + fixture->finals, 0);
    run(fixture);
}

static void forget_told(struct fixture *fixture)
{
    fixture->dones = 0;
    fixture->faileds = 0;
    fixture->finals = 0;
}

/* The whole way: the new snapshot is whole, two are kept, and so are the segments that the older
 * one needs; the report says all. */
START_TEST(wal_checkpoint_whole_way)
{
    struct fixture fixture;
    uint64_t size = 0;

    fixture_init(&fixture);
    fill(&fixture);
    fake_disk_put(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY, "left over", 9);
    ck_assert_uint_eq(wal_checkpoint_segment_count(fixture.checkpoint), 5);
    run_from_start(&fixture);
    ck_assert_uint_eq(fixture.dones, 1);
    ck_assert(is_whole(&fixture, NEW, 3000));
    ck_assert(has_snapshot(&fixture, OLDER));
    ck_assert(!has_snapshot(&fixture, OLDEST));
    ck_assert(!has_segment(&fixture, 1));
    ck_assert(!has_segment(&fixture, 51));
    ck_assert(has_segment(&fixture, 101));
    ck_assert(has_segment(&fixture, 151));
    ck_assert(has_segment(&fixture, 201));
    ck_assert(!fake_disk_exists(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY));
    (void)fake_disk_peek(fixture.world.disk, snapshot_name(NEW), &size);
    ck_assert_uint_eq(fixture.report.lsn, NEW);
    ck_assert_uint_eq(fixture.report.records, 3000);
    ck_assert_uint_eq(fixture.report.bytes, size);
    ck_assert_uint_eq(fixture.report.segments_removed, 2);
    ck_assert_uint_eq(wal_checkpoint_segment_count(fixture.checkpoint), 3);
    ck_assert_uint_eq(fixture.source.lsn, NEW);
    fixture_deinit(&fixture);
}

END_TEST

/* Each operation waits for the one before: the contents are synced and read back before the name is
 * given, the name is synced before anything is removed, and that in its order. */
START_TEST(wal_checkpoint_keeps_the_order)
{
    static const enum fake_disk_kind order[] = {
        FAKE_DISK_REMOVE, FAKE_DISK_WRITE,          FAKE_DISK_SYNC,   FAKE_DISK_READ,
        FAKE_DISK_RENAME, FAKE_DISK_SYNC_DIRECTORY, FAKE_DISK_REMOVE, FAKE_DISK_REMOVE,
        FAKE_DISK_REMOVE, FAKE_DISK_SYNC_DIRECTORY};
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.source.count = 100;
    fill(&fixture);
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        for (unsigned turns = 0; fake_disk_pending(fixture.world.disk) == 0; turns++) {
            fake_world_turn(&fixture.world);
            ck_assert_uint_lt(turns, TURNS);
        }
        ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
        ck_assert_msg(fake_disk_pending_is(fixture.world.disk, 0, order[i]), "operation %u", i);
        /* The oldest goes first. */
        ck_assert(has_snapshot(&fixture, OLDEST) == (i < 7));
        ck_assert(has_segment(&fixture, 1) == (i < 8));
        ck_assert(has_segment(&fixture, 51) == (i < 9));
        fake_disk_step(fixture.world.disk, 0);
        fake_world_turn(&fixture.world);
    }
    run(&fixture);
    ck_assert_uint_eq(fixture.dones, 1);
    fixture_deinit(&fixture);
}

END_TEST

/* It gets its name only when the log is durable that far. */
START_TEST(wal_checkpoint_waits_for_the_log)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.plan.durable_lsn = NEW - 2;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    for (unsigned i = 0; i < 1000; i++) {
        fake_world_turn(&fixture.world);
        wal_checkpoint_note_durable(fixture.checkpoint, NEW - 1);
    }
    ck_assert(!has_snapshot(&fixture, NEW));
    ck_assert_uint_eq(fixture.source.ends, 1); /* it needs no old forms any more */
    wal_checkpoint_note_durable(fixture.checkpoint, NEW);
    wal_checkpoint_note_durable(fixture.checkpoint, NEW + 1);
    ck_assert(!has_snapshot(&fixture, NEW)); /* not inside of that call */
    run(&fixture);
    ck_assert(is_whole(&fixture, NEW, 3000));
    fixture_deinit(&fixture);
}

END_TEST

/* With one snapshot no segment goes; with two, exactly those that end at or before the older one;
 * the last segment never. */
START_TEST(wal_checkpoint_trim_rules)
{
    static const struct {
        uint64_t older; /* 0 = there is none */
        unsigned segments_left;
    } cases[] = {{0, 5},   {1, 5},   {49, 5},  {50, 4},  {51, 4},  {100, 3},
                 {149, 3}, {150, 2}, {179, 2}, {200, 1}, {250, 1}, {1000, 1}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture fixture;

        fixture_init(&fixture);
        fixture.source.count = 10;
        for (size_t j = 0; j < sizeof(segments) / sizeof(segments[0]); j++) {
            add_segment(&fixture, segments[j]);
        }
        if (cases[i].older > 0) {
            add_snapshot(&fixture, cases[i].older);
        }
        fixture.plan.lsn = 1001;
        fixture.plan.durable_lsn = 1001;
        run_from_start(&fixture);
        ck_assert_uint_eq(fixture.dones, 1);
        ck_assert_uint_eq(wal_checkpoint_segment_count(fixture.checkpoint), cases[i].segments_left);
        for (unsigned j = 0; j < 5; j++) {
            ck_assert(has_segment(&fixture, segments[j]) == (j >= 5 - cases[i].segments_left));
        }
        fixture_deinit(&fixture);
    }
}

END_TEST

/* One after the other: always the two newest stay. */
START_TEST(wal_checkpoint_again_and_again)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (uint64_t lsn = 10; lsn <= 100; lsn += 10) {
        add_segment(&fixture, lsn - 9);
        fixture.plan.lsn = lsn;
        fixture.plan.durable_lsn = lsn;
        fixture.source.count = lsn;
        run_from_start(&fixture);
        ck_assert_uint_eq(fixture.dones, 1);
        forget_told(&fixture);
        ck_assert(is_whole(&fixture, lsn, lsn));
        ck_assert(lsn < 20 || has_snapshot(&fixture, lsn - 10));
        ck_assert(lsn < 30 || !has_snapshot(&fixture, lsn - 20));
        ck_assert_uint_le(wal_checkpoint_segment_count(fixture.checkpoint), 2);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* The next one may be started when the end of one is told. */
START_TEST(wal_checkpoint_starts_from_the_report)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.again = 2;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    for (unsigned turns = 0; fixture.dones < 3; turns++) {
        fake_world_turn(&fixture.world);
        ck_assert_uint_lt(turns, TURNS);
    }
    ck_assert(!has_snapshot(&fixture, NEW));
    ck_assert(is_whole(&fixture, NEW + 1, 3000));
    ck_assert(is_whole(&fixture, NEW + 2, 3000));
    fixture_deinit(&fixture);
}

END_TEST

/* Twice with the same LSN: the second takes the first one's place, and both that were kept stay. */
START_TEST(wal_checkpoint_same_lsn)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fill(&fixture);
    fixture.plan.lsn = OLDER;
    run_from_start(&fixture);
    ck_assert_uint_eq(fixture.dones, 1);
    ck_assert(is_whole(&fixture, OLDER, 3000));
    ck_assert(is_whole(&fixture, OLDEST, 7));
    ck_assert(!has_segment(&fixture, 1));
    ck_assert(has_segment(&fixture, 51));
    fixture_deinit(&fixture);
}

END_TEST

/* Damaged on the way to the disk, it does not take the place of the good one of that LSN: in a
 * restored directory that is the only one, and no log reaches back behind it. */
START_TEST(wal_checkpoint_same_lsn_damaged)
{
    struct fixture fixture;

    fixture_init(&fixture);
    add_segment(&fixture, NEW + 1);
    add_snapshot(&fixture, NEW);
    fake_disk_lie(fixture.world.disk, FAKE_DISK_WRITE_LOST, 1);
    run_from_start(&fixture);
    ck_assert_uint_eq(fake_disk_lies_told(fixture.world.disk), 1);
    ck_assert_uint_eq(fixture.faileds, 1);
    ck_assert(is_whole(&fixture, NEW, 7));
    fixture_deinit(&fixture);
}

END_TEST

/* Segments that come while one is taken are kept, and trimmed by the next. */
START_TEST(wal_checkpoint_log_grows_meanwhile)
{
    struct fixture fixture;
    uint64_t first_lsn = 1;

    fixture_init(&fixture);
    add_segment(&fixture, first_lsn);
    add_snapshot(&fixture, 5);
    fixture.source.now_ns = &fixture.world.now_ns;
    fixture.source.step_ns = 10 * CLOCK_NS_PER_US;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    while (!is_over(&fixture)) {
        first_lsn += 3;
        add_segment(&fixture, first_lsn);
        fake_world_turn(&fixture.world);
    }
    ck_assert_uint_eq(fixture.dones, 1);
    ck_assert_uint_gt(first_lsn, 500);
    ck_assert(!has_segment(&fixture, 1));
    ck_assert(has_segment(&fixture, 4)); /* it holds record 6 */
    ck_assert(has_segment(&fixture, first_lsn));
    fixture.plan.lsn = NEW + 1;
    fixture.plan.durable_lsn = NEW + 1;
    forget_told(&fixture);
    run_from_start(&fixture);
    ck_assert(!has_segment(&fixture, 4));
    ck_assert(!has_segment(&fixture, 175));
    ck_assert(has_segment(&fixture, 181)); /* the first that holds anything behind 180 */
    ck_assert(has_segment(&fixture, first_lsn));
    fixture_deinit(&fixture);
}

END_TEST

/* When it is damaged on the way to the disk, that is found: it is removed, nothing else is. */
START_TEST(wal_checkpoint_verifies)
{
    static const uint8_t zeros[512];
    struct fixture fixture;

    fixture_init(&fixture);
    fill(&fixture);
    fixture.plan.durable_lsn = 0;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    while (fake_disk_count(fixture.world.disk, FAKE_DISK_SYNC) == 0) {
        fake_world_turn(&fixture.world);
    }
    fake_disk_poke(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY, 81920, zeros, sizeof(zeros));
    fake_world_turn(&fixture.world);
    wal_checkpoint_note_durable(fixture.checkpoint, NEW);
    run(&fixture);
    ck_assert_uint_eq(fixture.faileds, 1);
    ck_assert(strstr(fixture.problem, SNAPSHOT_FORMAT_TEMPORARY) == fixture.problem);
    ck_assert(!fake_disk_exists(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY));
    ck_assert(!has_snapshot(&fixture, NEW));
    ck_assert(has_snapshot(&fixture, OLDEST));
    ck_assert(has_snapshot(&fixture, OLDER));
    ck_assert_uint_eq(wal_checkpoint_segment_count(fixture.checkpoint), 5);
    /* The next one is as good as ever. */
    forget_told(&fixture);
    fixture.plan.durable_lsn = NEW;
    run_from_start(&fixture);
    ck_assert_uint_eq(fixture.dones, 1);
    ck_assert(is_whole(&fixture, NEW, 3000));
    ck_assert(!has_snapshot(&fixture, OLDEST));
    fixture_deinit(&fixture);
}

END_TEST

/* A disk that loses or tears any one write, or sends it elsewhere, and says that all is well: no
 * damaged snapshot is ever called done. */
START_TEST(wal_checkpoint_sees_through_lies)
{
    for (unsigned lie = FAKE_DISK_WRITE_LOST; lie <= FAKE_DISK_WRITE_TORN; lie++) {
        for (unsigned nth = 1; nth <= 2; nth++) {
            struct fixture fixture;

            fixture_init(&fixture);
            fake_disk_lie(fixture.world.disk, (enum fake_disk_lie)lie, nth);
            run_from_start(&fixture);
            ck_assert_uint_eq(fake_disk_lies_told(fixture.world.disk), 1);
            ck_assert(fixture.dones == 0 || is_whole(&fixture, NEW, 3000));
            ck_assert_uint_eq(fixture.finals, 0);
            fixture_deinit(&fixture);
        }
    }
}

END_TEST

/* No room: it is given up before the log's own is touched, and what was begun is removed. */
START_TEST(wal_checkpoint_no_room)
{
    struct fixture fixture;
    uint64_t used;

    fixture_init(&fixture);
    fill(&fixture);
    fixture.plan.keep_free = (uint64_t)3 * 1024 * 1024;
    used = fake_disk_used(fixture.world.disk);
    fake_disk_set_room(fixture.world.disk, used + (uint64_t)4 * 1024 * 1024 + 300 * 1024);
    run_from_start(&fixture);
    ck_assert_uint_eq(fixture.faileds, 1);
    ck_assert(strstr(fixture.problem, "No space left") != NULL);
    ck_assert_uint_le(fake_disk_used(fixture.world.disk), used + (uint64_t)300 * 1024);
    ck_assert(!fake_disk_exists(fixture.world.disk, SNAPSHOT_FORMAT_TEMPORARY));
    ck_assert(!has_snapshot(&fixture, NEW));
    ck_assert_uint_eq(wal_checkpoint_segment_count(fixture.checkpoint), 5);
    fixture_deinit(&fixture);
}

END_TEST

/* A source that gives up: the same. One that cannot even begin: nothing begins. */
START_TEST(wal_checkpoint_source_gives_up)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.source.error = -ENOBUFS;
    fixture.source.error_at = 2500;
    run_from_start(&fixture);
    ck_assert_uint_eq(fixture.faileds, 1);
    ck_assert(strstr(fixture.problem, "more changed meanwhile than wal.snapshot_max_kept") != NULL);
    ck_assert_uint_eq(fake_disk_name_count(fixture.world.disk), 0);
    fixture.source.begin_error = -ENOMEM;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), -ENOMEM);
    ck_assert(!wal_checkpoint_is_running(fixture.checkpoint));
    fixture_deinit(&fixture);
}

END_TEST

/* Whatever was told, this holds: nothing is gone that the snapshots left would need. */
static void check_files(struct fixture *fixture)
{
    const bool is_new = has_snapshot(fixture, NEW);

    ck_assert(is_whole(fixture, OLDER, 7));
    ck_assert(has_segment(fixture, 101));
    ck_assert(has_segment(fixture, 151));
    ck_assert(has_segment(fixture, 201));
    if (!has_snapshot(fixture, OLDEST) || !has_segment(fixture, 1) || !has_segment(fixture, 51)) {
        ck_assert(is_new);
        ck_assert(is_whole(fixture, NEW, fixture->source.count));
    }
    ck_assert(has_segment(fixture, 1) || !has_snapshot(fixture, OLDEST));
}

/* Whatever operation fails, once or for ever: one end is told. Only a rename or a sync of the
 * directory is final; a failed removal of what is superfluous does not matter; after any other
 * failure the files are as before. */
START_TEST(wal_checkpoint_every_failure)
{
    static const enum fake_disk_kind kinds[] = {FAKE_DISK_OPEN,   FAKE_DISK_READ,
                                                FAKE_DISK_WRITE,  FAKE_DISK_SYNC,
                                                FAKE_DISK_RENAME, FAKE_DISK_SYNC_DIRECTORY,
                                                FAKE_DISK_SIZE,   FAKE_DISK_REMOVE,
                                                FAKE_DISK_SUBMIT, FAKE_DISK_ANY};

    static const int errors[] = {-EIO, -ENOSPC};

    for (unsigned i = 0; i < 4 * sizeof(kinds) / sizeof(kinds[0]); i++) {
        const enum fake_disk_kind kind = kinds[i / 4];
        bool reached = true;

        for (unsigned nth = 1; reached; nth++) {
            struct fixture fixture;
            unsigned before;
            int result;

            fixture_init(&fixture);
            fill(&fixture);
            before = fake_disk_count(fixture.world.disk, kind);
            fake_disk_fail(fixture.world.disk, kind, nth, errors[i % 2], i % 4 >= 2);
            result = wal_checkpoint_start(fixture.checkpoint, &fixture.plan);
            if (result == 0) {
                run(&fixture);
            } else {
                ck_assert_int_eq(result, errors[i % 2]);
                ck_assert(!wal_checkpoint_is_running(fixture.checkpoint));
            }
            reached = fake_disk_count(fixture.world.disk, kind) - before >= nth;
            fake_disk_fail_nothing(fixture.world.disk);
            ck_assert_uint_eq(fixture.source.begins, 1);
            ck_assert_uint_eq(fixture.source.ends, 1);
            check_files(&fixture);
            switch (kind) {
            case FAKE_DISK_RENAME:
            case FAKE_DISK_SYNC_DIRECTORY:
                ck_assert(fixture.finals == (reached ? 1 : 0));
                ck_assert(!reached || fixture.error == errors[i % 2]);
                break;
            case FAKE_DISK_OPEN:
            case FAKE_DISK_READ:
            case FAKE_DISK_WRITE:
            case FAKE_DISK_SYNC:
            case FAKE_DISK_SIZE:
                ck_assert(fixture.faileds == (reached ? 1 : 0));
                ck_assert(has_snapshot(&fixture, NEW) == !reached);
                ck_assert(has_snapshot(&fixture, OLDEST) == reached);
                break;
            case FAKE_DISK_REMOVE:
                ck_assert_uint_eq(fixture.finals, 0);
                ck_assert(fixture.faileds == (nth == 1 ? 1 : 0)); /* that of the left-over */
                break;
            case FAKE_DISK_LIST:
            case FAKE_DISK_SUBMIT:
            case FAKE_DISK_ANY:
                break;
            }
            if (fixture.dones > 0) {
                ck_assert(is_whole(&fixture, NEW, 3000));
            }
            ck_assert_uint_lt(nth, 200);
            fixture_deinit(&fixture);
        }
    }
}

END_TEST

/* The power fails at any operation, before or after its effect: what is there afterwards is enough,
 * and a snapshot that has its name is whole. Then everything can go on from there. */
START_TEST(wal_checkpoint_every_crash)
{
    for (unsigned after = 0; after < 2; after++) {
        bool reached = true;

        for (unsigned nth = 1; reached; nth++) {
            struct fixture fixture;

            fixture_init(&fixture);
            fill(&fixture);
            fake_disk_cut(fixture.world.disk, nth, after != 0);
            if (wal_checkpoint_start(fixture.checkpoint, &fixture.plan) == 0) {
                run(&fixture);
            }
            reached = fake_disk_is_dead(fixture.world.disk);
            if (!reached) {
                fake_disk_crash(fixture.world.disk); /* at the end: nothing is lost */
            }
            wal_checkpoint_free(fixture.checkpoint);
            fake_disk_restart(fixture.world.disk);
            check_files(&fixture);
            ck_assert(!has_snapshot(&fixture, NEW) || is_whole(&fixture, NEW, 3000));
            ck_assert(reached || has_snapshot(&fixture, NEW));

            make_checkpoint(&fixture);
            for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
                if (has_segment(&fixture, segments[i])) {
                    ck_assert_int_eq(wal_checkpoint_note_segment(fixture.checkpoint, segments[i]),
                                     0);
                }
            }
            ck_assert_int_eq(wal_checkpoint_note_snapshot(fixture.checkpoint, OLDER), 0);
            forget_told(&fixture);
            run_from_start(&fixture);
            ck_assert_uint_eq(fixture.dones, 1);
            ck_assert(is_whole(&fixture, NEW, 3000));
            ck_assert(!has_segment(&fixture, 51));
            ck_assert_uint_lt(nth, 200);
            fixture_deinit(&fixture);
        }
    }
}

END_TEST

/* It can be stopped at any moment, and freed when nothing is pending: `stopped` comes once if
 * something was, and no other event. */
START_TEST(wal_checkpoint_stops_anywhere)
{
    bool ended = false;

    for (unsigned steps = 0; !ended; steps++) {
        struct fixture fixture;
        bool pending;

        fixture_init(&fixture);
        fill(&fixture);
        fixture.plan.rate = (uint64_t)64 * 1024 * 1024;
        fixture.plan.durable_lsn = NEW - 1;
        fake_disk_hold(fixture.world.disk, true);
        ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
        for (unsigned i = 0; i < steps; i++) {
            if (i % 2 == 1 && fake_disk_pending(fixture.world.disk) > 0) {
                fake_disk_step(fixture.world.disk, 0);
            }
            if (i % 50 == 49) {
                wal_checkpoint_note_durable(fixture.checkpoint, NEW);
            }
            if (i + 1 < steps || steps % 50 != 0) {
                fake_world_advance(&fixture.world, 2 * CLOCK_NS_PER_MS);
            }
        }
        ended = fixture.dones > 0;
        pending = wal_checkpoint_is_pending(fixture.checkpoint);
        wal_checkpoint_stop(fixture.checkpoint);
        wal_checkpoint_stop(fixture.checkpoint);
        ck_assert_uint_eq(fixture.source.ends, 1);
        ck_assert(wal_checkpoint_is_pending(fixture.checkpoint) == pending);
        ck_assert_uint_eq(fixture.stops, 0);
        fake_disk_hold(fixture.world.disk, false);
        fake_world_turn(&fixture.world);
        fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
        ck_assert_uint_eq(fixture.stops, pending ? 1 : 0);
        ck_assert_uint_eq(fixture.dones, ended ? 1 : 0);
        ck_assert_uint_eq(fixture.faileds + fixture.finals, 0);
        ck_assert(!wal_checkpoint_is_running(fixture.checkpoint));
        check_files(&fixture);
        ck_assert_uint_lt(steps, 1000);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* What runs and has nothing pending is given up by free. */
START_TEST(wal_checkpoint_free_gives_up)
{
    struct fixture fixture;

    wal_checkpoint_free(NULL);
    fixture_init(&fixture);
    fixture.plan.durable_lsn = 0;
    ck_assert_int_eq(wal_checkpoint_start(fixture.checkpoint, &fixture.plan), 0);
    for (unsigned i = 0; i < 100; i++) {
        fake_world_turn(&fixture.world);
    }
    wal_checkpoint_note_durable(fixture.checkpoint, NEW); /* its task is deferred */
    ck_assert(!wal_checkpoint_is_pending(fixture.checkpoint));
    fixture_deinit(&fixture);
    ck_assert_uint_eq(fixture.stops, 0);
}

END_TEST

UNIT_MAIN("wal_checkpoint", wal_checkpoint_whole_way, wal_checkpoint_keeps_the_order,
          wal_checkpoint_waits_for_the_log, wal_checkpoint_trim_rules,
          wal_checkpoint_again_and_again, wal_checkpoint_starts_from_the_report,
          wal_checkpoint_same_lsn, wal_checkpoint_same_lsn_damaged,
          wal_checkpoint_log_grows_meanwhile, wal_checkpoint_verifies,
          wal_checkpoint_sees_through_lies, wal_checkpoint_no_room, wal_checkpoint_source_gives_up,
          wal_checkpoint_every_failure, wal_checkpoint_every_crash, wal_checkpoint_stops_anywhere,
          wal_checkpoint_free_gives_up)
