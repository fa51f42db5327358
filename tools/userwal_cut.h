/*
 * What cutting the log at its damaged place means: where that is, what is lost, and the doing.
 *
 * Owns:    the list of lost users.
 * Borrows: the survey.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_CUT_H
#define TOOLS_USERWAL_CUT_H

#include "userwal_survey.h"

#include <stdbool.h>
#include <stdint.h>

struct reactor;

#define USERWAL_LOST_USERS_MAX 1000

struct userwal_lost_user {
    char *id;
    char *username; /* NULL = only its removal was read */
};

struct userwal_cut {
    const struct userwal_survey *survey;
    uint64_t from;  /* the first record that is given up: the one argument that is accepted */
    bool has_start; /* false: nothing would be left to start from */
    size_t kept;    /* so many segments stay, in whole or in part */
    bool cuts_last; /* the last one of them is cut, at: */
    uint64_t cut_offset;
    uint64_t cut_end;
    bool needs_segment; /* none is left that record `from` could go to */

    uint64_t last_lost; /* the greatest record that anything speaks of; below `from`: unknown */
    uint64_t readable;  /* records that are lost although they can be read */
    uint64_t first_ns;  /* of those */
    uint64_t last_ns;
    uint64_t kept_ns; /* of the last frame that stays; 0 = none */
    struct userwal_lost_user users[USERWAL_LOST_USERS_MAX];
    size_t user_count;
    bool has_more_users;
};

/* Plans. Changes nothing. Returns 0 or negative errno. userwal_cut_deinit() is needed in any case.
 */
int userwal_cut_plan(const struct userwal_survey *survey, struct disk *disk,
                     struct userwal_cut *ret_cut);
void userwal_cut_deinit(struct userwal_cut *cut);

/* Does it, on this disk. Returns 0 or negative errno; then it may be repeated. */
int userwal_cut_do(const struct userwal_cut *cut, struct disk *disk, struct reactor *reactor);

#endif
