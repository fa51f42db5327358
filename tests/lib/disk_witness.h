/*
 * What the bytes on a fake disk prove, read with as little code as possible and none of the
 * recovery's: up to which LSN the log was durable once, so that a start that ends before it must
 * refuse.
 *
 * Owns:    nothing.
 * Borrows: the disk, for the call.
 * Thread:  one.
 */
#ifndef TESTS_LIB_DISK_WITNESS_H
#define TESTS_LIB_DISK_WITNESS_H

#include "lib/fake_disk.h"

#include <stdbool.h>
#include <stdint.h>

/* The greatest of: the watermark of each whole control file; for every segment, what its name says
 * to have been durable; and what every whole frame header in it says so, by being there or by its
 * durable_lsn alone when the segment is one whose records are told before they are synced. */
uint64_t disk_witness_lsn(const struct fake_disk *disk);

/* Whether header, all frames and footer of a snapshot stand there. */
bool disk_witness_has_snapshot(const struct fake_disk *disk, uint64_t lsn);

#endif
