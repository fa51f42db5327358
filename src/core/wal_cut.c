/*
 * The second half of recovery: removes what a crash left behind the last whole frame. First all of
 * it is copied to a .torn file, for people, and that is durable; then zeros are written over it. A
 * crash on the way leaves the remains, or a part of them, where they were, and the next start does
 * the same again, under another name, for a .torn file is always whole and stays; only the tenth of
 * the same place is replaced.
 *
 * What can go wrong: no room for the copy. Then the spare, if there is one, gives up its own: a log
 * that can be read is worth more than one that can be written. If that is not enough, the start
 * fails, with nothing cut.
 */
#include "core/disk.h"
#include "core/wal_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TORN_TEMPORARY "torn.tmp"
#define NAMES_MAX      10 /* a start that fails again and again does not fill the disk */

/* Copies the remains to a new file, block by block as they are. */
static int copy_torn(struct wal_recovery *recovery)
{
    const struct disk_ops *ops = recovery->disk->ops;
    const uint64_t first = recovery->last.offset;
    struct disk_file *copy = NULL;
    const uint8_t *bytes = NULL;
    int result;

    result = ops->remove(recovery->disk, TORN_TEMPORARY);
    if (result == 0 || result == DISK_E_NOT_FOUND) {
        result = ops->open(recovery->disk, TORN_TEMPORARY, DISK_OPEN_CREATE, &copy);
    }
    for (uint64_t offset = first; result == 0 && offset < recovery->torn_end;) {
        uint64_t left = recovery->torn_end - offset;
        size_t piece = left < WAL_WINDOW_PIECE_SIZE ? (size_t)left : WAL_WINDOW_PIECE_SIZE;

        result = wal_window_look(&recovery->window, offset, piece, &bytes);
        if (result == 0) {
            result = ops->write(copy, (struct bytes){bytes, piece}, offset - first);
        }
        offset += piece;
    }
    if (result == 0) {
        result = ops->sync(copy);
    }
    if (copy != NULL) {
        ops->close_file(copy);
    }
    return result;
}

/* The same, and when there is no room for it once more in that of the spare. */
static int copy_torn_somehow(struct wal_recovery *recovery)
{
    const struct disk_ops *ops = recovery->disk->ops;
    int result = copy_torn(recovery);

    if (result != -ENOSPC && result != -EDQUOT) {
        return result;
    }
    result = ops->remove(recovery->disk, WAL_FORMAT_SPARE);
    if (result == 0 || result == DISK_E_NOT_FOUND) {
        /* What was removed may take room until then. */
        result = ops->sync_directory(recovery->disk);
    }
    return result == 0 ? copy_torn(recovery) : result;
}

/* A name that no file has, or the last of the names. Returns 0 or negative errno. */
static int choose_name(const struct wal_recovery *recovery, char *name)
{
    const uint64_t first_lsn = recovery->last.header.first_lsn;
    const struct disk_ops *ops = recovery->disk->ops;
    struct disk_file *file = NULL;

    wal_format_torn_name(first_lsn, recovery->next_lsn, name);
    for (unsigned i = 1; i < NAMES_MAX; i++) {
        const int result = ops->open(recovery->disk, name, DISK_OPEN_READ, &file);

        if (result != 0) {
            return result == DISK_E_NOT_FOUND ? 0 : result;
        }
        ops->close_file(file);
        (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "wal-%016" PRIx64 "-%016" PRIx64 ".%u.torn",
                       first_lsn, recovery->next_lsn, i); /* fits */
    }
    return 0;
}

/* Keeps the remains under a name of their own, for good. Returns 0 or negative errno. */
static int keep_torn(struct wal_recovery *recovery, char *name)
{
    const struct disk_ops *ops = recovery->disk->ops;
    int result = copy_torn_somehow(recovery);

    if (result == 0) {
        result = choose_name(recovery, name);
    }
    if (result == 0) {
        result = ops->rename(recovery->disk, TORN_TEMPORARY, name);
    }
    if (result == DISK_E_NOT_FOUND) {
        result = -ENOENT;
    }
    return result != 0 ? result : ops->sync_directory(recovery->disk);
}

static int zero_torn(struct wal_recovery *recovery)
{
    const struct disk_ops *ops = recovery->disk->ops;
    uint8_t *zeros = recovery->window.bytes;
    int result = 0;

    wal_window_set_file(&recovery->window, recovery->last.file, 0); /* it is done with reading */
    memset(zeros, 0, WAL_WINDOW_PIECE_SIZE);
    for (uint64_t offset = recovery->last.offset; result == 0 && offset < recovery->torn_end;) {
        uint64_t left = recovery->torn_end - offset;
        size_t piece = left < WAL_WINDOW_PIECE_SIZE ? (size_t)left : WAL_WINDOW_PIECE_SIZE;

        result = ops->write(recovery->last.file, (struct bytes){zeros, piece}, offset);
        offset += piece;
    }
    return result != 0 ? result : ops->sync(recovery->last.file);
}

static void tell(struct wal_recovery *recovery, const char *torn)
{
    char text[WAL_PROBLEM_SIZE];
    char lost[96] = "";

    if (recovery->last.header.is_lazy && recovery->lost_lsn >= recovery->next_lsn) {
        (void)snprintf(lost, sizeof(lost), "; records up to %" PRIu64 " may have been told",
                       recovery->lost_lsn); /* fits */
    }
    (void)snprintf(text, sizeof(text),
                   "%s: remains of unfinished writes from offset %" PRIu64 " to %" PRIu64
                   ", behind record %" PRIu64 ", were moved to %s%s",
                   recovery->name, recovery->last.offset, recovery->torn_end,
                   recovery->next_lsn - 1, torn, lost); /* fits */
    recovery->replay->notice(recovery->replay_context, text);
}

int wal_recover_cut(struct wal_recovery *recovery)
{
    char torn[WAL_FORMAT_NAME_SIZE] = TORN_TEMPORARY;
    int result;

    if (recovery->torn_end == 0) {
        return 0;
    }
    result = keep_torn(recovery, torn);
    if (result == 0) {
        result = zero_torn(recovery);
    }
    if (result != 0) {
        return wal_recover_refuse_io(recovery, result, torn);
    }
    tell(recovery, torn);
    return 0;
}
