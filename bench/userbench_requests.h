/*
 * The eight methods of users.v1 and their requests, put together by hand.
 *
 * Owns:    its buffers.
 * Thread:  one.
 */
#ifndef USERBENCH_REQUESTS_H
#define USERBENCH_REQUESTS_H

#include "core/buf.h"
#include "core/bytes.h"
#include "userbench_data.h"
#include "userbench_ids.h"

#include <stdbool.h>
#include <stdint.h>

enum userbench_method {
    USERBENCH_GET,
    USERBENCH_CREATE,
    USERBENCH_UPDATE,
    USERBENCH_DELETE,
    USERBENCH_LIST,
    USERBENCH_WATCH, /* ends with its first message */
    USERBENCH_BATCH, /* a stream of items */
    USERBENCH_SYNC,  /* likewise */
    USERBENCH_METHOD_COUNT,
};

const char *userbench_method_name(enum userbench_method method);
const char *userbench_method_path(enum userbench_method method);

/* Its requests are a stream, one answer each. */
bool userbench_method_is_stream(enum userbench_method method);

struct userbench_requests {
    struct userbench_ids ids;
    struct buf message;
    struct buf user;
    struct buf profile;
    uint64_t run;       /* makes the names of this run unlike those of others */
    uint64_t made;      /* users created, or changed */
    uint64_t deletable; /* users at the end of the order that DeleteUser may still take */
    uint64_t users;
    unsigned page_size; /* ListUsers */
    const char *filter; /* ListUsers; NULL = none */
};

/* One request of this method, borrowed until the next one. `id` gets the id it is about, or "" for
 * a user that is made. Ends the program when DeleteUser has nobody left. */
struct bytes userbench_requests_make(struct userbench_requests *requests,
                                     enum userbench_method method, char id[USERBENCH_ID_SIZE]);

void userbench_requests_deinit(struct userbench_requests *requests);

#endif
