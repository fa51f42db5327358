#include "lib/unit.h"

#include "service/user_filter_internal.h"

static const struct {
    const char *text;
    int64_t ms;
    bool beyond;
} times[] = {
    {"1970-01-01T00:00:00Z", 0, false},
    {"1970-01-01t00:00:00z", 0, false},
    {"1969-12-31T23:59:59.999Z", -1, false},
    {"1996-12-19T16:39:57.25-08:00", 851042397250, false},
    {"2000-02-29T12:00:00Z", 951825600000, false},
    {"2024-02-29T23:59:60Z", 1709251200000, false},
    {"2024-03-01T00:00:00-00:00", 1709251200000, false},
    {"2024-03-01T23:59:00+23:59", 1709251200000, false},
    {"0000-01-01T00:00:00Z", -62167219200000, false},
    {"0000-03-01T00:00:00Z", -62162035200000, false},
    {"9999-12-31T23:59:59.999Z", 253402300799999, false},
    {"1970-01-01T00:00:00.1Z", 100, false},
    {"1970-01-01T00:00:00.12Z", 120, false},
    {"1970-01-01T00:00:00.1230000Z", 123, false},
    {"1970-01-01T00:00:00.1230001Z", 123, true},
    {"1970-01-01T00:00:00.00000000000000000000000000001Z", 0, true},
};

static const char *const no_times[] = {
    "",
    "1970",
    "1970-01-01",
    "1970-01-01T00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01 00:00:00Z",
    "1970-01-01T00:00:00.Z",
    "1970-01-01T00:00:00,5Z",
    "1970-01-01T00:00:00ZZ",
    "1970-01-01T00:00:00+1",
    "1970-01-01T00:00:00+01",
    "1970-01-01T00:00:00+0100",
    "1970-01-01T00:00:00+01:000",
    "1970-01-01T00:00:00+24:00",
    "1970-01-01T00:00:00+00:60",
    "1970-01-01T24:00:00Z",
    "1970-01-01T00:60:00Z",
    "1970-01-01T00:00:61Z",
    "1970-00-01T00:00:00Z",
    "1970-13-01T00:00:00Z",
    "1970-01-00T00:00:00Z",
    "1970-01-32T00:00:00Z",
    "1970-04-31T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "+970-01-01T00:00:00Z",
    "1970-1-01T00:00:00Z0",
    "1970:01-01T00:00:00Z",
    "1970-01-01T00-00:00Z",
};

/* RFC 3339, with everything it allows and nothing more. */
START_TEST(user_filter_reads_times)
{

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        int64_t ms;
        bool beyond;

        ck_assert_int_eq(user_filter_parse_time(bytes_from_text(times[i].text), &ms, &beyond), 0);
        ck_assert_msg(ms == times[i].ms && beyond == times[i].beyond, "%s: %lld", times[i].text,
                      (long long)ms);
    }
    for (size_t i = 0; i < sizeof(no_times) / sizeof(no_times[0]); i++) {
        int64_t ms;
        bool beyond;

        ck_assert_msg(user_filter_parse_time(bytes_from_text(no_times[i]), &ms, &beyond) ==
                          USER_FILTER_E_INVALID,
                      "%s passes", no_times[i]);
    }
}

END_TEST

UNIT_MAIN("user_filter_time", user_filter_reads_times)
