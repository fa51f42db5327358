/*
 * A segment is made long before it is needed: a commit into blocks that exist and were written
 * once is several times faster than one that makes the file grow. The spare's way:
 *
 *   NONE -> FILLING: 256 KiB of zeros at a time, one write in flight: commits get their turn
 *        -> SYNCING -> READY
 *        -> HEADING: the header, synced -> RENAMING: to wal-<first_lsn>.log -> SYNCING_NAME
 *        -> PUBLISHED, taken by the log; the next one begins.
 *
 * The header is synced before the name exists, so a file with a segment's name always has a header,
 * unless it was damaged. Until then it is called spare.tmp, and no reader looks at it.
 *
 * What can go wrong: no room (from the free space or from any step up to SYNCING): what was begun
 * is removed, and a timer tries again every second. Every other error is final, for a disk that
 * fails here will fail the log as well. A crash on the way leaves spare.tmp, which the next start
 * keeps when it is whole and reads as zeros, and removes otherwise.
 */
#include "core/wal_segment.h"

#include "core/clock.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEP_SIZE     (256 * 1024)
#define NOW_STEP_SIZE (1024 * 1024)
#define RETRY_NS      CLOCK_NS_PER_S
/* Left free when a spare is made: room for a .torn file and for other files' growth. */
#define RESERVE_SIZE (1024 * 1024)

void wal_segment_close(struct wal_segment *segment)
{
    if (segment->file != NULL) {
        segment->file->disk->ops->close_file(segment->file);
        segment->file = NULL;
    }
}

bool wal_segment_is_zero(const uint8_t *bytes, size_t size)
{
    uint64_t word;
    uint64_t any = 0;

    assert(size % WAL_FORMAT_BLOCK_SIZE == 0);
    for (size_t block = 0; block < size && any == 0; block += WAL_FORMAT_BLOCK_SIZE) {
        for (size_t i = 0; i < WAL_FORMAT_BLOCK_SIZE; i += sizeof(word)) {
            memcpy(&word, bytes + block + i, sizeof(word));
            any |= word;
        }
    }
    return any == 0;
}

