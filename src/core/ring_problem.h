/*
 * Says why io_uring cannot be had on this machine, and what to do about it.
 *
 * Owns, borrows: nothing.
 * Thread:  start-up only; reads /proc.
 */
#ifndef CORE_RING_PROBLEM_H
#define CORE_RING_PROBLEM_H

/* Fills in `problem` (RING_PROBLEM_SIZE bytes) for a setup that failed with `error`, a negative
 * errno, and returns `error`. */
int ring_problem_explain(int error, char *problem);

#endif
