/*
 * What every commit log must do, whatever is behind it. The suite runs over the local WAL on the
 * fake disk and over the fake log, so that who tests with the fake tests against the same promises.
 * Checkpoints are in test_commit_log_checkpoint.c.
 */
#include "commit_log_subject.h"

/* A new log begins with an empty reset, all of it within start; READY follows from the loop. */
static void starts_empty(void)
{
    start();
    ck_assert_uint_eq(subject.recorder.count, 3);
    ck_assert_int_eq(subject.recorder.notes[0].kind, NOTE_RESET_BEGIN);
    ck_assert_int_eq(subject.recorder.notes[1].kind, NOTE_RESET_END);
    ck_assert_uint_eq(subject.recorder.notes[1].revision, 0);
    stop();
}

/* A commit is told as an event, then as done, with the next revision; never inside submit. */
static void commits_in_order(void)
{
    start();
    for (uint32_t i = 0; i < 30; i++) {
        (void)commit_recorder_submit(&subject.recorder, 4 + i * 10);
        if (i % 7 == 3) {
            turn(3);
        }
    }
    turn(5);
    ck_assert_uint_eq(count(NOTE_EVENT), 30);
    ck_assert_uint_eq(count(NOTE_DONE), 30);
    for (unsigned i = 0; i < 30; i++) {
        ck_assert_uint_eq(nth(NOTE_EVENT, i)->revision, i + 1);
        ck_assert_uint_eq(nth(NOTE_EVENT, i)->tag, i + 1);
        ck_assert_uint_eq(nth(NOTE_DONE, i)->revision, i + 1);
        ck_assert_uint_eq(nth(NOTE_DONE, i)->tag, i + 1);
        ck_assert_int_eq(nth(NOTE_DONE, i)->outcome, COMMIT_DONE);
        ck_assert(nth(NOTE_EVENT, i) < nth(NOTE_DONE, i));
    }
    stop();
}

/* What is slow is late, and neither lost nor early. */
static void waits(void)
{
    start();
    hold(true);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(1);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(5);
    ck_assert_uint_eq(count(NOTE_EVENT), 0);
    ck_assert_uint_eq(count(NOTE_DONE), 0);
    hold(false);
    turn(5);
    ck_assert_uint_eq(count(NOTE_DONE), 2);
    stop();
}

/* A close finishes what was submitted before it, refuses what comes after it, and CLOSED is the
 * last word. */
static void close_finishes(void)
{
    start();
    hold(true);
    for (unsigned i = 0; i < 5; i++) {
        (void)commit_recorder_submit(&subject.recorder, 10);
    }
    turn(1);
    commit_recorder_close(&subject.recorder);
    (void)commit_recorder_submit(&subject.recorder, 10);
    if (subject.is_wal) {
        hold(false);
    }
    stop();
    ck_assert_uint_eq(count(NOTE_DONE), 6);
    for (unsigned i = 0; i < 6; i++) {
        const struct commit_note *note = nth(NOTE_DONE, i);

        ck_assert_int_eq(note->outcome, note->tag == 6 ? COMMIT_NOT_SENT : COMMIT_DONE);
    }
}

/* Closed before the first turn, it never says READY. */
static void closes_at_once(void)
{
    make_log();
    ck_assert_int_eq(commit_recorder_start(&subject.recorder, subject.log), 0);
    (void)commit_recorder_submit(&subject.recorder, 10);
    stop();
    ck_assert_uint_eq(count(NOTE_STATE), 1);
    ck_assert_int_eq(nth(NOTE_DONE, 0)->outcome, COMMIT_DONE);
}

/* The next start brings back everything, in order, and revisions go on. */
static void replays(void)
{
    start();
    for (unsigned i = 0; i < 8; i++) {
        (void)commit_recorder_submit(&subject.recorder, 4 + 1000 * i);
    }
    turn(5);
    stop();
    start();
    ck_assert_uint_eq(count(NOTE_RESET_RECORD), 8);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_eq(nth(NOTE_RESET_RECORD, i)->revision, i + 1);
        ck_assert_uint_eq(nth(NOTE_RESET_RECORD, i)->tag, i + 1);
    }
    ck_assert_uint_eq(nth(NOTE_RESET_END, 0)->revision, 8);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    ck_assert_uint_eq(nth(NOTE_DONE, 0)->revision, 9);
    ck_assert_uint_eq(count(NOTE_EVENT), 1);
    stop();
}

