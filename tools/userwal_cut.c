/*
 * The plan:
 *
 *  1. The base is the newest whole snapshot. Behind it the log is followed, segment by segment, to
 *     the place where it breaks off: record E is the first that cannot be had. When that lies
 * before the snapshot's own record, the snapshot alone is the better end, and E comes right behind
 * it.
 *  2. What stays: the segments up to the break. What goes: the bytes behind it in the same segment,
 *     all later segments, damaged snapshots of E or later.
 *
 * The doing, in an order in which a crash leaves a directory that userd still refuses, or one that
 * is what was asked for; in both cases it can be repeated:
 *
 *  0. CONTROL, unless its watermark speaks against the cut, says that changes may have been lost:
 * as soon as the rest below is gone userd starts, and must not give their etags again,
 *  1. the bytes behind the break are copied to a .torn file, which is synced, and then overwritten
 *     with zeros,
 *  2. later segments, the last one first, get names of .torn files; damaged snapshots .bad,
 *  3. when no segment is left that record E could go to, an empty one is made,
 *  4. CONTROL, whose watermark speaks against all this, is taken back to E - 1, last of all.
 */
#include "userwal_cut.h"

#include "core/disk.h"
#include "core/snapshot_format.h"
#include "service/user_record.h"
#include "userwal_make.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the plan */

static bool is_usable(const struct userwal_survey *survey, size_t index)
{
    const struct userwal_segment *segment = &survey->segments[index];

    return segment->header_result == 0 &&
           segment->header.first_lsn == survey->folder.segments[index].lsn &&
           memcmp(segment->header.store_uuid, survey->store_uuid, WAL_FORMAT_UUID_SIZE) == 0;
}

/* Follows the log to the place where it breaks off. */
static void find_break(const struct userwal_survey *survey, size_t first, struct userwal_cut *cut)
{
    const struct userwal_folder *folder = &survey->folder;

    cut->from = folder->segments[first].lsn;
    cut->kept = first;
    for (size_t i = first; i < folder->segment_count; i++) {
        const struct userwal_segment *segment = &survey->segments[i];
        bool is_last = i + 1 == folder->segment_count;

        if (folder->segments[i].lsn != cut->from || !is_usable(survey, i)) {
            return;
        }
        cut->from = segment->next_lsn;
        cut->kept = i + 1;
        cut->kept_ns = segment->last_ns != 0 ? segment->last_ns : cut->kept_ns;
        cut->cuts_last = segment->used_end > segment->end_offset;
        cut->cut_offset = segment->end_offset;
        cut->cut_end = segment->used_end;
        /* Rule (a) looks at the one block behind the chain: zeros there are no break. */
        if (is_last || (cut->cuts_last && segment->why != USERWAL_END_ZEROS)) {
            return;
        }
    }
}

static void plan(const struct userwal_survey *survey, struct userwal_cut *cut)
{
    const uint64_t base = survey->base_lsn;
    size_t first = 0;

    cut->has_start = base > 0;
    if (userwal_survey_first_segment(survey, &first)) {
        find_break(survey, first, cut);
        cut->has_start = base > 0 || cut->kept > first;
    }
    if (cut->from <= base) {
        /* Of the log nothing is needed, or can be had. What lies wholly before stays: who knows. */
        cut->from = base + 1;
        cut->cuts_last = false;
        cut->kept = first;
    }
    cut->needs_segment = cut->kept <= first;
    cut->last_lost = survey->witnessed;
}

/* ---- what is lost */

static char *copy_text(struct bytes text)
{
    return strndup((const char *)text.data, text.size);
}

static int note_user(struct userwal_cut *cut, const struct user *user)
{
    struct userwal_lost_user *lost = NULL;

    for (size_t i = 0; i < cut->user_count && lost == NULL; i++) {
        if (bytes_equal(bytes_from_text(cut->users[i].id), user->id)) {
            lost = &cut->users[i];
        }
    }
    if (lost == NULL && cut->user_count == USERWAL_LOST_USERS_MAX) {
        cut->has_more_users = true;
        return 0;
    }
    if (lost == NULL) {
        lost = &cut->users[cut->user_count];
        lost->id = copy_text(user->id);
        if (lost->id == NULL) {
            return -ENOMEM;
        }
        cut->user_count++;
    }
    if (user->username.size > 0) {
        free(lost->username);
        lost->username = copy_text(user->username);
    }
    return 0;
}

