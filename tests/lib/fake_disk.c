/*
 * The calls of a disk over contents that know what is durable (fake_disk_content.c), with a queue
 * of asynchronous operations in front. Where an operation waits and runs is decided here, whether
 * it fails or lies in fake_disk_fault.c, what a crash leaves in fake_disk_content.c.
 */
#include "lib/fake_disk.h"
#include "lib/fake_disk_content.h"
#include "lib/fake_disk_internal.h"

#include "core/list.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fake_file {
    struct disk_file base;
    struct fake_inode *inode;
    bool writable;
};

static struct fake_disk *fake_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct fake_disk, base);
}

static struct fake_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct fake_file, base);
}

static void assert_aligned(const void *memory, size_t size, uint64_t offset)
{
    assert(offset % DISK_BLOCK_SIZE == 0);
    assert(size % DISK_BLOCK_SIZE == 0);
    assert((uintptr_t)memory % DISK_BLOCK_SIZE == 0);
}

static int write_all(struct fake_disk *fake, struct fake_inode *inode, struct bytes bytes,
                     uint64_t offset)
{
    uint64_t end = offset + bytes.size;
    uint64_t used;
    int result;

    assert_aligned(bytes.data, bytes.size, offset);
    result = fake_fault_begin(fake, FAKE_DISK_WRITE);
    if (result == 0 && end > inode->cache_size) {
        used = fake_disk_used(fake);
        if (used > fake->room || end - inode->cache_size > fake->room - used) {
            return fake->room_error;
        }
    }
    if (result != 0) {
        if (!fake->dead) {
            fake_content_write_some(&fake->content, inode, bytes, offset);
        }
        return result;
    }
    fake_content_reserve(inode, end);
    fake_fault_write(fake, inode, bytes, offset);
    return fake_fault_end(fake, 0);
}

static int read_all(struct fake_disk *fake, const struct fake_inode *inode, void *bytes,
                    size_t size, uint64_t offset)
{
    int result = fake_fault_begin(fake, FAKE_DISK_READ);
    uint64_t there = offset < inode->cache_size ? inode->cache_size - offset : 0;

    if (result != 0 || size > there) {
        /* Short, or worse: what is there of the first half was read. */
        there = there < size / 2 ? there : size / 2;
        if (there > 0) {
            memcpy(bytes, inode->cache + offset, there);
        }
        return result != 0 ? result : -EIO;
    }
    if (size > 0) {
        fake_fault_read(fake, inode, bytes, size, offset);
    }
    return fake_fault_end(fake, 0);
}

/* Of what was begun. */
static int sync_inode(struct fake_disk *fake, struct fake_inode *inode)
{
    int result = fake_fault_begin(fake, FAKE_DISK_SYNC);

    if (fake->dead) {
        return result;
    }
    fake_content_end_sync(inode, result == 0);
    return fake_fault_end(fake, result);
}

static int rename_entry(struct fake_disk *fake, const char *old_name, const char *new_name)
{
    int result = fake_fault_begin(fake, FAKE_DISK_RENAME);

    if (result != 0) {
        return result;
    }
    if (fake_content_find(&fake->content, old_name) == NULL) {
        return -ENOENT;
    }
    fake_content_rename(&fake->content, old_name, new_name);
    return fake_fault_end(fake, 0);
}

/* The blocking calls. */

static int fake_lock(struct disk *disk, pid_t *ret_holder)
{
    struct fake_disk *fake = fake_of(disk);

    if (fake->locked) {
        *ret_holder = getpid();
        return DISK_E_LOCKED;
    }
    fake->locked = true;
    return 0;
}

static int fake_list(struct disk *disk, int (*each)(void *context, const char *name), void *context)
{
    struct fake_disk *fake = fake_of(disk);
    int result = fake_fault_begin(fake, FAKE_DISK_LIST);

    for (unsigned i = 0; result == 0 && i < fake_content_present(&fake->content)->count; i++) {
        result = each(context, fake_content_present(&fake->content)->entries[i].name);
    }
    return fake_fault_end(fake, result);
}

