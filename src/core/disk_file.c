/*
 * The real disk: one directory, files opened O_DIRECT, writes and syncs through the ring.
 *
 * Writes avoid the page cache because it lies after a failed sync: the pages stay there, marked
 * clean, and every later read shows what the device never got (known as "fsyncgate"). For
 * the same reason recovery reads around it. A file system that refuses O_DIRECT is used through the
 * cache, with the same syncs.
 *
 * A write that has to be durable is one operation past the cache (RWF_DSYNC): the kernel goes from
 * the write to the flush of the device by itself, and the loop wakes up once for both. Through the
 * cache it would be made of the same steps, but in the loop's own time; there it is a write and a
 * sync linked to it.
 *
 * What can go wrong:
 *
 *   - A write fails or is short: a sync soft-linked to it is cancelled by the kernel. The result
 * is that of the write, and 0 only when the write was whole and the sync succeeded.
 *   - A sync fails: the result says so, once. Repeating it would report success for lost data, so
 *     nothing here ever does.
 *   - The lock is still held by a process that was just killed: its descriptors outlive it by some
 *     milliseconds, as long as the kernel cleans up its ring. So the lock is tried for five
 * seconds.
 *   - A crash after a file was made: the caller syncs the directory when it depends on the name.
 * The data directory's own name is made durable when it is made.
 */
#include "core/directory.h"
#include "core/disk.h"
#include "core/reactor.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_NAME      "LOCK"
#define LOCK_TRY_COUNT 250
#define LOCK_PAUSE_MS  20
#define BOUNCE_SIZE    ((size_t)64 * 1024)

struct real_disk {
    struct disk base;
    struct reactor *reactor;
    int dir_fd;
    int lock_fd;         /* -1 = not locked */
    unsigned file_count; /* open files */
};

struct real_file {
    struct disk_file base;
    int fd;
    bool direct;
    uint8_t *bounce; /* aligned room for reads that are not; made when first needed */
};

static struct real_disk *disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct real_disk, base);
}

static struct real_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct real_file, base);
}

static struct ring *ring_of(struct disk_file *file)
{
    return disk_of(file->disk)->reactor->ring;
}

static bool is_aligned(const void *bytes, size_t size, uint64_t offset)
{
    return ((uintptr_t)bytes | size | offset) % DISK_BLOCK_SIZE == 0;
}

static pid_t read_holder(int fd)
{
    char text[32] = "";
    ssize_t size = pread(fd, text, sizeof(text) - 1, 0);
    long pid = size > 0 ? strtol(text, NULL, 10) : 0;

    return pid > 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* For people and for the next process's message; the lock itself does not depend on it. Blanks wipe
 * what a longer pid left behind. */
static void write_holder(int fd)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%-20ld\n", (long)getpid());
    ssize_t written = pwrite(fd, text, (size_t)size, 0);

    (void)written; /* without it the message names no pid, or an old one */
}

static int real_lock(struct disk *base, pid_t *ret_holder)
{
    struct real_disk *disk = disk_of(base);
    int fd = openat(disk->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = EWOULDBLOCK;

    assert(disk->lock_fd < 0);
    if (fd < 0) {
        return -errno;
    }
    for (int i = 0; i < LOCK_TRY_COUNT; i++) {
        error = flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
        if (error == 0) {
            write_holder(fd);
            disk->lock_fd = fd;
            return 0;
        }
        if (error != EWOULDBLOCK && error != EINTR) {
            break;
        }
        (void)poll(NULL, 0, LOCK_PAUSE_MS); /* a shorter pause by a signal does no harm */
    }
    if (error == EWOULDBLOCK) {
        *ret_holder = read_holder(fd);
    }
    (void)close(fd); /* nothing was written */
    return error == EWOULDBLOCK ? DISK_E_LOCKED : -error;
}

static int list_entries(DIR *dir, int (*each)(void *context, const char *name), void *context)
{
    struct dirent *entry;
    int result = 0;

    while (result == 0) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            return -errno;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            result = each(context, entry->d_name);
        }
    }
    return result;
}

