/*
 * The real disk below is only ever asked to list, to open for reading, and to read. Above it stands
 * a list of nodes, one for each name that was opened or changed: the real file it reads from, if
 * any, and the blocks that were written, which hide those of the file. A rename moves the node to
 * its new name and leaves one behind that says "removed"; so does a removal.
 *
 * Blocks of zeros, of which a log segment is made, all share one block of memory. The asynchronous
 * calls do their work at once and tell of it from the loop.
 *
 * What can go wrong: no memory, which is an error of that write.
 */
#include "userwal_trial.h"

#include "core/disk.h"
#include "core/list.h"
#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256

static uint8_t zero_block[DISK_BLOCK_SIZE];

struct trial_node {
    struct list link;
    char name[NAME_SIZE];
    char real_name[NAME_SIZE]; /* what lies below; "" = nothing */
    struct disk_file *real;    /* that, while the node is open: a folder may have many files */
    unsigned open_count;
    bool removed;
    bool listed; /* for one listing */
    uint64_t size;
    uint64_t real_size;
    uint8_t **blocks; /* NULL = as below */
    uint64_t block_count;
};

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
    struct trial_node *node;
};

static struct trial_disk *disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct trial_disk, base);
}

static struct trial_node *node_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct trial_file, base)->node;
}

