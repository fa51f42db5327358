#include "lib/disk_damage.h"

#include "core/snapshot_format.h"
#include "core/wal_format.h"

#include <stdio.h>
#include <string.h>

const char *disk_damage_class_name(enum disk_damage_class class)
{
    static const char *const names[DISK_DAMAGE_COUNT] = {
        "bit flip", "zeroed block", "truncated file", "missing file", "foreign file", "duplicate",
    };

    return names[class];
}

static bool is_control(const char *name)
{
    return strcmp(name, WAL_FORMAT_CONTROL_A) == 0 || strcmp(name, WAL_FORMAT_CONTROL_B) == 0;
}

uint64_t disk_damage_segment_end(const struct fake_disk *disk, const char *name)
{
    struct wal_format_segment header;
    struct wal_format_frame frame;
    uint64_t size;
    const uint8_t *bytes = fake_disk_peek(disk, name, &size);
    uint64_t end = WAL_FORMAT_BLOCK_SIZE;

    if (size < WAL_FORMAT_BLOCK_SIZE || wal_format_get_segment(bytes, &header) != 0) {
        return end;
    }
    for (uint64_t at = end; size - at >= WAL_FORMAT_BLOCK_SIZE; at += WAL_FORMAT_BLOCK_SIZE) {
        if (wal_format_get_frame(bytes + at, &frame) == 0 && frame.epoch == header.epoch) {
            end = at + wal_format_frame_size(frame.payload_size);
        }
    }
    return end;
}

static bool is_whole_control(const struct fake_disk *disk, const char *name)
{
    struct wal_format_control control;
    uint64_t size;
    const uint8_t *bytes;

    if (!fake_disk_exists(disk, name)) {
        return false;
    }
    bytes = fake_disk_peek(disk, name, &size);
    return size >= WAL_FORMAT_BLOCK_SIZE && wal_format_get_control(bytes, &control) == 0;
}

/* What there is of segments and snapshots around one of them. */
struct surroundings {
    uint64_t snapshot_lsn; /* of the newest */
    bool is_last_segment;
    bool is_superseded; /* a later segment goes on from the newest snapshot */
};

static struct surroundings look_around(const struct fake_disk *disk, uint64_t segment)
{
    struct surroundings around = {.is_last_segment = true};
    uint64_t lsn;

    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        if (snapshot_format_parse_name(fake_disk_name(disk, i), &lsn) &&
            lsn > around.snapshot_lsn) {
            around.snapshot_lsn = lsn;
        }
    }
    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        if (wal_format_parse_segment_name(fake_disk_name(disk, i), &lsn) && lsn > segment) {
            around.is_last_segment = false;
            around.is_superseded = around.is_superseded || lsn <= around.snapshot_lsn + 1;
        }
    }
    return around;
}

static bool is_harmless_in_segment(const struct fake_disk *disk, const struct disk_damage *damage,
                                   uint64_t first_lsn)
{
    const struct surroundings around = look_around(disk, first_lsn);
    uint64_t at = damage->class == DISK_DAMAGE_FLIP ? damage->offset / 8 : damage->offset;

    if (around.is_superseded) {
        return true;
    }
    if (damage->class == DISK_DAMAGE_MISSING) {
        return false;
    }
    if (damage->class != DISK_DAMAGE_TRUNCATE && at < WAL_FORMAT_BLOCK_SIZE) {
        /* The header stands there twice. */
        return damage->class == DISK_DAMAGE_FLIP || damage->size <= FAKE_DISK_SECTOR_SIZE;
    }
    return around.is_last_segment && at >= disk_damage_segment_end(disk, damage->name);
}

/* Of a flip, zeros, a cut or a loss, before it is done. */
static bool is_harmless(const struct fake_disk *disk, const struct disk_damage *damage)
{
    uint64_t lsn;

    if (is_control(damage->name)) {
        return is_whole_control(disk, strcmp(damage->name, WAL_FORMAT_CONTROL_A) == 0
                                          ? WAL_FORMAT_CONTROL_B
                                          : WAL_FORMAT_CONTROL_A);
    }
    if (wal_format_parse_segment_name(damage->name, &lsn)) {
        return is_harmless_in_segment(disk, damage, lsn);
    }
    return true; /* a snapshot, of which there is another, or a log; or what nobody reads */
}

static uint64_t draw(struct fake_world *world, uint64_t limit)
{
    return fake_world_random(world, limit);
}

/* Any file, but every second time a segment that is needed, if there is one. */
static void draw_name(struct fake_world *world, struct disk_damage *damage)
{
    const struct fake_disk *disk = world->disk;
    const unsigned count = fake_disk_name_count(disk);
    const bool is_any = draw(world, 2) == 0;
    const char *name = fake_disk_name(disk, (unsigned)draw(world, count));
    uint64_t lsn;

    for (unsigned i = 0; i < 100 && !is_any; i++) {
        if (wal_format_parse_segment_name(name, &lsn) && !look_around(disk, lsn).is_superseded) {
            break;
        }
        name = fake_disk_name(disk, (unsigned)draw(world, count));
    }
    (void)snprintf(damage->name, sizeof(damage->name), "%s", name); /* fits */
}

