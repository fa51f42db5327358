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
#include "http2/grpc_error.h"

#include <stdbool.h>
#include <stdint.h>

struct user_filter_problem;

struct user_list_request {
    int32_t page_size;
    struct bytes page_token;
    struct bytes filter;
};

/* All that is wrong with one request; in the reason, what was added first. Do not copy it: it
 * points into itself. Begin with zeros. */
struct user_list_faults {
    struct grpc_error error; /* refuses the request, when it has a field */
    char filter_text[208];
    char position[24];
};

/* Returns 0, -EBADMSG or USER_REQUEST_E_TOO_MANY (user_request.h). */
int user_list_request_read(struct bytes message, uint32_t max_fields,
                           struct user_list_request *ret_request);

/* False for a filter of blanks alone, which has no NUL. */
bool user_list_request_has_filter(const struct user_list_request *request);

/* Adds a negative page_size, and a filter that has a NUL or more than `filter_max` bytes. Returns
 * true when the filter may be parsed. */
bool user_list_request_judge(const struct user_list_request *request, uint32_t filter_max,
                             struct user_list_faults *faults);

/* False for a text that page_token_seal() never writes, whatever the filter. */
bool user_list_request_has_token_form(struct bytes token);

/* Adds a page_token that is none, or of another filter. */
void user_list_faults_add_token(struct user_list_faults *faults);

/* Adds what the parser said of the filter. */
void user_list_faults_add_filter(struct user_list_faults *faults,
                                 const struct user_filter_problem *problem);

#endif
