#include "userwal_output.h"

#include "core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
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
    return userwal_fail(error == -ENOMEM ? COMMON_EXIT_SOFTWARE : COMMON_EXIT_IO, "%s: %s", what,
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

int userwal_output_finish(void)
{
    userwal_progress_clear();
    return common_output_finish("userwal");
}
