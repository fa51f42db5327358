/*
 * Block by block: where the header of a frame of this segment stands (its epoch proves that it was
 * written there for this segment), the frame is looked at whole, and the walk goes on behind it if
 * it is; everything else is passed over one block at a time. As long as each frame continues the
 * one before, it is in the chain; the first thing that does not, ends it, once.
 */
#include "userwal_segment.h"

#include "core/disk.h"
#include "core/wal_segment.h"
#include "core/wal_window.h"

#include <errno.h>

struct walk {
    struct wal_window *window;
    struct userwal_segment *segment;
    userwal_frame_fn each;
    void *context;
    uint32_t prev_crc;
    bool chain_is_over;
};

const char *userwal_segment_why(enum userwal_chain_end why)
{
    static const char *const words[] = {
        [USERWAL_END_ZEROS] = "zeros",
        [USERWAL_END_FILE] = "the end of the file",
        [USERWAL_END_NO_FRAME] = "bytes that are no whole frame",
        [USERWAL_END_PAYLOAD] = "a frame whose records do not have its checksum",
        [USERWAL_END_RECORDS] = "a frame whose records do not add up",
        [USERWAL_END_PLACE] = "a whole frame that does not belong there",
        [USERWAL_END_CUT] = "a frame that the file is too short for",
        [USERWAL_END_HEADER] = "a damaged segment header",
    };

    return words[why];
}

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

static bool is_possible(const struct wal_format_frame *frame, uint64_t room)
{
    return frame->record_count <= WAL_FORMAT_FRAME_RECORDS_MAX &&
           frame->payload_size <= WAL_FORMAT_FRAME_SIZE_MAX - WAL_FORMAT_FRAME_HEADER_SIZE &&
           wal_format_frame_size(frame->payload_size) <= room &&
           frame->durable_lsn < frame->first_lsn &&
           (frame->record_count == 0) == (frame->flags != 0);
}

static void end_chain(struct walk *walk, enum userwal_chain_end why)
{
    if (!walk->chain_is_over) {
        walk->chain_is_over = true;
        walk->segment->why = why;
    }
}

/* Reads the payload. Returns 0 with *ret_why saying what is wrong, ZEROS for nothing; or negative
 * errno. */
static int look_at_frame(struct walk *walk, struct userwal_frame *frame,
                         enum userwal_chain_end *ret_why)
{
    const struct wal_format_frame *header = &frame->header;
    const uint64_t left = walk->segment->file_size - frame->offset;
    const uint8_t *bytes = NULL;
    int result;

    *ret_why = USERWAL_END_PLACE;
    if (!is_possible(header, walk->segment->header.size - frame->offset)) {
        frame->size = WAL_FORMAT_BLOCK_SIZE;
        return 0;
    }
    frame->size = wal_format_frame_size(header->payload_size);
    if (frame->size >
        (left + WAL_FORMAT_BLOCK_SIZE - 1) / WAL_FORMAT_BLOCK_SIZE * WAL_FORMAT_BLOCK_SIZE) {
        *ret_why = USERWAL_END_CUT;
        return 0;
    }
    result = wal_window_look(walk->window, frame->offset, (size_t)frame->size, &bytes);
    if (result != 0) {
        return result;
    }
    frame->payload = (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE, header->payload_size};
    if (!wal_format_check_payload(header, frame->payload.data)) {
        *ret_why = USERWAL_END_PAYLOAD;
    } else if (!records_add_up(header, frame->payload)) {
        *ret_why = USERWAL_END_RECORDS;
    } else {
        frame->is_whole = true;
        *ret_why = USERWAL_END_ZEROS;
    }
    return 0;
}

static void count_in_chain(struct walk *walk, const struct userwal_frame *frame)
{
    struct userwal_segment *segment = walk->segment;
    const struct wal_format_frame *header = &frame->header;
    const uint64_t used = WAL_FORMAT_FRAME_HEADER_SIZE + (uint64_t)header->payload_size;

    walk->prev_crc = header->crc;
    segment->end_offset = frame->offset + frame->size;
    segment->next_lsn += header->record_count;
    segment->frame_count++;
    segment->record_count += header->record_count;
    segment->payload_bytes += used;
    segment->padding_bytes += frame->size - used;
    segment->last_ns = header->realtime_ns;
}

static void count_later(struct walk *walk, const struct userwal_frame *frame)
{
    struct userwal_segment *segment = walk->segment;
    const struct wal_format_frame *header = &frame->header;
    const uint64_t last_lsn = header->first_lsn + header->record_count - 1;
    const uint64_t greatest = last_lsn > header->durable_lsn ? last_lsn : header->durable_lsn;

    segment->later_last_lsn =
        greatest > segment->later_last_lsn ? greatest : segment->later_last_lsn;
    if (frame->offset == segment->end_offset) {
        return; /* what stands right there proves nothing */
    }
    if (segment->later_offset == 0) {
        segment->later_offset = frame->offset;
        segment->later_first_lsn = header->first_lsn;
    }
    if (!segment->header.is_lazy || header->durable_lsn >= segment->next_lsn ||
        header->first_lsn <= segment->next_lsn) {
        segment->later_proves = true;
    }
}

