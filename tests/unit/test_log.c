#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"

#include <jansson.h>

#include <fcntl.h>
#include <unistd.h>

/* 2026-11-22T10:00:00.123Z */
#define NOW_NS 1795341600123000000ULL

struct fixed_clock {
    struct clock_source source;
    uint64_t now_ns;
};

static uint64_t fixed_now(struct clock_source *source)
{
    return ((struct fixed_clock *)source)->now_ns;
}

static struct fixed_clock fixed = {{fixed_now, fixed_now}, NOW_NS};
static struct log log_;
static int pipe_[2];
static char text[65536];

/* A log into a pipe whose reading never blocks. */
static void setup(void)
{
    fixed.now_ns = NOW_NS;
    log_init(&log_, &fixed.source);
    ck_assert_int_eq(pipe2(pipe_, O_NONBLOCK), 0);
    log_.fd = pipe_[1];
}

/* What was written since the last call. */
static const char *written(void)
{
    ssize_t size = read(pipe_[0], text, sizeof(text) - 1);

    text[size > 0 ? size : 0] = '\0';
    return text;
}

/* A line is time, level, event and fields, in that order. */
START_TEST(log_writes_text)
{
    setup();
    log_event(&log_, LEVEL_INFO, "listening", FIELD_TEXT("address", "127.0.0.1"),
              FIELD_NUMBER("port", 50051), FIELD_NUMBER("low", INT64_MIN));
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z info listening address=127.0.0.1 "
                                "port=50051 low=-9223372036854775808\n");
    log_write(&log_, LEVEL_ERROR, "bare", NULL, 0);
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z error bare\n");
}

END_TEST

/* A value cannot end its line, its quotes, or look like another field. */
START_TEST(log_quotes_what_could_mislead)
{
    setup();
    log_event(&log_, LEVEL_WARN, "e", FIELD_TEXT("a", "two words"), FIELD_TEXT("b", ""),
              FIELD_TEXT("c", "q\"b\\"), FIELD_TEXT("d", "x\ny\x1b\x7f\xc3\xa4"),
              FIELD_TEXT("e", NULL), FIELD_TEXT("f", "k=v"));
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z warn e a=\"two words\" b=\"\" "
                                "c=\"q\\\"b\\\\\" d=\"x\\x0ay\\x1b\\x7f\\xc3\\xa4\" e=\"\" "
                                "f=\"k=v\"\n");
}

END_TEST

