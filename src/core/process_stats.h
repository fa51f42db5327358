/*
 * What the system says of this process: processor time, memory, open files. Read when it is asked
 * for, and quick enough for the loop.
 *
 * Owns:    two descriptors of /proc.
 * Borrows: the reactor.
 * Thread:  loop only.
 */
#ifndef CORE_PROCESS_STATS_H
#define CORE_PROCESS_STATS_H

#include "core/memory.h"
#include "core/reactor.h"

#include <stdbool.h>
#include <stdint.h>

struct process_numbers {
    uint64_t cpu_ns;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t open_files;
    uint64_t max_files;
    uint64_t started_ms; /* since 1970 */
};

struct process_stats {
    struct reactor *reactor;
    struct reactor_task count; /* of open files, where the system does not tell their number */
    uint64_t started_ms;
    uint64_t counted; /* open files, when they were counted last, */
    uint64_t so_far;  /* and in the count that is under way */
    struct memory memory;
    int files_fd; /* of /proc/self/fd */
    bool counts;  /* the system does not tell; for tests, may be set */
};

/* Soon after the start of the process, whose time it takes for that. Returns 0 or negative errno.
 */
int process_stats_open(struct process_stats *stats, struct reactor *reactor);

/* Safe after an open that failed, and to repeat. */
void process_stats_close(struct process_stats *stats);

/* Where the system does not tell the number of open files (before Linux 6.2) it is that of the call
 * before; counting again begins, in slices of later turns. What cannot be read is 0. */
void process_stats_read(struct process_stats *stats, struct process_numbers *ret_numbers);

#endif
