/*
 * What happens to a running store, drawn by chance: changes, turns, pauses, snapshots, a disk that
 * is slow, out of order or full, a clock that jumps.
 *
 * Owns:    nothing.
 * Borrows: the driver and its world, for the call.
 * Thread:  one.
 */
#ifndef TESTS_LIB_STORE_CHAOS_H
#define TESTS_LIB_STORE_CHAOS_H

#include "lib/store_driver.h"

/* Options for the next life: both modes of syncing, small segments, snapshots soon or never. */
void store_chaos_options(struct store_driver *driver);

/* One thing happens. The store is open, the disk may be dead. */
void store_chaos_act(struct store_driver *driver);

#endif
