/*
 * A snapshot of one store made into that of another: the same users, under another UUID.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_REWRITE_H
#define TOOLS_USERWAL_REWRITE_H

#include <stdint.h>

struct disk;

/* Writes the snapshot of that LSN on `from` to a new file, and syncs it. Returns 0; WAL_E_DAMAGED
 * or WAL_E_FOREIGN with `problem` (WAL_PROBLEM_SIZE bytes) filled in; or negative errno. */
int userwal_rewrite_snapshot(struct disk *from, uint64_t lsn, const uint8_t *store_uuid,
                             struct disk *to, const char *to_name, char *problem);

#endif
