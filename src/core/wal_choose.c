/*
 * Where reading begins: the newest snapshot that is whole, or the first record of all.
 *
 * A snapshot's records are handed on while it is read, so only its end tells whether it was whole.
 * When it was not, the next older one begins anew, and the reader of the records forgets what came
 * before (wal_replay.begin). The damaged ones keep their names until the start has succeeded: a
 * start that fails should leave the directory to people as it was.
 *
 * What can go wrong: no snapshot is whole, and the log behind the last of them does not reach back
 * to record 1, because it was trimmed. Then records are missing, and the start is refused. An I/O
 * error goes up: what cannot be read now may be readable later, and nothing may be judged by it.
 */
#include "core/disk.h"
#include "core/snapshot_read.h"
#include "core/wal_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Whatever CONTROL hints at, no more than one record in so many bytes of files is expected. */
#define BYTES_PER_RECORD_MIN 64

#define NAMES_SIZE 160 /* of the damaged snapshots in a refusal: enough for some */

static int add_name(void *context, const char *name)
{
    struct wal_recovery *recovery = context;
    uint64_t lsn = 0;

    if (wal_format_parse_segment_name(name, &lsn)) {
        return wal_lsns_add(&recovery->segments, lsn);
    }
    return snapshot_format_parse_name(name, &lsn) ? wal_lsns_add(&recovery->snapshots, lsn) : 0;
}

int wal_choose_list(struct wal_recovery *recovery)
{
    int result = recovery->disk->ops->list(recovery->disk, add_name, recovery);

    wal_lsns_sort(&recovery->segments);
    wal_lsns_sort(&recovery->snapshots);
    return result;
}

static int add_file_size(struct wal_recovery *recovery, const char *name)
{
    const struct disk_ops *ops = recovery->disk->ops;
    struct disk_file *file = NULL;
    uint64_t size = 0;
    int result = ops->open(recovery->disk, name, DISK_OPEN_READ, &file);

    if (result == 0) {
        result = ops->size(file, &size);
        ops->close_file(file);
    } else if (result == DISK_E_NOT_FOUND) {
        result = -ENOENT;
    }
    recovery->progress.bytes_total += size;
    return result == 0 ? 0 : wal_recover_refuse_io(recovery, result, name);
}

/* Says what comes. What CONTROL hints at may be wrong, and more than there is room for. */
static int tell_begin(struct wal_recovery *recovery, uint64_t record_count)
{
    const struct wal_replay *replay = recovery->replay;
    const uint64_t hint_max = recovery->progress.bytes_total / BYTES_PER_RECORD_MIN;
    const uint64_t hint = recovery->control->record_hint;
    const uint64_t expected = hint < hint_max ? hint : hint_max;

    if (expected > record_count && replay->begin(recovery->replay_context, expected) == 0) {
        return 0;
    }
    return replay->begin(recovery->replay_context, record_count);
}

/* The state is about to come: it is that after `lsn`, from a file of so many bytes, and then from
 * the segments from the last one on that begins at the next record or before it. */
static int begin(struct wal_recovery *recovery, uint64_t lsn, uint64_t size, uint64_t record_count)
{
    const struct wal_lsns *segments = &recovery->segments;
    char name[WAL_FORMAT_NAME_SIZE];
    int result = 0;

    recovery->first_segment = 0;
    while (recovery->first_segment + 1 < segments->count &&
           segments->lsns[recovery->first_segment + 1] <= lsn + 1) {
        recovery->first_segment++;
    }
    recovery->snapshot_lsn = lsn;
    recovery->snapshot_size = size;
    recovery->snapshot_realtime_ns = 0;
    recovery->loaded_count = 0;
    recovery->bytes_before = 0;
    recovery->progress.bytes_total = size;
    for (size_t i = recovery->first_segment; result == 0 && i < segments->count; i++) {
        wal_format_segment_name(segments->lsns[i], name);
        result = add_file_size(recovery, name);
    }
    if (result != 0) {
        return result;
    }
    result = tell_begin(recovery, record_count);
    return result == 0
               ? 0
               : wal_recover_refuse(recovery, result, "there is no place for %" PRIu64 " records",
                                    record_count);
}

