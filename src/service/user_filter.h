/*
 * The filter of ListUsers: AIP-160, parsed once, evaluated on packed users. Pure.
 *
 * Owns:    nothing; a filter lies in the arena it was parsed into.
 * Borrows: the text, until the parsing returns.
 * Thread:  any.
 */
#ifndef SERVICE_USER_FILTER_H
#define SERVICE_USER_FILTER_H

#include "core/arena.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>

struct user_filter;

#define USER_FILTER_TERMS_MAX 64 /* restrictions in one filter */
#define USER_FILTER_DEPTH_MAX 16 /* parentheses and NOTs inside each other */

#define USER_FILTER_E_INVALID 1

/* What is wrong, for people. */
struct user_filter_problem {
    size_t position; /* bytes from the start of the text */
    char text[160];  /* "unknown field `foo`: use id, username, ..." */
};

/* What a filter looks at. */
struct user_filter_subject {
    struct bytes message;  /* a users.v1.User that user_record_read_user() accepts */
    struct bytes username; /* folded */
    struct bytes email;    /* folded */
};

/* Parses a text that is not blank alone and not too long (the caller has looked). Returns 0,
 * USER_FILTER_E_INVALID with the problem filled in, or -ENOMEM. */
int user_filter_parse(struct bytes text, struct arena *arena, const struct user_filter **ret_filter,
                      struct user_filter_problem *ret_problem);

bool user_filter_matches(const struct user_filter *filter,
                         const struct user_filter_subject *subject);

/* What it may cost to ask about one user, whoever that is: at least 1, the cost of a comparison. */
unsigned user_filter_cost(const struct user_filter *filter);

enum user_filter_key {
    USER_FILTER_KEY_NONE,
    USER_FILTER_KEY_ID,
    USER_FILTER_KEY_USERNAME, /* folded */
    USER_FILTER_KEY_EMAIL,    /* folded */
};

/* The unique field that every match must have a certain value in, so that the index answers and no
 * scan is needed: an equality without wildcard that is ANDed to all the rest. `*ret_value` is
 * borrowed from the filter. */
enum user_filter_key user_filter_unique_key(const struct user_filter *filter,
                                            struct bytes *ret_value);

#endif
