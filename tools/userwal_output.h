/*
 * What userwal prints: JSON lines, texts that cannot drive a terminal, warnings, progress.
 *
 * Owns, borrows: nothing.
 * Thread:  one.
 */
#ifndef TOOLS_USERWAL_OUTPUT_H
#define TOOLS_USERWAL_OUTPUT_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define USERWAL_EXIT_USAGE         64
#define USERWAL_EXIT_DAMAGED       65
#define USERWAL_EXIT_SOFTWARE      70 /* no memory, and the like */
#define USERWAL_EXIT_IO            74
#define USERWAL_EXIT_IN_USE        75
#define USERWAL_EXIT_CONFIGURATION 78  /* io_uring is forbidden here */
#define USERWAL_EXIT_NO_READER     141 /* as of a program that SIGPIPE ended */

/* Says why on stderr, as "userwal: ...". Returns `exit_code`. */
int userwal_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what failed and why; the exit code for that errno. `error` is negative. */
int userwal_fail_errno(int error, const char *what);

/* A warning or remark on stderr. */
void userwal_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Control bytes are shown as \xNN. */
void userwal_print_text(FILE *out, struct bytes text);

#define USERWAL_TIME_SIZE 32

/* "2026-01-31T12:34:56.789Z" of nanoseconds since 1970; "" for 0. */
const char *userwal_time(uint64_t realtime_ns, char out[USERWAL_TIME_SIZE]);

/* One JSON value in the making, on one line. A `name` of NULL is for the members of lists. */
struct userwal_json {
    FILE *out;
    bool needs_comma;
};

void userwal_json_open(struct userwal_json *json, const char *name);      /* { */
void userwal_json_close(struct userwal_json *json);                       /* } */
void userwal_json_open_list(struct userwal_json *json, const char *name); /* [ */
void userwal_json_close_list(struct userwal_json *json);                  /* ] */
void userwal_json_end_line(struct userwal_json *json);
void userwal_json_text(struct userwal_json *json, const char *name, struct bytes text);
void userwal_json_words(struct userwal_json *json, const char *name, const char *words);
void userwal_json_number(struct userwal_json *json, const char *name, uint64_t number);
/* In quotes, as protobuf has 64-bit numbers. */
void userwal_json_int64(struct userwal_json *json, const char *name, int64_t number);
void userwal_json_bool(struct userwal_json *json, const char *name, bool value);
void userwal_json_null(struct userwal_json *json, const char *name);

/* Draws "<what> 12 345 (67 %)" on a terminal, if it is time to; cheap to repeat. `total` 0 =
 * unknown. */
void userwal_progress(const char *what, uint64_t done, uint64_t total);
void userwal_progress_clear(void);

/* Writes out what waits. Returns 0, USERWAL_EXIT_IO after it has said why, or
 * USERWAL_EXIT_NO_READER. */
int userwal_output_finish(void);

#endif
