#include "userwal_output.h"

#include "core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DRAW_EVERY_NS (100 * CLOCK_NS_PER_MS)

/* Of the line on the terminal. */
static uint64_t drawn_ns;
static bool is_drawn;

int userwal_fail(int exit_code, const char *format, ...)
{
    va_list values;

    userwal_progress_clear();
    va_start(values, format);
    (void)fputs("userwal: ", stderr);
    (void)vfprintf(stderr, format, values);
    (void)fputc('\n', stderr);
    va_end(values);
    return exit_code;
}

int userwal_fail_errno(int error, const char *what)
{
    return userwal_fail(error == -ENOMEM ? USERWAL_EXIT_SOFTWARE : USERWAL_EXIT_IO, "%s: %s", what,
                        strerror(-error));
}

void userwal_say(const char *format, ...)
{
    va_list values;

    userwal_progress_clear();
    va_start(values, format);
    (void)fputs("userwal: ", stderr);
    (void)vfprintf(stderr, format, values);
    (void)fputc('\n', stderr);
    va_end(values);
}

/* Bytes of the character that begins here; 0 when it is not UTF-8. */
static size_t character_size(const uint8_t *text, size_t left)
{
    uint8_t least = text[0] == 0xe0 ? 0xa0 : text[0] == 0xf0 ? 0x90 : 0x80; /* second byte */
    uint8_t most = text[0] == 0xed ? 0x9f : text[0] == 0xf4 ? 0x8f : 0xbf;
    size_t size = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < 0x80) {
        return 1;
    }
    if (text[0] < 0xc2 || text[0] > 0xf4 || size > left || text[1] < least || text[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* C0, DEL, or C1, which a terminal may obey. */
static bool is_control(const uint8_t *text, size_t size)
{
    return (size == 1 && (text[0] < ' ' || text[0] == 0x7f)) ||
           (size == 2 && text[0] == 0xc2 && text[1] <= 0x9f);
}

void userwal_print_text(FILE *out, struct bytes text)
{
    while (text.size > 0) {
        size_t size = character_size(text.data, text.size);

        if (size == 0 || is_control(text.data, size)) {
            size = size == 0 ? 1 : size;
            (void)fprintf(out, "\\x%02x", text.data[size - 1]);
        } else {
            (void)fwrite(text.data, 1, size, out);
        }
        text = (struct bytes){text.data + size, text.size - size};
    }
}

const char *userwal_time(uint64_t realtime_ns, char out[USERWAL_TIME_SIZE])
{
    time_t seconds = (time_t)(realtime_ns / CLOCK_NS_PER_S);
    struct tm parts;
    char text[24];

    out[0] = '\0';
    if (realtime_ns != 0 && gmtime_r(&seconds, &parts) != NULL && parts.tm_year < 8000 &&
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts) != 0) {
        (void)snprintf(out, USERWAL_TIME_SIZE, "%s.%03uZ", text,
                       (unsigned)(realtime_ns / CLOCK_NS_PER_MS % 1000));
    }
    return out;
}

static void put_quoted(FILE *out, struct bytes text)
{
    (void)fputc('"', out);
    while (text.size > 0) {
        size_t size = character_size(text.data, text.size);

        if (size == 0) {
            (void)fputs("\\ufffd", out);
            size = 1;
        } else if (text.data[0] == '"' || text.data[0] == '\\') {
            (void)fprintf(out, "\\%c", text.data[0]);
        } else if (is_control(text.data, size)) {
            (void)fprintf(out, "\\u%04x", text.data[size - 1]);
        } else {
            (void)fwrite(text.data, 1, size, out);
        }
        text = (struct bytes){text.data + size, text.size - size};
    }
    (void)fputc('"', out);
}

static void put_name(struct userwal_json *json, const char *name)
{
    if (json->needs_comma) {
        (void)fputc(',', json->out);
    }
    if (name != NULL) {
        (void)fprintf(json->out, "\"%s\":", name);
    }
    json->needs_comma = true;
}

static void put_opening(struct userwal_json *json, const char *name, char opening)
{
    put_name(json, name);
    (void)fputc(opening, json->out);
    json->needs_comma = false;
}

static void put_closing(struct userwal_json *json, char closing)
{
    (void)fputc(closing, json->out);
    json->needs_comma = true;
}

void userwal_json_open(struct userwal_json *json, const char *name)
{
    put_opening(json, name, '{');
}

void userwal_json_close(struct userwal_json *json)
{
    put_closing(json, '}');
}

void userwal_json_open_list(struct userwal_json *json, const char *name)
{
    put_opening(json, name, '[');
}

void userwal_json_close_list(struct userwal_json *json)
{
    put_closing(json, ']');
}

void userwal_json_end_line(struct userwal_json *json)
{
    (void)fputc('\n', json->out);
    json->needs_comma = false;
}

void userwal_json_text(struct userwal_json *json, const char *name, struct bytes text)
{
    put_name(json, name);
    put_quoted(json->out, text);
}

void userwal_json_words(struct userwal_json *json, const char *name, const char *words)
{
    userwal_json_text(json, name, bytes_from_text(words));
}

void userwal_json_number(struct userwal_json *json, const char *name, uint64_t number)
{
    put_name(json, name);
    (void)fprintf(json->out, "%" PRIu64, number);
}

void userwal_json_int64(struct userwal_json *json, const char *name, int64_t number)
{
    put_name(json, name);
    (void)fprintf(json->out, "\"%" PRId64 "\"", number);
}

void userwal_json_bool(struct userwal_json *json, const char *name, bool value)
{
    put_name(json, name);
    (void)fputs(value ? "true" : "false", json->out);
}

void userwal_json_null(struct userwal_json *json, const char *name)
{
    put_name(json, name);
    (void)fputs("null", json->out);
}

void userwal_progress(const char *what, uint64_t done, uint64_t total)
{
    uint64_t now_ns = clock_monotonic_ns(clock_system());

    if (now_ns - drawn_ns < DRAW_EVERY_NS || isatty(STDERR_FILENO) != 1) {
        return;
    }
    drawn_ns = now_ns;
    is_drawn = true;
    (void)fprintf(stderr, "\r\033[K%s %" PRIu64, what, done);
    if (total > 0) {
        (void)fprintf(stderr, " of %" PRIu64 " (%.0f %%)", total,
                      100.0 * (double)done / (double)total);
    }
    (void)fflush(stderr);
}

void userwal_progress_clear(void)
{
    if (is_drawn) {
        is_drawn = false;
        (void)fputs("\r\033[K", stderr);
    }
}

/* Whoever read our output has enough of it, as `head` has. */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int userwal_output_finish(void)
{
    userwal_progress_clear();
    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return 0;
    }
    if (errno == EPIPE || reader_is_gone()) {
        return USERWAL_EXIT_NO_READER;
    }
    return userwal_fail(USERWAL_EXIT_IO, "cannot write the result: %s",
                        errno == 0 ? "unknown why" : strerror(errno));
}
