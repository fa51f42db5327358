#include "userwal_make.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/wal_control.h"
#include "core/wal_segment.h"
#include "userwal_folder.h"
#include "userwal_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_SIZE ((size_t)1024 * 1024)

static int copy_pieces(struct disk_file *from, struct disk_file *to)
{
    const struct disk_ops *from_ops = from->disk->ops;
    const struct disk_ops *to_ops = to->disk->ops;
    uint8_t *piece = aligned_alloc(DISK_BLOCK_SIZE, PIECE_SIZE);
    uint64_t size = 0;
    int result = piece == NULL ? -ENOMEM : from_ops->size(from, &size);

    if (result == 0 && size % DISK_BLOCK_SIZE != 0) {
        result = -EINVAL;
    }
    for (uint64_t at = 0; at < size && result == 0; at += PIECE_SIZE) {
        size_t there = size - at < PIECE_SIZE ? (size_t)(size - at) : PIECE_SIZE;

        userwal_progress("copying, bytes", at, size);
        result = from_ops->read(from, piece, there, at);
        if (result == 0) {
            result = to_ops->write(to, (struct bytes){piece, there}, at);
        }
    }
    free(piece);
    return result != 0 ? result : to_ops->sync(to);
}

int userwal_make_copy(struct disk *from, const char *from_name, struct disk *to,
                      const char *to_name)
{
    struct disk_file *source = NULL;
    struct disk_file *copy = NULL;
    int result = from->ops->open(from, from_name, DISK_OPEN_READ, &source);

    if (result != 0) {
        return result > 0 ? -ENOENT : result;
    }
    result = to->ops->open(to, to_name, DISK_OPEN_CREATE, &copy);
    if (result == 0) {
        result = copy_pieces(source, copy);
        to->ops->close_file(copy);
    }
    from->ops->close_file(source);
    return result > 0 ? -ENOENT : result;
}

void userwal_make_undo(struct disk *disk)
{
    struct userwal_folder folder;

    if (userwal_folder_read(disk, &folder) == 0) {
        for (size_t i = 0; i < folder.count; i++) {
            if (strcmp(folder.files[i].name, "LOCK") != 0) {
                (void)disk->ops->remove(disk, folder.files[i].name); /* a folder stays */
            }
        }
    }
    userwal_folder_deinit(&folder);
}

int userwal_make_segment(struct disk *disk, struct reactor *reactor, const uint8_t *store_uuid,
                         uint64_t first_lsn, uint64_t size)
{
    struct wal_format_segment header = {
        .first_lsn = first_lsn,
        .realtime_ns = clock_realtime_ns(clock_system()),
    };
    struct wal_segment segment = {0};
    struct wal_spare spare;
    int result = wal_spare_init(&spare, disk, reactor, size);

    if (result != 0) {
        return result;
    }
    memcpy(header.store_uuid, store_uuid, sizeof(header.store_uuid));
    random_fill(random_system(), &header.epoch, sizeof(header.epoch));
    result = wal_spare_adopt(&spare);
    if (result == 0) {
        result = wal_spare_fill_now(&spare);
    }
    if (result == 0) {
        result = wal_spare_publish_now(&spare, &header, &segment);
    }
    wal_segment_close(&segment);
    wal_spare_deinit(&spare);
    return result;
}

int userwal_make_control(struct disk *disk, const uint8_t *store_uuid, uint64_t durable_lsn)
{
    struct wal_control control;
    int result = wal_control_init(&control, disk);

    if (result == 0) {
        memcpy(control.now.store_uuid, store_uuid, sizeof(control.now.store_uuid));
        control.now.durable_lsn = durable_lsn;
        control.now.realtime_ns = clock_realtime_ns(clock_system());
        control.now.is_clean = false;
        /* Those who were told of lost changes know their etags: userd must not give them again. */
        control.now.may_have_lost = true;
        result = wal_control_write_now(&control);
    }
    wal_control_deinit(&control);
    return result > 0 ? -EINVAL : result; /* too new, which the survey has refused before */
}
