/*
 * What the disk itself can do: aligned blocks written past the page cache into
 * a file that was filled with zeros before, each followed by fdatasync, by
 * plain system calls.
 *
 * Owns:    the file, which has no name.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef USERBENCH_DISK_H
#define USERBENCH_DISK_H

#include "userbench_samples.h"

#include <stdint.h>

struct userbench_disk {
    int fd;
    uint8_t *block;
    uint64_t offset; /* of the next write */
};

/* Makes the file in this folder. */
void userbench_disk_init(struct userbench_disk *disk, const char *dir);
void userbench_disk_deinit(struct userbench_disk *disk);

/* Writes one block and adds the time it took until it was durable. */
void userbench_disk_write(struct userbench_disk *disk, struct userbench_samples *samples);

#endif
