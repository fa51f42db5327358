/*
 * What goes: snapshots before the two newest; then, when there are two, the segments that hold no
 * record behind the older one, oldest first. So if the newest is ever found damaged, the one before
 * it and the log from there on are still whole. The last segment stays in any case.
 */
#include "core/wal_inventory.h"

#include "core/snapshot_format.h"

#include <assert.h>

#define SNAPSHOTS_KEPT 2

void wal_inventory_deinit(struct wal_inventory *inventory)
{
    wal_lsns_deinit(&inventory->segments);
    wal_lsns_deinit(&inventory->snapshots);
}

int wal_inventory_note(struct wal_lsns *list, uint64_t lsn)
{
    assert(wal_lsns_last(list) <= lsn);
    return list->count > 0 && wal_lsns_last(list) == lsn ? 0 : wal_lsns_add(list, lsn);
}

struct wal_lsns *wal_inventory_find_superfluous(struct wal_inventory *inventory, char *name)
{
    struct wal_lsns *snapshots = &inventory->snapshots;
    struct wal_lsns *segments = &inventory->segments;

    if (snapshots->count > SNAPSHOTS_KEPT) {
        snapshot_format_name(snapshots->lsns[0], name);
        return snapshots;
    }
    if (snapshots->count == SNAPSHOTS_KEPT && segments->count > 1 &&
        segments->lsns[1] <= snapshots->lsns[0] + 1) {
        wal_format_segment_name(segments->lsns[0], name);
        return segments;
    }
    return NULL;
}
