/*
 * Uses a commit log as the store would, and writes down everything it is told, in order.
 *
 * Owns:    the mutations it submits, until they are done; the notes.
 * Borrows: the log.
 * Thread:  one.
 */
#ifndef TESTS_LIB_COMMIT_RECORDER_H
#define TESTS_LIB_COMMIT_RECORDER_H

#include "service/commit_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMIT_RECORDER_NOTES_MAX 4096

enum commit_note_kind {
    NOTE_RESET_BEGIN,
    NOTE_RESET_RECORD, /* revision, tag */
    NOTE_RESET_END,    /* revision */
    NOTE_EVENT,        /* revision, tag */
    NOTE_DONE,         /* revision, tag, outcome */
    NOTE_BARRIER,      /* revision, outcome */
    NOTE_STATE,        /* state */
    NOTE_CHECKPOINT,   /* revision, step */
};

struct commit_note {
    enum commit_note_kind kind;
    uint64_t revision;
    uint32_t tag; /* which mutation: the first bytes of its record */
    enum commit_outcome outcome;
    enum commit_log_state state;
    enum wal_snapshot_step step;
    bool is_in_snapshot; /* of NOTE_RESET_RECORD */
};

/* A checkpoint under way: the state is the list of all tags told so far. */
struct commit_recorder_snapshot {
    unsigned note;    /* the next one to be looked at */
    unsigned end;     /* notes there were at the beginning */
    unsigned given;   /* records */
    unsigned give_up; /* the source fails after so many; 0 = never */
    unsigned begun;   /* `begin` without `end` */
    uint32_t body;
};

struct commit_recorder {
    struct commit_log *log;
    struct commit_note notes[COMMIT_RECORDER_NOTES_MAX];
    unsigned count;
    unsigned waiting;        /* submitted, not done */
    bool inside;             /* within a call into the log: nothing may be told */
    unsigned told_inside;    /* how often it was all the same */
    int reset_error;         /* what reset_record returns */
    unsigned submit_on_done; /* so many further mutations, each from the `done` of the one before */
    uint32_t next_tag;
    struct commit_recorder_snapshot snapshot;
    char problem[WAL_PROBLEM_SIZE];
};

/* The recorder's callbacks, for ops->start. */
extern const struct commit_log_callbacks commit_recorder_callbacks;

/* Returns what start returns. */
int commit_recorder_start(struct commit_recorder *recorder, struct commit_log *log);

/* Submits a record of so many bytes (4 at least) that begins with its tag; tags count from 1. */
uint32_t commit_recorder_submit(struct commit_recorder *recorder, size_t size);

void commit_recorder_barrier(struct commit_recorder *recorder);

void commit_recorder_close(struct commit_recorder *recorder);

/* How many notes of a kind there are. */
unsigned commit_recorder_count(const struct commit_recorder *recorder, enum commit_note_kind kind);

/* The index-th note of that kind; it must exist. */
const struct commit_note *commit_recorder_note(const struct commit_recorder *recorder,
                                               enum commit_note_kind kind, unsigned index);

/* Whether the last state told is this one. */
bool commit_recorder_is(const struct commit_recorder *recorder, enum commit_log_state state);

#endif
