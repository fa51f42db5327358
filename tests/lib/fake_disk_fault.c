/*
 * What goes wrong with a fake disk: operations that fail as planned, those that say that all is
 * well and lie, and the end of power or process at any operation.
 */
#include "lib/fake_disk.h"
#include "lib/fake_disk_content.h"
#include "lib/fake_disk_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SECTOR FAKE_DISK_SECTOR_SIZE

/* What was planned to happen at an operation. */
static void end_all(struct fake_disk *fake)
{
    fake->cut_due = false;
    if (fake->cut_kills) {
        fake_disk_kill(fake);
    } else {
        fake_disk_crash(fake);
    }
}

int fake_fault_begin(struct fake_disk *fake, enum fake_disk_kind kind)
{
    int result = 0;

    if (fake->cut_due) {
        (void)fake_fault_end(fake, 0); /* the operation before this one ended without an effect */
    }
    if (fake->dead) {
        return -EIO;
    }
    fake->counts[kind]++;
    fake->counts[FAKE_DISK_ANY]++;
    if (fake->cut_countdown > 0 && --fake->cut_countdown == 0) {
        if (!fake->cut_after) {
            end_all(fake);
            return -EIO;
        }
        fake->cut_due = true;
    }
    for (unsigned i = 0; i < FAKE_DISK_FAULTS_MAX; i++) {
        struct fake_fault *fault = &fake->faults[i];

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

int fake_fault_end(struct fake_disk *fake, int result)
{
    if (!fake->cut_due) {
        return result;
    }
    end_all(fake);
    return -EIO;
}

/* Whether the next write, or read, is to be a lie. */
static bool lies(struct fake_disk *fake, bool is_read)
{
    if (fake->lie_countdown == 0 || (fake->lie == FAKE_DISK_READ_STALE) != is_read) {
        return false;
    }
    fake->lie_countdown--;
    if (fake->lie_countdown > 0) {
        return false;
    }
    fake->lies_told++;
    return true;
}

/* A file with room for so much, or NULL. */
static struct fake_inode *any_inode(struct fake_disk *fake, size_t size)
{
    struct fake_inode *chosen = NULL;
    unsigned seen = 0;

    for (struct fake_inode *i = fake->content.inodes; i != NULL; i = i->next) {
        if (i->cache_size >= size && fake_content_random(&fake->content, ++seen) == 0) {
            chosen = i;
        }
    }
    return chosen;
}

/* The bytes end up elsewhere: behind the back of everybody, so that no sync is needed. */
static void misdirect(struct fake_disk *fake, struct fake_inode *inode, struct bytes bytes)
{
    struct fake_inode *other = fake_content_random(&fake->content, 2) == 0 ? inode : NULL;
    uint64_t blocks;
    uint64_t offset;

    if (other == NULL || other->cache_size < bytes.size) {
        other = any_inode(fake, bytes.size);
    }
    if (other == NULL) {
        return; /* off the end of the world */
    }
    blocks = (other->cache_size - bytes.size) / DISK_BLOCK_SIZE + 1;
    offset = fake_content_random(&fake->content, blocks) * DISK_BLOCK_SIZE;
    memcpy(other->cache + offset, bytes.data, bytes.size);
    memcpy(other->durable + offset, bytes.data, bytes.size);
}

void fake_fault_write(struct fake_disk *fake, struct fake_inode *inode, struct bytes bytes,
                      uint64_t offset)
{
    uint64_t torn;

    if (bytes.size == 0 || !lies(fake, false)) {
        fake_content_write(inode, offset, bytes.data, bytes.size);
        return;
    }
    if (inode->cache_size < offset + bytes.size) {
        inode->cache_size = offset + bytes.size; /* the file grows all the same */
    }
    if (fake->lie == FAKE_DISK_WRITE_MISDIRECTED) {
        misdirect(fake, inode, bytes);
    } else if (fake->lie == FAKE_DISK_WRITE_TORN) {
        torn = fake_content_random(&fake->content, bytes.size / SECTOR) * SECTOR;
        fake_content_write(inode, offset, bytes.data, (size_t)torn + SECTOR / 2);
        torn += SECTOR;
        if (torn < bytes.size) {
            fake_content_write(inode, offset + torn, bytes.data + torn, bytes.size - torn);
        }
    }
}

void fake_fault_read(struct fake_disk *fake, const struct fake_inode *inode, void *bytes,
                     size_t size, uint64_t offset)
{
    uint64_t at;
    uint64_t end;

    memcpy(bytes, inode->cache + offset, size);
    if (!lies(fake, true)) {
        return;
    }
    at = offset + fake_content_random(&fake->content, size);
    at -= at % DISK_BLOCK_SIZE;
    end = at + DISK_BLOCK_SIZE < offset + size ? at + DISK_BLOCK_SIZE : offset + size;
    at = at < offset ? offset : at;
    memcpy((uint8_t *)bytes + (at - offset), inode->before + at, end - at);
}

/* What tests use. */

void fake_disk_reseed(struct fake_disk *fake, uint64_t seed)
{
    fake->content.random = seed * 0x9e3779b97f4a7c15ULL + 1;
    if (fake->content.random == 0) {
        fake->content.random = 1;
    }
}

void fake_disk_fail(struct fake_disk *fake, enum fake_disk_kind kind, unsigned nth, int error,
                    bool sticky)
{
    unsigned i = 0;

    assert(nth > 0);
    while (fake->faults[i].countdown != 0) {
        i++;
        assert(i < FAKE_DISK_FAULTS_MAX);
    }
    fake->faults[i] = (struct fake_fault){kind, nth, error, sticky};
}

void fake_disk_lie(struct fake_disk *fake, enum fake_disk_lie lie, unsigned nth)
{
    fake->lie = lie;
    fake->lie_countdown = nth;
}

unsigned fake_disk_lies_told(const struct fake_disk *fake)
{
    return fake->lies_told;
}

void fake_disk_cut(struct fake_disk *fake, unsigned nth, bool after)
{
    fake->cut_countdown = nth;
    fake->cut_after = after;
    fake->cut_kills = false;
}

void fake_disk_kill_at(struct fake_disk *fake, unsigned nth, bool after)
{
    fake_disk_cut(fake, nth, after);
    fake->cut_kills = true;
}

void fake_disk_fail_nothing(struct fake_disk *fake)
{
    memset(fake->faults, 0, sizeof(fake->faults));
    fake->lie_countdown = 0;
    fake->cut_countdown = 0;
    fake->cut_due = false;
}

unsigned fake_disk_count(const struct fake_disk *fake, enum fake_disk_kind kind)
{
    return fake->counts[kind];
}

void fake_disk_set_room(struct fake_disk *fake, uint64_t bytes)
{
    fake->room = bytes;
    fake->room_error = -ENOSPC;
}

void fake_disk_set_quota(struct fake_disk *fake, uint64_t bytes)
{
    fake->room = bytes;
    fake->room_error = -EDQUOT;
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

/* From now on nothing has an effect; what is pending may have had one. */
static void go_dead(struct fake_disk *fake)
{
    assert(!fake->dead);
    for (unsigned i = 0; i < fake->pending_count; i++) {
        struct fake_async *async = &fake->pending[i];

        if (async->kind == FAKE_ASYNC_WRITE || async->kind == FAKE_ASYNC_WRITE_SYNCED) {
            fake_content_write_some(&fake->content, async->inode, async->bytes, async->offset);
        }
    }
    fake->dead = true;
    fake->cut_countdown = 0;
    fake->cut_due = false;
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

    go_dead(fake);
    for (struct fake_inode *inode = content->inodes; inode != NULL; inode = inode->next) {
        fake_content_settle(content, inode);
    }
    fake_content_settle_directory(content);
}

bool fake_disk_is_dead(const struct fake_disk *fake)
{
    return fake->dead;
}

void fake_disk_restart(struct fake_disk *fake)
{
    assert(fake->pending_count == 0);
    assert(fake->open_count == 0);
    fake->dead = false;
    fake->locked = false;
    fake_disk_fail_nothing(fake);
}
