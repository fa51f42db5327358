/*
 * All that a fake disk holds, copied, so that it can be damaged and put back many times.
 *
 * Owns:    the copies.
 * Borrows: nothing.
 * Thread:  one.
 */
#ifndef TESTS_LIB_DISK_IMAGE_H
#define TESTS_LIB_DISK_IMAGE_H

#include "lib/fake_disk.h"

#include <stdbool.h>
#include <stdint.h>

#define DISK_IMAGE_NAME_SIZE 80
#define DISK_IMAGE_FILES_MAX 64

struct disk_image_file {
    char name[DISK_IMAGE_NAME_SIZE];
    uint8_t *bytes;
    uint64_t size;
};

struct disk_image {
    struct disk_image_file files[DISK_IMAGE_FILES_MAX];
    unsigned count;
};

/* What a program sees now; sorted by name. The image must be empty. */
void disk_image_take(struct disk_image *image, const struct fake_disk *disk);

/* The disk holds this again, durably, and nothing else. Nothing may be open. Cheap when little has
 * changed. */
void disk_image_put_back(const struct disk_image *image, struct fake_disk *disk);

/* Whether the disk holds this and nothing else, but for files that no reader looks at (.tmp). */
bool disk_image_is_there(const struct disk_image *image, const struct fake_disk *disk);

void disk_image_deinit(struct disk_image *image);

#endif