static bool is_no_space(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void spare_on_op(struct disk_op *op, int result);
static void spare_on_retry(struct timer *timer);

int wal_spare_init(struct wal_spare *spare, struct disk *disk, struct reactor *reactor,
                   uint64_t size)
{
    *spare = (struct wal_spare){.disk = disk, .reactor = reactor, .size = size};
    spare->op.done = spare_on_op;
    spare->retry.fire = spare_on_retry;
    spare->bytes = aligned_alloc(DISK_BLOCK_SIZE, NOW_STEP_SIZE);
    if (spare->bytes == NULL) {
        return -ENOMEM;
    }
    memset(spare->bytes, 0, NOW_STEP_SIZE);
    return 0;
}

static void spare_close_file(struct wal_spare *spare)
{
    if (spare->file != NULL) {
        spare->disk->ops->close_file(spare->file);
        spare->file = NULL;
    }
}

void wal_spare_deinit(struct wal_spare *spare)
{
    assert(!spare->pending);
    assert(!timer_is_armed(&spare->retry));
    spare_close_file(spare);
    free(spare->bytes);
    spare->bytes = NULL;
}

/* Nothing of it stays. Returns 0 or negative errno. */
static int spare_remove(struct wal_spare *spare)
{
    int result;

    spare_close_file(spare);
    spare->state = WAL_SPARE_NONE;
    result = spare->disk->ops->remove(spare->disk, WAL_FORMAT_SPARE);
    return result == DISK_E_NOT_FOUND ? 0 : result;
}

/* Opens a new file, if there is room for all of it. */
static int spare_create(struct wal_spare *spare)
{
    const struct disk_ops *ops = spare->disk->ops;
    const uint64_t keep_free = spare->keep_free > RESERVE_SIZE ? spare->keep_free : RESERVE_SIZE;

    assert(spare->state == WAL_SPARE_NONE || spare->state == WAL_SPARE_NO_SPACE);
    if (ops->free_bytes(spare->disk) < spare->size + keep_free) {
        return -ENOSPC;
    }
    return ops->open(spare->disk, WAL_FORMAT_SPARE, DISK_OPEN_CREATE, &spare->file);
}

static size_t step_size(const struct wal_spare *spare, uint64_t offset, size_t most)
{
    uint64_t left = spare->size - offset;

    return left < most ? (size_t)left : most;
}

/* Whether the left-over file is a whole spare. Its first block does not matter: the header will
 * cover it. Returns 0 or negative errno. */
static int spare_look(struct wal_spare *spare, bool *ret_usable)
{
    const struct disk_ops *ops = spare->disk->ops;
    uint64_t size = 0;
    bool usable;
    int result = ops->size(spare->file, &size);

    if (result == 0) {
        result = ops->sync(spare->file);
    }
    usable = size == spare->size;
    for (uint64_t offset = DISK_BLOCK_SIZE; result == 0 && usable && offset < size;) {
        size_t step = step_size(spare, offset, NOW_STEP_SIZE);

        result = ops->read(spare->file, spare->bytes, step, offset);
        usable = result == 0 && wal_segment_is_zero(spare->bytes, step);
        offset += step;
    }
    memset(spare->bytes, 0, NOW_STEP_SIZE);
    *ret_usable = usable;
    return result;
}

int wal_spare_adopt(struct wal_spare *spare)
{
    bool usable = false;
    int result;

    assert(spare->state == WAL_SPARE_NONE);
    result = spare->disk->ops->open(spare->disk, WAL_FORMAT_SPARE, DISK_OPEN_WRITE, &spare->file);
    if (result == DISK_E_NOT_FOUND) {
        return 0;
    }
    if (result != 0) {
        return result;
    }
    result = spare_look(spare, &usable);
    if (result == 0 && usable) {
        spare->state = WAL_SPARE_READY;
        return 0;
    }
    if (result != 0) {
        return result;
    }
    return spare_remove(spare);
}

int wal_spare_fill_now(struct wal_spare *spare)
{
    const struct disk_ops *ops = spare->disk->ops;
    int result;

    if (spare->state == WAL_SPARE_READY) {
        return 0;
    }
    result = spare_create(spare);
    if (result != 0) {
        return result;
    }
    for (uint64_t offset = 0; result == 0 && offset < spare->size;) {
        size_t step = step_size(spare, offset, NOW_STEP_SIZE);

        result = ops->write(spare->file, (struct bytes){spare->bytes, step}, offset);
        offset += step;
    }
    if (result == 0) {
        result = ops->sync(spare->file);
    }
    if (result == 0) {
        spare->state = WAL_SPARE_READY;
    } else if (is_no_space(result)) {
        int removed = spare_remove(spare);

        result = removed != 0 ? removed : -ENOSPC;
    }
    return result;
}

/* Prepares the header block and the name. */
static void spare_head(struct wal_spare *spare, const struct wal_format_segment *header)
{
    assert(spare->state == WAL_SPARE_READY);
    spare->header = *header;
    spare->header.size = spare->size;
    wal_format_put_segment(spare->bytes, &spare->header);
    wal_format_segment_name(header->first_lsn, spare->name);
}

int wal_spare_publish_now(struct wal_spare *spare, const struct wal_format_segment *header,
                          struct wal_segment *ret_segment)
{
    const struct disk_ops *ops = spare->disk->ops;
    int result;

    spare_head(spare, header);
    result = ops->write(spare->file, (struct bytes){spare->bytes, WAL_FORMAT_BLOCK_SIZE}, 0);
    if (result == 0) {
        result = ops->sync(spare->file);
    }
    if (result == 0) {
        result = ops->rename(spare->disk, WAL_FORMAT_SPARE, spare->name);
    }
    if (result == 0) {
        result = ops->sync_directory(spare->disk);
    }
    if (result == 0) {
        spare->state = WAL_SPARE_PUBLISHED;
        wal_spare_take(spare, ret_segment);
    }
    return result;
}

void wal_spare_take(struct wal_spare *spare, struct wal_segment *ret_segment)
{
    assert(spare->state == WAL_SPARE_PUBLISHED);
    *ret_segment = (struct wal_segment){
        .file = spare->file,
        .header = spare->header,
        .offset = WAL_FORMAT_BLOCK_SIZE,
        .prev_crc = spare->header.crc,
    };
    spare->file = NULL;
    spare->state = WAL_SPARE_NONE;
    memset(spare->bytes, 0, WAL_FORMAT_BLOCK_SIZE);
}

/* The next step of the state reached. Returns 0 or negative errno. */
static int spare_submit(struct wal_spare *spare)
{
    const struct disk_ops *ops = spare->disk->ops;
    struct bytes block = {spare->bytes, WAL_FORMAT_BLOCK_SIZE};
    int result = 0;

    assert(!spare->pending);
    switch (spare->state) {
    case WAL_SPARE_FILLING:
        block.size = step_size(spare, spare->offset, STEP_SIZE);
        result = ops->write_later(spare->file, &spare->op, block, spare->offset);
        spare->offset += block.size;
        break;
    case WAL_SPARE_SYNCING:
        result = ops->sync_later(spare->file, &spare->op);
        break;
    case WAL_SPARE_HEADING:
        result = ops->write_synced(spare->file, &spare->op, block, 0);
        break;
    case WAL_SPARE_RENAMING:
        result = ops->rename_later(spare->disk, &spare->op, WAL_FORMAT_SPARE, spare->name);
        break;
    case WAL_SPARE_SYNCING_NAME:
        result = ops->sync_directory_later(spare->disk, &spare->op);
        break;
    case WAL_SPARE_NONE:
    case WAL_SPARE_NO_SPACE:
    case WAL_SPARE_READY:
    case WAL_SPARE_PUBLISHED:
        return 0;
    }
    spare->pending = result == 0;
    return result;
}

/* Removes what was begun and tries again later. Returns 0 or negative errno. */
static int spare_wait_for_space(struct wal_spare *spare)
{
    int result = spare_remove(spare);

    if (result != 0) {
        return result;
    }
    spare->state = WAL_SPARE_NO_SPACE;
    return reactor_start_timer(spare->reactor, &spare->retry, RETRY_NS);
}

int wal_spare_start(struct wal_spare *spare)
{
    int result = spare_create(spare);

    if (is_no_space(result)) {
        return spare_wait_for_space(spare);
    }
    if (result != 0) {
        return result;
    }
    spare->offset = 0;
    spare->state = WAL_SPARE_FILLING;
    return spare_submit(spare);
}

int wal_spare_publish(struct wal_spare *spare, const struct wal_format_segment *header)
{
    spare_head(spare, header);
    spare->state = WAL_SPARE_HEADING;
    return spare_submit(spare);
}

static enum wal_spare_state state_after(const struct wal_spare *spare)
{
    if (spare->state == WAL_SPARE_FILLING && spare->offset < spare->size) {
        return WAL_SPARE_FILLING;
    }
    return spare->state + 1; /* the states of the way stand in its order */
}

static void spare_on_op(struct disk_op *op, int result)
{
    struct wal_spare *spare = CONTAINER_OF(op, struct wal_spare, op);
    bool was_filling = spare->state == WAL_SPARE_FILLING || spare->state == WAL_SPARE_SYNCING;

    spare->pending = false;
    if (spare->stopping) {
        spare->changed(spare, 0);
        return;
    }
    if (result == 0) {
        spare->state = state_after(spare);
        result = spare_submit(spare);
    } else if (was_filling && is_no_space(result)) {
        result = spare_wait_for_space(spare);
    }
    if (result != 0 || !spare->pending) {
        spare->changed(spare, result);
    }
}

static void spare_on_retry(struct timer *timer)
{
    struct wal_spare *spare = CONTAINER_OF(timer, struct wal_spare, retry);
    int result = wal_spare_start(spare);

    if (result != 0) {
        spare->changed(spare, result);
    }
}

void wal_spare_stop(struct wal_spare *spare)
{
    spare->stopping = true;
    reactor_stop_timer(spare->reactor, &spare->retry);
}