static int real_list(struct disk *base, int (*each)(void *context, const char *name), void *context)
{
    int fd = openat(disk_of(base)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir;
    int result;

    if (fd < 0) {
        return -errno;
    }
    dir = fdopendir(fd);
    if (dir == NULL) {
        result = -errno;
        (void)close(fd); /* it was only read */
        return result;
    }
    result = list_entries(dir, each, context);
    (void)closedir(dir); /* it was only read */
    return result;
}

/* O_DIRECT is switched on afterwards, because an open() that refuses it may still create the file.
 */
static bool make_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

static int open_flags(enum disk_open how)
{
    switch (how) {
    case DISK_OPEN_READ:
        return O_RDONLY;
    case DISK_OPEN_WRITE:
        return O_RDWR;
    case DISK_OPEN_CREATE:
        return O_RDWR | O_CREAT | O_EXCL;
    }
    assert(false);
    return 0;
}

static int real_open(struct disk *base, const char *name, enum disk_open how,
                     struct disk_file **ret_file)
{
    struct real_disk *disk = disk_of(base);
    struct real_file *file = calloc(1, sizeof(*file));
    int error;

    if (file == NULL) {
        return -ENOMEM;
    }
    file->fd = openat(disk->dir_fd, name, open_flags(how) | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file->fd < 0) {
        error = errno;
        free(file);
        return error == ENOENT ? DISK_E_NOT_FOUND : -error;
    }
    file->base.disk = base;
    file->direct = make_direct(file->fd);
    disk->file_count++;
    *ret_file = &file->base;
    return 0;
}

static void real_close_file(struct disk_file *base)
{
    struct real_file *file = file_of(base);
    struct real_disk *disk = disk_of(base->disk);

    assert(disk->file_count > 0);
    disk->file_count--;
    (void)close(file->fd); /* what matters was synced, and its result seen */
    free(file->bounce);
    free(file);
}

static int real_size(struct disk_file *file, uint64_t *ret_size)
{
    struct stat stat;

    if (fstat(file_of(file)->fd, &stat) < 0) {
        return -errno;
    }
    *ret_size = (uint64_t)stat.st_size;
    return 0;
}

/* One pread(), at least one byte: 0 becomes -EIO, for the caller knows the file to be longer. */
static ssize_t read_some(int fd, void *bytes, size_t size, uint64_t offset)
{
    ssize_t count;

    do {
        count = pread(fd, bytes, size, (off_t)offset);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return -errno;
    }
    return count == 0 ? -EIO : count;
}

/* Reads what it can of [offset, offset + size) through the aligned room. Returns as read_some(). */
static ssize_t read_bounced(struct real_file *file, void *bytes, size_t size, uint64_t offset)
{
    uint64_t start = offset - offset % DISK_BLOCK_SIZE;
    size_t skip = (size_t)(offset - start);
    size_t whole = size < BOUNCE_SIZE - skip ? size : BOUNCE_SIZE - skip;
    size_t span = (skip + whole + DISK_BLOCK_SIZE - 1) / DISK_BLOCK_SIZE * DISK_BLOCK_SIZE;
    ssize_t count;
    size_t useful;

    if (file->bounce == NULL) {
        file->bounce = aligned_alloc(DISK_BLOCK_SIZE, BOUNCE_SIZE);
        if (file->bounce == NULL) {
            return -ENOMEM;
        }
    }
    count = read_some(file->fd, file->bounce, span, start);
    if (count < 0) {
        return count;
    }
    if ((size_t)count <= skip) {
        return -EIO;
    }
    useful = (size_t)count - skip < whole ? (size_t)count - skip : whole;
    memcpy(bytes, file->bounce + skip, useful);
    return (ssize_t)useful;
}

static int real_read(struct disk_file *base, void *bytes, size_t size, uint64_t offset)
{
    struct real_file *file = file_of(base);
    uint8_t *to = bytes;
    ssize_t count;

    while (size > 0) {
        count = file->direct && !is_aligned(to, size, offset)
                    ? read_bounced(file, to, size, offset)
                    : read_some(file->fd, to, size, offset);
        if (count < 0) {
            return (int)count;
        }
        to += count;
        size -= (size_t)count;
        offset += (size_t)count;
    }
    return 0;
}

static int real_write(struct disk_file *base, struct bytes bytes, uint64_t offset)
{
    ssize_t count;

    assert(is_aligned(bytes.data, bytes.size, offset));
    while (bytes.size > 0) {
        count = pwrite(file_of(base)->fd, bytes.data, bytes.size, (off_t)offset);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count == 0 || count % DISK_BLOCK_SIZE != 0) {
            return -EIO; /* what is left could not be written direct */
        }
        bytes.data += count;
        bytes.size -= (size_t)count;
        offset += (size_t)count;
    }
    return 0;
}

