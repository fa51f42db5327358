#include "lib/disk_image.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *left, const void *right)
{
    const struct disk_image_file *a = left;
    const struct disk_image_file *b = right;

    return strcmp(a->name, b->name);
}

void disk_image_take(struct disk_image *image, const struct fake_disk *disk)
{
    assert(image->count == 0);
    assert(fake_disk_name_count(disk) <= DISK_IMAGE_FILES_MAX);
    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        struct disk_image_file *file = &image->files[image->count++];
        const uint8_t *bytes = fake_disk_peek(disk, fake_disk_name(disk, i), &file->size);

        (void)snprintf(file->name, sizeof(file->name), "%s", fake_disk_name(disk, i)); /* fits */
        file->bytes = malloc((size_t)file->size + 1);
        if (file->bytes == NULL) {
            abort();
        }
        if (file->size > 0) {
            memcpy(file->bytes, bytes, (size_t)file->size);
        }
    }
    qsort(image->files, image->count, sizeof(image->files[0]), compare);
}

static void put_back_file(const struct disk_image_file *file, struct fake_disk *disk)
{
    uint64_t size = 0;
    const uint8_t *bytes = NULL;

    if (fake_disk_exists(disk, file->name)) {
        bytes = fake_disk_peek(disk, file->name, &size);
    }
    if (bytes == NULL || size != file->size) {
        fake_disk_put(disk, file->name, file->bytes, (size_t)file->size);
    } else if (memcmp(bytes, file->bytes, (size_t)size) != 0) {
        fake_disk_poke(disk, file->name, 0, file->bytes, (size_t)size);
    }
}

static const struct disk_image_file *find(const struct disk_image *image, const char *name)
{
    for (unsigned i = 0; i < image->count; i++) {
        if (strcmp(image->files[i].name, name) == 0) {
            return &image->files[i];
        }
    }
    return NULL;
}

void disk_image_put_back(const struct disk_image *image, struct fake_disk *disk)
{
    unsigned i = 0;

    while (i < fake_disk_name_count(disk)) {
        if (find(image, fake_disk_name(disk, i)) == NULL) {
            fake_disk_delete(disk, fake_disk_name(disk, i));
            i = 0;
        } else {
            i++;
        }
    }
    for (i = 0; i < image->count; i++) {
        put_back_file(&image->files[i], disk);
    }
}

static bool is_temporary(const char *name)
{
    const size_t size = strlen(name);

    return size > 4 && strcmp(name + size - 4, ".tmp") == 0;
}

bool disk_image_is_there(const struct disk_image *image, const struct fake_disk *disk)
{
    for (unsigned i = 0; i < fake_disk_name_count(disk); i++) {
        const char *name = fake_disk_name(disk, i);

        if (!is_temporary(name) && find(image, name) == NULL) {
            return false;
        }
    }
    for (unsigned i = 0; i < image->count; i++) {
        const struct disk_image_file *file = &image->files[i];
        const uint8_t *bytes;
        uint64_t size;

        if (is_temporary(file->name)) {
            continue;
        }
        if (!fake_disk_exists(disk, file->name)) {
            return false;
        }
        bytes = fake_disk_peek(disk, file->name, &size);
        if (size != file->size || (size > 0 && memcmp(bytes, file->bytes, (size_t)size) != 0)) {
            return false;
        }
    }
    return true;
}

void disk_image_deinit(struct disk_image *image)
{
    for (unsigned i = 0; i < image->count; i++) {
        free(image->files[i].bytes);
    }
    image->count = 0;
}
