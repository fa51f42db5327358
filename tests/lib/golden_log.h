/*
 * A log's records as they must come, those of its snapshot included, learned from one start and
 * held against another.
 *
 * Owns:    copies of the records.
 * Borrows: the world, for the call.
 * Thread:  one.
 */
#ifndef TESTS_LIB_GOLDEN_LOG_H
#define TESTS_LIB_GOLDEN_LOG_H

#include "lib/fake_world.h"

#include "core/buf.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stdint.h>

struct golden_record {
    uint64_t lsn;
    uint8_t type;
    struct buf body;
};

struct golden_list {
    struct golden_record *records;
    uint64_t count;
    uint64_t capacity;
};

/* What a start has told, compared on the way. */
struct golden_reading {
    uint64_t lsn; /* of the last record there is */
    uint64_t notices;
    uint64_t from_snapshot; /* records */
    uint64_t next_lsn;      /* behind the records of the log; 0 = there were none */
    bool is_wrong;          /* something came that must not, or not in this order */
};

struct golden_log {
    struct golden_list log;       /* of LSN 1 at index 0 */
    struct golden_list snapshot;  /* in the order of the file */
    uint64_t snapshot_lsn;        /* 0 = there is none */
    struct golden_list *learning; /* NULL = comparing */
    struct golden_reading reading;
};

/* From a start without the snapshot, and from one with it. Returns what wal_open() does. */
int golden_log_learn(struct golden_log *golden, struct fake_world *world,
                     const struct wal_options *options, char *problem);
int golden_log_learn_snapshot(struct golden_log *golden, struct fake_world *world,
                              const struct wal_options *options, uint64_t snapshot_lsn,
                              char *problem);

/* Opens the log, compares, closes it. With 0, `ret_reading` says what came. Returns what wal_open()
 * does. */
int golden_log_read(struct golden_log *golden, struct fake_world *world,
                    const struct wal_options *options, char *problem,
                    struct golden_reading *ret_reading);

/* Zero-initialised is empty, and so it is again. */
void golden_log_deinit(struct golden_log *golden);

#endif
