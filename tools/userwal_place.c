#include "userwal_place.h"

#include "core/disk.h"
#include "core/snapshot_format.h"
#include "userwal_folder.h"
#include "userwal_output.h"
#include "userwal_trial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_in_use(const char *path, pid_t holder)
{
    if (holder > 0) {
        return userwal_fail(COMMON_EXIT_IN_USE,
                            "%s is in use by process %ld: stop it first (is it userd?)", path,
                            (long)holder);
    }
    return userwal_fail(COMMON_EXIT_IN_USE, "%s is in use by another process: stop it first", path);
}

int userwal_place_split(const char *path, char **ret_folder, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL   ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));

    if (folder == NULL) {
        return -ENOMEM;
    }
    *ret_folder = folder;
    *ret_name = slash == NULL ? path : slash + 1;
    return 0;
}

static int read_first_block(struct disk *disk, const char *name, uint8_t *block)
{
    struct disk_file *file = NULL;
    uint64_t size = 0;
    int result = disk->ops->open(disk, name, DISK_OPEN_READ, &file);

    if (result != 0) {
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
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

/* Finds out by its header what a single file is. A snapshot gets its proper name, on the trial disk
 * alone: the reader knows snapshots by their LSN. */
static int recognise(struct userwal_place *place, const char *path)
{
    uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct snapshot_format_header snapshot = {0};
    struct wal_format_segment segment = {0};
    char proper[WAL_FORMAT_NAME_SIZE];
    int result = read_first_block(place->disk, place->name, block);
    int as_snapshot;

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    as_snapshot = snapshot_format_get_header(block, &snapshot);
    if (as_snapshot == 0) {
        place->kind = USERWAL_PLACE_SNAPSHOT;
        place->lsn = snapshot.lsn;
        snapshot_format_name(snapshot.lsn, proper);
        if (strcmp(proper, place->name) != 0) {
            result = place->disk->ops->rename(place->disk, place->name, proper);
        }
        return result == 0 ? 0 : userwal_fail_errno(result, path);
    }
    place->kind = USERWAL_PLACE_SEGMENT;
    result = wal_format_get_segment(block, &segment);
    if (result == 0) {
        return 0;
    }
    return userwal_fail(COMMON_EXIT_DAMAGED,
                        as_snapshot == WAL_FORMAT_E_NEWER || result == WAL_FORMAT_E_NEWER
                            ? "%s: written by a newer version"
                            : "%s: has no whole header of a snapshot or segment at offset 0",
                        path);
}

/* Ends the list at the first file that shows what this is. */
static int find_data(void *context, const char *name)
{
    static const char *const beginnings[] = {"CONTROL.", "wal-", "snap-"};

    (void)context;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Any other directory would look like a store that is new, and so like a healthy one. */
static int check_data(const char *path, struct disk *disk)
{
    int result = disk->ops->list(disk, find_data, NULL);

    if (result < 0) {
        return userwal_fail_errno(result, path);
    }
    return result > 0 ? 0
                      : userwal_fail(COMMON_EXIT_DAMAGED,
                                     "%s: no data directory of userd: it has neither CONTROL "
                                     "files nor a log",
                                     path);
}

static void warn_if_in_use(struct userwal_place *place)
{
    pid_t holder = userwal_folder_holder(place->folder);

    holder = holder == getpid() ? 0 : holder; /* we have locked it ourselves */
    place->is_in_use = holder != 0;
    if (holder > 0) {
        userwal_say("warning: process %ld uses this directory: its end may move while it is read",
                    (long)holder);
    } else if (holder < 0) {
        userwal_say("warning: another process uses this directory: its end may move while it is "
                    "read");
    }
}

/* A link to a backup is as good as the backup; the disk follows none. */
static int split_real(const char *path, struct userwal_place *place)
{
    place->path = realpath(path, NULL);
    return place->path == NULL ? -errno
                               : userwal_place_split(place->path, &place->folder, &place->name);
}

int userwal_place_open(const char *path, struct reactor *reactor, struct userwal_place *ret_place)
{
    struct userwal_place *place = ret_place;
    struct stat about;
    int result;

    *place = (struct userwal_place){0};
    if (stat(path, &about) != 0) {
        return userwal_fail_errno(-errno, path);
    }
    if (!S_ISDIR(about.st_mode) && !S_ISREG(about.st_mode)) {
        return userwal_fail(COMMON_EXIT_USAGE, "%s: neither a directory nor a file", path);
    }
    if (S_ISREG(about.st_mode)) {
        result = split_real(path, place);
    } else {
        place->folder = strdup(path);
        result = place->folder == NULL ? -ENOMEM : 0;
    }
    if (result == 0) {
        result = userwal_trial_new(reactor, place->folder, &place->disk);
    }
    if (result != 0) {
        userwal_place_close(place);
        return userwal_fail_errno(result, path);
    }
    if (place->name == NULL) {
        warn_if_in_use(place);
        result = check_data(path, place->disk);
    } else {
        result = recognise(place, path);
    }
    if (result != 0) {
        userwal_place_close(place);
    }
    return result;
}

int userwal_place_reopen(struct userwal_place *place, struct reactor *reactor)
{
    struct disk *disk = NULL;
    int result = userwal_trial_new(reactor, place->folder, &disk);

    if (result == 0) {
        place->disk->ops->free(place->disk);
        place->disk = disk;
    }
    return result;
}

void userwal_place_close(struct userwal_place *place)
{
    if (place->disk != NULL) {
        place->disk->ops->free(place->disk);
        place->disk = NULL;
    }
    free(place->folder);
    free(place->path);
    place->folder = NULL;
    place->path = NULL;
}

/* Makes the directory when it is missing. */
static int open_locked(const char *path, struct reactor *reactor, struct disk **ret_disk)
{
    struct disk *disk = NULL;
    pid_t holder = 0;
    int result = disk_new(reactor, path, &disk);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = disk->ops->lock(disk, &holder);
    if (result == 0) {
        *ret_disk = disk;
        return 0;
    }
    disk->ops->free(disk);
    return result == DISK_E_LOCKED ? fail_in_use(path, holder) : userwal_fail_errno(result, path);
}

/* Nobody waits for the lock of a running server: the answer is known at once. */
static int check_not_in_use(const char *path)
{
    pid_t holder = userwal_folder_holder(path);

    return holder == 0 ? 0 : fail_in_use(path, holder);
}

/* Files that somebody else makes there, root above all, are such that userd cannot open them. */
static int check_owner(const char *path, const struct stat *about)
{
    if (!S_ISDIR(about->st_mode)) {
        return userwal_fail(COMMON_EXIT_USAGE, "%s: is no directory", path);
    }
    return about->st_uid == geteuid()
               ? 0
               : userwal_fail(
                     COMMON_EXIT_USAGE,
                     "%s belongs to user %lu, and userd could not open what user %lu makes "
                     "there: run this as its owner (sudo -u '#%lu' userwal ...)",
                     path, (unsigned long)about->st_uid, (unsigned long)geteuid(),
                     (unsigned long)about->st_uid);
}

/* Before the lock, which is a file that would be made. */
static int check_store(const char *path)
{
    struct disk *disk = NULL;
    int result = userwal_trial_new(NULL, path, &disk);

    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = check_data(path, disk);
    disk->ops->free(disk);
    return result;
}

int userwal_place_lock(const char *path, struct reactor *reactor, struct disk **ret_disk)
{
    struct stat about;
    int result;

    if (stat(path, &about) != 0) {
        return userwal_fail_errno(-errno, path);
    }
    result = check_owner(path, &about);
    if (result == 0) {
        result = check_not_in_use(path);
    }
    if (result == 0) {
        result = check_store(path);
    }
    return result == 0 ? open_locked(path, reactor, ret_disk) : result;
}

/* LOCK alone is left when a server was stopped before it wrote anything. */
static int check_name(void *context, const char *name)
{
    (void)context;
    return strcmp(name, "LOCK") == 0 || strcmp(name, "lost+found") == 0 ? 0 : 1;
}

static int check_empty(const char *path, struct disk *disk)
{
    int result = disk->ops->list(disk, check_name, NULL);

    if (result > 0) {
        return userwal_fail(COMMON_EXIT_USAGE,
                            "%s is not empty: nothing is ever written over what is there", path);
    }
    return result == 0 ? 0 : userwal_fail_errno(result, path);
}

/* A directory that is not there has no links. */
static int check_new(const char *path, struct stat *ret_about)
{
    int result = 0;

    if (stat(path, ret_about) == 0) {
        result = check_owner(path, ret_about);
        return result == 0 ? check_not_in_use(path) : result;
    }
    *ret_about = (struct stat){.st_nlink = 0};
    return errno == ENOENT ? 0 : userwal_fail_errno(-errno, path);
}

int userwal_place_check_empty(const char *path)
{
    struct disk *disk = NULL;
    struct stat about;
    int result = check_new(path, &about);

    if (result != 0 || about.st_nlink == 0) {
        return result;
    }
    result = userwal_trial_new(NULL, path, &disk);
    if (result != 0) {
        return userwal_fail_errno(result, path);
    }
    result = check_empty(path, disk);
    disk->ops->free(disk);
    return result;
}

int userwal_place_lock_empty(const char *path, struct reactor *reactor, struct disk **ret_disk)
{
    struct disk *disk = NULL;
    struct stat about;
    int result = check_new(path, &about);

    if (result == 0) {
        result = open_locked(path, reactor, &disk);
    }
    if (disk == NULL) {
        return result;
    }
    result = check_empty(path, disk);
    if (result != 0) {
        userwal_place_unlock(disk);
        return result;
    }
    *ret_disk = disk;
    return 0;
}

void userwal_place_unlock(struct disk *disk)
{
    if (disk != NULL) {
        disk->ops->free(disk);
    }
}