static int real_sync(struct disk_file *file)
{
    return fdatasync(file_of(file)->fd) < 0 ? -errno : 0;
}

static int real_rename(struct disk *base, const char *old_name, const char *new_name)
{
    int dir_fd = disk_of(base)->dir_fd;

    if (renameat(dir_fd, old_name, dir_fd, new_name) < 0) {
        return errno == ENOENT ? DISK_E_NOT_FOUND : -errno;
    }
    return 0;
}

static int real_remove(struct disk *base, const char *name)
{
    if (unlinkat(disk_of(base)->dir_fd, name, 0) < 0) {
        return errno == ENOENT ? DISK_E_NOT_FOUND : -errno;
    }
    return 0;
}

static int real_sync_directory(struct disk *base)
{
    return fsync(disk_of(base)->dir_fd) < 0 ? -errno : 0;
}

static uint64_t real_free_bytes(struct disk *base)
{
    struct statvfs stat;

    if (fstatvfs(disk_of(base)->dir_fd, &stat) < 0) {
        return 0; /* unknown: better to stop early than to run into the wall */
    }
    return (uint64_t)stat.f_bavail * stat.f_frsize;
}

static void begin(struct disk_op *op, struct disk_file *file, size_t size, unsigned completions_due)
{
    assert(op->completions_due == 0);
    op->file = file;
    op->size = size;
    op->result = 0;
    op->completions_due = completions_due;
}

/* The op was begun; when the ring took it, its completions will come. */
static int begun(struct disk_op *op, int ring_result)
{
    if (ring_result < 0) {
        op->completions_due = 0;
    }
    return ring_result;
}

static void complete_one(struct disk_op *op)
{
    op->completions_due--;
    if (op->completions_due == 0) {
        op->done(op, op->result); /* the op may be gone after this */
    }
}

/* Completion of a write or a read. */
static void on_transferred(struct ring_op *ring_op, const struct ring_event *event)
{
    struct disk_op *op = CONTAINER_OF(ring_op, struct disk_op, write_op);

    /* It goes before the sync's -ECANCELED, in whatever order the two arrive. */
    if (event->result < 0) {
        op->result = event->result;
    } else if ((size_t)event->result != op->size) {
        op->result = -EIO;
    }
    complete_one(op);
}

/* Completion of anything whose result is 0 or negative errno. */
static void on_synced(struct ring_op *ring_op, const struct ring_event *event)
{
    struct disk_op *op = CONTAINER_OF(ring_op, struct disk_op, sync_op);

    if (event->result < 0 && op->result == 0) {
        op->result = event->result;
    }
    complete_one(op);
}

static int write_through(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                         uint64_t offset)
{
    begin(op, file, bytes.size, 1);
    op->write_op.done = on_transferred;
    return begun(
        op, ring_write_through(ring_of(file), &op->write_op, file_of(file)->fd, bytes, offset));
}

static int real_write_synced(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                             uint64_t offset)
{
    assert(is_aligned(bytes.data, bytes.size, offset));
    if (file_of(file)->direct) {
        return write_through(file, op, bytes, offset);
    }
    begin(op, file, bytes.size, 2);
    op->write_op.done = on_transferred;
    op->sync_op.done = on_synced;
    return begun(op, ring_write_synced(ring_of(file), &op->write_op, &op->sync_op,
                                       file_of(file)->fd, bytes, offset));
}

