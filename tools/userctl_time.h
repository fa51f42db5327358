/*
 * Times as texts: those that JSON has for google.protobuf.Timestamp and Duration, and those of
 * options. Pure.
 *
 * Owns, borrows: nothing.
 * Thread:  any.
 */
#ifndef TOOLS_USERCTL_TIME_H
#define TOOLS_USERCTL_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define USERCTL_STAMP_SIZE 48

/* As in both messages. */
struct userctl_stamp {
    int64_t seconds;
    int32_t nanos;
};

/* "2026-01-31T12:34:56.789Z", and with an offset such as +01:00. False when it is none, or not of
 * the years 1 to 9999. */
bool userctl_timestamp_parse(const char *text, struct userctl_stamp *ret_stamp);
/* "3.5s", "-0.000000001s": at most 10,000 years. */
bool userctl_duration_parse(const char *text, struct userctl_stamp *ret_stamp);

/* "500ms", "5s", "1m", "2h", "1d": a positive whole number and a unit, as options have it. */
bool userctl_span_parse(const char *text, uint64_t *ret_ns);

/* `out` takes USERCTL_STAMP_SIZE bytes. False when no text stands for it. */
bool userctl_timestamp_format(struct userctl_stamp stamp, char *out);
bool userctl_duration_format(struct userctl_stamp stamp, char *out);

#endif
