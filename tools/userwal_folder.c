#include "userwal_folder.h"

#include "core/disk.h"
#include "core/snapshot_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name);
    size_t end_size = strlen(end);

    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

static enum userwal_file_kind kind_of(const char *name, uint64_t *ret_lsn)
{
    if (wal_format_parse_segment_name(name, ret_lsn)) {
        return USERWAL_FILE_SEGMENT;
    }
    if (snapshot_format_parse_name(name, ret_lsn)) {
        return USERWAL_FILE_SNAPSHOT;
    }
    if (strcmp(name, WAL_FORMAT_CONTROL_A) == 0 || strcmp(name, WAL_FORMAT_CONTROL_B) == 0) {
        return USERWAL_FILE_CONTROL;
    }
    if (ends_with(name, ".bad")) {
        return USERWAL_FILE_BAD;
    }
    if (ends_with(name, ".torn")) {
        return USERWAL_FILE_TORN;
    }
    return ends_with(name, ".tmp") ? USERWAL_FILE_TEMPORARY : USERWAL_FILE_OTHER;
}

struct listing {
    struct disk *disk;
    struct userwal_folder *folder;
};

static int file_size(struct disk *disk, const char *name, uint64_t *ret_size)
{
    struct disk_file *file = NULL;
    int result = disk->ops->open(disk, name, DISK_OPEN_READ, &file);

    if (result == 0) {
        result = disk->ops->size(file, ret_size);
        disk->ops->close_file(file);
    }
    return result;
}

/* The array doubles. */
static int add_file(void *context, const char *name)
{
    struct listing *listing = context;
    struct userwal_folder *folder = listing->folder;
    size_t count = folder->count;
    struct userwal_file *file;

    if ((count & (count - 1)) == 0) { /* 0 and the powers of two: the array is full */
        file = realloc(folder->files, (count == 0 ? 1 : count * 2) * sizeof(*file));
        if (file == NULL) {
            return -ENOMEM;
        }
        folder->files = file;
    }
    file = &folder->files[count];
    *file = (struct userwal_file){0};
    (void)snprintf(file->name, sizeof(file->name), "%s", name); /* names are shorter */
    file->kind = kind_of(name, &file->lsn);
    if (file->kind != USERWAL_FILE_OTHER) {
        (void)file_size(listing->disk, name, &file->size); /* 0 for what may not be read */
    }
    folder->count++;
    return 0;
}

static int compare_files(const void *a, const void *b)
{
    const struct userwal_file *left = a;
    const struct userwal_file *right = b;

    if (left->kind != right->kind) {
        return left->kind < right->kind ? -1 : 1;
    }
    if (left->lsn != right->lsn) {
        return left->lsn < right->lsn ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

static void find_kind(const struct userwal_folder *folder, enum userwal_file_kind kind,
                      const struct userwal_file **ret_first, size_t *ret_count)
{
    for (size_t i = 0; i < folder->count; i++) {
        if (folder->files[i].kind == kind) {
            *ret_first = *ret_count == 0 ? &folder->files[i] : *ret_first;
            (*ret_count)++;
        }
    }
}

static int read_block(struct disk *disk, const char *name, uint8_t *block)
{
    struct disk_file *file = NULL;
    uint64_t size = 0;
    int result = disk->ops->open(disk, name, DISK_OPEN_READ, &file);

    if (result != 0) {
        return result;
    }
    memset(block, 0, WAL_FORMAT_BLOCK_SIZE);
    result = disk->ops->size(file, &size);
    if (result == 0) {
        size = size < WAL_FORMAT_BLOCK_SIZE ? size : WAL_FORMAT_BLOCK_SIZE;
        result = disk->ops->read(file, block, (size_t)size, 0);
    }
    disk->ops->close_file(file);
    return result;
}

static int read_control(struct disk *disk, const char *name, enum userwal_control_state *ret_state,
                        struct wal_format_control *ret_control)
{
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    int result = read_block(disk, name, block);

    *ret_state = USERWAL_CONTROL_MISSING;
    if (result != 0) {
        return result == DISK_E_NOT_FOUND ? 0 : result;
    }
    result = wal_format_get_control(block, ret_control);
    *ret_state = result == 0                    ? USERWAL_CONTROL_WHOLE
                 : result == WAL_FORMAT_E_NEWER ? USERWAL_CONTROL_NEWER
                                                : USERWAL_CONTROL_BAD;
    return 0;
}

/* As the log reads them: the one with the higher number counts. */
static int read_controls(struct disk *disk, struct userwal_folder *folder)
{
    struct wal_format_control found[2] = {0};
    int result = read_control(disk, WAL_FORMAT_CONTROL_A, &folder->control_states[0], &found[0]);

    if (result == 0) {
        result = read_control(disk, WAL_FORMAT_CONTROL_B, &folder->control_states[1], &found[1]);
    }
    folder->control = found[found[1].sequence > found[0].sequence ? 1 : 0];
    folder->controls_differ =
        found[0].sequence != 0 && found[1].sequence != 0 &&
        memcmp(found[0].store_uuid, found[1].store_uuid, WAL_FORMAT_UUID_SIZE) != 0;
    return result;
}

int userwal_folder_read(struct disk *disk, struct userwal_folder *ret_folder)
{
    struct listing listing;
    int result;

    *ret_folder = (struct userwal_folder){0};
    listing = (struct listing){disk, ret_folder};
    /* First, as the log goes on in the meantime when a server runs. */
    result = read_controls(disk, ret_folder);
    if (result == 0) {
        result = disk->ops->list(disk, add_file, &listing);
    }
    if (result != 0) {
        return result;
    }
    if (ret_folder->count > 0) {
        qsort(ret_folder->files, ret_folder->count, sizeof(ret_folder->files[0]), compare_files);
    }
    find_kind(ret_folder, USERWAL_FILE_SEGMENT, &ret_folder->segments, &ret_folder->segment_count);
    find_kind(ret_folder, USERWAL_FILE_SNAPSHOT, &ret_folder->snapshots,
              &ret_folder->snapshot_count);
    return 0;
}

void userwal_folder_deinit(struct userwal_folder *folder)
{
    free(folder->files);
    folder->files = NULL;
}

pid_t userwal_folder_holder(const char *path)
{
    char name[4096];
    char text[32] = "";
    ssize_t size;
    long pid;
    int fd;

    if ((size_t)snprintf(name, sizeof(name), "%s/LOCK", path) >= sizeof(name)) {
        return 0;
    }
    fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return 0;
    }
    /* Asked for and given back at once: a server that starts just now tries for seconds. */
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        (void)close(fd);
        return 0;
    }
    size = pread(fd, text, sizeof(text) - 1, 0);
    (void)close(fd); /* it was only read */
    pid = size > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 ? (pid_t)pid : -1;
}

const char *userwal_folder_uuid(const uint8_t *uuid, char out[USERWAL_UUID_SIZE])
{
    size_t at = 0;

    for (size_t i = 0; i < WAL_FORMAT_UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out[at++] = '-';
        }
        (void)snprintf(out + at, USERWAL_UUID_SIZE - at, "%02x", uuid[i]);
        at += 2;
    }
    return out;
}
