/*
 * The types of google.protobuf.Any that were met and that no file describes: what an Any holds is
 * what its own file does not import. Encoding and decoding note the last one; whoever can ask for
 * it does, and tries again. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_WANTED_H
#define TOOLS_USERCTL_WANTED_H

#include <stdbool.h>

#define USERCTL_WANTED_SIZE 256 /* of a name, with its NUL; a longer one is not asked for */
#define USERCTL_WANTED_MAX  64  /* names are asked for */

struct userctl_wanted {
    char name[USERCTL_WANTED_SIZE]; /* "" = none */
    char asked[USERCTL_WANTED_MAX][USERCTL_WANTED_SIZE];
    unsigned asked_count;
};

/* Notes a name, unless it was asked for before or too many were. NULL is fine: nobody can ask. */
void userctl_wanted_note(struct userctl_wanted *wanted, const char *name);

/* Takes the name that was noted, which counts as asked for from now on; NULL = none was. Borrowed
 * for the life of `wanted`. */
const char *userctl_wanted_take(struct userctl_wanted *wanted);

#endif