static int real_write_later(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                            uint64_t offset)
{
    assert(is_aligned(bytes.data, bytes.size, offset));
    begin(op, file, bytes.size, 1);
    op->write_op.done = on_transferred;
    return begun(op, ring_write(ring_of(file), &op->write_op, file_of(file)->fd, bytes.data,
                                bytes.size, offset));
}

static int real_sync_later(struct disk_file *file, struct disk_op *op)
{
    begin(op, file, 0, 1);
    op->sync_op.done = on_synced;
    return begun(op, ring_sync_data(ring_of(file), &op->sync_op, file_of(file)->fd));
}

static int real_read_later(struct disk_file *file, struct disk_op *op, void *bytes, size_t size,
                           uint64_t offset)
{
    int result;

    assert(is_aligned(bytes, size, offset));
    begin(op, file, size, 1);
    op->write_op.done = on_transferred;
    result =
        begun(op, ring_read(ring_of(file), &op->write_op, file_of(file)->fd, bytes, size, offset));
    if (result == 0) {
        ring_submit(ring_of(file)); /* who reads ahead at the start has no turns */
    }
    return result;
}

static int real_sync_directory_later(struct disk *base, struct disk_op *op)
{
    struct real_disk *disk = disk_of(base);

    begin(op, NULL, 0, 1);
    op->sync_op.done = on_synced;
    return begun(op, ring_sync(disk->reactor->ring, &op->sync_op, disk->dir_fd));
}

static int real_rename_later(struct disk *base, struct disk_op *op, const char *old_name,
                             const char *new_name)
{
    struct real_disk *disk = disk_of(base);

    begin(op, NULL, 0, 1);
    op->sync_op.done = on_synced;
    return begun(op,
                 ring_rename(disk->reactor->ring, &op->sync_op, disk->dir_fd, old_name, new_name));
}

static int real_remove_later(struct disk *base, struct disk_op *op, const char *name)
{
    struct real_disk *disk = disk_of(base);

    begin(op, NULL, 0, 1);
    op->sync_op.done = on_synced;
    return begun(op, ring_unlink(disk->reactor->ring, &op->sync_op, disk->dir_fd, name));
}

static int real_wait(struct disk *base, struct disk_op *op)
{
    int result = 0;

    while (op->completions_due > 0 && result >= 0) {
        result = ring_run(disk_of(base)->reactor->ring, UINT64_MAX);
    }
    return result < 0 ? result : 0;
}

static void real_free(struct disk *base)
{
    struct real_disk *disk = disk_of(base);

    assert(disk->file_count == 0);
    if (disk->lock_fd >= 0) {
        (void)close(disk->lock_fd); /* releases the lock */
    }
    if (disk->dir_fd >= 0) {
        (void)close(disk->dir_fd); /* nothing was written to it */
    }
    free(disk);
}

int disk_new(struct reactor *reactor, const char *path, struct disk **ret_disk)
{
    static const struct disk_ops ops = {
        .lock = real_lock,
        .list = real_list,
        .open = real_open,
        .size = real_size,
        .read = real_read,
        .write = real_write,
        .sync = real_sync,
        .rename = real_rename,
        .remove = real_remove,
        .sync_directory = real_sync_directory,
        .free_bytes = real_free_bytes,
        .close_file = real_close_file,
        .write_synced = real_write_synced,
        .write_later = real_write_later,
        .sync_later = real_sync_later,
        .read_later = real_read_later,
        .sync_directory_later = real_sync_directory_later,
        .rename_later = real_rename_later,
        .remove_later = real_remove_later,
        .wait = real_wait,
        .free = real_free,
    };
    struct real_disk *disk;
    int result = directory_make(path);

    if (result < 0) {
        return result;
    }
    disk = calloc(1, sizeof(*disk));
    if (disk == NULL) {
        return -ENOMEM;
    }
    *disk = (struct real_disk){.base.ops = &ops, .reactor = reactor, .lock_fd = -1};
    disk->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->dir_fd < 0) {
        result = -errno;
        real_free(&disk->base);
        return result;
    }
    *ret_disk = &disk->base;
    return 0;
}
