#include "core/log.h"

#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * A line is put together in a fixed buffer and leaves with one write, so that lines of several
 * writers never mix. The last bytes of the buffer are kept free for what closes a line: a value
 * that is too long is cut between two escapes, and the line stays well-formed.
 */

#define LINE_SIZE_MAX       4096
#define LINE_TAIL           16 /* closing quote, brace, newline */
#define LINES_PER_S_DEFAULT 1000

_Static_assert(LINE_SIZE_MAX <= PIPE_BUF, "a line must go into a pipe whole");

/* Of the lines of a second so many are kept for warnings and errors. */
#define URGENT_PART 8

struct line {
    char text[LINE_SIZE_MAX];
    size_t size;
    bool is_json;
};

static size_t line_room(const struct line *line)
{
    size_t used = line->size + LINE_TAIL;

    return used < LINE_SIZE_MAX ? LINE_SIZE_MAX - used : 0;
}

/* False when it does not fit whole; then nothing was added. */
static bool line_put(struct line *line, const char *bytes, size_t size)
{
    if (size > line_room(line)) {
        return false;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
    return true;
}

static bool line_put_text(struct line *line, const char *text)
{
    return line_put(line, text, strlen(text));
}

/* For what closes a line: this goes into the room that was kept. */
static void line_put_tail(struct line *line, char byte)
{
    assert(line->size < LINE_SIZE_MAX);
    line->text[line->size++] = byte;
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* The length of the UTF-8 sequence at `text` (NUL-terminated), or 0 when there is none: not
 * overlong, no surrogates, not beyond U+10FFFF (RFC 3629, section 4). */
static size_t utf8_sequence(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    unsigned char second = (unsigned char)text[1];

    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4 || !is_continuation(text[1])) {
        return 0;
    }
    if (first < 0xe0) {
        return 2;
    }
    if (!is_continuation(text[2]) || (first == 0xe0 && second < 0xa0) ||
        (first == 0xed && second > 0x9f)) {
        return 0;
    }
    if (first < 0xf0) {
        return 3;
    }
    if (!is_continuation(text[3]) || (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f)) {
        return 0;
    }
    return 4;
}

/* One unit of a quoted value; returns how many bytes of `text` it stands for, 0 = no room. */
static size_t line_put_unit(struct line *line, const char *text)
{
    unsigned char byte = (unsigned char)text[0];
    char escape[8];
    size_t taken = 1;

    if (byte == '"' || byte == '\\') {
        escape[0] = '\\';
        escape[1] = (char)byte;
        escape[2] = '\0';
    } else if (byte >= 0x20 && byte < 0x7f) {
        escape[0] = (char)byte;
        escape[1] = '\0';
    } else if (!line->is_json) {
        (void)snprintf(escape, sizeof(escape), "\\x%02x", byte);
    } else if (byte < 0x80) {
        (void)snprintf(escape, sizeof(escape), "\\u%04x", byte);
    } else {
        taken = utf8_sequence(text);
        if (taken > 0) {
            return line_put(line, text, taken) ? taken : 0;
        }
        (void)snprintf(escape, sizeof(escape), "\\ufffd");
        taken = 1;
    }
    return line_put_text(line, escape) ? taken : 0;
}

/* Anything that a reader could take for the end of the value, or that is no plain character. */
static bool needs_quotes(const char *text)
{
    if (text[0] == '\0') {
        return true;
    }
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '\\' || *text == '=') {
            return true;
        }
    }
    return false;
}

static void line_put_value(struct line *line, const char *text)
{
    size_t taken = 1;

    if (!line->is_json && !needs_quotes(text) && line_put_text(line, text)) {
        return;
    }
    line_put_tail(line, '"');
    for (; *text != '\0' && taken > 0; text += taken) {
        taken = line_put_unit(line, text);
    }
    line_put_tail(line, '"');
}

static void line_put_field(struct line *line, const struct log_field *field)
{
    char number[24] = "";
    size_t size_min = strlen(field->key) + sizeof(number) + LINE_TAIL;

    if (size_min > line_room(line)) {
        return;
    }
    (void)line_put_text(line, line->is_json ? ",\"" : " ");
    (void)line_put_text(line, field->key);
    (void)line_put_text(line, line->is_json ? "\":" : "=");
    if (field->is_number) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)field->number);
        (void)line_put_text(line, number);
    } else {
        line_put_value(line, field->text != NULL ? field->text : "");
    }
}

