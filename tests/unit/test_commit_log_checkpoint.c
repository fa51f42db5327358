/*
 * What every commit log that makes checkpoints must do about them, whatever is behind it: the local
 * WAL on the fake disk, and the fake log.
 */
#include "commit_log_subject.h"

/* Turns until the first checkpoint since the start has ended, and returns how. */
static enum wal_snapshot_step checkpoint_ends(void)
{
    for (unsigned i = 0; count(NOTE_CHECKPOINT) < 2; i++) {
        ck_assert_uint_lt(i, 500);
        turn(1);
    }
    ck_assert_int_eq(nth(NOTE_CHECKPOINT, 0)->step, WAL_SNAPSHOT_STARTED);
    ck_assert_uint_eq(nth(NOTE_CHECKPOINT, 0)->revision, nth(NOTE_CHECKPOINT, 1)->revision);
    ck_assert_uint_eq(subject.recorder.snapshot.begun, 0);
    return nth(NOTE_CHECKPOINT, 1)->step;
}

/* Restarts, and checks that all of 1..`tags` come back, once each and in their order, those up to
 * `in_snapshot` from the snapshot. */
static void comes_back(uint32_t tags, uint32_t in_snapshot)
{
    stop();
    start();
    ck_assert_uint_eq(count(NOTE_RESET_RECORD), tags);
    for (uint32_t i = 0; i < tags; i++) {
        ck_assert_uint_eq(nth(NOTE_RESET_RECORD, i)->tag, i + 1);
        ck_assert_uint_eq(nth(NOTE_RESET_RECORD, i)->revision, i + 1);
        ck_assert_int_eq(nth(NOTE_RESET_RECORD, i)->is_in_snapshot, i < in_snapshot);
    }
    ck_assert_uint_eq(nth(NOTE_RESET_END, 0)->revision, tags);
}

/* A checkpoint holds what was committed when it began, however much is committed meanwhile; the
 * next start brings back all of it, and revisions go on. One runs at a time. */
static void checkpoints(void)
{
    start();
    submit(6);
    turn(4);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), -EBUSY);
    ck_assert_uint_eq(count(NOTE_CHECKPOINT), 0);
    turn(1);
    submit(5);
    turn(1);
    submit(3);
    ck_assert_int_eq(checkpoint_ends(), WAL_SNAPSHOT_DONE);
    ck_assert_uint_eq(nth(NOTE_CHECKPOINT, 0)->revision, 6);
    turn(3);
    comes_back(14, 6);
    submit(1);
    turn(4);
    ck_assert_uint_eq(nth(NOTE_DONE, 0)->revision, 15);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    ck_assert_int_eq(checkpoint_ends(), WAL_SNAPSHOT_DONE);
    comes_back(15, 15);
    stop();
}

/* A state of nothing can be saved, too. */
static void checkpoints_nothing(void)
{
    start();
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    ck_assert_int_eq(checkpoint_ends(), WAL_SNAPSHOT_DONE);
    comes_back(0, 0);
    stop();
}

/* A checkpoint that its source gives up leaves everything as it was; the next one may succeed. */
static void checkpoint_may_fail(void)
{
    start();
    submit(7);
    turn(4);
    subject.recorder.snapshot.give_up = 4;
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    ck_assert_int_eq(checkpoint_ends(), WAL_SNAPSHOT_FAILED);
    comes_back(7, 0);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    ck_assert_int_eq(checkpoint_ends(), WAL_SNAPSHOT_DONE);
    comes_back(7, 7);
    stop();
}

/* A log that is closed or has failed ends the checkpoint under way, without a word, and begins no
 * further one. */
static void checkpoint_ends_with_the_log(void)
{
    start();
    submit(7);
    turn(4);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), 0);
    turn(2);
    commit_recorder_close(&subject.recorder);
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), -EIO);
    stop();
    ck_assert_uint_eq(subject.recorder.snapshot.begun, 0);
    start();
    ck_assert_uint_eq(count(NOTE_RESET_RECORD), 7);
    break_next(false);
    submit(1);
    turn(4);
    ck_assert(commit_recorder_is(&subject.recorder, COMMIT_LOG_FAILED));
    ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), -EIO);
    stop();
}

static void (*const promises[])(void) = {
    checkpoints,
    checkpoints_nothing,
    checkpoint_may_fail,
    checkpoint_ends_with_the_log,
};

static void keep_all(int which)
{
    for (size_t i = 0; i < sizeof(promises) / sizeof(promises[0]); i++) {
        subject_init(which);
        promises[i]();
        subject_deinit();
    }
}

/* The local WAL keeps every promise. */
START_TEST(commit_log_checkpoint_wal)
{
    keep_all(0);
}

END_TEST

/* The fake log keeps every promise. */
START_TEST(commit_log_checkpoint_fake)
{
    keep_all(1);
}

END_TEST

/* A log that nobody tells what a snapshot is made of takes none. */
START_TEST(commit_log_checkpoint_without_a_source)
{
    for (int which = 0; which < 2; which++) {
        struct commit_log_callbacks callbacks = commit_recorder_callbacks;

        subject_init(which);
        callbacks.snapshot = NULL;
        make_log();
        subject.recorder.log = subject.log;
        ck_assert_int_eq(subject.log->ops->start(subject.log, &callbacks, &subject.recorder,
                                                 subject.recorder.problem),
                         0);
        turn(1);
        ck_assert_int_eq(subject.log->ops->checkpoint(subject.log), -ENOTSUP);
        stop();
        subject_deinit();
    }
}

END_TEST

UNIT_MAIN("commit_log_checkpoint", commit_log_checkpoint_wal, commit_log_checkpoint_fake,
          commit_log_checkpoint_without_a_source)
