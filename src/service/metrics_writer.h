/*
 * Writes metrics as text: for Prometheus (exposition format 0.0.4), or OpenMetrics 1.0.0. Families
 * come one after the other, each with its samples. Quick, since the loop waits meanwhile: texts are
 * copied and numbers are written by hand.
 *
 * Owns:    nothing.
 * Borrows: the buffer, until metrics_writer_end(); texts, for the call, but a family's name until
 *          the next family.
 * Thread:  loop only.
 */
#ifndef SERVICE_METRICS_WRITER_H
#define SERVICE_METRICS_WRITER_H

#include "core/bytes.h"
#include "core/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

enum metrics_type {
    METRICS_COUNTER,
    METRICS_GAUGE,
    METRICS_HISTOGRAM,
    METRICS_INFO, /* always 1, for its labels */
};

struct metrics_writer {
    struct buf *out;
    const char *name; /* of the present family, without _total or _info */
    size_t name_size;
    enum metrics_type type;
    bool open_metrics;
    int error; /* the first one; the rest is not written */
};

/* How a histogram is shown. */
struct metrics_scale {
    const uint64_t *bounds; /* some of histogram_bounds, ascending */
    unsigned count;
    unsigned digits; /* values are shown divided by so many tens */
};

/* The text that will come is about `size` bytes long. */
void metrics_writer_begin(struct metrics_writer *writer, bool open_metrics, size_t size,
                          struct buf *out);

/* Returns 0 or -ENOMEM. */
int metrics_writer_end(struct metrics_writer *writer);

/* Begins a family. `name` is without _total for counters and _info for infos; `unit` is the last
 * part of it, as "seconds", or NULL. */
void metrics_family(struct metrics_writer *writer, enum metrics_type type, const char *name,
                    const char *unit, const char *help);

/* A sample of the family. `labels`: name="value" with commas between, escaped; size 0 = none. */
void metrics_sample(struct metrics_writer *writer, struct bytes labels, uint64_t value);

/* The same with more labels, which begin with the comma. */
void metrics_sample_more(struct metrics_writer *writer, struct bytes labels, const char *more,
                         uint64_t value);

/* The same as metrics_sample() with the value divided by so many tens: 1234 with 3 digits is 1.234.
 */
void metrics_decimal(struct metrics_writer *writer, struct bytes labels, uint64_t value,
                     unsigned digits);

/* A sample with one label, whose value needs no escaping. */
void metrics_labeled(struct metrics_writer *writer, const char *label, const char *label_value,
                     uint64_t value);

/* All samples of a histogram. */
void metrics_histogram(struct metrics_writer *writer, struct bytes labels,
                       const struct histogram *histogram, const struct metrics_scale *scale);

/* A family with one sample without labels. */
void metrics_counter(struct metrics_writer *writer, const char *name, const char *unit,
                     const char *help, uint64_t value);
void metrics_gauge(struct metrics_writer *writer, const char *name, const char *unit,
                   const char *help, uint64_t value);

#define METRICS_NO_LABELS ((struct bytes){NULL, 0})

/* Appends name="value" to labels in `text`, behind a comma if there are some, with what must be
 * escaped escaped. A label that does not fit is left out. */
void metrics_add_label(char *text, size_t room, const char *name, const char *value);

#endif