static int fake_open(struct disk *disk, const char *name, enum disk_open how,
                     struct disk_file **ret_file)
{
    struct fake_disk *fake = fake_of(disk);
    int result = fake_fault_begin(fake, FAKE_DISK_OPEN);
    struct fake_entry *entry = fake_content_find(&fake->content, name);
    struct fake_inode *inode;
    struct fake_file *file;

    if (result != 0) {
        return result;
    }
    if (entry == NULL && how != DISK_OPEN_CREATE) {
        return DISK_E_NOT_FOUND;
    }
    if (entry != NULL && how == DISK_OPEN_CREATE) {
        return -EEXIST;
    }
    inode = entry != NULL ? entry->inode : fake_content_new(&fake->content);
    if (entry == NULL) {
        fake_content_create(&fake->content, name, inode);
    }
    inode->open_count++;
    result = fake_fault_end(fake, 0);
    if (result != 0) {
        inode->open_count--;
        return result;
    }
    file = fake_content_must(calloc(1, sizeof(*file)));
    file->base.disk = disk;
    file->writable = how != DISK_OPEN_READ;
    file->inode = inode;
    fake->open_count++;
    *ret_file = &file->base;
    return 0;
}

static int fake_size(struct disk_file *file, uint64_t *ret_size)
{
    int result = fake_fault_begin(fake_of(file->disk), FAKE_DISK_SIZE);

    if (result == 0) {
        *ret_size = file_of(file)->inode->cache_size;
    }
    return fake_fault_end(fake_of(file->disk), result);
}

static int fake_read(struct disk_file *file, void *bytes, size_t size, uint64_t offset)
{
    return read_all(fake_of(file->disk), file_of(file)->inode, bytes, size, offset);
}

static int fake_write(struct disk_file *file, struct bytes bytes, uint64_t offset)
{
    assert(file_of(file)->writable);
    return write_all(fake_of(file->disk), file_of(file)->inode, bytes, offset);
}

static int fake_sync(struct disk_file *file)
{
    fake_content_begin_sync(file_of(file)->inode);
    return sync_inode(fake_of(file->disk), file_of(file)->inode);
}

static int fake_rename(struct disk *disk, const char *old_name, const char *new_name)
{
    return rename_entry(fake_of(disk), old_name, new_name);
}

static int fake_remove(struct disk *disk, const char *name)
{
    struct fake_disk *fake = fake_of(disk);
    int result = fake_fault_begin(fake, FAKE_DISK_REMOVE);

    if (result != 0) {
        return result;
    }
    if (fake_content_find(&fake->content, name) == NULL) {
        return DISK_E_NOT_FOUND;
    }
    fake_content_remove(&fake->content, name);
    return fake_fault_end(fake, 0);
}

static int fake_sync_directory(struct disk *disk)
{
    struct fake_disk *fake = fake_of(disk);
    int result = fake_fault_begin(fake, FAKE_DISK_SYNC_DIRECTORY);

    if (result == 0) {
        fake_content_keep(&fake->content, fake->content.history_count - 1);
    }
    return fake_fault_end(fake, result);
}

static uint64_t fake_free_bytes(struct disk *disk)
{
    struct fake_disk *fake = fake_of(disk);
    uint64_t used = fake_disk_used(fake);

    return used < fake->room ? fake->room - used : 0;
}

static void fake_close_file(struct disk_file *base)
{
    struct fake_file *file = file_of(base);
    struct fake_disk *fake = fake_of(base->disk);

    for (unsigned i = 0; i < fake->pending_count; i++) {
        assert(fake->pending[i].op->file != base);
    }
    assert(file->inode->open_count > 0);
    file->inode->open_count--;
    fake->open_count--;
    free(file);
    fake_content_collect(&fake->content);
}

/* The asynchronous calls. */

