#include "core/reactor.h"
#include "service/access.h"
#include "service/auth.h"
#include "service/metrics_internal.h"
#include "service/overload.h"

#include <ctype.h>

#define NAME_SIZE 64

static void write_faults(struct metrics_writer *writer, const struct auth *auth)
{
    metrics_family(writer, METRICS_COUNTER, "userd_auth_refused", NULL,
                   "Calls without a good token, by what was wrong with it.");
    metrics_labeled(writer, "reason", "missing", auth->missing);
    metrics_labeled(writer, "reason", "malformed", auth->malformed);
    for (unsigned i = TOKEN_OK + 1; i < TOKEN_FAULT_COUNT; i++) {
        const char *name = token_fault_name((enum token_fault)i);
        char lower[NAME_SIZE];
        size_t size = 0;

        for (; size < sizeof(lower) - 1 && name[size] != '\0'; size++) {
            lower[size] = (char)tolower((unsigned char)name[size]);
        }
        lower[size] = '\0';
        metrics_labeled(writer, "reason", lower, auth->refused[i]);
    }
}

static void write_auth(struct metrics_writer *writer, const struct auth *auth)
{
    metrics_family(writer, METRICS_COUNTER, "userd_auth_passed", NULL,
                   "Calls that were let pass, by what.");
    metrics_labeled(writer, "by", "token", auth->passed);
    metrics_labeled(writer, "by", "anonymous", auth->anonymous);
    write_faults(writer, auth);
    metrics_counter(writer, "userd_auth_connections_ended", NULL,
                    "Connections with too many refused tokens.", auth->connections_ended);
    metrics_gauge(writer, "userd_auth_waiting_calls", NULL,
                  "Calls whose token waits to be verified.", auth->waiting.count);
    metrics_counter(writer, "userd_token_connection_hits", NULL,
                    "Calls with the same token as the call before on their connection.",
                    auth->passed_by_memo);
}

static void write_tokens(struct metrics_writer *writer, const struct token_stats *tokens)
{
    metrics_counter(writer, "userd_token_signatures_checked", NULL,
                    "Tokens whose signature was computed.", tokens->signatures_checked);
    metrics_counter(writer, "userd_token_cache_hits", NULL, "Tokens that were found in the cache.",
                    tokens->cache_hits);
    metrics_gauge(writer, "userd_token_cache_entries", NULL, "Verdicts in the cache.",
                  tokens->cache_entries);
    metrics_family(writer, METRICS_GAUGE, "userd_token_keys", NULL,
                   "Keys that tokens are checked with.");
    metrics_labeled(writer, "state", "in_use", tokens->keys);
    metrics_labeled(writer, "state", "retired", tokens->keys_retired);
}

static void write_policy(struct metrics_writer *writer, const struct access_stats *access)
{
    metrics_counter(writer, "userd_access_denied", NULL, "Calls that the policy refused.",
                    access->denied);
    metrics_counter(writer, "userd_access_streams_ended", NULL,
                    "Open streams that a new policy ended.", access->streams_ended);
}

static void write_limits(struct metrics_writer *writer, const struct limits_hit *hits)
{
    metrics_family(writer, METRICS_COUNTER, "userd_rate_limited", NULL, "Calls over a rate.");
    metrics_labeled(writer, "class", "address", hits->counts[LIMITS_HIT_RATE_ADDRESS]);
    metrics_labeled(writer, "class", "identity", hits->counts[LIMITS_HIT_RATE_IDENTITY]);
    metrics_labeled(writer, "class", "write", hits->counts[LIMITS_HIT_RATE_WRITE]);
    metrics_family(writer, METRICS_COUNTER, "userd_limit_hits", NULL,
                   "Times a limit was reached, by the option that sets it.");
    for (unsigned i = 0; i < LIMITS_HIT_COUNT; i++) {
        metrics_labeled(writer, "limit", limits_hit_name((enum limits_hit_reason)i),
                        hits->counts[i]);
    }
}

static void write_tracked(struct metrics_writer *writer, const struct rate_limit_stats *rate)
{
    metrics_family(writer, METRICS_GAUGE, "userd_rate_tracked", NULL,
                   "Addresses and callers that have a bucket of their own.");
    metrics_labeled(writer, "class", "address", rate->addresses);
    metrics_labeled(writer, "class", "identity", rate->identities);
}

static void write_overload(struct metrics_writer *writer, const struct overload_stats *stats)
{
    metrics_gauge(writer, "userd_memory_used_bytes", "bytes",
                  "Memory in use, as overload control saw it last.", stats->memory_used);
    metrics_gauge(writer, "userd_memory_limit_bytes", "bytes", "What it may be.",
                  stats->memory_max);
    metrics_counter(writer, "userd_memory_trims", NULL,
                    "Times freed memory was given back to the system.", stats->trims);
    metrics_family(writer, METRICS_GAUGE, "userd_loop_delay_seconds", "seconds",
                   "How long ready work had to wait at least, in the last interval.");
    metrics_decimal(writer, METRICS_NO_LABELS, stats->delay_ns, METRICS_SECONDS_DIGITS);
    metrics_family(writer, METRICS_GAUGE, "userd_overload", NULL,
                   "1 while work is turned away for it.");
    metrics_labeled(writer, "cause", "memory_soft", stats->memory >= OVERLOAD_MEMORY_SOFT);
    metrics_labeled(writer, "cause", "memory_hard", stats->memory >= OVERLOAD_MEMORY_HARD);
    metrics_labeled(writer, "cause", "delay", stats->refused_permille > 0);
    metrics_family(writer, METRICS_GAUGE, "userd_overload_refused_ratio", "ratio",
                   "The share of calls that is refused now because the loop is late.");
    metrics_decimal(writer, METRICS_NO_LABELS, stats->refused_permille, 3);
    metrics_family(writer, METRICS_COUNTER, "userd_overload_refused", NULL,
                   "Calls that were turned away.");
    metrics_labeled(writer, "cause", "memory", stats->calls_refused_memory);
    metrics_labeled(writer, "cause", "watchers", stats->watchers_refused_memory);
    metrics_labeled(writer, "cause", "delay", stats->calls_refused_delay);
}

void metrics_write_access(struct metrics_writer *writer, const struct metrics_sources *sources)
{
    if (sources->auth != NULL) {
        write_auth(writer, sources->auth);
    }
    if (sources->tokens != NULL) {
        write_tokens(writer, sources->tokens);
    }
    if (sources->access != NULL) {
        write_policy(writer, sources->access);
    }
    if (sources->reactor != NULL) {
        write_limits(writer, &sources->reactor->limits_hit);
    }
    if (sources->rate != NULL) {
        write_tracked(writer, sources->rate);
    }
    if (sources->overload != NULL) {
        write_overload(writer, sources->overload);
    }
}