/* A JSON line is an object; UTF-8 passes, what is none becomes U+FFFD, controls are escaped. */
START_TEST(log_writes_json)
{
    json_t *line;

    setup();
    log_.format = LINE_FORMAT_JSON;
    log_event(&log_, LEVEL_DEBUG, "hidden", FIELD_NUMBER("n", 1));
    ck_assert_str_eq(written(), "");
    log_event(&log_, LEVEL_INFO, "listening",
              FIELD_TEXT("a", "x\"\\\n\x01 \xc3\xa4 \xff \xed\xa0\x80"), FIELD_NUMBER("port", -7));
    line = json_loads(written(), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_eq(json_string_value(json_object_get(line, "time")), "2026-11-22T10:00:00.123Z");
    ck_assert_str_eq(json_string_value(json_object_get(line, "level")), "info");
    ck_assert_str_eq(json_string_value(json_object_get(line, "event")), "listening");
    ck_assert_str_eq(json_string_value(json_object_get(line, "a")),
                     "x\"\\\n\x01 \xc3\xa4 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    ck_assert_int_eq(json_integer_value(json_object_get(line, "port")), -7);
    json_decref(line);
}

END_TEST

/* However long the values, a line has at most 4 KiB and is well-formed. */
START_TEST(log_cuts_long_lines)
{
    static const char bytes[] = {'a', '"', '\n', '\x80'};
    static char value[10000];
    json_t *line;

    setup();
    log_.format = LINE_FORMAT_JSON;
    for (size_t size = 3900; size < sizeof(value); size += size < 4200 ? 1 : 1000) {
        memset(value, bytes[size % sizeof(bytes)], size);
        value[size] = '\0';
        log_.window_lines = 0;
        log_event(&log_, LEVEL_INFO, "long", FIELD_TEXT("value", value), FIELD_TEXT("more", value),
                  FIELD_NUMBER("n", 1));
        ck_assert_uint_le(strlen(written()), 4096);
        line = json_loads(text, 0, NULL);
        ck_assert_ptr_nonnull(line);
        json_decref(line);
    }
}

END_TEST

/* Beyond the cap lines are dropped; the next second begins with how many. */
START_TEST(log_caps_lines_per_second)
{
    setup();
    log_.lines_per_s_max = 2;
    for (int i = 0; i < 5; i++) {
        log_event(&log_, LEVEL_INFO, "e", FIELD_NUMBER("i", i));
    }
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z info e i=0\n"
                                "2026-11-22T10:00:00.123Z info e i=1\n");
    fixed.now_ns += CLOCK_NS_PER_S;
    log_event(&log_, LEVEL_INFO, "next", FIELD_NUMBER("i", 9));
    ck_assert_str_eq(written(), "2026-11-22T10:00:01.123Z warn log_lines_dropped count=3\n"
                                "2026-11-22T10:00:01.123Z info next i=9\n");
}

END_TEST

/* A flood of lines that only inform leaves room for a warning. */
START_TEST(log_keeps_room_for_warnings)
{
    setup();
    log_.lines_per_s_max = 16;
    for (int i = 0; i < 100; i++) {
        log_event(&log_, LEVEL_INFO, "flood", FIELD_NUMBER("i", i));
    }
    (void)written();
    log_write(&log_, LEVEL_WARN, "first", NULL, 0);
    log_write(&log_, LEVEL_ERROR, "second", NULL, 0);
    log_write(&log_, LEVEL_WARN, "third", NULL, 0);
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z warn first\n"
                                "2026-11-22T10:00:00.123Z error second\n");
    ck_assert_uint_eq(log_.dropped_total, 100 - 14 + 1);
}

END_TEST

/* Whoever reads the log and stops costs lines, and holds nothing up; the lines are whole. */
START_TEST(log_never_waits_for_its_reader)
{
    unsigned lines = 0;

    setup();
    ck_assert_int_eq(fcntl(pipe_[1], F_SETFL, 0), 0); /* a write that must wait, waits */
    log_.lines_per_s_max = 0;
    for (int i = 0; i < 5000; i++) {
        log_event(&log_, LEVEL_INFO, "e", FIELD_TEXT("text", "a line that is not very short"));
    }
    ck_assert_uint_gt(log_.dropped, 0);
    for (const char *line = written(); *line != '\0'; line = strchr(line, '\n') + 1) {
        ck_assert_ptr_nonnull(strchr(line, '\n'));
        lines++;
    }
    ck_assert_uint_eq(lines + log_.dropped, 5000);
    fixed.now_ns += CLOCK_NS_PER_S;
    log_write(&log_, LEVEL_INFO, "next", NULL, 0);
    ck_assert_ptr_nonnull(strstr(written(), "log_lines_dropped count="));
}

END_TEST

/* Lines below the level cost nothing of the cap, and no log at all is silence. */
START_TEST(log_drops_lower_levels)
{
    setup();
    log_.lines_per_s_max = 1;
    log_event(&log_, LEVEL_DEBUG, "e", FIELD_NUMBER("i", 1));
    log_event(NULL, LEVEL_ERROR, "e", FIELD_NUMBER("i", 1));
    ck_assert_str_eq(written(), "");
    log_.level = LEVEL_DEBUG;
    log_event(&log_, LEVEL_DEBUG, "e", FIELD_NUMBER("i", 1));
    ck_assert_str_eq(written(), "2026-11-22T10:00:00.123Z debug e i=1\n");
}

END_TEST

UNIT_MAIN("log", log_writes_text, log_quotes_what_could_mislead, log_writes_json,
          log_cuts_long_lines, log_caps_lines_per_second, log_keeps_room_for_warnings,
          log_never_waits_for_its_reader, log_drops_lower_levels)
