/*
 * What a load has seen: phases of one name, in them methods, in them statuses and latencies; and
 * all of it as one JSON object.
 *
 * Owns:    the counts of every phase.
 * Thread:  one.
 */
#ifndef USERBENCH_STATS_H
#define USERBENCH_STATS_H

#include "userbench_histogram.h"
#include "userbench_requests.h"

#include <stdbool.h>
#include <stdint.h>

#define USERBENCH_PHASES_MAX 16  /* names */
#define USERBENCH_BLOCKS_MAX 256 /* phases of one name */
#define USERBENCH_PHASE_NAME 32  /* with the NUL */
#define USERBENCH_STATUSES   17  /* of gRPC */

struct userbench_method_stats {
    uint64_t statuses[USERBENCH_STATUSES];
    uint64_t count;    /* calls, or items of a stream */
    uint64_t messages; /* received */
    struct userbench_histogram ok;
    struct userbench_histogram failed;
    uint64_t max_ns[USERBENCH_BLOCKS_MAX]; /* of the OK ones */
};

struct userbench_phase {
    char name[USERBENCH_PHASE_NAME];
    unsigned block_count;
    uint64_t began_ns;  /* the present block; 0 = none is */
    uint64_t lasted_ns; /* the blocks before */
    uint64_t calls;     /* ended while it was the present one, of all methods */
    uint64_t excluded; /* calls that a pause of our own made late: nothing is said of their times */
    struct userbench_method_stats *methods[USERBENCH_METHOD_COUNT]; /* NULL = none ended */
};

struct userbench_stats {
    struct userbench_phase phases[USERBENCH_PHASES_MAX];
    unsigned phase_count;
    struct userbench_phase *phase; /* NULL = not counted */
};

/* What is told beside the phases. */
struct userbench_totals {
    double seconds;
    double offered_per_s; /* 0 = as fast as answers came */
    double client_cpu_s;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t sends;
    uint64_t receives;
    uint64_t skipped;    /* calls that were due and not made, warm-up included */
    uint64_t unfinished; /* calls that had no answer when the run was given up */
};

/* Ends the present phase and begins this one; too many end the program. */
void userbench_stats_begin(struct userbench_stats *stats, const char *name, uint64_t now_ns);

/* Ends the present phase: it lasts no longer, but latencies are still counted in it. */
void userbench_stats_stop(struct userbench_stats *stats, uint64_t now_ns);

struct userbench_outcome {
    enum userbench_method method;
    int status;
    unsigned messages;
    uint64_t ns;
    bool is_excluded;
};

void userbench_stats_count(struct userbench_stats *stats, const struct userbench_outcome *outcome);

void userbench_stats_print(const struct userbench_stats *stats,
                           const struct userbench_totals *totals);

void userbench_stats_deinit(struct userbench_stats *stats);

#endif