static const char *level_text(enum log_level level)
{
    switch (level) {
    case LEVEL_DEBUG:
        return "debug";
    case LEVEL_INFO:
        return "info";
    case LEVEL_WARN:
        return "warn";
    case LEVEL_ERROR:
        return "error";
    }
    return "unknown";
}

static void line_begin(struct line *line, const struct log *log, uint64_t now_ns,
                       enum log_level level, const char *event)
{
    time_t seconds = (time_t)(now_ns / CLOCK_NS_PER_S);
    unsigned millis = (unsigned)(now_ns % CLOCK_NS_PER_S / CLOCK_NS_PER_MS);
    struct tm utc = {0};
    char head[160];

    line->size = 0;
    line->is_json = log->format == LINE_FORMAT_JSON;
    (void)gmtime_r(&seconds, &utc);
    (void)snprintf(head, sizeof(head),
                   line->is_json ? "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03uZ\","
                                   "\"level\":\"%s\",\"event\":\"%.64s\""
                                 : "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s %.64s",
                   utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                   utc.tm_sec, millis, level_text(level), event);
    (void)line_put_text(line, head);
}

/* Whether a line can be written without waiting: behind a pipe may be a reader that has stopped,
 * and the loop must not stop with it. What is no longer than PIPE_BUF then goes whole or not at
 * all. */
static bool takes_line(int fd)
{
    struct pollfd target = {.fd = fd, .events = POLLOUT};

    return poll(&target, 1, 0) != 0; /* an error is none of waiting */
}

static void line_send(struct line *line, int fd)
{
    ssize_t written;

    if (line->is_json) {
        line_put_tail(line, '}');
    }
    line_put_tail(line, '\n');
    do {
        written = write(fd, line->text, line->size);
    } while (written < 0 && errno == EINTR);
    /* Other failures have nowhere to be told. */
}

/* A new second: says how many lines were dropped before it. `line` is only room. */
static void begin_second(struct log *log, uint64_t now_ns, struct line *line)
{
    struct log_field count = FIELD_NUMBER("count", log->dropped);

    log->window_start_s = now_ns / CLOCK_NS_PER_S;
    log->window_lines = 0;
    if (log->dropped > 0 && takes_line(log->fd)) {
        log->dropped = 0;
        line_begin(line, log, now_ns, LEVEL_WARN, "log_lines_dropped");
        line_put_field(line, &count);
        line_send(line, log->fd);
    }
}

/* True when a line may be written; else it is counted. `line` is only room. */
static bool log_admit(struct log *log, uint64_t now_ns, enum log_level level, struct line *line)
{
    const uint32_t urgent = level >= LEVEL_WARN ? 0 : log->lines_per_s_max / URGENT_PART;

    if (now_ns / CLOCK_NS_PER_S != log->window_start_s) {
        begin_second(log, now_ns, line);
    }
    if ((log->lines_per_s_max != 0 && log->window_lines >= log->lines_per_s_max - urgent) ||
        !takes_line(log->fd)) {
        log->dropped++;
        log->dropped_total++;
        return false;
    }
    log->window_lines++;
    return true;
}

void log_init(struct log *log, struct clock_source *clock)
{
    *log = (struct log){
        .clock = clock,
        .level = LEVEL_INFO,
        .format = LINE_FORMAT_TEXT,
        .fd = STDERR_FILENO,
        .lines_per_s_max = LINES_PER_S_DEFAULT,
    };
}

void log_write(struct log *log, enum log_level level, const char *event,
               const struct log_field *fields, unsigned field_count)
{
    struct line line;
    uint64_t now_ns;
    unsigned i;

    if (log == NULL || level < log->level) {
        return;
    }
    now_ns = clock_realtime_ns(log->clock);
    if (!log_admit(log, now_ns, level, &line)) {
        return;
    }
    line_begin(&line, log, now_ns, level, event);
    for (i = 0; i < field_count; i++) {
        line_put_field(&line, &fields[i]);
    }
    line_send(&line, log->fd);
}
