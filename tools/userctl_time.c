#include "userctl_time.h"

#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NANOS_PER_S         1000000000
#define NANO_DIGITS         9
#define TIMESTAMP_LEAST     (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_MOST      253402300799LL   /* 9999-12-31T23:59:59Z */
#define DURATION_MOST       315576000000LL
#define DURATION_DIGITS_MAX 12

/* Exactly so many digits. */
static bool take_digits(const char **text, unsigned count, int64_t *ret_value)
{
    int64_t value = 0;

    for (unsigned i = 0; i < count; i++) {
        char digit = (*text)[i];

        if (digit < '0' || digit > '9') {
            return false;
        }
        value = value * 10 + (digit - '0');
    }
    *text += count;
    *ret_value = value;
    return true;
}

static bool take_mark(const char **text, char mark)
{
    if (**text != mark) {
        return false;
    }
    (*text)++;
    return true;
}

/* ".789": at most nine digits; nothing when there is no dot. */
static bool take_fraction(const char **text, int32_t *ret_nanos)
{
    size_t count;
    int64_t value;

    *ret_nanos = 0;
    if (!take_mark(text, '.')) {
        return true;
    }
    count = strspn(*text, "0123456789");
    if (count == 0 || count > NANO_DIGITS || !take_digits(text, (unsigned)count, &value)) {
        return false;
    }
    for (; count < NANO_DIGITS; count++) {
        value *= 10;
    }
    *ret_nanos = (int32_t)value;
    return true;
}

