#include "lib/fake_world.h"

#include "core/list.h"

#include <stdio.h>
#include <stdlib.h>

#define START_NS (1000 * CLOCK_NS_PER_S)

static uint64_t fake_monotonic_ns(struct clock_source *source)
{
    struct fake_world *world = CONTAINER_OF(source, struct fake_world, clock);

    world->now_ns += world->tick_ns;
    return world->now_ns;
}

static uint64_t fake_realtime_ns(struct clock_source *source)
{
    const struct fake_world *world = CONTAINER_OF(source, struct fake_world, clock);

    return world->now_ns + 1700000000 * CLOCK_NS_PER_S + (uint64_t)world->realtime_shift_ns;
}

/* splitmix64 */
static uint64_t next_random(struct fake_world *world)
{
    uint64_t value;

    world->random_state += 0x9e3779b97f4a7c15ULL;
    value = world->random_state;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

static void fake_fill(struct random_source *source, void *bytes, size_t size)
{
    struct fake_world *world = CONTAINER_OF(source, struct fake_world, random);
    uint8_t *to = bytes;

    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)next_random(world);
    }
}

void fake_world_init(struct fake_world *world, uint64_t seed)
{
    const struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE];

    *world = (struct fake_world){
        .clock = {fake_monotonic_ns, fake_realtime_ns},
        .random = {fake_fill},
        .now_ns = START_NS,
        .random_state = seed,
    };
    if (reactor_init(&world->reactor, &options, &world->clock, NULL, problem) != 0) {
        (void)fprintf(stderr, "no ring: %s\n", problem);
        abort();
    }
    world->disk = fake_disk_new(&world->reactor, seed);
}

void fake_world_renew(struct fake_world *world, uint64_t seed)
{
    fake_disk_free(world->disk);
    world->random_state = seed;
    world->now_ns = START_NS;
    world->tick_ns = 0;
    world->realtime_shift_ns = 0;
    world->disk = fake_disk_new(&world->reactor, seed);
    fake_world_turn(world); /* which tells the reactor of the time */
}

void fake_world_deinit(struct fake_world *world)
{
    fake_disk_free(world->disk);
    reactor_deinit(&world->reactor);
}

struct wal_environment fake_world_environment(struct fake_world *world)
{
    return (struct wal_environment){
        .disk = fake_disk_disk(world->disk),
        .reactor = &world->reactor,
        .random = &world->random,
    };
}

void fake_world_turn(struct fake_world *world)
{
    if (reactor_turn(&world->reactor, 0) != 0) {
        abort();
    }
}

void fake_world_advance(struct fake_world *world, uint64_t ns)
{
    world->now_ns += ns;
    fake_world_turn(world);
}

uint64_t fake_world_random(struct fake_world *world, uint64_t limit)
{
    return (next_random(world) >> 8) % limit;
}