static int submit(struct fake_disk *fake, const struct fake_async *async)
{
    int result;

    if (fake->reactor == NULL) {
        return -EOPNOTSUPP;
    }
    result = fake_fault_begin(fake, FAKE_DISK_SUBMIT);
    if (result != 0 && !fake->dead) {
        return result;
    }
    assert(fake->pending_count < FAKE_DISK_PENDING_MAX);
    if (async->kind == FAKE_ASYNC_SYNC && !fake->dead) {
        fake_content_begin_sync(async->inode);
    }
    fake->pending[fake->pending_count] = *async;
    fake->pending[fake->pending_count].ready = !fake->hold || fake->dead;
    if (fake->pending[fake->pending_count].ready) {
        reactor_defer(fake->reactor, &fake->task);
    }
    fake->pending_count++;
    return 0;
}

static int submit_on_file(struct disk_file *file, struct disk_op *op, enum fake_async_kind kind,
                          struct bytes bytes, uint64_t offset)
{
    const struct fake_async async = {
        .kind = kind, .op = op, .inode = file_of(file)->inode, .bytes = bytes, .offset = offset};

    assert(file_of(file)->writable);
    op->file = file;
    return submit(fake_of(file->disk), &async);
}

static int fake_write_synced(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                             uint64_t offset)
{
    return submit_on_file(file, op, FAKE_ASYNC_WRITE_SYNCED, bytes, offset);
}

static int fake_write_later(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                            uint64_t offset)
{
    return submit_on_file(file, op, FAKE_ASYNC_WRITE, bytes, offset);
}

static int fake_sync_later(struct disk_file *file, struct disk_op *op)
{
    return submit_on_file(file, op, FAKE_ASYNC_SYNC, (struct bytes){NULL, 0}, 0);
}

static int fake_read_later(struct disk_file *file, struct disk_op *op, void *bytes, size_t size,
                           uint64_t offset)
{
    const struct fake_async async = {.kind = FAKE_ASYNC_READ,
                                     .op = op,
                                     .inode = file_of(file)->inode,
                                     .into = bytes,
                                     .into_size = size,
                                     .offset = offset};

    assert_aligned(bytes, size, offset);
    op->file = file;
    return submit(fake_of(file->disk), &async);
}

static int fake_sync_directory_later(struct disk *disk, struct disk_op *op)
{
    const struct fake_async async = {.kind = FAKE_ASYNC_SYNC_DIRECTORY, .op = op};

    op->file = NULL;
    return submit(fake_of(disk), &async);
}

static int fake_rename_later(struct disk *disk, struct disk_op *op, const char *old_name,
                             const char *new_name)
{
    const struct fake_async async = {
        .kind = FAKE_ASYNC_RENAME, .op = op, .old_name = old_name, .new_name = new_name};

    op->file = NULL;
    return submit(fake_of(disk), &async);
}

static int fake_remove_later(struct disk *disk, struct disk_op *op, const char *name)
{
    const struct fake_async async = {.kind = FAKE_ASYNC_REMOVE, .op = op, .old_name = name};

    op->file = NULL;
    return submit(fake_of(disk), &async);
}

static int execute(struct fake_disk *fake, const struct fake_async *async)
{
    int result = 0;

    switch (async->kind) {
    case FAKE_ASYNC_WRITE_SYNCED:
        result = write_all(fake, async->inode, async->bytes, async->offset);
        if (result == 0) {
            fake_content_begin_sync_of(async->inode, async->offset, async->bytes.size);
            result = sync_inode(fake, async->inode);
        }
        return result;
    case FAKE_ASYNC_WRITE:
        return write_all(fake, async->inode, async->bytes, async->offset);
    case FAKE_ASYNC_SYNC:
        return sync_inode(fake, async->inode);
    case FAKE_ASYNC_READ:
        return read_all(fake, async->inode, async->into, async->into_size, async->offset);
    case FAKE_ASYNC_SYNC_DIRECTORY:
        return fake_sync_directory(&fake->base);
    case FAKE_ASYNC_RENAME:
        return rename_entry(fake, async->old_name, async->new_name);
    case FAKE_ASYNC_REMOVE:
        result = fake_remove(&fake->base, async->old_name);
        return result == DISK_E_NOT_FOUND ? -ENOENT : result;
    }
    abort();
}