/* Of a frame that is given up: its records can be read all the same. */
static int on_frame(void *context, const struct userwal_frame *frame)
{
    struct userwal_cut *cut = context;
    const struct wal_format_frame *header = &frame->header;
    struct wal_format_record found = {0};
    struct user_record record;
    size_t offset = 0;
    int result = 0;

    if (!frame->is_whole || header->record_count == 0 ||
        header->first_lsn + header->record_count <= cut->from) {
        return 0;
    }
    cut->first_ns = cut->first_ns == 0 ? header->realtime_ns : cut->first_ns;
    cut->last_ns = header->realtime_ns;
    for (uint32_t i = 0; i < header->record_count && result == 0; i++) {
        if (wal_format_get_record(frame->payload, &offset, &found) != 0) {
            break; /* not of a whole frame */
        }
        if (header->first_lsn + i < cut->from) {
            continue;
        }
        cut->readable++;
        if (user_record_read(found.type, found.body, &record) == 0) {
            result = note_user(cut, &record.user);
        }
    }
    return result;
}

static int read_lost(struct disk *disk, struct userwal_cut *cut)
{
    const struct userwal_folder *folder = &cut->survey->folder;
    struct userwal_segment again;
    struct wal_window window = {0};
    int result = wal_window_init(&window);
    size_t first = cut->kept > 0 && cut->cuts_last ? cut->kept - 1 : cut->kept;

    for (size_t i = first; i < folder->segment_count && result == 0; i++) {
        result =
            userwal_segment_walk(disk, folder->segments[i].name, &window, on_frame, cut, &again);
    }
    wal_window_deinit(&window);
    return result;
}

int userwal_cut_plan(const struct userwal_survey *survey, struct disk *disk,
                     struct userwal_cut *ret_cut)
{
    *ret_cut = (struct userwal_cut){.survey = survey};
    plan(survey, ret_cut);
    return read_lost(disk, ret_cut);
}

void userwal_cut_deinit(struct userwal_cut *cut)
{
    for (size_t i = 0; i < cut->user_count; i++) {
        free(cut->users[i].id);
        free(cut->users[i].username);
    }
    cut->user_count = 0;
}

/* ---- the doing */

static bool is_there(struct disk *disk, const char *name)
{
    struct disk_file *file = NULL;

    if (disk->ops->open(disk, name, DISK_OPEN_READ, &file) != 0) {
        return false;
    }
    disk->ops->close_file(file);
    return true;
}

/* A name that no file has: what was cut off before stays. */
static void choose_torn_name(struct disk *disk, uint64_t first_lsn, uint64_t next_lsn,
                             char name[WAL_FORMAT_NAME_SIZE])
{
    wal_format_torn_name(first_lsn, next_lsn, name);
    for (unsigned i = 1; is_there(disk, name); i++) {
        (void)snprintf(name, WAL_FORMAT_NAME_SIZE, "wal-%016" PRIx64 "-%016" PRIx64 ".%u.torn",
                       first_lsn, next_lsn, i);
    }
}

static size_t least(uint64_t left, size_t most)
{
    return left < most ? (size_t)left : most;
}

/* What is cut off goes to the copy. A file that was cut short goes on in zeros. */
static int copy_tail(const struct userwal_cut *cut, struct disk_file *file, struct disk_file *copy,
                     uint8_t *piece)
{
    const struct disk_ops *ops = file->disk->ops;
    uint64_t file_size = 0;
    int result = ops->size(file, &file_size);

    for (uint64_t at = cut->cut_offset; result == 0 && at < cut->cut_end;) {
        size_t size = least(cut->cut_end - at, WAL_WINDOW_PIECE_SIZE);
        size_t there = at < file_size ? least(file_size - at, size) : 0;

        memset(piece + there, 0, size - there);
        result = ops->read(file, piece, there, at);
        if (result == 0) {
            result = ops->write(copy, (struct bytes){piece, size}, at - cut->cut_offset);
        }
        at += size;
    }
    return result != 0 ? result : ops->sync(copy);
}