static void draw_place(struct fake_world *world, struct disk_damage *damage)
{
    const struct fake_disk *disk = world->disk;
    uint64_t size;
    uint64_t end;
    uint64_t lsn;

    (void)fake_disk_peek(disk, damage->name, &size);
    end = size;
    /* Mostly where something stands. */
    if (draw(world, 8) != 0 && wal_format_parse_segment_name(damage->name, &lsn)) {
        end = disk_damage_segment_end(disk, damage->name);
        end = end < size ? end : size;
    }
    if (damage->class == DISK_DAMAGE_FLIP) {
        damage->offset = draw(world, end * 8);

    } else if (damage->class == DISK_DAMAGE_TRUNCATE) {
        damage->offset = draw(world, end);
    } else {

        damage->size = draw(world, 2) == 0 ? FAKE_DISK_SECTOR_SIZE : DISK_BLOCK_SIZE;
        damage->offset = draw(world, end) / damage->size * damage->size;
        damage->size = damage->size < size - damage->offset ? damage->size : size - damage->offset;
    }
}

/* Gives the file another store's UUID, in good form. False for one that has none. */
static bool make_foreign(struct fake_disk *disk, const char *name)
{
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment;
    struct wal_format_control control;
    struct snapshot_format_header header;
    uint64_t size;
    const uint8_t *bytes = fake_disk_peek(disk, name, &size);

    if (size < sizeof(block)) {
        return false;
    }
    if (wal_format_get_segment(bytes, &segment) == 0) {
        segment.store_uuid[0] ^= 1;
        wal_format_put_segment(block, &segment);
    } else if (wal_format_get_control(bytes, &control) == 0) {
        control.store_uuid[0] ^= 1;
        wal_format_put_control(block, &control);
    } else if (snapshot_format_get_header(bytes, &header) == 0) {
        header.store_uuid[0] ^= 1;
        snapshot_format_put_header(block, &header);
    } else {
        return false;
    }
    fake_disk_poke(disk, name, 0, block, sizeof(block));
    return true;
}

/* The name under which the file will stand too: of its own kind, taken or not. */
static bool draw_other_name(struct fake_world *world, struct disk_damage *damage)
{
    const struct fake_disk *disk = world->disk;
    uint64_t lsn;
    uint64_t other;
    bool is_segment = wal_format_parse_segment_name(damage->name, &lsn);

    if (is_control(damage->name)) {
        (void)snprintf(damage->other_name, sizeof(damage->other_name), "%s",
                       strcmp(damage->name, WAL_FORMAT_CONTROL_A) == 0 ? WAL_FORMAT_CONTROL_B
                                                                       : WAL_FORMAT_CONTROL_A);
        return true;
    }
    if (!is_segment && !snapshot_format_parse_name(damage->name, &lsn)) {
        return false;
    }
    if (draw(world, 2) == 0) {
        const char *name = fake_disk_name(disk, (unsigned)draw(world, fake_disk_name_count(disk)));

        if (is_segment ? wal_format_parse_segment_name(name, &other)
                       : snapshot_format_parse_name(name, &other)) {
            (void)snprintf(damage->other_name, sizeof(damage->other_name), "%s", name);
            return strcmp(damage->other_name, damage->name) != 0;
        }
    }
    other = 1 + draw(world, lsn + 100);
    if (is_segment) {
        wal_format_segment_name(other, damage->other_name);
    } else {
        snapshot_format_name(other, damage->other_name);
    }
    return other != lsn;
}

static bool do_in_place(struct fake_world *world, struct disk_damage *damage)
{
    struct fake_disk *disk = world->disk;
    uint64_t size;

    (void)fake_disk_peek(disk, damage->name, &size);
    if (size == 0) {
        return false;
    }
    draw_place(world, damage);
    damage->is_harmless = is_harmless(disk, damage);
    if (damage->class == DISK_DAMAGE_FLIP) {
        fake_disk_flip(disk, damage->name, damage->offset);

    } else if (damage->class == DISK_DAMAGE_ZERO) {
        fake_disk_zero(disk, damage->name, damage->offset, (size_t)damage->size);
    } else {

        fake_disk_truncate(disk, damage->name, damage->offset);
    }
    return true;
}

static bool do_it(struct fake_world *world, struct disk_damage *damage)
{
    switch (damage->class) {
    case DISK_DAMAGE_FLIP:
    case DISK_DAMAGE_ZERO:
    case DISK_DAMAGE_TRUNCATE:
        return do_in_place(world, damage);
    case DISK_DAMAGE_MISSING:
        damage->is_harmless = is_harmless(world->disk, damage);
        fake_disk_delete(world->disk, damage->name);
        return true;
    case DISK_DAMAGE_FOREIGN:
        return make_foreign(world->disk, damage->name);
    case DISK_DAMAGE_DUPLICATE:
    case DISK_DAMAGE_COUNT:
        break;
    }
    if (!draw_other_name(world, damage)) {
        return false;
    }
    fake_disk_copy(world->disk, damage->name, damage->other_name);
    return true;
}

bool disk_damage_do(struct fake_world *world, enum disk_damage_class class,
                    struct disk_damage *ret_damage)
{
    const struct fake_disk *disk = world->disk;

    *ret_damage = (struct disk_damage){.class = class};
    if (fake_disk_name_count(disk) == 0) {
        return false;
    }
    draw_name(world, ret_damage);
    return do_it(world, ret_damage);
}
