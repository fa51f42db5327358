/*
 * Recovery in two steps: look, then touch. wal_recover() walks through the segments in the order of
 * their names, replays every whole frame, and at the place where whole frames end asks all
 * witnesses whether more had been durable. Only when none says so, wal_recover_cut() removes what
 * the crash left of the frame in flight. The rules, and why they are right, stand at the head of
 * wal_format.c; here "(a)" to "(d)" mean the ones there.
 *
 * A file is read through a window (wal_window.c), a piece of which holds any one frame.
 *
 * What can go wrong: the disk refuses to read (the errno goes up, for the data may be readable
 * later), or the files contradict each other or their checksums (WAL_E_DAMAGED: a person must
 * decide), or they are not ours to read (WAL_E_FOREIGN). Memory: 8 bytes per segment and the
 * window.
 */
#include "core/wal_recover.h"

#include "core/disk.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(WAL_FORMAT_FRAME_SIZE_MAX <= WAL_WINDOW_PIECE_SIZE, "a frame must fit a piece");
static_assert(WAL_FORMAT_BLOCK_SIZE == DISK_BLOCK_SIZE, "blocks are what the disk can write");

/* Says why the log cannot be opened, and passes the outcome on. */
__attribute__((format(printf, 3, 4))) static int refuse(struct wal_recovery *recovery, int outcome,
                                                        const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(recovery->problem, WAL_PROBLEM_SIZE, format, arguments); /* may be cut */
    va_end(arguments);
    return outcome;
}

static int refuse_io(struct wal_recovery *recovery, int error, const char *name)
{
    return refuse(recovery, error, "%s: %s", name, strerror(-error));
}

static const char *last_name(const struct wal_recovery *recovery, char *name)
{
    wal_format_segment_name(recovery->last.header.first_lsn, name);
    return name;
}

/* A list of segments that doubles. */
static int add_segment(void *context, const char *name)
{
    struct wal_recovery *recovery = context;
    size_t count = recovery->segment_count;
    uint64_t first_lsn = 0;
    uint64_t *segments = recovery->segments;

    if (!wal_format_parse_segment_name(name, &first_lsn)) {
        return 0;
    }
    if ((count & (count - 1)) == 0) { /* 0 and the powers of two: the array is full */
        segments = realloc(segments, (count == 0 ? 1 : count * 2) * sizeof(segments[0]));
        if (segments == NULL) {
            return -ENOMEM;
        }
        recovery->segments = segments;
    }
    segments[recovery->segment_count++] = first_lsn;
    return 0;
}

static int compare_lsn(const void *a, const void *b)
{
    uint64_t lsn_a = *(const uint64_t *)a;
    uint64_t lsn_b = *(const uint64_t *)b;

    return lsn_a < lsn_b ? -1 : lsn_a > lsn_b;
}

/* Checks the header against the name, the store and what came before. */
static int check_header(struct wal_recovery *recovery, const char *name, uint64_t first_lsn,
                        const uint8_t *block)
{
    struct wal_format_segment *header = &recovery->last.header;
    int result = wal_format_get_segment(block, header);

    if (result == WAL_FORMAT_E_NEWER) {
        return refuse(recovery, WAL_E_FOREIGN, "%s: written by a newer version of this program",
                      name);
    }
    if (result == WAL_FORMAT_E_BAD) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: both copies of the header at offset 0 are damaged; the records from "
                      "%" PRIu64 " on are in it",
                      name, first_lsn);
    }
    if (memcmp(header->store_uuid, recovery->control->store_uuid, WAL_FORMAT_UUID_SIZE) != 0) {
        return refuse(recovery, WAL_E_FOREIGN, "%s: belongs to another store than %s and %s", name,
                      WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B);
    }
    if (header->first_lsn != first_lsn || header->size % WAL_FORMAT_BLOCK_SIZE != 0 ||
        header->size < 2 * WAL_FORMAT_BLOCK_SIZE) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: its header says that it begins with record %" PRIu64 " and has %" PRIu64
                      " bytes",
                      name, header->first_lsn, header->size);
    }
    return 0;
}

