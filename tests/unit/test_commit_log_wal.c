/* What is the WAL's own behind the seam; the promises common to all logs are in
 * test_commit_log_conformance.c. */
#include "lib/commit_recorder.h"
#include "lib/fake_world.h"
#include "lib/unit.h"

#include "core/log.h"

#include <errno.h>
#include <unistd.h>

#define MAX_PENDING_NS (10 * CLOCK_NS_PER_S)
#define FIRST_NAME     "wal-0000000000000001.log"

struct fixture {
    struct fake_world world;
    struct commit_log *log;
    struct commit_recorder recorder;
};

static struct fixture fixture;

static void make_log(void)
{
    const struct wal_options options = {.segment_size = WAL_SEGMENT_SIZE_MIN,
                                        .max_pending = 1000,
                                        .max_pending_bytes = 10 << 20,
                                        .max_pending_ns = MAX_PENDING_NS};

    ck_assert_int_eq(commit_log_wal_new(fake_disk_disk(fixture.world.disk), &fixture.world.reactor,
                                        &fixture.world.random, &options, &fixture.log),
                     0);
}

static int start(void)
{
    make_log();
    return commit_recorder_start(&fixture.recorder, fixture.log);
}

static void fixture_init(void)
{
    memset(&fixture, 0, sizeof(fixture));
    fake_world_init(&fixture.world, 31);
    ck_assert_int_eq(start(), 0);
    fake_world_turn(&fixture.world);
}

static void stop(void)
{
    commit_recorder_close(&fixture.recorder);
    for (unsigned i = 0; !commit_recorder_is(&fixture.recorder, COMMIT_LOG_CLOSED); i++) {
        ck_assert_uint_lt(i, 100);
        fake_world_turn(&fixture.world);
    }
    ck_assert_uint_eq(fixture.recorder.waiting, 0);
    ck_assert_ptr_null(fixture.log->ops->stats(fixture.log));
    fixture.log->ops->free(fixture.log);
}

static void submit(unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++) {
        (void)commit_recorder_submit(&fixture.recorder, size);
    }
    fake_world_turn(&fixture.world);
}

static unsigned outcome_count(enum commit_outcome outcome)
{
    unsigned count = 0;

    for (unsigned i = 0; i < commit_recorder_count(&fixture.recorder, NOTE_DONE); i++) {
        count += commit_recorder_note(&fixture.recorder, NOTE_DONE, i)->outcome == outcome;
    }
    return count;
}

/* A full disk degrades the log at the first refusal, not before, and once; with room it is READY
 * again and takes commits. */
START_TEST(commit_log_wal_degrades_and_recovers)
{
    fixture_init();
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    submit(2, 250000);
    submit(1, 250000); /* in the spare; no further one can be made */
    ck_assert(fixture.log->ops->stats(fixture.log)->no_space);
    submit(1, 1000);
    ck_assert(commit_recorder_is(&fixture.recorder, COMMIT_LOG_READY));
    submit(3, 250000);
    ck_assert(commit_recorder_is(&fixture.recorder, COMMIT_LOG_DEGRADED));
    ck_assert_uint_eq(outcome_count(COMMIT_DONE), 5);
    ck_assert_uint_eq(outcome_count(COMMIT_NO_SPACE), 2);
    submit(1, 250000);
    ck_assert_uint_eq(commit_recorder_count(&fixture.recorder, NOTE_STATE), 2);
    fake_disk_set_room(fixture.world.disk, UINT64_MAX);
    fake_world_advance(&fixture.world, CLOCK_NS_PER_S);
    ck_assert(commit_recorder_is(&fixture.recorder, COMMIT_LOG_READY));
    submit(1, 250000);
    ck_assert_uint_eq(outcome_count(COMMIT_DONE), 6);
    ck_assert_uint_eq(commit_recorder_count(&fixture.recorder, NOTE_STATE), 3);
    stop();
    fake_world_deinit(&fixture.world);
}

END_TEST

/* While the disk is slow a change is refused as that, with the log still READY. */
START_TEST(commit_log_wal_tells_of_a_slow_disk)
{
    fixture_init();
    fake_disk_hold(fixture.world.disk, true);
    submit(1, 100);
    fake_world_advance(&fixture.world, MAX_PENDING_NS + 1);
    submit(2, 100);
    ck_assert_uint_eq(outcome_count(COMMIT_SLOW), 2);
    ck_assert_uint_eq(outcome_count(COMMIT_DONE), 0);
    ck_assert(commit_recorder_is(&fixture.recorder, COMMIT_LOG_READY));
    fake_disk_hold(fixture.world.disk, false);
    fake_world_turn(&fixture.world);
    submit(1, 100);
    ck_assert_uint_eq(outcome_count(COMMIT_DONE), 2);
    stop();
    fake_world_deinit(&fixture.world);
}

END_TEST

