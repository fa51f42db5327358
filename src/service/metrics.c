#include "service/metrics.h"

#include "service/metrics_internal.h"

/*
 * Every series is there from the start, with the value 0: an alert on a series that appears only
 * with the first trouble would miss that one. The one family with a label that would be mostly
 * empty says the same as another that is complete (metrics_calls.c).
 *
 * The loop waits while this is written, so it is one walk over numbers that are counted already:
 * nothing is summed up over connections or users.
 */

int metrics_write(const struct metrics_sources *sources, bool open_metrics, struct buf *out)
{
    struct metrics_writer writer;

    metrics_writer_begin(&writer, open_metrics, sources->text_size, out);
    if (sources->observe != NULL) {
        metrics_write_calls(&writer, sources->observe);
    }
    metrics_write_process(&writer, sources);
    metrics_write_server(&writer, sources);
    metrics_write_access(&writer, sources);
    metrics_write_store(&writer, sources);
    return metrics_writer_end(&writer);
}
