/*
 * What userwal prints beside its results: warnings, failures, progress; and times.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERWAL_OUTPUT_H
#define TOOLS_USERWAL_OUTPUT_H

#include "common_output.h"

#include <stdint.h>

/* Says why on stderr, as "userwal: ...". Returns `exit_code`. */
int userwal_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what failed and why; the exit code for that errno. `error` is negative. */
int userwal_fail_errno(int error, const char *what);

/* A warning or remark on stderr. */
void userwal_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define USERWAL_TIME_SIZE 32

/* "2026-01-31T12:34:56.789Z" of nanoseconds since 1970; "" for 0. */
const char *userwal_time(uint64_t realtime_ns, char out[USERWAL_TIME_SIZE]);

/* Draws "<what> 12 345 (67 %)" on a terminal, if it is time to; cheap to repeat. `total` 0 =
 * unknown. */
void userwal_progress(const char *what, uint64_t done, uint64_t total);
void userwal_progress_clear(void);

/* Writes out what waits. Returns 0, COMMON_EXIT_IO after it has said why, or
 * COMMON_EXIT_NO_READER. */
int userwal_output_finish(void);

#endif
