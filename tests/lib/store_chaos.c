/*
 * Store, log and clock under a user and a disk that do as they like.
 */
#include "lib/store_chaos.h"

#include "core/clock.h"

static uint64_t pick(struct store_driver *driver, uint64_t limit)
{
    return fake_world_random(driver->world, limit);
}

void store_chaos_options(struct store_driver *driver)
{
    struct wal_options *options = &driver->options;

    options->segment_size = WAL_SEGMENT_SIZE_MIN + pick(driver, 8) * DISK_BLOCK_SIZE;
    options->max_pending = pick(driver, 4) == 0 ? 6 : 1000;
    options->sync_interval_ns =
        pick(driver, 2) == 0 ? 0 : (1 + pick(driver, 100)) * CLOCK_NS_PER_MS;
    options->snapshot_every = pick(driver, 3) == 0 ? 0 : 65536 + pick(driver, 500000);
    options->snapshot_rate = pick(driver, 2) == 0 ? 0 : 1000000 + pick(driver, 10000000);
    driver->world->tick_ns = pick(driver, 3) * 60000; /* 0, or a user or two in a slice */
    driver->max_kept = pick(driver, 4) == 0 ? 20000 : 1ULL << 30;
}

static void step_some(struct store_driver *driver)
{
    struct fake_disk *disk = driver->world->disk;

    for (uint64_t i = pick(driver, 6); i > 0 && fake_disk_pending(disk) > 0; i--) {
        fake_disk_step(disk, (unsigned)pick(driver, fake_disk_pending(disk)));
        store_driver_turn(driver, 0);
    }
}

/* The oldest operation waits while all that come after it end. */
static void starve_oldest(struct store_driver *driver)
{
    struct fake_disk *disk = driver->world->disk;

    fake_disk_hold(disk, true);
    if (pick(driver, 2) == 0) {
        store_driver_snapshot(driver);
        store_driver_turn(driver, 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        if (fake_disk_pending(disk) > 1) {
            fake_disk_step(disk, fake_disk_pending(disk) - 1);
        }
        store_driver_turn(driver, pick(driver, 3) * CLOCK_NS_PER_MS);
    }
}

static void squeeze(struct store_driver *driver)
{
    struct fake_disk *disk = driver->world->disk;
    const uint64_t room = fake_disk_used(disk) + pick(driver, 1500000);

    switch (pick(driver, 6)) {
    case 0:
        fake_disk_set_room(disk, room);
        break;
    case 1:
        fake_disk_set_quota(disk, room);
        break;
    default:
        fake_disk_set_room(disk, UINT64_MAX);
        break;
    }
}

static void change_some(struct store_driver *driver)
{
    const bool is_burst = pick(driver, 10) == 0;

    driver->size_usual = is_burst && pick(driver, 2) == 0 ? 20000 : 300;
    driver->size_max = is_burst ? 20000 : 2000;
    for (uint64_t i = is_burst ? 40 : 1 + pick(driver, 8); i > 0; i--) {
        store_driver_change(driver);
        if (is_burst && i % 8 == 0) {
            store_driver_turn(driver, 0);
        }
    }
    if (pick(driver, 3) != 0) {
        store_driver_turn(driver, pick(driver, 2) * CLOCK_NS_PER_MS);
    }
}

void store_chaos_act(struct store_driver *driver)
{
    switch (pick(driver, 21)) {
    case 20:
        starve_oldest(driver);
        break;
    case 0:
        fake_disk_hold(driver->world->disk, pick(driver, 2) == 0);
        break;
    case 1:
        store_driver_turn(driver, pick(driver, 30) * CLOCK_NS_PER_MS);
        break;
    case 2: /* idle, a stopped process, a disk that takes ten seconds */
        store_driver_turn(driver, pick(driver, 30000) * CLOCK_NS_PER_MS);
        break;
    case 3:
        squeeze(driver);
        break;
    case 4:
        driver->world->realtime_shift_ns = ((int64_t)pick(driver, 7200) - 3600) * 1000000000;
        break;
    case 5:
        store_driver_snapshot(driver);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        step_some(driver);
        break;
    default:
        change_some(driver);
        break;
    }
}
