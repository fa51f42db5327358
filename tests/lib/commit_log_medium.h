/*
 * What a fake log would have on its disk: a snapshot and the records after it.
 *
 * Owns:    copies of all records.
 * Borrows: nothing.
 * Thread:  one.
 */
#ifndef TESTS_LIB_COMMIT_LOG_MEDIUM_H
#define TESTS_LIB_COMMIT_LOG_MEDIUM_H

#include "service/commit_log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct commit_log_medium_record {
    uint8_t *bytes;
    size_t size;
    uint64_t revision;
    uint8_t type;
};

struct commit_log_medium_records {
    struct commit_log_medium_record *items;
    size_t count;
};

/* Zero-initialised is empty. */
struct commit_log_medium {
    struct commit_log_medium_records snapshot;
    struct commit_log_medium_records log; /* after the snapshot */
    uint64_t revision;                    /* of the last record */
};

void commit_log_medium_deinit(struct commit_log_medium *medium);

/* Appends a record to the log. Returns its revision. Aborts when out of memory, like the next. */
uint64_t commit_log_medium_keep(struct commit_log_medium *medium, uint8_t type, struct bytes body);

void commit_log_medium_add(struct commit_log_medium_records *records, uint64_t revision,
                           uint8_t type, struct bytes body);

void commit_log_medium_forget(struct commit_log_medium_records *records);

/* The records, which it takes over, are the state at `revision`: they replace the snapshot and the
 * log up to there. */
void commit_log_medium_publish(struct commit_log_medium *medium,
                               struct commit_log_medium_records *records, uint64_t revision);

/* Recovery but for its end. Returns what a callback returned. */
int commit_log_medium_replay(const struct commit_log_medium *medium,
                             const struct commit_log_callbacks *callbacks, void *context);

#endif
