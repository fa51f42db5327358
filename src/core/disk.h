/*
 * The disk as the log sees it: one data directory, behind a table of functions so that a test may
 * put a lying disk in its place.
 *
 * Two kinds of calls: those for start-up and maintenance run to their end before they return; the
 * asynchronous ones (disk_write_synced ...) go through the ring and report by `done`.
 *
 * Owns:    the directory descriptor, open files.
 * Borrows: operations and their memory, until `done`.
 * Thread:  loop only.
 */
#ifndef CORE_DISK_H
#define CORE_DISK_H

#include "core/bytes.h"
#include "core/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct disk;
struct disk_file;
struct reactor;

#define DISK_BLOCK_SIZE 4096 /* alignment of offsets, sizes and memory for files opened direct */

#define DISK_E_LOCKED    1 /* another process holds the directory */
#define DISK_E_NOT_FOUND 2 /* no file of that name */

enum disk_open {
    DISK_OPEN_READ,   /* existing file, not through the page cache where that can be had */
    DISK_OPEN_WRITE,  /* existing file, to read and write, O_DIRECT */
    DISK_OPEN_CREATE, /* new file (-EEXIST when it exists), to read and write, O_DIRECT */
};

/* One asynchronous operation, embedded in its owner: set `done`, zero the rest. `result` is 0, or
 * negative errno (a short write is -EIO). One `done` per operation, from the loop, after which the
 * op may be used again or freed. All but `done` is the disk's own. */
struct disk_op {
    void (*done)(struct disk_op *op, int result);
    struct ring_op write_op; /* or the read */
    struct ring_op sync_op;
    struct disk_file *file; /* NULL for what concerns the directory */
    size_t size;            /* bytes to be written or read */
    int result;             /* 0 so far, or the failure */
    unsigned completions_due;
};

struct disk_ops {
    /* Run to the end. 0, positive DISK_E_*, or negative errno. */
    int (*lock)(struct disk *disk, pid_t *ret_holder); /* DISK_E_LOCKED names the holder, or 0 */
    /* In no particular order. Non-zero from `each` ends the listing and is returned. */
    int (*list)(struct disk *disk, int (*each)(void *context, const char *name), void *context);
    int (*open)(struct disk *disk, const char *name, enum disk_open how,
                struct disk_file **ret_file);
    int (*size)(struct disk_file *file, uint64_t *ret_size);
    int (*read)(struct disk_file *file, void *bytes, size_t size,
                uint64_t offset);                                              /* all or -EIO */
    int (*write)(struct disk_file *file, struct bytes bytes, uint64_t offset); /* all */
    int (*sync)(struct disk_file *file);
    int (*rename)(struct disk *disk, const char *old_name, const char *new_name);
    int (*remove)(struct disk *disk, const char *name);
    int (*sync_directory)(struct disk *disk);
    uint64_t (*free_bytes)(struct disk *disk);  /* room left for this user */
    void (*close_file)(struct disk_file *file); /* nothing may be pending on it */

    /* Asynchronous. 0 = `done` will run; negative errno = it will not. */
    int (*write_synced)(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                        uint64_t offset); /* 0 = these bytes are durable; others of the file need
                                           * not be */
    int (*write_later)(struct disk_file *file, struct disk_op *op, struct bytes bytes,
                       uint64_t offset); /* write alone */
    int (*sync_later)(struct disk_file *file, struct disk_op *op);
    int (*read_later)(struct disk_file *file, struct disk_op *op, void *bytes, size_t size,
                      uint64_t offset); /* aligned like writes; fewer bytes than asked = -EIO. It
                                         begins at once, not only with the next turn;
                                         -EOPNOTSUPP = this disk cannot do it. */
    int (*sync_directory_later)(struct disk *disk, struct disk_op *op);
    int (*rename_later)(struct disk *disk, struct disk_op *op, const char *old_name,
                        const char *new_name); /* the names must live until `done` */
    int (*remove_later)(struct disk *disk, struct disk_op *op, const char *name); /* the same */

    /* For start-up, outside of the loop: blocks until `done` of this operation has run, after which
     * the op must still be there; at once when it ended before. Whatever else has ended meanwhile,
     * of this disk and of all that shares its ring, runs its `done` in here as well. 0; or negative
     * errno when the ring fails, and then the operation is still pending. */
    int (*wait)(struct disk *disk, struct disk_op *op);

    void (*free)(struct disk *disk); /* releases the lock; nothing may be pending or open */
};

/* What every implementation begins with. Writes, of both kinds, are aligned to DISK_BLOCK_SIZE in
 * offset, size and memory; reads may be of any offset and size. */
struct disk {
    const struct disk_ops *ops;
};

struct disk_file {
    struct disk *disk;
};

/* The real one, in disk_file.c: `path` is created (mode 0700) when it is missing.
 * Returns 0 or negative errno. */
int disk_new(struct reactor *reactor, const char *path, struct disk **ret_disk);

#endif
