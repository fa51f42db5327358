#include "service/metrics_writer.h"

#include "core/buf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * The two formats differ in little: OpenMetrics names a counter's family without _total, knows
 * infos and units, wants a point in the bounds of buckets, and a last line. Numbers are the same in
 * both.
 */

#define NUMBER_SIZE_MAX 24 /* of any uint64_t with a point in it */
#define LINE_EXTRA      96 /* what a line has beside names, labels and help */

/* ---- pieces ---- */

static char *put(char *at, const void *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

static char *put_text(char *at, const char *text)
{
    return put(at, text, strlen(text));
}

static char *put_number(char *at, uint64_t value)
{
    char digits[NUMBER_SIZE_MAX];
    char *start = digits + sizeof(digits);

    do {
        *--start = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return put(at, start, (size_t)(digits + sizeof(digits) - start));
}

static uint64_t power_of_ten(unsigned digits)
{
    uint64_t power = 1;

    while (digits-- > 0) {
        power *= 10;
    }
    return power;
}

static char *put_decimal(char *at, uint64_t value, unsigned digits)
{
    uint64_t rest = value;

    if (digits > 0) {
        const uint64_t power = power_of_ten(digits);

        value = rest / power;
        rest %= power;
    }
    at = put_number(at, value);
    if (digits == 0 || rest == 0) {
        return at;
    }
    *at++ = '.';
    while (rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    for (unsigned i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + rest % 10);
        rest /= 10;
    }
    return at + digits;
}

/* A bound of a bucket, 1, 2 or 5 times a power of ten, as Go writes a float, which is what readers
 * compare series by: "1e-05", "0.0001", "20", and in OpenMetrics "20.0". */
static char *put_bound(char *at, uint64_t bound, unsigned digits, bool open_metrics)
{
    unsigned behind = digits; /* places behind the point */

    if (bound >= power_of_ten(digits)) {
        at = put_number(at, bound / power_of_ten(digits));
        return open_metrics ? put(at, ".0", 2) : at;
    }
    for (; bound >= 10; bound /= 10) {
        behind--;
    }
    if (behind > 4) {
        *at++ = (char)('0' + bound);
        at = put(at, "e-0", 3);
        *at++ = (char)('0' + behind);
    } else {
        at = put(at, "0.000", behind + 1);
        *at++ = (char)('0' + bound);
    }
    return at;
}

/* Room for a line with so many bytes of names and labels; NULL when there is none. */
static char *reserve(struct metrics_writer *writer, size_t size)
{
    char *room = NULL;

    if (writer->error == 0) {
        room = (char *)buf_reserve(writer->out, size + LINE_EXTRA);
        writer->error = room == NULL ? -ENOMEM : 0;
    }
    return room;
}

static void commit(struct metrics_writer *writer, const char *start, const char *end)
{
    buf_commit(writer->out, (size_t)(end - start));
}

/* ---- families ---- */

static const char *suffix_of(enum metrics_type type)
{
    switch (type) {
    case METRICS_COUNTER:
        return "_total";
    case METRICS_INFO:
        return "_info";
    case METRICS_GAUGE:
    case METRICS_HISTOGRAM:
        break;
    }
    return "";
}

static const char *type_name(const struct metrics_writer *writer)
{
    switch (writer->type) {
    case METRICS_COUNTER:
        return "counter";
    case METRICS_HISTOGRAM:
        return "histogram";
    case METRICS_INFO:
        return writer->open_metrics ? "info" : "gauge";
    case METRICS_GAUGE:
        break;
    }
    return "gauge";
}

/* "# HELP name text\n" and the like. */
static void write_comment(struct metrics_writer *writer, const char *word, const char *text)
{
    const char *suffix = writer->open_metrics ? "" : suffix_of(writer->type);
    char *start = reserve(writer, writer->name_size + strlen(text));
    char *at = start;

    if (start == NULL) {
        return;
    }
    at = put_text(at, word);
    at = put(at, writer->name, writer->name_size);
    at = put_text(at, suffix);
    *at++ = ' ';
    at = put_text(at, text);
    *at++ = '\n';
    commit(writer, start, at);
}

void metrics_family(struct metrics_writer *writer, enum metrics_type type, const char *name,
                    const char *unit, const char *help)
{
    writer->name = name;
    writer->name_size = strlen(name);
    writer->type = type;
    write_comment(writer, "# HELP ", help);
    write_comment(writer, "# TYPE ", type_name(writer));
    if (writer->open_metrics && unit != NULL) {
        assert(writer->name_size > strlen(unit) &&
               strcmp(name + writer->name_size - strlen(unit), unit) == 0);
        write_comment(writer, "# UNIT ", unit);
    }
}

/* ---- samples ---- */

/* One line; `more` follows the labels. */
static void write_sample(struct metrics_writer *writer, const char *suffix, struct bytes labels,
                         const char *more, uint64_t value, unsigned digits)
{
    char *start = reserve(writer, writer->name_size + labels.size + strlen(more));
    char *at = start;

    if (start == NULL) {
        return;
    }
    at = put(at, writer->name, writer->name_size);
    at = put_text(at, suffix);
    if (labels.size > 0) {
        *at++ = '{';
        at = put(at, labels.data, labels.size);
        at = put_text(at, more);
        *at++ = '}';
    }
    *at++ = ' ';
    at = put_decimal(at, value, digits);
    *at++ = '\n';
    commit(writer, start, at);
}

void metrics_sample(struct metrics_writer *writer, struct bytes labels, uint64_t value)
{
    write_sample(writer, suffix_of(writer->type), labels, "", value, 0);
}

void metrics_sample_more(struct metrics_writer *writer, struct bytes labels, const char *more,
                         uint64_t value)
{
    write_sample(writer, suffix_of(writer->type), labels, more, value, 0);
}

void metrics_decimal(struct metrics_writer *writer, struct bytes labels, uint64_t value,
                     unsigned digits)
{
    write_sample(writer, suffix_of(writer->type), labels, "", value, digits);
}

void metrics_labeled(struct metrics_writer *writer, const char *label, const char *label_value,
                     uint64_t value)
{
    char *start = reserve(writer, writer->name_size + strlen(label) + strlen(label_value));
    char *at = start;

    if (start == NULL) {
        return;
    }
    at = put(at, writer->name, writer->name_size);
    at = put_text(at, suffix_of(writer->type));
    *at++ = '{';
    at = put_text(at, label);
    at = put(at, "=\"", 2);
    at = put_text(at, label_value);
    at = put(at, "\"} ", 3);
    at = put_number(at, value);
    *at++ = '\n';
    commit(writer, start, at);
}

/* `bound` NULL = the bucket of all. */
static void write_bucket(struct metrics_writer *writer, struct bytes labels, const uint64_t *bound,
                         unsigned digits, uint64_t count)
{
    char *start = reserve(writer, writer->name_size + labels.size);
    char *at = start;

    if (start == NULL) {
        return;
    }
    at = put(at, writer->name, writer->name_size);
    at = put(at, "_bucket{", 8);
    if (labels.size > 0) {
        at = put(at, labels.data, labels.size);
        *at++ = ',';
    }
    at = put(at, "le=\"", 4);
    at = bound != NULL ? put_bound(at, *bound, digits, writer->open_metrics) : put(at, "+Inf", 4);
    at = put(at, "\"} ", 3);
    at = put_number(at, count);
    *at++ = '\n';
    commit(writer, start, at);
}

void metrics_histogram(struct metrics_writer *writer, struct bytes labels,
                       const struct histogram *histogram, const struct metrics_scale *scale)
{
    uint64_t count = 0;
    unsigned place = 0;

    for (unsigned i = 0; i < scale->count; i++) {
        while (histogram_bounds[place] <= scale->bounds[i]) {
            count += histogram->counts[place++];
        }
        write_bucket(writer, labels, &scale->bounds[i], scale->digits, count);
    }
    while (place <= HISTOGRAM_BOUNDS) {
        count += histogram->counts[place++];
    }
    write_bucket(writer, labels, NULL, 0, count);
    write_sample(writer, "_sum", labels, "", histogram->sum, scale->digits);
    write_sample(writer, "_count", labels, "", count, 0);
}

void metrics_counter(struct metrics_writer *writer, const char *name, const char *unit,
                     const char *help, uint64_t value)
{
    metrics_family(writer, METRICS_COUNTER, name, unit, help);
    metrics_sample(writer, METRICS_NO_LABELS, value);
}

void metrics_gauge(struct metrics_writer *writer, const char *name, const char *unit,
                   const char *help, uint64_t value)
{
    metrics_family(writer, METRICS_GAUGE, name, unit, help);
    metrics_sample(writer, METRICS_NO_LABELS, value);
}

/* ---- the whole ---- */

void metrics_writer_begin(struct metrics_writer *writer, bool open_metrics, size_t size,
                          struct buf *out)
{
    *writer = (struct metrics_writer){.out = out, .open_metrics = open_metrics};
    (void)reserve(writer, size);
}

int metrics_writer_end(struct metrics_writer *writer)
{
    if (writer->open_metrics && writer->error == 0) {
        writer->error = buf_append(writer->out, "# EOF\n", 6);
    }
    return writer->error;
}

/* ---- labels ---- */

/* Appends what fits. Returns whether all of it did. */
static bool add(char *text, size_t room, const char *piece)
{
    size_t size = strlen(text);

    if (strlen(piece) >= room - size) {
        return false;
    }
    memcpy(text + size, piece, strlen(piece) + 1);
    return true;
}

static const char *escaped(const char plain[2])
{
    switch (plain[0]) {
    case '\n':
        return "\\n";
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    default:
        return plain;
    }
}

void metrics_add_label(char *text, size_t room, const char *name, const char *value)
{
    size_t size_before = strlen(text);
    bool fits = (size_before == 0 || add(text, room, ",")) && add(text, room, name) &&
                add(text, room, "=\"");

    for (; fits && *value != '\0'; value++) {
        fits = add(text, room, escaped((char[2]){*value, '\0'}));
    }
    if (!fits || !add(text, room, "\"")) {
        text[size_before] = '\0';
    }
}
