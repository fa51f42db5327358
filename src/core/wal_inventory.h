/*
 * What is in the log's directory, segments and whole snapshots, and which of it is superfluous.
 * Inside of the checkpoint; nobody else includes it.
 *
 * Owns:    the two lists.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_INVENTORY_H
#define CORE_WAL_INVENTORY_H

#include "core/wal_lsns.h"

#include <stdint.h>

/* Empty when zeroed. */
struct wal_inventory {
    struct wal_lsns segments; /* first LSNs */
    struct wal_lsns snapshots;
};

void wal_inventory_deinit(struct wal_inventory *inventory);

/* In ascending order; one of the same LSN as the last takes its place. Returns 0 or -ENOMEM. */
int wal_inventory_note(struct wal_lsns *list, uint64_t lsn);

/* The list whose first file is superfluous, and the name of that file (WAL_FORMAT_NAME_SIZE bytes);
 * NULL when nothing is. */
struct wal_lsns *wal_inventory_find_superfluous(struct wal_inventory *inventory, char *name);

#endif
