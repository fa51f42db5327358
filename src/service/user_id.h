/*
 * Ids of users: UUID version 7 (RFC 9562), in the order of their making within one source.
 *
 * Owns:    nothing.
 * Borrows: the random source.
 * Thread:  one at a time.
 */
#ifndef SERVICE_USER_ID_H
#define SERVICE_USER_ID_H

#include <stdint.h>

struct random_source;

#define USER_ID_SIZE 37 /* 36 characters and the NUL */

/* Set `random`, leave the rest zero. */
struct user_id_source {
    struct random_source *random;
    uint64_t last_ms;
    uint64_t high; /* the 12 random bits after the time */
    uint64_t low;  /* the 62 random bits at the end */
};

/* Writes the next id: greater, as text, than all before it, also when the clock stood still or went
 * back. */
void user_id_next(struct user_id_source *source, uint64_t now_ms, char out[USER_ID_SIZE]);

#endif
