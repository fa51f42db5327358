/*
 * What the fake disk holds: files with a cached and a durable content each, and the directory's
 * states since it was last synced. Inside of the fake disk.
 *
 * Owns:    all of it.
 * Borrows: nothing.
 * Thread:  one.
 */
#ifndef TESTS_LIB_FAKE_DISK_CONTENT_H
#define TESTS_LIB_FAKE_DISK_CONTENT_H

#include "lib/fake_disk.h"

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CONTENT_NAME_SIZE 80

enum fake_dirt {
    FAKE_CLEAN,
    FAKE_DIRTY,   /* written since the last sync */
    FAKE_SYNCING, /* the same, and a sync that is on its way will take care of it */
    FAKE_LOST,    /* a sync of it failed: it looks written, and no later sync makes it so */
};

struct fake_inode {
    struct fake_inode *next;
    uint8_t *cache;
    uint8_t *durable;
    uint8_t *before; /* the cache as it was before the last write to each place */
    uint8_t *dirty;  /* per sector: enum fake_dirt */
    uint64_t capacity;
    uint64_t cache_size;
    uint64_t durable_size;
    unsigned open_count;
    bool marked;
};

struct fake_entry {
    char name[FAKE_CONTENT_NAME_SIZE];
    struct fake_inode *inode;
};

/* A file made, renamed or removed. */
struct fake_change {
    char name[FAKE_CONTENT_NAME_SIZE];     /* goes; empty = none does */
    char new_name[FAKE_CONTENT_NAME_SIZE]; /* comes, instead of what had it; empty = none does */
    struct fake_inode *inode;              /* what gets it */
};

struct fake_directory {
    struct fake_entry *entries;
    unsigned count;
    struct fake_change change; /* what led here */
};

struct fake_content {
    uint64_t random;
    struct fake_inode *inodes;
    struct fake_directory *history; /* the durable state first, the present one last */
    unsigned history_count;
};

/* The memory, or the end of the program. */
void *fake_content_must(void *memory);

/* A number below the limit, from the seed in `random`. */
uint64_t fake_content_random(struct fake_content *content, uint64_t limit);

struct fake_inode *fake_content_new(struct fake_content *content);
void fake_content_reserve(struct fake_inode *inode, uint64_t size);

/* Into the cache, where there is room already. */
void fake_content_write(struct fake_inode *inode, uint64_t offset, const uint8_t *bytes,
                        size_t size);

/* Any of the sectors, for a write that failed or was in flight at a crash. */
void fake_content_write_some(struct fake_content *content, struct fake_inode *inode,
                             struct bytes bytes, uint64_t offset);

struct fake_directory *fake_content_present(const struct fake_content *content);

/* NULL when the present directory has no such name. */
struct fake_entry *fake_content_find(const struct fake_content *content, const char *name);

/* The present state changes; the old one stays in the history. The old name must exist. */
void fake_content_create(struct fake_content *content, const char *name, struct fake_inode *inode);
void fake_content_rename(struct fake_content *content, const char *old_name, const char *new_name);
void fake_content_remove(struct fake_content *content, const char *name);

/* Frees what nothing names and nobody has open. */
void fake_content_collect(struct fake_content *content);

/* One state is all the history there is. */
void fake_content_keep(struct fake_content *content, unsigned kept);

/* Chooses what a crash leaves of the directory. */
void fake_content_settle_directory(struct fake_content *content);

/* A sync of the file, that succeeds or fails. */
void fake_content_sync(struct fake_inode *inode, bool succeeds);

/* One that takes its time: of what was written before it began. */
void fake_content_begin_sync(struct fake_inode *inode);
void fake_content_begin_sync_of(struct fake_inode *inode, uint64_t offset, uint64_t size);
void fake_content_end_sync(struct fake_inode *inode, bool succeeds);

/* What a new process sees, which reads around caches: lost sectors are gone. */
void fake_content_reveal(struct fake_inode *inode);

/* Chooses what a crash leaves of a file. */
void fake_content_settle(struct fake_content *content, struct fake_inode *inode);

#endif
