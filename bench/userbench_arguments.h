/*
 * Options of a command line: names with a text, a number or nothing behind them.
 *
 * Owns:    nothing.
 * Borrows: the texts of the command line.
 * Thread:  one at a time.
 */
#ifndef USERBENCH_ARGUMENTS_H
#define USERBENCH_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

/* One of `text`, `number` and `flag` is set. */
struct userbench_argument {
    const char *name;
    const char **text;
    unsigned *number;
    bool *flag;
};

/* Sets what the arguments name; a bad one ends the program. */
void userbench_arguments_read(const struct userbench_argument *rows, size_t row_count, int argc,
                              char **argv);

#endif
