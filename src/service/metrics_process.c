#include "core/log.h"
#include "core/process_stats.h"
#include "core/reactor.h"
#include "service/metrics_internal.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define MS_DIGITS 3

static void seconds(struct metrics_writer *writer, const char *name, const char *help,
                    uint64_t value, unsigned digits)
{
    metrics_family(writer, METRICS_GAUGE, name, "seconds", help);
    metrics_decimal(writer, METRICS_NO_LABELS, value, digits);
}

static void write_build(struct metrics_writer *writer, const struct metrics_tls *tls)
{
    char labels[512] = "";

    metrics_add_label(labels, sizeof(labels), "version", USERD_VERSION);
    metrics_add_label(labels, sizeof(labels), "tls_library", tls->library);
    metrics_add_label(labels, sizeof(labels), "accelerated", tls->is_accelerated ? "yes" : "no");
    metrics_family(writer, METRICS_INFO, "userd_build", NULL, "What is running.");
    metrics_sample(writer, bytes_from_text(labels), 1);
}

static void write_state(struct metrics_writer *writer, enum health_state state)
{
    static const struct {
        enum health_state state;
        const char *name;
    } states[] = {
        {HEALTH_STARTING, "starting"}, {HEALTH_SERVING, "serving"}, {HEALTH_READ_ONLY, "read_only"},
        {HEALTH_DRAINING, "draining"}, {HEALTH_FAILED, "failed"},
    };

    metrics_family(writer, METRICS_GAUGE, "userd_state", NULL, "1 for the present state.");
    for (size_t i = 0; i < COUNT_OF(states); i++) {
        metrics_labeled(writer, "state", states[i].name, states[i].state == state);
    }
}

static void write_reloads(struct metrics_writer *writer, const struct metrics_reload *reload)
{
    metrics_family(writer, METRICS_COUNTER, "userd_config_reloads", NULL,
                   "Configurations, certificates and keys that were taken or refused.");
    metrics_labeled(writer, "result", "success", reload->succeeded);
    metrics_labeled(writer, "result", "failure", reload->failed);
    metrics_gauge(writer, "userd_config_last_reload_successful", NULL,
                  "0 after a reload that was refused.", !reload->last_failed);
    seconds(writer, "userd_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was taken, since 1970.", reload->success_ms,
            MS_DIGITS);
}

/* The names that every library for Prometheus uses. */
static void write_standard(struct metrics_writer *writer, const struct process_numbers *process)
{
    metrics_family(writer, METRICS_COUNTER, "process_cpu_seconds", "seconds",
                   "Processor time of all threads.");
    metrics_decimal(writer, METRICS_NO_LABELS, process->cpu_ns, METRICS_SECONDS_DIGITS);
    metrics_gauge(writer, "process_resident_memory_bytes", "bytes", "Memory in use.",
                  process->resident_bytes);
    metrics_gauge(writer, "process_virtual_memory_bytes", "bytes", "Memory that is mapped.",
                  process->virtual_bytes);
    metrics_gauge(writer, "process_open_fds", NULL, "Open files and sockets.", process->open_files);
    metrics_gauge(writer, "process_max_fds", NULL, "How many there may be.", process->max_files);
    seconds(writer, "process_start_time_seconds", "When the process started, since 1970.",
            process->started_ms, MS_DIGITS);
}

static void write_loop(struct metrics_writer *writer, const struct reactor *reactor)
{
    /* 1 us to 1 s. */
    static const struct metrics_scale scale = {&histogram_bounds[9], 19, METRICS_SECONDS_DIGITS};
    const struct ring_stats *ring = ring_stats(reactor->ring);

    metrics_family(writer, METRICS_HISTOGRAM, "userd_loop_turn_seconds", "seconds",
                   "Work of one turn of the loop, without waiting.");
    metrics_histogram(writer, METRICS_NO_LABELS, &reactor->turn_ns, &scale);
    metrics_gauge(writer, "userd_loop_timers", NULL, "Timers that are set.", reactor->timers.count);
    metrics_counter(writer, "userd_ring_submissions", NULL, "Operations handed to io_uring.",
                    ring->submitted);
    metrics_counter(writer, "userd_ring_completions", NULL, "Completions that came back.",
                    ring->completed);
    metrics_gauge(writer, "userd_ring_pending", NULL, "Operations that are under way.",
                  ring_pending_count(reactor->ring));
    metrics_counter(writer, "userd_ring_queue_full", NULL, "Times the submission queue was full.",
                    ring->queue_full);
    metrics_counter(writer, "userd_ring_buffers_exhausted", NULL,
                    "Receives that found every buffer taken.", ring->buffers_exhausted);
    metrics_counter(writer, "userd_log_lines_dropped", NULL,
                    "Lines that were left out of the server's log.",
                    reactor->log == NULL ? 0 : reactor->log->dropped_total);
}

void metrics_write_process(struct metrics_writer *writer, const struct metrics_sources *sources)
{
    if (sources->tls != NULL) {
        write_build(writer, sources->tls);
    }
    write_state(writer, sources->state);
    if (sources->reload != NULL) {
        write_reloads(writer, sources->reload);
    }
    if (sources->process != NULL) {
        write_standard(writer, sources->process);
    }
    if (sources->reactor != NULL) {
        write_loop(writer, sources->reactor);
    }
    seconds(writer, "userd_metrics_render_seconds",
            "Time it took to write the answer to the scrape before.", sources->render_ns,
            METRICS_SECONDS_DIGITS);
}
