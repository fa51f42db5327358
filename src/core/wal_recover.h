/*
 * Reads a log from its files: replays what is whole, and decides whether what is not was left by a
 * crash or is damage. The rules stand at the head of wal_format.c.
 *
 * Owns:    the list of segments; the last segment's file, until it is taken.
 * Borrows: the disk, the control block.
 * Thread:  loop only (start-up; blocks).
 */
#ifndef CORE_WAL_RECOVER_H
#define CORE_WAL_RECOVER_H

#include "core/wal.h"
#include "core/wal_format.h"
#include "core/wal_segment.h"
#include "core/wal_window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

struct wal_recovery {
    struct disk *disk;
    const struct wal_format_control *control; /* sequence 0 = there is none */
    wal_replay_fn replay;
    void *replay_context;
    char *problem; /* WAL_PROBLEM_SIZE bytes */

    uint64_t *segments; /* first LSNs, ascending */
    size_t segment_count;
    uint64_t next_lsn; /* expected next: E */
    uint64_t record_count;
    struct wal_segment last; /* the last segment, placed behind its last whole frame */
    bool last_is_whole;      /* its file has the size that its header says */
    uint64_t torn_end;       /* remains of a frame reach from last.offset to here; 0 = none */
    struct wal_window window;
};

/* Lists and reads; changes nothing on disk (files are synced).
 *
 * Returns 0; WAL_E_DAMAGED or WAL_E_FOREIGN; what `replay` returned; or negative errno; with
 * `problem` filled in. wal_recover_deinit() is needed in any case. */
int wal_recover(struct wal_recovery *recovery);

/* Cuts the remains of a torn frame off, after copying them to a .torn file; says so in `problem`.
 * Returns 0 or negative errno. */
int wal_recover_cut(struct wal_recovery *recovery);

/* Whether writing may go on in the last segment: it has its full size and no frame. */
bool wal_recover_may_continue(const struct wal_recovery *recovery);

void wal_recover_deinit(struct wal_recovery *recovery);

#endif
