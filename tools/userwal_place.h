/*
 * What a command is about: a data directory or one file of it, to be read only, or a directory to
 * be changed, which is locked.
 *
 * Owns:    the disk, the folder's name.
 * Borrows: the path, the reactor.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_PLACE_H
#define TOOLS_USERWAL_PLACE_H

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct reactor;

enum userwal_place_kind {
    USERWAL_PLACE_FOLDER,
    USERWAL_PLACE_SNAPSHOT, /* a single file: the disk has it under a snapshot's name */
    USERWAL_PLACE_SEGMENT,  /* a single file */
};

struct userwal_place {
    enum userwal_place_kind kind;
    struct disk *disk; /* a trial disk */
    char *folder;
    char *path;       /* of a single file, without links; else NULL */
    const char *name; /* in that; NULL for the folder itself */
    uint64_t lsn;     /* of a snapshot */
    bool is_in_use;   /* a server runs on the folder */
};

/* Splits "a/b". Returns 0 or -ENOMEM; the caller frees *ret_folder, and *ret_name is of `path`. */
int userwal_place_split(const char *path, char **ret_folder, const char **ret_name);

/* Opens for reading; says so when a server runs there. A directory must have files of a log in it.
 * `reactor` may be NULL. Returns 0, or an exit code after it has said why. */
int userwal_place_open(const char *path, struct reactor *reactor, struct userwal_place *ret_place);
/* Forgets what was written to the trial disk, and sees the files as they are now. Returns 0 or
 * negative errno. */
int userwal_place_reopen(struct userwal_place *place, struct reactor *reactor);

void userwal_place_close(struct userwal_place *place);

/* Opens a directory with files of a log for changing, and locks it. Nothing is made in another one.
 * Returns 0, or an exit code after it has said why. */
int userwal_place_lock(const char *path, struct reactor *reactor, struct disk **ret_disk);

/* The same for a directory that must be empty or not be there. */
int userwal_place_lock_empty(const char *path, struct reactor *reactor, struct disk **ret_disk);

/* Whether the directory is empty, or not there, and nobody uses it. Returns 0, or an exit code
 * after it has said what is wrong. */
int userwal_place_check_empty(const char *path);

/* Takes a lock back. NULL is fine. */
void userwal_place_unlock(struct disk *disk);

#endif
