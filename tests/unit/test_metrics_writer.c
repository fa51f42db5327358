#include "lib/unit.h"

#include "core/buf.h"
#include "service/metrics_writer.h"

#include <stdio.h>
#include <string.h>

static struct buf out;
static struct metrics_writer writer;

static void begin(bool open_metrics)
{
    buf_clear(&out);
    metrics_writer_begin(&writer, open_metrics, 0, &out);
}

static void check_text(const char *expected)
{
    ck_assert_int_eq(metrics_writer_end(&writer), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    ck_assert_str_eq((const char *)buf_bytes(&out).data, expected);
    buf_deinit(&out);
}

START_TEST(counters_and_gauges)
{
    begin(false);
    metrics_counter(&writer, "a_bytes", "bytes", "What.", 7);
    metrics_gauge(&writer, "b", NULL, "Why.", UINT64_MAX);
    check_text("# HELP a_bytes_total What.\n# TYPE a_bytes_total counter\na_bytes_total 7\n"
               "# HELP b Why.\n# TYPE b gauge\nb 18446744073709551615\n");
}

END_TEST

/* OpenMetrics: the family of a counter has no _total, units are told, and the end is marked. */
START_TEST(counters_and_gauges_of_open_metrics)
{
    begin(true);
    metrics_counter(&writer, "a_bytes", "bytes", "What.", 7);
    metrics_gauge(&writer, "b", NULL, "Why.", 0);
    check_text("# HELP a_bytes What.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n"
               "a_bytes_total 7\n# HELP b Why.\n# TYPE b gauge\nb 0\n# EOF\n");
}

END_TEST

START_TEST(infos)
{
    begin(false);
    metrics_family(&writer, METRICS_INFO, "a", NULL, "What.");
    metrics_labeled(&writer, "b", "c", 1);
    check_text("# HELP a_info What.\n# TYPE a_info gauge\na_info{b=\"c\"} 1\n");
    begin(true);
    metrics_family(&writer, METRICS_INFO, "a", NULL, "What.");
    metrics_labeled(&writer, "b", "c", 1);
    check_text("# HELP a What.\n# TYPE a info\na_info{b=\"c\"} 1\n# EOF\n");
}

END_TEST

START_TEST(labels)
{
    char text[64] = "";

    begin(false);
    writer.name = "a";
    writer.name_size = 1;
    metrics_add_label(text, sizeof(text), "b", "1\"2\\3\n4");
    metrics_add_label(text, sizeof(text), "c", "");
    metrics_sample(&writer, bytes_from_text(text), 5);
    metrics_sample_more(&writer, BYTES_LITERAL("d=\"e\""), ",f=\"g\"", 6);
    check_text("a_total{b=\"1\\\"2\\\\3\\n4\",c=\"\"} 5\na_total{d=\"e\",f=\"g\"} 6\n");
}

END_TEST

/* A label that does not fit is not there; half of one would spoil the whole text. */
START_TEST(labels_that_do_not_fit)
{
    for (size_t room = 1; room < 24; room++) {
        char text[24] = "";

        metrics_add_label(text, room, "a", "b");
        metrics_add_label(text, room, "long", "\n\n\n\n\n");
        ck_assert_msg(strcmp(text, "") == 0 || strcmp(text, "a=\"b\"") == 0 ||
                          strcmp(text, "a=\"b\",long=\"\\n\\n\\n\\n\\n\"") == 0,
                      "%zu: %s", room, text);
        ck_assert_uint_lt(strlen(text), room);
    }
}

END_TEST

START_TEST(decimals)
{
    static const struct {
        uint64_t value;
        unsigned digits;
        const char *text;
    } cases[] = {
        {0, 0, "0"},
        {0, 9, "0"},
        {1, 9, "0.000000001"},
        {1230000000, 9, "1.23"},
        {1000000000, 9, "1"},
        {999999999, 9, "0.999999999"},
        {500, 3, "0.5"},
        {50, 3, "0.05"},
        {UINT64_MAX, 9, "18446744073.709551615"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[80];

        begin(false);
        metrics_family(&writer, METRICS_GAUGE, "a", NULL, "");
        buf_clear(&out);
        metrics_decimal(&writer, METRICS_NO_LABELS, cases[i].value, cases[i].digits);
        (void)snprintf(expected, sizeof(expected), "a %s\n", cases[i].text);
        check_text(expected);
    }
}

END_TEST

/* Buckets hold all up to their bound, the last one everything. */
START_TEST(histograms)
{
    static const uint64_t bounds[] = {10000, 1000000, 20000000000};
    static const struct metrics_scale scale = {bounds, 3, 9};
    struct histogram histogram = {{0}, 0};

    histogram_add(&histogram, 3);
    histogram_add(&histogram, 10000);
    histogram_add(&histogram, 10001);
    histogram_add(&histogram, 19000000000);
    histogram_add(&histogram, 20000000001);
    begin(false);
    metrics_family(&writer, METRICS_HISTOGRAM, "a_seconds", "seconds", "What.");
    metrics_histogram(&writer, BYTES_LITERAL("b=\"c\""), &histogram, &scale);
    check_text("# HELP a_seconds What.\n# TYPE a_seconds histogram\n"
               "a_seconds_bucket{b=\"c\",le=\"1e-05\"} 2\n"
               "a_seconds_bucket{b=\"c\",le=\"0.001\"} 3\n"
               "a_seconds_bucket{b=\"c\",le=\"20\"} 4\n"
               "a_seconds_bucket{b=\"c\",le=\"+Inf\"} 5\n"
               "a_seconds_sum{b=\"c\"} 39.000020005\n"
               "a_seconds_count{b=\"c\"} 5\n");
}

END_TEST

/* Every bound, in nanoseconds shown as seconds, as Python's and Go's shortest form has it. */
START_TEST(bounds_are_canonical)
{
    static const char *const expected[HISTOGRAM_BOUNDS] = {
        "1e-09", "2e-09", "5e-09", "1e-08", "2e-08", "5e-08", "1e-07",  "2e-07",  "5e-07",
        "1e-06", "2e-06", "5e-06", "1e-05", "2e-05", "5e-05", "0.0001", "0.0002", "0.0005",
        "0.001", "0.002", "0.005", "0.01",  "0.02",  "0.05",  "0.1",    "0.2",    "0.5",
        "1.0",   "2.0",   "5.0",   "10.0",  "20.0",  "50.0",  "100.0",
    };
    static const struct metrics_scale scale = {histogram_bounds, HISTOGRAM_BOUNDS, 9};
    const struct histogram histogram = {{0}, 0};
    const char *rest;

    begin(true);
    metrics_family(&writer, METRICS_HISTOGRAM, "a", NULL, "");
    metrics_histogram(&writer, METRICS_NO_LABELS, &histogram, &scale);
    ck_assert_int_eq(metrics_writer_end(&writer), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    rest = (const char *)buf_bytes(&out).data;
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        char line[64];

        (void)snprintf(line, sizeof(line), "\na_bucket{le=\"%s\"} 0\n", expected[i]);
        ck_assert_msg(strstr(rest, line) != NULL, "no %s", line);
        rest = strstr(rest, line) + 1; /* in this order */
    }
    buf_deinit(&out);
}

END_TEST

UNIT_MAIN("metrics_writer", counters_and_gauges, counters_and_gauges_of_open_metrics, infos, labels,
          labels_that_do_not_fit, decimals, histograms, bounds_are_canonical)
