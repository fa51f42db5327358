#include "core/snapshot_read.h"

#include "core/disk.h"
#include "core/snapshot_check.h"
#include "core/wal_window.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static_assert(WAL_FORMAT_FRAME_SIZE_MAX <= WAL_WINDOW_PIECE_SIZE, "a frame must fit a piece");

static int refuse_io(const struct snapshot_read *read, int error, const char *name)
{
    (void)snprintf(read->problem, WAL_PROBLEM_SIZE, "%s: %s", name, strerror(-error)); /* fits */
    return error;
}

static int look(const struct snapshot_read *read, const struct snapshot_check *check,
                uint64_t offset, size_t size, const uint8_t **ret_bytes)
{
    int result = wal_window_look(read->window, offset, size, ret_bytes);

    return result == 0 ? 0 : refuse_io(read, result, check->name);
}

static int read_header(const struct snapshot_read *read, struct snapshot_check *check)
{
    const uint8_t *block = NULL;
    int result = snapshot_check_size(check);

    if (result == 0) {
        result = look(read, check, 0, WAL_FORMAT_BLOCK_SIZE, &block);
    }
    if (result == 0) {
        result = snapshot_check_header(check, block);
    }
    if (result == 0 && read->begin != NULL) {
        result = read->begin(read->context, &check->header, check->file_size);
    }
    return result;
}

static int read_records(const struct snapshot_read *read, struct snapshot_check *check)
{
    struct wal_record record = {0};
    int result;

    while ((result = snapshot_check_record(check, &record)) == 0) {
        if (read->record != NULL) {
            result = read->record(read->context, &record);
            if (result != 0) {
                return result;
            }
        }
    }
    return result == SNAPSHOT_CHECK_END ? 0 : result;
}

static int read_frame(const struct snapshot_read *read, struct snapshot_check *check)
{
    const uint64_t offset = check->offset;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    int result = look(read, check, offset, WAL_FORMAT_BLOCK_SIZE, &bytes);

    if (result == 0) {
        result = snapshot_check_frame(check, bytes, &size);
    }
    if (result == 0) {
        result = look(read, check, offset, size, &bytes);
    }
    if (result == 0) {
        result = snapshot_check_payload(check, bytes);
    }
    if (result == 0) {
        result = read_records(read, check);
    }
    if (result == 0 && read->advanced != NULL) {
        read->advanced(read->context, check->offset);
    }
    return result;
}

static int read_file(const struct snapshot_read *read, struct snapshot_check *check)
{
    const uint8_t *block = NULL;
    int result = read_header(read, check);

    while (result == 0 && !snapshot_check_at_footer(check)) {
        result = read_frame(read, check);
    }
    if (result == 0) {
        result = look(read, check, check->offset, WAL_FORMAT_BLOCK_SIZE, &block);
    }
    if (result == 0) {
        result = snapshot_check_footer(check, block);
    }
    return result;
}

int snapshot_read(const struct snapshot_read *read)
{
    const struct disk_ops *ops = read->disk->ops;
    struct snapshot_check check;
    struct disk_file *file = NULL;
    char name[WAL_FORMAT_NAME_SIZE];
    uint64_t size = 0;
    int result;

    read->problem[0] = '\0';
    snapshot_format_name(read->lsn, name);
    result = ops->open(read->disk, name, DISK_OPEN_READ, &file);
    if (result != 0) {
        return refuse_io(read, result == DISK_E_NOT_FOUND ? -ENOENT : result, name);
    }
    result = ops->size(file, &size);
    if (result != 0) {
        result = refuse_io(read, result, name);
    } else {
        snapshot_check_init(&check, read->lsn, size, read->store_uuid, read->problem);
        wal_window_set_file(read->window, file, size);
        result = read_file(read, &check);
    }
    wal_window_set_file(read->window, NULL, 0);
    ops->close_file(file);
    return result;
}
