/*
 * The request of ListUsers, read in place. Pure.
 *
 * Owns:    nothing.
 * Borrows: the texts point into the message.
 * Thread:  any.
 */
#ifndef SERVICE_USER_LIST_REQUEST_H
#define SERVICE_USER_LIST_REQUEST_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct user_list_request {
    int32_t page_size;
    struct bytes page_token;
    struct bytes filter;
};

/* Returns 0, -EBADMSG, USER_REQUEST_E_TOO_MANY or USER_REQUEST_E_NUL (user_request.h). */
int user_list_request_read(struct bytes message, uint32_t max_fields,
                           struct user_list_request *ret_request);

/* False for a filter of blanks alone. */
bool user_list_request_has_filter(const struct user_list_request *request);

#endif
