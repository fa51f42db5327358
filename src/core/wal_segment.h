/*
 * The file being written, and the spare that will follow it: filled with zeros ahead of time, then
 * headed, renamed and taken into use. Inside of the log; nobody else includes it.
 *
 * Owns:    the files, one block of memory for zeros.
 * Borrows: the disk and the reactor.
 * Thread:  loop only.
 */
#ifndef CORE_WAL_SEGMENT_H
#define CORE_WAL_SEGMENT_H

#include "core/disk.h"
#include "core/timer.h"
#include "core/wal_format.h"

#include <stdbool.h>
#include <stdint.h>

struct reactor;

/* A segment and the place in it where the next frame goes. */
struct wal_segment {
    struct disk_file *file; /* NULL = there is none, and no room */
    struct wal_format_segment header;
    uint64_t offset;
    uint64_t frame_count;
    uint32_t prev_crc; /* what the next frame repeats */
};

static inline uint64_t wal_segment_room(const struct wal_segment *segment)
{
    return segment->file == NULL ? 0 : segment->header.size - segment->offset;
}

/* Safe when there is no file. */
void wal_segment_close(struct wal_segment *segment);

/* Whether all bytes of these blocks are zero. */
bool wal_segment_is_zero(const uint8_t *bytes, size_t size);

enum wal_spare_state {
    WAL_SPARE_NONE,
    WAL_SPARE_NO_SPACE,     /* the disk has no room; the timer tries again */
    WAL_SPARE_FILLING,      /* zeros are being written */
    WAL_SPARE_SYNCING,      /* they are being synced */
    WAL_SPARE_READY,        /* may be published */
    WAL_SPARE_HEADING,      /* its header is being written and synced */
    WAL_SPARE_RENAMING,     /* it gets its name */
    WAL_SPARE_SYNCING_NAME, /* the directory is being synced */
    WAL_SPARE_PUBLISHED,    /* a segment now, for wal_spare_take() */
};

struct wal_spare {
    /* From the loop: `state` is now NO_SPACE, READY or PUBLISHED; or `error`, a negative errno, is
     * final. */
    void (*changed)(struct wal_spare *spare, int error);
    struct disk *disk;
    struct reactor *reactor;
    enum wal_spare_state state;
    uint64_t size;
    uint64_t keep_free; /* bytes of the disk that stay free beside it; 0 = what must */
    struct disk_file *file;
    uint64_t offset; /* zeros written so far */
    uint8_t *bytes;  /* zeros; while heading, the header stands in the first block */
    struct disk_op op;
    bool pending; /* `op` is */
    bool stopping;
    struct timer retry;
    struct wal_format_segment header; /* what it becomes */
    char name[WAL_FORMAT_NAME_SIZE];
};

/* Nothing is made yet; `keep_free` may be set now. Returns 0 or -ENOMEM. */
int wal_spare_init(struct wal_spare *spare, struct disk *disk, struct reactor *reactor,
                   uint64_t size);

/* Nothing may be pending. A file that is READY stays, for the next start. Safe when zeroed. */
void wal_spare_deinit(struct wal_spare *spare);

/* The blocking half, for start-up. */

/* Takes what an earlier run left, when it is whole and holds only zeros; otherwise removes it.
 * Returns 0 (READY or NONE) or negative errno. */
int wal_spare_adopt(struct wal_spare *spare);

/* Makes one now when none is READY. Returns 0; or negative errno, -ENOSPC with nothing left behind.
 */
int wal_spare_fill_now(struct wal_spare *spare);

/* READY becomes a segment with this header (its size and crc are filled in). 0 or negative errno.
 */
int wal_spare_publish_now(struct wal_spare *spare, const struct wal_format_segment *header,
                          struct wal_segment *ret_segment);

/* The other half, for the running loop; `changed` tells. */

/* NONE goes on to READY or NO_SPACE by itself. Returns 0 or negative errno (final). */
int wal_spare_start(struct wal_spare *spare);

/* READY goes on to PUBLISHED. Returns 0 or negative errno (final). */
int wal_spare_publish(struct wal_spare *spare, const struct wal_format_segment *header);

/* Hands out what is PUBLISHED. */
void wal_spare_take(struct wal_spare *spare, struct wal_segment *ret_segment);

/* No further step and no retry; what is pending still ends, without `changed`. */
void wal_spare_stop(struct wal_spare *spare);

#endif
