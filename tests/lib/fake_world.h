/*
 * What a log stands on, with everything in the test's hand: a reactor on a clock that only the test
 * moves, a fake disk, random bytes from a seed.
 *
 * Owns:    all of it.
 * Borrows: nothing.
 * Thread:  one.
 */
#ifndef TESTS_LIB_FAKE_WORLD_H
#define TESTS_LIB_FAKE_WORLD_H

#include "lib/fake_disk.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/wal.h"

#include <stdint.h>

struct fake_world {
    struct reactor reactor;
    struct clock_source clock;
    struct random_source random;
    uint64_t now_ns;
    uint64_t tick_ns; /* so much passes with every look at the clock: 0, unless a test wants it */
    int64_t realtime_shift_ns; /* somebody has set the clock on the wall */
    uint64_t random_state;
    struct fake_disk *disk;
};

/* Aborts when there is no ring to be had. */
void fake_world_init(struct fake_world *world, uint64_t seed);

/* A fresh disk, a fresh seed and the time of the beginning, on the same reactor; nothing may be
 * pending or open. */
void fake_world_renew(struct fake_world *world, uint64_t seed);

void fake_world_deinit(struct fake_world *world);

struct wal_environment fake_world_environment(struct fake_world *world);

/* One turn of the loop, without waiting. */
void fake_world_turn(struct fake_world *world);

/* Lets time pass, then turns once. */
void fake_world_advance(struct fake_world *world, uint64_t ns);

/* A number below the limit, from the seed. */
uint64_t fake_world_random(struct fake_world *world, uint64_t limit);

#endif