/* Opens a segment as recovery->last and the window on it. Returns 0 or negative errno. */
static int open_file(struct wal_recovery *recovery, const char *name)
{
    const struct disk_ops *ops = recovery->disk->ops;
    uint64_t size = 0;
    int result;

    wal_segment_close(&recovery->last);
    recovery->last = (struct wal_segment){.offset = WAL_FORMAT_BLOCK_SIZE};
    /* For writing, because that means direct: pages in memory may lie after a failed sync. */
    result = ops->open(recovery->disk, name, DISK_OPEN_WRITE, &recovery->last.file);
    if (result != 0) {
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
    }
    result = ops->sync(recovery->last.file);
    if (result == 0) {
        result = ops->size(recovery->last.file, &size);
    }
    wal_window_set_file(&recovery->window, recovery->last.file, size);
    return result;
}

/* Opens a segment and checks its header. */
static int open_segment(struct wal_recovery *recovery, uint64_t first_lsn)
{
    struct wal_window *window = &recovery->window;
    const uint8_t *block = NULL;
    char name[WAL_FORMAT_NAME_SIZE];
    int result;

    wal_format_segment_name(first_lsn, name);
    result = open_file(recovery, name);
    if (result == 0 && window->size == 0) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: is empty; the records from %" PRIu64 " on are missing", name, first_lsn);
    }
    if (result == 0) {
        result = wal_window_look(window, 0, WAL_FORMAT_BLOCK_SIZE, &block);
    }
    if (result != 0) {
        return refuse_io(recovery, result, name);
    }
    result = check_header(recovery, name, first_lsn, block);
    if (result == 0 && window->file_size > recovery->last.header.size) {
        wal_window_set_file(window, recovery->last.file, recovery->last.header.size);
    }
    recovery->last_is_whole = window->file_size == recovery->last.header.size;
    recovery->last.prev_crc = recovery->last.header.crc;
    return result;
}

/* Whether a whole header of this segment is one that can stand here. */
static bool belongs_here(const struct wal_recovery *recovery, const struct wal_format_frame *frame)
{
    const uint16_t known = WAL_FORMAT_FRAME_SEAL | WAL_FORMAT_FRAME_CLOSE;
    const uint64_t room = wal_segment_room(&recovery->last);

    if (frame->first_lsn != recovery->next_lsn || frame->prev_crc != recovery->last.prev_crc ||
        frame->durable_lsn >= frame->first_lsn || (frame->flags & ~known) != 0) {
        return false;
    }
    if (frame->record_count > WAL_FORMAT_FRAME_RECORDS_MAX ||
        frame->payload_size > WAL_FORMAT_FRAME_SIZE_MAX - WAL_FORMAT_FRAME_HEADER_SIZE ||
        wal_format_frame_size(frame->payload_size) > room) {
        return false;
    }
    if (frame->record_count == 0) {
        return frame->flags != 0 && frame->payload_size == 0;
    }
    return frame->flags == 0;
}

/* Whether the payload holds just the records that the header promises. */
static bool records_add_up(const struct wal_format_frame *frame, struct bytes payload)
{
    struct wal_format_record record;
    size_t offset = 0;

    for (uint32_t i = 0; i < frame->record_count; i++) {
        if (wal_format_get_record(payload, &offset, &record) != 0) {
            return false;
        }
    }
    return offset == payload.size;
}

static int replay_records(struct wal_recovery *recovery, const struct wal_format_frame *frame,
                          struct bytes payload)
{
    size_t offset = 0;

    for (uint32_t i = 0; i < frame->record_count; i++) {
        struct wal_format_record found = {0};
        struct wal_record record;
        int result = wal_format_get_record(payload, &offset, &found);

        assert(result == 0); /* records_add_up() has seen it */
        record = (struct wal_record){
            .lsn = frame->first_lsn + i,
            .realtime_ns = frame->realtime_ns,
            .type = found.type,
            .body = found.body,
        };
        result = recovery->replay(recovery->replay_context, &record);
        if (result != 0) {
            return refuse(recovery, result, "record %" PRIu64 " was refused", record.lsn);
        }
    }
    recovery->record_count += frame->record_count;
    return 0;
}

static int refuse_frame(struct wal_recovery *recovery, const struct wal_format_frame *frame,
                        const char *what)
{
    char name[WAL_FORMAT_NAME_SIZE];

    return refuse(recovery, WAL_E_DAMAGED,
                  "%s: %s at offset %" PRIu64 ": it begins with record %" PRIu64 " and has %" PRIu32
                  ", expected is record %" PRIu64,
                  last_name(recovery, name), what, recovery->last.offset, frame->first_lsn,
                  frame->record_count, recovery->next_lsn);
}

