/*
 * Reads a log from its files: loads the newest whole snapshot, replays what is whole behind it, and
 * decides whether what is not was left by a crash or is damage. The rules stand at the head of
 * wal_format.c.
 *
 * Owns:    the lists of segments and snapshots; the last segment's file, until it is taken.
 * Borrows: the disk, the clock, the control block.
 * Thread:  loop only (start-up; blocks).
 */
#ifndef CORE_WAL_RECOVER_H
#define CORE_WAL_RECOVER_H

#include "core/wal.h"
#include "core/wal_format.h"
#include "core/wal_lsns.h"
#include "core/wal_segment.h"
#include "core/wal_window.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clock_source;
struct disk;

struct wal_recovery {
    struct disk *disk;
    struct clock_source *clock;
    const struct wal_format_control *control; /* sequence 0 = there is none */
    const struct wal_replay *replay;
    void *replay_context;
    char *problem; /* WAL_PROBLEM_SIZE bytes */

    struct wal_lsns segments;  /* their first LSNs */
    struct wal_lsns snapshots; /* the whole ones first, then the damaged ones */
    size_t first_segment;      /* index of the oldest that is read */
    size_t damaged_snapshots;  /* how many */
    bool has_snapshot;         /* one was loaded */
    uint64_t snapshot_lsn;     /* that one's; 0 = none */
    uint64_t snapshot_size;
    uint64_t snapshot_realtime_ns;
    uint64_t loaded_count;   /* records from it */
    uint64_t next_lsn;       /* expected next: E */
    uint64_t record_count;   /* replayed */
    uint64_t log_bytes;      /* of the frames that these were in */
    struct wal_segment last; /* the last segment, placed behind its last whole frame */
    bool last_is_whole;      /* its file has the size that its header says */
    uint64_t torn_end;       /* remains reach from last.offset to here; 0 = none */
    uint64_t lost_lsn;       /* of the last record of which there is a trace in them; 0 = none */

    /* Only for the files of recovery. */
    struct wal_window window;
    char name[WAL_FORMAT_NAME_SIZE]; /* of the file that is being read */
    bool was_refused;                /* by a function of `replay` */
    struct wal_progress progress;
    uint64_t bytes_before; /* of the files that were read before this one */
    uint64_t start_ns;
    uint64_t told_ns;
};

/* Lists and reads; changes nothing on disk (files are synced).
 *
 * Returns 0; WAL_E_DAMAGED or WAL_E_FOREIGN; what a function of `replay` returned; or negative
 * errno; with `problem` filled in. wal_recover_deinit() is needed in any case. */
int wal_recover(struct wal_recovery *recovery);

/* Cuts off what a crash left behind the last whole frame, after copying it to a .torn file; a
 * notice says so. Returns 0 or negative errno. */
int wal_recover_cut(struct wal_recovery *recovery);

/* Whether writing may go on in the last segment: it has its full size, no frame, and is of the kind
 * that will be written. */
bool wal_recover_may_continue(const struct wal_recovery *recovery, bool is_lazy);

void wal_recover_deinit(struct wal_recovery *recovery);

/* Between the files of recovery. */

/* Lists what there is. Returns 0 or negative errno. */
int wal_choose_list(struct wal_recovery *recovery);

/* Loads the newest whole snapshot, and finds the segment that reading begins with. Returns as
 * wal_recover(). */
int wal_choose(struct wal_recovery *recovery);

/* Says in `problem` why the log cannot be opened, and passes the outcome on. */
__attribute__((format(printf, 3, 4))) int wal_recover_refuse(struct wal_recovery *recovery,
                                                             int outcome, const char *format, ...);
int wal_recover_refuse_io(struct wal_recovery *recovery, int error, const char *name);

/* The same with WAL_E_DAMAGED, for the file that is being read: where, what, and which records
 * would be missing if the log ended before next_lsn. There may be traces of records up to
 * `seen_lsn`. */
__attribute__((format(printf, 4, 5))) int wal_recover_refuse_damage(struct wal_recovery *recovery,
                                                                    uint64_t offset,
                                                                    uint64_t seen_lsn,
                                                                    const char *format, ...);

/* The last record that is known to have been durable, whatever the segments hold. */
uint64_t wal_recover_witnessed_lsn(const struct wal_recovery *recovery);

/* Whether a frame at last.offset or behind it may have such a header, whatever its LSN. */
bool wal_recover_is_possible(const struct wal_recovery *recovery,
                             const struct wal_format_frame *frame);

/* Whether the payload holds just the records that the header promises. */
bool wal_recover_adds_up(const struct wal_format_frame *frame, struct bytes payload);

/* There is no whole frame at last.offset, but the snapshot holds record next_lsn: looks for the
 * frame to go on with. *ret_at_end is whether there is none. Returns 0 or negative errno. */
int wal_recover_skip(struct wal_recovery *recovery, bool *ret_at_end);

/* So many bytes of the present file are read: tells of it now and then. */
void wal_recover_advance(struct wal_recovery *recovery, uint64_t bytes);

/* Hands a record on. Returns what `replay` says, with `problem` filled in. */
int wal_recover_hand_on(struct wal_recovery *recovery, const struct wal_record *record);

#endif
