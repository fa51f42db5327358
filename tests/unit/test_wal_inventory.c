#include "lib/unit.h"

#include "core/wal_format.h"
#include "core/wal_inventory.h"

#include <string.h>

static void note(struct wal_lsns *list, const uint64_t *lsns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(wal_inventory_note(list, lsns[i]), 0);
    }
}

/* One that takes the place of the last of its name is listed once; more than fit at first are kept
 * in order. */
START_TEST(wal_inventory_notes)
{
    static const uint64_t twice[] = {0, 0, 1, 51, 51};
    struct wal_inventory inventory = {0};

    note(&inventory.segments, twice, 5);
    ck_assert_uint_eq(inventory.segments.count, 3);
    for (uint64_t lsn = 52; lsn < 152; lsn++) {
        note(&inventory.segments, &lsn, 1);
    }
    ck_assert_uint_eq(inventory.segments.count, 103);
    ck_assert_uint_eq(wal_lsns_last(&inventory.segments), 151);
    wal_lsns_drop_first(&inventory.segments);
    ck_assert_uint_eq(inventory.segments.lsns[0], 1);
    ck_assert_uint_eq(inventory.segments.lsns[1], 51);
    wal_inventory_deinit(&inventory);
    ck_assert_uint_eq(wal_lsns_last(&inventory.segments), 0);
    wal_inventory_deinit(&inventory);
}

END_TEST

/* Snapshots before the two newest go first, then what ends at or before the older of these; with
 * one snapshot nothing goes, and the last segment never does. */
START_TEST(wal_inventory_finds_what_is_superfluous)
{
    static const uint64_t segments[] = {1, 51, 101};
    static const uint64_t snapshots[] = {20, 50, 200};
    struct wal_inventory inventory = {0};
    char name[WAL_FORMAT_NAME_SIZE] = "";

    note(&inventory.segments, segments, 3);
    note(&inventory.snapshots, snapshots, 3);
    ck_assert_ptr_eq(wal_inventory_find_superfluous(&inventory, name), &inventory.snapshots);
    ck_assert_str_eq(name, "snap-0000000000000014.snap");
    wal_lsns_drop_first(&inventory.snapshots);
    ck_assert_ptr_eq(wal_inventory_find_superfluous(&inventory, name), &inventory.segments);
    ck_assert_str_eq(name, "wal-0000000000000001.log");
    wal_lsns_drop_first(&inventory.segments);
    ck_assert_ptr_null(wal_inventory_find_superfluous(&inventory, name)); /* 51 is behind 50 */
    inventory.snapshots.lsns[0] = 199;
    ck_assert_ptr_eq(wal_inventory_find_superfluous(&inventory, name), &inventory.segments);
    wal_lsns_drop_first(&inventory.segments);
    ck_assert_ptr_null(wal_inventory_find_superfluous(&inventory, name));
    note(&inventory.segments, (const uint64_t[]){150}, 1);
    wal_lsns_drop_first(&inventory.snapshots);
    ck_assert_ptr_null(wal_inventory_find_superfluous(&inventory, name)); /* there is but one */
    wal_inventory_deinit(&inventory);
}

END_TEST

UNIT_MAIN("wal_inventory", wal_inventory_notes, wal_inventory_finds_what_is_superfluous)
