/*
 * The calls of a disk over contents that know what is durable (fake_disk_content.c), with faults
 * and a queue of asynchronous operations in front. Where an operation waits, runs and fails is
 * decided here, what a crash leaves is decided there.
 */
#include "lib/fake_disk.h"
#include "lib/fake_disk_content.h"

#include "core/list.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PENDING_MAX 16
#define FAULTS_MAX  8

struct fake_file {
    struct disk_file base;
    struct fake_inode *inode;
    bool writable;
};

enum async_kind {
    ASYNC_WRITE_SYNCED,
    ASYNC_WRITE,
    ASYNC_SYNC,
    ASYNC_SYNC_DIRECTORY,
    ASYNC_RENAME
};

struct async {
    enum async_kind kind;
    struct disk_op *op;
    struct fake_inode *inode;
    struct bytes bytes;
    uint64_t offset;
    const char *old_name;
    const char *new_name;
    bool ready;
};

struct fault {
    enum fake_disk_kind kind;
    unsigned countdown; /* 0 = not used */
    int error;
    bool sticky;
};

struct fake_disk {
    struct disk base;
    struct reactor *reactor;
    struct reactor_task task;
    struct fake_content content;
    struct async pending[PENDING_MAX];
    unsigned pending_count;
    struct fault faults[FAULTS_MAX];
    unsigned counts[FAKE_DISK_ANY + 1];
    uint64_t room;
    unsigned open_count;
    bool hold;
    bool dead;
    bool locked;
};

static struct fake_disk *fake_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct fake_disk, base);
}

static struct fake_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct fake_file, base);
}

/* Whether this step fails, and how. */
static int tick(struct fake_disk *fake, enum fake_disk_kind kind)
{
    int result = 0;

    if (fake->dead) {
        return -EIO;
    }
    fake->counts[kind]++;
    fake->counts[FAKE_DISK_ANY]++;
    for (unsigned i = 0; i < FAULTS_MAX; i++) {
        struct fault *fault = &fake->faults[i];

        if (fault->countdown == 0 || (fault->kind != kind && fault->kind != FAKE_DISK_ANY)) {
            continue;
        }
        fault->countdown--;
        if (fault->countdown == 0) {
            result = fault->error;
            fault->countdown = fault->sticky ? 1 : 0;
        }
    }
    return result;
}

static int write_all(struct fake_disk *fake, struct fake_inode *inode, struct bytes bytes,
                     uint64_t offset)
{
    uint64_t end = offset + bytes.size;
    int result;

    assert(offset % DISK_BLOCK_SIZE == 0);
    assert(bytes.size % DISK_BLOCK_SIZE == 0);
    assert((uintptr_t)bytes.data % DISK_BLOCK_SIZE == 0);
    result = tick(fake, FAKE_DISK_WRITE);
    if (result == 0 && end > inode->cache_size &&
        end - inode->cache_size > fake->room - fake_disk_used(fake)) {
        return -ENOSPC;
    }
    if (result != 0) {
        if (!fake->dead) {
            fake_content_write_some(&fake->content, inode, bytes, offset);
        }
        return result;
    }
    fake_content_reserve(inode, end);
    fake_content_write(inode, offset, bytes.data, bytes.size);
    return 0;
}

static int sync_inode(struct fake_disk *fake, struct fake_inode *inode)
{
    int result = tick(fake, FAKE_DISK_SYNC);

    if (fake->dead) {
        return result;
    }
    fake_content_sync(inode, result == 0);
    return result;
}

static int rename_entry(struct fake_disk *fake, const char *old_name, const char *new_name)
{
    int result = tick(fake, FAKE_DISK_RENAME);
    struct fake_entry *entry = fake_content_find(&fake->content, old_name);
    struct fake_inode *inode;
    struct fake_directory *directory;

    if (result != 0) {
        return result;
    }
    if (entry == NULL) {
        return -ENOENT;
    }
    inode = entry->inode;
    directory = fake_content_change(&fake->content);
    fake_content_drop(directory, old_name);
    fake_content_drop(directory, new_name);
    fake_content_add(directory, new_name, inode);
    return 0;
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
    int result = tick(fake, FAKE_DISK_LIST);

    for (unsigned i = 0; result == 0 && i < fake_content_present(&fake->content)->count; i++) {
        result = each(context, fake_content_present(&fake->content)->entries[i].name);
    }
    return result;
}

