/*
 * Damages what lies on a fake disk, in the ways in which disks and hands do that.
 *
 * Owns:    nothing.
 * Borrows: the disk, for the call.
 * Thread:  one.
 */
#ifndef TESTS_LIB_DISK_DAMAGE_H
#define TESTS_LIB_DISK_DAMAGE_H

#include "lib/fake_world.h"

#include <stdbool.h>
#include <stdint.h>

enum disk_damage_class {
    DISK_DAMAGE_FLIP,      /* one bit */
    DISK_DAMAGE_ZERO,      /* one sector or block */
    DISK_DAMAGE_TRUNCATE,  /* a file is too short */
    DISK_DAMAGE_MISSING,   /* a file is gone */
    DISK_DAMAGE_FOREIGN,   /* a file is another store's, and whole */
    DISK_DAMAGE_DUPLICATE, /* a file stands under another's name, or a second time */
    DISK_DAMAGE_COUNT,
};

struct disk_damage {
    enum disk_damage_class class;
    char name[80];       /* of the file */
    uint64_t offset;     /* of FLIP in bits, of ZERO and TRUNCATE in bytes */
    uint64_t size;       /* of ZERO */
    char other_name[80]; /* of DUPLICATE: what it stands under */
    bool is_harmless;    /* whatever is needed is there without it: a start must not refuse */
};

/* Draws one and does it. False when there is nothing to which it could be done. */
bool disk_damage_do(struct fake_world *world, enum disk_damage_class class,
                    struct disk_damage *ret_damage);

const char *disk_damage_class_name(enum disk_damage_class class);

/* Where the whole frames of a segment end, as far as can be seen from their headers. */
uint64_t disk_damage_segment_end(const struct fake_disk *disk, const char *name);

#endif
