/*
 * Snapshots for tests: files made byte by byte in memory, and a source of records for those who
 * write one. Record number i (from 0 on) is the same everywhere, so a reader can tell whether it is
 * the right one.
 *
 * Owns:    the bytes of a file that is made.
 * Borrows: the clock that a source moves.
 * Thread:  any.
 */
#ifndef TESTS_LIB_SNAPSHOT_MAKER_H
#define TESTS_LIB_SNAPSHOT_MAKER_H

#include "core/digest.h"
#include "core/snapshot_format.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot_maker {
    uint8_t *bytes;
    size_t size;
    struct snapshot_format_header header;
    struct snapshot_format_footer footer;
    struct digest digest;
    uint32_t prev_crc;
};

/* The header of the snapshot of that LSN. Aborts when out of memory, as the others do. */
void snapshot_maker_begin(struct snapshot_maker *maker, uint64_t lsn);

/* A frame of the next `count` records. */
void snapshot_maker_frame(struct snapshot_maker *maker, uint32_t count, size_t body_size);

/* A frame with this header, whose epoch, LSNs and prev_crc were already set by
 * snapshot_maker_next_frame(), and this payload. */
struct wal_format_frame snapshot_maker_next_frame(const struct snapshot_maker *maker);
void snapshot_maker_raw_frame(struct snapshot_maker *maker, struct wal_format_frame *frame,
                              struct bytes payload);

void snapshot_maker_end(struct snapshot_maker *maker);
void snapshot_maker_deinit(struct snapshot_maker *maker);

/* Record i with a body of that size, which holds until the next call. */
struct wal_record snapshot_maker_record(uint64_t i, size_t body_size);

/* Whether it is that one. */
bool snapshot_maker_is_record(const struct wal_record *record, uint64_t i, size_t body_size);

/* A source of `count` records. Zero the rest, or set it. */
struct snapshot_maker_source {
    uint64_t count;
    size_t body_size;
    int begin_error;   /* what `begin` returns */
    uint64_t error_at; /* `next` returns `error` instead of that record */
    int error;
    uint64_t *now_ns; /* not NULL: moved by step_ns with every `next` */
    uint64_t step_ns;

    uint64_t next; /* how far it is */
    uint64_t lsn;
    unsigned begins;
    unsigned ends;
};

const struct wal_snapshot_source *snapshot_maker_source(void);

#endif