/* Replays the frame at last.offset and steps over it; *ret_end when there is no whole frame. */
static int read_frame(struct wal_recovery *recovery, bool *ret_end)
{
    struct wal_segment *last = &recovery->last;
    struct wal_format_frame frame = {0};
    const uint8_t *bytes = NULL;
    struct bytes payload;
    size_t size;
    int result;

    result = wal_window_look(&recovery->window, last->offset, WAL_FORMAT_BLOCK_SIZE, &bytes);
    if (result != 0) {
        return result;
    }
    if (wal_format_get_frame(bytes, &frame) != 0 || frame.epoch != last->header.epoch) {
        *ret_end = true;
        return 0;
    }
    if (!belongs_here(recovery, &frame)) {
        return refuse_frame(recovery, &frame, "a frame that does not belong there");
    }
    size = wal_format_frame_size(frame.payload_size);
    if (size > recovery->window.size - last->offset) {
        *ret_end = true; /* the file was cut within it */
        return 0;
    }
    result = wal_window_look(&recovery->window, last->offset, size, &bytes);
    if (result != 0) {
        return result;
    }
    payload = (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE, frame.payload_size};
    if (!wal_format_check_payload(&frame, payload.data)) {
        *ret_end = true;
        return 0;
    }
    if (!records_add_up(&frame, payload)) {
        return refuse_frame(recovery, &frame, "a frame of the wrong records");
    }
    result = replay_records(recovery, &frame, payload);
    if (result != 0) {
        return result;
    }
    recovery->next_lsn += frame.record_count;
    last->offset += size;
    last->prev_crc = frame.crc;
    last->frame_count++;
    return 0;
}

/* Rule (a), at the end of a segment that has a successor. */
static int check_successor(struct wal_recovery *recovery, uint64_t successor_lsn)
{
    const uint64_t offset = recovery->last.offset;
    const uint8_t *block = NULL;
    char name[WAL_FORMAT_NAME_SIZE];
    bool is_zero = true;

    if (offset < recovery->window.size) {
        int result = wal_window_look(&recovery->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);

        if (result != 0) {
            return refuse_io(recovery, result, last_name(recovery, name));
        }
        is_zero = wal_segment_is_zero(block, WAL_FORMAT_BLOCK_SIZE);
    }
    if (recovery->next_lsn != successor_lsn) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: ends at offset %" PRIu64 " before record %" PRIu64
                      ", but the next segment begins with record %" PRIu64,
                      last_name(recovery, name), offset, recovery->next_lsn, successor_lsn);
    }
    if (!is_zero) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: damaged at offset %" PRIu64 ", behind record %" PRIu64,
                      last_name(recovery, name), offset, recovery->next_lsn - 1);
    }
    return 0;
}

/* Rule (c), and how far the remains of a torn frame reach. */
static int look_behind_end(struct wal_recovery *recovery)
{
    const uint64_t first = recovery->last.offset;
    struct wal_format_frame frame = {0};
    const uint8_t *block = NULL;
    char name[WAL_FORMAT_NAME_SIZE];

    recovery->torn_end = 0;
    for (uint64_t offset = first; offset < recovery->window.size; offset += WAL_FORMAT_BLOCK_SIZE) {
        int result = wal_window_look(&recovery->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);

        if (result != 0) {
            return refuse_io(recovery, result, last_name(recovery, name));
        }
        if (wal_segment_is_zero(block, WAL_FORMAT_BLOCK_SIZE)) {
            continue;
        }
        recovery->torn_end = offset + WAL_FORMAT_BLOCK_SIZE;
        if (offset > first && wal_format_get_frame(block, &frame) == 0 &&
            frame.epoch == recovery->last.header.epoch) {
            return refuse(recovery, WAL_E_DAMAGED,
                          "%s: damaged at offset %" PRIu64 ", where record %" PRIu64
                          " is expected: a later frame at offset %" PRIu64 " (records from %" PRIu64
                          " on) proves that what stood there was durable",
                          last_name(recovery, name), first, recovery->next_lsn, offset,
                          frame.first_lsn);
        }
    }
    return 0;
}

/* Rule (b), last of all: whatever the files say, the log must reach the watermark. */
static int check_watermark(struct wal_recovery *recovery)
{
    char name[WAL_FORMAT_NAME_SIZE] = "no segment";

    if (recovery->control->durable_lsn < recovery->next_lsn) {
        return 0;
    }
    if (recovery->segment_count > 0) {
        (void)last_name(recovery, name);
    }
    return refuse(recovery, WAL_E_DAMAGED,
                  "%s: whole frames end at offset %" PRIu64 " before record %" PRIu64
                  ", but %s and %s prove that everything up to record %" PRIu64 " was durable",
                  name, recovery->last.offset, recovery->next_lsn, WAL_FORMAT_CONTROL_A,
                  WAL_FORMAT_CONTROL_B, recovery->control->durable_lsn);
}

