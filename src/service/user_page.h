/*
 * One page of ListUsers while it is put together: packed users, as the reply will hold them. Pure.
 *
 * Owns:    the bytes.
 * Borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef SERVICE_USER_PAGE_H
#define SERVICE_USER_PAGE_H

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct user_entry;

/* Set the limits and leave the rest zero. */
struct user_page {
    uint32_t count_max;
    uint32_t bytes_max; /* a page of one user may be larger */
    uint32_t count;
    uint64_t last;    /* sequence of the last user on it */
    bool has_more;    /* a user was offered that has no place on it */
    struct buf users; /* field 1 of ListUsersResponse, repeated */
};

void user_page_deinit(struct user_page *page);

/* Puts the user on the page, or notes that there are more than have a place on it: once one had
 * none, none has. Returns 0 or -ENOMEM. */
int user_page_offer(struct user_page *page, const struct user_entry *entry);

#endif
