/*
 * The bytes of the write-ahead log: makes and checks segment headers, frames, records and control
 * blocks. Pure; the format itself is written down at the head of wal_format.c.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call; a record that was read points into its payload.
 * Thread:  any.
 */
#ifndef CORE_WAL_FORMAT_H
#define CORE_WAL_FORMAT_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_FORMAT_VERSION 1

#define WAL_FORMAT_BLOCK_SIZE         4096
#define WAL_FORMAT_UUID_SIZE          16
#define WAL_FORMAT_FRAME_HEADER_SIZE  64
#define WAL_FORMAT_RECORD_HEADER_SIZE 12
#define WAL_FORMAT_FRAME_SIZE_MAX     (1024 * 1024) /* header and padding included */
#define WAL_FORMAT_FRAME_RECORDS_MAX  512
#define WAL_FORMAT_RECORD_SIZE_MAX    (256 * 1024)

#define WAL_FORMAT_NAME_SIZE 64 /* of the longest file name, with its NUL */
#define WAL_FORMAT_SPARE     "spare.tmp"
#define WAL_FORMAT_CONTROL_A "CONTROL.a"
#define WAL_FORMAT_CONTROL_B "CONTROL.b"

#define WAL_FORMAT_E_BAD   1 /* not what was looked for, or a checksum is wrong */
#define WAL_FORMAT_E_NEWER 2 /* whole, but made by a version that this one must not read */

/* Frames without records. */
#define WAL_FORMAT_FRAME_SEAL  1u /* the log fell silent: everything before is durable */
#define WAL_FORMAT_FRAME_CLOSE 2u /* the log was closed properly */

struct wal_format_segment {
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    uint64_t epoch; /* random, of this segment alone; every frame repeats it */
    uint64_t first_lsn;
    bool is_lazy;         /* its records are told before they are synced */
    uint64_t size;        /* of the file, header included */
    uint64_t realtime_ns; /* when it was taken into use */
    uint32_t crc;         /* of the header; the first frame's prev_crc */
};

struct wal_format_frame {
    uint16_t flags;
    uint32_t payload_size;
    uint32_t record_count;
    uint64_t epoch;
    uint64_t first_lsn;   /* of its first record, or of the next record when it has none */
    uint64_t durable_lsn; /* everything up to here was durable when the frame was made */
    uint64_t realtime_ns;
    uint32_t prev_crc; /* `crc` of the frame before, or of the segment header */
    uint32_t payload_crc;
    uint32_t crc; /* of the header, and through payload_crc of the payload */
};

struct wal_format_record {
    uint8_t type;
    struct bytes body;
};

struct wal_format_control {
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    uint64_t sequence;    /* the higher one of the two files counts */
    uint64_t durable_lsn; /* everything up to here was durable when this was written */
    uint64_t realtime_ns;
    bool is_clean;        /* the log was closed properly and holds nothing after durable_lsn */
    bool may_have_lost;   /* records after durable_lsn may have been told and be gone */
    uint64_t record_hint; /* about how many records the state is; 0 = unknown; not to be trusted */
};

/* Bytes a frame with this payload takes in the file. */
static inline size_t wal_format_frame_size(size_t payload_size)
{
    size_t size = WAL_FORMAT_FRAME_HEADER_SIZE + payload_size;

    return (size + WAL_FORMAT_BLOCK_SIZE - 1) / WAL_FORMAT_BLOCK_SIZE * WAL_FORMAT_BLOCK_SIZE;
}

/* Names of files; `name` has WAL_FORMAT_NAME_SIZE bytes. */
void wal_format_segment_name(uint64_t first_lsn, char *name);
void wal_format_torn_name(uint64_t first_lsn, uint64_t next_lsn, char *name);

/* Whether `name` is a segment's, and then which. */
bool wal_format_parse_segment_name(const char *name, uint64_t *ret_first_lsn);

/* Fills block 0 of a segment; sets segment->crc. */
void wal_format_put_segment(uint8_t *block, struct wal_format_segment *segment);

/* Returns 0, WAL_FORMAT_E_BAD (both copies) or WAL_FORMAT_E_NEWER. */
int wal_format_get_segment(const uint8_t *block, struct wal_format_segment *ret_segment);

/* Makes a frame of the payload that stands already at `bytes` + WAL_FORMAT_FRAME_HEADER_SIZE:
 * writes header and padding, sets payload_crc and crc. Returns the frame's size in the file. */
size_t wal_format_put_frame(uint8_t *bytes, struct wal_format_frame *frame);

/* Reads a header alone. Returns 0, or WAL_FORMAT_E_BAD when magic, length or checksum is wrong. */
int wal_format_get_frame(const uint8_t *bytes, struct wal_format_frame *ret_frame);

/* Whether the payload behind the header is the one that was written. */
bool wal_format_check_payload(const struct wal_format_frame *frame, const uint8_t *payload);

/* Appends a record to a payload. Returns its size there. */
size_t wal_format_put_record(uint8_t *bytes, uint8_t type, struct bytes body);

/* The record at *offset, which moves behind it. Returns 0 or WAL_FORMAT_E_BAD. */
int wal_format_get_record(struct bytes payload, size_t *offset,
                          struct wal_format_record *ret_record);

/* The same in a payload that was gone through before, and found to be whole: checks nothing. */
struct wal_format_record wal_format_next_record(struct bytes payload, size_t *offset);

/* Fills the block of a control file. */
void wal_format_put_control(uint8_t *block, const struct wal_format_control *control);

/* Returns 0, WAL_FORMAT_E_BAD or WAL_FORMAT_E_NEWER. */
int wal_format_get_control(const uint8_t *block, struct wal_format_control *ret_control);

#endif
