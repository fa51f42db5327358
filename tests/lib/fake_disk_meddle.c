/*
 * Looking at what a fake disk holds, and changing it, past all faults and past the program that
 * uses it: what bit rot, a careless hand or a wrong cable would do.
 */
#include "lib/fake_disk.h"
#include "lib/fake_disk_content.h"
#include "lib/fake_disk_internal.h"

#include <assert.h>
#include <string.h>

unsigned fake_disk_pending(const struct fake_disk *fake)
{
    return fake->pending_count;
}

bool fake_disk_pending_is(const struct fake_disk *fake, unsigned index, enum fake_disk_kind kind)
{
    static const enum fake_disk_kind kinds[] = {
        [FAKE_ASYNC_WRITE_SYNCED] = FAKE_DISK_WRITE,
        [FAKE_ASYNC_WRITE] = FAKE_DISK_WRITE,
        [FAKE_ASYNC_SYNC] = FAKE_DISK_SYNC,
        [FAKE_ASYNC_READ] = FAKE_DISK_READ,
        [FAKE_ASYNC_RENAME] = FAKE_DISK_RENAME,
        [FAKE_ASYNC_REMOVE] = FAKE_DISK_REMOVE,
        [FAKE_ASYNC_SYNC_DIRECTORY] = FAKE_DISK_SYNC_DIRECTORY,
    };

    assert(index < fake->pending_count);
    return kinds[fake->pending[index].kind] == kind;
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
    fake_content_remove(&fake->content, name);
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
    fake_content_create(&fake->content, name, inode);
    fake_content_keep(&fake->content, fake->content.history_count - 1);
}

void fake_disk_flip(struct fake_disk *fake, const char *name, uint64_t bit)
{
    const uint8_t byte =
        (uint8_t)(fake_disk_peek(fake, name, NULL)[bit / 8] ^ (uint8_t)(1u << (bit % 8)));

    fake_disk_poke(fake, name, bit / 8, &byte, 1);
}

void fake_disk_zero(struct fake_disk *fake, const char *name, uint64_t offset, size_t size)
{
    struct fake_entry *entry = fake_content_find(&fake->content, name);

    assert(entry != NULL);
    assert(offset + size <= entry->inode->cache_size);
    memset(entry->inode->cache + offset, 0, size);
    memset(entry->inode->durable + offset, 0, size);
}

void fake_disk_copy(struct fake_disk *fake, const char *name, const char *new_name)
{
    uint64_t size;
    const uint8_t *bytes = fake_disk_peek(fake, name, &size);

    fake_disk_put(fake, new_name, bytes, (size_t)size);
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
