/*
 * Every file has two contents: the cache, which reads and writes see, and the durable one, which a
 * crash leaves. A sync copies the sectors written since from the first to the second. The directory
 * has a history as well: its states since the last sync of it, and what led from each to the next.
 * At a crash either one of the states is left, as a journaling file system would have it, or any of
 * the changes were made and the others not, as nothing promises more; and of every sector written
 * but not synced, one of: kept, dropped, torn in the middle. Writes in flight count as written, in
 * any sectors. What a failed sync left behind looks written until the process ends; the next one,
 * which reads around the cache, sees that it is gone.
 *
 * What a real disk may do beyond that, to lie, is in fake_disk_fault.c; what happens to bytes that
 * lie there, in fake_disk_meddle.c.
 */
#include "lib/fake_disk_content.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR FAKE_DISK_SECTOR_SIZE

void *fake_content_must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* xorshift64*: repeatable, and good enough to choose sectors. */
static uint64_t next_random(struct fake_content *content)
{
    content->random ^= content->random >> 12;
    content->random ^= content->random << 25;
    content->random ^= content->random >> 27;
    return content->random * 0x2545f4914f6cdd1dULL;
}

uint64_t fake_content_random(struct fake_content *content, uint64_t limit)
{
    return (next_random(content) >> 16) % limit;
}

struct fake_inode *fake_content_new(struct fake_content *content)
{
    struct fake_inode *inode = fake_content_must(calloc(1, sizeof(*inode)));

    inode->next = content->inodes;
    content->inodes = inode;
    return inode;
}

static void inode_free(struct fake_inode *inode)
{
    free(inode->cache);
    free(inode->durable);
    free(inode->before);
    free(inode->dirty);
    free(inode);
}

void fake_content_reserve(struct fake_inode *inode, uint64_t size)
{
    uint64_t capacity = inode->capacity == 0 ? 4096 : inode->capacity;

    if (size <= inode->capacity) {
        return;
    }
    while (capacity < size) {
        capacity *= 2;
    }
    inode->cache = fake_content_must(realloc(inode->cache, capacity));
    inode->durable = fake_content_must(realloc(inode->durable, capacity));
    inode->before = fake_content_must(realloc(inode->before, capacity));
    inode->dirty = fake_content_must(realloc(inode->dirty, capacity / SECTOR));
    memset(inode->cache + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->durable + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->before + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty + inode->capacity / SECTOR, 0, (capacity - inode->capacity) / SECTOR);
    inode->capacity = capacity;
}

void fake_content_write(struct fake_inode *inode, uint64_t offset, const uint8_t *bytes,
                        size_t size)
{
    memcpy(inode->before + offset, inode->cache + offset, size);
    memcpy(inode->cache + offset, bytes, size);
    memset(inode->dirty + offset / SECTOR, FAKE_DIRTY, (size + SECTOR - 1) / SECTOR);
    if (inode->cache_size < offset + size) {
        inode->cache_size = offset + size;
    }
}

void fake_content_write_some(struct fake_content *content, struct fake_inode *inode,
                             struct bytes bytes, uint64_t offset)
{
    /* None, about half, the first ones (a short write), all. */
    const uint64_t share = fake_content_random(content, 4);
    const uint64_t end = share == 2 ? fake_content_random(content, bytes.size + 1) : bytes.size;

    fake_content_reserve(inode, offset + bytes.size);
    for (size_t at = 0; at < end; at += SECTOR) {
        if (share >= 2 || (share == 1 && fake_content_random(content, 2) == 0)) {
            fake_content_write(inode, offset + at, bytes.data + at, SECTOR);
        }
    }
}

struct fake_directory *fake_content_present(const struct fake_content *content)
{
    return &content->history[content->history_count - 1];
}

struct fake_entry *fake_content_find(const struct fake_content *content, const char *name)
{
    struct fake_directory *directory = fake_content_present(content);

    for (unsigned i = 0; i < directory->count; i++) {
        if (strcmp(directory->entries[i].name, name) == 0) {
            return &directory->entries[i];
        }
    }
    return NULL;
}

/* Applies a change to a state that has room for one more name; one that does not fit, because the
 * change before it was lost, does what it can. */
static void apply(struct fake_directory *directory, const struct fake_change *change)
{
    const char *names[] = {change->name, change->new_name};

    for (unsigned i = 0; i < 2; i++) {
        for (unsigned j = 0; j < directory->count; j++) {
            if (strcmp(directory->entries[j].name, names[i]) == 0) {
                directory->count--;
                directory->entries[j] = directory->entries[directory->count];
                break;
            }
        }
    }
    if (change->new_name[0] != '\0') {
        memcpy(directory->entries[directory->count].name, change->new_name,
               sizeof(change->new_name));
        directory->entries[directory->count].inode = change->inode;
        directory->count++;
    }
}

/* A copy with room for so many more names. */
static struct fake_directory copy_of(const struct fake_directory *from, unsigned more)
{
    struct fake_directory to = {.count = from->count};

    to.entries = fake_content_must(calloc(from->count + more, sizeof(to.entries[0])));
    if (from->count > 0) {
        memcpy(to.entries, from->entries, from->count * sizeof(to.entries[0]));
    }
    return to;
}

/* The present state changed; the one before stays in the history. */
static void add_change(struct fake_content *content, const char *name, const char *new_name,
                       struct fake_inode *inode)
{
    unsigned count = content->history_count;
    struct fake_directory *to;

