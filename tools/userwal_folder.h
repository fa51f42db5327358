/*
 * A data directory as a list of files: which is what, and what CONTROL says.
 *
 * Owns:    the list.
 * Borrows: the disk, for the call.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_FOLDER_H
#define TOOLS_USERWAL_FOLDER_H

#include "core/wal_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct disk;

enum userwal_file_kind {
    USERWAL_FILE_CONTROL,
    USERWAL_FILE_SNAPSHOT,
    USERWAL_FILE_SEGMENT,
    USERWAL_FILE_BAD,       /* a snapshot that was found damaged */
    USERWAL_FILE_TORN,      /* what was cut off */
    USERWAL_FILE_TEMPORARY, /* in the making, of no meaning */
    USERWAL_FILE_OTHER,     /* LOCK, keys, whatever people put there */
};

#define USERWAL_NAME_SIZE 256

struct userwal_file {
    enum userwal_file_kind kind;
    uint64_t lsn; /* of a snapshot, or the first of a segment */
    uint64_t size;
    char name[USERWAL_NAME_SIZE];
};

/* Why a CONTROL file does not count. */
enum userwal_control_state {
    USERWAL_CONTROL_MISSING,
    USERWAL_CONTROL_BAD,
    USERWAL_CONTROL_NEWER,
    USERWAL_CONTROL_WHOLE,
};

struct userwal_folder {
    struct userwal_file *files; /* by kind, then LSN, then name */
    size_t count;
    size_t segment_count;
    size_t snapshot_count;
    const struct userwal_file *segments;  /* ascending, in `files` */
    const struct userwal_file *snapshots; /* ascending, in `files` */
    enum userwal_control_state control_states[2];
    struct wal_format_control control; /* the one that counts; sequence 0 = none */
    bool controls_differ;              /* they are of two stores, so neither counts */
};

/* Returns 0 or negative errno. userwal_folder_deinit() is needed in any case. */
int userwal_folder_read(struct disk *disk, struct userwal_folder *ret_folder);
void userwal_folder_deinit(struct userwal_folder *folder);

/* The process that holds the lock of the directory at `path`; 0 = nobody, -1 = who is unknown. */
pid_t userwal_folder_holder(const char *path);

/* As 8-4-4-4-12 hexadecimal digits. */
#define USERWAL_UUID_SIZE 37
const char *userwal_folder_uuid(const uint8_t *uuid, char out[USERWAL_UUID_SIZE]);

#endif