static int fake_open(struct disk *disk, const char *name, enum disk_open how,
                     struct disk_file **ret_file)
{
    struct fake_disk *fake = fake_of(disk);
    int result = tick(fake, FAKE_DISK_OPEN);
    struct fake_entry *entry = fake_content_find(&fake->content, name);
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
    file = fake_content_must(calloc(1, sizeof(*file)));
    file->base.disk = disk;
    file->writable = how != DISK_OPEN_READ;
    file->inode = entry != NULL ? entry->inode : fake_content_new(&fake->content);
    if (entry == NULL) {
        fake_content_add(fake_content_change(&fake->content), name, file->inode);
    }
    file->inode->open_count++;
    fake->open_count++;
    *ret_file = &file->base;
    return 0;
}

static int fake_size(struct disk_file *file, uint64_t *ret_size)
{
    int result = tick(fake_of(file->disk), FAKE_DISK_SIZE);

    if (result == 0) {
        *ret_size = file_of(file)->inode->cache_size;
    }
    return result;
}

static int fake_read(struct disk_file *file, void *bytes, size_t size, uint64_t offset)
{
    struct fake_inode *inode = file_of(file)->inode;
    int result = tick(fake_of(file->disk), FAKE_DISK_READ);

    if (result != 0) {
        return result;
    }
    if (offset > inode->cache_size || size > inode->cache_size - offset) {
        return -EIO;
    }
    if (size > 0) {
        memcpy(bytes, inode->cache + offset, size);
    }
    return 0;
}

static int fake_write(struct disk_file *file, struct bytes bytes, uint64_t offset)
{
    assert(file_of(file)->writable);
    return write_all(fake_of(file->disk), file_of(file)->inode, bytes, offset);
}

static int fake_sync(struct disk_file *file)
{
    return sync_inode(fake_of(file->disk), file_of(file)->inode);
}

static int fake_rename(struct disk *disk, const char *old_name, const char *new_name)
{
    return rename_entry(fake_of(disk), old_name, new_name);
}

static int fake_remove(struct disk *disk, const char *name)
{
    struct fake_disk *fake = fake_of(disk);
    int result = tick(fake, FAKE_DISK_REMOVE);

    if (result != 0) {
        return result;
    }
    if (fake_content_find(&fake->content, name) == NULL) {
        return DISK_E_NOT_FOUND;
    }
    fake_content_drop(fake_content_change(&fake->content), name);
    return 0;
}