static void run_ready(struct reactor_task *task)
{
    struct fake_disk *fake = CONTAINER_OF(task, struct fake_disk, task);
    unsigned i = 0;

    while (i < fake->pending_count) {
        struct fake_async async = fake->pending[i];
        int result;

        if (!async.ready) {
            i++;
            continue;
        }
        fake->pending_count--;
        memmove(&fake->pending[i], &fake->pending[i + 1],
                (fake->pending_count - i) * sizeof(fake->pending[0]));
        result = execute(fake, &async);
        async.op->file = NULL;
        async.op->done(async.op, result);
        i = 0; /* `done` may have submitted more */
    }
}

static int fake_wait(struct disk *disk, struct disk_op *op)
{
    struct fake_disk *fake = fake_of(disk);

    for (unsigned i = 0; i < fake->pending_count; i++) {
        if (fake->pending[i].op == op) {
            fake->pending[i].ready = true;
            run_ready(&fake->task);
            reactor_undefer(&fake->task);
            return 0;
        }
    }
    return 0;
}

static void fake_free(struct disk *disk)
{
    struct fake_disk *fake = fake_of(disk);

    assert(fake->open_count == 0);
    fake->locked = false;
}

static const struct disk_ops fake_ops = {
    .lock = fake_lock,
    .list = fake_list,
    .open = fake_open,
    .size = fake_size,
    .read = fake_read,
    .write = fake_write,
    .sync = fake_sync,
    .rename = fake_rename,
    .remove = fake_remove,
    .sync_directory = fake_sync_directory,
    .free_bytes = fake_free_bytes,
    .close_file = fake_close_file,
    .write_synced = fake_write_synced,
    .write_later = fake_write_later,
    .sync_later = fake_sync_later,
    .read_later = fake_read_later,
    .sync_directory_later = fake_sync_directory_later,
    .rename_later = fake_rename_later,
    .remove_later = fake_remove_later,
    .wait = fake_wait,
    .free = fake_free,
};

/* What tests use. */

struct fake_disk *fake_disk_new(struct reactor *reactor, uint64_t seed)
{
    struct fake_disk *fake = fake_content_must(calloc(1, sizeof(*fake)));

    fake->base.ops = &fake_ops;
    fake->reactor = reactor;
    fake_disk_reseed(fake, seed);
    fake->room = UINT64_MAX;
    fake->room_error = -ENOSPC;
    fake->content.history = fake_content_must(calloc(1, sizeof(fake->content.history[0])));
    fake->content.history_count = 1;
    list_init(&fake->task.link);
    fake->task.run = run_ready;
    return fake;
}

void fake_disk_free(struct fake_disk *fake)
{
    if (fake == NULL) {
        return;
    }
    assert(fake->pending_count == 0);
    assert(fake->open_count == 0);
    reactor_undefer(&fake->task);
    fake_content_keep(&fake->content, 0);
    fake->content.history[0].count = 0;
    fake_content_collect(&fake->content);
    free(fake->content.history[0].entries);
    free(fake->content.history);
    free(fake);
}

struct disk *fake_disk_disk(struct fake_disk *fake)
{
    return &fake->base;
}

void fake_disk_hold(struct fake_disk *fake, bool hold)
{
    fake->hold = hold;
    for (unsigned i = 0; !hold && i < fake->pending_count; i++) {
        fake_disk_step(fake, i);
    }
}

void fake_disk_step(struct fake_disk *fake, unsigned index)
{
    assert(index < fake->pending_count);
    fake->pending[index].ready = true;
    reactor_defer(fake->reactor, &fake->task);
}
