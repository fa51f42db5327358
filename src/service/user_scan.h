/*
 * Filters over all users: scans, which take turns in short slices between the other work of the
 * loop.
 *
 * Owns:    nothing; the scans are listed.
 * Borrows: reactor and store for its life; every struct user_scan while it is under way.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_SCAN_H
#define SERVICE_USER_SCAN_H

#include "core/list.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "service/user_page.h"

#include <stdbool.h>
#include <stdint.h>

struct user_entry;
struct user_filter;
struct user_lister_stats;
struct user_store;

#define USER_SCAN_E_RUNNING  1 /* it takes longer: `done` tells */
#define USER_SCAN_E_TOO_MANY 2 /* scans at once */
#define USER_SCAN_E_TOO_FAR  3 /* it would look at too many users */

/* One scan, embedded in its owner: set the first block, and leave the rest zero. */
struct user_scan {
    const struct user_filter *filter;
    uint64_t after;  /* the page begins behind this sequence; users up to it are counted alone */
    bool is_counted; /* how many users match is known: only the page is wanted */
    struct user_page page; /* with its limits; owned by the owner of the scan */
    /* May the page be sent on now? While not, the scan rests. NULL = always. */
    bool (*has_room)(struct user_scan *scan);
    /* Once, when user_scan_start() said USER_SCAN_E_RUNNING: 0 or another outcome of it. From the
     * loop; a scan that rests may also end inside the start of another, which needs its place. The
     * scan is the owner's again. */
    void (*done)(struct user_scan *scan, int result);

    uint64_t matched; /* users, unless is_counted */
    uint64_t change;  /* of the store, when it began */
    /* The rest is the scanner's. */
    struct list link;
    uint64_t at;       /* sequence of the last user looked at */
    uint64_t examined; /* users */
    unsigned batch;    /* users between two looks at the clock */
};

struct user_scanner {
    struct reactor *reactor;
    const struct user_store *store;
    struct user_lister_stats *stats; /* slices, users_examined, scans_running are counted here */
    uint32_t max_scans;              /* at once */
    uint64_t max_users;              /* that one scan may look at */
    struct list scans;               /* under way, the next one first */
    struct list resting;             /* those that have no room, the first to rest first */
    uint64_t scan_count;             /* of both */
    struct reactor_task task;
    struct timer timer; /* ends all rests */
    uint64_t turn_ns;   /* the turn of the loop in which scans ran last, */
    uint64_t spent_ns;  /* and how long */
};

/* Set the first five before. */
void user_scanner_init(struct user_scanner *scanner);

/* No scan may be under way. */
void user_scanner_deinit(struct user_scanner *scanner);

/* Begins a scan, and takes the first slice at once when no other scan runs. Returns 0 when that was
 * all; USER_SCAN_E_*; or -ENOMEM. But for USER_SCAN_E_RUNNING `done` will not run. */
int user_scan_start(struct user_scanner *scanner, struct user_scan *scan);

/* Ends a scan that is under way early; its `done` will not run. */
void user_scan_stop(struct user_scanner *scanner, struct user_scan *scan);

/* What a scan does with each user: counts it when it matches, and offers it to the page when it is
 * behind `after`. For a user that was found otherwise. Returns 0 or -ENOMEM. */
int user_scan_look_at(struct user_scan *scan, const struct user_entry *entry);

/* Has nothing changed since it began? Then `matched` of a scan that ended is how many match now. */
bool user_scan_is_exact(const struct user_scanner *scanner, const struct user_scan *scan);

#endif
