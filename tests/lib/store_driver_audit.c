/*
 * A snapshot read on its own, as a backup would be: it must hold exactly the users of its LSN, each
 * once, and the counters.
 */
#include "lib/store_driver.h"

#include "core/snapshot_format.h"
#include "core/snapshot_read.h"
#include "core/wal_window.h"

#include <stdlib.h>

struct audit {
    struct store_driver *driver;
    struct user_model_state state;
    bool seen[USER_MODEL_IDS];
    unsigned count;
    bool has_counters;
};

static int on_record(void *context, const struct wal_record *record)
{
    struct audit *audit = context;
    struct user_counters counters;
    unsigned id;

    if (record->type == USER_RECORD_COUNTERS) {
        if (audit->has_counters || audit->count > 0 ||
            user_record_read_counters(record->body, &counters) != 0 ||
            counters.change != audit->state.counters.change ||
            counters.created_at < audit->state.counters.created_at) {
            store_driver_blame(audit->driver, "a snapshot has other counters");
        }
        audit->has_counters = true;
        return 0;
    }
    if (record->type != USER_RECORD_PUT ||
        !user_model_has_record(&audit->state, record->body, record->lsn, &id) || audit->seen[id]) {
        store_driver_blame(audit->driver, "a snapshot holds a user of another moment");
        return 0;
    }
    audit->seen[id] = true;
    audit->count++;
    return 0;
}

static void audit_one(struct store_driver *driver, uint64_t lsn)
{
    struct audit audit = {.driver = driver};
    struct wal_window window;
    char problem[WAL_PROBLEM_SIZE];
    const struct snapshot_read read = {
        .disk = fake_disk_disk(driver->world->disk),
        .window = &window,
        .lsn = lsn,
        .record = on_record,
        .context = &audit,
        .problem = problem,
    };

    if (lsn > driver->model.count) {
        store_driver_blame(driver, "a snapshot is of what was never sent");
        return;
    }
    user_model_state_at(&driver->model, lsn, &audit.state);
    if (wal_window_init(&window) != 0) {
        abort();
    }
    if (snapshot_read(&read) != 0) {
        store_driver_blame(driver, "a snapshot is not whole");
    } else if (!audit.has_counters || audit.count != audit.state.count) {
        store_driver_blame(driver, "a snapshot lacks a user");
    }
    wal_window_deinit(&window);
}

unsigned store_driver_audit(struct store_driver *driver)
{
    const struct fake_disk *disk = driver->world->disk;
    unsigned count = 0;
    uint64_t lsn;

    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        if (snapshot_format_parse_name(fake_disk_name(disk, i), &lsn)) {
            audit_one(driver, lsn);
            count++;
        }
    }
    return count;
}
