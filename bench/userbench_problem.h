/*
 * The end of a measurement that cannot be made.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef USERBENCH_PROBLEM_H
#define USERBENCH_PROBLEM_H

/* Says why on the standard error and ends the program with 1. */
_Noreturn void userbench_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
