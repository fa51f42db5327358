/*
 * Reads one snapshot from front to back and checks all of it. Blocks: for the start, and for tools.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call.
 * Thread:  loop only (start-up).
 */
#ifndef CORE_SNAPSHOT_READ_H
#define CORE_SNAPSHOT_READ_H

#include "core/snapshot_format.h"
#include "core/wal.h"

#include <stdint.h>

struct disk;
struct wal_window;

struct snapshot_read {
    struct disk *disk;
    struct wal_window *window; /* initialised; afterwards it is pointed to no file */
    uint64_t lsn;              /* which one */
    /* NULL: of any store. Another store's is WAL_E_FOREIGN. */
    const uint8_t *store_uuid;
    /* The callbacks; NULL is fine. Once the header is read; non-zero ends the reading and is
     * returned. */
    int (*begin)(void *context, const struct snapshot_format_header *header, uint64_t file_size);
    /* The record without the prefix, `lsn` from it. Non-zero ends the reading and is returned. */
    int (*record)(void *context, const struct wal_record *record);
    /* After each frame: how many bytes have been read. */
    void (*advanced)(void *context, uint64_t bytes);
    void *context;
    char *problem; /* WAL_PROBLEM_SIZE bytes */
};

/* Records are handed out while they are read: only 0 says that they were all, and right.
 *
 * Returns 0; WAL_E_DAMAGED or WAL_E_FOREIGN; what a callback returned; or negative errno. `problem`
 * says file, offset and what is wrong, unless a callback ended it. */
int snapshot_read(const struct snapshot_read *read);

#endif
