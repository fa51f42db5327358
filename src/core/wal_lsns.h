/*
 * LSNs from the names of files, ascending. Inside of the log; nobody else includes it.
 *
 * Owns:    their memory.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_LSNS_H
#define CORE_WAL_LSNS_H

#include <stddef.h>
#include <stdint.h>

/* Empty when zeroed. */
struct wal_lsns {
    uint64_t *lsns;
    size_t count;
    size_t capacity;
};

void wal_lsns_deinit(struct wal_lsns *list);

/* Makes room for one more. Returns 0 or -ENOMEM. */
int wal_lsns_reserve(struct wal_lsns *list);

/* At the end; whoever adds in another order sorts afterwards. Returns 0 or -ENOMEM. */
int wal_lsns_add(struct wal_lsns *list, uint64_t lsn);

void wal_lsns_sort(struct wal_lsns *list);

/* The list must not be empty. */
void wal_lsns_drop_first(struct wal_lsns *list);

/* 0 when there is none. */
static inline uint64_t wal_lsns_last(const struct wal_lsns *list)
{
    return list->count == 0 ? 0 : list->lsns[list->count - 1];
}

#endif
