/*
 * The parts of the text, one file each. For metrics.c alone.
 *
 * Owns:    nothing.
 * Borrows: everything, for the call.
 * Thread:  loop only.
 */
#ifndef SERVICE_METRICS_INTERNAL_H
#define SERVICE_METRICS_INTERNAL_H

#include "service/metrics.h"
#include "service/metrics_writer.h"

/* Times in nanoseconds, shown in seconds. */
#define METRICS_SECONDS_DIGITS 9

/* metrics_calls.c: calls by method. */
void metrics_write_calls(struct metrics_writer *writer, const struct observe *observe);

/* metrics_process.c: the process, its state, its loop. */
void metrics_write_process(struct metrics_writer *writer, const struct metrics_sources *sources);

/* metrics_server.c: connections, TLS, HTTP/2. */
void metrics_write_server(struct metrics_writer *writer, const struct metrics_sources *sources);

/* metrics_access.c: who is let in, and what is turned away. */
void metrics_write_access(struct metrics_writer *writer, const struct metrics_sources *sources);

/* metrics_store.c: the log, snapshots, users, and who looks at them. */
void metrics_write_store(struct metrics_writer *writer, const struct metrics_sources *sources);

#endif
