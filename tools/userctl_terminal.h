/*
 * What the terminal is like: whether colours go to it, and how wide it is.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_TERMINAL_H
#define TOOLS_USERCTL_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

enum userctl_style {
    USERCTL_STYLE_NONE,
    USERCTL_STYLE_TITLE,
    USERCTL_STYLE_GOOD,
    USERCTL_STYLE_WARNING,
    USERCTL_STYLE_BAD,
    USERCTL_STYLE_HINT,
    USERCTL_STYLE_FAINT,
};

/* Decides by --color ("auto", "always", "never") what the functions below do; before it nothing is
 * coloured. */
void userctl_terminal_begin(const char *color);

/* "auto": a terminal that is not dumb, and nobody has set NO_COLOR. */
bool userctl_terminal_wants_color(const char *color, bool is_terminal, const char *no_color,
                                  const char *term);

/* Begins and ends a style on standard output or standard error; "" without colours. */
const char *userctl_style(FILE *out, enum userctl_style style);
const char *userctl_style_end(FILE *out);

/* Columns of standard output; 0 = nobody knows, or it is no terminal. */
int userctl_terminal_width(void);

/* Makes columns narrower until all of them fit into `width` (0 = all do), the widest first, none
 * below its least. */
void userctl_terminal_fit(int *columns, const int *least, int count, int width);

#endif
