#include "client/breaker.h"

#include <string.h>

#define NS_PER_S 1000000000ULL

const struct breaker_options breaker_defaults = {
    .enabled = true,
    .window_ns = 10 * NS_PER_S,
    .min_calls = 20,
    .failure_percent = 50,
    .cooldown_ns = 5 * NS_PER_S,
    .probe_count = 3,
};

/* ------------------------------------------------------------------------------------ the window
 */

/* The slice that a moment falls into. The window is this one, begun, and those before it. */
static uint64_t slice_number(const struct breaker_options *options, uint64_t now_ns)
{
    uint64_t slice_ns = options->window_ns / BREAKER_SLICES;

    return now_ns / (slice_ns == 0 ? 1 : slice_ns);
}

static void count_outcome(struct breaker *breaker, uint64_t number, bool failed)
{
    struct breaker_slice *slice = &breaker->slices[number % BREAKER_SLICES];

    if (slice->number != number) {
        *slice = (struct breaker_slice){.number = number};
    }
    slice->calls++;
    slice->failures += failed ? 1 : 0;
}

static bool window_is_bad(const struct breaker *breaker, const struct breaker_options *options,
                          uint64_t number)
{
    uint64_t calls = 0;
    uint64_t failures = 0;

    for (unsigned i = 0; i < BREAKER_SLICES; i++) {
        const struct breaker_slice *slice = &breaker->slices[i];

        if (number - slice->number < BREAKER_SLICES) {
            calls += slice->calls;
            failures += slice->failures;
        }
    }
    return failures > 0 && calls >= options->min_calls &&
           failures * 100 >= calls * options->failure_percent;
}

/* ------------------------------------------------------------------------------------ the states
 */

static void enter(struct breaker *breaker, enum breaker_state state)
{
    breaker->state = state;
    breaker->generation++;
    breaker->probes = 0;
    breaker->successes = 0;
}

static void open_up(struct breaker *breaker, uint64_t now_ns)
{
    enter(breaker, BREAKER_OPEN);
    breaker->opened_ns = now_ns;
    breaker->times_opened++;
}

static void close_again(struct breaker *breaker)
{
    enter(breaker, BREAKER_CLOSED);
    memset(breaker->slices, 0, sizeof(breaker->slices));
}

/* None would leave it half-open for ever. */
static uint32_t probe_count(const struct breaker_options *options)
{
    return options->probe_count == 0 ? 1 : options->probe_count;
}

static bool has_free_probe(const struct breaker *breaker, const struct breaker_options *options)
{
    return breaker->state == BREAKER_HALF_OPEN && breaker->probes < probe_count(options);
}

void breaker_init(struct breaker *breaker)
{
    *breaker = (struct breaker){.state = BREAKER_CLOSED};
}

bool breaker_would_admit(const struct breaker *breaker, const struct breaker_options *options,
                         uint64_t now_ns)
{
    if (!options->enabled || breaker->state == BREAKER_CLOSED) {
        return true;
    }
    return has_free_probe(breaker, options) || now_ns >= breaker_probe_at_ns(breaker, options);
}

bool breaker_admit(struct breaker *breaker, const struct breaker_options *options, uint64_t now_ns,
                   uint32_t *ret_ticket)
{
    if (!breaker_would_admit(breaker, options, now_ns)) {
        return false;
    }
    if (options->enabled && breaker->state == BREAKER_OPEN) {
        enter(breaker, BREAKER_HALF_OPEN);
    }
    if (breaker->state == BREAKER_HALF_OPEN) {
        breaker->probes += has_free_probe(breaker, options) ? 1 : 0; /* else: another's place */
        breaker->probed_ns = now_ns;
    }
    *ret_ticket = breaker->generation;
    return true;
}

static void report_probe(struct breaker *breaker, const struct breaker_options *options,
                         uint64_t now_ns, enum breaker_outcome outcome)
{
    breaker->probes -= breaker->probes > 0 ? 1 : 0; /* its place may be another's by now */
    if (outcome == BREAKER_FAILURE) {
        open_up(breaker, now_ns);
    } else if (outcome == BREAKER_SUCCESS) {
        breaker->successes++;
        if (breaker->successes >= probe_count(options)) {
            close_again(breaker);
        }
    }
}

void breaker_report(struct breaker *breaker, const struct breaker_options *options, uint64_t now_ns,
                    uint32_t ticket, enum breaker_outcome outcome)
{
    uint64_t number = slice_number(options, now_ns);

    if (!options->enabled || ticket != breaker->generation) {
        return;
    }
    if (breaker->state == BREAKER_HALF_OPEN) {
        report_probe(breaker, options, now_ns, outcome);
    } else if (breaker->state == BREAKER_CLOSED && outcome != BREAKER_NEITHER) {
        count_outcome(breaker, number, outcome == BREAKER_FAILURE);
        if (window_is_bad(breaker, options, number)) {
            open_up(breaker, now_ns);
        }
    }
}

void breaker_hurry(struct breaker *breaker)
{
    if (breaker->state == BREAKER_OPEN) {
        enter(breaker, BREAKER_HALF_OPEN);
    }
}

uint64_t breaker_probe_at_ns(const struct breaker *breaker, const struct breaker_options *options)
{
    uint64_t since_ns = breaker->state == BREAKER_OPEN ? breaker->opened_ns : breaker->probed_ns;

    if (breaker->state == BREAKER_CLOSED || has_free_probe(breaker, options)) {
        return UINT64_MAX;
    }
    return options->cooldown_ns > UINT64_MAX - since_ns ? UINT64_MAX
                                                        : since_ns + options->cooldown_ns;
}
