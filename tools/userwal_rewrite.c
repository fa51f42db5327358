/*
 * Frame by frame, in these steps: the frame is read and checked as at a start, its records stay as
 * they are, and its header is made anew: epoch, the checksum of the frame before, its own. So every
 * frame stands at the offset where it stood, and header and footer alone are other blocks. What is
 * found damaged ends it, and what was written so far is of no use: it has no footer.
 */
#include "userwal_rewrite.h"

#include "core/digest.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/snapshot_check.h"
#include "core/wal_window.h"
#include "userwal_output.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE ((size_t)2 * WAL_FORMAT_FRAME_SIZE_MAX) /* many small frames are one write */

struct rewrite {
    struct snapshot_check check; /* of what is read, and so are these */
    struct wal_window window;
    struct disk_file *source;
    struct snapshot_format_header header; /* of what is written, and so are these */
    struct disk_file *file;
    uint32_t prev_crc;
    struct digest digest;
    uint64_t offset; /* of memory[0] in the file */
    size_t used;
    uint8_t *memory;
};

static int flush(struct rewrite *rewrite)
{
    const struct bytes bytes = {rewrite->memory, rewrite->used};
    int result = 0;

    if (rewrite->used > 0) {
        result = rewrite->file->disk->ops->write(rewrite->file, bytes, rewrite->offset);
    }
    rewrite->offset += rewrite->used;
    rewrite->used = 0;
    return result;
}

/* Room for so many bytes, or NULL: the disk has failed. */
static uint8_t *take_room(struct rewrite *rewrite, size_t size, int *ret_result)
{
    uint8_t *room;

    *ret_result = MEMORY_SIZE - rewrite->used < size ? flush(rewrite) : 0;
    if (*ret_result != 0) {
        return NULL;
    }
    room = rewrite->memory + rewrite->used;
    rewrite->used += size;
    return room;
}

static int rewrite_header(struct rewrite *rewrite, const uint8_t *store_uuid)
{
    const uint8_t *block = NULL;
    uint8_t *room;
    int result = snapshot_check_size(&rewrite->check);

    if (result == 0) {
        result = wal_window_look(&rewrite->window, 0, WAL_FORMAT_BLOCK_SIZE, &block);
    }
    if (result == 0) {
        result = snapshot_check_header(&rewrite->check, block);
    }
    room = result == 0 ? take_room(rewrite, WAL_FORMAT_BLOCK_SIZE, &result) : NULL;
    if (room == NULL) {
        return result;
    }
    rewrite->header = rewrite->check.header;
    memcpy(rewrite->header.store_uuid, store_uuid, WAL_FORMAT_UUID_SIZE);
    random_fill(random_system(), &rewrite->header.epoch, sizeof(rewrite->header.epoch));
    snapshot_format_put_header(room, &rewrite->header);
    rewrite->prev_crc = rewrite->header.crc;
    return 0;
}

/* The frame that was read last, as it is to be written. */
static int put_frame(struct rewrite *rewrite)
{
    struct wal_format_frame frame = rewrite->check.frame;
    const struct bytes payload = rewrite->check.payload;
    int result;
    uint8_t *room = take_room(rewrite, wal_format_frame_size(payload.size), &result);

    if (room == NULL) {
        return result;
    }
    frame.epoch = rewrite->header.epoch;
    frame.prev_crc = rewrite->prev_crc;
    memcpy(room + WAL_FORMAT_FRAME_HEADER_SIZE, payload.data, payload.size);
    (void)wal_format_put_frame(room, &frame);
    digest_add(&rewrite->digest, (struct bytes){room, WAL_FORMAT_FRAME_HEADER_SIZE});
    rewrite->prev_crc = frame.crc;
    return 0;
}