static int fake_sync_directory(struct disk *disk)
{
    struct fake_disk *fake = fake_of(disk);
    int result = tick(fake, FAKE_DISK_SYNC_DIRECTORY);

    if (result == 0) {
        fake_content_keep(&fake->content, fake->content.history_count - 1);
    }
    return result;
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

static int submit(struct fake_disk *fake, const struct async *async)
{
    int result = tick(fake, FAKE_DISK_SUBMIT);

    assert(fake->reactor != NULL);
    if (result != 0 && !fake->dead) {
        return result;
    }
    assert(fake->pending_count < PENDING_MAX);
    fake->pending[fake->pending_count] = *async;
    fake->pending[fake->pending_count].ready = !fake->hold || fake->dead;
    if (fake->pending[fake->pending_count].ready) {
        reactor_defer(fake->reactor, &fake->task);
    }
    fake->pending_count++;
    return 0;
}

static int submit_on_file(struct disk_file *file, struct disk_op *op, enum async_kind kind,
                          struct bytes bytes, uint64_t offset)
{
    const struct async async = {
        .kind = kind, .op = op, .inode = file_of(file)->inode, .bytes = bytes, .offset = offset};

    assert(file_of(file)->writable);
    op->file = file;
    return submit(fake_of(file->disk), &async);
}

static int fake_write_synced(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                             uint64_t offset)
{
    return submit_on_file(file, op, ASYNC_WRITE_SYNCED, bytes, offset);
}

static int fake_write_later(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                            uint64_t offset)
{
    return submit_on_file(file, op, ASYNC_WRITE, bytes, offset);
}

static int fake_sync_later(struct disk_file *file, struct disk_op *op)
{
    return submit_on_file(file, op, ASYNC_SYNC, (struct bytes){NULL, 0}, 0);
}

static int fake_sync_directory_later(struct disk *disk, struct disk_op *op)
{
    const struct async async = {.kind = ASYNC_SYNC_DIRECTORY, .op = op};

    op->file = NULL;
    return submit(fake_of(disk), &async);
}

static int fake_rename_later(struct disk *disk, struct disk_op *op, const char *old_name,
                             const char *new_name)
{
    const struct async async = {
        .kind = ASYNC_RENAME, .op = op, .old_name = old_name, .new_name = new_name};

    op->file = NULL;
    return submit(fake_of(disk), &async);
}

static int execute(struct fake_disk *fake, const struct async *async)
{
    int result = 0;

    switch (async->kind) {
    case ASYNC_WRITE_SYNCED:
        result = write_all(fake, async->inode, async->bytes, async->offset);
        return result != 0 ? result : sync_inode(fake, async->inode);
    case ASYNC_WRITE:
        return write_all(fake, async->inode, async->bytes, async->offset);
    case ASYNC_SYNC:
        return sync_inode(fake, async->inode);
    case ASYNC_SYNC_DIRECTORY:
        return fake_sync_directory(&fake->base);
    case ASYNC_RENAME:
        return rename_entry(fake, async->old_name, async->new_name);
    }
    abort();
}

static void run_ready(struct reactor_task *task)
{
    struct fake_disk *fake = CONTAINER_OF(task, struct fake_disk, task);
    unsigned i = 0;

    while (i < fake->pending_count) {
        struct async async = fake->pending[i];
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
    .sync_directory_later = fake_sync_directory_later,
    .rename_later = fake_rename_later,
    .free = fake_free,
};

/* What tests use. */

struct fake_disk *fake_disk_new(struct reactor *reactor, uint64_t seed)
{
    struct fake_disk *fake = fake_content_must(calloc(1, sizeof(*fake)));

    fake->base.ops = &fake_ops;
    fake->reactor = reactor;
    fake->content.random = seed * 0x9e3779b97f4a7c15ULL + 1;
    if (fake->content.random == 0) {
        fake->content.random = 1;
    }
    fake->room = UINT64_MAX;
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

void fake_disk_fail(struct fake_disk *fake, enum fake_disk_kind kind, unsigned nth, int error,
                    bool sticky)
{
    unsigned i = 0;

    assert(nth > 0);
    while (fake->faults[i].countdown != 0) {
        i++;
        assert(i < FAULTS_MAX);
    }
    fake->faults[i] = (struct fault){kind, nth, error, sticky};
}

void fake_disk_fail_nothing(struct fake_disk *fake)
{
    memset(fake->faults, 0, sizeof(fake->faults));
}

unsigned fake_disk_count(const struct fake_disk *fake, enum fake_disk_kind kind)
{
    return fake->counts[kind];
}

void fake_disk_set_room(struct fake_disk *fake, uint64_t bytes)
{
    fake->room = bytes;
}

uint64_t fake_disk_used(const struct fake_disk *fake)
{
    uint64_t used = 0;

    for (const struct fake_inode *inode = fake->content.inodes; inode != NULL;
         inode = inode->next) {
        used += inode->cache_size;
    }
    return used;
}

void fake_disk_hold(struct fake_disk *fake, bool hold)
{
    fake->hold = hold;
    for (unsigned i = 0; !hold && i < fake->pending_count; i++) {
        fake_disk_step(fake, i);
    }
}

unsigned fake_disk_pending(const struct fake_disk *fake)
{
    return fake->pending_count;
}

bool fake_disk_pending_is(const struct fake_disk *fake, unsigned index, enum fake_disk_kind kind)
{
    static const enum fake_disk_kind kinds[] = {
        [ASYNC_WRITE_SYNCED] = FAKE_DISK_WRITE, [ASYNC_WRITE] = FAKE_DISK_WRITE,
        [ASYNC_SYNC] = FAKE_DISK_SYNC,          [ASYNC_SYNC_DIRECTORY] = FAKE_DISK_SYNC_DIRECTORY,
        [ASYNC_RENAME] = FAKE_DISK_RENAME,
    };

    assert(index < fake->pending_count);
    return kinds[fake->pending[index].kind] == kind;
}

void fake_disk_step(struct fake_disk *fake, unsigned index)
{
    assert(index < fake->pending_count);
    fake->pending[index].ready = true;
    reactor_defer(fake->reactor, &fake->task);
}

/* From now on nothing has an effect; what is pending may have had one. */
static void go_dead(struct fake_disk *fake)
{
    assert(!fake->dead);
    for (unsigned i = 0; i < fake->pending_count; i++) {
        struct async *async = &fake->pending[i];

        if (async->kind == ASYNC_WRITE || async->kind == ASYNC_WRITE_SYNCED) {
            fake_content_write_some(&fake->content, async->inode, async->bytes, async->offset);
        }
    }
    fake->dead = true;
    for (unsigned i = 0; i < fake->pending_count; i++) {
        fake_disk_step(fake, i);
    }
}

void fake_disk_kill(struct fake_disk *fake)
{
    go_dead(fake);
    for (struct fake_inode *i = fake->content.inodes; i != NULL; i = i->next) {
        fake_content_reveal(i);
    }
}

void fake_disk_crash(struct fake_disk *fake)
{
    struct fake_content *content = &fake->content;
    unsigned survivor = (unsigned)fake_content_random(content, content->history_count);

    go_dead(fake);
    for (struct fake_inode *inode = content->inodes; inode != NULL; inode = inode->next) {
        fake_content_settle(content, inode);
    }
    fake_content_keep(content, survivor);
}

void fake_disk_restart(struct fake_disk *fake)
{
    assert(fake->pending_count == 0);
    assert(fake->open_count == 0);
    fake->dead = false;
    fake->locked = false;
    fake_disk_fail_nothing(fake);
}

bool fake_disk_exists(const struct fake_disk *fake, const char *name)
{
    return fake_content_find(&fake->content, name) != NULL;
}

const uint8_t *fake_disk_peek(const struct fake_disk *fake, const char *name, uint64_t *ret_size)
{
    struct fake_entry *entry = fake_content_find(&fake->content, name);

    assert(entry != NULL);
    if (ret_size != NULL) {
        *ret_size = entry->inode->cache_size;
    }
    return entry->inode->cache;
}

void fake_disk_poke(struct fake_disk *fake, const char *name, uint64_t offset, const void *bytes,
                    size_t size)
{
    struct fake_entry *entry = fake_content_find(&fake->content, name);

    assert(entry != NULL);
    assert(offset + size <= entry->inode->cache_size);
    memcpy(entry->inode->cache + offset, bytes, size);
    memcpy(entry->inode->durable + offset, bytes, size);
}

void fake_disk_truncate(struct fake_disk *fake, const char *name, uint64_t size)
{
    struct fake_entry *entry = fake_content_find(&fake->content, name);

    assert(entry != NULL);
    assert(size <= entry->inode->cache_size);
    memset(entry->inode->cache + size, 0, entry->inode->capacity - size);
    memset(entry->inode->durable + size, 0, entry->inode->capacity - size);
    entry->inode->cache_size = size;
    entry->inode->durable_size = size;
}

void fake_disk_delete(struct fake_disk *fake, const char *name)
{
    assert(fake_content_find(&fake->content, name) != NULL);
    fake_content_drop(fake_content_change(&fake->content), name);
    fake_content_keep(&fake->content, fake->content.history_count - 1);
}

void fake_disk_put(struct fake_disk *fake, const char *name, const void *bytes, size_t size)
{
    struct fake_inode *inode;

    if (fake_content_find(&fake->content, name) != NULL) {
        fake_disk_delete(fake, name);
    }
    inode = fake_content_new(&fake->content);
    fake_content_reserve(inode, size);
    if (size > 0) {
        memcpy(inode->cache, bytes, size);
        memcpy(inode->durable, bytes, size);
    }
    inode->cache_size = size;
    inode->durable_size = size;
    fake_content_add(fake_content_change(&fake->content), name, inode);
    fake_content_keep(&fake->content, fake->content.history_count - 1);
}

unsigned fake_disk_name_count(const struct fake_disk *fake)
{
    return fake_content_present(&fake->content)->count;
}

const char *fake_disk_name(const struct fake_disk *fake, unsigned index)
{
    assert(index < fake_content_present(&fake->content)->count);
    return fake_content_present(&fake->content)->entries[index].name;
}