static int on_begin(void *context, const struct snapshot_format_header *header, uint64_t file_size)
{
    struct wal_recovery *recovery = context;
    int result = begin(recovery, header->lsn, file_size, header->record_count);

    recovery->snapshot_realtime_ns = header->realtime_ns;
    recovery->was_refused = result != 0;
    return result;
}

static int on_record(void *context, const struct wal_record *record)
{
    struct wal_recovery *recovery = context;

    recovery->loaded_count++;
    return wal_recover_hand_on(recovery, record);
}

static void on_advanced(void *context, uint64_t bytes)
{
    wal_recover_advance(context, bytes);
}

static int load_snapshot(struct wal_recovery *recovery, uint64_t lsn)
{
    const struct snapshot_read read = {
        .disk = recovery->disk,
        .window = &recovery->window,
        .lsn = lsn,
        .store_uuid = recovery->control->store_uuid,
        .begin = on_begin,
        .record = on_record,
        .advanced = on_advanced,
        .context = recovery,
        .problem = recovery->problem,
    };

    snapshot_format_name(lsn, recovery->name);
    return snapshot_read(&read);
}

/* The names of the damaged snapshots, as many as there is room for. */
static void name_damaged(const struct wal_recovery *recovery, char *names)
{
    const struct wal_lsns *snapshots = &recovery->snapshots;
    size_t used = 0;

    names[0] = '\0';
    for (size_t i = snapshots->count - recovery->damaged_snapshots; i < snapshots->count; i++) {
        char name[WAL_FORMAT_NAME_SIZE];

        snapshot_format_name(snapshots->lsns[i], name);
        if (used + strlen(name) + 3 > NAMES_SIZE) {
            return;
        }
        used += (size_t)snprintf(names + used, NAMES_SIZE - used, "%s%s", used == 0 ? "" : ", ",
                                 name); /* fits */
    }
}

/* Whether the log reaches back to what the snapshot, if any, ends with. */
static int check_first_segment(struct wal_recovery *recovery)
{
    const struct wal_lsns *segments = &recovery->segments;
    const uint64_t needed_lsn = recovery->snapshot_lsn + 1;
    const uint64_t first_lsn =
        segments->count > 0 ? segments->lsns[recovery->first_segment] : needed_lsn;
    char names[NAMES_SIZE];

    if (first_lsn <= needed_lsn) {
        return 0;
    }
    wal_format_segment_name(first_lsn, recovery->name);
    name_damaged(recovery, names);
    return wal_recover_refuse(recovery, WAL_E_DAMAGED,
                              "%s: is the oldest segment, but records %" PRIu64 " to %" PRIu64
                              " would be missing%s%s",
                              recovery->name, needed_lsn, first_lsn - 1,
                              names[0] == '\0' ? "" : "; damaged snapshots: ", names);
}

static void pass_over(struct wal_recovery *recovery)
{
    char text[WAL_PROBLEM_SIZE + 64];

    recovery->damaged_snapshots++;
    (void)snprintf(text, sizeof(text), "%s; this snapshot is passed over",
                   recovery->problem); /* fits */
    recovery->replay->notice(recovery->replay_context, text);
}

int wal_choose(struct wal_recovery *recovery)
{
    const struct wal_lsns *snapshots = &recovery->snapshots;
    int result;

    for (size_t i = snapshots->count; i > 0 && !recovery->has_snapshot; i--) {
        result = load_snapshot(recovery, snapshots->lsns[i - 1]);
        recovery->has_snapshot = result == 0;
        if (result != 0 && (result != WAL_E_DAMAGED || recovery->was_refused)) {
            return result;
        }
        if (result != 0) {
            pass_over(recovery);
        }
    }
    recovery->problem[0] = '\0';
    recovery->bytes_before = recovery->snapshot_size;
    if (!recovery->has_snapshot) {
        result = begin(recovery, 0, 0, 0);
        if (result != 0) {
            return result;
        }
    }
    return check_first_segment(recovery);
}