/* A record that the store refuses ends the start with the store's error. */
static void start_passes_errors_on(void)
{
    start();
    (void)commit_recorder_submit(&subject.recorder, 10);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(5);
    stop();
    make_log();
    memset(&subject.recorder, 0, sizeof(subject.recorder));
    subject.recorder.reset_error = -EBADMSG;
    ck_assert_int_eq(subject.log->ops->start(subject.log, &commit_recorder_callbacks,
                                             &subject.recorder, subject.recorder.problem),
                     -EBADMSG);
    ck_assert_uint_eq(count(NOTE_RESET_RECORD), 1);
    ck_assert_uint_eq(count(NOTE_RESET_END), 0);
    subject.log->ops->free(subject.log);
    turn(2);
}

/* What is refused is told from the loop, has no effect, and takes no revision. */
static void refuses(void)
{
    start();
    ck_assert_uint_eq(subject.log->ops->limits(subject.log).pending_max, PENDING_MAX);
    (void)commit_recorder_submit(&subject.recorder,
                                 subject.log->ops->limits(subject.log).record_size_max + 1);
    for (unsigned i = 0; i < PENDING_MAX + 2; i++) {
        (void)commit_recorder_submit(&subject.recorder, 10);
    }
    ck_assert_uint_eq(count(NOTE_DONE), 0);
    turn(5);
    ck_assert_uint_eq(count(NOTE_DONE), PENDING_MAX + 3);
    ck_assert_uint_eq(count(NOTE_EVENT), PENDING_MAX);
    for (unsigned i = 0; i < PENDING_MAX + 3; i++) {
        const struct commit_note *note = nth(NOTE_DONE, i);
        enum commit_outcome expected = COMMIT_DONE;

        if (note->tag == 1) {
            expected = COMMIT_TOO_LARGE;
        } else if (note->tag > PENDING_MAX + 1) {
            expected = COMMIT_FULL;
        }
        ck_assert_int_eq(note->outcome, expected);
    }
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    ck_assert_uint_eq(nth(NOTE_EVENT, PENDING_MAX)->revision, PENDING_MAX + 1);
    stop();
}

/* A barrier is told from the loop, and sees at least what had been committed when it was asked. */
static void barrier_sees_commits(void)
{
    start();
    commit_recorder_barrier(&subject.recorder);
    ck_assert_uint_eq(count(NOTE_BARRIER), 0);
    turn(2);
    ck_assert_uint_eq(count(NOTE_BARRIER), 1);
    ck_assert_int_eq(nth(NOTE_BARRIER, 0)->outcome, COMMIT_DONE);
    ck_assert_uint_eq(nth(NOTE_BARRIER, 0)->revision, 0);
    (void)commit_recorder_submit(&subject.recorder, 10);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    commit_recorder_barrier(&subject.recorder);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    ck_assert_uint_ge(nth(NOTE_BARRIER, 1)->revision, 2);
    commit_recorder_barrier(&subject.recorder);
    stop();
    ck_assert_uint_eq(count(NOTE_BARRIER), 3);
}

/* When the log fails: FAILED first, then UNKNOWN for all who wait; later ones are NOT_SENT. The
 * next start has all that was DONE, and of the unknown ones any first few. */
