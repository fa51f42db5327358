/*
 * Checks a snapshot piece by piece, as its bytes come: the one place that decides whether one is
 * right, for the reader at start and for the writer that reads back. Pure.
 *
 *     header; then while (!snapshot_check_at_footer()): frame, payload, record, record ... END;
 *     at last the footer
 *
 * Owns:    nothing.
 * Borrows: the bytes of a payload until its last record was taken; store_uuid and problem.
 * Thread:  any.
 */
#ifndef CORE_SNAPSHOT_CHECK_H
#define CORE_SNAPSHOT_CHECK_H

#include "core/digest.h"
#include "core/snapshot_format.h"
#include "core/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_CHECK_END 100 /* the frame has no further record; no outcome of the log's */

struct snapshot_check {
    char name[WAL_FORMAT_NAME_SIZE];
    const uint8_t *store_uuid; /* NULL: of any store */
    uint64_t file_size;
    char *problem; /* WAL_PROBLEM_SIZE bytes */

    struct snapshot_format_header header;
    struct wal_format_frame frame; /* the present one */
    struct bytes payload;
    size_t payload_offset;
    uint32_t records_left; /* of the present frame */
    uint64_t offset;       /* where the next piece stands: frame or footer */
    uint64_t record_count; /* so far, and so are these */
    uint64_t frame_count;
    uint32_t prev_crc;
    struct digest digest;
};

/* Begins with the snapshot of that LSN, in a file of so many bytes. */
void snapshot_check_init(struct snapshot_check *check, uint64_t lsn, uint64_t file_size,
                         const uint8_t *store_uuid, char *problem);

/* All of the following return 0, or WAL_E_DAMAGED or WAL_E_FOREIGN with `problem` filled in; then
 * nothing may follow. */

/* Whether the file can have the pieces at all; then block 0 may be read. */
int snapshot_check_size(struct snapshot_check *check);

int snapshot_check_header(struct snapshot_check *check, const uint8_t *block);

static inline bool snapshot_check_at_footer(const struct snapshot_check *check)
{
    return check->offset + WAL_FORMAT_BLOCK_SIZE == check->file_size;
}

/* The block at `offset`. The frame takes *ret_size bytes from there, all of them before the footer.
 */
int snapshot_check_frame(struct snapshot_check *check, const uint8_t *block, size_t *ret_size);

/* All bytes of that frame. `offset` moves behind it. */
int snapshot_check_payload(struct snapshot_check *check, const uint8_t *bytes);

/* Also SNAPSHOT_CHECK_END. The record's body points into the payload. */
int snapshot_check_record(struct snapshot_check *check, struct wal_record *ret_record);

/* The block at `offset`, the last one. 0: all of the file was right. */
int snapshot_check_footer(struct snapshot_check *check, const uint8_t *block);

#endif
