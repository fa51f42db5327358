/*
 * A circuit breaker: stops calling a backend whose calls fail, and tries it again with a few.
 *
 *     closed     calls pass; their outcomes are counted over a sliding window
 *     open       no call passes until the cool-down is over
 *     half-open  a few calls pass as probes: so many successes in a row close it, one failure opens
 *                it again
 *
 *     closed    --(min_calls in the window, failure_percent of them failed)--> open
 *     open      --(cooldown_ns is over, at the next breaker_admit())---------> half-open
 *     half-open --(probe_count successes)------------------------------------> closed, counts at 0
 *     half-open --(one failure)----------------------------------------------> open, cool-down anew
 *     open      --(breaker_hurry())------------------------------------------> half-open
 *
 * A probe that says nothing for cooldown_ns gives its place to another: one that hangs, or a stream
 * that lives for hours, must not keep the backend out of use.
 *
 * Pure: the time comes in. Outcomes of calls that were admitted in an earlier state than the present
 * one are ignored (breaker_admit() gives out a ticket).
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CLIENT_BREAKER_H
#define CLIENT_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_SLICES 10 /* of the window: it slides by a tenth of itself */

enum breaker_state {
    BREAKER_CLOSED,
    BREAKER_OPEN,
    BREAKER_HALF_OPEN,
};

enum breaker_outcome {
    BREAKER_SUCCESS, /* the backend works: any answer that is not its own failure */
    BREAKER_FAILURE,
    BREAKER_NEITHER, /* says nothing about the backend: cancelled by the caller ... */
};

struct breaker_options {
    bool enabled;
    uint64_t window_ns;       /* 10 s */
    uint32_t min_calls;       /* in the window before it may open; 20 */
    uint32_t failure_percent; /* 1 to 100; 50 */
    uint64_t cooldown_ns;     /* 5 s */
    uint32_t probe_count;     /* successes that close it, and calls at once while half-open; 3 */
};

struct breaker_slice {
    uint64_t number; /* of the slice since the clock's start */
    uint32_t calls;
    uint32_t failures;
};

struct breaker {
    enum breaker_state state;
    uint32_t generation; /* grows with each change of state */
    uint64_t opened_ns;
    uint64_t probed_ns; /* when the last probe was let through */
    uint32_t probes;    /* under way while half-open */
    uint32_t successes; /* of probes */
    struct breaker_slice slices[BREAKER_SLICES];
    uint64_t times_opened; /* since start, for statistics */
};

extern const struct breaker_options breaker_defaults;

void breaker_init(struct breaker *breaker);

/* May a call pass now? With true it must be reported: `*ret_ticket` goes to breaker_report(). */
bool breaker_admit(struct breaker *breaker, const struct breaker_options *options, uint64_t now_ns,
                   uint32_t *ret_ticket);

/* Would breaker_admit() say yes? Changes nothing. */
bool breaker_would_admit(const struct breaker *breaker, const struct breaker_options *options,
                         uint64_t now_ns);

void breaker_report(struct breaker *breaker, const struct breaker_options *options, uint64_t now_ns,
                    uint32_t ticket, enum breaker_outcome outcome);

/* The backend may be another than the one that failed: an open breaker lets its first probe through
 * without waiting for the cool-down. */
void breaker_hurry(struct breaker *breaker);

/* From when on the time alone makes breaker_admit() say yes: when an open breaker lets its first
 * probe through, or a half-open one another. UINT64_MAX when no time has to pass. */
uint64_t breaker_probe_at_ns(const struct breaker *breaker, const struct breaker_options *options);

#endif
