/*
 * A file read line by line, never waiting: somebody has a connection to serve meanwhile.
 *
 * Owns:    the descriptor, the buffer, which is wiped when it goes: lines may hold passwords.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_LINES_H
#define TOOLS_USERCTL_LINES_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USERCTL_LINE_SIZE_MAX (256 * 1024)

#define USERCTL_LINES_E_END      1 /* no line is left */
#define USERCTL_LINES_E_WAIT     2 /* no line is there yet */
#define USERCTL_LINES_E_TOO_LONG 3 /* the line is over USERCTL_LINE_SIZE_MAX and left out */

/* userctl_lines_open() makes one. */
struct userctl_lines {
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
int userctl_lines_open(const char *path, struct userctl_lines *ret_lines);
void userctl_lines_close(struct userctl_lines *lines);

/* The next line without its end, borrowed until the next call. Returns 0, USERCTL_LINES_E_*, or
 * negative errno. */
int userctl_lines_next(struct userctl_lines *lines, struct bytes *ret_line);

#endif
