#include "service/metrics_internal.h"
#include "service/observe.h"

/*
 * The same calls twice: under the two names of older dashboards, and under those that the
 * interceptors of other languages use.
 */

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Behind the labels of a row: the number of a status, and its name as the interceptors spell it. */
struct code_labels {
    const char *number;
    const char *name;
};

#define CODE(number, name)                                                                         \
    {                                                                                              \
        ",status=\"" number "\"", ",grpc_code=\"" name "\""                                        \
    }

static const struct code_labels codes[GRPC_STATUS_COUNT] = {
    [GRPC_STATUS_OK] = CODE("0", "OK"),
    [GRPC_STATUS_CANCELLED] = CODE("1", "Canceled"),
    [GRPC_STATUS_UNKNOWN] = CODE("2", "Unknown"),
    [GRPC_STATUS_INVALID_ARGUMENT] = CODE("3", "InvalidArgument"),
    [GRPC_STATUS_DEADLINE_EXCEEDED] = CODE("4", "DeadlineExceeded"),
    [GRPC_STATUS_NOT_FOUND] = CODE("5", "NotFound"),
    [GRPC_STATUS_ALREADY_EXISTS] = CODE("6", "AlreadyExists"),
    [GRPC_STATUS_PERMISSION_DENIED] = CODE("7", "PermissionDenied"),
    [GRPC_STATUS_RESOURCE_EXHAUSTED] = CODE("8", "ResourceExhausted"),
    [GRPC_STATUS_FAILED_PRECONDITION] = CODE("9", "FailedPrecondition"),
    [GRPC_STATUS_ABORTED] = CODE("10", "Aborted"),
    [GRPC_STATUS_OUT_OF_RANGE] = CODE("11", "OutOfRange"),
    [GRPC_STATUS_UNIMPLEMENTED] = CODE("12", "Unimplemented"),
    [GRPC_STATUS_INTERNAL] = CODE("13", "Internal"),
    [GRPC_STATUS_UNAVAILABLE] = CODE("14", "Unavailable"),
    [GRPC_STATUS_DATA_LOSS] = CODE("15", "DataLoss"),
    [GRPC_STATUS_UNAUTHENTICATED] = CODE("16", "Unauthenticated"),
};

/* 10 to 5000 ms. */
static const uint64_t ms_bounds[] = {
    10000000, 50000000, 100000000, 500000000, 1000000000, 5000000000,
};

static const struct metrics_scale ms_scale = {ms_bounds, COUNT_OF(ms_bounds), 6};

/* 10 us to 100 s. */
static const struct metrics_scale seconds_scale = {&histogram_bounds[12], HISTOGRAM_BOUNDS - 12,
                                                   METRICS_SECONDS_DIGITS};

static void write_requests(struct metrics_writer *writer, const struct observe *observe)
{
    metrics_family(writer, METRICS_COUNTER, "grpc_requests", NULL,
                   "Calls that ended, by full path and number of the status.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        const struct observe_row *row = observe_row(observe, i);

        for (unsigned status = 0; status < GRPC_STATUS_COUNT; status++) {
            /* Those that did not happen yet are left out; grpc_server_handled has all. */
            if (row->ended[status] > 0 || status == GRPC_STATUS_OK) {
                metrics_sample_more(writer, row->labels, codes[status].number, row->ended[status]);
            }
        }
    }
}

static void write_durations(struct metrics_writer *writer, const struct observe *observe)
{
    metrics_family(writer, METRICS_HISTOGRAM, "grpc_request_duration_ms", NULL,
                   "Time of calls from their complete head to their status, in milliseconds.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        metrics_histogram(writer, observe_row(observe, i)->labels, &observe_row(observe, i)->ns,
                          &ms_scale);
    }
}

static void write_handled(struct metrics_writer *writer, const struct observe *observe)
{
    metrics_family(writer, METRICS_COUNTER, "grpc_server_handled", NULL,
                   "Calls that ended, by status.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        const struct observe_row *row = observe_row(observe, i);

        for (unsigned status = 0; status < GRPC_STATUS_COUNT; status++) {
            metrics_sample_more(writer, row->classic, codes[status].name, row->ended[status]);
        }
    }
}

static void write_handling_times(struct metrics_writer *writer, const struct observe *observe)
{
    metrics_family(writer, METRICS_HISTOGRAM, "grpc_server_handling_seconds", "seconds",
                   "Time of calls from their complete head to their status.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        metrics_histogram(writer, observe_row(observe, i)->classic, &observe_row(observe, i)->ns,
                          &seconds_scale);
    }
}

static void write_counts(struct metrics_writer *writer, const struct observe *observe)
{
    metrics_family(writer, METRICS_COUNTER, "grpc_server_started", NULL,
                   "Calls whose head was complete.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        metrics_sample(writer, observe_row(observe, i)->classic, observe_row(observe, i)->started);
    }
    metrics_family(writer, METRICS_COUNTER, "grpc_server_msg_received", NULL,
                   "Request messages that were received.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        metrics_sample(writer, observe_row(observe, i)->classic,
                       observe_row(observe, i)->messages.received);
    }
    metrics_family(writer, METRICS_COUNTER, "grpc_server_msg_sent", NULL,
                   "Messages of answers that were sent.");
    for (unsigned i = 0; i < observe_row_count(observe); i++) {
        metrics_sample(writer, observe_row(observe, i)->classic,
                       observe_row(observe, i)->messages.sent);
    }
}

void metrics_write_calls(struct metrics_writer *writer, const struct observe *observe)
{
    write_requests(writer, observe);
    write_durations(writer, observe);
    write_counts(writer, observe);
    write_handled(writer, observe);
    write_handling_times(writer, observe);
}
