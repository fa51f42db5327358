/*
 * Which of the known names somebody most likely meant: the one that takes the fewest bytes
 * inserted, removed or replaced to make it of what was written (Levenshtein).
 *
 *     nearest_name_begin(&nearest, written, steps_max);
 *     for each known name: nearest_name_offer(&nearest, known);
 *     nearest.name is the nearest one, or has no data when none is near enough
 *
 * Owns:    nothing.
 * Borrows: the names, for as long as the struct is used.
 * Thread:  any, each struct one at a time.
 */
#ifndef CORE_NEAREST_NAME_H
#define CORE_NEAREST_NAME_H

#include "core/bytes.h"

#define NEAREST_NAME_SIZE_MAX 128 /* a longer name is near to none */

struct nearest_name {
    struct bytes wanted;
    struct bytes name;  /* the first of the nearest ones; data NULL = none is near */
    unsigned steps;     /* of `name`: 0 = it is the one that was written */
    unsigned steps_max; /* of what would be nearer still, or near at all */
};

/* A name that takes more than `steps_max` steps is not near. */
void nearest_name_begin(struct nearest_name *nearest, struct bytes wanted, unsigned steps_max);

/* In time about the product of both sizes, and less for what is far off. */
void nearest_name_offer(struct nearest_name *nearest, struct bytes known);

#endif