/* Who waits for room when the log is closed hears NO_SPACE, which is certain, and not UNKNOWN. */
START_TEST(commit_log_wal_close_without_room)
{
    fixture_init();
    fake_disk_set_room(fixture.world.disk, fake_disk_used(fixture.world.disk));
    submit(2, 250000);
    submit(4, 200000);
    ck_assert_uint_eq(outcome_count(COMMIT_DONE), 4);
    stop();
    ck_assert_uint_eq(outcome_count(COMMIT_NO_SPACE), 2);
    fake_world_deinit(&fixture.world);
}

END_TEST

/* Damage ends the start with the log's verdict and text; the log can be freed. */
START_TEST(commit_log_wal_start_refuses_damage)
{
    const uint8_t garbage = 0x55;

    fixture_init();
    submit(1, 100);
    stop();
    fake_disk_poke(fixture.world.disk, FIRST_NAME, 4096 + 80, &garbage, 1);
    ck_assert_int_eq(start(), WAL_E_DAMAGED);
    ck_assert_ptr_nonnull(strstr(fixture.recorder.problem, FIRST_NAME));
    ck_assert_ptr_null(fixture.log->ops->stats(fixture.log));
    fixture.log->ops->free(NULL);
    fixture.log->ops->free(fixture.log);
    fake_world_deinit(&fixture.world);
}

END_TEST

/* What the server's log said during a start, into `text`. */
static void start_and_read_log(const struct commit_log_callbacks *callbacks, char *text,
                               size_t room)
{
    struct log log;
    ssize_t size;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    log_init(&log, &fixture.world.clock);
    log.fd = fds[1];
    fixture.world.reactor.log = &log;
    make_log();
    memset(&fixture.recorder, 0, sizeof(fixture.recorder));
    fixture.recorder.log = fixture.log;
    ck_assert_int_eq(fixture.log->ops->start(fixture.log, callbacks, &fixture.recorder,
                                             fixture.recorder.problem),
                     0);
    fixture.world.reactor.log = NULL;
    (void)close(fds[1]);
    size = read(fds[0], text, room - 1);
    ck_assert_int_gt(size, 0);
    text[size] = '\0';
    (void)close(fds[0]);
}

/* A torn tail is said in the server's log, by name. */
START_TEST(commit_log_wal_says_what_it_cut)
{
    const uint8_t garbage[600] = {1, 2, 3};
    char text[2048];

    fixture_init();
    submit(1, 100);
    stop();
    fake_disk_poke(fixture.world.disk, FIRST_NAME, 128 * 1024, garbage, sizeof(garbage));
    start_and_read_log(&commit_recorder_callbacks, text, sizeof(text));
    ck_assert_uint_eq(fixture.log->ops->stats(fixture.log)->torn_bytes, 128 * 1024 + 4096 - 12288);
    stop();
    ck_assert_ptr_nonnull(strstr(text, "recovery_notice what="));
    ck_assert_ptr_nonnull(strstr(text, FIRST_NAME));
    fake_world_deinit(&fixture.world);
}

END_TEST

static unsigned progress_count;

static void on_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    ck_assert_uint_le(progress->bytes_done, progress->bytes_total);
    progress_count++;
}

/* Each record takes a second of the clock. */
static int slow_record(void *context, const struct commit_event *event)
{
    fixture.world.now_ns += CLOCK_NS_PER_S;
    return commit_recorder_callbacks.reset_record(context, event);
}

/* How far a long start has come is said in the server's log, and to who wants to know. */
START_TEST(commit_log_wal_says_how_far_it_is)
{
    struct commit_log_callbacks callbacks = commit_recorder_callbacks;
    char text[4096];

    callbacks.reset_record = slow_record;
    callbacks.reset_progress = on_progress;
    fixture_init();
    for (unsigned i = 0; i < 10; i++) {
        submit(1, 100000); /* a frame each */
    }
    stop();
    progress_count = 0;
    start_and_read_log(&callbacks, text, sizeof(text));
    stop();
    ck_assert_uint_gt(progress_count, 0);
    ck_assert_ptr_nonnull(strstr(text, " recovering file=" FIRST_NAME " records="));
    ck_assert_ptr_nonnull(strstr(text, " records_per_s=1 percent="));
    ck_assert_ptr_nonnull(strstr(text, " eta_s="));
    fake_world_deinit(&fixture.world);
}

END_TEST

/* The revision of a commit is its LSN, and the statistics are the WAL's. */
START_TEST(commit_log_wal_shows_statistics)
{
    const struct wal_stats *stats;

    fixture_init();
    submit(5, 100);
    stats = fixture.log->ops->stats(fixture.log);
    ck_assert_uint_eq(stats->records_written, 5);
    ck_assert_uint_eq(stats->durable_lsn, 5);
    ck_assert_uint_eq(commit_recorder_note(&fixture.recorder, NOTE_DONE, 4)->revision, 5);
    stop();
    fake_world_deinit(&fixture.world);
}

END_TEST

UNIT_MAIN("commit_log_wal", commit_log_wal_degrades_and_recovers,
          commit_log_wal_tells_of_a_slow_disk, commit_log_wal_close_without_room,
          commit_log_wal_start_refuses_damage, commit_log_wal_says_what_it_cut,
          commit_log_wal_says_how_far_it_is, commit_log_wal_shows_statistics)
