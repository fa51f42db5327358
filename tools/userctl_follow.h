/*
 * A stream that is begun again when it is lost: how long to wait before, and what is said of it.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_FOLLOW_H
#define TOOLS_USERCTL_FOLLOW_H

#include "userctl_session.h"

/* Zero-initialised before the first stream. */
struct userctl_follow {
    unsigned failures;   /* since a stream gave something last */
    bool was_well;       /* one has */
    bool has_token_file; /* whose token may be a fresh one the next time */
};

/* The stream gave something: it is well. */
void userctl_follow_well(struct userctl_follow *follow);

/* A failure that may go away by itself: the connection, or a server that is about to end. Before
 * anything came none is: a target may be misspelt. */
bool userctl_follow_is_passing(const struct userctl_follow *follow,
                               const struct userd_error *error);

/* After a failure: says what happened and waits, longer each time. True when the stream is to be
 * begun again; false when the failure stays (it has been said), or when somebody has interrupted
 * it. */
bool userctl_follow_again(struct userctl_follow *follow, const struct userctl_session *session,
                          struct userd_client *client, const struct userd_error *error,
                          int *ret_exit_code);

/* The wait before the next stream: doubles with each failure, up to 30 s. `chance` is any number,
 * which spreads it over a fifth to both sides. */
uint64_t userctl_follow_wait_ms(unsigned failures, uint64_t chance);

#endif
