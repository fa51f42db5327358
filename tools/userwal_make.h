/*
 * Pieces of a data directory made by hand, in the forms of the log: an empty segment, the CONTROL
 * files.
 *
 * Owns:    nothing.
 * Borrows: the disk, for the call.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_MAKE_H
#define TOOLS_USERWAL_MAKE_H

#include <stdint.h>

struct disk;
struct reactor;

#define USERWAL_SEGMENT_SIZE_DEFAULT (64ull * 1024 * 1024) /* as wal.segment_size */

/* Copies a file whose size is a multiple of DISK_BLOCK_SIZE, as that of a snapshot is, and syncs
 * it. Returns 0 or negative errno. */
int userwal_make_copy(struct disk *from, const char *from_name, struct disk *to,
                      const char *to_name);

/* Removes everything from a directory that was empty but for its lock. */
void userwal_make_undo(struct disk *disk);

/* A segment without frames, which begins with that record. Returns 0 or negative errno. */
int userwal_make_segment(struct disk *disk, struct reactor *reactor, const uint8_t *store_uuid,
                         uint64_t first_lsn, uint64_t size);

/* Writes both CONTROL files, over what they hold: everything up to `durable_lsn` is durable, and
 * what was behind it may have been told and be gone. Returns 0 or negative errno. */
int userwal_make_control(struct disk *disk, const uint8_t *store_uuid, uint64_t durable_lsn);

#endif
