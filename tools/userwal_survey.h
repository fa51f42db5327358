/*
 * Everything in a data directory that can be checked, checked: what is whole, and what is wrong.
 *
 * Owns:    the list of findings and of segments.
 * Borrows: the disk.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_SURVEY_H
#define TOOLS_USERWAL_SURVEY_H

#include "core/wal_window.h"
#include "userwal_folder.h"
#include "userwal_segment.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* One thing that is wrong, or that one should know. */
struct userwal_finding {
    bool is_damage; /* false: a remark, such as a torn tail that the next start cuts */
    const char *file;
    uint64_t offset;
    uint64_t first_lsn; /* of the records concerned; 0 = none are known */
    uint64_t last_lsn;  /* less than first_lsn: at least the first */
    const char *rule;   /* the letter at the head of wal_format.c, or a word */
    const char *todo;   /* what to do */
    char *text;         /* what it is */
};

struct userwal_snapshot {
    const struct userwal_file *file;
    bool is_whole;
    uint64_t realtime_ns;
    uint64_t record_count; /* as far as it could be read */
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
};

struct userwal_survey {
    struct userwal_folder folder;
    struct userwal_segment *segments;   /* as in folder.segments */
    struct userwal_snapshot *snapshots; /* as in folder.snapshots */
    struct userwal_finding *findings;
    size_t finding_count;
    size_t damage_count; /* of the findings */
    uint64_t base_lsn;   /* of the newest whole snapshot; 0 = none */
    uint64_t witnessed;  /* the greatest record that anything speaks of */
    uint8_t store_uuid[WAL_FORMAT_UUID_SIZE];
    bool has_uuid;
};

/* Reads all files. `each` may be NULL: as userwal_segment_walk(). Returns 0 or negative errno, with
 * *ret_file saying at which file. userwal_survey_deinit() is needed in any case. */
int userwal_survey_read(struct disk *disk, userwal_frame_fn each, void *context,
                        struct userwal_survey *ret_survey, const char **ret_file);
void userwal_survey_deinit(struct userwal_survey *survey);

/* The log would start as it is: damage in it is covered by a snapshot, and nothing is lost. */
void userwal_survey_excuse(struct userwal_survey *survey);

/* The index of the segment from which on the log is read, behind base_lsn. False when there is
 * none. */
bool userwal_survey_first_segment(const struct userwal_survey *survey, size_t *ret_index);

#endif
