#include "client/backoff.h"

#define PERCENT 100

const struct backoff_options backoff_defaults = {
    .initial_ns = 1000000000ULL,
    .max_ns = 120 * 1000000000ULL,
    .factor_percent = 160,
    .jitter_percent = 20,
};

/* In this order, so that nothing overflows. */
static uint64_t percent_of(uint64_t value, unsigned percent)
{
    uint64_t parts = value / PERCENT;

    if (percent != 0 && parts > UINT64_MAX / 2 / percent) {
        return UINT64_MAX / 2;
    }
    return parts * percent + value % PERCENT * percent / PERCENT;
}

uint64_t backoff_next(struct backoff *backoff, const struct backoff_options *options,
                      uint64_t random)
{
    uint64_t wait_ns = backoff->next_ns == 0 ? options->initial_ns : backoff->next_ns;
    uint64_t span_ns;

    if (wait_ns > options->max_ns) {
        wait_ns = options->max_ns;
    }
    backoff->next_ns = percent_of(wait_ns, options->factor_percent);
    span_ns = percent_of(wait_ns, options->jitter_percent);
    if (span_ns > wait_ns) {
        span_ns = wait_ns;
    }
    return wait_ns - span_ns + random % (2 * span_ns + 1);
}

void backoff_reset(struct backoff *backoff)
{
    backoff->next_ns = 0;
}
