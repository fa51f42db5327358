/*
 * Two files, so that the write in flight at a crash can hurt only one of them: the number of a
 * block decides its file, odd in CONTROL.a and even in CONTROL.b, and the higher number counts. Of
 * two stores' files neither does: numbers can only be compared within one store.
 *
 * At start both are written once, one after the other: that makes the missing ones, heals a torn
 * one, and takes the mark of the clean close away.
 */
#include "core/wal_control.h"

#include "core/list.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(WAL_CONTROL_E_MIXED != WAL_FORMAT_E_BAD && WAL_CONTROL_E_MIXED != WAL_FORMAT_E_NEWER,
              "one function returns all of them");

static const char *const file_names[2] = {WAL_FORMAT_CONTROL_A, WAL_FORMAT_CONTROL_B};

static unsigned file_index(uint64_t sequence)
{
    return sequence % 2 == 1 ? 0 : 1;
}

/* Reads one file into `now` if it is whole and newer. */
static int read_file(struct wal_control *control, unsigned index)
{
    const struct disk_ops *ops = control->disk->ops;
    struct wal_format_control found = {0};
    uint64_t size = 0;
    int result;

    result = ops->open(control->disk, file_names[index], DISK_OPEN_WRITE, &control->files[index]);
    if (result == DISK_E_NOT_FOUND) {
        return 0;
    }
    if (result == 0) {
        result = ops->size(control->files[index], &size);
    }
    if (result != 0 || size < WAL_FORMAT_BLOCK_SIZE) {
        return result;
    }
    result = ops->read(control->files[index], control->block, WAL_FORMAT_BLOCK_SIZE, 0);
    if (result != 0) {
        return result;
    }
    result = wal_format_get_control(control->block, &found);
    if (result != 0 || file_index(found.sequence) != index) {
        return result == WAL_FORMAT_E_BAD ? 0 : result;
    }
    if (control->now.sequence != 0 &&
        memcmp(control->now.store_uuid, found.store_uuid, sizeof(found.store_uuid)) != 0) {
        return WAL_CONTROL_E_MIXED;
    }
    if (found.sequence > control->now.sequence) {
        control->now = found;
    }
    return 0;
}

static void control_on_op(struct disk_op *op, int result)
{
    struct wal_control *control = CONTAINER_OF(op, struct wal_control, op);

    control->pending = false;
    control->written(control, result);
}

int wal_control_init(struct wal_control *control, struct disk *disk)
{
    int result;

    *control = (struct wal_control){.disk = disk};
    control->op.done = control_on_op;
    control->block = aligned_alloc(DISK_BLOCK_SIZE, WAL_FORMAT_BLOCK_SIZE);
    if (control->block == NULL) {
        return -ENOMEM;
    }
    result = read_file(control, 0);
    return result != 0 ? result : read_file(control, 1);
}

void wal_control_deinit(struct wal_control *control)
{
    assert(!control->pending);
    for (unsigned i = 0; i < 2; i++) {
        if (control->files[i] != NULL) {
            control->disk->ops->close_file(control->files[i]);
            control->files[i] = NULL;
        }
    }
    free(control->block);
    control->block = NULL;
}

/* Takes the next number and fills the block. Returns the index of its file. */
static unsigned prepare(struct wal_control *control)
{
    control->now.sequence++;
    wal_format_put_control(control->block, &control->now);
    return file_index(control->now.sequence);
}

int wal_control_write_now(struct wal_control *control)
{
    const struct disk_ops *ops = control->disk->ops;
    const struct bytes block = {control->block, WAL_FORMAT_BLOCK_SIZE};
    bool has_created = false;
    int result = 0;

    for (unsigned i = 0; i < 2 && result == 0; i++) {
        unsigned index = prepare(control);

        if (control->files[index] == NULL) {
            result = ops->open(control->disk, file_names[index], DISK_OPEN_CREATE,
                               &control->files[index]);
            has_created = true;
        }
        if (result == 0) {
            result = ops->write(control->files[index], block, 0);
        }
        if (result == 0) {
            result = ops->sync(control->files[index]);
        }
    }
    if (result == 0 && has_created) {
        result = ops->sync_directory(control->disk);
    }
    return result;
}

int wal_control_write(struct wal_control *control)
{
    unsigned index = prepare(control);
    const struct bytes block = {control->block, WAL_FORMAT_BLOCK_SIZE};
    int result;

    assert(!control->pending);
    result = control->disk->ops->write_synced(control->files[index], &control->op, block, 0);
    control->pending = result == 0;
    return result;
}