static int read_segment(struct wal_recovery *recovery, size_t index)
{
    const uint64_t first_lsn = recovery->segments[index];
    char name[WAL_FORMAT_NAME_SIZE];
    bool at_end = false;
    int result;

    if (first_lsn != recovery->next_lsn) { /* the first one; check_successor() sees to the others */
        wal_format_segment_name(first_lsn, name);
        return refuse(recovery, WAL_E_DAMAGED,
                      "%s: is the oldest segment, but the records from %" PRIu64 " on are needed",
                      name, recovery->next_lsn);
    }
    result = open_segment(recovery, first_lsn);
    while (result == 0 && !at_end && recovery->last.offset < recovery->window.size) {
        result = read_frame(recovery, &at_end);
        if (result < 0 && recovery->problem[0] == '\0') {
            result = refuse_io(recovery, result, last_name(recovery, name));
        }
    }
    if (result != 0) {
        return result;
    }
    return index + 1 < recovery->segment_count
               ? check_successor(recovery, recovery->segments[index + 1])
               : look_behind_end(recovery);
}

int wal_recover(struct wal_recovery *recovery)
{
    const struct disk_ops *ops = recovery->disk->ops;
    int result;

    recovery->problem[0] = '\0';
    recovery->next_lsn = 1;
    if (wal_window_init(&recovery->window) != 0) {
        return refuse(recovery, -ENOMEM, "no memory to read the log");
    }
    /* Names as well may be there and not yet durable, after a kill. */
    result = ops->sync_directory(recovery->disk);
    if (result == 0) {
        result = ops->list(recovery->disk, add_segment, recovery);
    }
    if (result != 0) {
        return refuse(recovery, result, "cannot list the directory: %s", strerror(-result));
    }
    if (recovery->segment_count > 0 && recovery->control->sequence == 0) {
        return refuse(recovery, WAL_E_DAMAGED,
                      "neither %s nor %s is readable, so nothing says how far the log should reach",
                      WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B);
    }
    if (recovery->segment_count > 0) {
        qsort(recovery->segments, recovery->segment_count, sizeof(uint64_t), compare_lsn);
    }
    for (size_t i = 0; i < recovery->segment_count; i++) {
        result = read_segment(recovery, i);
        if (result != 0) {
            return result;
        }
    }
    return check_watermark(recovery);
}

/* Copies the remains to a new file, block by block as they are. */
static int copy_torn(struct wal_recovery *recovery, const char *name)
{
    const struct disk_ops *ops = recovery->disk->ops;
    const uint64_t first = recovery->last.offset;
    struct disk_file *copy = NULL;
    const uint8_t *bytes = NULL;
    int result;

    /* One from a recovery that was itself interrupted; the remains are all still here. */
    result = ops->remove(recovery->disk, name);
    if (result == 0 || result == DISK_E_NOT_FOUND) {
        result = ops->open(recovery->disk, name, DISK_OPEN_CREATE, &copy);
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

int wal_recover_cut(struct wal_recovery *recovery)
{
    char name[WAL_FORMAT_NAME_SIZE];
    char torn[WAL_FORMAT_NAME_SIZE];
    int result;

    if (recovery->torn_end == 0) {
        return 0;
    }
    wal_format_torn_name(recovery->last.header.first_lsn, recovery->next_lsn, torn);
    result = copy_torn(recovery, torn);
    if (result == 0) {
        result = zero_torn(recovery);
    }
    if (result != 0) {
        return refuse_io(recovery, result, torn);
    }
    return refuse(recovery, 0,
                  "%s: remains of an unfinished write from offset %" PRIu64 " to %" PRIu64
                  ", behind record %" PRIu64 ", were moved to %s",
                  last_name(recovery, name), recovery->last.offset, recovery->torn_end,
                  recovery->next_lsn - 1, torn);
}

bool wal_recover_may_continue(const struct wal_recovery *recovery)
{
    return recovery->last.file != NULL && recovery->last.frame_count == 0 &&
           recovery->last_is_whole;
}

void wal_recover_deinit(struct wal_recovery *recovery)
{
    wal_segment_close(&recovery->last);
    free(recovery->segments);
    wal_window_deinit(&recovery->window);
    recovery->segments = NULL;
}