    assert(strlen(name) < FAKE_CONTENT_NAME_SIZE);
    assert(strlen(new_name) < FAKE_CONTENT_NAME_SIZE);
    content->history =
        fake_content_must(realloc(content->history, (count + 1) * sizeof(content->history[0])));
    to = &content->history[count];
    *to = copy_of(&content->history[count - 1], 1);
    (void)snprintf(to->change.name, FAKE_CONTENT_NAME_SIZE, "%s", name);         /* fits */
    (void)snprintf(to->change.new_name, FAKE_CONTENT_NAME_SIZE, "%s", new_name); /* fits */
    to->change.inode = inode;
    apply(to, &to->change);
    content->history_count++;
}

void fake_content_create(struct fake_content *content, const char *name, struct fake_inode *inode)
{
    add_change(content, "", name, inode);
}

void fake_content_rename(struct fake_content *content, const char *old_name, const char *new_name)
{
    struct fake_entry *entry = fake_content_find(content, old_name);

    assert(entry != NULL);
    add_change(content, old_name, new_name, entry->inode);
}

void fake_content_remove(struct fake_content *content, const char *name)
{
    add_change(content, name, "", NULL);
}

void fake_content_collect(struct fake_content *content)
{
    struct fake_inode **link = &content->inodes;

    for (struct fake_inode *inode = content->inodes; inode != NULL; inode = inode->next) {
        inode->marked = inode->open_count > 0;
    }
    for (unsigned i = 0; i < content->history_count; i++) {
        for (unsigned j = 0; j < content->history[i].count; j++) {
            content->history[i].entries[j].inode->marked = true;
        }
    }
    while (*link != NULL) {
        struct fake_inode *inode = *link;

        if (inode->marked) {
            link = &inode->next;
        } else {
            *link = inode->next;
            inode_free(inode);
        }
    }
}

void fake_content_keep(struct fake_content *content, unsigned kept)
{
    for (unsigned i = 0; i < content->history_count; i++) {
        if (i != kept) {
            free(content->history[i].entries);
        }
    }
    content->history[0] = content->history[kept];
    content->history_count = 1;
    fake_content_collect(content);
}

void fake_content_settle_directory(struct fake_content *content)
{
    struct fake_directory some;

    if (fake_content_random(content, 2) == 0) {
        fake_content_keep(content, (unsigned)fake_content_random(content, content->history_count));
        return;
    }
    some = copy_of(&content->history[0], content->history_count);
    for (unsigned i = 1; i < content->history_count; i++) {
        if (fake_content_random(content, 2) == 0) {
            apply(&some, &content->history[i].change);
        }
    }
    free(content->history[content->history_count - 1].entries);
    content->history[content->history_count - 1] = some;
    fake_content_keep(content, content->history_count - 1);
}

void fake_content_begin_sync(struct fake_inode *inode)
{
    fake_content_begin_sync_of(inode, 0, inode->cache_size);
}

void fake_content_begin_sync_of(struct fake_inode *inode, uint64_t offset, uint64_t size)
{
    for (uint64_t at = offset; at < offset + size; at += SECTOR) {
        if (inode->dirty[at / SECTOR] == FAKE_DIRTY) {
            inode->dirty[at / SECTOR] = FAKE_SYNCING;
        }
    }
}

void fake_content_end_sync(struct fake_inode *inode, bool succeeds)
{
    for (uint64_t at = 0; at < inode->cache_size; at += SECTOR) {
        uint8_t *dirt = &inode->dirty[at / SECTOR];

        if (*dirt == FAKE_SYNCING && succeeds) {
            memcpy(inode->durable + at, inode->cache + at, SECTOR);
            *dirt = FAKE_CLEAN;
        } else if (*dirt == FAKE_SYNCING) {
            *dirt = FAKE_LOST;
        }
    }
    if (succeeds) {
        inode->durable_size = inode->cache_size;
    }
}

void fake_content_sync(struct fake_inode *inode, bool succeeds)
{
    fake_content_begin_sync(inode);
    fake_content_end_sync(inode, succeeds);
}

void fake_content_reveal(struct fake_inode *inode)
{
    for (uint64_t at = 0; at < inode->cache_size; at += SECTOR) {
        if (inode->dirty[at / SECTOR] == FAKE_LOST) {
            memcpy(inode->cache + at, inode->durable + at, SECTOR);
            inode->dirty[at / SECTOR] = FAKE_CLEAN;
        }
    }
}

/* One sector that was written and not synced. */
static void settle_sector(struct fake_content *content, struct fake_inode *inode, uint64_t at,
                          unsigned mode)
{
    size_t torn_at;

    switch (mode < 2 ? mode : fake_content_random(content, 3)) {
    case 0: /* dropped */
        break;
    case 1: /* kept */
        memcpy(inode->durable + at, inode->cache + at, SECTOR);
        break;
    default: /* torn */
        torn_at = fake_content_random(content, SECTOR);
        memcpy(inode->durable + at, inode->cache + at, torn_at);
        break;
    }
}

void fake_content_settle(struct fake_content *content, struct fake_inode *inode)
{
    unsigned mode = (unsigned)fake_content_random(content, 4); /* all dropped, all kept, or mixed */

    for (uint64_t at = 0; at < inode->cache_size; at += SECTOR) {
        if (inode->dirty[at / SECTOR] == FAKE_DIRTY || inode->dirty[at / SECTOR] == FAKE_SYNCING) {
            settle_sector(content, inode, at, mode);
        }
    }
    if (inode->cache_size > inode->durable_size && mode != 0) {
        inode->durable_size = mode == 1 || fake_content_random(content, 2) == 0
                                  ? inode->cache_size
                                  : inode->durable_size;
    }
    if (inode->capacity > 0) {
        memset(inode->durable + inode->durable_size, 0, inode->capacity - inode->durable_size);
        memcpy(inode->cache, inode->durable, inode->capacity);
        memset(inode->dirty, 0, inode->capacity / SECTOR);
    }
    inode->cache_size = inode->durable_size;
}
