/*
 * How far a long transfer is: a line on the terminal that is drawn again and again, with a bar when
 * the size is known.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_PROGRESS_H
#define TOOLS_USERCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* userctl_progress_begin() makes one; then the counts are kept by whoever has it. */
struct userctl_progress {
    uint64_t done;   /* items that went in */
    uint64_t failed; /* items that did not */
    uint64_t passed; /* bytes of the items that are done or failed */
    uint64_t size;   /* bytes in all; 0 = unknown */
    /* The rest is its own. */
    uint64_t started_ns;
    uint64_t drawn_ns;
    bool is_terminal; /* standard error is one */
    bool is_drawn;
};

struct userctl_progress userctl_progress_begin(uint64_t size);

/* Draws, if it is time to; cheap to repeat. */
void userctl_progress_draw(struct userctl_progress *progress);

/* Takes the line away, for other output. */
void userctl_progress_clear(struct userctl_progress *progress);

double userctl_progress_seconds(const struct userctl_progress *progress);

#endif