/* All records are looked at: the check counts them. */
static int rewrite_frame(struct rewrite *rewrite)
{
    const uint64_t offset = rewrite->check.offset;
    const uint8_t *bytes = NULL;
    struct wal_record record;
    size_t size = 0;
    int result = wal_window_look(&rewrite->window, offset, WAL_FORMAT_BLOCK_SIZE, &bytes);

    if (result == 0) {
        result = snapshot_check_frame(&rewrite->check, bytes, &size);
    }
    if (result == 0) {
        result = wal_window_look(&rewrite->window, offset, size, &bytes);
    }
    if (result == 0) {
        result = snapshot_check_payload(&rewrite->check, bytes);
    }
    while (result == 0) {
        result = snapshot_check_record(&rewrite->check, &record);
    }
    userwal_progress("copying, bytes", offset, rewrite->check.file_size);
    return result == SNAPSHOT_CHECK_END ? put_frame(rewrite) : result;
}

static int rewrite_footer(struct rewrite *rewrite)
{
    const struct snapshot_check *check = &rewrite->check;
    struct snapshot_format_footer footer = {
        .epoch = rewrite->header.epoch,
        .lsn = rewrite->header.lsn,
        .record_count = check->record_count,
        .frame_count = check->frame_count,
        .size = check->file_size,
    };
    const uint8_t *block = NULL;
    uint8_t *room;
    int result = wal_window_look(&rewrite->window, check->offset, WAL_FORMAT_BLOCK_SIZE, &block);

    if (result == 0) {
        result = snapshot_check_footer(&rewrite->check, block);
    }
    room = result == 0 ? take_room(rewrite, WAL_FORMAT_BLOCK_SIZE, &result) : NULL;
    if (room == NULL) {
        return result;
    }
    assert(rewrite->offset + rewrite->used == check->file_size);
    memcpy(footer.store_uuid, rewrite->header.store_uuid, WAL_FORMAT_UUID_SIZE);
    digest_end(&rewrite->digest, footer.digest);
    snapshot_format_put_footer(room, &footer);
    result = flush(rewrite);
    return result == 0 ? rewrite->file->disk->ops->sync(rewrite->file) : result;
}

static int rewrite_all(struct rewrite *rewrite, const uint8_t *store_uuid)
{
    int result = rewrite_header(rewrite, store_uuid);

    while (result == 0 && !snapshot_check_at_footer(&rewrite->check)) {
        result = rewrite_frame(rewrite);
    }
    return result == 0 ? rewrite_footer(rewrite) : result;
}

static int open_both(struct rewrite *rewrite, struct disk *from, const char *name, struct disk *to,
                     const char *to_name)
{
    int result = from->ops->open(from, name, DISK_OPEN_READ, &rewrite->source);

    if (result == 0) {
        result = to->ops->open(to, to_name, DISK_OPEN_CREATE, &rewrite->file);
    }
    return result > 0 ? -ENOENT : result;
}

static void free_rewrite(struct rewrite *rewrite)
{
    wal_window_deinit(&rewrite->window);
    if (rewrite->source != NULL) {
        rewrite->source->disk->ops->close_file(rewrite->source);
    }
    if (rewrite->file != NULL) {
        rewrite->file->disk->ops->close_file(rewrite->file);
    }
    free(rewrite->memory);
    free(rewrite);
}

int userwal_rewrite_snapshot(struct disk *from, uint64_t lsn, const uint8_t *store_uuid,
                             struct disk *to, const char *to_name, char *problem)
{
    struct rewrite *rewrite = calloc(1, sizeof(*rewrite)); /* its window must not be moved */
    char name[WAL_FORMAT_NAME_SIZE];
    uint64_t size = 0;
    int result;

    if (rewrite == NULL) {
        return -ENOMEM;
    }
    snapshot_format_name(lsn, name);
    digest_init(&rewrite->digest);
    rewrite->memory = aligned_alloc(DISK_BLOCK_SIZE, MEMORY_SIZE);
    result = rewrite->memory == NULL ? -ENOMEM : wal_window_init(&rewrite->window);
    if (result == 0) {
        result = open_both(rewrite, from, name, to, to_name);
    }
    if (result == 0) {
        result = from->ops->size(rewrite->source, &size);
    }
    if (result == 0) {
        snapshot_check_init(&rewrite->check, lsn, size, NULL, problem);
        wal_window_set_file(&rewrite->window, rewrite->source, size);
        result = rewrite_all(rewrite, store_uuid);
    }
    free_rewrite(rewrite);
    return result;
}
