/*
 * A file read line by line, never waiting unless it is asked to: somebody may have a connection to
 * serve meanwhile.
 *
 * Owns:    the descriptor, the buffer, which is wiped when it goes: lines may hold passwords.
 * Thread:  one.
 */
#ifndef TOOLS_COMMON_LINES_H
#define TOOLS_COMMON_LINES_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMON_LINE_SIZE_MAX (256 * 1024)

#define COMMON_LINES_E_END      1 /* no line is left */
#define COMMON_LINES_E_WAIT     2 /* no line is there yet */
#define COMMON_LINES_E_TOO_LONG 3 /* the line is over COMMON_LINE_SIZE_MAX and left out */

/* common_lines_open() makes one. */
struct common_lines {
    uint64_t number; /* of the last line, from 1 */
    uint64_t taken;  /* bytes of all lines so far */
    uint64_t size;   /* of the file; 0 = unknown */
    /* The rest is its own. */
    int fd;
    char *data;
    size_t start;
    size_t end;
    bool is_over;     /* the file has ended */
    bool is_skipping; /* within a line that is too long */
};

/* `path` "-" is standard input. Returns 0 or negative errno. */
int common_lines_open(const char *path, struct common_lines *ret_lines);
void common_lines_close(struct common_lines *lines);

/* The next line without its end, borrowed until the next call. Returns 0, COMMON_LINES_E_*, or
 * negative errno. */
int common_lines_next(struct common_lines *lines, struct bytes *ret_line);

/* Waits until more is there, or a signal came. */
void common_lines_wait(const struct common_lines *lines);

/* Blanks alone: such a line is left out. */
bool common_lines_is_blank(struct bytes line);

#endif
