#include "userbench_stats.h"

#include "http2/grpc_status.h"
#include "userbench_memory.h"
#include "userbench_problem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S  1e9
#define NS_PER_US 1e3

void userbench_stats_stop(struct userbench_stats *stats, uint64_t now_ns)
{
    struct userbench_phase *phase = stats->phase;

    if (phase != NULL && phase->began_ns != 0) {
        phase->lasted_ns += now_ns - phase->began_ns;
        phase->began_ns = 0;
    }
}

void userbench_stats_begin(struct userbench_stats *stats, const char *name, uint64_t now_ns)
{
    struct userbench_phase *phase = stats->phases;

    userbench_stats_stop(stats, now_ns);
    while (phase < stats->phases + stats->phase_count && strcmp(phase->name, name) != 0) {
        phase++;
    }
    if (phase == stats->phases + USERBENCH_PHASES_MAX ||
        phase->block_count == USERBENCH_BLOCKS_MAX) {
        userbench_problem("too many phases: at most %d names, each %d times", USERBENCH_PHASES_MAX,
                          USERBENCH_BLOCKS_MAX);
    }
    if (phase == stats->phases + stats->phase_count) {
        stats->phase_count++;
        (void)snprintf(phase->name, sizeof(phase->name), "%s", name); /* cut, if it must be */
    }
    phase->block_count++;
    phase->began_ns = now_ns;
    stats->phase = phase;
}

void userbench_stats_count(struct userbench_stats *stats, const struct userbench_outcome *outcome)
{
    struct userbench_phase *phase = stats->phase;
    struct userbench_method_stats *method;
    uint64_t *max_ns;

    if (phase == NULL) {
        return;
    }
    method = phase->methods[outcome->method];
    if (method == NULL) {
        method = userbench_memory_get(1, sizeof(*method));
        phase->methods[outcome->method] = method;
    }
    phase->calls += phase->began_ns != 0;
    method->count++;
    method->messages += outcome->messages;
    method
        ->statuses[outcome->status < USERBENCH_STATUSES ? outcome->status : GRPC_STATUS_UNKNOWN]++;
    if (outcome->is_excluded) {
        phase->excluded++;
        return;
    }
    if (outcome->status != GRPC_STATUS_OK) {
        userbench_histogram_add(&method->failed, outcome->ns);
        return;
    }
    userbench_histogram_add(&method->ok, outcome->ns);
    max_ns = &method->max_ns[phase->block_count - 1];
    if (outcome->ns > *max_ns) {
        *max_ns = outcome->ns;
    }
}

static void print_latency(const struct userbench_histogram *histogram)
{
    (void)printf("{\"mean\": %.2f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, "
                 "\"p99.99\": %.1f, \"max\": %.1f}",
                 userbench_histogram_mean_us(histogram), userbench_histogram_at(histogram, 0.5),
                 userbench_histogram_at(histogram, 0.9), userbench_histogram_at(histogram, 0.99),
                 userbench_histogram_at(histogram, 0.999),
                 userbench_histogram_at(histogram, 0.9999), (double)histogram->max_ns / NS_PER_US);
}

static void print_buckets(const struct userbench_histogram *histogram)
{
    const char *separator = "";

    (void)printf("[");
    for (unsigned i = 0; i < USERBENCH_HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i] > 0) {
            (void)printf("%s[%" PRIu64 ", %" PRIu64 "]", separator, userbench_histogram_upper_us(i),
                         histogram->counts[i]);
            separator = ", ";
        }
    }
    (void)printf("]");
}

static void print_statuses(const struct userbench_method_stats *method)
{
    const char *separator = "";

    (void)printf("{");
    for (int i = 0; i < USERBENCH_STATUSES; i++) {
        if (method->statuses[i] > 0) {
            (void)printf("%s\"%s\": %" PRIu64, separator, grpc_status_name(i), method->statuses[i]);
            separator = ", ";
        }
    }
    (void)printf("}");
}

static void print_method(const char *name, const struct userbench_method_stats *method,
                         unsigned block_count)
{
    (void)printf("\"%s\": {\"count\": %" PRIu64 ", \"statuses\": ", name, method->count);
    print_statuses(method);
    (void)printf(", \"messages\": %" PRIu64 ", \"latency_us\": ", method->messages);
    print_latency(&method->ok);
    (void)printf(", \"maxima_us\": [");
    for (unsigned i = 0; i < block_count; i++) {
        (void)printf("%s%.1f", i == 0 ? "" : ", ", (double)method->max_ns[i] / NS_PER_US);
    }
    (void)printf("], \"histogram\": ");
    print_buckets(&method->ok);
    if (method->failed.count > 0) {
        (void)printf(", \"failed_latency_us\": ");
        print_latency(&method->failed);
    }
    (void)printf("}");
}

static void print_phase(const struct userbench_phase *phase)
{
    const double seconds = (double)phase->lasted_ns / NS_PER_S;
    const char *separator = "";

    (void)printf("{\"name\": \"%s\", \"blocks\": %u, \"seconds\": %.6f, \"calls\": %" PRIu64
                 ", \"per_s\": %.1f, \"excluded\": %" PRIu64 ", \"methods\": {",
                 phase->name, phase->block_count, seconds, phase->calls,
                 seconds > 0 ? (double)phase->calls / seconds : 0, phase->excluded);
    for (unsigned i = 0; i < USERBENCH_METHOD_COUNT; i++) {
        if (phase->methods[i] != NULL) {
            (void)printf("%s", separator);
            print_method(userbench_method_name(i), phase->methods[i], phase->block_count);
            separator = ", ";
        }
    }
    (void)printf("}}");
}

void userbench_stats_print(const struct userbench_stats *stats,
                           const struct userbench_totals *totals)
{
    (void)printf("{\"seconds\": %.6f, \"offered_per_s\": %.1f, \"client_cpu_s\": %.6f, "
                 "\"bytes_sent\": %" PRIu64 ", \"bytes_received\": %" PRIu64 ", \"sends\": %" PRIu64
                 ", \"receives\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"unfinished\": %" PRIu64
                 ",\n \"phases\": [",
                 totals->seconds, totals->offered_per_s, totals->client_cpu_s, totals->bytes_sent,
                 totals->bytes_received, totals->sends, totals->receives, totals->skipped,
                 totals->unfinished);
    for (unsigned i = 0; i < stats->phase_count; i++) {
        (void)printf("%s", i == 0 ? "" : ",\n  ");
        print_phase(&stats->phases[i]);
    }
    (void)printf("]}\n");
}

void userbench_stats_deinit(struct userbench_stats *stats)
{
    for (unsigned i = 0; i < stats->phase_count; i++) {
        for (unsigned j = 0; j < USERBENCH_METHOD_COUNT; j++) {
            free(stats->phases[i].methods[j]);
        }
    }
    *stats = (struct userbench_stats){0};
}
