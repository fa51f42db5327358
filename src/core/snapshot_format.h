/*
 * The bytes of a snapshot around its frames: makes and checks header and footer. Pure; the format
 * itself is written down at the head of snapshot_format.c.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call.
 * Thread:  any.
 */
#ifndef CORE_SNAPSHOT_FORMAT_H
#define CORE_SNAPSHOT_FORMAT_H

#include "core/bytes.h"
#include "core/wal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_FORMAT_VERSION     1
#define SNAPSHOT_FORMAT_TEMPORARY   "snap.tmp"
#define SNAPSHOT_FORMAT_DIGEST_SIZE 32
#define SNAPSHOT_FORMAT_PREFIX_SIZE 8 /* of every record's body: the LSN */
#define SNAPSHOT_FORMAT_SIZE_MIN    ((uint64_t)2 * WAL_FORMAT_BLOCK_SIZE) /* header and footer */

struct snapshot_format_header {
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    uint64_t epoch; /* random; every frame and the footer repeat it */
    uint64_t lsn;   /* the state after this record */
    uint64_t realtime_ns;
    uint64_t record_count; /* as far as known at the beginning: a hint for the reader's memory */
    uint32_t crc;          /* of the header; the first frame's prev_crc */
};

struct snapshot_format_footer {
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    uint64_t epoch;
    uint64_t lsn;
    uint64_t record_count;
    uint64_t frame_count;
    uint64_t size;                               /* of the file, this block included */
    uint8_t digest[SNAPSHOT_FORMAT_DIGEST_SIZE]; /* SHA-256 of all frame headers */
};

/* snap-<lsn>.snap, and snap-<lsn>.bad for one that was found damaged; `name` has
 * WAL_FORMAT_NAME_SIZE bytes. */
void snapshot_format_name(uint64_t lsn, char *name);
void snapshot_format_bad_name(uint64_t lsn, char *name);

/* Whether `name` is a snapshot's, and then which. */
bool snapshot_format_parse_name(const char *name, uint64_t *ret_lsn);

/* Fills block 0; sets header->crc. */
void snapshot_format_put_header(uint8_t *block, struct snapshot_format_header *header);

/* Returns 0, WAL_FORMAT_E_BAD (both copies) or WAL_FORMAT_E_NEWER. */
int snapshot_format_get_header(const uint8_t *block, struct snapshot_format_header *ret_header);

/* The same for the last block. */
void snapshot_format_put_footer(uint8_t *block, const struct snapshot_format_footer *footer);
int snapshot_format_get_footer(const uint8_t *block, struct snapshot_format_footer *ret_footer);

#endif