/* At a whole header of this segment. *ret_size is what to step over. */
static int walk_frame(struct walk *walk, struct userwal_frame *frame, uint64_t *ret_size)
{
    enum userwal_chain_end why = USERWAL_END_ZEROS;
    int result = look_at_frame(walk, frame, &why);

    if (result != 0) {
        return result;
    }
    if (why == USERWAL_END_ZEROS && (frame->header.first_lsn != walk->segment->next_lsn ||
                                     frame->header.prev_crc != walk->prev_crc)) {
        why = USERWAL_END_PLACE;
    }
    if (!walk->chain_is_over && why == USERWAL_END_ZEROS) {
        frame->is_in_chain = true;
        count_in_chain(walk, frame);
    } else {
        end_chain(walk, why);
        count_later(walk, frame);
    }
    *ret_size = frame->is_whole ? frame->size : WAL_FORMAT_BLOCK_SIZE;
    return walk->each == NULL ? 0 : walk->each(walk->context, frame);
}

static int walk_block(struct walk *walk, uint64_t offset, uint64_t *ret_size)
{
    struct userwal_frame frame = {.offset = offset};
    const uint8_t *block = NULL;
    int result = wal_window_look(walk->window, offset, WAL_FORMAT_BLOCK_SIZE, &block);
    const bool is_zero = result == 0 && wal_segment_is_zero(block, WAL_FORMAT_BLOCK_SIZE);

    *ret_size = WAL_FORMAT_BLOCK_SIZE;
    if (result != 0) {
        return result;
    }
    if (is_zero) {
        end_chain(walk, USERWAL_END_ZEROS);
        return 0;
    }
    if (wal_format_get_frame(block, &frame.header) == 0 &&
        frame.header.epoch == walk->segment->header.epoch) {
        result = walk_frame(walk, &frame, ret_size);
    } else {
        end_chain(walk, USERWAL_END_NO_FRAME);
    }
    walk->segment->used_end = offset + *ret_size;
    return result;
}

static int walk_file(struct walk *walk)
{
    struct userwal_segment *segment = walk->segment;
    const uint8_t *block = NULL;
    uint64_t size = 0;
    int result;

    segment->header_result = WAL_FORMAT_E_BAD;
    segment->why = USERWAL_END_HEADER;
    if (walk->window->size == 0) {
        return 0;
    }
    result = wal_window_look(walk->window, 0, WAL_FORMAT_BLOCK_SIZE, &block);
    if (result != 0) {
        return result;
    }
    segment->header_result = wal_format_get_segment(block, &segment->header);
    if (segment->header_result == 0 && (segment->header.size % WAL_FORMAT_BLOCK_SIZE != 0 ||
                                        segment->header.size < 2 * WAL_FORMAT_BLOCK_SIZE)) {
        segment->header_result = WAL_FORMAT_E_BAD;
    }
    if (segment->header_result != 0) {
        return 0;
    }
    if (walk->window->file_size > segment->header.size) {
        wal_window_set_file(walk->window, walk->window->file, segment->header.size);
    }
    segment->next_lsn = segment->header.first_lsn;
    segment->end_offset = WAL_FORMAT_BLOCK_SIZE;
    segment->used_end = WAL_FORMAT_BLOCK_SIZE;
    walk->prev_crc = segment->header.crc;
    for (uint64_t at = WAL_FORMAT_BLOCK_SIZE; result == 0 && at < walk->window->size; at += size) {
        result = walk_block(walk, at, &size);
    }
    end_chain(walk, USERWAL_END_FILE);
    return result;
}

int userwal_segment_walk(struct disk *disk, const char *name, struct wal_window *window,
                         userwal_frame_fn each, void *context, struct userwal_segment *ret_segment)
{
    struct walk walk = {.window = window, .segment = ret_segment, .each = each, .context = context};
    struct disk_file *file = NULL;
    int result = disk->ops->open(disk, name, DISK_OPEN_READ, &file);

    *ret_segment = (struct userwal_segment){.name = name};
    if (result != 0) {
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
    }
    result = disk->ops->size(file, &ret_segment->file_size);
    if (result == 0) {
        wal_window_set_file(window, file, ret_segment->file_size);
        result = walk_file(&walk);
    }
    wal_window_set_file(window, NULL, 0);
    disk->ops->close_file(file);
    return result;
}
