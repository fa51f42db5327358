/*
 * A commit log under test, the local WAL on the fake disk or the fake log, with a recorder that
 * uses it. Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_COMMIT_LOG_SUBJECT_H
#define UNIT_COMMIT_LOG_SUBJECT_H

#include "lib/commit_log_fake.h"
#include "lib/commit_recorder.h"
#include "lib/fake_world.h"
#include "lib/unit.h"

#include <errno.h>

struct subject {
    struct fake_world world;
    struct commit_log_medium medium;
    struct commit_log *log;
    struct commit_recorder recorder;
    bool is_wal;
};

static struct subject subject;

#define PENDING_MAX 8

static inline void make_log(void)
{
    const struct wal_options options = {.segment_size = WAL_SEGMENT_SIZE_MIN,
                                        .max_pending = PENDING_MAX,
                                        .max_pending_bytes = 1 << 20};

    if (subject.is_wal) {
        ck_assert_int_eq(commit_log_wal_new(fake_disk_disk(subject.world.disk),
                                            &subject.world.reactor, &subject.world.random, &options,
                                            &subject.log),
                         0);
    } else {
        subject.log = commit_log_fake_new(&subject.world.reactor, &subject.medium);
        commit_log_fake_set_pending_max(subject.log, PENDING_MAX);
        commit_log_fake_slow_checkpoints(subject.log);
    }
}

static inline void turn(unsigned times)
{
    while (times-- > 0) {
        fake_world_turn(&subject.world);
    }
}

static inline void start(void)
{
    make_log();
    ck_assert_int_eq(commit_recorder_start(&subject.recorder, subject.log), 0);
    ck_assert_uint_eq(commit_recorder_count(&subject.recorder, NOTE_STATE), 0);
    turn(1);
    ck_assert(commit_recorder_is(&subject.recorder, COMMIT_LOG_READY));
}

static inline void stop(void)
{
    commit_recorder_close(&subject.recorder);
    for (unsigned i = 0; !commit_recorder_is(&subject.recorder, COMMIT_LOG_CLOSED); i++) {
        ck_assert_uint_lt(i, 100);
        turn(1);
    }
    turn(2);
    ck_assert_uint_eq(subject.recorder.waiting, 0);
    ck_assert_int_eq(subject.recorder.notes[subject.recorder.count - 1].kind, NOTE_STATE);
    ck_assert_uint_eq(subject.recorder.told_inside, 0);
    subject.log->ops->free(subject.log);
    subject.log = NULL;
}

/* loop index 0: the WAL; 1: the fake */
static inline void subject_init(int which)
{
    memset(&subject, 0, sizeof(subject));
    subject.is_wal = which == 0;
    fake_world_init(&subject.world, 21);
}

static inline void subject_deinit(void)
{
    commit_log_medium_deinit(&subject.medium);
    fake_world_deinit(&subject.world);
}

static inline void hold(bool on)
{
    if (subject.is_wal) {
        fake_disk_hold(subject.world.disk, on);
    } else {
        commit_log_fake_hold(subject.log, on);
    }
}

/* The next thing that is written does not succeed. */
static inline void break_next(bool kept)
{
    if (subject.is_wal) {
        fake_disk_fail(subject.world.disk, kept ? FAKE_DISK_SYNC : FAKE_DISK_WRITE, 1, -EIO, false);
    } else {
        commit_log_fake_set_fate(subject.log, 1,
                                 kept ? FAKE_FATE_UNKNOWN_KEPT : FAKE_FATE_UNKNOWN_LOST);
    }
}

static inline const struct commit_note *nth(enum commit_note_kind kind, unsigned index)
{
    ck_assert_uint_lt(index, commit_recorder_count(&subject.recorder, kind));
    return commit_recorder_note(&subject.recorder, kind, index);
}

static inline unsigned count(enum commit_note_kind kind)
{
    return commit_recorder_count(&subject.recorder, kind);
}

static inline void submit(unsigned times)
{
    while (times-- > 0) {
        (void)commit_recorder_submit(&subject.recorder, 10);
    }
}

#endif
