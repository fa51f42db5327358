/*
 * ListUsers: pages in the order of creation. What is not answered from an index is a scan, which
 * runs in slices between the other work of the loop.
 *
 * Owns:    the scans under way, the key of the page tokens.
 * Borrows: reactor, store, random source, for its life; calls of scans, held.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_LIST_H
#define SERVICE_USER_LIST_H

#include "core/bytes.h"
#include "service/page_token.h"

#include <stdint.h>

struct grpc_call;
struct random_source;
struct reactor;
struct user_lister;
struct user_store;

struct user_lister_options {
    struct page_token_key page_token_key;
    uint32_t max_page_size;  /* limits.max_page_size: more is clamped */
    uint32_t max_page_bytes; /* limits.max_page_bytes: a page ends earlier, with a token */
    uint32_t max_filter;     /* bytes, limits.max_filter */
    uint32_t max_scans;      /* limits.max_scans: at once, further ones RESOURCE_EXHAUSTED */
    uint64_t max_scan_users; /* limits.max_scan_users: looked at by one call; RESOURCE_EXHAUSTED */
    uint32_t max_fields;     /* limits.max_fields */
};

/* Counts since start, for metrics and tests. */
struct user_lister_stats {
    uint64_t by_index;       /* answered from an index */
    uint64_t by_walk;        /* without a filter */
    uint64_t by_scan;        /* filter over all users */
    uint64_t slices;         /* of scans */
    uint64_t users_examined; /* by filters */
    uint64_t scans_refused;  /* limits.max_scans */
    uint64_t scans_cut;      /* limits.max_scan_users */
    uint64_t scans_running;
};

#define USER_LIST_SLICE_NS 200000 /* the loop is not held up for longer */

/* Returns 0 or -ENOMEM. */
int user_lister_new(struct reactor *reactor, struct user_store *store, struct random_source *random,
                    const struct user_lister_options *options, struct user_lister **ret_lister);

/* No call may be under way. NULL is fine. */
void user_lister_free(struct user_lister *lister);

/* The handler of ListUsers; `context` is the struct user_lister. */
void user_lister_handle(void *context, struct grpc_call *call, struct bytes message);

const struct user_lister_stats *user_lister_stats(const struct user_lister *lister);

#endif