static struct trial_node *find_node(struct trial_disk *disk, const char *name)
{
    for (struct list *link = disk->nodes.next; link != &disk->nodes; link = link->next) {
        struct trial_node *node = CONTAINER_OF(link, struct trial_node, link);

        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

static void drop_content(struct trial_disk *disk, struct trial_node *node)
{
    for (uint64_t i = 0; i < node->block_count; i++) {
        if (node->blocks[i] != zero_block) {
            free(node->blocks[i]);
        }
    }
    free(node->blocks);
    node->blocks = NULL;
    node->block_count = 0;
    node->size = 0;
    node->real_size = 0;
    node->real_name[0] = '\0';
    if (node->real != NULL) {
        disk->real->ops->close_file(node->real);
        node->real = NULL;
    }
}

/* A node that says "removed". NULL when out of memory. */
static struct trial_node *add_node(struct trial_disk *disk, const char *name)
{
    struct trial_node *node = calloc(1, sizeof(*node));

    if (node != NULL) {
        (void)snprintf(node->name, sizeof(node->name), "%s", name); /* names are shorter */
        node->removed = true;
        list_init(&node->link);
        list_push_back(&disk->nodes, &node->link);
    }
    return node;
}

/* The node of an existing file. Returns 0, DISK_E_NOT_FOUND or negative errno. */
static int get_node(struct trial_disk *disk, const char *name, struct trial_node **ret_node)
{
    struct trial_node *node = find_node(disk, name);
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
    struct trial_node *node = find_node(listing->disk, name);
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
        struct trial_node *node = CONTAINER_OF(link, struct trial_node, link);

        if (result == 0 && !node->listed && !node->removed) {
            result = each(context, node->name);
        }
        node->listed = false;
    }
    return result;
}

static int make_file(struct trial_disk *disk, struct trial_node *node, struct disk_file **ret_file)
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
    struct trial_node *node = NULL;
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

/* Up to the end of the block, or of `size`. */
static size_t piece_at(uint64_t offset, size_t size)
{
    const size_t left = DISK_BLOCK_SIZE - (size_t)(offset % DISK_BLOCK_SIZE);

    return left < size ? left : size;
}

static bool is_written(const struct trial_node *node, uint64_t offset)
{
    const uint64_t block = offset / DISK_BLOCK_SIZE;

    return block < node->block_count && node->blocks[block] != NULL;
}

static int read_below(struct trial_node *node, uint8_t *to, size_t size, uint64_t offset)
{
    size_t there = 0;
    int result = 0;

    if (node->real != NULL && offset < node->real_size) {
        const uint64_t left = node->real_size - offset;

        there = left < size ? (size_t)left : size;
        result = node->real->disk->ops->read(node->real, to, there, offset);
    }
    memset(to + there, 0, size - there);
    return result;
}

static int trial_read(struct disk_file *file, void *bytes, size_t size, uint64_t offset)
{
    struct trial_node *node = node_of(file);
    uint8_t *to = bytes;
    int result = 0;

    if (offset + size > node->size) {
        return -EIO;
    }
    while (size > 0 && result == 0) {
        size_t piece = piece_at(offset, size);

        if (is_written(node, offset)) {
            memcpy(to, node->blocks[offset / DISK_BLOCK_SIZE] + offset % DISK_BLOCK_SIZE, piece);
        } else {
            /* All that lies below in one go, as the files are large. */
            while (piece < size && !is_written(node, offset + piece)) {
                piece += piece_at(offset + piece, size - piece);
            }
            result = read_below(node, to, piece, offset);
        }
        to += piece;
        offset += piece;
        size -= piece;
    }
    return result;
}

static int make_room(struct trial_node *node, uint64_t block_count)
{
    const size_t item = sizeof(node->blocks[0]);
    uint8_t **blocks;

    if (block_count <= node->block_count) {
        return 0;
    }
    blocks = realloc(node->blocks, block_count * item);
    if (blocks == NULL) {
        return -ENOMEM;
    }
    memset(blocks + node->block_count, 0, (block_count - node->block_count) * item);
    node->blocks = blocks;
    node->block_count = block_count;
    return 0;
}

static int write_block(struct trial_node *node, const uint8_t *bytes, uint64_t block)
{
    uint8_t **slot = node->blocks + block;

    if (memcmp(bytes, zero_block, DISK_BLOCK_SIZE) == 0) {
        if (*slot != zero_block) {
            free(*slot);
        }
        *slot = zero_block;
        return 0;
    }
    if (*slot == NULL || *slot == zero_block) {
        *slot = malloc(DISK_BLOCK_SIZE);
        if (*slot == NULL) {
            return -ENOMEM;
        }
    }
    memcpy(*slot, bytes, DISK_BLOCK_SIZE);
    return 0;
}

static int trial_write(struct disk_file *file, struct bytes bytes, uint64_t offset)
{
    struct trial_node *node = node_of(file);
    const uint64_t end = offset + bytes.size;
    int result;

    assert((offset | bytes.size) % DISK_BLOCK_SIZE == 0);
    result = make_room(node, end / DISK_BLOCK_SIZE);
    for (size_t done = 0; done < bytes.size && result == 0; done += DISK_BLOCK_SIZE) {
        result = write_block(node, bytes.data + done, (offset + done) / DISK_BLOCK_SIZE);
    }
    if (result == 0 && end > node->size) {
        node->size = end;
    }
    return result;
}

static int trial_sync(struct disk_file *file)
{
    (void)file;
    return 0;
}

static int trial_remove(struct disk *base, const char *name)
{
    struct trial_disk *disk = disk_of(base);
    struct trial_node *node = NULL;
    int result = get_node(disk, name, &node);

    if (result == 0) {
        drop_content(disk, node);
        node->removed = true;
    }
    return result;
}

static int trial_rename(struct disk *base, const char *old_name, const char *new_name)
{
    struct trial_disk *disk = disk_of(base);
    struct trial_node *node = NULL;
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
    (void)snprintf(find_node(disk, new_name)->name, NAME_SIZE, "%s", old_name);
    (void)snprintf(node->name, NAME_SIZE, "%s", new_name);
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
    struct trial_node *node = node_of(file);

    disk->file_count--;
    node->open_count--;
    if (node->open_count == 0 && node->real != NULL) {
        disk->real->ops->close_file(node->real);
        node->real = NULL;
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
    return tell_later(disk_of(file->disk), op, trial_read(file, bytes, size, offset));
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

static void trial_free(struct disk *base)
{
    struct trial_disk *disk = disk_of(base);
    struct list *link;

    assert(disk->file_count == 0);
    assert(list_is_empty(&disk->done));
    while ((link = list_pop_front(&disk->nodes)) != NULL) {
        struct trial_node *node = CONTAINER_OF(link, struct trial_node, link);

        drop_content(disk, node);
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
