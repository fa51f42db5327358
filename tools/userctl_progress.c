#include "userctl_progress.h"

#include "core/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DRAW_EVERY_NS (100 * CLOCK_NS_PER_MS)
#define BAR_WIDTH     24

struct userctl_progress userctl_progress_begin(uint64_t size)
{
    return (struct userctl_progress){
        .size = size,
        .started_ns = clock_monotonic_ns(clock_system()),
        .is_terminal = isatty(STDERR_FILENO) == 1,
    };
}

double userctl_progress_seconds(const struct userctl_progress *progress)
{
    uint64_t passed_ns = clock_monotonic_ns(clock_system()) - progress->started_ns;

    return (double)passed_ns / (double)CLOCK_NS_PER_S;
}

static void draw_bar(double share)
{
    char bar[BAR_WIDTH + 1];
    int full = (int)(share * BAR_WIDTH);

    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    bar[BAR_WIDTH] = '\0';
    (void)fprintf(stderr, "[%s] %3d%%  ", bar, (int)(share * 100));
}

/* The rest takes as long as what is behind us, by its share. */
static void draw_rest(double share, double seconds)
{
    uint64_t rest = share > 0 ? (uint64_t)(seconds * (1 - share) / share + 0.5) : 0;

    if (share > 0) {
        (void)fprintf(stderr, "  ETA %" PRIu64 ":%02" PRIu64, rest / 60, rest % 60);
    }
}

void userctl_progress_draw(struct userctl_progress *progress)
{
    uint64_t now_ns = clock_monotonic_ns(clock_system());
    uint64_t count = progress->done + progress->failed;
    double seconds = userctl_progress_seconds(progress);
    double share = 0;

    if (!progress->is_terminal || now_ns - progress->drawn_ns < DRAW_EVERY_NS) {
        return;
    }
    progress->drawn_ns = now_ns;
    progress->is_drawn = true;
    (void)fputs("\r\033[K", stderr);
    if (progress->size != 0) {
        share = progress->passed >= progress->size
                    ? 1
                    : (double)progress->passed / (double)progress->size;
        draw_bar(share);
    }
    (void)fprintf(stderr, "%" PRIu64 " users  %.0f/s", progress->done,
                  seconds > 0 ? (double)count / seconds : 0);
    draw_rest(share, seconds);
    (void)fprintf(stderr, "  %" PRIu64 " failed", progress->failed);
    (void)fflush(stderr);
}

void userctl_progress_clear(struct userctl_progress *progress)
{
    if (progress->is_drawn) {
        progress->is_drawn = false;
        (void)fputs("\r\033[K", stderr);
    }
}