static int wipe_tail(const struct userwal_cut *cut, struct disk_file *file, uint8_t *piece)
{
    const struct disk_ops *ops = file->disk->ops;
    int result = 0;

    memset(piece, 0, WAL_WINDOW_PIECE_SIZE);
    for (uint64_t at = cut->cut_offset; result == 0 && at < cut->cut_end;) {
        size_t size = least(cut->cut_end - at, WAL_WINDOW_PIECE_SIZE);

        result = ops->write(file, (struct bytes){piece, size}, at);
        at += size;
    }
    return result != 0 ? result : ops->sync(file);
}

static int cut_segment(const struct userwal_cut *cut, struct disk *disk, struct disk_file *file,
                       uint8_t *piece)
{
    const struct disk_ops *ops = disk->ops;
    struct disk_file *copy = NULL;
    char name[WAL_FORMAT_NAME_SIZE];
    int result;

    choose_torn_name(disk, cut->survey->folder.segments[cut->kept - 1].lsn, cut->from, name);
    result = ops->open(disk, name, DISK_OPEN_CREATE, &copy);
    if (result != 0) {
        return result;
    }
    result = copy_tail(cut, file, copy, piece);
    ops->close_file(copy);
    if (result != 0) {
        (void)ops->remove(disk, name); /* who repeats it makes another */
    } else {
        result = ops->sync_directory(disk);
    }
    return result == 0 ? wipe_tail(cut, file, piece) : result;
}

static int cut_last(const struct userwal_cut *cut, struct disk *disk)
{
    const char *name = cut->survey->folder.segments[cut->kept - 1].name;
    uint8_t *piece = aligned_alloc(DISK_BLOCK_SIZE, WAL_WINDOW_PIECE_SIZE);
    struct disk_file *file = NULL;
    int result = piece == NULL ? -ENOMEM : disk->ops->open(disk, name, DISK_OPEN_WRITE, &file);

    if (result == 0) {
        result = cut_segment(cut, disk, file, piece);
        disk->ops->close_file(file);
    }
    free(piece);
    return result > 0 ? -ENOENT : result;
}

static int set_aside(const struct userwal_cut *cut, struct disk *disk)
{
    const struct userwal_folder *folder = &cut->survey->folder;
    char name[WAL_FORMAT_NAME_SIZE];
    int result = 0;

    for (size_t i = folder->segment_count; i > cut->kept && result == 0; i--) {
        choose_torn_name(disk, folder->segments[i - 1].lsn, cut->from, name);
        result = disk->ops->rename(disk, folder->segments[i - 1].name, name);
    }
    for (size_t i = 0; i < folder->snapshot_count && result == 0; i++) {
        if (!cut->survey->snapshots[i].is_whole && folder->snapshots[i].lsn >= cut->from) {
            snapshot_format_bad_name(folder->snapshots[i].lsn, name);
            result = disk->ops->rename(disk, folder->snapshots[i].name, name);
        }
    }
    if (result == 0) {
        result = disk->ops->sync_directory(disk);
    }
    return result > 0 ? -ENOENT : result;
}

int userwal_cut_do(const struct userwal_cut *cut, struct disk *disk, struct reactor *reactor)
{
    const struct wal_format_control *control = &cut->survey->folder.control;
    const uint8_t *uuid = cut->survey->store_uuid;
    int result = 0;

    if (control->sequence != 0 && control->durable_lsn < cut->from) {
        result = userwal_make_control(disk, uuid, cut->from - 1);
    }
    if (result == 0 && cut->cuts_last) {
        result = cut_last(cut, disk);
    }
    if (result == 0) {
        result = set_aside(cut, disk);
    }
    if (result == 0 && cut->needs_segment) {
        result = userwal_make_segment(disk, reactor, uuid, cut->from, USERWAL_SEGMENT_SIZE_DEFAULT);
    }
    return result == 0 ? userwal_make_control(disk, uuid, cut->from - 1) : result;
}