/* "Z", "+01:00", "-08:30", in seconds. */
static bool take_offset(const char **text, int64_t *ret_seconds)
{
    int64_t sign = **text == '-' ? -1 : 1;
    int64_t hours;
    int64_t minutes;

    *ret_seconds = 0;
    if (take_mark(text, 'Z') || take_mark(text, 'z')) {
        return true;
    }
    if (!take_mark(text, '+') && !take_mark(text, '-')) {
        return false;
    }
    if (!take_digits(text, 2, &hours) || !take_mark(text, ':') || !take_digits(text, 2, &minutes) ||
        hours > 23 || minutes > 59) {
        return false;
    }
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_date(const char **text, struct tm *date)
{
    int64_t year;
    int64_t month;
    int64_t day;

    if (!take_digits(text, 4, &year) || !take_mark(text, '-') || !take_digits(text, 2, &month) ||
        !take_mark(text, '-') || !take_digits(text, 2, &day)) {
        return false;
    }
    date->tm_year = (int)year - 1900;
    date->tm_mon = (int)month - 1;
    date->tm_mday = (int)day;
    return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool take_clock(const char **text, struct tm *date)
{
    int64_t hour;
    int64_t minute;
    int64_t second;

    if (!take_digits(text, 2, &hour) || !take_mark(text, ':') || !take_digits(text, 2, &minute) ||
        !take_mark(text, ':') || !take_digits(text, 2, &second)) {
        return false;
    }
    date->tm_hour = (int)hour;
    date->tm_min = (int)minute;
    date->tm_sec = (int)second;
    return hour <= 23 && minute <= 59 && second <= 59;
}

bool userctl_timestamp_parse(const char *text, struct userctl_stamp *ret_stamp)
{
    struct tm date = {0};
    struct userctl_stamp stamp;
    int64_t offset;
    int month;
    int day;

    if (!take_date(&text, &date) || !(take_mark(&text, 'T') || take_mark(&text, 't')) ||
        !take_clock(&text, &date) || !take_fraction(&text, &stamp.nanos) ||
        !take_offset(&text, &offset) || *text != '\0') {
        return false;
    }
    month = date.tm_mon;
    day = date.tm_mday;
    stamp.seconds = (int64_t)timegm(&date) - offset;
    *ret_stamp = stamp;
    /* A 30th of February has become a day of March. */
    return date.tm_mon == month && date.tm_mday == day && stamp.seconds >= TIMESTAMP_LEAST &&
           stamp.seconds <= TIMESTAMP_MOST;
}

bool userctl_duration_parse(const char *text, struct userctl_stamp *ret_stamp)
{
    bool is_negative = take_mark(&text, '-');
    size_t digits = strspn(text, "0123456789");
    struct userctl_stamp stamp;

    if (digits == 0 || digits > DURATION_DIGITS_MAX ||
        !take_digits(&text, (unsigned)digits, &stamp.seconds) ||
        !take_fraction(&text, &stamp.nanos) || strcmp(text, "s") != 0 ||
        stamp.seconds > DURATION_MOST) {
        return false;
    }
    if (is_negative) {
        stamp = (struct userctl_stamp){-stamp.seconds, -stamp.nanos};
    }
    *ret_stamp = stamp;
    return true;
}

/* ".789", in threes of digits; "" for none. */
static void format_fraction(int32_t nanos, char *out, size_t room)
{
    if (nanos == 0) {
        out[0] = '\0';
    } else if (nanos % 1000000 == 0) {
        (void)snprintf(out, room, ".%03" PRId32, nanos / 1000000);
    } else if (nanos % 1000 == 0) {
        (void)snprintf(out, room, ".%06" PRId32, nanos / 1000);
    } else {
        (void)snprintf(out, room, ".%09" PRId32, nanos);
    }
}

bool userctl_timestamp_format(struct userctl_stamp stamp, char *out)
{
    time_t seconds = (time_t)stamp.seconds;
    char fraction[16];
    struct tm date;

    if (stamp.seconds < TIMESTAMP_LEAST || stamp.seconds > TIMESTAMP_MOST || stamp.nanos < 0 ||
        stamp.nanos >= NANOS_PER_S || gmtime_r(&seconds, &date) == NULL) {
        return false;
    }
    format_fraction(stamp.nanos, fraction, sizeof(fraction));
    (void)snprintf(out, USERCTL_STAMP_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u%sZ",
                   ((unsigned)date.tm_year + 1900) % 10000, ((unsigned)date.tm_mon + 1) % 100,
                   (unsigned)date.tm_mday % 100, (unsigned)date.tm_hour % 100,
                   (unsigned)date.tm_min % 100, (unsigned)date.tm_sec % 100, fraction);
    return true;
}

bool userctl_duration_format(struct userctl_stamp stamp, char *out)
{
    bool is_negative = stamp.seconds < 0 || stamp.nanos < 0;
    char fraction[16];

    if (stamp.seconds < -DURATION_MOST || stamp.seconds > DURATION_MOST ||
        stamp.nanos <= -NANOS_PER_S || stamp.nanos >= NANOS_PER_S ||
        (stamp.seconds < 0 && stamp.nanos > 0) || (stamp.seconds > 0 && stamp.nanos < 0)) {
        return false;
    }
    format_fraction(is_negative ? -stamp.nanos : stamp.nanos, fraction, sizeof(fraction));
    (void)snprintf(out, USERCTL_STAMP_SIZE, "%s%" PRId64 "%ss", is_negative ? "-" : "",
                   is_negative ? -stamp.seconds : stamp.seconds, fraction);
    return true;
}

bool userctl_span_parse(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {
        {"ms", CLOCK_NS_PER_MS},           {"s", CLOCK_NS_PER_S},
        {"m", 60 * CLOCK_NS_PER_S},        {"h", 3600 * CLOCK_NS_PER_S},
        {"d", 24 * 3600 * CLOCK_NS_PER_S},
    };

    size_t digits = strspn(text, "0123456789");
    unsigned long value;

    if (digits == 0 || digits > 6) {
        return false;
    }
    value = strtoul(text, NULL, 10);
    for (size_t i = 0; value != 0 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + digits, units[i].unit) == 0 && value <= UINT64_MAX / units[i].ns) {
            *ret_ns = value * units[i].ns;
            return true;
        }
    }
    return false;
}
