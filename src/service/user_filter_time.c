#include "service/user_filter_internal.h"

/*
 * Times as RFC 3339 (section 5.6) writes them: 1996-12-19T16:39:57.25-08:00. T and Z may be small.
 * The 60th second of a minute is the first of the next, which is where clocks of milliseconds since
 * 1970 have it.
 */

#define MS_PER_SECOND 1000
#define DATE_TIME     19 /* bytes up to the seconds */
#define ZONE          6  /* bytes of +hh:mm */

/* Reads `count` digits at a place and checks that the number is in a range. */
static bool read_digits(struct bytes text, size_t at, size_t count, const int64_t range[2],
                        int64_t *ret_number)
{
    int64_t number = 0;

    for (size_t i = at; i < at + count; i++) {
        if (i >= text.size || text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        number = number * 10 + (text.data[i] - '0');
    }
    *ret_number = number;
    return number >= range[0] && number <= range[1];
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01. Years begin in March here, so that the leap day is their last; each era of
 * 400 years has the same number of days. */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = year - (month <= 2) + 400; /* year 0 may begin in the era before */
    int64_t era = shifted / 400;
    int64_t year_of_era = shifted % 400;
    int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return (era - 1) * 146097 + day_of_era - 719468;
}

/* Reads the fraction of a second at a place, if there is one, and returns where it ends; 0 when it
 * has no digit. */
static size_t read_fraction(struct bytes text, size_t at, int64_t *ret_ms, bool *ret_beyond)
{
    int64_t weight = MS_PER_SECOND / 10;
    int64_t ms = 0;
    bool beyond = false;
    size_t end = at;

    if (at < text.size && text.data[at] == '.') {
        for (end = at + 1; end < text.size && text.data[end] >= '0' && text.data[end] <= '9';
             end++) {
            ms += weight * (text.data[end] - '0');
            beyond = beyond || (weight == 0 && text.data[end] != '0');
            weight /= 10;
        }
        end = end == at + 1 ? 0 : end;
    }
    *ret_ms = ms;
    *ret_beyond = beyond;
    return end;
}

/* Reads the zone, which the text ends with, as minutes east of Greenwich. */
static bool read_zone(struct bytes text, size_t at, int64_t *ret_minutes)
{
    int64_t hours;
    int64_t minutes;

    if (at + 1 == text.size && (text.data[at] | 0x20) == 'z') {
        *ret_minutes = 0;
        return true;
    }
    if (at + ZONE != text.size || (text.data[at] != '+' && text.data[at] != '-') ||
        !read_digits(text, at + 1, 2, (int64_t[]){0, 23}, &hours) || text.data[at + 3] != ':' ||
        !read_digits(text, at + 4, 2, (int64_t[]){0, 59}, &minutes)) {
        return false;
    }
    *ret_minutes = (text.data[at] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

static bool has_separators(struct bytes text)
{
    return text.size > DATE_TIME && text.data[4] == '-' && text.data[7] == '-' &&
           (text.data[10] | 0x20) == 't' && text.data[13] == ':' && text.data[16] == ':';
}

int user_filter_parse_time(struct bytes text, int64_t *ret_ms, bool *ret_beyond)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t ms;
    int64_t east;
    bool beyond;
    size_t zone;

    if (!has_separators(text) || !read_digits(text, 0, 4, (int64_t[]){0, 9999}, &year) ||
        !read_digits(text, 5, 2, (int64_t[]){1, 12}, &month) ||
        !read_digits(text, 8, 2, (int64_t[]){1, days_in_month(year, month)}, &day) ||
        !read_digits(text, 11, 2, (int64_t[]){0, 23}, &hour) ||
        !read_digits(text, 14, 2, (int64_t[]){0, 59}, &minute) ||
        !read_digits(text, 17, 2, (int64_t[]){0, 60}, &second)) {
        return USER_FILTER_E_INVALID;
    }
    zone = read_fraction(text, DATE_TIME, &ms, &beyond);
    if (zone == 0 || !read_zone(text, zone, &east)) {
        return USER_FILTER_E_INVALID;
    }
    minute += (days_of_date(year, month, day) * 24 + hour) * 60 - east;
    *ret_ms = (minute * 60 + second) * MS_PER_SECOND + ms;
    *ret_beyond = beyond;
    return 0;
}
