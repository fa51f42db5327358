/*
 * The real disk below is only ever asked to list, to open for reading, and to read. Above it stands
 * a list of nodes, one for each name that was opened or changed: the real file it reads from, if
 * any, and the blocks that were written (userwal_trial_node.c). A rename moves the node to
 * its new name and leaves one behind that says "removed"; so does a removal.
 *
 * The asynchronous calls do their work at once and tell of it from the loop.
 *
 * What can go wrong: no memory, which is an error of that write.
 */
#include "userwal_trial.h"

#include "core/disk.h"
#include "core/list.h"
#include "core/reactor.h"
#include "userwal_trial_node.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trial_disk {
    struct disk base;
    struct disk *real;
    struct reactor *reactor;
    struct list nodes;
    struct list done; /* of struct disk_op, by write_op.cancel_link */
    struct reactor_task task;
    unsigned file_count;
};

struct trial_file {
    struct disk_file base;
    struct userwal_trial_node *node;
};

static struct trial_disk *disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct trial_disk, base);
}

static struct userwal_trial_node *node_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct trial_file, base)->node;
}

static struct userwal_trial_node *find_node(struct trial_disk *disk, const char *name)
{
    for (struct list *link = disk->nodes.next; link != &disk->nodes; link = link->next) {
        struct userwal_trial_node *node = CONTAINER_OF(link, struct userwal_trial_node, link);

        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

/* A node that says "removed". NULL when out of memory. */
static struct userwal_trial_node *add_node(struct trial_disk *disk, const char *name)
{
    struct userwal_trial_node *node = calloc(1, sizeof(*node));

    if (node != NULL) {
        (void)snprintf(node->name, sizeof(node->name), "%s", name); /* names are shorter */
        node->removed = true;
        list_init(&node->link);
        list_push_back(&disk->nodes, &node->link);
    }
    return node;
}

/* The node of an existing file. Returns 0, DISK_E_NOT_FOUND or negative errno. */
static int get_node(struct trial_disk *disk, const char *name, struct userwal_trial_node **ret_node)
{
    struct userwal_trial_node *node = find_node(disk, name);
    struct disk_file *real = NULL;
    uint64_t size = 0;
    int result;

    if (node != NULL) {
        *ret_node = node;
        return node->removed ? DISK_E_NOT_FOUND : 0;
    }
    result = disk->real->ops->open(disk->real, name, DISK_OPEN_READ, &real);
    if (result != 0) {
        return result;
    }
    result = disk->real->ops->size(real, &size);
    disk->real->ops->close_file(real);
    node = result == 0 ? add_node(disk, name) : NULL;
    if (node == NULL) {
        return result == 0 ? -ENOMEM : result;
    }
    node->removed = false;
    memcpy(node->real_name, node->name, sizeof(node->real_name));
    node->real_size = size;
    node->size = size;
    *ret_node = node;
    return 0;
}

static int trial_lock(struct disk *base, pid_t *ret_holder)
{
    (void)base;
    *ret_holder = 0;
    return 0;
}

struct listing {
    struct trial_disk *disk;
    int (*each)(void *context, const char *name);
    void *context;
};

static int list_real(void *context, const char *name)
{
    struct listing *listing = context;
    struct userwal_trial_node *node = find_node(listing->disk, name);
    int result = node != NULL && node->removed ? 0 : listing->each(listing->context, name);

    node = find_node(listing->disk, name); /* `each` may have opened it */
    if (node != NULL) {
        node->listed = true;
    }
    return result;
}

static int trial_list(struct disk *base, int (*each)(void *context, const char *name),
                      void *context)
{
    struct trial_disk *disk = disk_of(base);
    struct listing listing = {disk, each, context};
    int result = disk->real->ops->list(disk->real, list_real, &listing);

    for (struct list *link = disk->nodes.next; link != &disk->nodes; link = link->next) {
        struct userwal_trial_node *node = CONTAINER_OF(link, struct userwal_trial_node, link);

        if (result == 0 && !node->listed && !node->removed) {
            result = each(context, node->name);
        }
        node->listed = false;
    }
    return result;
}

static int make_file(struct trial_disk *disk, struct userwal_trial_node *node,
                     struct disk_file **ret_file)
{
    struct trial_file *file = calloc(1, sizeof(*file));
    int result = 0;

    if (file == NULL) {
        return -ENOMEM;
    }
    if (node->real == NULL && node->real_name[0] != '\0') {
        result = disk->real->ops->open(disk->real, node->real_name, DISK_OPEN_READ, &node->real);
    }
    if (result != 0) {
        free(file);
        return result;
    }
    file->base.disk = &disk->base;
    file->node = node;
    node->open_count++;
    disk->file_count++;
    *ret_file = &file->base;
    return 0;
}

static int trial_open(struct disk *base, const char *name, enum disk_open how,
                      struct disk_file **ret_file)
{
    struct trial_disk *disk = disk_of(base);
    struct userwal_trial_node *node = NULL;
    int result = get_node(disk, name, &node);

    if (how == DISK_OPEN_CREATE) {
        if (result == 0) {
            return -EEXIST;
        }
        if (result != DISK_E_NOT_FOUND) {
            return result;
        }
        node = node == NULL ? add_node(disk, name) : node;
        if (node == NULL) {
            return -ENOMEM;
        }
        node->removed = false;
        return make_file(disk, node, ret_file);
    }
    return result == 0 ? make_file(disk, node, ret_file) : result;
}

static int trial_size(struct disk_file *file, uint64_t *ret_size)
{
    *ret_size = node_of(file)->size;
    return 0;
}

static int trial_read(struct disk_file *file, void *bytes, size_t size, uint64_t offset)
{
    return userwal_trial_node_read(node_of(file), bytes, size, offset);
}

static int trial_write(struct disk_file *file, struct bytes bytes, uint64_t offset)
{
    return userwal_trial_node_write(node_of(file), bytes, offset);
}

static int trial_sync(struct disk_file *file)
{
    (void)file;
    return 0;
}

static int trial_remove(struct disk *base, const char *name)
{
    struct trial_disk *disk = disk_of(base);
    struct userwal_trial_node *node = NULL;
    int result = get_node(disk, name, &node);

    if (result == 0) {
        userwal_trial_node_clear(node);
        node->removed = true;
    }
    return result;
}

static int trial_rename(struct disk *base, const char *old_name, const char *new_name)
{
    struct trial_disk *disk = disk_of(base);
    struct userwal_trial_node *node = NULL;
    int result = get_node(disk, old_name, &node);

    if (result != 0) {
        return result;
    }
    result = trial_remove(base, new_name);
    if (result != 0 && result != DISK_E_NOT_FOUND) {
        return result;
    }
    /* The node of the new name, which says "removed", takes the old one in exchange. */
    if (find_node(disk, new_name) == NULL && add_node(disk, new_name) == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(find_node(disk, new_name)->name, USERWAL_TRIAL_NAME_SIZE, "%s", old_name);
    (void)snprintf(node->name, USERWAL_TRIAL_NAME_SIZE, "%s", new_name);
    return 0;
}

static int trial_sync_directory(struct disk *base)
{
    (void)base;
    return 0;
}

static uint64_t trial_free_bytes(struct disk *base)
{
    (void)base;
    return UINT64_MAX / 2;
}

static void trial_close_file(struct disk_file *file)
{
    struct trial_disk *disk = disk_of(file->disk);
    struct userwal_trial_node *node = node_of(file);

    disk->file_count--;
    node->open_count--;
    if (node->open_count == 0) {
        userwal_trial_node_close(node);
    }
    free(CONTAINER_OF(file, struct trial_file, base));
}

/* It is done; the loop tells. */
static int tell_later(struct trial_disk *disk, struct disk_op *op, int result)
{
    op->result = result;
    list_init(&op->write_op.cancel_link);
    list_push_back(&disk->done, &op->write_op.cancel_link);
    reactor_defer(disk->reactor, &disk->task);
    return 0;
}

static void on_task(struct reactor_task *task)
{
    struct trial_disk *disk = CONTAINER_OF(task, struct trial_disk, task);
    struct list *link = list_pop_front(&disk->done);

    if (link != NULL) {
        struct ring_op *ring_op = CONTAINER_OF(link, struct ring_op, cancel_link);
        struct disk_op *op = CONTAINER_OF(ring_op, struct disk_op, write_op);

        if (!list_is_empty(&disk->done)) {
            reactor_defer(disk->reactor, &disk->task);
        }
        op->done(op, op->result); /* the op may be gone after this */
    }
}

static int trial_write_later(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                             uint64_t offset)
{
    return tell_later(disk_of(file->disk), op, trial_write(file, bytes, offset));
}

static int trial_sync_later(struct disk_file *file, struct disk_op *op)
{
    return tell_later(disk_of(file->disk), op, 0);
}

static int trial_read_later(struct disk_file *file, struct disk_op *op, void *bytes, size_t size,
                            uint64_t offset)
{
    struct trial_disk *disk = disk_of(file->disk);

    return disk->reactor == NULL ? -EOPNOTSUPP
                                 : tell_later(disk, op, trial_read(file, bytes, size, offset));
}

static int trial_sync_directory_later(struct disk *base, struct disk_op *op)
{
    return tell_later(disk_of(base), op, 0);
}

/* The asynchronous calls know no DISK_E_*. */
static int as_errno(int result)
{
    return result == DISK_E_NOT_FOUND ? -ENOENT : result;
}

static int trial_rename_later(struct disk *base, struct disk_op *op, const char *old_name,
                              const char *new_name)
{
    return tell_later(disk_of(base), op, as_errno(trial_rename(base, old_name, new_name)));
}

static int trial_remove_later(struct disk *base, struct disk_op *op, const char *name)
{
    return tell_later(disk_of(base), op, as_errno(trial_remove(base, name)));
}

static int trial_wait(struct disk *base, struct disk_op *op)
{
    struct trial_disk *disk = disk_of(base);

    while (list_is_linked(&op->write_op.cancel_link)) {
        on_task(&disk->task);
    }
    if (list_is_empty(&disk->done)) {
        reactor_undefer(&disk->task);
    }
    return 0;
}

static void trial_free(struct disk *base)
{
    struct trial_disk *disk = disk_of(base);
    struct list *link;

    assert(disk->file_count == 0);
    assert(list_is_empty(&disk->done));
    while ((link = list_pop_front(&disk->nodes)) != NULL) {
        struct userwal_trial_node *node = CONTAINER_OF(link, struct userwal_trial_node, link);

        userwal_trial_node_clear(node);
        free(node);
    }
    disk->real->ops->free(disk->real);
    free(disk);
}

int userwal_trial_new(struct reactor *reactor, const char *path, struct disk **ret_disk)
{
    static const struct disk_ops ops = {
        .lock = trial_lock,
        .list = trial_list,
        .open = trial_open,
        .size = trial_size,
        .read = trial_read,
        .write = trial_write,
        .sync = trial_sync,
        .rename = trial_rename,
        .remove = trial_remove,
        .sync_directory = trial_sync_directory,
        .free_bytes = trial_free_bytes,
        .close_file = trial_close_file,
        .write_synced = trial_write_later,
        .write_later = trial_write_later,
        .sync_later = trial_sync_later,
        .read_later = trial_read_later,
        .sync_directory_later = trial_sync_directory_later,
        .rename_later = trial_rename_later,
        .remove_later = trial_remove_later,
        .wait = trial_wait,
        .free = trial_free,
    };
    struct trial_disk *disk = calloc(1, sizeof(*disk));
    int result;

    if (disk == NULL) {
        return -ENOMEM;
    }
    result = disk_new(reactor, path, &disk->real);
    if (result != 0) {
        free(disk);
        return result;
    }
    disk->base.ops = &ops;
    disk->reactor = reactor;
    disk->task.run = on_task;
    list_init(&disk->nodes);
    list_init(&disk->done);
    list_init(&disk->task.link);
    *ret_disk = &disk->base;
    return 0;
}