static void fails(bool kept)
{
    unsigned replayed;

    start();
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    hold(true);
    break_next(kept);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(1);
    (void)commit_recorder_submit(&subject.recorder, 10);
    hold(false);
    turn(3);
    ck_assert(commit_recorder_is(&subject.recorder, COMMIT_LOG_FAILED));
    ck_assert_uint_eq(count(NOTE_DONE), 3);
    for (unsigned i = 1; i < 3; i++) {
        ck_assert_int_eq(nth(NOTE_DONE, i)->outcome, COMMIT_UNKNOWN);
        ck_assert(nth(NOTE_DONE, i) > nth(NOTE_STATE, 1));
    }
    ck_assert_uint_eq(count(NOTE_EVENT), 1);
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(3);
    ck_assert_int_eq(nth(NOTE_DONE, 3)->outcome, COMMIT_NOT_SENT);
    stop();
    start();
    replayed = count(NOTE_RESET_RECORD);
    ck_assert_uint_ge(replayed, 1);
    ck_assert_uint_le(replayed, 3);
    for (unsigned i = 0; i < replayed; i++) {
        ck_assert_uint_eq(nth(NOTE_RESET_RECORD, i)->tag, i + 1);
    }
    stop();
}

static void fails_and_keeps(void)
{
    fails(true);
}

static void fails_and_loses(void)
{
    fails(false);
}

/* A `done` may submit. */
static void done_may_submit(void)
{
    start();
    subject.recorder.submit_on_done = 50;
    (void)commit_recorder_submit(&subject.recorder, 10);
    turn(200);
    ck_assert_uint_eq(count(NOTE_DONE), 51);
    ck_assert_uint_eq(nth(NOTE_DONE, 50)->revision, 51);
    stop();
}

static void (*const promises[])(void) = {
    starts_empty,    commits_in_order,       waits,   close_finishes,       closes_at_once,
    replays,         start_passes_errors_on, refuses, barrier_sees_commits, fails_and_keeps,
    fails_and_loses, done_may_submit,
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
START_TEST(commit_log_conformance_wal)
{
    keep_all(0);
}

END_TEST

/* The fake log keeps every promise. */
START_TEST(commit_log_conformance_fake)
{
    keep_all(1);
}

END_TEST

/* So does the fake log when it tells several events at once. */
START_TEST(commit_log_conformance_fake_batches)
{
    subject_init(1);
    start();
    commit_log_fake_set_batch(subject.log, 3);
    for (unsigned i = 0; i < 7; i++) {
        (void)commit_recorder_submit(&subject.recorder, 10);
    }
    turn(2);
    ck_assert_uint_eq(count(NOTE_DONE), 7);
    ck_assert(nth(NOTE_EVENT, 2) < nth(NOTE_DONE, 0));
    ck_assert(nth(NOTE_DONE, 0) < nth(NOTE_EVENT, 3));
    stop();
    subject_deinit();
}

END_TEST

/* Without a reactor the fake tells only when it is stepped, as many as it is told to. */
START_TEST(commit_log_conformance_fake_steps)
{
    subject_init(1);
    subject.log = commit_log_fake_new(NULL, &subject.medium);
    ck_assert_int_eq(commit_recorder_start(&subject.recorder, subject.log), 0);
    commit_log_fake_step(subject.log, 0);
    ck_assert(commit_recorder_is(&subject.recorder, COMMIT_LOG_READY));
    commit_log_fake_set_fate(subject.log, 3, FAKE_FATE_CONFLICT);
    for (unsigned i = 0; i < 4; i++) {
        (void)commit_recorder_submit(&subject.recorder, 10);
    }
    ck_assert_uint_eq(commit_log_fake_pending(subject.log), 3);
    commit_log_fake_step(subject.log, 1);
    ck_assert_uint_eq(count(NOTE_DONE), 2);
    ck_assert_int_eq(nth(NOTE_DONE, 0)->outcome, COMMIT_CONFLICT);
    ck_assert_uint_eq(nth(NOTE_DONE, 0)->tag, 3);
    commit_recorder_close(&subject.recorder);
    commit_log_fake_step(subject.log, 1);
    ck_assert(!commit_recorder_is(&subject.recorder, COMMIT_LOG_CLOSED));
    commit_log_fake_step(subject.log, 1);
    ck_assert(commit_recorder_is(&subject.recorder, COMMIT_LOG_CLOSED));
    ck_assert_uint_eq(count(NOTE_EVENT), 3);
    subject.log->ops->free(subject.log);
    subject_deinit();
}

END_TEST

UNIT_MAIN("commit_log_conformance", commit_log_conformance_wal, commit_log_conformance_fake,
          commit_log_conformance_fake_batches, commit_log_conformance_fake_steps)
